"""A kill at any point: what was recorded before is there after, once; no file is unknown and no row without file."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent import protect, record
from device_agent.index import Index
from device_agent.record import Recorder
from device_agent.rules import Retention
from device_agent.writing import Writing
from foveate.messages import Priority
from tests.unit.device_agent.fakes import START, JumpingClock, camera, make_video, payloads

_AMPLE = Retention(max_bytes=1 << 30)


class _Killed(BaseException):
    """Nothing in the agent may handle it."""


@dataclass
class _Fuse:
    """Ends the process, as it were, at its `at`-th step: what is on disk then is what the next process finds."""

    ring: Path
    at: int
    wreck: Path
    steps: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            shutil.copytree(self.ring, self.wreck)
            raise _Killed

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*values: Any, **named: Any) -> Any:
            self.step()
            result = function(*values, **named)
            self.step()
            return result

        return stepped


@contextlib.contextmanager
def _fused(fuse: _Fuse) -> Iterator[None]:
    """Before and after each change to the disk."""
    with contextlib.ExitStack() as stack:
        for owner, name in (
            (Index, "change"),
            (Path, "unlink"),
            (Writing, "__init__"),
            (Writing, "write"),
            (Writing, "close"),
            (protect.os, "replace"),
            (record, "settled"),
        ):
            stack.enter_context(mock.patch.object(owner, name, fuse.around(getattr(owner, name))))
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("source") / "v.mp4", seconds=5, gop=5, codec="libx264")


@dataclass
class _Done:
    """What a recorder had confirmed when it was killed: how many packets, and which spans matter."""

    packets: int = 0
    spans: list[tuple[float, float]] = field(default_factory=list)


def _live(ring: Path, source: Path, done: _Done, *, retention: Retention) -> None:
    """A recorder's life: it opens, records, protects and ends."""
    recorder = Recorder(ring, retention=retention, free_bytes=lambda _: 1 << 40)
    _WRECKED.append(recorder)
    for number, packet in enumerate(camera(source).packets()):
        recorder.record(packet)
        done.packets += 1
        if number % 20 == 7:
            span = (packet.time - 0.1, packet.time + 0.5)
            recorder.protect(*span, Priority.HIGH)
            done.spans.append(span)
    recorder.close()


# A killed process closes nothing: its files must not be completed by the garbage collector before they are looked at.
_WRECKED: list[Recorder] = []


def _found(recorder: Recorder) -> list[bytes]:
    """Every coded picture on disk in the order of recording."""
    return [data for item in recorder._segments.all() for data in payloads(recorder._segments.path(item), "video")]


def _assert_settled(ring: Path, recorder: Recorder) -> None:
    rows = recorder._segments.all()
    assert sorted(item.name for item in rows) == sorted(path.name for path in ring.glob("*.nut"))
    assert all(item.end is not None and item.size_bytes > 0 for item in rows)
    assert {path.name for path in ring.iterdir()} - {item.name for item in rows} <= {
        "index.sqlite",
        "index.sqlite-wal",
        "index.sqlite-shm",
        "protected.txt",
        "protected.part",
    }


@given(at=st.integers(min_value=1, max_value=170))
@settings(max_examples=25, deadline=None)
def test_a_kill_at_any_point_loses_nothing_and_repeats_nothing(source: Path, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ring, wreck, done = Path(folder, "ring"), Path(folder, "wreck"), _Done()
        fuse = _Fuse(ring, at, wreck)
        with _fused(fuse), contextlib.suppress(_Killed):
            _live(ring, source, done, retention=_AMPLE)
        if not wreck.exists():
            return
        again = Recorder(wreck, retention=_AMPLE, free_bytes=lambda _: 1 << 40)
        _assert_settled(wreck, again)
        whole = [bytes(p.data) for p in camera(source).packets()]
        found = _found(again)
        assert found in (whole[: done.packets], whole[: done.packets + 1])
        for item in again._segments.all():
            if any(item.start <= end and (item.end or 0) >= start for start, end in done.spans):
                assert item.priority == Priority.HIGH
        # The next life goes on after the gap that the kill made.
        held = again.held()
        for packet in camera(source, clock=JumpingClock(START + 60)).packets():
            again.record(packet)
        again.pause()
        assert _found(again) == found + whole
        if held is not None:
            (gap,) = again.gaps()
            assert (gap.start, gap.end, gap.reason) == (held[1], START + 60, "The agent was not running.")
        _WRECKED.clear()


@given(at=st.integers(min_value=1, max_value=400), again_at=st.integers(min_value=1, max_value=60))
@settings(max_examples=25, deadline=None)
def test_killed_while_deleting_and_killed_again_while_recovering(source: Path, at: int, again_at: int) -> None:
    """A small ring, so that segments are dropped all the time; protected ones are still held afterwards."""
    tight = Retention(max_bytes=source.stat().st_size // 3)
    with tempfile.TemporaryDirectory() as folder:
        ring, wreck, wreckage = Path(folder, "ring"), Path(folder, "wreck"), Path(folder, "wreckage")
        with _fused(_Fuse(ring, at, wreck)), contextlib.suppress(_Killed):
            _live(ring, source, _Done(), retention=tight)
        left = wreck if wreck.exists() else ring
        with _fused(_Fuse(left, again_at, wreckage)), contextlib.suppress(_Killed):
            _WRECKED.append(Recorder(left, retention=tight, free_bytes=lambda _: 1 << 40))
        left = wreckage if wreckage.exists() else left
        last = Recorder(left, retention=tight, free_bytes=lambda _: 1 << 40)
        _assert_settled(left, last)
        found, whole = _found(last), [bytes(p.data) for p in camera(source).packets()]
        assert not Counter(found) - Counter(whole)  # nothing twice; still pictures of a still scene are alike
        last.close()
        _WRECKED.clear()


def test_a_file_cut_short_anywhere_is_whole_up_to_its_last_packet(source: Path, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "ring", retention=_AMPLE, free_bytes=lambda _: 1 << 40)
    for packet in camera(source).packets():
        recorder.record(packet)
        if packet.time > START + 1.5:
            break
    (path,) = (tmp_path / "ring").glob("*.nut")
    content, whole = path.read_bytes(), payloads(path, "video")
    for size in range(400, len(content), 97):
        wreck = tmp_path / f"{size}"
        shutil.copytree(tmp_path / "ring", wreck)
        (wreck / path.name).write_bytes(content[:size])
        again = Recorder(wreck, retention=_AMPLE, free_bytes=lambda _: 1 << 40)
        if again.held() is not None:
            cut = again.cut(START, START + 9, target=wreck / "clip")
            found = payloads(cut.path, "video")
            assert found == whole[: len(found)]
            with av.open(str(cut.path)) as container:
                assert sum(1 for _ in container.decode(video=0)) == len(found)
        again.close()
    recorder.close()
