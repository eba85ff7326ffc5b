"""Step 1, capture: packets of one camera, each with its time, from a file, a folder, an RTSP URL or a V4L2 device.

In: a source as the user names it. Out: `Packet`s in the order in which they were recorded, for ever or to a file's
end, and a `Condition` that says in one sentence what is wrong. It decodes nothing and knows nothing of what is seen.
Next: `record.py`, which keeps every packet, and `frames.py`, which decodes them for `look.py`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

from device_agent.cameras import file
from device_agent.cameras.demux import parameter_sets
from device_agent.cameras.file import FileCamera
from device_agent.cameras.folder import FolderCamera, read_folder
from device_agent.cameras.live import PATIENCE_S, LiveCamera, hidden
from device_agent.cameras.packet import Camera, Condition, OnGap, Packet, Streams, no_gap
from device_agent.clock import Clock
from foveate.errors import InvalidInput

__all__ = [
    "PATIENCE_S",
    "Camera",
    "Condition",
    "FileCamera",
    "FolderCamera",
    "LiveCamera",
    "OnGap",
    "Packet",
    "Streams",
    "hidden",
    "open_camera",
    "parameter_sets",
    "read_file",
]


def open_camera(
    source: str,
    *,
    loop: bool,
    speed: float,
    clock: Clock,
    stop: threading.Event,
    on_gap: OnGap = no_gap,
) -> Camera:
    """The camera that `source` names; BadVideo or InvalidInput for one that can never start.

    A path that ends in a slash, or is a folder, plays pictures; `loop` and `speed` are for files and folders.
    """
    if "://" in source or source.startswith("/dev/"):
        return LiveCamera(source, clock=clock, stop=stop, on_gap=on_gap)
    if not (math.isfinite(speed) and speed > 0):
        raise InvalidInput(f"The speed {speed} is not above 0; set FOVEATE_DEVICE_SPEED to 1 for real time.")
    kind = FolderCamera if source.endswith("/") or Path(source).is_dir() else FileCamera
    return kind(Path(source), loop=loop, speed=speed, clock=clock, stop=stop, on_gap=on_gap)


def read_file(path: Path, *, base: float, stop: threading.Event | None = None) -> Iterator[Packet]:
    """Every packet of one pass over a file or a folder of pictures, as fast as it can be read, without a clock.

    The first picture lies at `base` (Unix seconds). BadVideo for what is no video. What is damaged is stepped over,
    as when it is played. Blocking; set `stop` to end early.
    """
    read = read_folder if path.is_dir() else file.read_file
    return read(path, base=base, stop=stop)
