"""Privacy masks from end to end: a device process, what arrives at a clip store and in answers, and what stays behind.

Footage is made on the spot: a checkerboard that flickers under the mask, and a square that crosses beside it.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path

import av
import grpc
import numpy as np
import pytest
from PIL import Image

from foveate import subjects
from foveate.clips import ClipStore
from foveate.messages import ClipOrder, Outcome, Place, Representation, Task
from foveate.rpc import serve
from foveate.v1 import answer_service_pb2, clip_service_pb2
from foveate.v1.clip_service_pb2_grpc import add_ClipServiceServicer_to_server
from foveate.wire import answer_of, clip_header_of, clip_order_to
from tests.integration.test_device_agent import Agent, NatsServer, UploadService, _ask, _environment

WIDTH, HEIGHT, FPS = 320, 240, 10
LEFT, TOP, RIGHT, BOTTOM = 200, 20, 300, 120  # of the mask, in pixels
CONFIG = """
masks:
  - name: window
    polygon: [[0.625, 0.08334], [0.9375, 0.08334], [0.9375, 0.5], [0.625, 0.5]]
"""


def _footage(path: Path, *, seconds: int = 6) -> Path:
    board = (np.indices((BOTTOM - TOP, RIGHT - LEFT)).sum(axis=0) // 10 % 2 * 255).astype(np.uint8)[..., None]
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt, video.gop_size = WIDTH, HEIGHT, "yuv420p", 10
        video.bit_rate = 4_000_000
        for number in range(seconds * FPS):
            image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            image[TOP:BOTTOM, LEFT:RIGHT] = board if number % 2 else 255 - board
            image[160:210, number * 4 : number * 4 + 50] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def _contrast(picture: np.ndarray) -> int:
    """The widest difference under the mask, a little away from its border, where codecs ring."""
    inside = picture[TOP + 8 : BOTTOM - 8, LEFT + 8 : RIGHT - 8].astype(int)
    return int(inside.max() - inside.min())


def _pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "js")
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[tuple[str, ClipStore]]:
    store = ClipStore(tmp_path / "edge", max_bytes=1 << 30)

    def register(server: grpc.aio.Server) -> None:
        add_ClipServiceServicer_to_server(UploadService(store), server)

    async with serve("127.0.0.1:0", register) as port:
        yield f"127.0.0.1:{port}", store


def _agent(folder: Path, *, nats: str, edge: str, config: str) -> Agent:
    (folder / "device.yaml").write_text(config)
    source = _footage(folder / "room.mp4")
    more = {"LOOP": "1", "CONFIG": str(folder / "device.yaml")}
    return Agent(folder, _environment(folder, source=source, nats=nats, edge=edge, **more))


@pytest.mark.parametrize("originals", [False, True])
async def test_nothing_leaves_that_a_mask_hides(
    tmp_path: Path, nats_server: NatsServer, edge: tuple[str, ClipStore], originals: bool
) -> None:
    config = CONFIG + ("recording: {masked_originals: true}\n" if originals else "")
    agent = _agent(tmp_path, nats=nats_server.url, edge=edge[0], config=config)
    opened, store = await nats_server.connect(), edge[1]
    try:
        await agent.start()
        begin = time.time()
        await asyncio.sleep(3.0)
        for name, form, place in (
            ("clip", Representation.CLIP, Place("eu-west", "north")),
            ("frames", Representation.FRAMES, Place("eu-west", "north")),
            ("redacted", Representation.REDACTED_FRAMES, Place("eu-west")),
        ):
            order = ClipOrder(name, "body-1", begin + 0.5, begin + 2.0, place, form)
            payload = clip_order_to(order).SerializeToString()
            reply = await opened.request(subjects.device_clip("north", "body-1"), payload, timeout=20)
            receipt = clip_service_pb2.ClipReceipt.FromString(reply)
            assert receipt.WhichOneof("result") == "header", receipt
            header = clip_header_of(receipt.header)
            assert begin - 0.2 <= header.start <= begin + 0.5 <= begin + 1.8 <= header.end <= begin + 2.2
            shown = _pictures(store.path(name))
            assert len(shown) >= 4
            assert max(_contrast(picture) for picture in shown) <= 12
            assert max(int(np.ptp(picture[150:])) for picture in shown) > 80
        reply = await opened.request(subjects.device_ask("north", "body-1"), _ask(Task.COUNT, "person"), timeout=5)
        answer = answer_of(answer_service_pb2.AnswerServiceAnswerResponse.FromString(reply).answer)
        assert answer.outcome is Outcome.ANSWERED
        picture = np.array(Image.open(io.BytesIO(answer.evidence[0].picture)).convert("L"))
        assert picture.shape == (HEIGHT, WIDTH)
        assert _contrast(picture) <= 12
        assert agent.stop() == 0, agent.log
    finally:
        agent.kill()
        await opened.close()
    kept = [picture for path in (tmp_path / "data" / "ring").rglob("*.nut") for picture in _pictures(path)]
    assert len(kept) >= 20
    seen = [_contrast(picture) > 150 for picture in kept]
    assert not any(seen) if originals else all(seen)


def test_a_configuration_that_contradicts_itself_is_one_sentence(tmp_path: Path) -> None:
    agent = _agent(tmp_path, nats="nats://127.0.0.1:1", edge="", config="budget: {cpu_share: 0.5, milliwatts: 900}")
    ran = subprocess.run(
        [sys.executable, "-m", "device_agent"],
        env={**os.environ, **agent.environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 2
    assert "`budget` has both `cpu_share` and `milliwatts`; give one of them." in ran.stderr.strip().splitlines()[-1]
    assert "Traceback" not in ran.stderr
