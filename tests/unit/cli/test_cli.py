"""The command line: help with an example everywhere, exit codes that mean something, JSON of a stable shape."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from foveate import messages as m
from foveate import residency
from foveate.cli import as_json, asking, demo, report, showing
from foveate.cli.__main__ import app
from foveate.errors import InvalidInput
from foveate.vision.boxes import Box

NOW = 1_790_000_000.0
COMMANDS = [
    ["up"],
    ["down"],
    ["demo"],
    ["ask"],
    ["explain"],
    ["question", "show"],
    ["device", "list"],
    ["device", "show"],
    ["device", "press"],
    ["device", "watch"],
    ["funnel"],
    ["event", "list"],
    ["clip", "get"],
    ["models"],
]


@pytest.fixture
def record() -> m.QuestionRecord:
    placement = m.Placement(m.Tier.EDGE, "north", m.Representation.REDACTED_FRAMES)
    sighting = m.Sighting(NOW, "bicycle", 0.8, Box(0.1, 0.2, 0.3, 0.4))
    understanding = m.Understanding(
        m.Task.FIND, "bicycle", ("bicycle",), NOW - 60, NOW, now=False, pick=m.Pick.FIRST, reason="find <bicycle>"
    )
    rejected = m.RejectedPlacement(
        m.Placement(m.Tier.EDGE, "north", m.Representation.CLIP), "CLIP may not go to SITE", rule="no-faces"
    )
    planned = m.PlannedPlacement(placement, 1.0, 0.0001, 0.8, "cheapest that may")
    return m.QuestionRecord(
        question=m.Question("0190-question", "When did a bicycle first appear?", NOW),
        plan=m.Plan("0190-question", understanding, (planned,), (rejected,), "one placement is left", ("g-1: mine",)),
        steps=(m.Step(placement, m.StepState.ANSWERED, "sure enough", 0.83, 0.4, 0.0001),),
        answer=m.Answer(
            question_id="0190-question",
            outcome=m.Outcome.ANSWERED,
            text="A bicycle first appeared at 12:00:00 UTC.",
            confidence=0.83,
            value=NOW - 30,
            evidence=(m.Evidence("body-1", NOW - 30, NOW - 28, "event-1", (sighting,), media_offset=2.0),),
            placement=placement,
            rule="no-faces",
        ),
        latency_s=0.41,
        cost_usd=0.0001,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(app(), [*command, "--help"])
    assert result.exit_code == 0
    assert "Example: foveate" in result.output
    assert "--json" in result.output


def test_a_missing_fleet_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(app(), ["ask", "is there a person?", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "foveate up" in result.stderr
    assert "Traceback" not in result.output + result.stderr


def test_an_error_is_json_when_json_was_asked_for(tmp_path: Path) -> None:
    result = CliRunner().invoke(app(), ["device", "list", "--json", "--data", str(tmp_path)])
    assert json.loads(result.stdout)["error"]["reason"] == "NOT_READY"


def test_a_missing_video_is_bad_input(tmp_path: Path) -> None:
    result = CliRunner().invoke(app(), ["up", "--video", str(tmp_path / "none.mp4"), "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "none.mp4" in result.stderr.replace("\n", "")


def test_models_name_their_origin_and_licence() -> None:
    found = json.loads(CliRunner().invoke(app(), ["models", "--json"]).stdout)["models"]
    assert {"nanodet-g", "efficientnet-lite0", "minilm-l6-v2"} <= {item["name"] for item in found}
    assert all(item["licence"] and item["origin"] and len(item["sha256"]) == 64 for item in found)
    assert sum(item["size_bytes"] for item in found) <= 40e6


def test_the_contract_for_machines(record: m.QuestionRecord) -> None:
    shown = as_json.question(record, images=["picture.jpg"])
    assert set(shown) >= {
        "id", "question", "task", "status", "answer", "value", "confidence", "tier", "representation",
        "cost_usd", "latency_ms", "steps", "evidence",
    }  # fmt: skip
    assert set(shown["steps"][0]) == {
        "tier", "node", "representation", "status", "reason", "confidence", "latency_ms", "cost_usd",
    }  # fmt: skip
    assert set(shown["evidence"][0]) >= {"device", "event_id", "start", "end", "boxes", "image"}
    assert shown["status"] == "answered"
    assert shown["evidence"][0]["image"] == "picture.jpg"
    assert shown["value"].endswith("+00:00")
    json.dumps(shown)


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600.0), ("90s", 90.0), ("2h", 7200.0), ("1.5d", 129600.0)])
def test_a_moment_may_be_an_age(text: str, seconds: float) -> None:
    found = asking.moment(text)
    assert found is not None
    assert time.time() - found == pytest.approx(seconds, abs=2)


def test_a_moment_may_be_a_date() -> None:
    assert asking.moment("2026-05-01T12:00:00+00:00") == 1777636800.0
    with pytest.raises(InvalidInput, match="no time"):
        asking.moment("tomorrowish")


def test_showing_says_what_happened(record: m.QuestionRecord) -> None:
    screen = Console(width=160, record=True, force_terminal=False)
    for item in (record.plan, *record.steps):
        showing.happening(screen, item)
    showing.record(screen, record, images=["picture.jpg"])
    showing.explanation(screen, record)
    text = screen.export_text()
    for words in (
        "edge north",
        "REDACTED_FRAMES",
        "no-faces",
        "CLIP may not go to SITE",
        "g-1: mine",
        "picture.jpg",
        "0.83",
    ):
        assert words in text


def test_the_report_stands_alone_and_escapes(record: m.QuestionRecord, tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"\xff\xd8jpeg")
    policy = residency.parse({"rules": [{"name": "no-faces", "limits": {"CLIP": "SITE"}}]}, source="test")
    device = m.Device("body-1", "north", "eu-west", m.DeviceKind.BODY_CAM)
    html = report.page(
        [report.Shown(record, (str(picture),), "lesser")],
        devices=[device],
        policy=policy,
        cloud_region="eu-west",
        title="A <report>",
    )
    assert "data:image/jpeg;base64" in html
    assert "http://" not in html
    assert "https://" not in html
    assert "find &lt;bicycle&gt;" in html
    assert "A &lt;report&gt;" in html


def test_the_demo_asks_about_what_was_noticed() -> None:
    def event(label: str) -> m.Event:
        labels = (m.LabelScore(label, 0.9),)
        return m.Event(
            label, 1, "body-1", "north", "eu", m.TriggerKind.OBJECT, NOW, NOW, open=False, score=1.0, labels=labels
        )

    prompts = demo.choose({"body-1": (event("person"), event("elephant")), "fixed-1": (event("bird"),)})
    texts = [prompt.text for prompt in prompts]
    assert len(texts) >= 6
    assert "Show me the first bird on fixed-1." in texts
    assert "Show me an elephant on body-1." in texts
    assert "Was there a train on any camera?" in texts


def test_the_demo_spreads_few_videos_over_all_cameras(tmp_path: Path) -> None:
    video = tmp_path / "one.mp4"
    video.write_bytes(b"not empty")
    plan = demo.plan_for([str(video)])
    assert {device.source for device in plan.devices} == {str(video)}
    assert {site.region for site in plan.sites} == {"eu-west", "us-ca"}
