"""Who sends events: what each of them carries of its device.

In: settings. Out: a `Sender`. It knows no event. Next: `triggers/`, which signs events with it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends events: what each of them carries of its device."""

    device_id: str
    site_id: str
    region: str
    labels: tuple[str, ...] = ()
