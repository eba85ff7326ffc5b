"""Models by name: the order of places, and that no file passes whose bytes are not the promised ones."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from foveate import models
from foveate.errors import FoveateError, InvalidInput, NotFound, NotReady, Unreachable
from foveate.models import WEIGHTS, ModelSource

BYTES = b"a network, as far as this test goes"
SHA256 = hashlib.sha256(BYTES).hexdigest()
OTHER = "0" * 64


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the smallest carried weights, which a test may damage."""
    folder = tmp_path / "weights"
    folder.mkdir()
    rows = json.loads((WEIGHTS / "index.json").read_text("utf-8"))
    kept = [row for row in rows if row["name"] == "imagenet-classes"]
    (folder / "index.json").write_text(json.dumps(kept), "utf-8")
    shutil.copy(WEIGHTS / "imagenet-classes.json", folder)
    monkeypatch.setattr(models, "WEIGHTS", folder)
    models._index.cache_clear()
    yield folder
    models._index.cache_clear()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.onnx"
    path.write_bytes(BYTES)
    return path


def is_one_sentence(error: FoveateError) -> bool:
    return error.message.endswith(".") and "\n" not in error.message and ". " not in error.message


def test_every_carried_file_is_the_one_that_the_index_promises() -> None:
    found = models.carried()
    assert {model.path.name for model in found} == {path.name for path in WEIGHTS.iterdir()} - {"index.json"}
    for model in found:
        assert model.origin == "carried"
        assert model.path.stat().st_size == model.size_bytes
        assert model.licence
        assert model.upstream is not None
        assert len(model.upstream.sha256) == 64


def test_the_notice_names_every_carried_file() -> None:
    notice = (Path(__file__).parents[3] / "NOTICE").read_text("utf-8")
    for model in models.carried():
        assert model.path.name in notice


def test_every_builder_that_the_index_names_is_there() -> None:
    root = Path(__file__).parents[3]
    for model in models.carried():
        assert (root / model.builder).is_file()


def test_a_carried_model_has_a_tag() -> None:
    assert models.find("nanodet-g").tag == "nanodet-g@1"


def test_an_altered_carried_file_is_refused(shipped: Path) -> None:
    assert models.find("imagenet-classes").path.parent == shipped
    with (shipped / "imagenet-classes.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(NotReady, match=r"imagenet-classes\.json are not the ones that were shipped"):
        models.find("imagenet-classes")
    with pytest.raises(NotReady):
        models.carried()


def test_a_missing_carried_file_is_refused(shipped: Path) -> None:
    (shipped / "imagenet-classes.json").unlink()
    with pytest.raises(NotReady, match="are missing; install foveate again"):
        models.find("imagenet-classes")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="nanodet-g"):
        models.find("yolo")


def test_a_local_path_comes_first_and_its_hash_is_its_revision(remote: Path) -> None:
    found = models.find("nanodet-g", source=ModelSource(path=remote))
    assert (found.path, found.origin, found.licence) == (remote, "local", "not stated")
    assert found.tag == f"nanodet-g@{SHA256[:12]}"


def test_a_folder_comes_before_the_carried_weights(remote: Path) -> None:
    named = remote.rename(remote.parent / "nanodet-g.onnx")
    assert models.find("nanodet-g", folder=named.parent).path == named
    assert models.find("efficientnet-lite0", folder=named.parent).origin == "carried"


def test_a_folder_may_use_the_carried_name(remote: Path) -> None:
    named = remote.rename(remote.parent / "nanodet-g-int8.onnx")
    assert models.find("nanodet-g", folder=named.parent).path == named


def test_a_local_file_with_another_hash_is_refused(remote: Path) -> None:
    assert models.find("own", source=ModelSource(path=remote, sha256=SHA256.upper())).sha256 == SHA256
    with pytest.raises(InvalidInput, match=f"has SHA-256 {SHA256}, not {OTHER}"):
        models.find("own", source=ModelSource(path=remote, sha256=OTHER))


def test_a_local_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="put the file there or correct the path"):
        models.find("own", source=ModelSource(path=tmp_path / "gone.onnx"))


def test_carried_weights_with_another_hash_are_passed_over() -> None:
    with pytest.raises(NotFound):
        models.find("nanodet-g", source=ModelSource(sha256=OTHER))


def test_a_url_with_the_right_hash_is_kept_and_not_fetched_again(remote: Path, tmp_path: Path) -> None:
    source = ModelSource(url=remote.as_uri(), sha256=SHA256, licence="Apache-2.0", revision="7")
    found = models.find("own", source=source, store=tmp_path / "store")
    assert found.path.read_bytes() == BYTES
    assert (found.origin, found.licence, found.tag) == (remote.as_uri(), "Apache-2.0", "own@7")
    remote.unlink()
    assert models.find("own", source=source, store=tmp_path / "store") == found


def test_a_kept_file_that_was_altered_is_fetched_again(remote: Path, tmp_path: Path) -> None:
    source = ModelSource(url=remote.as_uri(), sha256=SHA256, licence="Apache-2.0")
    found = models.find("own", source=source, store=tmp_path / "store")
    found.path.write_bytes(b"altered")
    assert models.find("own", source=source, store=tmp_path / "store").path.read_bytes() == BYTES


def test_a_url_with_the_wrong_hash_leaves_nothing_behind(remote: Path, tmp_path: Path) -> None:
    source = ModelSource(url=remote.as_uri(), sha256=OTHER, licence="Apache-2.0")
    with pytest.raises(InvalidInput, match=f"has SHA-256 {SHA256}, not {OTHER}"):
        models.find("own", source=source, store=tmp_path / "store")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "source",
    [
        ModelSource(url="https://models.example/own.onnx", licence="Apache-2.0"),
        ModelSource(url="https://models.example/own.onnx", sha256=SHA256),
    ],
    ids=["no hash", "no licence"],
)
def test_a_url_needs_a_hash_and_a_licence(source: ModelSource, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="without a SHA-256 and a licence") as caught:
        models.find("own", source=source, store=tmp_path)
    assert is_one_sentence(caught.value)


def test_another_scheme_is_refused(tmp_path: Path) -> None:
    source = ModelSource(url="ftp://models.example/own.onnx", sha256=SHA256, licence="Apache-2.0")
    with pytest.raises(InvalidInput, match="neither https, http nor file"):
        models.find("own", source=source, store=tmp_path)


def test_a_url_where_nothing_lies_may_be_tried_again(tmp_path: Path) -> None:
    source = ModelSource(url=(tmp_path / "gone.onnx").as_uri(), sha256=SHA256, licence="Apache-2.0")
    with pytest.raises(Unreachable, match="try again or give a local path") as caught:
        models.find("own", source=source, store=tmp_path / "store")
    assert caught.value.retry_after > 0
