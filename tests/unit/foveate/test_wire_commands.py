"""Commands and states cross the wire unchanged, and whatever is malformed is refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveate import commands as c
from foveate import wire
from foveate.errors import InvalidInput, MalformedMessage, Unreachable
from foveate.messages import Embedding, Priority
from foveate.v1 import device_pb2 as pb
from foveate.wire.commands import LONGEST_TEXT, MOST_GAPS, MOST_TEXTS

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Sixty-fourths are whole microseconds and whole binary fractions: they cross the wire exactly.
times = st.integers(946_684_800 * 64, 4_102_444_800 * 64).map(lambda n: n / 64)
seconds = st.floats(0, 1e9)
words = st.text(st.characters(codec="utf-8"), max_size=12)
ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(str.strip).filter(bool)
counts = st.integers(0, 2**63 - 1)
tuples = lambda of, most=3: st.lists(of, max_size=most).map(tuple)  # noqa: E731
spans = st.tuples(times, st.none() | times).map(lambda span: span if span[1] is None else tuple(sorted(span)))

rungs = st.builds(c.Rung, ids, counts, counts, seconds)
kept = st.builds(c.Kept, st.none() | st.sampled_from(Priority), counts, times)
gaps = st.builds(lambda span, why: c.Gap(*span, why), spans, words)
states = st.builds(
    c.DeviceState,
    device_id=ids,
    time=times,
    uptime_s=seconds,
    rungs=tuples(rungs),
    cpu_seconds=seconds,
    budget_share=st.none() | st.floats(2**-30, 4),
    used_share=st.floats(0, 4),
    given_up=tuples(words),
    kept=tuples(kept),
    gaps=tuples(gaps),
    outbox_depth=counts,
    sequence=counts,
    triggers=tuples(words),
    masks=tuples(words),
    trouble=words,
)
embeddings = st.builds(
    Embedding, st.just("conse@1"), st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=8).map(tuple)
)
watches = st.builds(c.Watch, tuples(st.builds(c.Sentence, texts, embeddings)))
presses = st.builds(c.Press, words.map(str.strip))
back_fills = st.integers(1, 2**63 - 1).flatmap(
    lambda after: st.builds(c.BackFill, st.just(after), tuples(st.integers(1, after)))
)
device_commands = st.just(c.TellState()) | presses | watches | back_fills
unique = st.lists(texts, max_size=4, unique=True).map(tuple)
site_commands = st.tuples(ids, st.just(c.TellState()) | presses | st.builds(c.WatchTexts, unique))
replies = (
    states | st.builds(c.Pressed, ids) | st.builds(c.Watching, unique) | st.builds(c.BackFilled, counts, tuples(counts))
)

CASES = [
    (states, wire.device_state_to, wire.device_state_of, pb.DeviceState),
    (watches, wire.watch_to, wire.watch_of, pb.Watch),
    (device_commands, wire.device_command_to, wire.device_command_of, pb.DeviceCommand),
    (site_commands, lambda sent: wire.site_command_to(*sent), wire.site_command_of, pb.SiteCommand),
    (replies, wire.command_reply_to, wire.command_reply_of, pb.DeviceCommandReply),
]
names = [kind.DESCRIPTOR.name for *_, kind in CASES]


@pytest.mark.parametrize(("strategy", "to", "of", "kind"), CASES, ids=names)
@quick
@given(data=st.data())
def test_what_is_sent_is_what_arrives(data: Any, strategy: Any, to: Any, of: Any, kind: Any):
    sent = data.draw(strategy)
    assert of(wire.parse(kind, to(sent).SerializeToString())) == sent


@pytest.mark.parametrize(("strategy", "to", "of", "kind"), CASES, ids=names)
@quick
@given(data=st.data())
def test_arbitrary_bytes_give_a_message_or_a_refusal_and_nothing_else(
    data: Any, strategy: Any, to: Any, of: Any, kind: Any
):
    sent = to(data.draw(strategy)).SerializeToString()
    start, flip = data.draw(st.integers(0, max(0, len(sent) - 1))), data.draw(st.binary(max_size=6))
    for broken in (data.draw(st.binary(max_size=40)), sent[:start] + flip + sent[start + len(flip) :], sent[:start]):
        with contextlib.suppress(InvalidInput):
            of(wire.parse(kind, broken))


def test_every_command_and_reply_is_tried_here():
    carried = {c.Rung, c.Gap, c.Kept, c.Sentence}
    ours = {kind for kind in vars(c).values() if dataclasses.is_dataclass(kind) and kind.__module__ == c.__name__}
    tried = {
        c.DeviceState,
        c.Watch,
        c.TellState,
        c.Press,
        c.BackFill,
        c.WatchTexts,
        c.Pressed,
        c.Watching,
        c.BackFilled,
    }
    assert ours == tried | carried


NOW = 1_750_000_000.0
STATE = c.DeviceState(
    device_id="cam-1",
    time=NOW,
    uptime_s=60.0,
    rungs=(c.Rung("packets", 600, 3, 0.5),),
    cpu_seconds=2.0,
    kept=(c.Kept(None, 1000, NOW), c.Kept(Priority.HIGH, 10, NOW)),
    gaps=(c.Gap(NOW, NOW + 1, "the camera was silent"),),
)
WATCH = c.Watch((c.Sentence("a delivery van", Embedding("conse@1", (0.5,))),))


def poke(path: str, value: Any) -> Callable[[Any], None]:
    """Sets the field at a dotted path; a number stands for an index."""

    def apply(message: Any) -> None:
        *way, last = path.split(".")
        for step in way:
            message = message[int(step)] if step.isdigit() else getattr(message, step)
        setattr(message, last, value)

    return apply


BAD = [
    (STATE, wire.device_state_to, wire.device_state_of, wrong, sentence)
    for wrong, sentence in [
        (poke("device_id", ""), "device_id"),
        (poke("send_time.seconds", 0), "outside 2000 to 2100"),
        (lambda message: message.ClearField("send_time"), "send_time is not set"),
        (poke("uptime_seconds", -1.0), "uptime_seconds"),
        (poke("cpu_seconds", math.nan), "cpu_seconds"),
        (poke("budget_share", -0.5), "budget_share"),
        (poke("used_share", math.inf), "used_share"),
        (poke("outbox_depth", -1), "outbox_depth"),
        (poke("sequence", -1), "sequence"),
        (poke("rungs.0.name", ""), "Rung.name"),
        (poke("rungs.0.seen", -1), "Rung.seen"),
        (poke("rungs.0.passed", -1), "Rung.passed"),
        (poke("rungs.0.cpu_seconds", math.nan), "Rung.cpu_seconds"),
        (poke("kept.0.bytes", -1), "Kept.bytes"),
        (poke("gaps.0.end_time.seconds", 1_000_000_000), "Gap ends before"),
    ]
]
BAD += [
    (WATCH, wire.watch_to, wire.watch_of, wrong, sentence)
    for wrong, sentence in [
        (poke("sentences.0.text", "  "), "1 to 200 characters"),
        (poke("sentences.0.text", "x" * (LONGEST_TEXT + 1)), "1 to 200 characters"),
        (poke("sentences.0.embedding.model", "conse"), "Embedding"),
        (lambda message: message.sentences.extend([message.sentences[0]] * MOST_TEXTS), "more than the 16"),
    ]
]
BAD += [
    (command, wire.device_command_to, wire.device_command_of, wrong, sentence)
    for command, wrong, sentence in [
        (c.TellState(), lambda message: message.Clear(), "update this device"),
        (c.Press("the door bell"), poke("press.about", "x" * 201), "201 characters"),
        (c.BackFill(7, (3,)), poke("back_fill.after_sequence", -1), "after_sequence"),
        (c.BackFill(7, (3,)), poke("back_fill.after_sequence", 2), "within 1 to 2"),
        (c.BackFill(7, (3,)), lambda message: message.back_fill.missing.append(0), "within 1 to 7"),
    ]
]
BAD += [
    (reply, wire.command_reply_to, wire.command_reply_of, wrong, sentence)
    for reply, wrong, sentence in [
        (STATE, lambda message: message.Clear(), "update this node"),
        (c.Pressed("e"), poke("pressed.event_id", ""), "Pressed.event_id"),
        (c.BackFilled(1, ()), poke("back_filled.resent", -1), "BackFilled.resent"),
    ]
]


@pytest.mark.parametrize(("good", "to", "of", "wrong", "sentence"), BAD, ids=lambda value: str(value)[:30])
def test_what_is_malformed_is_refused_by_name(good: Any, to: Any, of: Any, wrong: Any, sentence: str):
    message = to(good)
    assert of(message) == good
    wrong(message)
    with pytest.raises(MalformedMessage, match=sentence):
        of(message)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (poke("device_id", ""), "device_id"),
        (lambda message: message.ClearField("command"), "update this edge"),
        (lambda message: message.watch_texts.texts.append(" "), "1 to 200 characters"),
        (lambda message: message.watch_texts.texts.extend(map(str, range(16))), "17 sentences"),
    ],
)
def test_a_malformed_command_for_a_site_is_refused(wrong: Callable[[Any], None], sentence: str):
    message = wire.site_command_to("cam-1", c.WatchTexts(("a van",)))
    wrong(message)
    with pytest.raises(MalformedMessage, match=sentence):
        wire.site_command_of(message)


def test_a_failure_is_raised_where_the_reply_arrives():
    with pytest.raises(Unreachable, match="cam-1 sleeps"):
        wire.command_reply_of(wire.command_reply_to(Unreachable("cam-1 sleeps; wake it.")))


def test_texts_are_trimmed_and_told_once():
    assert wire.watch_texts_of([" a van ", "a van", "a dog"]).texts == ("a van", "a dog")


def test_only_the_newest_gaps_travel():
    many = dataclasses.replace(STATE, gaps=tuple(c.Gap(NOW + n, NOW + n, str(n)) for n in range(MOST_GAPS + 5)))
    found = wire.device_state_of(wire.device_state_to(many)).gaps
    assert (len(found), found[0].reason, found[-1].reason) == (MOST_GAPS, "5", "24")
