"""What looking finds: what changed, which objects are followed, and what it all resembles.

In: nothing; these are the words between the rungs. `look.py` fills them in from one picture, `triggers/` read them.
Times are Unix seconds, boxes fractions of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from foveate.messages import Embedding, LabelScore, Track
from foveate.vision.boxes import Box


@dataclass(frozen=True, slots=True)
class Change:
    """What the low-resolution luma says about one picture against the background that it has learned.

    `level` is the strength of the change in units of what would still be noise. `regions` hold what moves, `resting`
    what is new but has come to rest, heaviest first, at most 16 each. `light` says that nothing but exposure or
    daylight shifted, `roving` that the camera itself moves (then there is no background and no regions), `cut` that
    another scene began.
    """

    level: float
    regions: tuple[Box, ...] = ()
    resting: tuple[Box, ...] = ()
    light: bool = False
    roving: bool = False
    cut: bool = False

    @property
    def moving(self) -> bool:
        """Whether anything changed that may matter."""
        return bool(self.regions) or self.roving or self.cut


@dataclass(frozen=True, slots=True)
class Followed:
    """A confirmed track, its label's rivals best first, and where in the source it began (seconds, None if live).

    `moved` says whether it ever stood where the picture changed; what never did was there before, or is a phantom.
    """

    track: Track
    labels: tuple[LabelScore, ...]
    media_start: float | None
    moved: bool = True


@dataclass(frozen=True, slots=True)
class Resemblance:
    """What rung 3 made of one picture or crop; `box` is where it was cut from, None for the whole picture.

    `features` compare pictures (novelty), `meaning` compares with sentences (text match); both of unit length.
    """

    box: Box | None
    features: Embedding
    meaning: Embedding


@dataclass(frozen=True, slots=True)
class View:
    """What one look found. `looked` says whether the detector ran on this very picture.

    `followed` are the confirmed tracks that are not lost; `resemblances` is empty when the encoder did not run.
    `start` says that this is among the first pictures of a scene: what is there now was there before.
    """

    time: float
    media_time: float | None
    change: Change
    followed: tuple[Followed, ...] = ()
    resemblances: tuple[Resemblance, ...] = ()
    looked: bool = True
    start: bool = False

    @property
    def moving(self) -> bool:
        """Whether anything changed that may matter."""
        return self.change.moving


@dataclass(frozen=True, slots=True)
class Heard:
    """One stretch of sound: `level_db` below full scale, `floor_db` the usual level, `speech` 0..1 the likelihood.

    `onset` says that the level rose suddenly within it.
    """

    time: float
    media_time: float | None
    duration_s: float
    level_db: float
    floor_db: float
    speech: float
    onset: bool
