"""Watches whether the cloud can be reached from a site, and says so of answers that were given without it.

In: the cloud's FleetService, asked every second. Out: `up`, and `sign` for answers. A call that fails elsewhere may
tell it at once, through `lost`.
It knows no question; `site_fleet` and `site_nodes` use it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from foveate.errors import FoveateError
from foveate.messages import Answer
from foveate.rpc import translated
from foveate.v1 import fleet_service_pb2 as pb

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from foveate.v1.fleet_service_pb2_grpc import FleetServiceAsyncStub

logger = logging.getLogger(__name__)

LOOK_S = 1.0
_PATIENCE_S = 1.0


class Uplink:
    """The way from a site to the cloud; down until the cloud has answered once."""

    def __init__(self, cloud: FleetServiceAsyncStub | None, *, site_id: str) -> None:
        """`cloud` is None at a site that has none."""
        self._cloud = cloud
        self._site_id = site_id
        self._up = False

    @property
    def up(self) -> bool:
        """Whether the cloud answered when it was last asked."""
        return self._up

    def lost(self) -> None:
        """Somebody called the cloud in vain."""
        self._turn(up=False)

    def sign(self, answer: Answer) -> Answer:
        """The answer, which says so when the site gave it without the cloud."""
        if self._up:
            return answer
        alone = f"site {self._site_id} answered alone, of its own cameras: the cloud does not answer"
        return replace(answer, alone=True, reason=f"{answer.reason}; {alone}" if answer.reason else alone)

    async def look(self) -> None:
        """Asks the cloud once."""
        if self._cloud is None:
            return
        try:
            with translated():
                await self._cloud.ListSites(pb.ListSitesRequest(), timeout=_PATIENCE_S)
        except FoveateError as error:
            logger.debug("the cloud does not answer: %s", error)
            self._turn(up=False)
        else:
            self._turn(up=True)

    async def watch(self) -> None:
        """Looks every second until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    def _turn(self, *, up: bool) -> None:
        if up != self._up:
            logger.warning("the cloud answers" if up else "the cloud does not answer; this site goes on alone")
        self._up = up
