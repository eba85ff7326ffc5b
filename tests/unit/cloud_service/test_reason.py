"""How the cloud words and weighs an answer, without a memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_service.reason import unsure_of_silent, with_sites
from foveate import messages as m

NOW = 1_750_000_000.0
DEVICES = [
    m.Device("cam-1", "north", "eu", m.DeviceKind.BODY_CAM),
    m.Device("cam-10", "south", "us", m.DeviceKind.BODY_CAM),
]
NO = m.Answer("q", m.Outcome.ANSWERED, "No: cam-1, cam-10 did not see a cam-100.", 0.8, value=False)


def request(task: m.Task = m.Task.PRESENCE, pick: m.Pick = m.Pick.ANY) -> m.AnswerRequest:
    understanding = m.Understanding(task, "person", ("person",), NOW - 60, NOW, False, pick, "")
    place = m.Placement(m.Tier.CLOUD, "cloud", m.Representation.FACTS)
    return m.AnswerRequest(m.Question("q", "?", NOW), understanding, place, ("cam-1", "cam-10"), 2, 1.0)


def sites(north: float | None, south: float | None) -> dict[str, m.Site]:
    return {"north": m.Site("north", "eu", seen=north), "south": m.Site("south", "us", seen=south)}


def test_devices_are_named_with_their_sites_only_when_there_are_several():
    assert with_sites(NO, DEVICES).text == "No: cam-1 at north, cam-10 at south did not see a cam-100."
    assert with_sites(NO, DEVICES[:1]) is NO
    assert with_sites(NO, []) is NO


@pytest.mark.parametrize(
    ("north", "south", "confidence"),
    [(NOW, NOW, 0.8), (NOW - 5, NOW + 99, 0.8), (NOW - 7, NOW, 0.4), (None, None, 0.0)],
)
def test_silence_before_the_end_of_the_span_takes_confidence(north: float, south: float, confidence: float):
    answer = unsure_of_silent(NO, request(), devices=DEVICES, sites=sites(north, south))
    assert answer.confidence == pytest.approx(confidence)
    assert ("heard of" in answer.reason) == (confidence < 0.8)


@pytest.mark.parametrize(
    ("task", "pick", "value", "dampened"),
    [
        (m.Task.PRESENCE, m.Pick.ANY, True, False),
        (m.Task.FIND, m.Pick.ANY, NOW, False),
        (m.Task.FIND, m.Pick.LAST, NOW, True),
        (m.Task.COUNT, m.Pick.ANY, 1, True),
        (m.Task.COUNT, m.Pick.ANY, 0, True),
        (m.Task.FIND, m.Pick.FIRST, NOW, True),
    ],
)
def test_only_what_a_late_event_could_change_is_dampened(task: m.Task, pick: m.Pick, value: float, dampened: bool):
    answer = replace(NO, value=value)
    found = unsure_of_silent(answer, request(task, pick), devices=DEVICES, sites=sites(None, NOW))
    assert (found.confidence < answer.confidence) == dampened


def test_what_was_not_answered_stays_as_it_is():
    unknown = replace(NO, outcome=m.Outcome.CANNOT_TELL, value=None)
    assert unsure_of_silent(unknown, request(), devices=DEVICES, sites=sites(None, None)) is unknown
