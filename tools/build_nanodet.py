"""Build `nanodet-g-int8.onnx` from the TensorFlow.js graph of the named package: translate, then quantise.

In: `nanodet.json` with its `.bin` beside it, and pictures. Out: INT8 ONNX with three score maps (80 classes) and
three maps of 4 x 11 bins. It translates the operators that this graph uses and refuses any other by name.

    python -m tools.build_nanodet --graph package/models/nanodet.json --pictures FOLDER --out nanodet-g-int8.onnx
"""

from __future__ import annotations

import argparse
import base64
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from foveate.vision.detect import letterbox
from tools.graph import Graph
from tools.quantise import quantise

Weights = dict[str, NDArray[Any]]
Node = dict[str, Any]

_OUTPUTS = {
    "Identity": (2704, 80),
    "Identity_1": (676, 80),
    "Identity_2": (169, 80),
    "Identity_3": (2704, 44),
    "Identity_4": (676, 44),
    "Identity_5": (169, 44),
}


def main() -> None:
    """Translate and quantise."""
    parser = argparse.ArgumentParser(description="Build the INT8 detector.")
    parser.add_argument("--graph", type=Path, required=True, help="nanodet.json")
    parser.add_argument("--pictures", type=Path, required=True, help="calibration pictures, .jpg or .png")
    parser.add_argument("--float-out", type=Path, help="keep the float32 network here")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        net = options.float_out or Path(folder) / "nanodet.onnx"
        translate(options.graph, net)
        quantise(
            net=net,
            pictures=options.pictures,
            prepare=lambda picture: letterbox(picture)[0],
            out=options.out,
            only=["Conv"],
        )
    print(f"{options.out}: {options.out.stat().st_size} bytes")


def translate(source: Path, path: Path) -> None:
    """Write the TensorFlow.js graph `source` as float32 ONNX; SystemExit names an operator that has no rule."""
    model = json.loads(source.read_text("utf-8"))
    weights = _weights(model["weightsManifest"], source.parent)
    graph = Graph()
    for node in model["modelTopology"]["node"]:
        rule = _RULES.get(node["op"])
        if rule is None:
            raise SystemExit(f"{source} uses {node['op']}, which this builder cannot translate; add a rule for it.")
        rule(graph, node, weights)
    graph.save(
        path,
        inputs={"input_1": (TensorProto.FLOAT, [1, 3, 416, 416])},
        outputs={name: [1, *shape] for name, shape in _OUTPUTS.items()},
    )


def _weights(manifest: list[Any], folder: Path) -> Weights:
    """Every tensor of the manifest; float16 storage is widened to float32."""
    raw = b"".join((folder / path).read_bytes() for group in manifest for path in group["paths"])
    weights, offset = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        halved = entry.get("quantization", {}).get("dtype") == "float16"
        stored = np.dtype("<f2" if halved else {"float32": "<f4", "int32": "<i4"}[entry["dtype"]])
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(raw, stored, count, offset).reshape(entry["shape"])
        weights[entry["name"]] = values.astype(np.float32) if halved else values
        offset += count * stored.itemsize
    if offset != len(raw):
        raise SystemExit(f"The weights in {folder} are {len(raw)} bytes, not {offset}; fetch the package again.")
    return weights


def _inputs(node: Node) -> list[str]:
    return [name.removesuffix(":0") for name in node.get("input", []) if not name.startswith("^")]


def _numbers(node: Node, key: str) -> list[int]:
    return [int(value) for value in node["attr"][key]["list"]["i"]]


def _valid_padding(node: Node) -> None:
    if base64.b64decode(node["attr"]["padding"]["s"]) != b"VALID":
        raise SystemExit(f"{node['name']} pads by itself; this builder knows only graphs with padding of their own.")


def _constant(graph: Graph, node: Node, weights: Weights) -> None:
    graph.constant(node["name"], weights[node["name"]])


def _placeholder(graph: Graph, node: Node, weights: Weights) -> None:
    """The input, declared when the graph is saved."""


def _conv(graph: Graph, node: Node, weights: Weights) -> None:
    """NHWC in TensorFlow, NCHW in ONNX: transposed around, which the optimiser cancels between neighbours."""
    _valid_padding(node)
    x, kernel = _inputs(node)
    name = node["name"]
    turned = graph.constant(f"{name}/w", weights[kernel].transpose(3, 2, 0, 1))
    inner = graph.node("Transpose", [x], f"{name}/in", perm=[0, 3, 1, 2])
    strides, dilations = _numbers(node, "strides")[1:3], _numbers(node, "dilations")[1:3]
    y = graph.node("Conv", [inner, turned], f"{name}/conv", strides=strides, dilations=dilations)
    graph.node("Transpose", [y], name, perm=[0, 2, 3, 1])


def _max_pool(graph: Graph, node: Node, weights: Weights) -> None:
    _valid_padding(node)
    name = node["name"]
    inner = graph.node("Transpose", _inputs(node), f"{name}/in", perm=[0, 3, 1, 2])
    kernel, strides = _numbers(node, "ksize")[1:3], _numbers(node, "strides")[1:3]
    y = graph.node("MaxPool", [inner], f"{name}/pool", kernel_shape=kernel, strides=strides)
    graph.node("Transpose", [y], name, perm=[0, 2, 3, 1])


def _resize(graph: Graph, node: Node, weights: Weights) -> None:
    x, size = _inputs(node)
    name, attributes = node["name"], node["attr"]
    mode = "asymmetric"
    if attributes.get("align_corners", {}).get("b"):
        mode = "align_corners"
    elif attributes.get("half_pixel_centers", {}).get("b"):
        mode = "half_pixel"
    inner = graph.node("Transpose", [x], f"{name}/in", perm=[0, 3, 1, 2])
    shape = graph.node("Shape", [inner], f"{name}/shape", end=2)
    target = graph.constant(f"{name}/target", weights[size].astype(np.int64))
    full = graph.node("Concat", [shape, target], f"{name}/size", axis=0)
    y = graph.node(
        "Resize", [inner, "", "", full], f"{name}/resize", mode="linear", coordinate_transformation_mode=mode
    )
    graph.node("Transpose", [y], name, perm=[0, 2, 3, 1])


def _concat(graph: Graph, node: Node, weights: Weights) -> None:
    *parts, axis = _inputs(node)
    graph.node("Concat", parts, node["name"], axis=int(weights[axis]))


def _reshape(graph: Graph, node: Node, weights: Weights) -> None:
    x, shape = _inputs(node)
    graph.node("Reshape", [x, graph.constant(f"{node['name']}/shape", weights[shape].astype(np.int64))], node["name"])


def _transpose(graph: Graph, node: Node, weights: Weights) -> None:
    x, order = _inputs(node)
    graph.node("Transpose", [x], node["name"], perm=[int(axis) for axis in weights[order]])


def _pad(graph: Graph, node: Node, weights: Weights) -> None:
    x, widths, *value = _inputs(node)
    pads = np.concatenate([weights[widths][:, 0], weights[widths][:, 1]]).astype(np.int64)
    graph.node("Pad", [x, graph.constant(f"{node['name']}/pads", pads), *value], node["name"])


def _split(graph: Graph, node: Node, weights: Weights) -> None:
    x, sizes, axis = _inputs(node)
    parts = graph.constant(f"{node['name']}/sizes", weights[sizes].astype(np.int64))
    graph.node("Split", [x, parts], node["name"], outputs=len(weights[sizes]), axis=int(weights[axis]))


def _sparse_to_dense(graph: Graph, node: Node, weights: Weights) -> None:
    """A table of paddings, known in advance: later nodes read it as a constant."""
    places, shape, values, default = (weights[name] for name in _inputs(node))
    dense = np.full(shape, default, values.dtype)
    dense[tuple(np.atleast_2d(places.T))] = values
    weights[node["name"]] = dense
    graph.constant(node["name"], dense)


def _add(graph: Graph, node: Node, weights: Weights) -> None:
    first, second = _inputs(node)
    if first in weights and second in weights:  # a shape, put together from known parts
        weights[node["name"]] = weights[first] + weights[second]
        graph.constant(node["name"], weights[node["name"]])
    else:
        graph.node("Add", [first, second], node["name"])


def _leaky(graph: Graph, node: Node, weights: Weights) -> None:
    graph.node("LeakyRelu", _inputs(node), node["name"], alpha=float(node["attr"]["alpha"]["f"]))


def _same_name(kind: str) -> Callable[[Graph, Node, Weights], None]:
    def rule(graph: Graph, node: Node, weights: Weights) -> None:
        graph.node(kind, _inputs(node), node["name"])

    return rule


_RULES: dict[str, Callable[[Graph, Node, Weights], None]] = {
    "Const": _constant,
    "Placeholder": _placeholder,
    "Conv2D": _conv,
    "MaxPool": _max_pool,
    "ResizeBilinear": _resize,
    "ConcatV2": _concat,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Pad": _pad,
    "PadV2": _pad,
    "SplitV": _split,
    "SparseToDense": _sparse_to_dense,
    "LeakyRelu": _leaky,
    "Add": _add,
    "AddV2": _add,
    "Sigmoid": _same_name("Sigmoid"),
    "Identity": _same_name("Identity"),
}


if __name__ == "__main__":
    main()
