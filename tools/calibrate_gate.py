"""Make a model's calibration file from what it answered and which of that was right.

In: an edge's log (JSON lines, in which `think.py` notes each decision) and a file of JSON lines such as
`{"question_id": "...", "right": true}`. Out: the file that `calibration` of a model configuration names: a threshold
and a map from confidence to chance for each model and task, on standard output. An answer after thinking tells
nothing about the first one, so it is left out: log with `gate: {presence: 0, ...}`, which never thinks.

    python -m tools.calibrate_gate --log edge.log --right right.jsonl > calibration.yaml
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_node.thresholds import ALPHA, Bar, Pair, bar_of, dump, least_pairs
from foveate.messages import Task

DECIDED = "the model decided"
"""The message of the log's lines that count."""

Key = tuple[str, Task]


def main() -> None:
    """Read, join, fit and print; standard error says what was too little."""
    parser = argparse.ArgumentParser(description="Calibrate the gate of a vision-language model.")
    parser.add_argument("--log", type=Path, required=True, help="the edge's log, JSON lines")
    parser.add_argument("--right", type=Path, required=True, help="JSON lines with question_id and right")
    parser.add_argument("--alpha", type=float, default=ALPHA, help="error allowed among those that do not think")
    chosen = parser.parse_args()
    right = {str(row["question_id"]): bool(row["right"]) for row in rows(chosen.right) if "right" in row}
    bars = fitted(rows(chosen.log), right, alpha=chosen.alpha)
    for (model, task), bar in bars.items():
        if not bar.calibrated:
            sys.stderr.write(f"{model} at {task}: {bar.pairs} answers, of {least_pairs(chosen.alpha)} that it takes\n")
    sys.stdout.write(dump(bars))


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file of lines; other lines, such as a traceback, are passed over."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def fitted(log: Iterable[Mapping[str, Any]], right: Mapping[str, bool], *, alpha: float = ALPHA) -> dict[Key, Bar]:
    """The bars of every model and task that answered a question of which it is known whether it was right."""
    pairs: dict[Key, list[Pair]] = defaultdict(list)
    thinking: dict[Key, list[int]] = defaultdict(list)
    for row in log:
        if row.get("message") != DECIDED:
            continue
        key = row["model"], Task(row["task"])
        if row["thought"]:
            thinking[key].append(row["thinking"])
        elif row["question_id"] in right and row["raw"] >= 0.0:
            pairs[key].append((row["raw"], right[row["question_id"]]))
    return {
        key: bar_of(found, alpha=alpha, thinking_tokens=_mean(thinking[key])) for key, found in sorted(pairs.items())
    }


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


if __name__ == "__main__":
    main()
