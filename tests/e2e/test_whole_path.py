"""A question travels from real footage to an answer with evidence, and bad input to one clear sentence."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import CommandLine


def boxes_are_in_the_picture(question: dict) -> None:
    for evidence in question["evidence"]:
        for box in evidence["boxes"]:
            assert 0 <= box["left"] <= box["left"] + box["width"] <= 1.001
            assert 0 <= box["top"] <= box["top"] + box["height"] <= 1.001


def test_is_there_a_person(fleet: CommandLine) -> None:
    # carphone shows a man's head and shoulders from its first frame to its last.
    shown = fleet.ok("ask", "is there a person in view?", "--device", "cam-2")
    assert (shown["status"], shown["value"], shown["task"]) == ("answered", True, "presence")
    assert shown["tier"] == "device"
    assert shown["confidence"] > 0.55
    assert [box["label"] for box in shown["evidence"][0]["boxes"]].count("person") >= 1
    boxes_are_in_the_picture(shown)
    assert Path(shown["evidence"][0]["image"]).read_bytes()[:2] == b"\xff\xd8"


def test_how_many_people_on_all_cameras(fleet: CommandLine) -> None:
    shown = fleet.ok("ask", "how many people are there now?")
    assert (shown["status"], shown["task"]) == ("answered", "count")
    assert isinstance(shown["value"], int)
    assert shown["value"] >= 1
    boxes_are_in_the_picture(shown)


def test_when_did_a_person_first_appear(fleet: CommandLine) -> None:
    shown = fleet.ok("ask", "when did a person first appear?", "--device", "cam-2")
    assert (shown["status"], shown["task"]) == ("answered", "find")
    evidence = shown["evidence"][0]
    assert evidence["device"] == "cam-2"
    assert evidence["start"] <= evidence["end"]
    # He sits there when the camera starts, so the first moment is the stream's own.
    assert evidence["media_start_s"] == pytest.approx(0.0, abs=1.0)
    assert any(box["label"] == "person" for box in evidence["boxes"])
    boxes_are_in_the_picture(shown)


def test_an_explanation_is_kept(fleet: CommandLine) -> None:
    shown = fleet.ok("ask", "is there a person in view?", "--device", "cam-2")
    again = fleet.ok("explain", shown["id"])
    assert again["steps"] == shown["steps"]
    drawn = fleet.run("explain", shown["id"][:20])
    assert drawn.code == 0
    assert "considered" in drawn.out
    assert "tried" in drawn.out


def test_a_question_beyond_the_embedded_default_is_not_answered(fleet: CommandLine) -> None:
    ran = fleet.run("ask", "what mood is the man in?", "--json")
    assert ran.code == 5
    assert ran.json["status"] == "cannot_tell"


def test_a_clip_is_the_recorded_footage(fleet: CommandLine, tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    shown = fleet.ok("clip", "get", "cam-1", "--since", "8s", "--until", "3s", "--output", str(target))
    assert hashlib.sha256(target.read_bytes()).hexdigest() == shown["sha256"]
    av = pytest.importorskip("av")
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in container.decode(video=0)) >= 25


def test_devices_are_listed(fleet: CommandLine) -> None:
    devices = fleet.ok("device", "list")["devices"]
    assert [device["id"] for device in devices] == ["cam-1", "cam-2"]
    assert all(device["enrolled"] for device in devices)
    assert fleet.ok("device", "show", "cam-1")["newest_events"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ask", "is there a person?", "--device", "cam-9"), 4, "cam-9"),
        (("ask", "is there a person?", "--site", "nowhere"), 4, "nowhere"),
        (("ask", " "), 2, "empty"),
        (("ask", "x" * 10_000), 2, "10000"),
        (("ask", "is there a person?", "--deadline", "-1"), 2, "deadline"),
        (("device", "show", "cam-9"), 4, "cam-9"),
        (("clip", "get", "cam-9"), 4, "cam-9"),
        (("explain", "00000000-0000"), 4, "00000000"),
    ],
)
def test_bad_input_is_one_sentence(fleet: CommandLine, arguments: tuple[str, ...], code: int, words: str) -> None:
    ran = fleet.run(*arguments)
    assert ran.code == code, ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err + ran.out
    assert json.loads(fleet.run(*arguments, "--json").out)["error"]["message"]


def test_a_second_up_finds_the_first(fleet: CommandLine) -> None:
    before = fleet.children()
    assert fleet.ok("up", "--detach")["state"] == "healthy"
    assert fleet.children() == before


@pytest.mark.parametrize("kind", ["text", "truncated", "empty"])
def test_what_is_no_video_is_refused(kind: str, clips: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    content = {"text": b"this is no video\n" * 100, "truncated": clips["bikes"].read_bytes()[:2000], "empty": b""}
    broken.write_bytes(content[kind])
    line = CommandLine(tmp_path / "data")
    try:
        ran = line.run("up", "--video", str(broken), "--detach")
        assert ran.code == 2, ran.err + ran.out
        assert "broken.mp4" in ran.err.replace("\n", "")
        assert "Traceback" not in ran.err
    finally:
        line.run("down")


def test_a_site_without_an_uplink_answers_alone(fleet: CommandLine) -> None:
    before = remembered(fleet, "--at", "site-1")
    with stopped(fleet, "nats-hub"):
        ran = fleet.until(lambda: told_offline(fleet), seconds=20)
        assert ran["status"] == "cannot_tell"
        with stopped(fleet, "cloud", "router"):
            answers = [
                fleet.until(lambda: given_alone(fleet, "is there a person in view?")),
                given_alone(fleet, "how many people were there in the last 30 minutes?"),
                given_alone(fleet, "show me a person in the last 30 minutes"),
            ]
            assert all(answers)
            assert [shown["tier"] for shown in answers] == ["device", "edge", "edge"]
            assert [shown["value"] for shown in answers][:2] == [True, 1]
            assert "CLIP" in json.dumps(answers[2]["steps"])
            assert all("site site-1 answered alone" in shown["reason"] for shown in answers)
            assert all(shown["latency_ms"] < 5000 for shown in answers)
            # Nobody need know the site's name: the fleet's router is gone, so the site's own is asked.
            ran = fleet.run("explain", answers[0]["id"])
            assert "own router of site-1" in ran.err
            assert "given by the site alone" in ran.out
            waiting = fleet.until(lambda: remembered(fleet, "--at", "site-1") - before)
    fleet.until(lambda: waiting <= remembered(fleet), seconds=90)
    shown = fleet.until(lambda: in_touch(fleet))
    assert (shown["value"], shown["alone"], shown["reason"]) == (True, False, None)


@contextlib.contextmanager
def stopped(fleet: CommandLine, *names: str) -> Iterator[None]:
    """The children stand still, as behind a link that was cut: what is sent to them gets no answer and no refusal."""
    pids = [fleet.children()[name] for name in names]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def told_offline(fleet: CommandLine) -> dict | None:
    ran = fleet.run("ask", "is there a person in view?", "--device", "cam-2", "--json")
    return ran.json if ran.json["reason"] == "site site-1 is offline" else None


def given_alone(fleet: CommandLine, text: str) -> dict | None:
    shown = fleet.ok("ask", text, "--device", "cam-2", "--at", "site-1")
    return shown if shown["alone"] else None


def in_touch(fleet: CommandLine) -> dict | None:
    shown = fleet.ok("ask", "is there a person in view?", "--device", "cam-2", "--at", "site-1")
    return None if shown["alone"] else shown


def remembered(fleet: CommandLine, *where: str) -> set[str]:
    return {event["id"] for event in fleet.ok("event", "list", "--limit", "1000", *where)["events"]}
