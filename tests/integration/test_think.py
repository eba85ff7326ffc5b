"""A site with a model, real clips and a strict server: what the model says, weighed against the detector."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_node.compress.price import PatchTokens
from edge_node.thresholds import CAP
from foveate.facts import cannot_tell
from foveate.messages import (
    Evidence,
    Outcome,
    Place,
    Placement,
    Representation,
    Side,
    Task,
    Tier,
)
from foveate.telemetry import JsonLines
from foveate.vision.draw import read_jpeg
from tests.integration.chat_server import chat_server, images
from tests.integration.site_with_model import APPEARS, SIGN, START, Hour, embedded, hour, record, reply, request, site
from tools.calibrate_gate import DECIDED


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("film") / "film.mp4")


async def test_two_witnesses_that_agree_leave_the_surer_word(film: Path, tmp_path: Path) -> None:
    with chat_server(reply(True, picture=9)) as server:
        async with site(server, film, tmp_path, says=embedded(True, 0.9)) as north:
            answer = await north.answerer.answer(request())
    assert (answer.value, answer.confidence, answer.model) == (True, 0.9, "tiny-vl@awq")
    assert answer.tokens is not None
    assert (answer.tokens.prompt, answer.tokens.thinking) == (100, 0)
    assert answer.cost_usd == pytest.approx((100 * 1.0 + answer.tokens.answer * 2.0) / 1e6)
    assert (north.pulls.pulled, north.pulls.forgotten) == (1, 1)
    shown = answer.evidence[0]
    assert (shown.device_id, shown.representation, shown.event_id) == ("cam-1", Representation.FRAMES, "e-1")
    assert shown.picture_time is not None
    assert shown.media_offset == pytest.approx(10 + shown.picture_time - START, abs=0.01)
    assert read_jpeg(shown.picture).shape == (180, 320, 3)
    assert [seen.label for seen in shown.sightings] == ["car"]
    sizes = images(server.requests[0])
    assert len(sizes) >= 2
    assert sum(PatchTokens().tokens(*size) for size in sizes) <= 600


async def test_each_decision_is_noted_for_calibration(
    film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with chat_server(reply(True, log_prob=-0.1, picture=1)) as server:
        async with site(server, film, tmp_path) as north:
            await north.answerer.answer(request())
    rows = [json.loads(JsonLines("edge_node").format(record)) for record in caplog.records]
    (row,) = [row for row in rows if row["message"] == DECIDED]
    assert (row["question_id"], row["model"], row["task"]) == ("q-1", "tiny-vl@awq", "presence")
    assert (row["raw"], row["thought"], row["thinking"]) == (pytest.approx(0.904837), False, 0)


async def test_two_that_differ_leave_the_likelier_one_less_sure(film: Path, tmp_path: Path) -> None:
    with chat_server(reply(False, picture=None)) as server:
        async with site(server, film, tmp_path, says=embedded(True, 0.95)) as north:
            answer = await north.answerer.answer(request())
    # Uncalibrated, the model counts for CAP, over the 4.6 of 6 seconds that were looked at.
    assert answer.value is True
    assert 0.5 < answer.confidence <= 0.95 * 0.9
    assert "said otherwise: No: the model does not see car" in answer.text
    assert "differ" in answer.reason


async def test_a_model_that_cannot_tell_costs_a_little(film: Path, tmp_path: Path) -> None:
    with chat_server(reply(None, picture=None)) as server:
        async with site(server, film, tmp_path, says=embedded(True, 0.8)) as north:
            answer = await north.answerer.answer(request())
    assert (answer.value, answer.confidence) == (True, pytest.approx(0.72))
    assert "cannot tell" in answer.reason


async def test_a_find_is_the_time_of_the_picture(film: Path, tmp_path: Path) -> None:
    with chat_server(reply(4)) as server:
        async with site(server, film, tmp_path) as north:
            answer = await north.answerer.answer(request(Task.FIND))
    captions = [p["text"] for p in server.requests[0]["messages"][1]["content"] if p["type"] == "text"]
    assert isinstance(answer.value, float)
    assert f"Picture 4, camera cam-1, 2025-06-16 12:00:0{answer.value - START:.1f} UTC:" in captions
    assert answer.evidence[0].picture_time == answer.value


async def test_a_picture_in_which_the_thing_is_stands_for_one_in_which_it_is_not(film: Path, tmp_path: Path) -> None:
    with chat_server(reply(True, picture=1)) as server:
        async with site(server, film, tmp_path) as north:
            answer = await north.answerer.answer(request())
    (shown,) = answer.evidence
    assert shown.start >= START + APPEARS
    assert [seen.label for seen in shown.sightings] == ["car"]
    assert answer.moved_bytes == film.stat().st_size


async def test_both_sides_of_a_comparison_are_shown(film: Path, tmp_path: Path) -> None:
    now = request(Task.COMPARE)
    sides = (Side("car", ("car",), (), START, START + 2.0), Side("car", ("car",), (), START + 4.0, START + 6.0))
    asked = replace(now, understanding=replace(now.understanding, sides=sides))
    with chat_server(reply("The yard is empty at first; then a square crosses it.", picture=1)) as server:
        async with site(server, film, tmp_path) as north:
            answer = await north.answerer.answer(asked)
    parts = server.requests[0]["messages"][1]["content"]
    captions = [part["text"] for part in parts if part["type"] == "text" and part["text"].startswith("Picture ")]
    seconds = [float(caption.split(" UTC")[0].split(":")[-1]) for caption in captions]
    assert min(seconds) <= 0.5
    assert max(seconds) >= 4.5
    assert not [one for one in seconds if 2.5 < one < 3.5]
    assert str(answer.value).startswith("The yard is empty at first")


async def test_words_are_the_models_own_capped_and_with_their_picture(film: Path, tmp_path: Path) -> None:
    with chat_server(reply("A white square crosses a grey yard.", picture=8)) as server:
        async with site(server, film, tmp_path) as north:
            answer = await north.answerer.answer(request(Task.DESCRIBE))
    assert (answer.outcome, answer.confidence) == (Outcome.ANSWERED, CAP)
    assert answer.value == "A white square crosses a grey yard."
    assert answer.text.startswith("A white square crosses a grey yard. (cam-1, 12:00:0")
    assert len(answer.evidence) == 1
    assert "not calibrated" in answer.reason
    assert "embedded default" not in answer.reason


async def test_what_concerns_no_model_goes_straight_through(film: Path, tmp_path: Path) -> None:
    says = embedded(True, 0.9)
    with chat_server(reply(False)) as server:
        async with site(server, film, tmp_path, says=says) as north:
            facts = request(representation=Representation.FACTS)
            device = replace(request(), placement=Placement(Tier.DEVICE, "cam-1", Representation.FACTS))
            for asked in (facts, device, request(Task.LISTEN), request(Task.EXTRACT)):
                assert await north.answerer.answer(asked) is says
    assert server.requests == []


async def test_a_model_elsewhere_sees_only_what_may_go_there_and_it_is_kept(film: Path, tmp_path: Path) -> None:
    cloud = Place("us-ca")
    with chat_server(reply(True, picture=1)) as server:
        says = embedded(True, 0.6, quote=SIGN)
        async with site(server, film, tmp_path, says=says, place=cloud) as north:
            await north.answerer.answer(request())
            ((header, where),) = north.guard.recorded
            assert (header.device_id, header.representation, where) == ("cam-1", Representation.FRAMES, cloud)
            ((device, words, told_to),) = north.guard.words
            assert (device, told_to, SIGN in words[0]) == ("cam-1", cloud, True)
            elsewhere = (Evidence("cam-of-another-site", START, START, quote="SECRET"),)
            await north.answerer.answer(replace(request(), carried=elsewhere))
            assert {device for device, _, _ in north.guard.words} == {"cam-1"}
            assert "SECRET" not in str(server.requests)
            north.guard.refuses = lambda _, form, place: place == cloud and form > Representation.FACTS
            await north.answerer.answer(request())
            north.guard.refuses = lambda *_: True
            refused = await north.answerer.answer(request())
        async with site(server, film, tmp_path, says=says) as north:
            await north.answerer.answer(request())
            assert north.guard.recorded == north.guard.words == []
    assert [len(images(body)) > 0 for body in server.requests] == [True, True, False, True]
    assert (refused.value, refused.confidence) == (True, 0.6)
    assert "rule pictures keeps it to SITE" in refused.reason


async def test_a_model_without_eyes_answers_from_what_was_read(film: Path, tmp_path: Path) -> None:
    says = replace(cannot_tell(request(), ""), evidence=embedded(None, 0.0, quote="EXIT 7").evidence)
    with chat_server(reply("EXIT 7", picture=None)) as server:
        async with site(server, film, tmp_path, says=says, sees=False) as north:
            answer = await north.answerer.answer(request(Task.READ))
    assert answer.value == "EXIT 7"
    assert answer.evidence[0].quote == "EXIT 7"


async def test_a_long_span_is_shown_by_its_key_frames_and_quotes(film: Path, tmp_path: Path) -> None:
    with chat_server(reply("A quiet hour.", picture=1)) as server:
        async with site(server, film, tmp_path, scene=Hour()) as north:
            answer = await north.answerer.answer(hour(Task.SUMMARISE))
    texts = [part["text"] for part in server.requests[0]["messages"][1]["content"] if part["type"] == "text"]
    captions = [text for text in texts if text.startswith("Picture ")]
    assert "11:0" in captions[0]  # an hour before
    assert "12:00:0" in captions[-1]
    assert sum(PatchTokens().tokens(*size) for size in images(server.requests[0])) <= 600
    (quoted,) = [text for text in texts if "<recognised>" in text]
    inside = json.loads(quoted.partition("<recognised>\n")[2].partition("\n</recognised>")[0])
    assert [line.partition(" UTC: ")[2] for line in inside] == ["The van is here.", SIGN]
    assert answer.evidence[0].event_id.startswith("e-")
    assert answer.evidence[0].media_offset == 7.0
    assert answer.evidence[0].start < START


async def test_key_frames_are_not_for_redacted_questions_and_may_be_out_of_reach(film: Path, tmp_path: Path) -> None:
    with chat_server(reply("A quiet hour.", picture=1)) as server:
        async with site(server, film, tmp_path, scene=Hour()) as north:
            form = Placement(Tier.EDGE, "north", Representation.REDACTED_FRAMES)
            redacted = await north.answerer.answer(replace(hour(Task.SUMMARISE), placement=form))
        async with site(server, film, tmp_path, scene=Hour(gone=True)) as north:
            without = await north.answerer.answer(hour(Task.SUMMARISE))
    assert redacted.evidence[0].start >= START
    assert redacted.evidence[0].representation is Representation.REDACTED_FRAMES
    assert without.evidence[0].start >= START
