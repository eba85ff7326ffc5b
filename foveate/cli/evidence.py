"""Evidence pictures: what an answer rests on, drawn so that a person can check it.

In: evidence, with or without a picture that was allowed to travel. Out: one JPEG a piece of evidence in a folder.
Without a picture the boxes are drawn on an empty canvas, which says so: facts travelled, pixels did not.
Knows nothing of questions or transports.
"""

from __future__ import annotations

from pathlib import Path

from foveate.errors import NotReady
from foveate.messages import Evidence, QuestionRecord, Representation
from foveate.wire import utc

_BLANK = (960, 540)
_KEEP = 4  # pictures of one answer; a person looks at the first few


def write_pictures(record: QuestionRecord, folder: Path) -> list[str | None]:
    """Draws the evidence of an answer into `folder`; returns the file of each piece, None past the first four.

    Raises NotReady when Pillow is not installed.
    """
    try:
        from foveate.vision import draw  # Pillow is no part of the plain command line
    except ImportError as error:
        raise NotReady("Drawing evidence needs Pillow; install foveate[edge].") from error
    folder.mkdir(parents=True, exist_ok=True)
    files: list[str | None] = []
    for number, item in enumerate(record.answer.evidence, start=1):
        if number > _KEEP:
            files.append(None)
            continue
        picture = draw.draw_evidence(
            draw.read_jpeg(item.picture) if item.picture else None,
            boxes=[s.box for s in item.sightings],
            labels=[f"{s.label} {s.score:.2f}" for s in item.sightings],
            caption=caption(item),
            size=_BLANK,
            notice=_notice(item),
        )
        path = folder / f"{record.question.question_id}-{number}.jpg"
        path.write_bytes(draw.jpeg(picture))
        files.append(str(path))
    return files


def caption(item: Evidence) -> str:
    """Where and when, and in which form it travelled."""
    start = utc(item.picture_time if item.picture_time is not None else item.start)
    offset = f", {item.media_offset:.1f} s into its source" if item.media_offset is not None else ""
    return f"{item.device_id}  {start:%Y-%m-%d %H:%M:%S} UTC{offset}  ({item.representation.name})"


def _notice(item: Evidence) -> str:
    if item.representation is Representation.FACTS:
        return "drawn from facts: no picture travelled"
    return "no picture"
