"""Answers about now, from this device's own eyes: is it there, and how many.

In: a placed question. Out: an `Answer` with calibrated confidence, boxes, and a picture as far as residency lets it
travel to the asker. It looks afresh at the newest frame and adds what was followed within the last second. It knows
no past and no other device. Next: `pipeline.py` serves it to the edge over NATS.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from device_agent.frames import Frame
from device_agent.sender import Sender
from device_agent.track import observe
from device_agent.view import Followed, View
from device_agent.words import in_view
from foveate.errors import FoveateError, NotFound, NotSupported, Refused
from foveate.messages import (
    Answer,
    AnswerRequest,
    Event,
    Evidence,
    Outcome,
    Place,
    Representation,
    Sighting,
    Task,
)
from foveate.residency import Origin, ResidencyPolicy, decide, most_telling
from foveate.v1 import answer_service_pb2, question_pb2
from foveate.vision import likelihood
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Detector, report_threshold
from foveate.vision.draw import small_jpeg
from foveate.vision.redact import people, redact
from foveate.vision.vocabulary import COCO
from foveate.wire import answer_to, failure_to, parse, request_of

logger = logging.getLogger(__name__)

STALE_S = 5.0
"""A frame older than this says nothing about now."""

_TASKS = {Task.PRESENCE, Task.COUNT}
_RECENT_S = 1.0
_SAME_OVERLAP = 0.5


class Eyes(Protocol):
    """What the answers are made of; every member may be read from any thread."""

    @property
    def newest(self) -> Frame | None:
        """The last decoded frame."""
        ...

    @property
    def view(self) -> View | None:
        """The last view."""
        ...

    @property
    def open_events(self) -> tuple[Event, ...]:
        """Events that go on."""
        ...

    @property
    def trouble(self) -> str:
        """One sentence when something is wrong."""
        ...


@dataclass(frozen=True, slots=True)
class _Seen:
    """One object in view; `track_id` is None for what only the fresh look found."""

    sighting: Sighting
    score: float
    track_id: int | None


class Answerer:
    """Answers placed questions for one device."""

    def __init__(
        self, eyes: Eyes, *, detector: Detector, policy: ResidencyPolicy, sender: Sender, now: Callable[[], float]
    ) -> None:
        self._eyes, self._detector, self._policy, self._sender, self._now = eyes, detector, policy, sender, now
        self._origin = Origin(sender.region, sender.site_id, sender.device_id, sender.labels)

    async def serve(self, payload: bytes) -> bytes:
        """A request's bytes to a reply's: the answer, or the failure as data."""
        try:
            request = request_of(parse(question_pb2.AnswerRequest, payload))
            answer = await asyncio.to_thread(self.answer, request)
        except FoveateError as error:
            return answer_service_pb2.AnswerServiceAnswerResponse(failure=failure_to(error)).SerializeToString()
        except Exception as error:
            # Without a reply a bug looks like a device that is off.
            logger.exception("a bug in answering")
            bug = NotSupported("The device could not answer; its log says why.", reason="BUG")
            bug.__cause__ = error
            return answer_service_pb2.AnswerServiceAnswerResponse(failure=failure_to(bug)).SerializeToString()
        return answer_service_pb2.AnswerServiceAnswerResponse(answer=answer_to(answer)).SerializeToString()

    def answer(self, request: AnswerRequest) -> Answer:
        """The answer from the newest frame. Refused when not even facts may reach the asker. Blocking."""
        device = self._sender.device_id
        if request.device_ids and device not in request.device_ids:
            raise NotFound(f"This is {device}; ask one of {', '.join(request.device_ids)} at its own subject.")
        form = self._form(request.question.asker or Place())
        frame = self._eyes.newest
        problem = self._unfit(request, frame)
        if problem or frame is None:
            return self._cannot_tell(request, problem)
        labels = tuple(label for label in request.understanding.labels if label in COCO)
        detections = self._detector.detect(frame.image)
        seen = self._seen(frame, detections, labels)
        return self._settled(request, frame, labels=labels, seen=seen, picture=self._picture(frame, detections, form))

    def _form(self, asker: Place) -> tuple[Representation, str]:
        """The most telling form that may reach the asker, and the rule that decided."""
        form, verdict = most_telling(self._policy, origin=self._origin, wanted=Representation.FRAMES, destination=asker)
        if form is None:
            facts = Representation.FACTS
            verdict = decide(self._policy, origin=self._origin, representation=facts, destination=asker)
            raise Refused(
                f"Nothing that {self._sender.device_id} sees may reach the asker: {verdict.reason(facts)}.",
                rule=verdict.rule,
            )
        return form, "" if verdict.allowed else verdict.rule

    def _unfit(self, request: AnswerRequest, frame: Frame | None) -> str:
        """Why this question cannot be answered here; empty when it can."""
        wanted, device = request.understanding, self._sender.device_id
        if wanted.task not in _TASKS:
            return f"A device answers presence and count; it cannot {wanted.task.value}."
        if not wanted.now:
            return "A device answers about now only; its edge remembers what was."
        if not any(label in COCO for label in wanted.labels):
            return f"The detector of {device} has no name for “{wanted.subject}”."
        if frame is None:
            return self._eyes.trouble or f"{device} has not seen a picture yet."
        age = self._now() - frame.time
        if age > STALE_S:
            return f"The last picture of {device} is {age:.0f} s old. {self._eyes.trouble}".rstrip()
        return ""

    def _cannot_tell(self, request: AnswerRequest, reason: str) -> Answer:
        return Answer(
            request.question.question_id,
            Outcome.CANNOT_TELL,
            f"I cannot tell: {reason}",
            0.0,
            placement=request.placement,
            reason=reason,
        )

    def _settled(
        self,
        request: AnswerRequest,
        frame: Frame,
        *,
        labels: tuple[str, ...],
        seen: list[_Seen],
        picture: tuple[bytes, Representation, str],
    ) -> Answer:
        value, confidence, number = self._valued(request.understanding.task, labels, seen)
        shown = seen[:number]  # best first, so the likeliest n objects are the first n
        counts = Counter(item.sighting.label for item in shown)
        text = in_view(counts, labels=labels, subject=request.understanding.subject, device=self._sender.device_id)
        rule = picture[2]
        reason = f"rule {rule} keeps its pictures from going as they are" if rule else ""
        return Answer(
            request.question.question_id,
            Outcome.ANSWERED,
            f"Yes: {text}" if value is True else text,
            confidence,
            value=value,
            evidence=(self._evidence(frame, shown, picture),),
            placement=request.placement,
            reason=reason,
            rule=rule,
        )

    def _valued(self, task: Task, labels: tuple[str, ...], seen: list[_Seen]) -> tuple[bool | int, float, int]:
        """The typed value, its confidence and how many objects carry it."""
        scores, platt = [item.score for item in seen], likelihood.calibration(labels)
        if task is Task.COUNT:
            counted = likelihood.count(scores, platt)
            return counted.value, min(_ceiling(counted.value > 0), counted.probability), counted.value
        sure = likelihood.presence(scores, platt)
        present = sure >= 0.5
        confidence = min(_ceiling(present), max(sure, 1.0 - sure))
        return present, confidence, max(1, _reportable(seen)) if present else 0

    def _evidence(self, frame: Frame, shown: list[_Seen], picture: tuple[bytes, Representation, str]) -> Evidence:
        data, form, _ = picture
        return Evidence(
            self._sender.device_id,
            frame.time,
            frame.time,
            event_id=self._event_of(shown),
            sightings=tuple(item.sighting for item in shown),
            picture=data,
            representation=form,
            media_offset=frame.media_time,
            picture_time=frame.time if data else None,
        )

    def _seen(self, frame: Frame, detections: tuple[Detection, ...], labels: tuple[str, ...]) -> list[_Seen]:
        """Objects of these labels, each once, best first: fresh candidates, lifted or joined by recent tracks."""
        recent = {item.track.track_id: item for item in self._recent(frame, labels)}
        found: list[_Seen] = []
        # Candidates of other labels take part until each thing has one name: a bus is not two bicycles as well.
        for thing in observe(detections):
            named = [vote for vote in thing.votes if vote.label in labels]
            track = _overlapping(thing.box, recent)
            if not named:
                continue
            label, score = named[0].label, named[0].score
            if track is not None:
                del recent[track.track.track_id]
                label, score = track.track.label, max(score, track.track.score)
            sighting = Sighting(frame.time, label, score, thing.box)
            found.append(_Seen(sighting, score, track.track.track_id if track else None))
        for item in recent.values():
            # Evidence is of the moment of the picture; it stood there less than a second before.
            last = replace(item.track.sightings[-1], time=frame.time)
            found.append(_Seen(last, item.track.score, item.track.track_id))
        return sorted(found, key=lambda item: -item.score)

    def _recent(self, frame: Frame, labels: tuple[str, ...]) -> list[Followed]:
        view = self._eyes.view
        if view is None:
            return []
        return [
            item
            for item in view.followed
            if item.track.label in labels and abs(frame.time - item.track.end) <= _RECENT_S
        ]

    def _event_of(self, shown: list[_Seen]) -> str:
        """The open event of the best object that has one."""
        events = {track.track_id: event.event_id for event in self._eyes.open_events for track in event.tracks}
        return next((events[item.track_id] for item in shown if item.track_id in events), "")

    def _picture(
        self, frame: Frame, detections: tuple[Detection, ...], form: tuple[Representation, str]
    ) -> tuple[bytes, Representation, str]:
        representation, rule = form
        if representation is Representation.REDACTED_FRAMES:
            hidden = people(detections)
            view = self._eyes.view
            for item in view.followed if view is not None else ():
                if item.track.label == "person":
                    hidden.append(item.track.sightings[-1].box)
            return small_jpeg(redact(frame.image, hidden)), representation, rule
        if representation is Representation.FRAMES:
            return small_jpeg(frame.image), representation, rule
        return b"", Representation.FACTS, rule


def _ceiling(found: bool) -> float:
    """One detector's look is never certain, and less so of an absence: it misses what is small or half hidden."""
    return 0.99 if found else 0.95


def _reportable(seen: list[_Seen]) -> int:
    return sum(item.score >= report_threshold(item.sighting.label) or item.track_id is not None for item in seen)


def _overlapping(box: Box, tracks: dict[int, Followed]) -> Followed | None:
    best = max(tracks.values(), key=lambda item: item.track.sightings[-1].box.iou(box), default=None)
    if best is None or best.track.sightings[-1].box.iou(box) < _SAME_OVERLAP:
        return None
    return best
