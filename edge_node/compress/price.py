"""What a picture costs a model in tokens, and the largest size that a number of tokens buys.

In: sizes in pixels, numbers of tokens. Out: tokens, sizes. Pure arithmetic; it knows no budget. Next: `plan.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from foveate.errors import InvalidInput


class TokenRule(Protocol):
    """How a model counts pictures."""

    @property
    def cheapest(self) -> int:
        """Tokens of the smallest picture that it takes: with fewer, none can be shown."""
        ...

    def tokens(self, width: int, height: int) -> int:
        """Tokens of a picture of `width` × `height` pixels."""
        ...

    def fit(self, width: int, height: int, most: int) -> tuple[int, int] | None:
        """The largest (width, height) at about that shape for at most `most` tokens, None when nothing fits.

        Never larger than the picture is, unless the model takes nothing as small.
        """
        ...


@dataclass(frozen=True, slots=True)
class PatchTokens:
    """A token for each square of `patch` pixels: Qwen2-VL and Qwen2.5-VL (28), Qwen3-VL (32).

    Sizes from `fit` are multiples of `patch` within the model's bounds, so its own resizing leaves them as they are.
    `wrapping` counts the tokens that mark where a picture starts and ends.
    """

    patch: int = 28
    least: int = 4
    most: int = 16384
    wrapping: int = 2
    longest: int = 200
    """Times that one side may be the other."""

    @property
    def cheapest(self) -> int:
        """The least patches and what wraps them."""
        return self.least + self.wrapping

    def tokens(self, width: int, height: int) -> int:
        """As `smart_resize` of the models' processors: rounded to patches, scaled into the bounds."""
        _check(width, height)
        if max(width, height) > self.longest * min(width, height):
            raise InvalidInput(f"A picture of {width}x{height} is too long for its model; cut it.")
        columns, rows = round(width / self.patch), round(height / self.patch)
        if columns * rows > self.most:
            scale = math.sqrt(self.most * self.patch**2 / (width * height))
            columns = max(1, math.floor(width * scale / self.patch))
            rows = max(1, math.floor(height * scale / self.patch))
        elif columns * rows < self.least:
            scale = math.sqrt(self.least * self.patch**2 / (width * height))
            columns, rows = math.ceil(width * scale / self.patch), math.ceil(height * scale / self.patch)
        return columns * rows + self.wrapping

    def fit(self, width: int, height: int, most: int) -> tuple[int, int] | None:
        """Whole patches, as many as `most` tokens and the picture's own pixels allow."""
        _check(width, height)
        area = min(most - self.wrapping, self.most)
        if area < self.least:
            return None
        scale = min(math.sqrt(area / (width * height)), 1 / self.patch)
        columns, rows = max(1, math.floor(width * scale)), min(max(1, math.floor(height * scale)), area)
        columns = min(columns, area // rows, self.longest * rows)
        rows = min(rows, area // columns, self.longest * columns)
        if columns * rows < self.least:
            columns, rows = self._least(width / height, area)
        return columns * self.patch, rows * self.patch

    def _least(self, shape: float, area: int) -> tuple[int, int]:
        """The grid of about that width to height among those that the model would not enlarge."""
        grids = []
        for rows in range(1, self.least + 1):
            least, most = -(-self.least // rows), min(area // rows, self.longest * rows)
            if least <= most:
                grids.append((min(max(round(rows * shape), least), most), rows))
        return min(grids, key=lambda grid: (abs(math.log(grid[0] / grid[1] / shape)), grid))


@dataclass(frozen=True, slots=True)
class FixedTokens:
    """The same for every picture, which the model resizes to fit a square of `side` pixels: SmolVLM, SigLIP towers."""

    each: int
    side: int

    @property
    def cheapest(self) -> int:
        """What each costs."""
        return self.each

    def tokens(self, width: int, height: int) -> int:
        """Always `each`."""
        _check(width, height)
        return self.each

    def fit(self, width: int, height: int, most: int) -> tuple[int, int] | None:
        """The picture in the model's square, without growing it."""
        _check(width, height)
        if most < self.each:
            return None
        scale = min(1.0, self.side / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))


def _check(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise InvalidInput(f"A picture of {width}x{height} pixels shows nothing; leave it out.")
