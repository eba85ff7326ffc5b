"""The edge in one sentence: receive and ask for what is missing, remember, gather what pictures hold, let out, answer.

In: the parts, wired by `build.py`. Out: a site that remembers and replies until it is told to stop.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from edge_node.archive import Archive
from edge_node.backfill import BackFills
from edge_node.command import Commands
from edge_node.devices import Devices
from edge_node.egress import Egress, out_stream
from edge_node.gather import Gather
from edge_node.receive import Receive, events_stream
from edge_node.registry import learn_labels
from edge_node.roster import Roster
from edge_node.serve import Relay
from edge_node.trim import Trim
from foveate import subjects
from foveate.bus import Bus
from foveate.messages import Place


class Tending(Protocol):
    """Whatever looks after the memory in the background."""

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that runs side by side."""

    local: Bus
    bridged: Bus
    here: Place
    receive: Receive
    egress: Egress
    relay: Relay
    commands: Commands
    devices: Devices
    roster: Roster
    cloud_grpc: str
    trim: Trim
    back_fills: BackFills
    archive: Archive
    gather: Gather
    tending: tuple[Tending, ...] = ()


async def prepare(parts: Parts) -> None:
    """Makes the streams and subscribes; after this devices and the router find the site ready."""
    await parts.local.ensure_stream(events_stream(parts.here.site_id))
    await parts.bridged.ensure_stream(out_stream(parts.here.site_id))
    await parts.receive.listen()
    await parts.trim.listen()
    await parts.relay.run()
    await parts.bridged.serve(subjects.site_device(parts.here.site_id), parts.commands.serve)


async def run(parts: Parts, stop: asyncio.Event) -> None:
    """Runs until `stop` is set and what was begun is done; a bug in one part ends them all, and is raised."""
    site = parts.here.site_id
    async with asyncio.TaskGroup() as running:
        running.create_task(parts.receive.run(stop))
        running.create_task(parts.egress.release_events(stop))
        running.create_task(parts.egress.send_presence(stop))
        running.create_task(parts.trim.run(stop))
        running.create_task(parts.back_fills.run(stop))
        running.create_task(parts.archive.run(stop))
        running.create_task(parts.gather.run(stop))
        for tending in parts.tending:
            running.create_task(tending.run(stop))
        running.create_task(learn_labels(parts.cloud_grpc, site=site, roster=parts.roster, stop=stop))
