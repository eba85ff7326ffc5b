"""Ways around residency that were tried on the wired edge, and that lead nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_node.scene import KeyFrame, Written
from foveate import residency, rpc, subjects
from foveate.errors import MalformedMessage, Refused
from foveate.messages import Answer, Evidence, Outcome, Place, Task, Tier
from foveate.v1 import answer_service_pb2 as answer_pb
from foveate.v1 import clip_service_pb2 as clip_pb
from foveate.v1 import question_pb2
from foveate.v1.clip_service_pb2_grpc import ClipServiceStub
from foveate.vision.boxes import Box
from foveate.wire import answer_to, clip_header_of, clip_header_to, parse, request_of, timestamp
from tests.integration.test_edge_answers import CLOUD, HERE, START, Camera, event, request
from tests.integration.wired_edge import Wired, wired

RULES = {
    "rules": [
        {"name": "facts", "limits": {"FACTS": "WORLD", "CLIP": "SITE", "FRAMES": "SITE"}},
        {"name": "worn", "scope": {"device": "body-1"}, "limits": {"FACTS": "DEVICE", "CLIP": "DEVICE"}},
        {"name": "no-pictures", "scope": {"device": "fixed-2"}, "limits": {"FRAMES": "DEVICE"}},
        {"name": "words-stay", "scope": {"device": "fixed-3"}, "limits": {"FACTS": "SITE"}},
    ]
}
AT_THE_DEVICE = Place("eu-west", "north", "body-1")


@pytest.fixture
async def north(site_nats: Any, database_url: str, tmp_path: Path) -> AsyncIterator[Wired]:
    policy = residency.parse(RULES, source="test")
    async with wired(site_nats, database_url, tmp_path / "n", policy=policy) as one:
        yield one


async def clip(north: Wired, device: str, asker: Place | None = None) -> bytes:
    wanted = clip_pb.GetClipRequest(device_id=device, start_time=timestamp(START), end_time=timestamp(START + 2))
    if asker is not None:
        wanted.asker.region, wanted.asker.site_id, wanted.asker.device_id = asker.region, asker.site_id, asker.device_id
    async with rpc.channel(north.grpc) as channel:
        with rpc.translated():
            parts = [part async for part in ClipServiceStub(channel).GetClip(wanted, timeout=10)]
    return b"".join(part.chunk for part in parts)


@pytest.mark.parametrize("asker", [HERE, AT_THE_DEVICE])
async def test_what_is_limited_to_a_device_is_told_to_nobody_on_site(north: Wired, asker: Place) -> None:
    await north.memory.upsert(event(3.9, 8, device="body-1"))
    for tier in (Tier.EDGE, Tier.DEVICE):
        answer = await north.ask(request(devices=("body-1",), asker=asker, tier=tier))
        assert (answer.outcome, answer.rule, answer.evidence) == (Outcome.REFUSED, "worn", ())
    with pytest.raises(Refused, match="rule worn"):
        await clip(north, "body-1", asker)
    assert north.cameras["body-1"].orders == []


async def test_a_clip_is_no_way_around_a_rule_on_its_frames(north: Wired) -> None:
    with pytest.raises(Refused, match="rule no-pictures keeps it to DEVICE"):
        await clip(north, "fixed-2")
    assert len(await clip(north, "fixed-1")) > 0


async def test_words_are_facts_and_go_as_far_as_those(north: Wired) -> None:
    """What was read goes with the labels and rules of its camera, as every other fact that was made of pictures."""
    for device in ("fixed-1", "fixed-3"):
        seen = event(1.0, 2.0, device=device)
        await north.memory.upsert(seen)
        frame = KeyFrame(f"k-{device}", device, seen.event_id, START + 1.5, b"jpeg")
        line = Written(frame.key_frame_id, device, seen.event_id, START + 1.5, f"EXIT {device}", 0.95, Box(0, 0, 1, 1))
        assert await north.scene.keep(seen.event_id, [frame], [line], [])
    both = request(Task.READ, devices=("fixed-1", "fixed-3"), asker=CLOUD)
    out = await north.ask_through_the_hub(replace(both, question=replace(both.question, text="What is written?")))
    assert out.value == "EXIT fixed-1"
    assert "fixed-3" not in str(out)
    stays = replace(both, device_ids=("fixed-3",))
    refused = await north.ask_through_the_hub(stays)
    assert (refused.outcome, refused.rule, refused.value, refused.evidence) == (
        Outcome.REFUSED, "words-stay", None, (),
    )  # fmt: skip
    on_site = await north.ask(replace(stays, question=replace(both.question, text="What is written?", asker=HERE)))
    assert on_site.value == "EXIT fixed-3"


async def test_a_device_speaks_for_nobody_else(north: Wired) -> None:
    """Neither for its neighbours nor for the uplink of its site."""

    async def forged(payload: bytes) -> bytes:
        asked = request_of(parse(question_pb2.AnswerRequest, payload))
        pieces = tuple(Evidence(device, START, START, quote="forged") for device in ("forger-1", "fixed-1"))
        lie = Answer(asked.question.question_id, Outcome.ANSWERED, "One.", 0.9, value=1, evidence=pieces, alone=True)
        reply = answer_pb.AnswerServiceAnswerResponse(answer=answer_to(replace(lie, placement=asked.placement)))
        return reply.SerializeToString()

    await north.local.serve(subjects.device_ask("north", "forger-1"), forged)
    await asyncio.sleep(0.2)
    for tier in (Tier.DEVICE, Tier.EDGE):
        answer = await north.ask(request(Task.COUNT, devices=("forger-1",), tier=tier, now=True))
        assert answer.value == 1
        assert not answer.alone
        assert {piece.device_id for piece in answer.evidence} == {"forger-1"}


async def test_a_device_that_saw_nothing_is_not_asked_behind_another(north: Wired) -> None:
    async def nothing(payload: bytes) -> bytes:
        asked = request_of(parse(question_pb2.AnswerRequest, payload))
        none = Answer(asked.question.question_id, Outcome.ANSWERED, "None.", 0.9, value=0, placement=asked.placement)
        return answer_pb.AnswerServiceAnswerResponse(answer=answer_to(none)).SerializeToString()

    await north.local.serve(subjects.device_ask("north", "fixed-3"), nothing)
    await asyncio.sleep(0.2)
    behind = request(Task.COUNT, devices=("fixed-3", "fixed-1"), tier=Tier.DEVICE, now=True, asker=CLOUD)
    answer = await north.ask_through_the_hub(behind)
    assert (answer.outcome, answer.rule, answer.value) == (Outcome.REFUSED, "words-stay", None)


async def test_a_clip_in_the_name_of_another_device_is_none(north: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Camera.clip

    async def disguised(self: Camera, payload: bytes) -> bytes:
        header = clip_header_of(parse(clip_pb.ClipReceipt, await honest(self, payload)).header)
        other = replace(header, device_id="body-1")
        return clip_pb.ClipReceipt(header=clip_header_to(other)).SerializeToString()

    assert len(await clip(north, "fixed-1")) > 0
    camera = north.cameras["fixed-1"]
    monkeypatch.setattr(type(camera), "clip", disguised)
    await north.local.serve(subjects.device_clip("north", "fixed-9"), replace(camera, device="fixed-9").clip)
    await asyncio.sleep(0.2)
    with pytest.raises(MalformedMessage):
        await clip(north, "fixed-9")
