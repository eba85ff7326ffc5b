"""What a laptop fleet consists of: sites in regions, and the cameras of each.

In come paths of videos, or a YAML or JSON file; out goes a validated `FleetPlan`. Settings that name external
engines are read from the environment (`FOVEATE_UP_*`). It opens no video and starts nothing: `foveate.cli.local`
is next.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict

from foveate import document, identity, residency, subjects
from foveate.errors import AlreadyExists, BadVideo, InvalidInput, NotFound
from foveate.messages import DeviceKind

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PICTURES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, slots=True)
class SitePlan:
    """A place with one edge node, in a legal region; `vlm` is the configuration of its model, None for the default."""

    name: str
    region: str = "local"
    vlm: Path | None = None


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """A camera: `source` is a file, a URL such as rtsp:// or a device such as /dev/video0.

    `loop` replays a file for ever; `speed` is how many of its seconds pass in one real second. `config` is what the
    device is told beside that, or the file that says it; only the device agent knows its keys.
    """

    id: str
    site: str
    source: str
    kind: DeviceKind = DeviceKind.FIXED_CAMERA
    labels: tuple[str, ...] = ()
    loop: bool = True
    speed: float = 1.0
    config: Path | Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """All of a fleet; `policy` is the residency policy's file, None for `local_policy.yaml`."""

    sites: tuple[SitePlan, ...]
    devices: tuple[DevicePlan, ...]
    cloud_region: str = "local"
    policy: Path | None = None

    def devices_of(self, site: str) -> tuple[DevicePlan, ...]:
        """The cameras of one site."""
        return tuple(device for device in self.devices if device.site == site)

    def region_of(self, site: str) -> str:
        """The region of one site; NotFound for a site that is not in the plan."""
        for planned in self.sites:
            if planned.name == site:
                return planned.region
        raise NotFound(f"There is no site {site} in the plan; add it under `sites`.", site=site)


class EngineSettings(BaseSettings):
    """External engines instead of the embedded ones, from `FOVEATE_UP_*`; empty means embedded.

    `nats_hub_url` needs `nats_hub_leaf_url` (where leaf servers dial in) and `nats_credentials`, a directory with
    `cloud.creds`, `router.creds` and one `<site>.leaf.creds` per site. `database_url` is a prefix to which each
    database's name is appended, such as `postgresql://user:password@host:5432/foveate_`.
    """

    model_config = SettingsConfigDict(env_prefix="FOVEATE_UP_", extra="ignore")

    nats_hub_url: str = ""
    nats_hub_leaf_url: str = ""
    nats_credentials: Path | None = None
    database_url: str = ""
    router_port: int = 0
    start_seconds: float = 60.0


def plan_from_videos(
    videos: Sequence[str | Path], *, region: str = "local", loop: bool = True, speed: float = 1.0
) -> FleetPlan:
    """One site `site-1` with a fixed camera `cam-1`, `cam-2`, ... for each video, file or URL."""
    if not videos:
        raise InvalidInput("A fleet needs at least one camera; name one by --video PATH.")
    devices = tuple(
        DevicePlan(id=f"cam-{number}", site="site-1", source=str(video), loop=loop, speed=speed)
        for number, video in enumerate(videos, start=1)
    )
    plan = FleetPlan(sites=(SitePlan("site-1", region),), devices=devices, cloud_region=region)
    return validated(plan)


def validated(plan: FleetPlan) -> FleetPlan:
    """The plan with absolute paths, once everything in it is usable.

    Raises InvalidInput for a bad name, speed or policy, NotFound for an unknown site or a missing policy,
    AlreadyExists for a name used twice and BadVideo for a file that is missing or empty.
    """
    if not plan.sites or not plan.devices:
        raise InvalidInput("A fleet plan needs at least one site and one device; add them to the file.")
    for site in plan.sites:
        subjects.checked_name(site.name, what="site")
        subjects.checked_name(site.region, what="region")
    subjects.checked_name(plan.cloud_region, what="region")
    for device in plan.devices:
        _check_device(plan, device)
    _refuse_twice((site.name for site in plan.sites), what="site")
    _refuse_twice((device.id for device in plan.devices), what="device")
    policy = plan.policy.absolute() if plan.policy else None
    if policy is not None:
        residency.load(policy)
    return replace(plan, devices=tuple(_with_source(device) for device in plan.devices), policy=policy)


def load(path: Path) -> FleetPlan:
    """The plan in a YAML or JSON file; relative paths in it start from the file's directory."""
    return parse(document.read(path, what="fleet plan"), base=path.parent)


def parse(written: Mapping[str, Any], *, base: Path) -> FleetPlan:
    """The plan that `written` describes; raises InvalidInput naming the key that is wrong."""
    known = _only(written, {"cloud_region", "policy", "sites", "devices"}, where="the plan")
    sites = tuple(_site(item, base=base) for item in _list(known, "sites"))
    devices = tuple(_device(item, base=base) for item in _list(known, "devices"))
    policy = known.get("policy")
    return validated(
        FleetPlan(
            sites=sites,
            devices=devices,
            cloud_region=str(known.get("cloud_region", "local")),
            policy=base / str(policy) if policy else None,
        )
    )


def save(plan: FleetPlan, path: Path) -> None:
    """Write the plan as JSON, readable by its owner only: a camera's URL may hold a password."""
    saved = {
        "cloud_region": plan.cloud_region,
        "policy": str(plan.policy) if plan.policy else None,
        "sites": [
            {"name": site.name, "region": site.region, **({"vlm": str(site.vlm)} if site.vlm else {})}
            for site in plan.sites
        ],
        "devices": [
            {
                "id": device.id,
                "site": device.site,
                "kind": device.kind.value,
                "source": device.source,
                "labels": list(device.labels),
                "loop": device.loop,
                "speed": device.speed,
                "config": str(device.config) if isinstance(device.config, Path) else device.config,
            }
            for device in plan.devices
        ],
    }
    identity.write_secret(path, json.dumps(saved, indent=1) + "\n")


def _site(item: object, *, base: Path) -> SitePlan:
    known = _only(item, {"name", "region", "vlm"}, where="a site")
    if "name" not in known:
        raise InvalidInput("A site of the plan has no `name`; add one.")
    vlm = None if known.get("vlm") is None else base / str(known["vlm"])
    if vlm is not None and not vlm.is_file():
        raise NotFound(f"There is no model configuration at {vlm}; correct `vlm` of the site {known['name']}.")
    return SitePlan(name=str(known["name"]), region=str(known.get("region", "local")), vlm=vlm)


def _device(item: object, *, base: Path) -> DevicePlan:
    keys = {"id", "site", "kind", "source", "labels", "loop", "speed", "config"}
    known = _only(item, keys, where="a device")
    name = str(known.get("id", "without an id"))
    if not {"id", "site", "source"} <= known.keys():
        raise InvalidInput(f"The device {name} needs `id`, `site` and `source`; add them.", device=name)
    source = str(known["source"])
    if not _URL.match(source):
        source = str(base / source)
    try:
        kind = DeviceKind(str(known.get("kind", DeviceKind.FIXED_CAMERA.value)))
        speed = float(known.get("speed", 1.0))
    except ValueError as error:
        raise InvalidInput(f"The device {name} has a bad value ({error}); correct it.", device=name) from error
    labels = known.get("labels") or ()
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise InvalidInput(f"The labels of the device {name} are not a list; write them as one.", device=name)
    return DevicePlan(
        id=str(known["id"]),
        site=str(known["site"]),
        source=source,
        kind=kind,
        labels=tuple(map(str, labels)),
        loop=bool(known.get("loop", True)),
        speed=speed,
        config=_config(known.get("config"), name=name, base=base),
    )


def _config(given: object, *, name: str, base: Path) -> Path | Mapping[str, Any] | None:
    """A device's configuration as it is given; what its keys mean is for the device agent to judge."""
    if given is None or isinstance(given, Mapping):
        try:
            json.dumps(given)
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"The `config` of the device {name} holds a value that JSON cannot ({error}); put it in quotes."
            ) from error
        return given
    if not isinstance(given, str):
        raise InvalidInput(f"The `config` of the device {name} is neither a mapping nor the path of one; write either.")
    path = (base / Path(given).expanduser()).absolute()
    document.read(path, what=f"configuration of {name}")
    return path


def _check_device(plan: FleetPlan, device: DevicePlan) -> None:
    subjects.checked_name(device.id, what="device")
    plan.region_of(device.site)
    for label in device.labels:
        subjects.checked_name(label, what="label")
    if not (math.isfinite(device.speed) and 0 < device.speed <= 64):
        raise InvalidInput(f"The speed of {device.id} is {device.speed}; give one from above 0 to 64.")


def _with_source(device: DevicePlan) -> DevicePlan:
    if _URL.match(device.source):
        return device
    path = Path(device.source).expanduser().absolute()
    if path.is_char_device() or _holds_pictures(path):
        return replace(device, source=str(path))
    if not path.is_file():
        raise BadVideo(
            f"There is no video {path}; give the path of a file or of a folder of pictures, or a URL.", path=str(path)
        )
    if path.stat().st_size == 0:
        raise BadVideo(f"The video {path} is empty; give another file.", path=str(path))
    return replace(device, source=str(path))


def _holds_pictures(path: Path) -> bool:
    return path.is_dir() and any(item.suffix.lower() in _PICTURES for item in path.iterdir())


def _refuse_twice(names: Iterable[str], *, what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise AlreadyExists(f"Two {what}s are called {name}; rename one.", name=name)
        seen.add(name)


def _list(written: Mapping[str, Any], key: str) -> list[object]:
    value = written.get(key)
    if not isinstance(value, list):
        raise InvalidInput(f"The plan's `{key}` is not a list; write one.", key=key)
    return value


def _only(item: object, keys: set[str], *, where: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise InvalidInput(f"The entry {item!r} for {where} is not a mapping; write `key: value` lines.")
    unknown = sorted(str(key) for key in item if key not in keys)
    if unknown:
        raise InvalidInput(f"{where.capitalize()} has the unknown key {unknown[0]}; use {', '.join(sorted(keys))}.")
    return {str(key): value for key, value in item.items()}
