"""The fleet as a site's own router knows it: the devices of that site, from its edge, and whether the cloud is there.

In: the edge's FleetService, watched as the central router watches the cloud's, and the uplink. Out: a `FleetView` and
the rules. What the edge told last holds while it restarts.
It knows no question; `pipeline` asks it.
"""

from __future__ import annotations

from dataclasses import replace

from foveate.residency import ResidencyPolicy
from router.fleet import FleetWatch
from router.scope import FleetView
from router.uplink import Uplink


class SiteFleet:
    """One site."""

    def __init__(self, *, edge: FleetWatch, uplink: Uplink) -> None:
        self._edge = edge
        self._uplink = uplink

    def view(self) -> FleetView:
        """The site and its devices as last heard of; `cloud` tells whether the cloud can be asked besides."""
        return replace(self._edge.view(), cloud=self._uplink.up)

    def residency(self) -> ResidencyPolicy:
        """The rules in force at the site."""
        return self._edge.residency()
