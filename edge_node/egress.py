"""The one place that lets anything out of the site: events, heartbeats, answers and clips, each as residency allows.

In: decisions that wait in `egress_item`, heartbeats, answers, clip orders. Out: messages in the bridged account and
guarded answers; what left is recorded in `release`. It asks no device and answers nothing itself.
The policy decides (`release.py`), this releases; the hub sources the stream OUT from here.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from edge_node.devices import Devices
from edge_node.release import Redactor, admit, guard, reduce, refusal
from edge_node.tables import EGRESS, RELEASES
from foveate import subjects
from foveate.bus import Bus
from foveate.commands import DeviceState, without_facts
from foveate.errors import FoveateError, Never, OutOfSpace, Refused, TryAgain
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest, Boundary, ClipHeader, Event, Place, Presence, Representation
from foveate.residency import ResidencyPolicy, Verdict, crossing, decide, farthest
from foveate.v1 import event_pb2 as pb
from foveate.wire import answer_to, device_state_to, event_of, event_to, parse, presence_to, utc

logger = logging.getLogger(__name__)

OUT_BYTES = 1024**3
PRESENCE_S = 2.0
_BATCH = 64
_IDLE_S = 1.0  # the wake-up is a hint; this is how long a missed one delays a release


def out_stream(site: str) -> StreamConfig:
    """The stream that the hub sources; full, it refuses the new, and the rest waits in the database."""
    return StreamConfig(
        name=subjects.OUT_STREAM,
        subjects=[subjects.out_event(site)],
        retention=RetentionPolicy.LIMITS,
        max_bytes=OUT_BYTES,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        duplicate_window=120.0,
    )


class Egress:
    """Lets out what the policy allows, and nothing else."""

    def __init__(
        self,
        *,
        bridged: Bus,
        memory: Memory,
        policy: ResidencyPolicy,
        devices: Devices,
        here: Place,
        cloud: Place,
        redactor: Redactor,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bridged = bridged
        self._memory = memory
        self._policy = policy
        self._devices = devices
        self._here = here
        self._cloud = cloud
        self._redactor = redactor
        self._clock = clock
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Says that something new waits."""
        self._wake.set()

    async def release_events(self, stop: asyncio.Event) -> None:
        """Copies waiting events into OUT in the order in which they were decided, until `stop` is set."""
        while not stop.is_set():
            self._wake.clear()
            try:
                if await self.release_batch():
                    continue
                pause = _IDLE_S
            except TryAgain as error:
                logger.warning("nothing leaves for now: %s", error)
                pause = error.retry_after
            await _first_of(self._wake, stop, timeout=pause)

    async def release_batch(self) -> int:
        """Releases what waits, at most 64 items; each is gone from the outbox once OUT has it on disk."""
        waiting = select(EGRESS).where(EGRESS.c.payload.is_not(None)).order_by(EGRESS.c.item_id).limit(_BATCH)
        async with self._memory.transaction() as connection:
            items = (await connection.execute(waiting)).all()
        for item in items:
            await self._release_event(item)
        return len(items)

    async def send_presence(self, stop: asyncio.Event) -> None:
        """Tells the cloud every two seconds that the site lives, and which of its devices do, until `stop` is set."""
        while not stop.is_set():
            own = Presence("", self._here.site_id, self._clock(), capturing=False, version=_version())
            try:
                for presence in (own, *map(self._guarded, self._devices.alive())):
                    payload = presence_to(presence).SerializeToString()
                    await self._bridged.send(subjects.out_presence(self._here.site_id), payload)
            except FoveateError as error:
                logger.debug("no heartbeat: %s", error)
            await _first_of(stop, timeout=PRESENCE_S)

    def _guarded(self, presence: Presence) -> Presence:
        """The heartbeat as it may leave: where facts stay, it tells that the device lives, and nothing that counts."""
        if self.facts_travel(presence.device_id):
            return presence
        return replace(presence, trouble="", outbox_depth=0, frames=0)

    def admit(self, request: AnswerRequest, asker: Place) -> AnswerRequest | Answer:
        """The request for the devices whose facts may reach the asker, or the refusal when that is none of them."""
        reduced, verdict = admit(request, policy=self._policy, origins=self._devices.origin, asker=asker)
        if verdict is not None and not reduced.device_ids:
            return refusal(request.question.question_id, verdict)
        return reduced

    def reduced(self, event: Event, asker: Place) -> Event | None:
        """An event as the asker may see it, None when not at all."""
        return reduce(event, policy=self._policy, origin=self._devices.origin_of(event), destination=asker).event

    async def guard_answer(self, answer: Answer, asker: Place, *, device_ids: Iterable[str] = ()) -> Answer:
        """The answer as it may reach the asker: pictures redacted or left out, or the whole refused; recorded.

        `device_ids` are those that the answer rests on besides its evidence, such as cameras that saw nobody.
        """
        guarded = await asyncio.to_thread(
            guard,
            answer,
            policy=self._policy,
            origins=self._devices.origin,
            asker=asker,
            device_ids=tuple(device_ids),
            redactor=self._redactor,
        )
        if crossing(self._devices.origin(""), asker) > Boundary.SITE:
            await self._record_answer(guarded, asker)
        return guarded

    def facts_travel(self, device_id: str) -> bool:
        """Whether facts of this device may reach the cloud, where the router is."""
        return self._decided(device_id, Representation.FACTS, self._cloud).allowed

    async def guard_state(self, state: DeviceState) -> DeviceState:
        """A device's state as it may reach the router: without what tells of events where facts stay; recorded."""
        travels = self.facts_travel(state.device_id)
        shown = state if travels else without_facts(state)
        row = self._row(
            what=f"state of {state.device_id}",
            why="the router asked for it",
            device_id=state.device_id,
            destination=self._cloud,
            representation=Representation.FACTS,
            rule=self._letting(state.device_id, Representation.FACTS, self._cloud) if travels else "",
            payload=device_state_to(shown).SerializeToString(),
        )
        await self._record([row])
        return shown

    def check_clip(self, device_id: str, representation: Representation, destination: Place) -> Verdict:
        """The verdict that lets a clip go there by way of this edge; raises Refused, naming the rule, when it may not.

        A clip holds its frames: a rule that keeps those nearer keeps the clip as well.
        """
        # Whoever claims to stand at the device gets what may reach the site: it passes here.
        destination = farthest(self._devices.origin(device_id), self._here, destination)
        verdict = self._decided(device_id, representation, destination)
        if verdict.allowed and representation is Representation.CLIP:
            frames = self._decided(device_id, Representation.FRAMES, destination)
            if frames.rule and not frames.allowed:
                representation, verdict = Representation.FRAMES, frames
        if not verdict.allowed:
            raise Refused(
                f"{verdict.reason(representation)}; ask for a lesser representation.", rule=verdict.rule or "none"
            )
        return verdict

    async def record_words(self, device_id: str, words: Sequence[str], destination: Place, question_id: str) -> None:
        """Keeps that what was read and said went to a model elsewhere; as `record_clip`."""
        row = self._row(
            what=f"words of {device_id}",
            why=f"question {question_id} is put to the model there",
            device_id=device_id,
            destination=destination,
            representation=Representation.FACTS,
            rule=self._letting(device_id, Representation.FACTS, destination),
            payload="\n".join(words).encode(),
        )
        async with self._memory.transaction() as connection:
            await connection.execute(insert(RELEASES).values(row))

    async def record_clip(self, header: ClipHeader, destination: Place, verdict: Verdict) -> None:
        """Keeps that a clip left; raises Unreachable when it cannot, and then the clip must stay."""
        row = self._row(
            what=f"clip {header.clip_id}",
            why=f"clip {header.clip_id} was ordered from there",
            device_id=header.device_id,
            destination=destination,
            representation=header.representation,
            rule=verdict.rule,
        )
        async with self._memory.transaction() as connection:
            await connection.execute(
                insert(RELEASES).values(row | {"size_bytes": header.size_bytes, "sha256": header.sha256.hex()})
            )

    def _decided(self, device_id: str, representation: Representation, destination: Place) -> Verdict:
        origin = self._devices.origin(device_id)
        return decide(self._policy, origin=origin, representation=representation, destination=destination)

    def _letting(self, device_id: str, representation: Representation, destination: Place) -> str:
        """The rule that lets it go there."""
        return self._decided(device_id, representation, destination).rule

    async def _withhold(self, item: Any) -> None:  # noqa: ANN401  a row
        async with self._memory.transaction() as connection:
            await connection.execute(update(EGRESS).where(EGRESS.c.item_id == item.item_id).values(payload=None))

    async def _release_event(self, item: Any) -> None:  # noqa: ANN401  a row
        """Sends one item and forgets it; decided once more, since the policy may have become stricter meanwhile."""
        event = event_of(parse(pb.Event, item.payload))
        origin = self._devices.origin_of(event)
        out = reduce(event, policy=self._policy, origin=origin, destination=self._cloud)
        forget = delete(EGRESS).where(EGRESS.c.item_id == item.item_id)
        if out.event is None:
            await self._withhold(item)
            return
        payload = event_to(out.event).SerializeToString()
        try:
            await self._bridged.store(
                subjects.out_event(self._here.site_id), payload, message_id=f"{event.event_id}.{event.revision}"
            )
        except Never as error:
            # What can never be sent must not hold up the rest.
            logger.error("stays at the site: %s", error, extra={"event_id": event.event_id})
            await self._withhold(item)
            return
        row = self._row(
            what=f"event {event.event_id}.{event.revision}",
            why="events go to the cloud as far as the policy lets them",
            device_id=event.device_id,
            destination=self._cloud,
            representation=out.representation,
            rule=out.verdict.rule,
            payload=payload,
        )
        async with self._memory.transaction() as connection:
            await connection.execute(insert(RELEASES).values(row))
            await connection.execute(forget)

    async def _record_answer(self, answer: Answer, asker: Place) -> None:
        """One row for the words and facts of each device, and one for each picture."""
        what, why = f"answer {answer.question_id}", f"question {answer.question_id} was asked from there"
        told = replace(answer, evidence=tuple(replace(piece, picture=b"") for piece in answer.evidence))
        words = answer_to(told).SerializeToString()
        shown = [(piece.device_id, piece.representation, piece.picture) for piece in answer.evidence if piece.picture]
        facts = dict.fromkeys(piece.device_id for piece in answer.evidence) or {"": None}
        rows = [
            self._row(
                what=what,
                why=why,
                device_id=device_id,
                destination=asker,
                representation=representation,
                rule=self._letting(device_id, representation, asker) if device_id else answer.rule,
                payload=payload,
            )
            for device_id, representation, payload in [
                *((device_id, Representation.FACTS, words) for device_id in facts),
                *shown,
            ]
        ]
        await self._record(rows)

    async def _record(self, rows: Sequence[dict[str, Any]]) -> None:
        try:
            async with self._memory.transaction() as connection:
                await connection.execute(insert(RELEASES), rows)
        except (TryAgain, OutOfSpace):
            # Without its database a site still answers what its cameras see; the log is the record then.
            for row in rows:
                logger.warning("left the site, not recorded in the database", extra={"release": row})

    def _row(
        self,
        *,
        what: str,
        why: str,
        device_id: str,
        destination: Place,
        representation: Representation,
        rule: str,
        payload: bytes = b"",
    ) -> dict[str, Any]:
        place = "/".join(part for part in (destination.region or "world", destination.site_id) if part)
        return {
            "time": utc(self._clock()),
            "what": what,
            "why": why,
            "device_id": device_id,
            "destination": place,
            "representation": representation.name,
            "rule": rule,
            "size_bytes": len(payload),
            "sha256": hashlib.sha256(payload).hexdigest(),
        }


async def _first_of(*events: asyncio.Event, timeout: float) -> None:
    """Returns when one of the events is set or the time is over."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _version() -> str:
    try:
        return version("foveate")
    except PackageNotFoundError:
        return "from source"
