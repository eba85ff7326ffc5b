"""Commands from the edge: tell how you are, be pressed, watch for sentences, send again what got lost.

In: a `DeviceCommand` over NATS. Out: a `DeviceCommandReply`; failures travel as data. The sentences lie on disk, so
that a restart goes on watching for them. It does not know how any of it is done: that is `pipeline.py`'s part.
Asked by `edge_node/command.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from pathlib import Path
from typing import Protocol

from foveate.commands import (
    BackFill,
    BackFilled,
    DeviceCommand,
    DeviceState,
    Press,
    Pressed,
    Reply,
    Sentence,
    TellState,
    Watch,
    Watching,
)
from foveate.errors import FoveateError, OutOfSpace
from foveate.v1 import device_pb2 as pb
from foveate.wire import command_reply_to, device_command_of, parse, watch_of, watch_to

logger = logging.getLogger(__name__)

_FILE = "watch.binpb"


class Commanded(Protocol):
    """What a command reaches; every member may block and is called from any thread."""

    def state(self) -> DeviceState:
        """How the device is; nothing of what it saw."""
        ...

    def press(self, about: str) -> str:
        """Makes a manual event and returns its id; `about` says who or what pressed."""
        ...

    def watch(self, sentences: tuple[Sentence, ...]) -> tuple[str, ...]:
        """Watches for these and no others; the texts that it watches for. Never-errors refuse all of them."""
        ...

    def back_fill(self, order: BackFill) -> BackFilled:
        """Sends the ordered revisions again, as far as it has them."""
        ...


class CommandDesk:
    """Serves commands; `folder` keeps the sentences."""

    def __init__(self, device: Commanded, *, folder: Path) -> None:
        self._device = device
        self._path = folder / _FILE
        self._one_watch = threading.Lock()

    def restore(self) -> None:
        """Goes on watching for what was set before the restart; what cannot be read or used is logged. Blocking."""
        try:
            self._device.watch(watch_of(parse(pb.Watch, self._path.read_bytes())).sentences)
        except FileNotFoundError:
            return
        except (OSError, FoveateError) as error:
            logger.warning("the sentences to watch for cannot be used (%s); set them again", error)

    async def serve(self, payload: bytes) -> bytes:
        """A command's bytes to the reply's."""
        try:
            command = device_command_of(parse(pb.DeviceCommand, payload))
            reply: Reply | FoveateError = await asyncio.to_thread(self.obey, command)
        except FoveateError as error:
            logger.info("a command failed: %s", error)
            reply = error
        except Exception:
            # Silence would look like a device that is off, after seconds of waiting.
            logger.exception("a command broke")
            reply = FoveateError("The device's agent broke on this command; its log says why.", reason="BUG")
        return command_reply_to(reply).SerializeToString()

    def obey(self, command: DeviceCommand) -> Reply:
        """Does it. Blocking; raises what the device raises, and OutOfSpace when sentences cannot be kept."""
        match command:
            case TellState():
                return self._device.state()
            case Press():
                return Pressed(self._device.press(command.about))
            case Watch():
                return self._watch(command)
            case BackFill():
                return self._device.back_fill(command)

    def _watch(self, command: Watch) -> Watching:
        # What is kept must be what is watched for, even when two commands come at once.
        with self._one_watch:
            texts = self._device.watch(command.sentences)
            self._keep(Watch(tuple(sentence for sentence in command.sentences if sentence.text in texts)))
        logger.info("watching for %d sentences", len(texts))
        return Watching(texts)

    def _keep(self, watch: Watch) -> None:
        part = self._path.with_suffix(".part")
        try:
            if not watch.sentences:
                self._path.unlink(missing_ok=True)
                return
            with part.open("wb") as file:
                file.write(watch_to(watch).SerializeToString())
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise OutOfSpace(
                f"What is watched for now is not kept for a restart ({error.strerror}); "
                "free space on this device and set the sentences again."
            ) from error
