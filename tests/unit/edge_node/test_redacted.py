"""People are hidden at the edge when the device could not, and only then; a refusal is never worked around."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from edge_node.fetch import Clip
from edge_node.redacted import RedactHere
from foveate.errors import BadVideo, FoveateError, NotSupported, Refused, Unreachable
from foveate.messages import ClipHeader, ClipOrder, Place, Representation
from foveate.vision.boxes import Box
from foveate.vision.detect import Detection, Picture

HERE, START = Place("eu-west", "north"), 1_700_000_000.0
PERSON = Box(0.25, 0.25, 0.5, 0.5)


class Finds:
    """A detector that finds a person in the middle of every picture."""

    def detect(self, image: Picture, /) -> tuple[Detection, ...]:
        return (Detection("person", 0.9, PERSON),)


class Device:
    """A camera with ten seconds of noise, which it gives as FRAMES unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.film = _noise(folder / "film.mp4")
        self.errors: dict[Representation, FoveateError] = {}
        self.asked: list[Representation] = []
        self.forgotten: list[str] = []

    async def order(self, order: ClipOrder, *, timeout: float) -> Clip:
        self.asked.append(order.representation)
        assert timeout > 0
        if order.representation in self.errors:
            raise self.errors[order.representation]
        size, digest = self.film.stat().st_size, hashlib.sha256(self.film.read_bytes()).digest()
        header = ClipHeader(
            "theirs", order.device_id, START, START + 10, size, digest, "video/mp4", order.representation, 0, 100.0
        )
        return Clip(header, self.film)

    async def pull(
        self, device_id: str, *, start: float, end: float, representation: Representation, timeout: float
    ) -> Clip:
        return await self.order(ClipOrder("theirs", device_id, start, end, HERE, representation), timeout=timeout)

    def forget(self, clip_id: str) -> None:
        self.forgotten.append(clip_id)


class Guard:
    """Says yes to everything, or no with a rule."""

    def __init__(self) -> None:
        self.refuses = False

    def check_clip(self, device_id: str, representation: Representation, destination: Place) -> None:
        if self.refuses:
            raise Refused("It stays.", rule="stays")


def _noise(path: Path) -> Path:
    random = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt, video.bit_rate = 160, 120, "yuv420p", 8_000_000
        image = random.integers(0, 255, (15, 20, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        for _ in range(100):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
    return path


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
def made(device: Device, guard: Guard, tmp_path: Path) -> Callable[[], RedactHere]:
    def build() -> RedactHere:
        egress: object = guard
        return RedactHere(
            device, pulls=device, detector=Finds(), egress=egress, here=HERE, folder=tmp_path / "redacted"
        )  # type: ignore[arg-type]

    return build


ORDER = ClipOrder("clip-1", "cam-1", START + 2.0, START + 5.0, Place("eu-west"), Representation.REDACTED_FRAMES)


async def test_what_the_device_hid_itself_is_passed_on(made: Callable[[], RedactHere], device: Device) -> None:
    clip = await made().order(ORDER, timeout=10)
    assert clip.path == device.film
    assert device.asked == [Representation.REDACTED_FRAMES]


@pytest.mark.parametrize("error", [NotSupported("No detector."), Unreachable("Too late."), BadVideo("Not coded.")])
async def test_people_are_hidden_here_when_the_device_could_not(
    made: Callable[[], RedactHere], device: Device, error: FoveateError
) -> None:
    device.errors[Representation.REDACTED_FRAMES] = error
    redacting = made()
    clip = await redacting.order(ORDER, timeout=10)
    header = clip.header
    assert (header.clip_id, header.representation) == ("clip-1", Representation.REDACTED_FRAMES)
    assert header.start == pytest.approx(START + 2.0, abs=0.11)
    assert header.end == pytest.approx(START + 5.0)
    assert header.media_offset == pytest.approx(102.0, abs=0.11)
    assert header.sha256 == hashlib.sha256(clip.path.read_bytes()).digest()
    with av.open(str(clip.path)) as container:
        pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert 8 <= len(pictures) <= 10
    for picture in pictures:
        assert np.ptp(picture[48:72, 64:96]) < 0.8 * np.ptp(picture[:, :24])
    assert device.forgotten == ["theirs"]
    redacting.forget("clip-1")
    assert not clip.path.exists()


async def test_a_pull_is_made_here_as_well(made: Callable[[], RedactHere], device: Device) -> None:
    device.errors[Representation.REDACTED_FRAMES] = NotSupported("No detector.")
    form = Representation.REDACTED_FRAMES
    clip = await made().pull("cam-1", start=START, end=START + 2, representation=form, timeout=10)
    assert clip.header.representation is form
    assert clip.path != device.film


async def test_frames_that_may_not_come_here_leave_the_device_s_own_reason(
    made: Callable[[], RedactHere], device: Device
) -> None:
    device.errors = {
        Representation.REDACTED_FRAMES: NotSupported("No detector."),
        Representation.FRAMES: Refused("It stays on the device.", rule="stays"),
    }
    with pytest.raises(NotSupported, match="No detector"):
        await made().order(ORDER, timeout=10)


async def test_what_may_not_go_there_is_not_made(made: Callable[[], RedactHere], device: Device, guard: Guard) -> None:
    device.errors[Representation.REDACTED_FRAMES] = Unreachable("Too late.")
    guard.refuses = True
    with pytest.raises(Unreachable):
        await made().order(ORDER, timeout=10)
    assert device.asked == [Representation.REDACTED_FRAMES]


async def test_a_refusal_of_the_device_is_not_worked_around(made: Callable[[], RedactHere], device: Device) -> None:
    device.errors[Representation.REDACTED_FRAMES] = Refused("It stays.", rule="stays")
    with pytest.raises(Refused):
        await made().order(ORDER, timeout=10)
    assert device.asked == [Representation.REDACTED_FRAMES]


async def test_an_unreadable_clip_leaves_nothing_behind(
    made: Callable[[], RedactHere], device: Device, tmp_path: Path
) -> None:
    device.errors[Representation.REDACTED_FRAMES] = NotSupported("No detector.")
    device.film.write_bytes(b"no film")
    with pytest.raises(NotSupported):
        await made().order(ORDER, timeout=10)
    assert list((tmp_path / "redacted").iterdir()) == []


async def test_other_forms_pass_through(made: Callable[[], RedactHere], device: Device) -> None:
    device.errors[Representation.FRAMES] = NotSupported("No.")
    with pytest.raises(NotSupported):
        await made().pull("cam-1", start=START, end=START + 1, representation=Representation.FRAMES, timeout=5)
    assert device.asked == [Representation.FRAMES]
