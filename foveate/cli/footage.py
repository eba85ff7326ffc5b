"""Whether footage can be played, before a fleet is started on it.

In: a fleet plan. Out: nothing, or BadVideo for the first file that cannot be played. URLs and camera devices are left
to the device, which waits for them and says so.
Knows nothing of what a device does with the pictures.
"""

from __future__ import annotations

from pathlib import Path

from foveate.cli.fleet_plan import FleetPlan
from foveate.errors import BadVideo


def check_playable(plan: FleetPlan) -> None:
    """Decodes one picture of every file in the plan. Blocking."""
    for source in {device.source for device in plan.devices if Path(device.source).is_file()}:
        _check(Path(source))


def _check(path: Path) -> None:
    import av  # FFmpeg takes a while to load, and most commands need none of it

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise BadVideo(f"{path} holds no video; give the path of a video file.", path=str(path))
            if next(container.decode(container.streams.video[0]), None) is not None:
                return
    except (av.FFmpegError, OSError) as error:
        said = (getattr(error, "strerror", None) or str(error)).lower()
        raise BadVideo(f"{path} is no video that can be played ({said}); copy it again.", path=str(path)) from error
    raise BadVideo(f"{path} holds no picture that can be decoded; copy it again.", path=str(path))
