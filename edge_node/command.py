"""Commands for the site's devices: passed on from the router, with sentences compiled to vectors on the way.

In: a `SiteCommand` over the bridged account, or a `DeviceCommand` of the edge's own. Out: the device's reply over the
LOCAL account. Of what a camera saw nothing comes up but counts, and those only where facts may go.
It keeps nothing and decides nothing. Next: `device_agent/command.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from foveate import subjects
from foveate.bus import Bus
from foveate.commands import (
    BackFill,
    BackFilled,
    DeviceCommand,
    DeviceState,
    Press,
    Pressed,
    Reply,
    Sentence,
    SiteCommand,
    TellState,
    Watch,
    Watching,
    WatchTexts,
)
from foveate.errors import FoveateError, MalformedMessage, NotSupported, Unreachable
from foveate.messages import Embedding
from foveate.recall import PICTURES_OF, Sentences, pictured
from foveate.v1 import device_pb2 as pb
from foveate.wire import command_reply_of, command_reply_to, device_command_to, parse, site_command_of

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""How long a device may take; less than the router waits, so that the edge's own words about it arrive."""
_REPLIES: dict[type[DeviceCommand], type[Reply]] = {
    TellState: DeviceState,
    Press: Pressed,
    Watch: Watching,
    BackFill: BackFilled,
}


Guard = Callable[[DeviceState], Awaitable[DeviceState]]


class Commands:
    """The way to the site's devices; `text` puts sentences into the space of the devices' pictures."""

    def __init__(self, *, local: Bus, site: str, text: Sentences | None, guard: Guard) -> None:
        """`guard` gives a state as it may leave the site."""
        self._local = local
        self._site = site
        self._text = text
        self._guard = guard

    async def serve(self, payload: bytes) -> bytes:
        """The router's command to the reply's bytes."""
        try:
            device, command = site_command_of(parse(pb.SiteCommand, payload))
            reply: Reply | FoveateError = await self.send(device, await self._for_device(command))
            if isinstance(reply, DeviceState):
                reply = await self._guard(reply)
            logger.info("commanded", extra={"device_id": device, "command": type(command).__name__})
        except FoveateError as error:
            logger.info("a command failed: %s", error)
            reply = error
        return command_reply_to(reply).SerializeToString()

    async def send(self, device_id: str, command: DeviceCommand) -> Reply:
        """The device's reply, of the kind that belongs to the command.

        Unreachable when it does not answer, MalformedMessage for a reply of another kind or device, else its own error.
        """
        device = subjects.checked_name(device_id, what="device")
        payload = device_command_to(command).SerializeToString()
        try:
            answer = await self._local.request(subjects.device_command(self._site, device), payload, timeout=PATIENCE_S)
        except Unreachable as error:
            raise Unreachable(
                f"{device} does not answer; start its agent or check its link to the site.", device=device
            ) from error
        reply = command_reply_of(parse(pb.DeviceCommandReply, answer))
        strange = not isinstance(reply, _REPLIES[type(command)])
        if strange or (isinstance(reply, DeviceState) and reply.device_id != device):
            raise MalformedMessage(f"{device} replied to another command; restart it.", device=device)
        return reply

    async def _for_device(self, command: SiteCommand) -> DeviceCommand:
        return await self._compiled(command.texts) if isinstance(command, WatchTexts) else command

    async def _compiled(self, texts: tuple[str, ...]) -> Watch:
        """The texts as the devices compare them with pictures."""
        if not texts:
            return Watch(())
        space = PICTURES_OF.get(self._text.model_tag) if self._text is not None else None
        if self._text is None or space is None:
            raise NotSupported("This edge has no text encoder for its devices' pictures; configure minilm-l6-v2.")
        vectors = await asyncio.to_thread(self._text.encode, [pictured(text) for text in texts])
        embeddings = (Embedding(space, tuple(map(float, vector))) for vector in vectors)
        return Watch(tuple(map(Sentence, texts, embeddings)))
