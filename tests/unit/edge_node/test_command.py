"""What a device tells of itself holds no more facts than residency lets travel."""

from __future__ import annotations

from foveate.commands import DeviceState, Gap, Kept, Rung, without_facts
from foveate.messages import Priority

TOLD = DeviceState(
    "cam-1",
    1_700_000_000.0,
    60.0,
    rungs=tuple(Rung(name, 9, 3, 1.0) for name in ("packets", "luma", "encoder", "detector", "events")),
    cpu_seconds=5.0,
    budget_share=0.1,
    kept=(Kept(Priority.URGENT, 100, 1_699_999_000.0),),
    gaps=(Gap(1.0, 2.0, "The camera hung."),),
    outbox_depth=4,
    sequence=77,
    trouble="event 0123 cannot be stored",
)


def test_what_counts_or_dates_events_is_left_out() -> None:
    kept = without_facts(TOLD)
    assert [rung.name for rung in kept.rungs] == ["packets", "luma"]
    assert (kept.kept, kept.sequence, kept.outbox_depth, kept.trouble) == ((), 0, 0, "")


def test_how_the_device_is_stays() -> None:
    kept = without_facts(TOLD)
    assert (kept.cpu_seconds, kept.budget_share, kept.gaps) == (TOLD.cpu_seconds, TOLD.budget_share, TOLD.gaps)
