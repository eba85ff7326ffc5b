"""Which file a model's name means, where it came from and whether it is the one that was promised.

In: a name, perhaps a folder or a `ModelSource`. Out: a `ModelFile` whose bytes were checked against their
SHA-256. Order: a local path, the weights that the project carries, a URL with its SHA-256 and licence. It
opens no network and imports no third party; next are `inference.py`, `vision/detect.py`, `vision/encode.py`,
`hearing.py` and `text.py`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from foveate.errors import InvalidInput, NotFound, NotReady, OutOfSpace, Unreachable

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent / "weights"
"""The carried files and `index.json`, which names each one's upstream, licence, hash and builder."""

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte before a download is given up


@dataclass(frozen=True, slots=True)
class Upstream:
    """The archive that a carried file was derived from, and who made what is in it."""

    package: str
    version: str
    sha256: str
    project: str
    copyright: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model that was found and whose hash was checked; `tag` goes into every embedding
    row."""

    name: str
    revision: str
    path: Path
    origin: str
    """`carried`, `local` or the URL that it was fetched from."""
    licence: str
    size_bytes: int
    quantisation: str
    sha256: str
    task: str = ""
    upstream: Upstream | None = None
    """Known for carried files only, as is `builder`."""
    builder: str = ""

    @property
    def tag(self) -> str:
        """`name@revision`: vectors of two tags are never compared."""
        return f"{self.name}@{self.revision}"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where configuration says that a model lies; every field left empty falls through to the next place.

    `path` is taken first. `url` (https, http or file) needs `sha256` and `licence`. A `sha256` always
    binds: a file with another hash is refused, and carried weights with another hash are passed over.
    """

    path: Path | None = None
    url: str = ""
    sha256: str = ""
    licence: str = ""
    revision: str = ""
    quantisation: str = ""


@dataclass(frozen=True, slots=True)
class _Carried:
    """One row of `weights/index.json`."""

    name: str
    file: str
    task: str
    revision: str
    licence: str
    quantisation: str
    sha256: str
    size_bytes: int
    builder: str
    upstream: Upstream = field(kw_only=True)


def find(
    name: str, *, folder: Path | None = None, source: ModelSource | None = None, store: Path | None = None
) -> ModelFile:
    """The file that `name` means, checked.

    `folder` is looked into for `NAME.onnx` or the carried file's own name before the carried weights are;
    `store` keeps downloads (default: `$XDG_CACHE_HOME/foveate/models`). Raises NotFound for a name that no
    place knows, NotReady for a missing or altered file, InvalidInput for a source that cannot be trusted,
    Unreachable and OutOfSpace for a download that may work later.
    """
    wanted = source or ModelSource()
    local = wanted.path or _in_folder(name, folder)
    if local is not None:
        return _local(name, local, wanted)
    row = _index().get(name)
    if row is not None and wanted.sha256.lower() in ("", row.sha256):
        return _carried_file(row)
    if wanted.url:
        return _fetched(name, wanted, store or _default_store())
    known = ", ".join(sorted(_index()))
    raise NotFound(
        f"No model is called {name!r} here; name one of {known}, or give its path, or a URL with its SHA-256.",
        model=name,
    )


def carried() -> tuple[ModelFile, ...]:
    """Every file that the project carries, checked, in the order of `index.json`; NotReady when one is
    altered."""
    return tuple(_carried_file(row) for row in _index().values())


@cache
def _index() -> dict[str, _Carried]:
    rows: list[dict[str, Any]] = json.loads((WEIGHTS / "index.json").read_text("utf-8"))
    return {row["name"]: _Carried(**{**row, "upstream": Upstream(**row["upstream"])}) for row in rows}


def _carried_file(row: _Carried) -> ModelFile:
    path = WEIGHTS / row.file
    if not path.is_file():
        raise NotReady(f"The carried weights {row.file} are missing; install foveate again.", model=row.name)
    if _sha256(path) != row.sha256:
        raise NotReady(
            f"The carried weights {row.file} are not the ones that were shipped; install foveate again.",
            model=row.name,
        )
    return ModelFile(
        name=row.name,
        revision=row.revision,
        path=path,
        origin="carried",
        licence=row.licence,
        size_bytes=row.size_bytes,
        quantisation=row.quantisation,
        sha256=row.sha256,
        task=row.task,
        upstream=row.upstream,
        builder=row.builder,
    )


def _in_folder(name: str, folder: Path | None) -> Path | None:
    if folder is None:
        return None
    row = _index().get(name)
    options = [f"{name}.onnx", *([row.file] if row else [])]
    return next((folder / option for option in options if (folder / option).is_file()), None)


def _local(name: str, path: Path, wanted: ModelSource) -> ModelFile:
    if not path.is_file():
        raise NotReady(f"The model {name} is not at {path}; put the file there or correct the path.", model=name)
    digest = _sha256(path)
    if wanted.sha256 and digest != wanted.sha256.lower():
        raise InvalidInput(
            f"The model {name} at {path} has SHA-256 {digest}, not {wanted.sha256}; correct either.",
            model=name,
        )
    return _described(name, path, digest=digest, origin="local", wanted=wanted)


def _described(name: str, path: Path, *, digest: str, origin: str, wanted: ModelSource) -> ModelFile:
    # A foreign file may carry a known name: its hash keeps its vectors apart from those of our own weights.
    return ModelFile(
        name=name,
        revision=wanted.revision or digest[:12],
        path=path,
        origin=origin,
        licence=wanted.licence or "not stated",
        size_bytes=path.stat().st_size,
        quantisation=wanted.quantisation or "not stated",
        sha256=digest,
    )


def _fetched(name: str, wanted: ModelSource, store: Path) -> ModelFile:
    if not (wanted.sha256 and wanted.licence):
        raise InvalidInput(
            f"The model {name} has a URL without a SHA-256 and a licence; state both and try again.",
            model=name,
        )
    if not wanted.url.startswith(("https://", "http://", "file://")):
        raise InvalidInput(f"The URL of the model {name} is neither https, http nor file; correct it.", model=name)
    digest = wanted.sha256.lower()
    path = store / digest / Path(wanted.url.partition("?")[0]).name
    if not (path.is_file() and _sha256(path) == digest):
        _download(name, wanted.url, digest=digest, path=path)
    return _described(name, path, digest=digest, origin=wanted.url, wanted=wanted)


def _download(name: str, url: str, *, digest: str, path: Path) -> None:
    log.info("fetching the model %s from %s", name, url)
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            part = Path(file.name)
            got = _pour(name, url, file)
        if got != digest:
            raise InvalidInput(
                f"What lies at {url} has SHA-256 {got}, not {digest}; correct the URL or the hash of {name}.",
                model=name,
            )
        os.replace(part, path)
    except OSError as error:
        raise OutOfSpace(f"The model {name} cannot be kept in {path.parent}: {error.strerror}.", model=name) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _pour(name: str, url: str, file: IO[bytes]) -> str:
    """The SHA-256 of what was read from `url` and written to `file`."""
    digest = hashlib.sha256()
    for block in _blocks(name, url):
        digest.update(block)
        file.write(block)
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


def _blocks(name: str, url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            while block := answer.read(_CHUNK):
                yield block
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise Unreachable(
            f"The model {name} cannot be fetched from {url} ({reason}); try again or give a local path.",
            retry_after=30.0,
            model=name,
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _default_store() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "foveate" / "models"
