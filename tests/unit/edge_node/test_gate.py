"""Confidence over the answer's own tokens, thinking only below a threshold, tokens counted: numbers done by hand."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from edge_node.gate import NONE, UNSURE, Gate, own_confidence, total
from edge_node.thresholds import CAP, Bar, Thresholds
from edge_node.typed import form_of
from edge_node.vlm.seam import Prompt, Said
from foveate.errors import DeadlinePassed, FoveateError, MalformedMessage, Overloaded
from foveate.messages import Task, Tokens
from foveate.vision.likelihood import Platt

FORM = form_of(Task.COUNT, pictures=4)
PROMPT = Prompt(rules=FORM.rules, question="How many?", schema=FORM.schema, most_tokens=FORM.most_tokens)


def said(text: str, *tokens: tuple[str, float], written: int = 0, cut_off: bool = False) -> Said:
    return Said(
        text=text,
        log_probs=tuple(p for _, p in tokens) or None,
        pieces=tuple(t for t, _ in tokens),
        prompt_tokens=50,
        written_tokens=written or len(tokens) or 7,
        cut_off=cut_off,
    )


def count(number: int, log_prob: float) -> Said:
    """`{"answer": N, "picture": 1}`, of which N alone counts: the rest is unsure on purpose."""
    text = f'{{"answer": {number}, "picture": 1}}'
    return said(text, ('{"', -3.0), ("answer", -3.0), ('":', -3.0), (f" {number}", log_prob), (', "picture": 1}', -3.0))


@dataclass
class Scripted:
    """A model that says what it is told to, and keeps what it was asked."""

    script: Sequence[Said | FoveateError]
    slow: float = 0.0
    asked: list[Prompt] = field(default_factory=list)
    tag: str = "tiny-vl@awq"
    sees: bool = True

    async def say(self, prompt: Prompt, *, timeout: float) -> Said:
        self.asked.append(prompt)
        assert timeout > 0
        await asyncio.sleep(self.slow)
        answer = self.script[len(self.asked) - 1]
        if isinstance(answer, FoveateError):
            raise answer
        return answer


def gate(model: Scripted, bar: Bar | None = None) -> Gate:
    return Gate(model, thresholds=Thresholds({(model.tag, Task.COUNT): bar} if bar else {}))


def test_only_the_answers_own_tokens_count() -> None:
    one = count(3, math.log(0.9))
    assert own_confidence(one, FORM.read(one.text).spans) == pytest.approx(0.9)


def test_it_is_the_mean_over_an_answer_of_several_tokens() -> None:
    text = '{"answer": "NO EXIT"}'
    tokens = [
        ('{"answer": ', -5.0),
        ('"', -5.0),
        ("NO", math.log(0.8)),
        (" EX", math.log(0.5)),
        ("IT", 0.0),
        ('"}', -5.0),
    ]
    spans = form_of(Task.READ, pictures=1).read(text).spans
    assert own_confidence(said(text, *tokens), spans) == pytest.approx((0.8 * 0.5 * 1.0) ** (1 / 3))


def test_a_document_is_as_sure_as_its_values_not_its_keys() -> None:
    text = '{"a": 12, "b": ["x", true]}'
    tokens = [
        ('{"a": ', -9.0),
        ("12", -0.1),
        (', "b": ["', -9.0),
        ("x", -0.2),
        ('", ', -9.0),
        ("true", -0.3),
        ("]}", -9.0),
    ]
    spans = [(6, 8), (17, 18), (21, 25)]
    assert own_confidence(said(text, *tokens), spans) == pytest.approx(math.exp(-0.2))


@pytest.mark.parametrize(
    ("answer", "spans"),
    [
        (Said("12", None, ()), [(0, 2)]),
        (Said("12", (-0.1,), ("34",)), [(0, 2)]),
        (Said("12", (-0.1, -0.2), ("12",)), [(0, 2)]),
        (Said("12", (-0.1,), ("12",)), []),
        (Said("", (), ()), [(0, 0)]),
    ],
)
def test_without_log_probs_or_a_span_there_is_no_confidence(answer: Said, spans: list[tuple[int, int]]) -> None:
    assert own_confidence(answer, spans) == NONE


def test_blanks_and_marks_that_the_server_strips_do_not_shift_the_span() -> None:
    answer = Said("12", (-7.0, -0.5, -7.0), (" ", "12", "<|end|>"))
    assert own_confidence(answer, [(0, 2)]) == pytest.approx(math.exp(-0.5))


def test_every_token_of_a_sign_that_is_spread_over_several_counts() -> None:
    answer = Said('"né"', (-9.0, -0.1, -0.3, -0.5, -9.0), ('"', "n", "", "é", '"'))
    assert own_confidence(answer, [(1, 3)]) == pytest.approx(math.exp(-0.3))


async def test_a_sure_answer_is_given_at_once_and_saves_the_thinking() -> None:
    model = Scripted([count(3, math.log(0.98))])
    decision = await gate(model, Bar(0.97, thinking_tokens=140.0)).decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    assert (decision.reading.value, decision.reading.picture, decision.thought) == (3, 1, False)
    assert decision.raw == pytest.approx(0.98)
    assert decision.tokens == Tokens(prompt=50, answer=5, thinking=0, saved=140)
    assert len(model.asked) == 1


async def test_an_unsure_one_thinks_from_its_answer_on_and_answers_again() -> None:
    model = Scripted([count(3, math.log(0.6)), said("One hides.</think> 4", written=30), count(4, math.log(0.99))])
    decision = await gate(model).decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    assert (decision.reading.value, decision.thought, decision.raw) == (4, True, pytest.approx(0.99))
    assert decision.tokens == Tokens(prompt=150, answer=10, thinking=30, saved=0)
    _, thinking, again = model.asked
    first = '{"answer": 3, "picture": 1}'
    assert (thinking.before, thinking.stop, thinking.schema) == (f"{first}\n<think>\n", ("</think>",), None)
    assert again.before == f"{first}\n<think>\nOne hides.\n</think>\n"
    assert (again.schema, again.rules) == (FORM.schema, PROMPT.rules)


async def test_what_is_saved_is_the_mean_of_what_thinking_took_here() -> None:
    unsure = [count(1, -1.0), said("a", written=20), count(1, -0.001), count(1, -1.0), said("b", written=40)]
    model = Scripted([*unsure, count(1, -0.001), count(2, -0.001)])
    opened = gate(model, Bar(0.97, thinking_tokens=500.0))
    for _ in range(2):
        await opened.decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    sure = await opened.decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    assert sure.tokens.saved == 30


async def test_no_log_probs_always_thinks_and_is_worth_a_coins_toss() -> None:
    model = Scripted([said('{"answer": 3, "picture": 1}'), said("Hm."), said('{"answer": 3, "picture": 1}')])
    decision = await gate(model).decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    assert (decision.raw, decision.confidence, decision.thought) == (NONE, UNSURE, True)
    assert "offers no confidence" in decision.notes[0]


async def test_an_answer_that_does_not_come_first_is_unsure() -> None:
    text = '{"picture": 1, "answer": 3}'
    model = Scripted([said(text, (text, 0.0)), said("Hm.", ("Hm.", 0.0)), count(3, -0.1)])
    decision = await gate(model).decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    assert decision.thought


async def test_confidence_is_calibrated_for_this_very_model_or_capped_and_said() -> None:
    calibrated = Bar(0.5, pairs=60, platt=Platt(1.0, -1.0))
    decision = await gate(Scripted([count(3, math.log(0.9))]), calibrated).decide(
        PROMPT, Task.COUNT, FORM.read, timeout=5
    )
    # logit(0.9) - 1 = 1.1972; sigmoid of it
    assert decision.confidence == pytest.approx(1 / (1 + math.exp(1 - math.log(9))))
    assert decision.notes == ()
    other = Scripted([count(3, math.log(0.99))], tag="tiny-vl@bf16")
    plain = Gate(other, thresholds=Thresholds({("tiny-vl@awq", Task.COUNT): calibrated}))
    decision = await plain.decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    assert decision.confidence == CAP
    assert "not calibrated" in decision.notes[0]


async def test_an_unreadable_answer_is_repaired_once() -> None:
    model = Scripted([said("Three, I think."), count(3, -0.001)])
    decision = await gate(model).decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    assert decision.reading.value == 3
    assert "was refused: it is not a JSON object." in model.asked[1].rules
    assert "Three, I think" not in model.asked[1].rules
    twice = Scripted([said("Three."), said("3.")])
    with pytest.raises(MalformedMessage, match="not a JSON object"):
        await gate(twice).decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    assert len(twice.asked) == 2


async def test_an_answer_that_was_cut_off_is_none() -> None:
    model = Scripted([said('{"answer": 3, "picture": 1}', ("x", 0.0), cut_off=True)] * 2)
    with pytest.raises(MalformedMessage, match="end of its answer"):
        await gate(model).decide(PROMPT, Task.COUNT, FORM.read, timeout=5)


@pytest.mark.parametrize("trouble", [Overloaded("Full; wait."), DeadlinePassed("Late; wait."), said("nonsense")])
async def test_what_fails_after_the_first_answer_leaves_it_standing(trouble: Said | FoveateError) -> None:
    model = Scripted([count(3, math.log(0.6)), trouble, said("nonsense")])
    decision = await gate(model).decide(PROMPT, Task.COUNT, FORM.read, timeout=5)
    assert (decision.reading.value, decision.raw, decision.thought) == (3, pytest.approx(0.6), False)
    assert "no thinking to an end" in decision.notes[0]


async def test_there_is_no_thinking_without_time_for_it() -> None:
    model = Scripted([count(3, math.log(0.6))], slow=0.02)
    decision = await gate(model).decide(PROMPT, Task.COUNT, FORM.read, timeout=0.2)
    assert (decision.reading.value, len(model.asked)) == (3, 1)


async def test_a_first_call_that_fails_is_the_callers_to_know() -> None:
    with pytest.raises(Overloaded):
        await gate(Scripted([Overloaded("Full; wait.")])).decide(PROMPT, Task.COUNT, FORM.read, timeout=5)


def test_the_price_of_tokens() -> None:
    tokens = Tokens(prompt=1_000_000, answer=400_000, thinking=100_000, saved=9)
    assert total({"prompt": 0.2, "written": 0.6}, tokens) == pytest.approx(0.2 + 0.5 * 0.6)
    assert total({}, tokens) == 0.0
