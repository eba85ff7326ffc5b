"""Wait until a server has seen all that a client sent.

`Client.flush` of nats-py 2.16 is not enough: it writes its PING at once, ahead of a SUB or a PUB that still waits for
the flusher task, so the PONG may come back before the server knows of the subscription (a request then finds "no
responders"). By the time of that PONG the flusher has run; a second PING is therefore behind everything.
"""

from __future__ import annotations

from nats.aio.client import Client


async def all_sent(client: Client) -> None:
    """Return when the server has handled everything that `client` sent before."""
    await client.flush()
    await client.flush()
