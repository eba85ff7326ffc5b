"""Build `minilm-l6-v2-int8.onnx` from safetensors, without torch: draw BERT in ONNX, then quantise dynamically.

In: the folder of the named package that holds `model.safetensors`. Out: INT8 ONNX, `input_ids` and
`attention_mask` (int64) to `embedding` (384, unit length). No calibration pictures or texts are needed.

    python -m tools.build_text --model FOLDER --out minilm-l6-v2-int8.onnx
"""

from __future__ import annotations

import argparse
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic

from tools.graph import Graph

Weights = dict[str, NDArray[np.float32]]

_LAYERS, _HEADS, _WIDTH = 6, 12, 384


def main() -> None:
    """Read, draw and quantise."""
    parser = argparse.ArgumentParser(description="Build the INT8 text encoder.")
    parser.add_argument("--model", type=Path, required=True, help="folder with model.safetensors")
    parser.add_argument("--float-out", type=Path, help="keep the float32 network here")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        net = options.float_out or Path(folder) / "minilm.onnx"
        draw(read_safetensors(options.model / "model.safetensors"), net)
        quantize_dynamic(
            str(net),
            str(options.out),
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gather"],
        )
    print(f"{options.out}: {options.out.stat().st_size} bytes")


def read_safetensors(path: Path) -> Weights:
    """The float tensors of a safetensors file: a JSON table of offsets, then raw bytes."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    table: dict[str, dict[str, Any]] = json.loads(data[8 : 8 + length])
    table.pop("__metadata__", None)
    tensors: Weights = {}
    for name, entry in table.items():
        if entry["dtype"] == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(data[start:end], "<f4").reshape(entry["shape"])
            tensors[name.removeprefix("bert.")] = values
    return tensors


def draw(weights: Weights, path: Path) -> None:
    """Write the float32 network: embeddings, six layers, mean over the tokens, unit length."""
    graph = Graph()
    for name, value in (("one", 1.0), ("half", 0.5), ("root2", 2.0**-0.5), ("scale", (_WIDTH // _HEADS) ** -0.5)):
        graph.constant(name, np.array(value, np.float32))
    graph.constant("split", np.array([0, 0, _HEADS, _WIDTH // _HEADS], np.int64))
    graph.constant("join", np.array([0, 0, _WIDTH], np.int64))
    graph.constant("axis1", np.array([1], np.int64))
    mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    bias = _mask_bias(graph, mask)
    x = _embed(graph, weights)
    for i in range(_LAYERS):
        x = _layer(graph, weights, x, bias=bias, i=i)
    _pool(graph, x, mask)
    graph.save(
        path,
        inputs={name: (TensorProto.INT64, ["b", "s"]) for name in ("input_ids", "attention_mask")},
        outputs={"embedding": ["b", _WIDTH]},
    )


def _embed(graph: Graph, weights: Weights) -> str:
    words = graph.constant("words", weights["embeddings.word_embeddings.weight"])
    # All tokens are of type 0, so its vector can be added to the positions once and for all.
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    table = graph.constant("places", places)
    shape = graph.node("Shape", ["input_ids"], "shape")
    length = graph.node("Gather", [shape, "axis1"], "length", axis=0)
    zero = graph.constant("zero", np.array([0], np.int64))
    here = graph.node("Slice", [table, zero, length, zero], "here")
    total = graph.node("Add", [graph.node("Gather", [words, "input_ids"], "tokens"), here], "embedded")
    return _norm(graph, weights, total, part="embeddings.LayerNorm", name="x0")


def _mask_bias(graph: Graph, mask: str) -> str:
    """b x 1 x 1 x s: 0 where there is a token, -10,000 where there is padding."""
    axes = graph.constant("axes12", np.array([1, 2], np.int64))
    wide = graph.node("Unsqueeze", [mask, axes], "wide_mask")
    absent = graph.node("Sub", ["one", wide], "absent")
    return graph.node("Mul", [absent, graph.constant("minus", np.array(-1e4, np.float32))], "mask_bias")


def _layer(graph: Graph, weights: Weights, x: str, *, bias: str, i: int) -> str:
    part, name = f"encoder.layer.{i}.", f"l{i}"
    mixed = _attend(graph, weights, x, bias=bias, part=part, name=name)
    out = _linear(graph, weights, mixed, part=f"{part}attention.output.dense", name=f"{name}.out")
    y = graph.node("Add", [out, x], f"{name}.sum")
    y = _norm(graph, weights, y, part=f"{part}attention.output.LayerNorm", name=f"{name}.norm")
    wide = _linear(graph, weights, y, part=f"{part}intermediate.dense", name=f"{name}.wide")
    narrow = _linear(graph, weights, _gelu(graph, wide), part=f"{part}output.dense", name=f"{name}.narrow")
    z = graph.node("Add", [narrow, y], f"{name}.total")
    return _norm(graph, weights, z, part=f"{part}output.LayerNorm", name=f"x{i + 1}")


def _attend(graph: Graph, weights: Weights, x: str, *, bias: str, part: str, name: str) -> str:
    heads = {}
    for role, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        flat = _linear(graph, weights, x, part=f"{part}attention.self.{role}", name=f"{name}.{role}")
        split = graph.node("Reshape", [flat, "split"], f"{flat}.split")
        heads[role] = graph.node("Transpose", [split], f"{flat}.heads", perm=order)
    dots = graph.node("MatMul", [heads["query"], heads["key"]], f"{name}.dots")
    scaled = graph.node("Mul", [dots, "scale"], f"{name}.scaled")
    weighed = graph.node("Softmax", [graph.node("Add", [scaled, bias], f"{name}.masked")], f"{name}.weights")
    mixed = graph.node("MatMul", [weighed, heads["value"]], f"{name}.mixed")
    back = graph.node("Transpose", [mixed], f"{name}.back", perm=[0, 2, 1, 3])
    return graph.node("Reshape", [back, "join"], f"{name}.joined")


def _gelu(graph: Graph, x: str) -> str:
    """Hendrycks and Gimpel's exact form, by the error function."""
    error = graph.node("Erf", [graph.node("Mul", [x, "root2"], f"{x}.root")], f"{x}.erf")
    gate = graph.node("Add", [error, "one"], f"{x}.gate")
    return graph.node("Mul", [graph.node("Mul", [x, gate], f"{x}.gated"), "half"], f"{x}.gelu")


def _linear(graph: Graph, weights: Weights, x: str, *, part: str, name: str) -> str:
    matrix = graph.constant(f"{part}.w", weights[f"{part}.weight"].T)
    bias = graph.constant(f"{part}.b", weights[f"{part}.bias"])
    return graph.node("Add", [graph.node("MatMul", [x, matrix], f"{name}.product"), bias], name)


def _norm(graph: Graph, weights: Weights, x: str, *, part: str, name: str) -> str:
    gain, bias = graph.constant(f"{part}.g", weights[f"{part}.weight"]), weights[f"{part}.bias"]
    inputs = [x, gain, graph.constant(f"{part}.b", bias)]
    return graph.node("LayerNormalization", inputs, name, axis=-1, epsilon=1e-12)


def _pool(graph: Graph, x: str, mask: str) -> None:
    deep = graph.node("Unsqueeze", [mask, graph.constant("axis2", np.array([2], np.int64))], "deep_mask")
    total = graph.node("ReduceSum", [graph.node("Mul", [x, deep], "kept"), "axis1"], "sum", keepdims=0)
    count = graph.node("ReduceSum", [mask, "axis1"], "count", keepdims=1)
    mean = graph.node("Div", [total, count], "mean")
    length = graph.node("ReduceL2", [mean, "axis1"], "norm", keepdims=1)
    graph.node("Div", [mean, length], "embedding")


if __name__ == "__main__":
    main()
