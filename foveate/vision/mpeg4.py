"""MPEG-4 part 2, in which a picture is coded again after something in it was hidden.

In: a container or nothing, and a size. Out: a stream or codec that is ready to encode. FFmpeg's own encoder: nothing
to license, 1 to 1.5 ms a picture of 768x576, and played everywhere. It does not know what was hidden.
Next: `blur.py`, and the device's `burn.py` and `masked_camera.py`, which encode with it.
"""

from __future__ import annotations

from fractions import Fraction

from av.container import OutputContainer
from av.video.stream import VideoStream

TICK = Fraction(1, 1000)
"""Times of coded pictures count these (seconds); the codec allows at most 65,535 a second."""

# One quantiser for all pictures: the codec's rate control takes ticks for pictures. Measured on PETS09-S2L1
# (768x576, 10/s): 4 gives 0.64 Mbit/s at 43 dB of what the camera coded with 0.82 Mbit/s.
_QUANTISER = "4"
_GROUP = 50


def add_video(output: OutputContainer, *, width: int, height: int, fps: Fraction | int) -> VideoStream:
    """A video stream of one thread; pictures go in as yuv420p with times in TICKs. `fps` is what players are told."""
    stream = output.add_stream("mpeg4", rate=fps, options={"qmin": _QUANTISER, "qmax": _QUANTISER})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = TICK
    stream.codec_context.gop_size = _GROUP
    stream.codec_context.thread_count = 1
    return stream
