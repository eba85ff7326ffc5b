"""The exact outline of things that are followed: the seam for models that draw masks, and how one is opened by name.

In: pictures in order, and boxes of what to follow. Out: an `Outline` for each thing in each picture. Such models are
heavy and optional, so this module imports none: whoever configures one names it. Next: `edgetam.py`, one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from foveate.errors import NotFound
from foveate.vision.boxes import Box
from foveate.vision.detect import Picture

_KNOWN = {"edgetam": "foveate.vision.edgetam"}


@dataclass(frozen=True, slots=True)
class Outline:
    """Where one thing is in one picture: `mask` is bool, of the picture's height × width; nothing set when hidden.

    `score` 0..1 is the model's own view of whether the thing is in sight, not calibrated.
    """

    mask: NDArray[np.bool_]
    score: float

    @property
    def box(self) -> Box | None:
        """The least box around the mask; None when nothing of the thing is in sight."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return None
        height, width = self.mask.shape
        left, top = int(columns[0]) / width, int(rows[0]) / height
        return Box(left, top, (int(columns[-1]) + 1) / width - left, (int(rows[-1]) + 1) / height - top)


class Outliner(Protocol):
    """Whatever follows the outlines of things from picture to picture; blocking, for one thread at a time.

    Ids are the caller's, such as those of tracks. Memory is bounded however long it follows.
    """

    def look(self, image: Picture, *, prompts: Mapping[int, Box] | None = None) -> dict[int, Outline]:
        """The outlines of all things in the next picture.

        `prompts` says where things are in this very picture: new ids begin, known ones are corrected. InvalidInput for
        what is no picture, for a box beside it, and for more things than the model can follow.
        """
        ...

    def forget(self, thing: int) -> None:
        """Follows this thing no longer; an unknown one is no error."""
        ...

    def reset(self) -> None:
        """Forgets everything, as after a cut."""
        ...


def open_outliner(name: str, folder: Path) -> Outliner:
    """The model called `name` ("edgetam") with the weights in `folder`; nothing is ever downloaded.

    NotFound for a name that nobody knows, NotReady when its packages or weights are missing.
    """
    if name not in _KNOWN:
        raise NotFound(f"No model called '{name}' draws outlines; choose one of: {', '.join(_KNOWN)}.", name=name)
    return cast("Outliner", import_module(_KNOWN[name]).open_model(folder))
