"""Network cameras over a real RTSP connection: times, killed and silent servers, other pictures, damage."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import av
import pytest

from device_agent.capture import LiveCamera, Packet
from device_agent.clock import SteadyClock
from tests.integration.rtsp_server import RtspServer, film

CLOCK = SteadyClock()


@dataclass
class Taken:
    """What a camera gave, read in a thread of its own as the agent does, and when each packet came."""

    camera: LiveCamera
    stop: threading.Event
    gaps: list[tuple[float, str]]
    packets: list[Packet] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    widths: list[tuple[float, int]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def read(self) -> None:
        try:
            for packet in self.camera.packets():
                self.packets.append(packet)
                self.arrivals.append(CLOCK.now())
                self._decode(packet)
        except Exception as error:
            self.errors.append(error)

    def _decode(self, packet: Packet) -> None:
        if packet.video:
            try:
                frames = packet.streams.decoder.decode(packet.data)
            except av.FFmpegError:
                return
            self.widths += [(packet.time, frame.width) for frame in frames]

    @property
    def pictures(self) -> list[Packet]:
        return [packet for packet in self.packets if packet.video]

    def until(self, true: Callable[[], bool], *, what: str, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert not self.errors, self.errors
            assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
            time.sleep(0.02)


@pytest.fixture
def take() -> Iterator[Callable[..., Taken]]:
    running: list[tuple[Taken, threading.Thread]] = []

    def begin(url: str, *, patience: float = 3.0) -> Taken:
        stop, gaps = threading.Event(), []
        camera = LiveCamera(
            url, clock=CLOCK, stop=stop, patience=patience, on_gap=lambda moment, why: gaps.append((moment, why))
        )
        taken = Taken(camera, stop, gaps)
        thread = threading.Thread(target=taken.read, daemon=True)
        thread.start()
        running.append((taken, thread))
        return taken

    yield begin
    for taken, thread in running:
        taken.stop.set()
        thread.join(timeout=10)
        assert not thread.is_alive()
        assert not taken.errors


@pytest.fixture
def servers() -> Iterator[list[RtspServer]]:
    found: list[RtspServer] = []
    yield found
    for server in found:
        server.kill()


def assert_time_only_goes_on(taken: Taken) -> None:
    pictures = taken.pictures
    assert all(after.time > before.time for before, after in itertools.pairwise(pictures))
    for packet, arrival in zip(taken.packets, taken.arrivals, strict=True):
        assert packet.time <= arrival + 0.25, "a packet from the future"
    for before, after in itertools.pairwise(pictures):
        if before.run == after.run:
            media = float((after.pts - before.pts) * after.tick)
            assert after.time - before.time == pytest.approx(media, abs=1e-6)
        else:
            assert after.key


@pytest.mark.parametrize("reports", [False, True], ids=["plain", "with RTCP"])
def test_times_are_those_of_arrival_by_the_cameras_clock(
    take: Callable[..., Taken], servers: list[RtspServer], reports: bool
) -> None:
    server = RtspServer(film(), sound=True, reports=reports)
    servers.append(server)
    taken = take(server.url)
    taken.until(lambda: len(taken.pictures) >= 60, what="three seconds of pictures")
    taken.stop.set()
    assert_time_only_goes_on(taken)
    assert taken.pictures[0].key
    assert {packet.run for packet in taken.packets} == {1}
    delays = [arrival - packet.time for packet, arrival in zip(taken.packets, taken.arrivals, strict=True)][-40:]
    assert sorted(delays)[20] < 0.3
    assert all(step == pytest.approx(0.05, abs=0.002) for step in _steps(taken.pictures))
    sound = [packet for packet in taken.packets if not packet.video]
    assert len(sound) > 60
    assert abs(sound[-1].time - taken.pictures[-1].time) < 0.3
    assert len(taken.widths) >= 50
    assert taken.gaps == []


def _steps(packets: list[Packet]) -> list[float]:
    return [after.time - before.time for before, after in itertools.pairwise(packets)]


def test_a_server_that_is_killed_and_started_again_is_found_again(
    take: Callable[..., Taken], servers: list[RtspServer]
) -> None:
    server = RtspServer(film())
    servers.append(server)
    taken = take(server.url)
    for restart in (1, 2):
        seen = len(taken.pictures)
        taken.until(lambda seen=seen: len(taken.pictures) >= seen + 25, what=f"pictures before kill {restart}")
        server.kill()
        taken.until(lambda: not taken.camera.condition.capturing, what="the loss is said")
        last = taken.pictures[-1].time
        server = RtspServer(film(), port=server.port)
        servers.append(server)
        taken.until(lambda last=last: taken.pictures[-1].time > last, what=f"pictures after kill {restart}")
        assert taken.camera.condition.capturing
        moment, why = taken.gaps[-1]
        assert moment == pytest.approx(last, abs=0.01)
        assert why.startswith("The camera ")
    seen = len(taken.pictures)
    taken.until(lambda: len(taken.pictures) >= seen + 25, what="pictures at the end")
    taken.stop.set()
    assert_time_only_goes_on(taken)
    assert {packet.run for packet in taken.packets} == {1, 2, 3}
    assert len(taken.widths) >= len(taken.pictures) - 6


def test_a_server_that_falls_silent_is_left_and_asked_again(
    take: Callable[..., Taken], servers: list[RtspServer]
) -> None:
    server = RtspServer(film())
    servers.append(server)
    taken = take(server.url, patience=1.0)
    taken.until(lambda: len(taken.pictures) >= 20, what="pictures")
    server.silent = True
    taken.until(lambda: "has sent nothing for 1 s" in taken.camera.condition.trouble, what="the silence is said")
    server.silent = False
    taken.until(lambda: taken.pictures[-1].run == 2, what="pictures again")
    assert server.asked >= 2
    assert_time_only_goes_on(taken)


def test_pictures_of_another_size_in_mid_stream_begin_a_run(
    take: Callable[..., Taken], servers: list[RtspServer]
) -> None:
    server = RtspServer(film())
    servers.append(server)
    taken = take(server.url)
    taken.until(lambda: len(taken.pictures) >= 25, what="pictures")
    server.film = film(size=(96, 64))
    taken.until(lambda: bool(taken.widths) and taken.widths[-1][1] == 96, what="the other pictures")
    seen = len(taken.pictures)
    taken.until(lambda: len(taken.pictures) >= seen + 10, what="more of them")
    taken.stop.set()
    assert_time_only_goes_on(taken)
    assert server.asked == 1
    assert taken.pictures[-1].run == 2
    switch = next(packet for packet in taken.pictures if packet.run == 2)
    assert {width for moment, width in taken.widths if moment < switch.time} == {64}
    assert {width for moment, width in taken.widths if moment > switch.time} == {96}


def test_lost_packets_and_noise_on_the_line_are_stepped_over(
    take: Callable[..., Taken], servers: list[RtspServer]
) -> None:
    server = RtspServer(film(size=(160, 120)))
    servers.append(server)
    taken = take(server.url)
    taken.until(lambda: len(taken.pictures) >= 20, what="pictures")
    server.lose = 30
    taken.until(lambda: server.lose == 0, what="the loss")
    seen = len(taken.widths)
    taken.until(lambda: len(taken.widths) >= seen + 20, what="pictures behind the loss")
    server.noise = b"\xfe" * 700
    taken.until(lambda: server.noise == b"", what="the noise")
    seen = len(taken.widths)
    taken.until(lambda: len(taken.widths) >= seen + 20, what="pictures behind the noise")
    taken.stop.set()
    assert_time_only_goes_on(taken)
