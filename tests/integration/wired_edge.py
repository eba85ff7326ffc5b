"""The edge as `build.edge` wires it, over a real hub and database, with cameras that are told what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_node import build, pipeline
from edge_node.build import Models
from edge_node.scene import Scene
from edge_node.serve import serving
from edge_node.settings import Settings
from edge_node.tables import TABLES
from edge_node.vlm import configure
from foveate import rpc, subjects
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest
from foveate.residency import ResidencyPolicy
from foveate.v1 import answer_service_pb2 as answer_pb
from foveate.v1.answer_service_pb2_grpc import AnswerServiceStub
from foveate.wire import answer_of, failure_of, parse, request_to
from tests.integration.test_edge_answers import POLICY, Camera, WhiteSquares, record


@dataclass
class Wired:
    """One edge, asked on site over gRPC or through the hub."""

    memory: Memory
    scene: Scene
    cameras: dict[str, Camera]
    grpc: str
    router: Any
    local: Any

    async def ask(self, request: AnswerRequest) -> Answer:
        async with rpc.channel(self.grpc) as channel:
            with rpc.translated():
                message = answer_pb.AnswerServiceAnswerRequest(request=request_to(request))
                response = await AnswerServiceStub(channel).Answer(message, timeout=20)
        return answer_of(response.answer)

    async def ask_through_the_hub(self, request: AnswerRequest) -> Answer:
        payload = request_to(request).SerializeToString()
        reply = await self.router.request(subjects.site_ask("north"), payload, timeout=15)
        response = parse(answer_pb.AnswerServiceAnswerResponse, reply)
        if response.WhichOneof("result") == "failure":
            raise failure_of(response.failure)
        return answer_of(response.answer)


@asynccontextmanager
async def wired(
    site_nats: Any,
    database_url: str,
    folder: Path,
    *,
    vlm: Path | None = None,
    policy: ResidencyPolicy = POLICY,
) -> AsyncIterator[Wired]:
    """The edge for the length of the block, with the model that `vlm` configures."""
    folder.mkdir(exist_ok=True)
    recording = folder / "recording.mp4"
    record(recording)
    cameras = {name: Camera(name, recording) for name in ("fixed-1", "body-1")}
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(Memory.open(database_url, tables=TABLES))
        opened = await stack.enter_async_context(configure.of_site(vlm))
        local = await site_nats.connect("edge.local")
        edge = build.edge(
            Settings(
                site="north",
                region="eu-west",
                nats_url="unused",
                database_url=database_url,
                policy=Path("unused"),
                data_dir=folder / "edge",
                cloud_region="eu-west",
            ),
            policy=policy,
            models=Models(WhiteSquares(), None, vlm=opened),
            memory=memory,
            local=local,
            bridged=await site_nats.connect("edge.bridged"),
        )
        await pipeline.prepare(edge.parts)
        port = await stack.enter_async_context(serving("127.0.0.1:0", *edge.services))
        stop = asyncio.Event()
        running = asyncio.create_task(pipeline.run(edge.parts, stop))
        devices = await site_nats.connect("edge.local")
        for name, camera in cameras.items():
            camera.edge_grpc = f"127.0.0.1:{port}"
            edge.parts.devices.learn(name, ())
            await devices.serve(subjects.device_ask("north", name), camera.ask)
            await devices.serve(subjects.device_clip("north", name), camera.clip)
        router = await site_nats.connect("router")
        await asyncio.sleep(0.3)  # interest crosses the leaf link
        try:
            yield Wired(memory, Scene(memory), cameras, f"127.0.0.1:{port}", router, devices)
        finally:
            stop.set()
            await asyncio.wait_for(running, timeout=15)
