"""A command's whole way over real servers: command line, router, hub, leaf, edge, device, and back.

The device is a real `CommandDesk` with a device's own rights; what it commands here only counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.command import CommandDesk
from edge_node.command import Commands
from foveate import bus, identity, models, rpc, subjects, wire
from foveate.bus import Bus
from foveate.cli import reaching
from foveate.commands import BackFill, BackFilled, DeviceState, Rung, Sentence
from foveate.errors import InvalidInput, MalformedMessage, NotFound, NotSupported, OutOfSpace, Unreachable
from foveate.identity import Role
from foveate.messages import Device, DeviceKind
from foveate.residency import ResidencyPolicy
from foveate.text import TextEncoder
from foveate.v1 import device_pb2 as pb
from foveate.v1.device_service_pb2_grpc import add_DeviceServiceServicer_to_server
from router.devices import Devices
from router.scope import FleetView
from router.serve import DevicesService
from tests.integration.barrier import all_sent

AFRICAN_AND_INDIAN_ELEPHANT = {385, 386}  # of the 1000 classes of ImageNet, counted from 0


async def _as_it_is(state: DeviceState) -> DeviceState:
    """A policy that lets the facts of any device travel."""
    return state


@dataclass
class Counting:
    """A device that does what it is told and remembers it."""

    name: str
    watched: tuple[Sentence, ...] = ()
    pressed: list[str] = field(default_factory=list)
    full: bool = False

    def state(self) -> DeviceState:
        return DeviceState(self.name, 1_750_000_000.0, 60.0, rungs=(Rung("packets", 600, 3, 0.25),), cpu_seconds=1.5)

    def press(self, about: str) -> str:
        if self.full:
            raise OutOfSpace("The disk of this device is full; free space.", retry_after=5.0)
        self.pressed.append(about)
        return f"event-{len(self.pressed)}"

    def watch(self, sentences: tuple[Sentence, ...]) -> tuple[str, ...]:
        self.watched = sentences
        return tuple(sentence.text for sentence in sentences)

    def back_fill(self, order: BackFill) -> BackFilled:
        return BackFilled(len(order.missing), ())


class Fleet:
    """What the registry last told the router."""

    def view(self) -> FleetView:
        def device(name: str, site: str = "north", *, enrolled: bool = True) -> Device:
            return Device(name, site, "eu-west", DeviceKind.FIXED_CAMERA, enrolled=enrolled, online=enrolled)

        asleep, new = device("cam-2"), device("cam-3", enrolled=False)
        return FleetView(devices=(device("cam-1"), asleep, new, device("cam-4", "south")))

    def residency(self) -> ResidencyPolicy:
        return ResidencyPolicy(rules=())


@dataclass
class Relay:
    """Everything between the command line and one device."""

    router: str
    device: Counting
    commands: Commands
    device_bus: Bus
    heard: list[bytes]


async def as_device(nats: Any, name: str, folder: Path) -> Bus:
    """A connection with exactly the rights that enrolment gives a device."""
    key = identity.make_key(Role.USER)
    rights = identity.device_permissions(nats.site, name)
    local = nats.keys.sites[nats.site].local
    jwt = identity.user_jwt(local, user=key.public, name=name, permissions=rights)
    path = folder / f"{name}.creds"
    identity.write_secret(path, identity.credentials_file(jwt, key.seed))
    inbox = subjects.device_inbox(name)
    opened = await bus.connect(nats.leaf_ports.url, credentials=path, name=name, inbox_prefix=inbox)
    nats.opened.append(opened)
    return opened


@pytest.fixture
async def relay(site_nats: Any, tmp_path: Path) -> AsyncIterator[Relay]:
    device, heard = Counting("cam-1"), []
    device_bus = await as_device(site_nats, "cam-1", tmp_path)
    await device_bus.serve(subjects.device_command("north", "cam-1"), CommandDesk(device, folder=tmp_path).serve)
    text = await asyncio.to_thread(TextEncoder, models.find("minilm-l6-v2"), models.find("minilm-tokenizer"))
    commands = Commands(local=await site_nats.connect("edge.local"), site="north", text=text, guard=_as_it_is)

    async def recorded(payload: bytes) -> bytes:
        heard.append(reply := await commands.serve(payload))
        return reply

    bridged = await site_nats.connect("edge.bridged")
    await bridged.serve(subjects.site_device("north"), recorded)
    await all_sent(bridged.client)
    await all_sent(device_bus.client)
    servicer = DevicesService(Devices(bus=await site_nats.connect("router"), fleet=Fleet()))
    async with AsyncExitStack() as stack:
        register = lambda server: add_DeviceServiceServicer_to_server(servicer, server)  # noqa: E731
        port = await stack.enter_async_context(rpc.serve("127.0.0.1:0", register, grace=0.1))
        found = Relay(f"127.0.0.1:{port}", device, commands, device_bus, heard)
        await _crossed(found)
        yield found


async def _crossed(relay: Relay) -> None:
    """Waits until the edge's interest has crossed the leaf link."""
    for _ in range(100):
        try:
            await reaching.state(relay.router, "cam-1")
        except Unreachable:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("no command came through the leaf link within 5 s")


async def test_a_state_comes_back_as_the_device_told_it(relay: Relay) -> None:
    assert await reaching.state(relay.router, "cam-1") == relay.device.state()


async def test_a_press_brings_back_an_id_and_nothing_else(relay: Relay) -> None:
    relay.heard.clear()
    assert await reaching.press(relay.router, "cam-1", "someone shouted") == "event-1"
    assert relay.device.pressed == ["someone shouted"]
    assert relay.heard == [pb.DeviceCommandReply(pressed=pb.Pressed(event_id="event-1")).SerializeToString()]


async def test_sentences_go_down_as_vectors_of_the_pictures_space_and_only_words_come_up(relay: Relay) -> None:
    relay.heard.clear()
    texts = await reaching.watch(relay.router, "cam-1", ["a delivery van", " an elephant "])
    assert texts == ("a delivery van", "an elephant")
    van, elephant = relay.device.watched
    assert (van.text, van.embedding.model) == ("a delivery van", "conse-lite0-minilm@1")
    # Compared with pictures of the thing itself, whose vectors are mixed from those of their classes.
    classes = np.load(models.find("imagenet-minilm").path).astype(np.float32)
    likeness = classes @ np.asarray(elephant.embedding.values, np.float32)
    assert set(np.argsort(-likeness)[:3]) & AFRICAN_AND_INDIAN_ELEPHANT
    assert np.linalg.norm(elephant.embedding.values) == pytest.approx(1.0, abs=1e-3)
    assert len(relay.heard[0]) < 60
    assert await reaching.watch(relay.router, "cam-1", []) == ()
    assert relay.device.watched == ()


async def test_an_unknown_device_is_named(relay: Relay) -> None:
    with pytest.raises(NotFound, match="no device 'cam-9'; known are: cam-1, cam-2"):
        await reaching.press(relay.router, "cam-9", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cam-2", "cam-2 does not answer; start its agent"),
        ("cam-3", "cam-3 has never joined; start its agent with its join token"),
        ("cam-4", "edge of south does not answer for cam-4; start it"),
    ],
)
async def test_a_silent_device_is_told_from_a_silent_site_at_once(relay: Relay, name: str, words: str) -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unreachable, match=words):
        await reaching.state(relay.router, name)
    assert asyncio.get_running_loop().time() - began < 3.0


async def test_one_silent_device_does_not_keep_the_others_from_telling(relay: Relay) -> None:
    one, two, nobody = await reaching.states(relay.router, ["cam-1", "cam-2", "cam-9"])
    assert isinstance(one, DeviceState)
    assert isinstance(two, Unreachable)
    assert isinstance(nobody, NotFound)


async def test_the_devices_own_error_arrives(relay: Relay) -> None:
    relay.device.full = True
    with pytest.raises(OutOfSpace, match="disk of this device is full") as caught:
        await reaching.press(relay.router, "cam-1", "")
    assert caught.value.retry_after == 5.0


async def test_too_many_or_too_long_sentences_are_refused_before_they_travel(relay: Relay) -> None:
    relay.heard.clear()
    for texts in (["x" * 201], [f"sentence {n}" for n in range(17)], ["  "]):
        with pytest.raises(InvalidInput):
            await reaching.watch(relay.router, "cam-1", texts)
    assert relay.heard == []


async def test_the_edge_asks_for_what_it_missed_on_the_same_way(relay: Relay) -> None:
    assert await relay.commands.send("cam-1", BackFill(7, (3, 5))) == BackFilled(2, ())


async def test_a_device_that_speaks_for_another_is_not_believed(relay: Relay) -> None:
    relay.device.name = "cam-2"
    with pytest.raises(MalformedMessage, match="cam-1 replied to another command"):
        await reaching.state(relay.router, "cam-1")


async def test_a_name_cannot_reach_several_devices(relay: Relay) -> None:
    payload = pb.SiteCommand(device_id="*", press=pb.Press(about="all")).SerializeToString()
    reply = await relay.commands.serve(payload)
    with pytest.raises(InvalidInput, match="cannot name a device"):
        wire.command_reply_of(wire.parse(pb.DeviceCommandReply, reply))
    assert relay.device.pressed == []


async def test_a_site_without_a_text_encoder_says_so_and_still_stops_watching(site_nats: Any, tmp_path: Path) -> None:
    device_bus, device = await as_device(site_nats, "cam-1", tmp_path), Counting("cam-1")
    await device_bus.serve(subjects.device_command("north", "cam-1"), CommandDesk(device, folder=tmp_path).serve)
    await all_sent(device_bus.client)
    commands = Commands(local=await site_nats.connect("edge.local"), site="north", text=None, guard=_as_it_is)
    for texts, result in ((["a van"], "failure"), ([], "watching")):
        payload = pb.SiteCommand(device_id="cam-1", watch_texts=pb.WatchTexts(texts=texts)).SerializeToString()
        reply = wire.parse(pb.DeviceCommandReply, await commands.serve(payload))
        assert reply.WhichOneof("result") == result
        if result == "failure":
            with pytest.raises(NotSupported, match="no text encoder"):
                wire.command_reply_of(reply)
