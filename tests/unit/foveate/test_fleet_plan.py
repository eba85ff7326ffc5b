"""Fleet plans: what a file or a few videos become, and what is refused with which sentence."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from foveate import document
from foveate.cli import children, fleet_plan, layout, postgres
from foveate.cli.fleet_plan import DevicePlan, EngineSettings, FleetPlan, SitePlan
from foveate.errors import AlreadyExists, BadVideo, InvalidInput, NotFound
from foveate.messages import DeviceKind

POLICY = {"rules": [{"name": "all", "limits": {"FACTS": "WORLD"}}]}


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "door.mp4"
    path.write_bytes(b"not empty")
    return path


def written(**changes: Any) -> dict[str, Any]:
    plan: dict[str, Any] = {
        "cloud_region": "us-ca",
        "sites": [{"name": "north", "region": "eu-west"}, {"name": "south"}],
        "devices": [
            {
                "id": "body-1",
                "site": "north",
                "kind": "body-cam",
                "source": "door.mp4",
                "labels": ["officer"],
                "loop": False,
                "speed": 2,
            },
            {"id": "gate", "site": "south", "source": "rtsp://user:secret@camera.local/1"},
        ],
    }
    return plan | changes


def device(**changes: Any) -> dict[str, Any]:
    return written(devices=[{"id": "cam", "site": "north", "source": "rtsp://localhost/1"} | changes])


def test_videos_become_cameras_of_one_site(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(video.parent)
    plan = fleet_plan.plan_from_videos(["door.mp4", "rtsp://camera.local/1"], region="eu-west", speed=2.0)
    assert plan.sites == (SitePlan("site-1", "eu-west"),)
    assert [camera.id for camera in plan.devices] == ["cam-1", "cam-2"]
    assert [camera.source for camera in plan.devices] == [str(video), "rtsp://camera.local/1"]
    assert plan.devices_of("site-1") == plan.devices
    assert plan.devices[0].kind is DeviceKind.FIXED_CAMERA
    assert plan.devices[0].speed == 2.0
    assert plan.cloud_region == "eu-west"


def test_a_site_names_the_configuration_of_its_model(tmp_path: Path, video: Path) -> None:
    (tmp_path / "vlm.yaml").write_text("kind: embedded\n")
    sites = [{"name": "north", "vlm": "vlm.yaml"}, {"name": "south"}]
    plan = fleet_plan.parse(written(sites=sites), base=tmp_path)
    assert [site.vlm for site in plan.sites] == [tmp_path / "vlm.yaml", None]
    with pytest.raises(NotFound, match=r"no model configuration at .*gone\.yaml"):
        fleet_plan.parse(written(sites=[{"name": "north", "vlm": "gone.yaml"}, {"name": "south"}]), base=tmp_path)


def test_no_video_is_no_fleet() -> None:
    with pytest.raises(InvalidInput, match="--video PATH"):
        fleet_plan.plan_from_videos([])


def test_a_missing_or_empty_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadVideo, match=r"no video .*gone\.mp4"):
        fleet_plan.plan_from_videos([tmp_path / "gone.mp4"])
    with pytest.raises(BadVideo, match="no video"):
        fleet_plan.plan_from_videos([tmp_path])
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(BadVideo, match="is empty"):
        fleet_plan.plan_from_videos([tmp_path / "empty.mp4"])


def test_a_plan_is_read_relative_to_its_file(video: Path) -> None:
    (video.parent / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    path = video.parent / "fleet.yaml"
    path.write_text(yaml.safe_dump(written(policy="policy.yaml")))
    plan = fleet_plan.load(path)
    body, gate = plan.devices
    assert body == DevicePlan("body-1", "north", str(video), DeviceKind.BODY_CAM, ("officer",), loop=False, speed=2.0)
    assert (gate.loop, gate.speed, gate.labels) == (True, 1.0, ())
    assert plan.policy == video.parent / "policy.yaml"
    assert plan.region_of("north") == "eu-west"
    assert plan.region_of("south") == "local"
    with pytest.raises(NotFound):
        plan.region_of("east")


def test_what_is_saved_is_what_is_loaded_and_private(video: Path, tmp_path: Path) -> None:
    plan = fleet_plan.parse(written(), base=video.parent)
    path = tmp_path / "elsewhere" / "plan.json"
    fleet_plan.save(plan, path)
    assert fleet_plan.load(path) == plan
    assert json.loads(path.read_text())["devices"][0]["kind"] == "body-cam"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (device(id="Cam 1"), "'Cam 1' cannot name a device"),
        (device(id="a.b"), "cannot name a device"),
        (device(id="c" * 33), "cannot name a device"),
        (device(labels=["*"]), "cannot name a label"),
        (device(labels="officer"), "labels of the device cam are not a list"),
        (device(kind="toaster"), "device cam has a bad value"),
        (device(speed="fast"), "device cam has a bad value"),
        (device(speed=0), "speed of cam"),
        (device(speed=float("inf")), "speed of cam"),
        (device(colour="red"), "unknown key colour"),
        (device(config=3), "neither a mapping nor the path of one"),
        (device(config=["masks"]), "neither a mapping nor the path of one"),
        (device(config={"masks": {1, 2}}), "holds a value that JSON cannot"),
        (device(config="door.mp4"), "is not a mapping"),
        (written(sites=[{"name": "north", "region": "eu west"}]), "cannot name a region"),
        (written(sites=[{"region": "eu-west"}]), "no `name`"),
        (written(sites=["north"]), "not a mapping"),
        (written(sites=[]), "at least one site"),
        (written(devices={}), "`devices` is not a list"),
        (written(devices=[{"id": "cam"}]), "needs `id`, `site` and `source`"),
        (written(cloud_region="*"), "cannot name a region"),
        (written(engines=1), "unknown key engines"),
    ],
)
def test_a_mistake_is_named(video: Path, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        fleet_plan.parse(changed, base=video.parent)
    assert sentence in caught.value.message


def test_a_device_is_configured_in_place_or_by_a_file(video: Path, tmp_path: Path) -> None:
    (video.parent / "cam.yaml").write_text("masks: []\n")
    inline = {"triggers": {"sound": {"on": False}}, "recording": {"idle_s": "2h"}}
    for config, expected in ((inline, inline), ("cam.yaml", video.parent / "cam.yaml"), (None, None)):
        plan = fleet_plan.parse(device(config=config), base=video.parent)
        assert plan.devices[0].config == expected
        saved = tmp_path / "elsewhere" / "plan.json"
        fleet_plan.save(plan, saved)
        assert fleet_plan.load(saved) == plan
    with pytest.raises(NotFound, match=r"no configuration of cam .*gone\.yaml"):
        fleet_plan.parse(device(config="gone.yaml"), base=video.parent)


def test_a_device_reads_its_configuration_where_the_plan_says(tmp_path: Path) -> None:
    inline = DevicePlan("cam", "north", "rtsp://localhost/1", config={"triggers": {"sound": {"on": False}}})
    named = replace(inline, config=tmp_path / "cam.yaml")
    (variable,) = children.configuration(inline, tmp_path / "home").values()
    path = Path(variable)
    assert path.parent == tmp_path / "home"
    assert document.read(path, what="configuration") == inline.config
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert children.configuration(named, tmp_path) == {"FOVEATE_DEVICE_CONFIG": str(tmp_path / "cam.yaml")}
    assert children.configuration(replace(inline, config=None), tmp_path) == {}


def test_names_are_used_once_and_sites_are_known(video: Path) -> None:
    twice = written()["devices"][1:] * 2
    with pytest.raises(AlreadyExists, match="Two devices are called gate"):
        fleet_plan.parse(written(devices=twice), base=video.parent)
    with pytest.raises(AlreadyExists, match="Two sites are called north"):
        fleet_plan.parse(written(sites=[{"name": "north"}, {"name": "south"}, {"name": "north"}]), base=video.parent)
    with pytest.raises(NotFound, match="no site east"):
        fleet_plan.parse(device(site="east"), base=video.parent)


def test_a_file_that_holds_no_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    with pytest.raises(NotFound, match="no fleet plan"):
        fleet_plan.load(path)
    for text in (b"{", b"\xff\xfe\x00", b"- a list"):
        path.write_bytes(text)
        with pytest.raises(InvalidInput, match=r"fleet\.yaml"):
            fleet_plan.load(path)


def test_a_camera_may_be_a_folder_of_pictures(video: Path) -> None:
    (video.parent / "pictures").mkdir()
    (video.parent / "pictures" / "1.JPG").touch()
    devices = [{"id": "cam-1", "site": "north", "source": "pictures/"}]
    plan = fleet_plan.parse(written(devices=devices), base=video.parent)
    assert plan.devices[0].source == str(video.parent / "pictures")


def test_a_policy_must_be_one(video: Path) -> None:
    with pytest.raises(NotFound, match="residency policy"):
        fleet_plan.parse(written(policy="gone.yaml"), base=video.parent)
    (video.parent / "policy.yaml").write_text("rules: 1")
    with pytest.raises(InvalidInput, match="residency policy"):
        fleet_plan.parse(written(policy="policy.yaml"), base=video.parent)


def test_engines_are_replaced_by_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOVEATE_UP_NATS_HUB_URL", raising=False)
    assert EngineSettings().nats_hub_url == ""
    monkeypatch.setenv("FOVEATE_UP_NATS_HUB_URL", "nats://hub.example:4222")
    monkeypatch.setenv("FOVEATE_UP_NATS_CREDENTIALS", "/etc/foveate")
    monkeypatch.setenv("FOVEATE_UP_DATABASE_URL", "postgresql://db.example/foveate_")
    settings = EngineSettings()
    assert settings.nats_hub_url == "nats://hub.example:4222"
    assert settings.nats_credentials == Path("/etc/foveate")
    assert settings.database_url == "postgresql://db.example/foveate_"


def test_a_plan_cannot_change() -> None:
    plan = FleetPlan(sites=(SitePlan("north"),), devices=())
    with pytest.raises(AttributeError):
        plan.cloud_region = "eu-west"  # type: ignore[misc]


def test_every_listener_has_a_name_of_its_own() -> None:
    plan = FleetPlan(sites=(SitePlan("hub"), SitePlan("hub-leaf")), devices=())
    embedded = layout.listeners(plan, EngineSettings(nats_hub_url="", database_url=""))
    assert len(set(embedded)) == len(embedded) == 11
    external = layout.listeners(plan, EngineSettings(nats_hub_url="nats://hub", database_url="postgresql://db/"))
    assert set(embedded) - set(external) == {"nats-hub", "nats-hub-leaf", "postgres"}
    assert layout.database_of("site-1") == "edge_site_1"


def test_the_url_of_an_external_database_gets_the_name_appended() -> None:
    url = postgres.external_url("postgresql://me:pass@db.example:5433/foveate_?sslmode=require", "cloud")
    assert url == "postgresql+psycopg://me:pass@db.example:5433/foveate_cloud?sslmode=require"
    assert postgres.external_url("postgres://db.example", "cloud") == "postgresql+psycopg://db.example/cloud"
    for wrong in ("mysql://db.example/", "db.example", "postgresql:///local"):
        with pytest.raises(InvalidInput, match="FOVEATE_UP_DATABASE_URL"):
            postgres.external_url(wrong, "cloud")
