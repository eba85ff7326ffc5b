"""What a node can do at all: which task it answers from which form of an observation.

In: a candidate and what the question was understood as. Out: why its node cannot answer, in words, empty when it can.
The embedded default reads, listens and describes at the edge alone, where memory holds what was read and heard.
It knows no residency, no health and no limits; `place` is next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foveate.messages import Device, Representation, Task, Tier, Understanding
from router.candidates import PIXELS, Candidate, checks_words
from router.policy import PlacementPolicy

_FACTS, _FRAMES, _CLIP = Representation.FACTS, Representation.FRAMES, Representation.CLIP
_BY_LABEL = (Task.PRESENCE, Task.COUNT, Task.FIND)
_OF_THE_SITE = (Task.READ, Task.LISTEN, Task.DESCRIBE, Task.EXTRACT)
_FORMS: Mapping[Task, tuple[Representation, ...]] = {
    **dict.fromkeys(_BY_LABEL, tuple(Representation)),
    Task.READ: (_FACTS, _FRAMES, _CLIP),
    Task.LISTEN: (_FACTS, _CLIP),
    Task.DESCRIBE: (_FACTS, _FRAMES, _CLIP),
    Task.COMPARE: (_FACTS,),
    Task.EXTRACT: (_FACTS, _FRAMES, _CLIP),
    Task.SUMMARISE: (_FACTS,),
}
"""What each task can be answered from; FACTS hold what was read and heard as well, within their site."""


def inability(candidate: Candidate, u: Understanding, policy: PlacementPolicy) -> str:
    """Why the node cannot do it, empty when it can."""
    tier, form = candidate.placement.tier, candidate.placement.representation
    at_cloud = tier is Tier.CLOUD
    hurdles: tuple[tuple[bool, str], ...] = (
        (at_cloud and form in PIXELS, "the cloud of this release works from FACTS and EMBEDDING only"),
        (u.task not in policy.tasks.get(tier, ()), f"no {tier} of this fleet answers {u.task} questions"),
        (at_cloud and u.task in _OF_THE_SITE, "what was read and heard is remembered at its site alone"),
        (u.task is Task.LISTEN and form in PIXELS and form is not _CLIP, f"{form.name} carries no sound"),
        (form not in _FORMS[u.task] and not _shown(candidate, u.task, policy), _wrong_form(form, u.task)),
    )
    said = next((reason for hurdle, reason in hurdles if hurdle), "")
    return said or _by_label(candidate, u, policy) or _by_zone(form, u) or _by_sides(candidate, u)


def _shown(candidate: Candidate, task: Task, policy: PlacementPolicy) -> bool:
    """Whether a model that is bound to no names can do the task from what it is shown."""
    return checks_words(candidate.placement, policy) and task is not Task.LISTEN


def unseen_sides(u: Understanding, devices: Sequence[Device]) -> tuple[str, ...]:
    """The devices that a comparison names and that are not among these."""
    seen = {device.device_id for device in devices}
    named = dict.fromkeys(device_id for side in u.sides for device_id in side.device_ids)
    return tuple(device_id for device_id in named if device_id not in seen)


def _wrong_form(form: Representation, task: Task) -> str:
    if form is Representation.EMBEDDING:
        return "EMBEDDING only finds what looks alike"
    if task in (Task.COMPARE, Task.SUMMARISE):
        return f"FACTS tell what a {task} question asks, pictures do not add to it"
    return f"{form.name} does not show it"


def _by_label(candidate: Candidate, u: Understanding, policy: PlacementPolicy) -> str:
    """What the subject asks of the node, where a detector's names decide."""
    form = candidate.placement.representation
    if u.task not in _BY_LABEL:
        return ""
    embedding = form is Representation.EMBEDDING
    any_word = checks_words(candidate.placement, policy)
    hurdles = (
        (embedding and u.task is Task.COUNT, "EMBEDDING only finds what looks alike"),
        (embedding and bool(u.labels), "the detector has a name for it, so FACTS say more than EMBEDDING"),
        (not u.labels and not u.subject, "the question names nothing that could be looked for"),
        (
            not u.labels and not embedding and not any_word,
            f"the detector has no name for {u.subject!r}; only EMBEDDING can look for it",
        ),
        (
            form is Representation.REDACTED_FRAMES and "person" in u.labels,
            "people cannot be recognised in REDACTED_FRAMES",
        ),
    )
    return next((reason for hurdle, reason in hurdles if hurdle), "")


def _by_zone(form: Representation, u: Understanding) -> str:
    """Where something stands: devices know their zones, and tell them in FACTS."""
    if not u.zones:
        return ""
    if u.task not in (*_BY_LABEL, Task.COMPARE):
        return f"no node tells which zone the answer to a {u.task} question is from"
    return "" if form is _FACTS else "only FACTS tell what stood in which zone"


def _by_sides(candidate: Candidate, u: Understanding) -> str:
    if u.task is not Task.COMPARE:
        return ""
    if len(u.sides) < 2 or not all(side.labels for side in u.sides):
        return "the question names no two things whose numbers could be compared"
    missing = unseen_sides(u, candidate.devices)
    return f"it does not see {', '.join(missing)}, which is to be compared" if missing else ""
