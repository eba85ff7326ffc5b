"""Who belongs to the site is known with and without an uplink, and after a restart."""

from __future__ import annotations

from pathlib import Path

from edge_node.devices import Devices
from edge_node.roster import Roster
from foveate.messages import Boundary, Device, DeviceKind, Place, Presence, Representation
from foveate.residency import ResidencyPolicy, Rule, RuleScope

HERE = Place("eu-west", "north")
CAMERA = Device("cam-1", "north", "eu-west", DeviceKind.BODY_CAM, ("ward",), enrolled=True, online=True)


def roster(path: Path, *, clock: float = 100.0) -> tuple[Roster, Devices]:
    rule = Rule("ward", RuleScope(label="ward"), ((Representation.FACTS, Boundary.SITE),))
    devices = Devices(here=HERE, policy=ResidencyPolicy(rules=(rule,)), clock=lambda: clock)
    return Roster(devices=devices, here=HERE, path=path / "devices.binpb"), devices


async def test_what_the_registry_told_outlives_a_restart_without_it(tmp_path: Path) -> None:
    before, _ = roster(tmp_path)
    await before.learn([CAMERA])
    after, devices = roster(tmp_path)
    await after.recall()
    (known,) = after.list()
    assert (known.device_id, known.kind, known.enrolled, known.online) == ("cam-1", CAMERA.kind, True, False)
    assert devices.origin("cam-1").labels == ("ward",)


async def test_who_is_heard_is_online_and_judged_as_the_guard_judges(tmp_path: Path) -> None:
    known, devices = roster(tmp_path)
    await known.learn([Device("cam-1", "north", "eu-west", DeviceKind.BODY_CAM)])
    devices.hear(Presence("cam-1", "north", 100.0, capturing=True, trouble="dark"))
    devices.hear(Presence("new", "north", 100.0, capturing=True))
    first, new = known.list()
    assert (first.online, first.trouble, first.labels) == (True, "dark", ())
    # Nobody told its labels yet: it counts as having each that a rule mentions.
    assert (new.device_id, new.online, new.labels) == ("new", True, ("ward",))


async def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    known, _ = roster(tmp_path)
    (tmp_path / "devices.binpb").write_bytes(b"\xff\xff\xff")
    await known.recall()
    assert known.list() == ()
