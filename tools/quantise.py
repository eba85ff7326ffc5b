"""Static INT8 quantisation in the one form that was faster here: unsigned activations, signed weights, per channel.

In: a float ONNX file and a folder of pictures from the place where the net will work. Out: an INT8 ONNX file
(QDQ). It does not know how a net wants its input: the builder passes the function that the net's own class uses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization import quantize_static as ort_quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

Prepare = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def quantise(*, net: Path, pictures: Path, prepare: Prepare, out: Path, only: list[str] | None = None) -> None:
    """Write `net` as INT8 to `out`, calibrated by the smallest and largest value on `pictures`.

    `only` names the operators to quantise (default: all that can be). SystemExit when the folder holds no picture.
    """
    batches = [prepare(picture) for picture in _read(pictures)]
    if not batches:
        raise SystemExit(f"{pictures} holds no .jpg or .png; give a folder of at least 50 varied pictures.")
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean.onnx"
        # Symbolic inference wants sympy and is of no use to nets whose only free size is the batch.
        quant_pre_process(str(net), str(clean), skip_symbolic_shape=True)
        ort_quantize_static(
            str(clean),
            str(out),
            _Batches(batches, name=_input_name(clean)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=only,
        )


def _read(folder: Path) -> Iterator[NDArray[np.uint8]]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            with Image.open(path) as picture:
                yield np.asarray(picture.convert("RGB"), np.uint8)


def _input_name(net: Path) -> str:
    return str(onnx.load(str(net)).graph.input[0].name)


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # the library is untyped
    """Hands the prepared pictures to the quantiser, one at a time."""

    def __init__(self, batches: list[NDArray[np.float32]], *, name: str) -> None:
        self._feeds = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict[str, Any] | None:
        """The next input, or None after the last."""
        return next(self._feeds, None)
