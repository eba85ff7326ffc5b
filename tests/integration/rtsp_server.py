"""A small RTSP 1.0 server for tests: H.264 and PCMU over interleaved TCP, in real time, to be killed and misled."""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

_UNIT = re.compile(b"\0\0\1")
_LARGEST = 1200
_SOUND_S = 0.02
_NTP_EPOCH = 2_208_988_800


@dataclass(frozen=True)
class Film:
    """Coded pictures, each as its NAL units, at a rate; played again and again."""

    units: tuple[tuple[bytes, ...], ...]
    fps: int
    size: tuple[int, int]

    @property
    def sets(self) -> list[bytes]:
        return [unit for unit in self.units[0] if unit[0] & 0x1F in (7, 8)]


def film(*, size: tuple[int, int] = (64, 48), fps: int = 20, gop: int = 10, count: int = 40) -> Film:
    """A bar that crosses noise, so that pictures need several packets."""
    coder = av.CodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt, coder.time_base = *size, "yuv420p", Fraction(1, fps)
    coder.gop_size, coder.options = gop, {"bf": "0", "tune": "zerolatency", "preset": "ultrafast", "crf": "20"}
    noise, pictures = np.random.default_rng(5), []
    for number in range(count):
        image = noise.integers(0, 120, (size[1], size[0], 3), np.uint8)
        image[:, number % size[0] : number % size[0] + 4] = 255
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = number
        pictures += coder.encode(frame)
    pictures += coder.encode(None)
    parts = (_UNIT.split(bytes(packet)) for packet in pictures)
    units = tuple(tuple(part.rstrip(b"\0") for part in found if part.strip(b"\0")) for found in parts)
    return Film(units, fps, size)


class RtspServer:
    """One clip for whoever asks; what it sends changes while it runs.

    `film` may be swapped, `silent` keeps connections without sending, `lose` drops that many packets, `noise` is sent
    once between two packets. With `reports` the camera's wall clock, an hour off, is told by RTCP.
    """

    def __init__(self, content: Film, *, sound: bool = False, reports: bool = False, port: int = 0) -> None:
        self.film, self._sound, self._reports = content, sound, reports
        self.silent, self.lose, self.noise, self.asked = False, 0, b"", 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._clients: list[socket.socket] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def kill(self) -> None:
        """Ends as a camera does whose plug is pulled, but that the system closes its connections."""
        self._ended.set()
        for each in (self._listener, *self._clients):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(timeout=5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client.makefile("rb") as lines:
            while first := lines.read(1):
                if first == b"$":  # the receiver's own reports
                    lines.read(int.from_bytes(lines.read(3)[1:]))
                    continue
                request = (first + lines.readline()).decode().split()
                headers: dict[str, str] = {}
                while line := lines.readline().decode().strip():
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                if "cseq" not in headers:  # the receiver answers what it took for a request
                    continue
                self._answer(client, request[0], headers)
                if request[0] == "PLAY":
                    threading.Thread(target=self._play, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket, method: str, headers: dict[str, str]) -> None:
        body, more = "", ["Session: 1;timeout=60"]
        if method == "OPTIONS":
            more = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"]
        elif method == "DESCRIBE":
            self.asked += 1
            body, more = self._description(), [f"Content-Base: {self.url}/", "Content-Type: application/sdp"]
        elif method == "SETUP":
            more.append(f"Transport: {headers['transport']}")
        head = ["RTSP/1.0 200 OK", f"CSeq: {headers['cseq']}", *more, f"Content-Length: {len(body)}"]
        client.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())

    def _description(self) -> str:
        sets = ",".join(base64.b64encode(unit).decode() for unit in self.film.sets)
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=test", "t=0 0", "m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000"]
        lines += [f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}", "a=control:track0"]
        if self._sound:
            lines += ["m=audio 0 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "a=control:track1"]
        return "\r\n".join(lines) + "\r\n"

    def _play(self, client: socket.socket) -> None:
        begin, sequence = time.monotonic(), itertools.count(65_000)  # wraps soon
        base = int.from_bytes(np.random.default_rng().bytes(3))
        told = -1.0
        with contextlib.suppress(OSError):
            for moment, channel, payloads in self._moments():
                if self._ended.wait(max(0.0, begin + moment - time.monotonic())):
                    return
                rate, kind = (8000, 0) if channel else (90_000, 96)
                stamp = (base + round(moment * rate)) & 0xFFFFFFFF
                if self._reports and not channel and moment - told >= 0.5:
                    told = moment
                    client.sendall(_framed(1, _report(moment, stamp)))
                for index, payload in enumerate(payloads):
                    marker = 0x80 if index == len(payloads) - 1 else 0
                    head = struct.pack("!BBHII", 0x80, kind | marker, next(sequence) & 0xFFFF, stamp, 7 + channel)
                    self._send(client, _framed(channel, head + payload))

    def _send(self, client: socket.socket, data: bytes) -> None:
        if self.lose:
            self.lose -= 1
        elif not self.silent:
            noise, self.noise = self.noise, b""
            client.sendall(noise + data)

    def _moments(self) -> Iterator[tuple[float, int, list[bytes]]]:
        """When, on which channel and what, in the order of time, without an end."""
        sounded = 0.0
        moment = 0.0
        for number in itertools.count():
            content = self.film
            while self._sound and sounded <= moment:
                yield sounded, 2, [b"\xff" * 160]
                sounded += _SOUND_S
            picture = content.units[number % len(content.units)]
            yield moment, 0, [part for unit in picture for part in _split(unit)]
            moment += 1 / content.fps


def _split(unit: bytes) -> list[bytes]:
    """A NAL unit as it is, or in fragments (FU-A, RFC 6184)."""
    if len(unit) <= _LARGEST:
        return [unit]
    parts = [unit[start : start + _LARGEST] for start in range(1, len(unit), _LARGEST)]
    indicator, kind = unit[0] & 0xE0 | 28, unit[0] & 0x1F
    last = len(parts) - 1
    return [
        bytes((indicator, kind | (0x80 if index == 0 else 0) | (0x40 if index == last else 0))) + part
        for index, part in enumerate(parts)
    ]


def _framed(channel: int, data: bytes) -> bytes:
    return struct.pack("!cBH", b"$", channel, len(data)) + data


def _report(moment: float, stamp: int) -> bytes:
    wall = 1_000_000_000 + moment + _NTP_EPOCH
    return struct.pack("!BBHIIIIII", 0x80, 200, 6, 7, int(wall), int(wall % 1 * 2**32), stamp, 1, 1)
