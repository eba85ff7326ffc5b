"""How far each representation may travel: one function, asked by the router, by each sender and by the wire's tests.

In: a policy, the origin of the data, its representation, where it would go. Out: a verdict that names the rule.
The strictest matching rule wins; what no rule mentions never leaves the device. A filter, never a score.
Knows nothing of who asks or why.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from foveate.errors import InvalidInput, NotFound
from foveate.messages import Boundary, Place, Representation


@dataclass(frozen=True, slots=True)
class Origin:
    """Where data was made, and the labels of the device that made it; derived data inherits it."""

    region: str
    site_id: str
    device_id: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleScope:
    """What a rule is about; every field that is set must match, an empty scope matches all."""

    region: str = ""
    site: str = ""
    device: str = ""
    label: str = ""

    def matches(self, origin: Origin) -> bool:
        """Whether data of this origin falls under the rule."""
        return (
            self.region in ("", origin.region)
            and self.site in ("", origin.site_id)
            and self.device in ("", origin.device_id)
            and (not self.label or self.label in origin.labels)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """Limits for a scope: the farthest boundary of each representation that the rule mentions."""

    name: str
    scope: RuleScope
    limits: tuple[tuple[Representation, Boundary], ...]

    def limit(self, representation: Representation) -> Boundary | None:
        """The farthest boundary that this rule sets, None when it does not mention the representation."""
        return min((boundary for named, boundary in self.limits if named is representation), default=None)


@dataclass(frozen=True, slots=True)
class ResidencyPolicy:
    """A set of rules with unique names."""

    rules: tuple[Rule, ...]

    @property
    def revision(self) -> str:
        """SHA-256 of the rules, shortened to 12 hex digits: tells which policy decided."""
        canonical = sorted((rule.name, repr(rule.scope), sorted(rule.limits)) for rule in self.rules)
        return hashlib.sha256(repr(canonical).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it may travel, how far it may, and the rule that decided (empty when no rule mentions it)."""

    allowed: bool
    farthest: Boundary
    needed: Boundary
    rule: str

    def reason(self, representation: Representation) -> str:
        """The verdict in words."""
        by = f"rule {self.rule}" if self.rule else "no rule lets it travel"
        verb = "may" if self.allowed else "may not"
        return f"{representation.name} {verb} go to {self.needed.name}: {by} keeps it to {self.farthest.name}"


def crossing(origin: Origin, destination: Place) -> Boundary:
    """How far data of this origin travels to reach the destination.

    An empty region at the destination is outside every legal area, so it needs WORLD.
    """
    if not destination.region or destination.region != origin.region:
        return Boundary.WORLD
    if not destination.site_id or destination.site_id != origin.site_id:
        return Boundary.REGION
    same_device = destination.device_id and destination.device_id == origin.device_id
    return Boundary.DEVICE if same_device else Boundary.SITE


def farthest(origin: Origin, *path: Place) -> Place:
    """The place on a path that data of this origin travels farthest to reach: every place on it sees what passes."""
    return max(path, key=lambda place: crossing(origin, place))


def decide(policy: ResidencyPolicy, *, origin: Origin, representation: Representation, destination: Place) -> Verdict:
    """Whether data of this origin may reach the destination in this form."""
    needed = crossing(origin, destination)
    limits = [
        (limit, rule.name)
        for rule in policy.rules
        if rule.scope.matches(origin) and (limit := rule.limit(representation)) is not None
    ]
    farthest, name = min(limits, default=(Boundary.DEVICE, ""))
    return Verdict(allowed=needed <= farthest, farthest=farthest, needed=needed, rule=name)


def most_telling(
    policy: ResidencyPolicy, *, origin: Origin, wanted: Representation, destination: Place
) -> tuple[Representation | None, Verdict]:
    """The most revealing representation up to `wanted` that may travel, with the verdict on `wanted` itself.

    None when not even FACTS may; EMBEDDING is passed over, since it stands for no picture.
    """
    first = decide(policy, origin=origin, representation=wanted, destination=destination)
    for representation in sorted(Representation, reverse=True):
        if representation > wanted or representation is Representation.EMBEDDING:
            continue
        if decide(policy, origin=origin, representation=representation, destination=destination).allowed:
            return representation, first
    return None, first


def load(path: Path) -> ResidencyPolicy:
    """The policy in a YAML file; NotFound or InvalidInput with the place of the mistake."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except FileNotFoundError as error:
        raise NotFound(f"No residency policy at {path}; name one that exists.", path=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mistake = " ".join(str(error).split())
        raise InvalidInput(f"{path} is not YAML ({mistake}); correct it.", path=str(path)) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror}); name a file.", path=str(path)) from error
    return parse(document, source=str(path))


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice is a mistake: the second would silently undo the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def parse(document: Any, *, source: str) -> ResidencyPolicy:  # noqa: ANN401  YAML may hold anything
    """The policy in a parsed YAML document, checked key by key."""
    if not isinstance(document, dict) or set(document) != {"rules"} or not isinstance(document["rules"], list):
        raise InvalidInput(f"{source}: a residency policy is one key, `rules`, with a list under it.")
    rules = tuple(_rule(item, where=f"{source}: rules[{index}]") for index, item in enumerate(document["rules"]))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"{source}: two rules are named {name!r}; rename one.", rule=name)
    return ResidencyPolicy(rules=rules)


def _rule(item: Any, *, where: str) -> Rule:  # noqa: ANN401
    if not isinstance(item, dict) or set(item) - {"name", "scope", "limits"} or not item.get("limits"):
        raise InvalidInput(f"{where}: a rule has `name`, `limits` and at most a `scope`.")
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"{where}: a rule needs a `name`, since refusals quote it.")
    scope = item.get("scope") or {}
    known = {"region", "site", "device", "label"}
    if not isinstance(scope, dict) or set(scope) - known or not all(v and isinstance(v, str) for v in scope.values()):
        raise InvalidInput(f"{where} ({name}): `scope` takes {', '.join(sorted(known))}, each a word.")
    limits = item["limits"]
    if not isinstance(limits, dict):
        raise InvalidInput(f"{where} ({name}): `limits` maps representations to boundaries.")
    return Rule(
        name=name,
        scope=RuleScope(**scope),
        limits=tuple(_limit(k, v, where=where) for k, v in limits.items()),
    )


def _limit(key: object, value: object, *, where: str) -> tuple[Representation, Boundary]:
    try:
        return Representation[str(key)], Boundary[str(value)]
    except KeyError as error:
        raise InvalidInput(
            f"{where}: {error.args[0]!r} is unknown; representations are {', '.join(Representation.__members__)}"
            f" and boundaries {', '.join(Boundary.__members__)}."
        ) from error
