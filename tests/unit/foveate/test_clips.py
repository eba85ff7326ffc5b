"""The clip store: whole or nothing, resumable, bounded."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from foveate import wire
from foveate.clips import ClipStore, chunks, sha256_of
from foveate.errors import InvalidInput, MalformedMessage, NotFound, TryAgain
from foveate.messages import ClipHeader, Representation
from foveate.v1 import clip_service_pb2 as pb

BODY = bytes(range(256)) * 600


def header(clip_id: str = "clip-1", body: bytes = BODY, **changes: object) -> ClipHeader:
    made = ClipHeader(
        clip_id=clip_id,
        device_id="body-1",
        start=1_700_000_000.0,
        end=1_700_000_005.0,
        size_bytes=len(body),
        sha256=hashlib.sha256(body).digest(),
        media_type="video/mp4",
        representation=Representation.CLIP,
    )
    return replace(made, **changes)


async def parts(head: ClipHeader, *blocks: bytes) -> AsyncIterator[pb.UploadClipRequest]:
    yield pb.UploadClipRequest(header=wire.clip_header_to(head))
    for block in blocks:
        yield pb.UploadClipRequest(chunk=block)


async def cut(head: ClipHeader, block: bytes) -> AsyncIterator[pb.UploadClipRequest]:
    yield pb.UploadClipRequest(header=wire.clip_header_to(head))
    yield pb.UploadClipRequest(chunk=block)
    raise ConnectionError("the link is gone")


async def test_a_whole_clip_is_kept_with_its_header(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, max_bytes=10**9)
    assert await store.receive(parts(header(), BODY[:1000], BODY[1000:])) == header()
    assert store.path("clip-1").read_bytes() == BODY
    assert store.header("clip-1") == header()
    assert store.offset("clip-1") == (len(BODY), True)
    assert b"".join(chunks(store.path("clip-1"), offset=7)) == BODY[7:]
    assert sha256_of(store.path("clip-1")) == header().sha256


async def test_a_cut_upload_goes_on_where_it_ended(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, max_bytes=10**9)
    with pytest.raises((TryAgain, ConnectionError)):
        await store.receive(cut(header(), BODY[:5000]))
    assert store.offset("clip-1") == (5000, False)
    with pytest.raises(TryAgain, match="go on from there"):
        await store.receive(parts(header(), BODY))
    await store.receive(parts(header(offset_bytes=5000), BODY[5000:]))
    assert store.path("clip-1").read_bytes() == BODY


async def test_a_whole_clip_is_not_taken_twice(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, max_bytes=10**9)
    await store.receive(parts(header(), BODY))
    assert await store.receive(parts(header(), b"other")) == header()
    assert store.path("clip-1").read_bytes() == BODY


async def test_altered_bytes_are_thrown_away(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, max_bytes=10**9)
    with pytest.raises(InvalidInput, match="SHA-256"):
        await store.receive(parts(header(), b"x" + BODY[1:]))
    assert store.offset("clip-1") == (0, False)
    with pytest.raises(NotFound):
        store.path("clip-1")


async def test_more_bytes_than_announced_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedMessage, match="longer"):
        await ClipStore(tmp_path, max_bytes=10**9).receive(parts(header(), BODY, b"more"))


@pytest.mark.parametrize("clip_id", ["../etc/passwd", "", "a/b", "x" * 65, "a\x00"])
async def test_an_id_cannot_leave_the_folder(tmp_path: Path, clip_id: str) -> None:
    with pytest.raises(MalformedMessage):
        await ClipStore(tmp_path, max_bytes=10**9).receive(parts(header(clip_id), BODY))
    assert not list(tmp_path.iterdir())


async def test_an_upload_without_header_is_refused(tmp_path: Path) -> None:
    async def headless() -> AsyncIterator[pb.UploadClipRequest]:
        yield pb.UploadClipRequest(chunk=b"bytes")

    with pytest.raises(MalformedMessage, match="header"):
        await ClipStore(tmp_path, max_bytes=10**9).receive(headless())


async def test_the_oldest_clips_make_room(tmp_path: Path) -> None:
    store = ClipStore(tmp_path, max_bytes=2 * len(BODY))
    for number in range(4):
        await store.receive(parts(header(f"clip-{number}"), BODY))
    kept = sorted(path.stem for path in tmp_path.glob("*.media"))
    assert len(kept) == 2
    assert "clip-3" in kept
