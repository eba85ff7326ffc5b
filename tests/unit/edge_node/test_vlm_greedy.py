"""Greedy decoding by hand: where it stops, and what its log-probabilities belong to."""

from __future__ import annotations

import importlib.util
import math

import pytest

from edge_node.vlm.greedy import Ends, Spelling, write
from edge_node.vlm.seam import Said
from foveate.errors import DeadlinePassed

needs_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="the extra `vlm` is not installed")

END = 0


def _decode(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


def _written(data: bytes, *, stop: tuple[str, ...] = (), most: int = 99, late_after: int = 99) -> Said:
    """A model of 256 tokens, bytes, that writes `data` and ends; it is four times as sure of each as of token 255."""
    import torch

    given = iter([*data, END])
    asked: list[int] = []

    def scores() -> torch.Tensor:
        row = torch.full((256,), -1e9)
        row[next(given)], row[255] = math.log(4.0), 0.0
        return row

    def step(token: int) -> torch.Tensor:
        asked.append(token)
        return scores()

    def check() -> None:
        if len(asked) >= late_after:
            raise DeadlinePassed("late")

    return write(scores(), step=step, decode=_decode, ends=Ends({END}, stop, most), check=check)


@needs_torch
def test_it_ends_by_itself_and_the_end_counts_for_nothing() -> None:
    said = _written(b"yes")
    assert (said.text, said.pieces, said.written_tokens, said.cut_off) == ("yes", ("y", "e", "s"), 3, False)
    assert said.log_probs == pytest.approx([math.log(0.8)] * 3)


@needs_torch
def test_it_is_cut_off_at_the_most_tokens() -> None:
    said = _written(b"yes", most=2)
    assert (said.text, said.cut_off) == ("ye", True)
    assert said.log_probs is not None
    assert len(said.log_probs) == 2


@needs_torch
def test_a_stop_string_over_several_tokens_is_left_out_with_its_log_probabilities() -> None:
    said = _written(b"ab<think>c", stop=("\n", "<think>"))
    assert (said.text, said.pieces, said.written_tokens, said.cut_off) == ("ab", ("a", "b"), 9, False)
    assert said.log_probs is not None
    assert len(said.log_probs) == 2


@needs_torch
def test_a_sign_of_several_tokens_is_told_by_the_one_that_completes_it() -> None:
    said = _written("aé€".encode())
    assert said.pieces == ("a", "", "é", "", "", "€")
    assert said.text == "aé€"
    assert said.log_probs is not None
    assert len(said.log_probs) == 6
    broken = _written("a€".encode()[:-1])
    assert broken.text == "a\ufffd"
    assert "".join(broken.pieces) == broken.text


@needs_torch
def test_past_the_deadline_it_raises() -> None:
    with pytest.raises(DeadlinePassed):
        _written(b"yes and no", late_after=2)


def test_spaces_that_depend_on_the_token_before_are_kept() -> None:
    words = {1: " a", 2: " b"}

    def decode(ids: list[int]) -> str:
        return "".join(words[token] for token in ids).removeprefix(" ")  # as SentencePiece decodes

    spelling = Spelling(decode)
    assert [spelling.add(1), spelling.add(2), spelling.add(1), spelling.rest()] == ["a", " b", " a", ""]
