"""The demo's report: one self-contained HTML page that shows each question's way, answer and evidence.

In: records with the files of their evidence pictures, and the fleet. Out: HTML without any link to elsewhere.
Knows nothing of how the records came about.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from foveate import messages as m
from foveate.cli.plain import harmless, in_quotes, pretty
from foveate.cli.showing import clock, money, tokens
from foveate.residency import ResidencyPolicy
from foveate.wire import utc


def _safe(text: str) -> str:
    """Text of others for the page: neither markup nor a control character in it does anything."""
    return escape(harmless(text))


@dataclass(frozen=True, slots=True)
class Shown:
    """One question of the report; `shows` says what a newcomer is to see in it."""

    record: m.QuestionRecord
    images: tuple[str | None, ...]
    shows: str


def page(
    shown: Sequence[Shown], *, devices: Sequence[m.Device], policy: ResidencyPolicy, cloud_region: str, title: str
) -> str:
    """The whole page."""
    cards = "\n".join(_card(number, item) for number, item in enumerate(shown, start=1))
    total = sum(item.record.cost_usd for item in shown)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_safe(title)}</title><style>{_STYLE}</style></head><body>
<header><h1>{_safe(title)}</h1>
<p>{len(shown)} questions, {money(total)} in all by the price book. Each was answered where that was cheap, quick
and allowed; the way it took is drawn under it.</p></header>
{_fleet(devices, cloud_region)}
{_policy(policy)}
<main>{cards}</main>
<footer>Boxes and times come from the devices' own perception (NanoDet-g INT8; not a VLM). A picture is shown only in
the form in which residency let it travel.</footer>
</body></html>
"""


def _fleet(devices: Sequence[m.Device], cloud_region: str) -> str:
    sites: dict[tuple[str, str], list[m.Device]] = {}
    for device in devices:
        sites.setdefault((device.site_id, device.region), []).append(device)
    boxes = "".join(
        f'<div class="site"><h3>{_safe(site)} <small>{_safe(region)}</small></h3>'
        + "".join(
            f"<div class='device'><b>{_safe(device.device_id)}</b> {_safe(device.kind.value)}"
            f"<small>{device.events} events let out</small></div>"
            for device in members
        )
        + "</div>"
        for (site, region), members in sites.items()
    )
    return (
        f'<section class="fleet">{boxes}<div class="site cloud"><h3>cloud <small>{_safe(cloud_region)}</small></h3>'
        "<div class='device'><b>router</b> and cloud service</div></div></section>"
    )


def _policy(policy: ResidencyPolicy) -> str:
    rows = "".join(
        f"<tr><td><code>{_safe(rule.name)}</code></td>"
        f"<td>{_safe(_scope(rule.scope.region, rule.scope.site, rule.scope.device, rule.scope.label))}</td><td>"
        + ", ".join(f"{kind.name} ≤ {boundary.name}" for kind, boundary in rule.limits)
        + "</td></tr>"
        for rule in policy.rules
    )
    return (
        "<section><details><summary>Residency policy</summary><table><tr><th>rule</th><th>scope</th>"
        f"<th>farthest</th></tr>{rows}</table></details></section>"
    )


def _scope(region: str, site: str, device: str, label: str) -> str:
    parts = [part for part in (region, site, device, label and f"label {label}") if part]
    return " / ".join(parts) or "everything"


def _card(number: int, shown: Shown) -> str:
    record, answer = shown.record, shown.record.answer
    rule = f' <code class="rule">{_safe(answer.rule)}</code>' if answer.rule else ""
    reason = "" if answer.reason in answer.text else answer.reason
    because = f'<p class="because">{_safe(reason)}{rule}</p>' if reason or rule else ""
    figures = f"confidence {answer.confidence:.2f} · {record.latency_s * 1000:.0f} ms · {money(record.cost_usd)}"
    figures += "".join(f" · {_safe(part)}" for part in (answer.model, tokens(answer.tokens)) if part)
    figures += " · given by the site alone" if answer.alone else ""
    return f"""<article class="{answer.outcome.value}"><p class="shows">{number} · {_safe(shown.shows)}</p>
<h2>{_safe(record.question.text)}</h2>
{_way(record)}
<p class="answer"><span class="badge">{answer.outcome.value.replace("_", " ")}</span> {_safe(answer.text)}</p>
{_said(answer)}{because}<p class="figures">{figures} · <code>{_safe(record.question.question_id)}</code></p>
{_evidence(shown)}
<details><summary>Everything that was considered</summary>{_considered(record.plan)}</details></article>"""


def _said(answer: m.Answer) -> str:
    """The words of the answer, its document, and what its evidence quotes."""
    words = [answer.value] if isinstance(answer.value, str) and answer.value not in answer.text else []
    quotes = [*words, *(item.quote for item in answer.evidence[:4] if item.quote)]
    shown = "".join(f"<blockquote>{escape(in_quotes(quote))}</blockquote>" for quote in dict.fromkeys(quotes))
    return shown + (f"<pre>{escape(pretty(answer.document))}</pre>" if answer.document else "")


def _way(record: m.QuestionRecord) -> str:
    """The three tiers as a rail; the steps stand on the tier that took them."""
    stops = []
    for tier in m.Tier:
        steps = [step for step in record.steps if step.placement.tier is tier]
        inner = "".join(_stop(step) for step in steps) or '<div class="unused">not asked</div>'
        stops.append(f'<div class="tier {"used" if steps else ""}"><h4>{tier.value}</h4>{inner}</div>')
    return f'<div class="way">{"<span class=arrow>→</span>".join(stops)}</div>'


def _stop(step: m.Step) -> str:
    width = round(step.confidence * 100)
    return (
        f'<div class="step {step.state.value}"><b>{_safe(step.placement.node)}</b> '
        f"<span>{step.placement.representation.name}</span>"
        f'<div class="bar"><i style="width:{width}%"></i></div>'
        f"<small>{step.state.value}, {step.confidence:.2f}, {step.latency_s * 1000:.0f} ms, {money(step.cost_usd)}<br>"
        f"{_safe(step.reason)}</small></div>"
    )


def _evidence(shown: Shown) -> str:
    figures = []
    for item, path in zip(shown.record.answer.evidence, shown.images, strict=False):
        if path is None:
            continue
        data = base64.b64encode(Path(path).read_bytes()).decode()
        seen = ", ".join(f"{s.label} {s.score:.2f}" for s in item.sightings[:6])
        text = (
            f"{item.device_id}, {utc(item.start):%Y-%m-%d} {clock(item.start)} UTC, {item.representation.name}: {seen}"
        )
        figures.append(
            f'<figure><img alt="{_safe(text)}" src="data:image/jpeg;base64,{data}">'
            f"<figcaption>{_safe(text)}</figcaption></figure>"
        )
    return f'<div class="evidence">{"".join(figures)}</div>' if figures else ""


def _considered(plan: m.Plan) -> str:
    rows = [
        ("planned", p.placement, f"{p.reason} (expects {p.confidence:.2f}, {p.latency_q95_s * 1000:.0f} ms)")
        for p in plan.placements
    ]
    rows += [("not allowed" if r.rule else "not possible", r.placement, r.reason) for r in plan.rejected]
    body = "".join(
        f"<tr><td>{head}</td><td>{_safe(f'{p.tier.value} {p.node}')}</td><td>{p.representation.name}</td>"
        f"<td>{_safe(reason)}</td></tr>"
        for head, p, reason in rows
    )
    left_out = "".join(f"<li>left out: {_safe(entry)}</li>" for entry in plan.left_out)
    return f"<p>{_safe(plan.understanding.reason)}. {_safe(plan.reason)}</p><ul>{left_out}</ul><table>{body}</table>"


_STYLE = """
:root{--ink:#1b2430;--soft:#5d6b7a;--line:#dfe4ea;--back:#f5f7f9;--card:#fff;--good:#12805c;--warn:#b7791f;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#93a1b0;--line:#2c3743;--back:#11171d;--card:#19212a;
--good:#43c59e;--warn:#e3b341;--bad:#f2777a}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}header,section,main,footer{max-width:980px;margin:0 auto;padding:16px 20px}
h1{margin:.4em 0 0;font-size:28px}h2{margin:.2em 0 .6em;font-size:20px}h3,h4{margin:0 0 6px}
small,.figures,.shows,footer,.because{color:var(--soft)}.shows{margin:0;font-size:13px}
.fleet{display:flex;gap:12px;flex-wrap:wrap}.site{flex:1 1 220px;border:1px solid var(--line);border-radius:10px;
padding:12px;background:var(--card)}.device{display:flex;gap:8px;align-items:baseline;flex-wrap:wrap}
article{background:var(--card);border:1px solid var(--line);border-left:5px solid var(--good);border-radius:10px;
padding:16px 20px;margin:0 0 18px}article.refused{border-left-color:var(--bad)}
article.cannot_tell{border-left-color:var(--warn)}.answer{font-size:18px;margin:12px 0 4px}
.badge{font-size:12px;padding:2px 8px;border-radius:9px;background:var(--good);color:#fff;vertical-align:2px}
.refused .badge{background:var(--bad)}.cannot_tell .badge{background:var(--warn)}
.way{display:flex;gap:8px;align-items:stretch}.arrow{align-self:center;color:var(--soft)}
.tier{flex:1 1 0;min-width:0;border:1px dashed var(--line);border-radius:8px;padding:8px 10px}
.tier.used{border-style:solid}.tier h4{font-size:12px;text-transform:uppercase;letter-spacing:.06em;color:var(--soft)}
.unused{color:var(--soft);opacity:.6;font-size:13px}.step{border-left:3px solid var(--good);padding-left:8px;
margin-bottom:6px;overflow-wrap:anywhere}.step span{font-size:12px;color:var(--soft)}
.step.unsure{border-color:var(--warn)}.step.failed{border-color:var(--bad)}.step.skipped{border-color:var(--line)}
.bar{height:4px;background:var(--line);border-radius:2px;margin:3px 0}.bar i{display:block;height:4px;
border-radius:2px;background:currentColor}code{font-size:13px}.rule{color:var(--bad)}
blockquote{margin:6px 0;padding-left:10px;border-left:2px solid var(--line)}pre{font-size:13px;overflow-x:auto}
.evidence{display:flex;gap:10px;flex-wrap:wrap;margin:10px 0}figure{margin:0;flex:1 1 300px;max-width:480px}
figure img{width:100%;border-radius:6px;border:1px solid var(--line)}figcaption{font-size:13px;color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:13px}td,th{border-top:1px solid var(--line);padding:4px 8px;
text-align:left;vertical-align:top}summary{cursor:pointer;color:var(--soft)}
@media(max-width:640px){.way{flex-direction:column}.arrow{display:none}}
"""
