"""The token mask at work: visual tokens that are not kept leave the sequence before the language model sees it.

In: a prompt as embeddings and positions, the tiles that its pictures became, a rule that makes `TokenMask`s. Out: the
shorter sequence; tokens that stay keep their embeddings, deepstack features and positions. It knows no model.
Next: `families.py`, which makes sequences, and `in_process.py`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_node.compress.mask import token_mask
from edge_node.compress.seam import TokenMask
from foveate.errors import InvalidInput

Kept = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture, or one part of it, as rows × columns of visual tokens; tiles of one `view` follow each other in
    time."""

    view: Hashable
    rows: int
    columns: int

    @property
    def tokens(self) -> int:
        """How many tokens it is before any is dropped."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class Embedded:
    """A prompt before the language model; torch tensors.

    `embeddings` 1 × S × C; `positions` 3 × 1 × S (M-RoPE) or 1 × S; `pictured` bool S, where visual tokens stand;
    `deepstack` holds visual tokens × C for each of the first layers; `ends` is the position of the next token.
    """

    embeddings: Any
    positions: Any
    pictured: Any
    deepstack: tuple[Any, ...]
    ends: int

    @property
    def length(self) -> int:
        """S, the number of tokens that the language model is given."""
        return int(self.embeddings.shape[1])


class Chooses(Protocol):
    """Which tokens of frames are kept: frames × H × W × C of one view, and what share of the prompt's they are."""

    def __call__(self, tokens: NDArray[np.float32], share: float) -> TokenMask:
        """The mask for these frames alone."""
        ...


@dataclass(frozen=True, slots=True)
class WithinBudget:
    """LongVU's stages on the model's own visual tokens, `budget` of them in the whole prompt; a `Chooses`."""

    budget: int

    def __call__(self, tokens: NDArray[np.float32], share: float) -> TokenMask:
        """All of them when they fit."""
        count, rows, columns = tokens.shape[:3]
        if count * rows * columns <= int(self.budget * share):
            whole = np.ones((count, rows, columns), np.bool_)
            return TokenMask(tuple(range(count)), whole, np.ones(count, np.bool_), (rows, columns), self.budget)
        return token_mask(tokens, budget=int(self.budget * share))


def kept(tiles: Sequence[Tile], tokens: NDArray[np.float32], choose: Chooses) -> Kept:
    """One bool for each of `tokens` (visual tokens × C, tile after tile). Views are chosen from one by one."""
    keep = np.zeros(len(tokens), np.bool_)
    for members in _views(tiles).values():
        places = np.stack([np.arange(start, start + tile.tokens) for start, tile in members])
        rows, columns = members[0][1].rows, members[0][1].columns
        frames = tokens[places].reshape(len(members), rows, columns, -1)
        mask = choose(frames, places.size / len(tokens))
        keep[places.ravel()[flat(mask, len(members), rows, columns)]] = True
    return keep


def flat(mask: TokenMask, frames: int, rows: int, columns: int) -> NDArray[np.intp]:
    """Places of kept tokens; InvalidInput for a mask that was made for other frames."""
    shape = mask.keep.shape
    if shape != (len(mask.frames), rows, columns) or any(not 0 <= frame < frames for frame in mask.frames):
        raise InvalidInput(f"The token mask of {shape} does not fit {frames} frames of {rows}x{columns} tokens.")
    return mask.flat


def dropped(prompt: Embedded, keep: Kept) -> Embedded:
    """The prompt without the visual tokens that are not kept; all else stays as and where it was."""
    count = int(prompt.pictured.sum())
    if keep.shape != (count,):
        raise InvalidInput(f"A mask for {keep.size} visual tokens does not fit a prompt with {count}.")
    if keep.all():
        return prompt
    visual = prompt.pictured.new_tensor(keep.tolist())
    stay = ~prompt.pictured
    stay[prompt.pictured] = visual
    return Embedded(
        embeddings=prompt.embeddings[:, stay],
        positions=prompt.positions[..., stay],
        pictured=prompt.pictured[stay],
        deepstack=tuple(layer[visual] for layer in prompt.deepstack),
        ends=prompt.ends,
    )


def _views(tiles: Sequence[Tile]) -> Mapping[Tile, list[tuple[int, Tile]]]:
    """Tiles by view and grid, each with where its tokens start."""
    views: dict[Tile, list[tuple[int, Tile]]] = {}
    start = 0
    for tile in tiles:
        views.setdefault(tile, []).append((start, tile))
        start += tile.tokens
    return views
