"""How the edge's parts fit together: settings and open connections in, wired parts out.

It opens and starts nothing: `__main__` holds what must be closed, `pipeline.py` runs.
Tests build the same edge around their own connections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_node import on_site, perceive
from edge_node.admission import Admission, Admitted
from edge_node.answer import Answerer, EdgeAnswerer
from edge_node.apart import Apart
from edge_node.archive import Archive, ArchiveFirst
from edge_node.ask import Ask
from edge_node.backfill import BackFills
from edge_node.command import Commands
from edge_node.devices import Devices
from edge_node.egress import Egress
from edge_node.fetch import Fetch, Pulls
from edge_node.gather import Gather
from edge_node.look import Look
from edge_node.models import Models
from edge_node.pipeline import Parts, Tending
from edge_node.receive import Receive
from edge_node.redacted import RedactHere
from edge_node.reembed import Reembed
from edge_node.remember import Remember
from edge_node.retention import Keep, Retention
from edge_node.roster import Roster
from edge_node.scene import Scene
from edge_node.sequences import Sequences
from edge_node.serve import Relay, Site
from edge_node.settings import Settings
from edge_node.show import LookOnce
from edge_node.think import with_model
from edge_node.trim import Trim
from edge_node.wanted import Wanted
from foveate import subjects
from foveate.bus import Bus
from foveate.clips import ClipStore
from foveate.memory import Memory
from foveate.messages import Place, Priority
from foveate.residency import ResidencyPolicy
from foveate.v1 import answer_service_pb2_grpc as answer_grpc
from foveate.v1 import clip_service_pb2_grpc as clip_grpc
from foveate.v1 import fleet_service_pb2_grpc as fleet_grpc

_RECALL_WAIT_S = 0.5
_LOOK_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Edge:
    """What runs, and the gRPC services as (add function, servicer)."""

    parts: Parts
    services: tuple[tuple[Any, Any], ...]


def edge(
    chosen: Settings, *, policy: ResidencyPolicy, models: Models, memory: Memory, local: Bus, bridged: Bus
) -> Edge:
    """The wired edge node; InvalidInput when the site's or region's name cannot stand in a subject."""
    here = Place(subjects.checked_name(chosen.region, what="region"), subjects.checked_name(chosen.site, what="site"))
    cloud = Place(region=chosen.cloud_region)
    devices, look = Devices(here=here, policy=policy), Look(models.detector)
    roster = Roster(devices=devices, here=here, path=chosen.data_dir / "devices.binpb")
    rules: dict[str, Any] = {"memory": memory, "policy": policy, "devices": devices, "cloud": cloud}
    egress = Egress(bridged=bridged, here=here, redactor=look.redacted, **rules)
    store = ClipStore(chosen.data_dir / "clips", max_bytes=chosen.clip_bytes)
    fetch = Fetch(local=local, here=here, store=store, egress=egress)
    archive = Archive(memory=memory, devices=devices, fetch=fetch, **_archive(chosen))
    back_fills = BackFills(local=local, site=here.site_id, sequences=Sequences(memory))
    near = RedactHere(
        fetch,
        pulls=ArchiveFirst(fetch, archive=archive, egress=egress, here=here),
        detector=look,
        egress=egress,
        here=here,
        folder=chosen.data_dir / "redacted",
    )
    scene = Scene(memory)
    gather = _gather(chosen, models, memory=memory, scene=scene, fetch=near, devices=devices)
    remember = Remember(
        released=egress.wake, footage=lambda event: [*archive.wanted(event), *gather.statements(event)], **rules
    )
    closer = LookOnce(fetch=near, look=look, devices=devices)
    ask = Ask(local=local, site=here.site_id)
    answerer = _answerer(chosen, models, memory=memory, scene=scene, closer=closer, ask=ask, egress=egress, here=here)
    site = Site(answerer=answerer, egress=egress, orders=near, here=here, cloud=cloud, router_grpc=chosen.router_grpc)
    parts = Parts(
        local=local,
        bridged=bridged,
        here=here,
        receive=Receive(local=local, here=here, remember=remember, devices=devices, back_fills=back_fills),
        egress=egress,
        relay=Relay(bridged=bridged, site=site, here=here),
        commands=Commands(local=local, site=here.site_id, text=models.text, guard=egress.guard_state),
        devices=devices,
        roster=roster,
        cloud_grpc=chosen.cloud_grpc,
        trim=Trim(local=local, bridged=bridged, site=here.site_id),
        back_fills=back_fills,
        archive=archive,
        gather=gather,
        tending=_tending(chosen, models, memory=memory, scene=scene),
    )
    fleet = on_site.FleetServicer(memory=memory, here=here, egress=egress, roster=roster, policy=policy)
    clips = on_site.ClipServicer(fetch=fetch, orders=near, egress=egress, here=here)
    return Edge(parts, _services(on_site.AnswerServicer(site), clips, fleet))


def _answerer(
    chosen: Settings,
    models: Models,
    *,
    memory: Memory,
    scene: Scene,
    closer: LookOnce,
    ask: Ask,
    egress: Egress,
    here: Place,
) -> Answerer:
    """The embedded default, the site's model around it when it has one, and around both how many are let in."""
    embedded: Answerer = EdgeAnswerer(
        memory=memory,
        text=models.text,
        ask=ask,
        closer=closer,
        scene=scene,
        senses=models.senses,
        detector=models.detector_tag,
    )
    if models.vlm is not None:
        embedded = with_model(embedded, models.vlm, looks=closer, scene=scene, releases=egress, here=here)
    return Admitted(
        embedded,
        recall=Admission(at_once=chosen.recalls_at_once, longest_wait_s=_RECALL_WAIT_S),
        look=Admission(at_once=chosen.looks_at_once, longest_wait_s=_LOOK_WAIT_S, expected_s=1.0),
    )


def _gather(
    chosen: Settings, models: Models, *, memory: Memory, scene: Scene, fetch: Pulls, devices: Devices
) -> Gather:
    share = chosen.gather_share if models.perceive is not None else 0.0
    looks = Apart(models.perceive or perceive.embedded)
    wanted = Wanted(memory=memory)
    return Gather(wanted=wanted, memory=memory, scene=scene, fetch=fetch, devices=devices, looks=looks, share=share)


def _tending(chosen: Settings, models: Models, *, memory: Memory, scene: Scene) -> tuple[Tending, ...]:
    """What keeps the memory bounded and of one encoder."""
    keep = Keep(days=chosen.memory_days, bytes=chosen.memory_bytes, release_days=chosen.release_days)
    tending: list[Tending] = [Retention(memory=memory, scene=scene, keep=keep)]
    if models.encoder is not None:
        tending.append(Reembed(memory=memory, scene=scene, encoder=models.encoder))
    return tuple(tending)


def _archive(chosen: Settings) -> dict[str, Any]:
    none = chosen.archive_priority == "none"
    least = None if none else Priority[chosen.archive_priority.upper()]
    return {"folder": chosen.data_dir / "archive", "least": least, "max_bytes": chosen.archive_bytes}


def _services(
    answers: on_site.AnswerServicer, clips: on_site.ClipServicer, fleet: on_site.FleetServicer
) -> tuple[tuple[Any, Any], ...]:
    return (
        (answer_grpc.add_AnswerServiceServicer_to_server, answers),
        (clip_grpc.add_ClipServiceServicer_to_server, clips),
        (fleet_grpc.add_FleetServiceServicer_to_server, fleet),
    )
