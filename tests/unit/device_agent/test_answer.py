"""Answers about now: words, numbers, confidence, pictures and refusals."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from device_agent.answer import Answerer
from device_agent.frames import Frame
from device_agent.sender import Sender
from device_agent.view import Change, View
from device_agent.words import plural
from foveate.errors import MalformedMessage, NotFound, Refused
from foveate.messages import (
    Answer,
    AnswerRequest,
    Boundary,
    Event,
    Outcome,
    Pick,
    Place,
    Placement,
    Question,
    Representation,
    Task,
    Tier,
    TriggerKind,
    Understanding,
)
from foveate.residency import ResidencyPolicy, Rule, RuleScope
from foveate.v1 import answer_service_pb2
from foveate.vision.detect import Detection
from foveate.vision.draw import small_jpeg
from foveate.wire import answer_of, failure_of, request_to
from tests.unit.device_agent.fakes import START, ScriptedDetector, StillEyes, detection, followed, frame

SENDER = Sender("body-1", "north", "eu-west")
AT_SITE = Place("eu-west", "north")
EVERYTHING = {item.name: Boundary.WORLD for item in Representation}


def _request(
    task: Task = Task.PRESENCE,
    labels: tuple[str, ...] = ("person",),
    *,
    now: bool = True,
    asker: Place | None = AT_SITE,
    devices: tuple[str, ...] = ("body-1",),
) -> AnswerRequest:
    understanding = Understanding(task, "subject", labels, START, START + 1, now, Pick.ANY, "as written")
    placement = Placement(Tier.DEVICE, "body-1", Representation.FRAMES)
    question = Question("q1", "?", START, asker=asker)
    return AnswerRequest(question, understanding, placement, devices, 1, 1.0)


def _answerer(
    *found: Detection, eyes: StillEyes | None = None, age: float = 0.1, limits: dict[str, Boundary] | None = None
) -> Answerer:
    chosen = tuple((Representation[name], limit) for name, limit in (limits or EVERYTHING).items())
    return Answerer(
        eyes or StillEyes(newest=frame(START)),
        detector=ScriptedDetector(found),
        policy=ResidencyPolicy((Rule("at-home", RuleScope(), chosen),)),
        sender=SENDER,
        now=lambda: START + age,
    )


def _eyes(*labels: str, at: float = START, newest: Frame | None = None) -> StillEyes:
    items = tuple(followed(n, label, start=at - 1, end=at) for n, label in enumerate(labels, start=1))
    event = Event(
        "event-1", 1, "body-1", "north", "eu-west", TriggerKind.OBJECT, at - 1, at, True, 0.5, tracks=(items[0].track,)
    )
    return StillEyes(newest or frame(START), View(at, 0.0, Change(9.0), items), (event,))


def test_presence_with_evidence() -> None:
    two = (detection("person", 0.8, left=0.1), detection("person", 0.7, left=0.6), detection("dog", 0.9, left=0.35))
    answer = _answerer(*two).answer(_request())
    assert answer.text == "Yes: 2 people are in view of body-1."
    assert answer.value is True
    assert answer.confidence > 0.95
    (evidence,) = answer.evidence
    assert [sighting.label for sighting in evidence.sightings] == ["person", "person"]
    assert evidence.start == evidence.end == evidence.picture_time == START
    assert evidence.media_offset == 0.0
    assert evidence.representation is Representation.FRAMES
    assert Image.open(io.BytesIO(evidence.picture)).size == (64, 48)


def test_absence_is_said_with_confidence() -> None:
    answer = _answerer(detection("chair", 0.9)).answer(_request())
    assert (answer.text, answer.value) == ("No person is in view of body-1.", False)
    assert answer.confidence == 0.95
    assert answer.evidence[0].sightings == ()


def test_a_doubtful_candidate_lowers_the_confidence_of_both_answers() -> None:
    no = _answerer(detection("person", 0.4)).answer(_request())
    yes = _answerer(detection("person", 0.6)).answer(_request())
    assert (no.value, yes.value) == (False, True)
    assert 0.5 < no.confidence < 0.95
    assert 0.5 < yes.confidence < 0.95


def test_several_labels_count_an_object_once() -> None:
    found = (
        detection("car", 0.8, left=0.1),
        detection("truck", 0.7, left=0.1),
        detection("bus", 0.75, left=0.6),
    )
    answer = _answerer(*found).answer(_request(Task.COUNT, ("car", "truck", "bus")))
    assert answer.value == 2
    assert answer.text == "1 car and 1 bus are in view of body-1."
    none = _answerer().answer(_request(Task.COUNT, ("car", "truck", "bus")))
    assert (none.value, none.text) == (0, "No car, truck or bus is in view of body-1.")


def test_what_was_followed_a_moment_ago_counts_once_with_the_fresh_look() -> None:
    fresh = detection("person", 0.5)
    assert _answerer(fresh, eyes=_eyes("person")).answer(_request(Task.COUNT)).value == 1
    hidden = _answerer(eyes=_eyes("person")).answer(_request())
    assert hidden.value is True
    assert hidden.evidence[0].event_id == "event-1"
    gone = _answerer(eyes=_eyes("person", at=START - 1.2)).answer(_request())
    assert gone.value is False


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (_request(Task.DESCRIBE), "cannot describe"),
        (_request(now=False), "about now only"),
        (_request(labels=()), "no name for “subject”"),
        (_request(labels=("unicorn",)), "no name for “subject”"),
    ],
)
def test_what_a_device_cannot_tell(request_: AnswerRequest, word: str) -> None:
    answer = _answerer(detection("person", 0.9)).answer(request_)
    assert answer.outcome is Outcome.CANNOT_TELL
    assert word in answer.reason
    assert answer.evidence == ()


def test_an_old_frame_says_nothing_about_now() -> None:
    eyes = StillEyes(newest=frame(START), trouble="The camera has sent nothing for 10 s; check it.")
    answer = _answerer(detection("person", 0.9), eyes=eyes, age=12.0).answer(_request())
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "12 s old" in answer.reason
    assert "check it" in answer.reason
    blind = _answerer(eyes=StillEyes()).answer(_request())
    assert "not seen a picture yet" in blind.reason


def test_pictures_travel_as_far_as_the_policy_lets_them() -> None:
    limits = {
        "FACTS": Boundary.WORLD,
        "REDACTED_FRAMES": Boundary.REGION,
        "FRAMES": Boundary.SITE,
    }
    person = detection("person", 0.9, left=0.1, top=0.1, size=0.8)
    by_asker: dict[Place | None, Answer] = {
        asker: _answerer(person, limits=limits).answer(_request(asker=asker))
        for asker in (Place("eu-west", "north"), Place("eu-west"), Place("us-ca"), None)
    }
    forms = [answer.evidence[0].representation for answer in by_asker.values()]
    assert forms == [
        Representation.FRAMES,
        Representation.REDACTED_FRAMES,
        Representation.FACTS,
        Representation.FACTS,
    ]
    pictures = [answer.evidence[0].picture for answer in by_asker.values()]
    assert pictures[0] != pictures[1]
    assert pictures[2:] == [b"", b""]
    assert by_asker[None].rule == "at-home"
    assert by_asker[None].evidence[0].sightings


def test_nothing_goes_where_not_even_facts_may() -> None:
    with pytest.raises(Refused) as caught:
        _answerer(limits={"FACTS": Boundary.SITE}).answer(_request(asker=Place("us-ca")))
    assert caught.value.metadata["rule"] == "at-home"


async def test_over_the_wire_errors_are_data() -> None:
    answerer = _answerer(detection("person", 0.9))
    good = request_to(_request()).SerializeToString()
    reply = answer_service_pb2.AnswerServiceAnswerResponse.FromString(await answerer.serve(good))
    assert answer_of(reply.answer).value is True
    other = request_to(_request(devices=("cam-2",)))
    for payload, kind in ((other.SerializeToString(), NotFound), (b"\xff\xff", MalformedMessage)):
        failed = answer_service_pb2.AnswerServiceAnswerResponse.FromString(await answerer.serve(payload))
        assert isinstance(failure_of(failed.failure), kind)


def test_a_picture_fits_into_a_message() -> None:
    import numpy as np

    noise = np.random.default_rng(2).integers(0, 255, (1080, 1920, 3), np.uint8)
    data = small_jpeg(noise)
    assert len(data) <= 256 * 1024
    assert max(Image.open(io.BytesIO(data)).size) <= 960


@pytest.mark.parametrize(
    ("one", "many"),
    [("person", "people"), ("bus", "buses"), ("bench", "benches"), ("knife", "knives"), ("car", "cars")],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many
