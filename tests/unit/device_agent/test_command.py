"""The desk obeys commands, tells failures as data, and goes on watching after a restart."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from device_agent.command import CommandDesk
from foveate import wire
from foveate.commands import (
    BackFill,
    BackFilled,
    DeviceCommand,
    DeviceState,
    Press,
    Pressed,
    Reply,
    Rung,
    Sentence,
    TellState,
    Watch,
    Watching,
)
from foveate.errors import MalformedMessage, Never, NotSupported, OutOfSpace
from foveate.messages import Embedding
from foveate.v1 import device_pb2 as pb

STATE = DeviceState("cam-1", 1_750_000_000.0, 60.0, rungs=(Rung("packets", 600, 3, 0.25),))
VAN = Sentence("a delivery van", Embedding("conse@1", (0.6, 0.8)))
DOG = Sentence("a dog", Embedding("conse@1", (0.8, 0.6)))
OTHER = Sentence("a cat", Embedding("else@1", (1.0,)))


@dataclass
class Device:
    """Remembers what it was told; knows one model, as a device does."""

    watched: tuple[Sentence, ...] = ()
    pressed: list[str] = field(default_factory=list)
    broken: bool = False

    def state(self) -> DeviceState:
        if self.broken:
            raise ZeroDivisionError("a bug")
        return STATE

    def press(self, about: str) -> str:
        self.pressed.append(about)
        return f"event-{len(self.pressed)}"

    def watch(self, sentences: tuple[Sentence, ...]) -> tuple[str, ...]:
        if any(sentence.embedding.model != "conse@1" for sentence in sentences):
            raise NotSupported("This device compares with conse@1; compile the sentences for it.")
        self.watched = sentences
        return tuple(sentence.text for sentence in sentences)

    def back_fill(self, order: BackFill) -> BackFilled:
        return BackFilled(2, order.missing)


async def told(desk: CommandDesk, command: DeviceCommand) -> Reply:
    reply = await desk.serve(wire.device_command_to(command).SerializeToString())
    return wire.command_reply_of(wire.parse(pb.DeviceCommandReply, reply))


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (TellState(), STATE),
        (Press("the bell"), Pressed("event-1")),
        (Watch((VAN,)), Watching(("a delivery van",))),
        (BackFill(7, (3, 5)), BackFilled(2, (3, 5))),
    ],
)
async def test_each_command_gets_its_reply(command: DeviceCommand, reply: Reply, tmp_path: Path) -> None:
    assert await told(CommandDesk(Device(), folder=tmp_path), command) == reply


async def test_bytes_that_are_no_command_are_a_failure_and_reach_no_device(tmp_path: Path) -> None:
    desk = CommandDesk(Device(), folder=tmp_path)
    for payload in (b"", b"\xff\xff\xff"):
        with pytest.raises(MalformedMessage):
            wire.command_reply_of(wire.parse(pb.DeviceCommandReply, await desk.serve(payload)))


async def test_a_bug_is_told_at_once_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Never, match="broke on this command; its log says why") as caught:
        await told(CommandDesk(Device(broken=True), folder=tmp_path), TellState())
    assert caught.value.reason == "BUG"
    assert "ZeroDivisionError: a bug" in caplog.text


async def test_a_restart_goes_on_watching(tmp_path: Path) -> None:
    first = CommandDesk(Device(), folder=tmp_path)
    await told(first, Watch((DOG,)))
    await told(first, Watch((VAN, DOG)))
    again = Device()
    CommandDesk(again, folder=tmp_path).restore()
    assert [sentence.text for sentence in again.watched] == ["a delivery van", "a dog"]
    assert again.watched[0].embedding.values == pytest.approx((0.6, 0.8))
    await told(CommandDesk(again, folder=tmp_path), Watch(()))
    CommandDesk(fresh := Device(), folder=tmp_path).restore()
    assert fresh.watched == ()
    assert list(tmp_path.iterdir()) == []


async def test_what_the_device_refuses_is_not_kept(tmp_path: Path) -> None:
    device = Device()
    desk = CommandDesk(device, folder=tmp_path)
    await told(desk, Watch((VAN,)))
    with pytest.raises(NotSupported, match="compile the sentences"):
        await told(desk, Watch((OTHER,)))
    CommandDesk(again := Device(), folder=tmp_path).restore()
    assert [sentence.text for sentence in again.watched] == ["a delivery van"]


def test_a_first_start_watches_for_nothing(tmp_path: Path) -> None:
    device = Device()
    CommandDesk(device, folder=tmp_path).restore()
    assert device.watched == ()


@pytest.mark.parametrize("content", [b"\xff\xff", wire.watch_to(Watch((OTHER,))).SerializeToString()])
def test_a_file_that_is_no_use_does_not_stop_the_agent(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "watch.binpb").write_bytes(content)
    device = Device()
    CommandDesk(device, folder=tmp_path).restore()
    assert device.watched == ()
    assert "set them again" in caplog.text


async def test_a_full_disk_is_told_and_leaves_the_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    desk = CommandDesk(device, folder=tmp_path)
    await told(desk, Watch((VAN,)))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutOfSpace, match="No space left"):
            await told(desk, Watch((DOG,)))
    assert [sentence.text for sentence in device.watched] == ["a dog"]
    assert [path.name for path in tmp_path.iterdir()] == ["watch.binpb"]
    CommandDesk(again := Device(), folder=tmp_path).restore()
    assert [sentence.text for sentence in again.watched] == ["a delivery van"]
