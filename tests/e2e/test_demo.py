"""The demo shows a newcomer each way that a question can take, and leaves a report and no process."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from tests.command_line import Ran


def test_it_ends_by_itself_with_every_way_shown(demo: tuple[Ran, Path]) -> None:
    ran, _ = demo
    assert ran.code == 0, ran.err
    shown = ran.json
    questions = shown["questions"]
    assert len(questions) >= 6
    assert shown["seconds"] > 0
    assert {device["id"] for device in shown["fleet"]["devices"]} == {"body-1", "glasses-1", "fixed-1"}

    def some(test: object) -> bool:
        return any(test(q) for q in questions)  # type: ignore[operator]

    assert some(lambda q: q["status"] == "answered" and q["tier"] == "device")
    assert some(lambda q: q["status"] == "answered" and q["tier"] == "edge" and q["representation"] == "CLIP")
    assert some(
        lambda q: (
            [s["tier"] for s in q["steps"]][-1:] == ["cloud"]
            and [s["status"] for s in q["steps"]][:1] == ["unsure"]
            and q["steps"][0]["tier"] == "edge"
        )
    )
    assert some(
        lambda q: (
            q["status"] == "answered"
            and q["representation"] == "REDACTED_FRAMES"
            and any(r["representation"] == "CLIP" and r["rule"] for r in q["plan"]["rejected"])
        )
    )
    assert some(lambda q: q["status"] == "refused" and q["rule"] == "glasses-belong-to-their-wearer")
    assert some(lambda q: q["status"] == "cannot_tell")


def test_every_answer_has_a_picture_and_the_report_stands_alone(demo: tuple[Ran, Path]) -> None:
    ran, folder = demo
    for question in ran.json["questions"]:
        if question["status"] == "answered" and question["evidence"]:
            assert Path(question["evidence"][0]["image"]).read_bytes()[:2] == b"\xff\xd8"
    html = (folder / "out" / "report.html").read_text()
    assert "data:image/jpeg;base64" in html
    assert 'src="http' not in html


def test_no_process_is_left(demo: tuple[Ran, Path]) -> None:
    _, folder = demo
    left = [
        p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())
    ]
    assert left == []


def test_the_refused_question_moved_nothing(demo: tuple[Ran, Path]) -> None:
    ran, _ = demo
    refused = [q for q in ran.json["questions"] if q["status"] == "refused"]
    assert refused
    assert all(not q["evidence"] and q["value"] is None for q in refused)
    assert json.dumps(refused)
