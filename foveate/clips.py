"""Recorded media over gRPC: a resumable upload, and the store that takes it in.

In: the bytes of a clip with a header that names their SHA-256. Out: a whole, verified file, or a clear error.
An upload that was cut goes on where it ended; a wrong digest throws the bytes away.
Knows nothing of what the media shows or who may see it: residency is decided before an upload starts.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import grpc

from foveate.errors import InvalidInput, MalformedMessage, NotFound, OutOfSpace, TryAgain
from foveate.messages import ClipHeader
from foveate.rpc import CHUNK_BYTES, translated
from foveate.v1 import clip_service_pb2 as pb
from foveate.v1.clip_service_pb2_grpc import ClipServiceStub
from foveate.wire import clip_header_of, clip_header_to, parse

_SUFFIXES = ("media", "part", "header")
_CLIP_ID = re.compile(r"[0-9a-zA-Z-]{1,64}")


def sha256_of(path: Path) -> bytes:
    """The digest of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def chunks(path: Path, *, offset: int = 0) -> Iterator[bytes]:
    """The file from `offset` on, at most CHUNK_BYTES at a time."""
    with path.open("rb") as file:
        file.seek(offset)
        while block := file.read(CHUNK_BYTES):
            yield block


async def upload(channel: grpc.aio.Channel, path: Path, header: ClipHeader, *, tries: int = 4) -> int:
    """Uploads the file, going on where a cut try ended; returns the bytes stored.

    Raises the receiver's error when it says never, the last one when `tries` attempts did not get through.
    """
    stub = ClipServiceStub(channel)
    for attempt in range(1, tries + 1):
        try:
            with translated():
                progress = await stub.GetUpload(pb.GetUploadRequest(clip_id=header.clip_id), timeout=10)
                if progress.complete:
                    return header.size_bytes
                rest = replace(header, offset_bytes=progress.offset_bytes)
                response = await stub.UploadClip(_requests(path, rest), timeout=120)
                return response.size_bytes
        except TryAgain as error:
            if attempt == tries:
                raise
            await asyncio.sleep(min(error.retry_after, 0.25 * 2**attempt))
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _requests(path: Path, header: ClipHeader) -> AsyncIterator[pb.UploadClipRequest]:
    yield pb.UploadClipRequest(header=clip_header_to(header))
    for block in chunks(path, offset=header.offset_bytes):
        yield pb.UploadClipRequest(chunk=block)


class ClipStore:
    """Clips in a folder, the oldest forgotten first when they pass `max_bytes`.

    Per clip: `ID.part` while it grows, `ID.media` once whole and verified, `ID.header` beside it.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # Whoever asked for these is gone: footage is not kept by accident.
        for left in (path for suffix in _SUFFIXES for path in folder.glob(f"*.{suffix}")):
            left.unlink()
        self._max_bytes = max_bytes

    async def receive(self, requests: AsyncIterator[pb.UploadClipRequest]) -> ClipHeader:
        """Takes one upload in and returns its header once the clip is whole and its digest right."""
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("part") != "header":
            raise MalformedMessage("An upload starts with a header; the sender is broken.")
        header = clip_header_of(first.header)
        arrived, complete = self.offset(header.clip_id)
        if complete:
            return self.header(header.clip_id)
        if header.offset_bytes != arrived:
            raise TryAgain(f"{arrived} bytes of this clip are here; go on from there.", retry_after=0.0)
        part = self._file(header.clip_id, "part")
        try:
            await self._append(part, requests, header)
        except OSError as error:
            raise _storage_error(error) from error
        return await asyncio.to_thread(self._finish, part, header)

    async def _append(self, part: Path, requests: AsyncIterator[pb.UploadClipRequest], header: ClipHeader) -> None:
        with part.open("ab") as file:
            async for request in requests:
                if request.WhichOneof("part") != "chunk":
                    raise MalformedMessage("After the header an upload holds chunks only; the sender is broken.")
                if file.tell() + len(request.chunk) > header.size_bytes:
                    raise MalformedMessage("The clip is longer than its header says; the sender is broken.")
                file.write(request.chunk)

    def _finish(self, part: Path, header: ClipHeader) -> ClipHeader:
        size = part.stat().st_size
        if size < header.size_bytes:
            raise TryAgain(f"{size} of {header.size_bytes} bytes arrived; go on from there.", retry_after=0.0)
        if sha256_of(part) != header.sha256:
            part.unlink()
            raise InvalidInput("The clip's bytes do not match its SHA-256; send it again from the start.")
        self._file(header.clip_id, "header").write_bytes(clip_header_to(header).SerializeToString())
        part.rename(self._file(header.clip_id, "media"))
        self._make_room(keep=header.clip_id)
        return header

    def offset(self, clip_id: str) -> tuple[int, bool]:
        """How many bytes of the clip arrived, and whether it is whole."""
        whole, part = self._file(clip_id, "media"), self._file(clip_id, "part")
        if whole.exists():
            return whole.stat().st_size, True
        return (part.stat().st_size if part.exists() else 0), False

    def path(self, clip_id: str) -> Path:
        """The file of a whole clip; NotFound when there is none."""
        path = self._file(clip_id, "media")
        if not path.exists():
            raise NotFound(f"No whole clip {clip_id} is here; ask for it again.", clip_id=clip_id)
        return path

    def header(self, clip_id: str) -> ClipHeader:
        """The header of a whole clip; NotFound when there is none."""
        self.path(clip_id)
        return clip_header_of(parse(pb.ClipHeader, self._file(clip_id, "header").read_bytes()))

    def forget(self, clip_id: str) -> None:
        """Deletes what is here of the clip, if anything."""
        for suffix in _SUFFIXES:
            self._file(clip_id, suffix).unlink(missing_ok=True)

    def _file(self, clip_id: str, suffix: str) -> Path:
        if not _CLIP_ID.fullmatch(clip_id):
            raise MalformedMessage("A clip's id has 1 to 64 letters, digits and dashes.", field="clip_id")
        return self._folder / f"{clip_id}.{suffix}"

    def _make_room(self, *, keep: str) -> None:
        clips = sorted(self._folder.glob("*.media"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in clips)
        for path in clips:
            if total <= self._max_bytes:
                return
            if path.stem != keep:
                total -= path.stat().st_size
                self.forget(path.stem)


def _storage_error(error: OSError) -> TryAgain:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace("The disk that takes clips is full; free space there.", retry_after=5.0)
    return TryAgain(f"The clip could not be written ({error.strerror}); it is tried again.", retry_after=1.0)
