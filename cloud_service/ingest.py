"""11: what the sites let out becomes what the cloud remembers.

In: the streams OUT of all registered sites, which the hub sources into INGEST over links that the sites dialled.
Out: events in the memory, each once whatever is delivered twice; what may not or cannot be kept goes to the dead
letters with the reason. Knows nothing of questions. Next: `reason.py`, which answers from the memory.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy.dialects.postgresql import insert

from cloud_service.registry import Registry
from cloud_service.tables import DEAD_LETTERS
from foveate import subjects
from foveate.bus import DeadLetter
from foveate.errors import NotFound, Refused
from foveate.memory import Memory
from foveate.messages import Device, Event, Place, Representation
from foveate.residency import Origin, ResidencyPolicy, decide
from foveate.v1 import event_pb2 as pb
from foveate.wire import event_of, parse

logger = logging.getLogger(__name__)

_REFUSED = "REFUSED"


class Ingest:
    """Turns one message after the other into a remembered event; every method may be repeated."""

    def __init__(
        self,
        *,
        memory: Memory,
        registry: Registry,
        policy: ResidencyPolicy,
        region: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memory = memory
        self._registry = registry
        self._policy = policy
        self._here = Place(region=region)
        self._clock = clock

    async def take(self, payload: bytes, subject: str) -> None:
        """Remembers the event that came on this subject, unless as high a revision is there.

        MalformedMessage for bytes that are none or speak for another site than their subject, Refused when residency
        forbids them here, NotFound for a device that nobody registered, TryAgain when the database cannot take it now.
        """
        event = event_of(parse(pb.Event, payload))
        subjects.check_speaker(subject, site=event.site_id)
        released = admitted(event, policy=self._policy, here=self._here)
        device = await self._registry.device(event.device_id)
        released = admitted(_as_registered(released, device), policy=self._policy, here=self._here)
        if await self._memory.upsert(released):
            logger.debug("remembered", extra={"event_id": event.event_id, "revision": event.revision})

    async def bury(self, letter: DeadLetter) -> None:
        """Keeps a message that can never be ingested, with the reason; of a refused one, not the payload."""
        extra = {"subject": letter.subject, "reason": letter.reason}
        logger.warning("dead letter: %s", letter.message, extra=extra)
        row = insert(DEAD_LETTERS).values(
            digest=hashlib.sha256(letter.payload).hexdigest(),
            time=self._clock(),
            subject=letter.subject,
            reason=letter.reason,
            # PostgreSQL keeps no NUL in text, and a sender may have put one into a name.
            message=letter.message.replace("\x00", ""),
            payload=None if letter.reason == _REFUSED else letter.payload,
        )
        async with self._memory.transaction() as connection:
            await connection.execute(row.on_conflict_do_nothing())


def admitted(event: Event, *, policy: ResidencyPolicy, here: Place) -> Event:
    """The event in the form in which it may be here; Refused, naming the rule, when not even its facts may.

    The site that sent it decided the same way; this is the check on arrival, in case its policy was older.
    """
    origin = Origin(event.region, event.site_id, event.device_id, event.device_labels)
    verdict = decide(policy, origin=origin, representation=Representation.FACTS, destination=here)
    if not verdict.allowed:
        raise Refused(
            f"An event of {event.device_id} may not be here: {verdict.reason(Representation.FACTS)}; "
            f"give the edge of {event.site_id} the policy that is in force.",
            reason=_REFUSED,
            rule=verdict.rule,
        )
    if event.embedding is None:
        return event
    verdict = decide(policy, origin=origin, representation=Representation.EMBEDDING, destination=here)
    return event if verdict.allowed else replace(event, embedding=None)


def _as_registered(event: Event, device: Device) -> Event:
    """The event with the labels that the registry knows added: a sender that forgets one escapes no rule."""
    if (device.site_id, device.region) != (event.site_id, event.region):
        raise NotFound(
            f"The device {device.device_id} is registered at {device.site_id} in {device.region}, not at "
            f"{event.site_id} in {event.region}; correct the sender.",
            device=device.device_id,
        )
    return replace(event, device_labels=tuple(dict.fromkeys((*event.device_labels, *device.labels))))
