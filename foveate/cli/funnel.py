"""A device's ladder drawn as a funnel, with what it cost and what was given up.

In: `DeviceState`s. Out: lines on a rich console, 100 columns wide or narrower; without colour the shapes tell the
same: ░ came to a rung, █ was passed up. Bars are logarithmic: 86,400 and 3 both show. Knows nothing of where the
states came from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from foveate.cli.showing import line
from foveate.commands import DeviceState, Gap, Kept
from foveate.wire import utc

_HEAT = ("bright_blue", "cyan", "green", "yellow", "bright_red", "magenta")
_WIDEST_BAR, _NARROWEST_BAR, _FIGURES = 32, 8, 68
_GAUGE = 20
_BESIDE = ("capture, recording, the link", "capture")
_MOST_GAPS = 5


def draw(console: Console, state: DeviceState) -> None:
    """One device: a bar for each rung, figures beside it, the cost and the budget below."""
    console.print()
    told = f"up {lasting(state.uptime_s)}, told at {utc(state.time):%H:%M:%S} UTC"
    console.print(f"  [bold]{escape(state.device_id)}[/bold]  [bright_black]{told}[/bright_black]")
    console.print(_ladder(state, width=min(console.width, 100)))
    cost(console, state)
    if state.trouble:
        line(console, "trouble", escape(state.trouble), style="red")


def cost(console: Console, state: DeviceState) -> None:
    """What the agent took, what it may take, and what it gave up for that."""
    share = state.cpu_seconds / state.uptime_s if state.uptime_s else 0.0
    taken = f"{figure(state.cpu_seconds)} s of CPU in {lasting(state.uptime_s)}: {percent(share)} of one core"
    line(console, "took", f"{taken}, {percent(state.used_share)} lately")
    if state.budget_share is None:
        line(console, "budget", "none is set, so nothing was given up" if not state.given_up else "none is set")
    else:
        line(console, "budget", f"{percent(state.budget_share)} of one core {_gauge(state)}")
        if not state.given_up:
            line(console, "gave up", "nothing")
    for number, sentence in enumerate(state.given_up):
        line(console, "" if number else "gave up", escape(sentence), style="yellow")


def details(console: Console, state: DeviceState) -> None:
    """The rest of what a device tells: its ladder in short, recordings, gaps, triggers and masks."""
    line(console, "ladder", short(state))
    cost(console, state)
    waiting = f"{state.outbox_depth:,} event revisions wait to be sent, {state.sequence:,} were ever stored"
    line(console, "outbox", waiting)
    line(console, "recordings", "; ".join(_kept(kept, now=state.time) for kept in state.kept) or "none")
    for number, gap in enumerate(reversed(state.gaps[-_MOST_GAPS:])):
        line(console, "" if number else "gaps", _gap(gap, now=state.time), style="yellow")
    if len(state.gaps) > _MOST_GAPS:
        line(console, "", f"[bright_black]and {len(state.gaps) - _MOST_GAPS} before[/bright_black]")
    if not state.gaps:
        line(console, "gaps", "none")
    line(console, "triggers", escape(", ".join(state.triggers)) or "none is on")
    line(console, "masks", escape(", ".join(state.masks)) or "none")
    if state.trouble:
        line(console, "trouble", escape(state.trouble), style="red")


def short(state: DeviceState) -> str:
    """The ladder in one line: what came to each rung, and what the last one passed up."""
    if not state.rungs:
        return "nothing was seen yet"
    came = " → ".join(f"{escape(rung.name)} {rung.seen:,}" for rung in state.rungs)
    return f"{came} → {state.rungs[-1].passed:,} passed up"


def figure(value: float) -> str:
    """A number from 0 up with about three digits, and never as nothing when it is something."""
    if value == 0:
        return "0"
    if value < 0.001:
        return "< 0.001"
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def percent(share: float) -> str:
    """A share as a percentage with about two digits, and never as nothing when it is something."""
    if share == 0:
        return "0 %"
    if share < 0.0001:
        return "< 0.01 %"
    digits = 2 if share < 0.01 else 1 if share < 0.1 else 0
    return f"{100 * share:,.{digits}f} %"


def lasting(seconds: float) -> str:
    """A span in its two largest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, size, below, step in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // step} {below}"
    raise AssertionError(seconds)


def bar(seen: int, passed: int, most: int, *, width: int) -> str:
    """A centred bar in `width` cells: ░ as wide as the logarithm of what was seen, █ in it of what was passed up.

    `most` fills the width; what is more than nothing shows.
    """
    outer, inner = _side(seen, most, width), _side(passed, most, width)
    if not outer and not inner:
        return "·".center(width)
    return "".join(_cell(abs(2 * cell + 1 - width) - 1, cell < width / 2, outer, inner) for cell in range(width))


def _side(count: int, most: int, width: int) -> int:
    """Half cells of the bar on either side of the middle."""
    if count <= 0:
        return 0
    return max(1, round(width * math.log1p(count) / math.log1p(max(count, most))))


def _cell(near: int, left: bool, outer: int, inner: int) -> str:
    """One cell whose nearer edge lies `near` half cells from the middle; -1 for the cell in the middle itself."""
    if near < 0:
        return "█" if inner else "░"
    if near + 1 < inner:
        return "█"
    if near < inner:
        return "▐" if left else "▌"
    return "░" if near < outer else " "


def _ladder(state: DeviceState, *, width: int) -> Table:
    table = Table(box=None, header_style="bright_black", pad_edge=False, padding=(0, 1))
    table.add_column("", width=1)
    table.add_column("rung", no_wrap=True)
    cells = max(_NARROWEST_BAR, min(_WIDEST_BAR, width - _FIGURES))
    table.add_column("", width=cells, no_wrap=True)
    for name in ("seen", "of the last", "passed up", "CPU s", "ms each"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in _rows(state, cells):
        table.add_row("", *row)
    return table


def _rows(state: DeviceState, cells: int) -> Iterator[tuple[str | Text, ...]]:
    most, before = max((max(rung.seen, rung.passed) for rung in state.rungs), default=0), 0
    for number, rung in enumerate(state.rungs):
        heat = _HEAT[min(number, len(_HEAT) - 1)]
        yield (
            Text(rung.name, style="bold"),
            Text(bar(rung.seen, rung.passed, most, width=cells), style=heat),
            f"{rung.seen:,}",
            percent(rung.seen / before) if before else "",
            f"{rung.passed:,}",
            figure(rung.cpu_seconds),
            figure(1000 * rung.cpu_seconds / rung.seen) if rung.seen else "",
        )
        before = rung.seen
    rest = max(0.0, state.cpu_seconds - sum(rung.cpu_seconds for rung in state.rungs))
    beside = next(words for words in _BESIDE if len(words) <= cells).center(cells)
    yield tuple(Text(words, style="bright_black") for words in ("the rest", beside, "", "", "", figure(rest), ""))


def _gauge(state: DeviceState) -> str:
    """How much of the budget was used lately, as a line and in words."""
    used = state.used_share / state.budget_share if state.budget_share else 0.0
    full = min(_GAUGE, round(_GAUGE * used))
    colour = "green" if used <= 1.0 else "red"
    drawn = f"[{colour}]{'━' * full}[/{colour}][bright_black]{'─' * (_GAUGE - full)}[/bright_black]"
    return f"{drawn} {percent(used)} of it used lately"


def _kept(kept: Kept, *, now: float) -> str:
    what = "idle" if kept.priority is None else kept.priority.name.lower()
    return f"{what} {kept.size_bytes / 1e6:,.1f} MB since {_when(kept.start, now=now)}"


def _gap(gap: Gap, *, now: float) -> str:
    end = "now" if gap.end is None else _when(gap.end, now=now)
    return f"{_when(gap.start, now=now)} to {end}: {escape(gap.reason)}"


def _when(seconds: float, *, now: float) -> str:
    """The time of day, with its date when that is another than today's."""
    today = utc(seconds).date() == utc(now).date()
    return f"{utc(seconds):%H:%M:%S}" if today else f"{utc(seconds):%Y-%m-%d %H:%M:%S}"
