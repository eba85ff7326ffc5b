"""The configuration file: what it may say in which words, and the sentence for each mistake."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from device_agent import configure, limits
from device_agent.rules import Configuration, Mask, ObjectRules, Pace, Retention
from foveate import document
from foveate.errors import InvalidInput, NotFound
from foveate.messages import Priority

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "device.yaml"
SQUARE = "[[0, 0], [1, 0], [1, 1], [0, 1]]"


def read(text: str) -> Configuration:
    return configure.parse(document.parse(text, source="It"), defaults=Configuration(), source="cam.yaml")


def test_the_example_is_the_defaults_but_for_what_it_calls_examples() -> None:
    found = configure.load(EXAMPLE, ring_bytes=512 << 20, ring_seconds=3600.0)
    plain = Configuration()
    assert [mask.name for mask in found.masks] == ["neighbour's window"]
    assert [zone.name for zone in found.zones] == ["entrance", "parking"]
    assert (found.triggers.object.labels, found.triggers.object.zones) == (("person", "car"), ("entrance",))
    assert found.budget == replace(plain.budget, cpu_share=0.5)
    assert found.recording == plain.recording
    assert replace(found.triggers, object=ObjectRules()) == plain.triggers
    assert replace(found.triggers.object, labels=(), zones=()) == ObjectRules()


def test_the_example_names_every_key() -> None:
    def keys(part: object) -> set[str]:
        own = {item.name for item in fields(part)}  # type: ignore[arg-type]
        return own.union(*(keys(getattr(part, name)) for name in own if is_dataclass(getattr(part, name))))

    text = EXAMPLE.read_text()
    assert {key for key in keys(Configuration()) if not re.search(rf"\b{key}:", text)} == set()


def test_only_what_is_written_changes() -> None:
    found = read("triggers: {novelty: {pace: {pre_s: 1m}}, motion: false, sound: {on: off}}\nrecording:\n")
    assert found.triggers.novelty.pace == replace(Configuration().triggers.novelty.pace, pre_s=60.0)
    assert found.triggers.novelty.pace.priority is Priority.HIGH
    assert not found.triggers.motion.on
    assert not found.triggers.sound.on
    assert found.recording == Retention()


def test_words_for_times_sizes_and_priorities() -> None:
    found = read(
        "triggers: {text: {pace: {pre_s: 1.5, post_s: 500ms, merge_s: 2min, priority: URGENT}}}\n"
        "recording: {max_bytes: 2GB, idle_s: 30m, low_s: 2h, normal_s: 7d}\n"
        f"masks: [{{name: door, polygon: {SQUARE}}}]\n"
    )
    assert found.triggers.text.pace == Pace(1.5, 0.5, 120.0, 10, Priority.URGENT)
    assert (found.recording.max_bytes, found.recording.idle_s) == (2_000_000_000, 1800.0)
    assert (found.recording.low_s, found.recording.normal_s) == (7200.0, 7 * 86400.0)
    assert found.masks == (Mask("door", ((0, 0), (1, 0), (1, 1), (0, 1))),)
    assert read("recording: {max_bytes: 64MiB}").recording.max_bytes == 64 << 20


def test_the_environment_says_what_the_file_does_not(tmp_path: Path) -> None:
    path = tmp_path / "cam.yaml"
    path.write_text("recording: {max_bytes: 2GB}")
    found = configure.load(path, ring_bytes=1 << 30, ring_seconds=60.0).recording
    assert (found.max_bytes, found.idle_s) == (2_000_000_000, 60.0)
    plain = configure.load(None, ring_bytes=1 << 30, ring_seconds=60.0).recording
    assert plain == replace(Retention(), max_bytes=1 << 30, idle_s=60.0)


def test_evidence_is_kept_as_long_as_idle_footage_where_nothing_else_is_written() -> None:
    defaults = configure.load(None, ring_bytes=1 << 30, ring_seconds=2 * 86400.0).recording
    assert (defaults.idle_s, defaults.low_s, defaults.normal_s) == (2 * 86400.0,) * 3
    found = read("recording: {idle_s: 10d}").recording
    assert (found.low_s, found.high_s, found.urgent_s) == (10 * 86400.0, 10 * 86400.0, 30 * 86400.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mask: []", "`mask` is not known; use `budget`, `masks`"),
        ("triggers: {motion: {pace: {pre: 1}}}", "`triggers.motion.pace.pre` is not known; use `merge_s`"),
        ("triggers: [motion]", "`triggers` is not a mapping"),
        ("triggers: {manual: false}", "`triggers.manual` cannot be switched"),
        ("triggers: {motion: {on: 7}}", "`triggers.motion.on` is neither true nor false"),
        ("triggers: {motion: {pace: {pre_s: -1}}}", "`triggers.motion.pace.pre_s` is -1.0; give 0 to 600 seconds"),
        ("triggers: {motion: {pace: {post_s: -2}}}", "`triggers.motion.pace.post_s` is -2.0"),
        ("triggers: {motion: {pace: {post_s: soon}}}", "write seconds, or a time such as 30s"),
        ("triggers: {motion: {pace: {post_s: true}}}", "write seconds, or a time such as 30s"),
        ("triggers: {motion: {pace: {merge_s: .nan}}}", "`triggers.motion.pace.merge_s` is nan"),
        ("triggers: {motion: {pace: {priority: top}}}", "is 'top'; use low, normal, high, urgent"),
        ("triggers: {motion: {pace: {most_per_minute: 0}}}", "most_per_minute` is 0; give 1 to 600"),
        ("triggers: {novelty: {memory: 1.5}}", "`triggers.novelty.memory` is not a whole number"),
        ("triggers: {novelty: {memory: 100000000}}", "`triggers.novelty.memory` is 100,000,000; give 8 to 4,096"),
        ("triggers: {sound: {onset_db: loud}}", "`triggers.sound.onset_db` is not a number"),
        ("triggers: {object: {labels: person}}", "`triggers.object.labels` is not a list"),
        ("triggers: {object: {labels: [Persn]}}", "is 'Persn', which the detector does not know; write 'person'"),
        ("triggers: {object: {zones: [door]}}", "is 'door', but the file has no `zones`"),
        (
            f"zones: [{{name: gate, polygon: {SQUARE}}}]\ntriggers: {{object: {{zones: [door]}}}}",
            "`triggers.object.zones[0]` is 'door', but the file names gate",
        ),
        ("masks: {name: a}", "`masks` is not a list"),
        ("masks: [a]", "`masks[0]` is not a mapping; write `name`, `polygon`"),
        ("masks: [{name: a}]", "`masks[0]` has no `polygon`; add it"),
        (f"masks: [{{name: a, polygon: {SQUARE}, on: false}}]", "`masks[0].on` is not known"),
        (f"masks: [{{name: '', polygon: {SQUARE}}}]", "`masks[0].name` is ''; write a name"),
        (f"masks: [{{name: 3, polygon: {SQUARE}}}]", "`masks[0].name` is not text"),
        ("masks: [{name: a, polygon: [[0, 0], [1, 0]]}]", "has 2 different corners; give at least 3"),
        ("masks: [{name: a, polygon: [[0, 0], [1, 0], [1]]}]", "`masks[0].polygon[2][1]` is missing; write each point"),
        ("masks: [{name: a, polygon: [[0, 0], [1, 0], [1, 1, 1]]}]", "`masks[0].polygon[2]` has too many numbers"),
        ("masks: [{name: a, polygon: [[0, 0], [1, 0], [1, b]]}]", "`masks[0].polygon[2][1]` is not a number"),
        ("masks: [{name: a, polygon: [[0, 0], [1, 0], [1, .nan]]}]", "leaves the picture at corner 3"),
        ("masks: [{name: a, polygon: [[0, 0], [640, 0], [640, 360]]}]", "leaves the picture at corner 2 ([640, 0])"),
        ("zones: [{name: a, polygon: [[0, 0], [1, 0], [1, -0.1]]}]", "`zones[0].polygon` of 'a' leaves the picture"),
        ("masks: [{name: a, polygon: [[0, 0], [0.5, 0.5], [1, 1]]}]", "encloses no area"),
        ("masks: [{name: a, polygon: [[0, 0], [1, 1], [1, 0], [0, 1]]}]", "crosses itself; list its corners"),
        (
            f"zones: [{{name: a, polygon: {SQUARE}}}, {{name: a, polygon: {SQUARE}}}]",
            "`zones[1].name` is 'a' for the second time",
        ),
        (
            f"zones: [{', '.join('{name: a, polygon: []}' for _ in range(65))}]",
            "`zones` has 65 entries; draw at most 64",
        ),
        (
            f"masks: [{{name: a, polygon: {[[n / 300, n % 2] for n in range(300)]}}}]",
            "has 300 corners; give at most 256",
        ),
        ("recording: {max_bytes: 5kB}", "`recording.max_bytes` is 5,000; give 1,048,576 to"),
        ("recording: {max_bytes: big}", "write bytes, or a size such as 512MiB"),
        ("recording: {low_s: 10m}", "`recording.low_s` is 600 s, less than the 3600 s of `idle_s`"),
        ("recording: {idle_s: 2d, high_s: 1d}", "`recording.high_s` is 86400 s, less than the 172800 s of `idle_s`"),
        ("recording: {masked_originals: true}", "is true, but there are no `masks`"),
        ("budget: {cpu_share: 0.5, milliwatts: 900}", "`budget` has both `cpu_share` and `milliwatts`"),
        ("budget: {cpu_share: 50}", "`budget.cpu_share` is 50.0; give 0.01 to 1"),
        ("budget: {milliwatts: 300}", "leaves nothing above the 350 of `idle_mw`"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(text: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    assert sentence in caught.value.message
    assert caught.value.message.startswith("In cam.yaml, `")
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"FOVEATE_DEVICE_CONFIG file .*gone\.yaml"):
        configure.load(tmp_path / "gone.yaml", ring_bytes=1 << 30, ring_seconds=60.0)


def test_every_number_has_limits() -> None:
    def numbers(part: object) -> set[str]:
        values = {item.name: getattr(part, item.name) for item in fields(part)}  # type: ignore[arg-type]
        own = {name for name, value in values.items() if type(value) in (int, float)}
        return own.union(*(numbers(value) for value in values.values() if is_dataclass(value)))

    assert numbers(Configuration()) <= limits.LIMITS.keys()
