"""Step 2b, track: from things in single looks to objects followed through time.

In: a look's time, its `Observation`s, the picture and where it changed. Out: `Followed` tracks with a voted label.
Only looks confirm or end a track, never mere time, for minutes may pass in which nobody looks. A lost one may be taken
up again for some seconds by what looks like it. Memory is bounded. Next: `triggers/`, which make events of tracks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from device_agent.appearance import look_of
from device_agent.associate import Thing, associate
from device_agent.course import Course
from device_agent.observe import Observation, observe, shared
from device_agent.path import Path, Rules
from device_agent.view import Followed
from foveate.vision.boxes import Box
from foveate.vision.detect import Picture

__all__ = ["Observation", "Rules", "Tracker", "observe"]

_HIDDEN = 0.25  # of a box; from .1 to .4 it matters little
_EVERYWHERE = (Box(0.0, 0.0, 1.0, 1.0),)


class Tracker:
    """Follows at most `rules.most_tracks` objects at once; ids are never used twice."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._paths: list[Path] = []
        self._made = 0
        self._time = -math.inf

    @property
    def followed(self) -> tuple[Followed, ...]:
        """Every confirmed track that is not lost, oldest first."""
        return tuple(path.followed() for path in self._paths if path.confirmed and not path.lost)

    @property
    def tentative(self) -> set[int]:
        """Ids of tracks that are not confirmed yet, and of lost ones that may come back."""
        return {path.track_id for path in self._paths if path.lost or not path.confirmed}

    @property
    def curious(self) -> bool:
        """Whether another look soon would settle something: a new object, or one that was missed last time."""
        return any(not path.lost and (not path.confirmed or path.missed) for path in self._paths)

    def update(
        self,
        time: float,
        observations: Sequence[Observation],
        *,
        media_time: float | None = None,
        image: Picture | None = None,
        regions: Sequence[Box] | None = None,
    ) -> dict[int, Observation]:
        """Takes one look in; returns what each track was seen as. Time that runs backwards loses all tracks.

        `image` is what was looked at; without it only motion tells tracks apart. `regions` is where it changed; without
        them, as opposed to none, everything counts as moved.
        """
        if time < self._time:
            self.reset()
        self._time = time
        self.age(time)
        for path in self._paths:
            path.touch(regions)
        things = self._things(observations, image)
        matched = associate(self._paths, things, time=time, rules=self._rules)
        for index, thing in enumerate(things):
            if index in matched:
                matched[index].add(time, thing.seen, self._rules, look=thing.look)
            elif thing.strong:
                matched[index] = self._begin(time, thing, media_time)
        met = {path.track_id for path in matched.values()}
        for path in self._paths:
            if path.track_id in met:
                path.feel(_EVERYWHERE if regions is None else regions)
            elif not path.lost:
                path.miss(time)
        self._settle(time)
        alive = {path.track_id for path in self._paths if not path.lost}
        return {path.track_id: observations[index] for index, path in matched.items() if path.track_id in alive}

    def stand(self, time: float, changed: Sequence[Box]) -> None:
        """Takes in that nothing changed outside of `changed`, though nobody looked: what stands elsewhere is there."""
        if time >= self._time:
            for path in self._paths:
                path.stand(time, changed)

    def age(self, time: float) -> None:
        """Forgets lost tracks that will not come back; ends no track, since nobody looked."""
        keep = self._rules.retake_s
        self._paths = [path for path in self._paths if not path.lost or time - path.last.time <= keep]

    def reset(self) -> None:
        """Loses every track for good, as after a cut."""
        self._paths = []

    def _settle(self, time: float) -> None:
        """After a look: ends what was missed for too long, and the weakest when there are too many."""
        rules = self._rules
        for path in self._paths:
            path.lost = path.lost or path.ended(time, rules)
        self._paths = [path for path in self._paths if path.confirmed or not path.lost]
        self.age(time)
        self._bound([path for path in self._paths if not path.lost], rules.most_tracks)
        self._bound([path for path in self._paths if path.lost], rules.most_lost)

    def _bound(self, paths: list[Path], most: int) -> None:
        weakest = sorted(paths, key=lambda path: (path.confirmed, path.last.time, path.last.score))
        for path in weakest[: max(0, len(paths) - most)]:
            self._paths.remove(path)

    def _things(self, observations: Sequence[Observation], image: Picture | None) -> list[Thing]:
        """What each observation may be used for, and how it looks where nothing else stands in its box."""
        things = []
        least = [self._rules.threshold(seen.label) * self._rules.weak_share for seen in observations]
        worth = [seen for seen, floor in zip(observations, least, strict=True) if seen.score >= floor]
        for seen, floor in zip(observations, least, strict=True):
            counts = seen.score >= floor
            look = look_of(image, seen.box) if counts and image is not None and _alone(seen, worth) else None
            things.append(Thing(seen, look, strong=seen.score >= self._rules.threshold(seen.label), worth=counts))
        return things

    def _begin(self, time: float, thing: Thing, media_time: float | None) -> Path:
        self._made += 1
        path = Path(self._made, media_time, Course(time, thing.seen.box))
        path.add(time, thing.seen, self._rules, look=thing.look)
        self._paths.append(path)
        return path


def _alone(seen: Observation, others: Sequence[Observation]) -> bool:
    """Whether no other thing covers much of it: its colours would be the other's."""
    most = _HIDDEN * seen.box.area
    return not any(other is not seen and shared(seen.box, other.box) > most for other in others)
