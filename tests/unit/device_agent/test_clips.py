"""The clip desk: coded again only where something must be hidden, and true to its times either way."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from device_agent import clips as desk_module
from device_agent.clips import ClipDesk
from device_agent.masks import Masks
from device_agent.rules import Mask
from device_agent.sender import Sender
from foveate.errors import BadVideo, Refused
from foveate.messages import Boundary, ClipHeader, ClipOrder, Place, Representation
from foveate.residency import ResidencyPolicy, Rule, RuleScope
from tests.unit.device_agent.fakes import START, ScriptedDetector, make_video, payloads, recorded

LEFT = Masks((Mask("left half", ((0, 0), (0.5, 0), (0.5, 1), (0, 1))),))
NONE = Masks(())
FORMS = (Representation.CLIP, Representation.FRAMES, Representation.REDACTED_FRAMES)


class Uploads:
    """What was uploaded: copies of the files, and their headers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.headers = folder, list[ClipHeader]()

    async def take(self, channel: object, path: Path, header: ClipHeader) -> int:
        shutil.copy(path, self.folder / header.clip_id)
        self.headers.append(header)
        return header.size_bytes


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    @asynccontextmanager
    async def unconnected(target: str):
        yield target

    found = Uploads(tmp_path / "uploaded")
    monkeypatch.setattr(desk_module, "channel", unconnected)
    monkeypatch.setattr(desk_module.clips, "upload", found.take)
    return found


def desk(folder: Path, source: Path, masks: Masks) -> ClipDesk:
    return ClipDesk(
        recorded(source, folder / "ring"),
        detector=ScriptedDetector(),
        policy=ResidencyPolicy(
            (Rule("all", RuleScope(), tuple((form, Boundary.SITE) for form in FORMS)),),
        ),
        sender=Sender("cam", "north", "eu-west"),
        edge="",
        folder=folder / "clips",
        masks=masks,
    )


def order(form: Representation, *, to: Place | None = None) -> ClipOrder:
    return ClipOrder("c1", "cam", START + 1.25, START + 4.0, to or Place("eu-west", "north"), form)


async def test_without_masks_nothing_is_coded_again(tmp_path: Path, uploads: Uploads) -> None:
    source = make_video(tmp_path / "v.mp4", sound=True)
    header = await desk(tmp_path, source, NONE).deliver(order(Representation.CLIP))
    clip = uploads.folder / "c1"
    original = payloads(source, "video")
    assert payloads(clip, "video") == original[10 : 10 + len(payloads(clip, "video"))]
    assert set(payloads(clip, "audio")) <= set(payloads(source, "audio"))
    assert header.start == pytest.approx(START + 1.0, abs=1e-3)
    assert header.media_offset == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
async def test_with_masks_every_form_is_masked_and_says_when_it_was(
    tmp_path: Path, uploads: Uploads, form: Representation, suffix: str
) -> None:
    source = make_video(tmp_path / f"v{suffix}", sound=True)
    header = await desk(tmp_path, source, LEFT).deliver(order(form))
    with av.open(str(uploads.folder / "c1")) as clip:
        assert bool(clip.streams.audio) is (form is Representation.CLIP)
        shown = [(frame.time, frame.to_ndarray(format="gray")) for frame in clip.decode(video=0)]
    assert header.representation is form
    assert header.start == pytest.approx(START + 1.2, abs=2e-3)
    assert header.media_offset == pytest.approx(1.2, abs=2e-3)
    assert header.end == pytest.approx(START + 4.0, abs=0.11)
    assert shown[0][0] == 0.0
    assert shown[-1][0] <= header.end - header.start
    assert all(np.abs(image[:, :26].astype(int) - 128).max() <= 6 for _, image in shown)
    assert max(int(image[:, 40:].max()) for _, image in shown) > 200
    assert not list((tmp_path / "clips").iterdir())


async def test_the_recording_stays_as_it_was(tmp_path: Path, uploads: Uploads) -> None:
    source = make_video(tmp_path / "v.mp4")
    found = desk(tmp_path, source, LEFT)
    before = {path: path.read_bytes() for path in (tmp_path / "ring").rglob("*.nut")}
    await found.deliver(order(Representation.CLIP))
    assert {path: path.read_bytes() for path in (tmp_path / "ring").rglob("*.nut")} == before
    assert before


async def test_a_repeated_order_gets_the_first_receipt(tmp_path: Path, uploads: Uploads) -> None:
    found = desk(tmp_path, make_video(tmp_path / "v.mp4"), LEFT)
    first = await found.deliver(order(Representation.CLIP))
    assert await found.deliver(order(Representation.CLIP)) == first
    assert len(uploads.headers) == 1


async def test_a_mask_allows_nothing_that_a_rule_forbids(tmp_path: Path, uploads: Uploads) -> None:
    with pytest.raises(Refused):
        await desk(tmp_path, make_video(tmp_path / "v.mp4"), LEFT).deliver(order(FORMS[0], to=Place("us-ca")))
    assert not uploads.headers


async def test_a_clip_that_cannot_be_masked_is_refused_in_a_sentence(
    tmp_path: Path, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object, **named: object) -> float:
        raise av.error.InvalidDataError(-1, "Invalid data found when processing input")

    monkeypatch.setattr(desk_module, "burn_clip", broken)
    with pytest.raises(BadVideo, match="ask for another one"):
        await desk(tmp_path, make_video(tmp_path / "v.mp4"), LEFT).deliver(order(Representation.CLIP))
    assert not uploads.headers
    assert not list((tmp_path / "clips").iterdir())
