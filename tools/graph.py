"""A small pen for writing ONNX graphs: nodes and constants by name, checked when saved.

In: calls to `node` and `constant`. Out: an ONNX file. It does not know which net is drawn. Next: the builders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
Shape = list[int | str]
Attribute = int | float | list[int] | str


def _make_node(
    kind: str, inputs: list[str], outputs: list[str], name: str, attributes: dict[str, Attribute]
) -> onnx.NodeProto:
    node = helper.make_node(kind, inputs, outputs, name=name)
    node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
    return node


class Graph:
    """Nodes in the order in which they are written; each output carries its node's name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Keep `value` under `name`; returns the name."""
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind: str, inputs: list[str], name: str, *, outputs: int = 1, **attributes: Attribute) -> str:
        """Append an operator; its first output is called `name`, later ones `name:1`, `name:2` and so on."""
        names = [name] + [f"{name}:{i}" for i in range(1, outputs)]
        self._nodes.append(_make_node(kind, inputs, names, name, attributes))
        return name

    def save(self, path: Path, *, inputs: dict[str, tuple[int, Shape]], outputs: dict[str, Shape]) -> None:
        """Check and write the graph; `inputs` are (element type, shape), outputs are float."""
        used = {name for node in self._nodes for name in node.input}
        graph = helper.make_graph(
            self._nodes,
            path.stem,
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [tensor for name, tensor in self._constants.items() if name in used],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
