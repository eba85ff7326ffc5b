"""What a person sees in the terminal: plans, steps, answers, devices and events, as they happen.

In: dataclasses of `messages.py`. Out: lines on a rich console; wide and narrow terminals both read well.
Knows nothing of where the dataclasses came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from foveate import messages as m
from foveate.cli.asking import Happening
from foveate.cli.plain import harmless, in_quotes, pretty
from foveate.errors import FoveateError
from foveate.wire import utc

_STATE = {
    m.StepState.ANSWERED: ("green", "✓"),
    m.StepState.UNSURE: ("yellow", "↑"),
    m.StepState.FAILED: ("red", "✗"),
    m.StepState.SKIPPED: ("bright_black", "·"),
}
_OUTCOME = {
    m.Outcome.ANSWERED: ("green", "answer"),
    m.Outcome.REFUSED: ("red", "refused"),
    m.Outcome.CANNOT_TELL: ("yellow", "cannot tell"),
}


def _safe(text: str) -> str:
    """Text of others for a line of markup: neither markup nor a control character in it does anything."""
    return escape(harmless(text))


def money(usd: float) -> str:
    """US dollars with as many digits as a small price needs."""
    if usd == 0:
        return "$0"
    if usd < 1e-6:
        return "< $0.000001"
    return f"${usd:.6f}" if usd < 0.01 else f"${usd:.4f}"


def clock(seconds: float) -> str:
    """A moment as the time of day in UTC."""
    return f"{utc(seconds):%H:%M:%S}"


def line(console: Console, head: str, body: str, *, style: str = "bright_black") -> None:
    """One line: a short head in a column of its own, then the body, wrapped under itself."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(min_width=11, justify="right", style=style)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_row(head, Text.from_markup(body))
    console.print(grid)


def heading(console: Console, text: str, *, number: int | None = None) -> None:
    """The question itself."""
    console.print()
    console.print(f"[bold]{f'{number}  ' if number is not None else ''}{_safe(text)}[/bold]")


def happening(console: Console, item: Happening) -> None:
    """One thing on the way to an answer; the record itself is `record`'s."""
    match item:
        case m.Plan():
            _plan(console, item)
        case m.Step():
            _step(console, item)
        case m.Answer():
            line(console, "so far", f"{_safe(item.text)} [bright_black]confidence {item.confidence:.2f}[/bright_black]")
        case m.QuestionRecord():
            pass


def _plan(console: Console, plan: m.Plan) -> None:
    line(console, "understood", _safe(plan.understanding.reason))
    way = " → ".join(_where(p.placement) for p in plan.placements) or "nothing may or can answer"
    line(console, "plan", f"[bold]{_safe(way)}[/bold]")
    for entry in plan.left_out:
        line(console, "left out", _safe(entry), style="yellow")
    for rule, placements in _forbidden(plan).items():
        line(
            console,
            "not allowed",
            f"{_safe(placements)} [bright_black](rule {_safe(rule)})[/bright_black]",
            style="yellow",
        )


def _forbidden(plan: m.Plan) -> dict[str, str]:
    """What each residency rule took out of the plan, in words."""
    nodes: dict[str, dict[str, list[str]]] = {}
    for rejected in plan.rejected:
        if rejected.rule:
            placement = rejected.placement
            node = _where(placement).removesuffix(placement.representation.name)
            nodes.setdefault(rejected.rule, {}).setdefault(node, []).append(placement.representation.name)
    return {
        rule: ", ".join(f"{node}{' or '.join(forms)}" for node, forms in found.items()) for rule, found in nodes.items()
    }


def _step(console: Console, step: m.Step) -> None:
    colour, mark = _STATE[step.state]
    figures = f"{step.latency_s * 1000:.0f} ms, {money(step.cost_usd)}"
    line(
        console,
        f"{mark} {step.state.value}",
        f"{_safe(_where(step.placement))} [bright_black]{figures}[/bright_black]: {_safe(step.reason)}",
        style=colour,
    )


def _where(placement: m.Placement) -> str:
    node = "" if placement.node == placement.tier.value else f" {placement.node}"
    return f"{placement.tier.value}{node} from {placement.representation.name}"


def record(console: Console, item: m.QuestionRecord, *, images: Sequence[str | None] = ()) -> None:
    """The answer with its evidence, time and cost."""
    answer = item.answer
    colour, head = _OUTCOME[answer.outcome]
    line(console, head, f"[bold {colour}]{_safe(answer.text)}[/bold {colour}]", style=f"bold {colour}")
    if answer.reason and answer.reason not in answer.text:
        line(console, "because", _safe(answer.reason))
    if isinstance(answer.value, str) and harmless(answer.value) not in harmless(answer.text):
        line(console, "it says", escape(in_quotes(answer.value)))
    if answer.document:
        line(console, "document", escape(pretty(answer.document)))
    if answer.alone:
        line(console, "alone", "given by the site alone: no link to the cloud", style="yellow")
    if answer.model or answer.tokens:
        line(console, "model", _safe(", ".join(filter(None, (answer.model, tokens(answer.tokens))))))
    figures = f"confidence {answer.confidence:.2f}, {item.latency_s * 1000:.0f} ms, {money(item.cost_usd)}"
    line(console, "", f"[bright_black]{figures}, id {_safe(item.question.question_id)}[/bright_black]")
    paths = [*images, *([None] * len(answer.evidence))]
    for found, path in list(zip(answer.evidence, paths, strict=False))[:4]:
        line(console, "evidence", _evidence(found) + (f" → {_safe(path)}" if path else ""), style="cyan")


def tokens(item: m.Tokens | None) -> str:
    """What a language model read and wrote, in words; empty when none did."""
    if item is None:
        return ""
    saved = f", about {item.saved} saved" if item.saved else ""
    return f"{item.prompt} read, {item.answer} written, {item.thinking} thinking{saved} (tokens)"


def _evidence(item: m.Evidence) -> str:
    said = [in_quotes(item.quote)] if item.quote else []
    boxes = [f"{s.label} {s.score:.2f}" for s in item.sightings[:4]]
    seen = ", ".join([*said, *boxes]) or "no box"
    offset = f" ({item.media_offset:.1f} s into its source)" if item.media_offset is not None else ""
    span = clock(item.start) if item.end - item.start < 0.5 else f"{clock(item.start)}-{clock(item.end)}"
    return _safe(f"{item.device_id} {span} UTC{offset}: {seen} [{item.representation.name}]")


def explanation(console: Console, item: m.QuestionRecord) -> None:
    """The whole way of a question, as a tree with the reason of each branch."""
    understanding = item.plan.understanding
    tree = Tree(f"[bold]{_safe(item.question.text)}[/bold]")
    tree.add(f"understood: {_safe(understanding.reason)}")
    considered = tree.add("considered")
    for planned in item.plan.placements:
        figures = f"expects {planned.confidence:.2f}, {planned.latency_q95_s * 1000:.0f} ms, {money(planned.cost_usd)}"
        considered.add(f"[green]{_safe(_where(planned.placement))}[/green] {figures}: {_safe(planned.reason)}")
    for rejected in item.plan.rejected:
        colour = "red" if rejected.rule else "yellow"
        considered.add(f"[{colour}]{_safe(_where(rejected.placement))}[/{colour}] {_safe(rejected.reason)}")
    for entry in item.plan.left_out:
        considered.add(f"[red]left out[/red] {_safe(entry)}")
    tree.add(f"order: {_safe(item.plan.reason)}")
    tried = tree.add("tried")
    for step in item.steps:
        colour, mark = _STATE[step.state]
        figures = f"confidence {step.confidence:.2f}, {step.latency_s * 1000:.0f} ms, {money(step.cost_usd)}"
        where = f"[{colour}]{mark} {_safe(_where(step.placement))}[/{colour}]"
        tried.add(f"{where} {step.state.value}, {figures}: {_safe(step.reason)}")
    if not item.steps:
        tried.add("nothing")
    colour, head = _OUTCOME[item.answer.outcome]
    tree.add(f"[bold {colour}]{head}: {_safe(item.answer.text)}[/bold {colour}] {_safe(item.answer.reason)}")
    if item.answer.alone:
        tree.add("given by the site alone: no link to the cloud")
    console.print(tree)


def devices(console: Console, items: Sequence[m.Device]) -> None:
    """The cameras of the fleet as a table."""
    table = Table(box=None, header_style="bold")
    for name in ("device", "site", "region", "kind", "state", "seen", "events"):
        table.add_column(name)
    for item in items:
        state = "[green]capturing[/green]" if item.online and item.capturing else "[yellow]idle[/yellow]"
        if not item.online:
            state = "[red]offline[/red]" if item.enrolled else "[bright_black]not joined[/bright_black]"
        seen = clock(item.seen) if item.seen is not None else "never"
        trouble = f" {_safe(item.trouble)}" if item.trouble else ""
        table.add_row(
            item.device_id, item.site_id, item.region, item.kind.value, state + trouble, seen, str(item.events)
        )
    console.print(table)


def silent(console: Console, device_id: str, error: FoveateError) -> None:
    """A device that did not tell how it is, in one line."""
    named = error.message if device_id in error.message else f"{device_id}: {error.message}"
    line(console, "silent", _safe(named), style="yellow")


def watched(console: Console, texts: Sequence[str]) -> None:
    """The sentences that a device now watches for."""
    for number, text in enumerate(texts):
        line(console, "" if number else "watches for", _safe(text))
    if not texts:
        line(console, "watches for", "no sentence")


_COLUMNS: tuple[tuple[str, Callable[[m.Event], str], bool], ...] = (
    ("start (UTC)", lambda item: f"{utc(item.start):%Y-%m-%d %H:%M:%S}", True),
    ("seconds", lambda item: f"{item.end - item.start:.1f}" + ("…" if item.open else ""), True),
    ("device", lambda item: item.device_id, True),
    ("what", lambda item: ", ".join(found.label for found in item.labels[:3]) or "-", True),
    ("zones", lambda item: ", ".join(item.zones), False),
    ("about", lambda item: item.about, False),
    ("score", lambda item: f"{item.score:.2f}", True),
    ("trigger", lambda item: item.trigger.value, True),
    ("priority", lambda item: "" if item.priority is m.Priority.NORMAL else item.priority.name.lower(), False),
    ("id", lambda item: item.event_id, True),
)
"""Of the table of events: the heading, what stands below it, and whether the column is there in any case."""


def events(console: Console, items: Sequence[m.Event]) -> None:
    """Remembered events as a table, newest first; what no event of them has gets no column."""
    table = Table(box=None, header_style="bold")
    shown = [(name, tell) for name, tell, always in _COLUMNS if always or any(map(tell, items))]
    for name, _ in shown:
        table.add_column(name, overflow="fold")  # an id that is cut is no use
    for item in items:
        table.add_row(*(_safe(tell(item)) for _, tell in shown))
    console.print(table)
