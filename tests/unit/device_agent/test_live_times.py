"""From a camera's clock to ours: stalls, drift, jumps, and any sequence of packets at all."""

from __future__ import annotations

import itertools
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.cameras.demux import _Order
from device_agent.cameras.live import _Times
from device_agent.cameras.packet import Packet, Streams
from tests.unit.device_agent.fakes import START

_TICK = Fraction(1, 1000)
STREAMS = cast(
    Streams,
    SimpleNamespace(
        video=SimpleNamespace(
            index=0, guessed_rate=Fraction(10), time_base=_TICK, codec_context=SimpleNamespace(name="mpeg4")
        ),
    ),
)


def coded(milliseconds: int, *, key: bool = False, video: bool = True, run: int = 0) -> Packet:
    data: av.Packet[Any] = av.Packet(b"x")
    return Packet(
        STREAMS, data, milliseconds, milliseconds, 100, _TICK, video, key, 0.0, media_time=None, rate=1.0, run=run
    )


class Line:
    """A camera that sends ten pictures a second, each tenth a key frame, over a line with a delay."""

    def __init__(self) -> None:
        self.times, self.number, self.now = _Times(), 0, START
        self.placed: list[Packet] = []

    def send(self, count: int, *, delay: float = 0.0, step: float = 0.1, skip: int = 0, run: int = 0) -> list[Packet]:
        """`step` is how long the camera takes by our clock, `skip` milliseconds by which its ticks jump first."""
        found = []
        self.number += skip // 100
        for _ in range(count):
            packet = coded(self.number * 100, key=self.number % 10 == 0, run=run)
            if not self.placed and not found and packet.key:
                self.times.begin([(self.now, packet)])
            placed = self.times.placed(packet, self.now + delay)
            found += [placed] if placed is not None else []
            self.number, self.now = self.number + 1, self.now + step
        self.placed += found
        return found


def test_a_stall_that_is_caught_up_with_changes_no_time() -> None:
    line = Line()
    line.send(50)
    line.send(30, delay=3.0)
    line.send(300)
    assert {packet.run for packet in line.placed} == {1}
    assert [packet.time for packet in line.placed] == pytest.approx([START + n / 10 for n in range(380)])


def test_a_delay_that_stays_is_taken_into_account() -> None:
    line = Line()
    line.send(50)
    late = line.send(400, delay=3.0)
    assert {packet.run for packet in line.placed} == {1, 2}
    assert late[-1].time == pytest.approx(line.now + 3.0 - 0.1, abs=0.01)
    assert len(line.placed) == 450


def test_a_camera_whose_clock_is_fast_stays_within_a_second_and_loses_little() -> None:
    line = Line()
    found = line.send(3000, step=0.099)
    assert max(packet.time - (START + 0.099 * number) for number, packet in enumerate(found)) < 2.2
    assert len(found) > 2950
    assert all(after.time > before.time for before, after in itertools.pairwise(found))


def test_ticks_that_start_anew_go_on_at_the_time_of_arrival() -> None:
    line = Line()
    line.send(50)
    line.number = 0
    line.now += 20.0
    again = line.send(20, run=1)
    assert again[0].time == pytest.approx(START + 25.0)
    assert again[0].key
    assert again[0].run == 2


MOVES = st.lists(
    st.tuples(
        st.integers(-20_000, 100_000),  # ticks from the packet before
        st.floats(0, 30, allow_nan=False),  # seconds of our clock
        st.booleans(),  # a key frame
        st.booleans(),  # a picture
        st.sampled_from(("", "", "", "connect", "part")),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(MOVES)
def test_whatever_a_camera_sends_times_go_on_and_runs_begin_at_key_frames(
    moves: list[tuple[int, float, bool, bool, str]],
) -> None:
    times, ticks, now, part = _Times(), 0, START, 0
    newest, run, origin = 0.0, 0, 0.0
    for jump, passed, key, video, happens in moves:
        ticks, now = max(0, ticks + jump), now + passed
        part += happens == "part"
        if happens == "connect":
            times.connect()
        packet = times.placed(coded(ticks, key=key and video, video=video, run=part), now)
        if packet is None:
            continue
        assert packet.run >= run
        if packet.run > run:
            assert packet.key
            assert packet.time > newest
            run, origin = packet.run, packet.time - ticks / 1000
        assert packet.time == pytest.approx(origin + ticks / 1000)
        newest = max(newest, packet.time) if video else newest


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(2**40), 2**40), st.integers(0, 2000)),
            st.one_of(st.none(), st.integers(-(2**40), 2**40), st.integers(0, 2000)),
            st.booleans(),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_whatever_ticks_packets_have_each_stream_rises_within_a_run(
    ticks: list[tuple[int | None, int | None, bool, bool]],
) -> None:
    order = _Order(STREAMS)
    last: dict[tuple[int, bool], int] = {}
    runs: set[int] = set()
    for dts, pts, key, video in ticks:
        data: av.Packet[Any] = av.Packet(b"x")
        data.dts, data.pts, data.time_base, data.is_keyframe = dts, pts, _TICK, key
        packet = order.place(cast("av.Packet[Any]", Numbered(data, 0 if video else 1)))
        if packet is None:
            continue
        assert packet.pts >= packet.dts
        assert packet.dts > last.get((packet.run, packet.video), -(2**62))
        last[packet.run, packet.video] = packet.dts
        if packet.video and packet.run not in runs:
            assert packet.key
            runs.add(packet.run)


class Numbered:
    """A packet that says which stream it is of, which FFmpeg's own does only when it was demuxed."""

    def __init__(self, data: av.Packet[Any], stream_index: int) -> None:
        self.__dict__.update(_data=data, stream_index=stream_index)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._data, name, value)
