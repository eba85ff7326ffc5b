"""What commands print with --json: plain dictionaries with a stable shape.

In: the dataclasses of `messages.py` and `commands.py`. Out: what `json.dumps` takes; times are ISO 8601 in UTC, boxes
are fractions of the picture, money is US dollars. Knows nothing of where it is printed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from foveate import commands as c
from foveate import messages as m
from foveate.wire import utc


def iso(seconds: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC with milliseconds."""
    return None if seconds is None else utc(seconds).isoformat(timespec="milliseconds")


def question(record: m.QuestionRecord, *, images: Sequence[str | None] = ()) -> dict[str, Any]:
    """One question with its answer, steps and evidence; `images` are the evidence pictures' files, in order."""
    answer, placement = record.answer, record.answer.placement
    paths = [*images, *([None] * len(answer.evidence))]
    return {
        "id": record.question.question_id,
        "question": record.question.text,
        "task": record.plan.understanding.task.value,
        "status": answer.outcome.value,
        "answer": answer.text,
        "value": iso(answer.value) if isinstance(answer.value, float) else answer.value,
        "document": _document(answer.document),
        "confidence": round(answer.confidence, 4),
        "tier": placement.tier.value if placement else None,
        "node": placement.node if placement else None,
        "representation": placement.representation.name if placement else None,
        "rule": answer.rule or None,
        "reason": answer.reason or None,
        "model": answer.model or None,
        "tokens": _tokens(answer.tokens),
        "alone": answer.alone,
        "cost_usd": round(record.cost_usd, 9),
        "latency_ms": round(record.latency_s * 1000, 1),
        "steps": [step(item) for item in record.steps],
        "plan": plan(record.plan),
        "evidence": [evidence(item, image=path) for item, path in zip(answer.evidence, paths, strict=False)],
    }


def _document(text: str) -> Any:  # noqa: ANN401  JSON may hold anything
    """The document as JSON; the text itself when it is none, None when there is none."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return text


def _tokens(item: m.Tokens | None) -> dict[str, int] | None:
    if item is None:
        return None
    return {"read": item.prompt, "written": item.answer, "thinking": item.thinking, "saved_about": item.saved}


def step(item: m.Step) -> dict[str, Any]:
    """One placement that was tried."""
    return {
        "tier": item.placement.tier.value,
        "node": item.placement.node,
        "representation": item.placement.representation.name,
        "status": item.state.value,
        "reason": item.reason,
        "confidence": round(item.confidence, 4),
        "latency_ms": round(item.latency_s * 1000, 1),
        "cost_usd": round(item.cost_usd, 9),
    }


def plan(item: m.Plan) -> dict[str, Any]:
    """What would be tried and what was taken out."""
    return {
        "reason": item.reason,
        "understood": item.understanding.reason,
        "understanding": understanding(item.understanding),
        "placements": [
            {**_placement(p.placement), "confidence": round(p.confidence, 4), "reason": p.reason}
            for p in item.placements
        ],
        "rejected": [{**_placement(r.placement), "reason": r.reason, "rule": r.rule or None} for r in item.rejected],
        "left_out": list(item.left_out),
    }


def understanding(item: m.Understanding) -> dict[str, Any]:
    """What the router read out of the text."""
    return {
        "task": item.task.value,
        "subject": item.subject or None,
        "labels": list(item.labels),
        "start": iso(item.start),
        "end": iso(item.end),
        "now": item.now,
        "pick": item.pick.value,
        "colours": list(item.colours),
        "zones": list(item.zones),
        "words": list(item.words),
        "sides": [
            {
                "subject": side.subject or None,
                "labels": list(side.labels),
                "devices": list(side.device_ids),
                "start": iso(side.start),
                "end": iso(side.end),
            }
            for side in item.sides
        ],
    }


def _placement(item: m.Placement) -> dict[str, Any]:
    return {"tier": item.tier.value, "node": item.node, "representation": item.representation.name}


def evidence(item: m.Evidence, *, image: str | None) -> dict[str, Any]:
    """What an answer rests on; `media_start_s` counts from the beginning of the source, for files."""
    length = item.end - item.start
    return {
        "device": item.device_id,
        "event_id": item.event_id or None,
        "start": iso(item.start),
        "end": iso(item.end),
        "media_start_s": None if item.media_offset is None else round(item.media_offset, 3),
        "media_end_s": None if item.media_offset is None else round(item.media_offset + length, 3),
        "boxes": [box(s) for s in item.sightings],
        "representation": item.representation.name,
        "quote": item.quote or None,
        "image": image,
    }


def box(sighting: m.Sighting) -> dict[str, Any]:
    """One object at one moment; sides are fractions of the picture."""
    return {
        "label": sighting.label,
        "score": round(sighting.score, 4),
        "time": iso(sighting.time),
        "left": round(sighting.box.left, 5),
        "top": round(sighting.box.top, 5),
        "width": round(sighting.box.width, 5),
        "height": round(sighting.box.height, 5),
    }


def device(item: m.Device) -> dict[str, Any]:
    """A camera of the fleet."""
    return {
        "id": item.device_id,
        "site": item.site_id,
        "region": item.region,
        "kind": item.kind.value,
        "labels": list(item.labels),
        "enrolled": item.enrolled,
        "online": item.online,
        "capturing": item.capturing,
        "seen": iso(item.seen),
        "trouble": item.trouble or None,
        "events": item.events,
        "outbox_depth": item.outbox_depth,
    }


def event(item: m.Event) -> dict[str, Any]:
    """What a trigger found."""
    return {
        "id": item.event_id,
        "revision": item.revision,
        "device": item.device_id,
        "site": item.site_id,
        "region": item.region,
        "trigger": item.trigger.value,
        "priority": item.priority.name.lower(),
        "zones": list(item.zones),
        "about": item.about or None,
        "start": iso(item.start),
        "end": iso(item.end),
        "open": item.open,
        "score": round(item.score, 4),
        "labels": [{"label": found.label, "score": round(found.score, 4)} for found in item.labels],
        "media_start_s": None if item.media_offset is None else round(item.media_offset, 3),
        "boxes": [box(s) for track in item.tracks for s in track.sightings],
        "embedding": item.embedding.model if item.embedding else None,
        "received": iso(item.receive_time),
    }


def funnel(told: Sequence[c.DeviceState], *, silent: Mapping[str, str]) -> dict[str, Any]:
    """The ladders of the devices that answered, and why the others did not."""
    return {
        "devices": [device_state(state) for state in told],
        "silent": [{"device": name, "reason": reason} for name, reason in silent.items()],
    }


def device_state(item: c.DeviceState) -> dict[str, Any]:
    """What a device tells of itself; CPU shares are of one core, `budget_share` is None without a budget."""
    share = item.cpu_seconds / item.uptime_s if item.uptime_s else 0.0
    return {
        "device": item.device_id,
        "time": iso(item.time),
        "uptime_s": round(item.uptime_s, 3),
        "rungs": [_rung(rung, before) for rung, before in zip(item.rungs, (None, *item.rungs), strict=False)],
        "cpu_seconds": round(item.cpu_seconds, 4),
        "cpu_share": round(share, 6),
        "used_share": round(item.used_share, 6),
        "budget_share": None if item.budget_share is None else round(item.budget_share, 6),
        "given_up": list(item.given_up),
        "kept": [
            {
                "priority": None if kept.priority is None else kept.priority.name.lower(),
                "bytes": kept.size_bytes,
                "start": iso(kept.start),
            }
            for kept in item.kept
        ],
        "gaps": [{"start": iso(gap.start), "end": iso(gap.end), "reason": gap.reason} for gap in item.gaps],
        "outbox_depth": item.outbox_depth,
        "sequence": item.sequence,
        "triggers": list(item.triggers),
        "masks": list(item.masks),
        "trouble": item.trouble or None,
    }


def _rung(item: c.Rung, before: c.Rung | None) -> dict[str, Any]:
    """`share` is of what the rung before saw."""
    return {
        "name": item.name,
        "seen": item.seen,
        "passed": item.passed,
        "share": round(item.seen / before.seen, 6) if before is not None and before.seen else None,
        "cpu_seconds": round(item.cpu_seconds, 4),
        "cpu_ms_each": round(1000 * item.cpu_seconds / item.seen, 4) if item.seen else None,
    }
