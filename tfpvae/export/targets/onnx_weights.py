"""The weights of a version's ONNX graphs, each once, in a file beside them.

tf2onnx freezes weights into every graph, and copies them several times while it does so. Here tf2onnx is given graphs
whose weights are inputs. Then each input becomes a constant, and so does what a graph computes from weights alone, such
as the transposed kernel of a convolution. The constants are ONNX's external data in one file, which holds equal arrays
once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx.reference import ReferenceEvaluator

from tfpvae.signatures import WEIGHTS_FILE

SHARED_FROM: Final = 4 * 2**20
"""Where a model's weights have fewer bytes, each graph holds its own, and can be copied alone."""

_SMALL: Final = 1024
"""Arrays of fewer bytes stay in the graphs."""

_ALIGNMENT: Final = 4096
"""Arrays in the file start at multiples of it, so that runtimes can map them into memory."""

_NOT_COMPUTED: Final = {
    "Bernoulli", "Dropout", "If", "Loop", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike", "Scan",
}  # fmt: skip
"""Operators that draw random numbers, or that hold graphs of their own."""


class Weights:
    """The variables of a model, as inputs of its graphs.

    Args:
        model: a built model.

    Attributes:
        specs: the specs of the inputs, with names of their own.
    """

    def __init__(self, model: keras.Model) -> None:
        self._variables = list(model.weights)
        self.specs = [
            tf.TensorSpec(variable.shape, variable.dtype, name=f"weights_{i}")
            for i, variable in enumerate(self._variables)
        ]

    @property
    def nbytes(self) -> int:
        """The bytes of all weights."""
        return sum(spec.dtype.size * spec.shape.num_elements() for spec in self.specs)

    def as_inputs(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function of the same inputs, and after them the weights."""

        def of_all(*inputs: tf.Tensor) -> Any:
            first = len(inputs) - len(self._variables)
            mapping = list(zip(self._variables, inputs[first:], strict=True))
            with keras.StatelessScope(state_mapping=mapping):
                return function(*inputs[:first])

        return of_all

    def values(self) -> dict[str, np.ndarray]:
        """The weights by the names of their inputs, without a copy."""
        tensors = [tf.convert_to_tensor(variable.value) for variable in self._variables]
        return {str(spec.name): np.asarray(memoryview(t)) for spec, t in zip(self.specs, tensors, strict=True)}


class SharedFile:
    """A file of arrays for several graphs in one folder.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / WEIGHTS_FILE
        self._offsets: dict[bytes, int] = {}

    def place(self, array: np.ndarray, name: str) -> onnx.TensorProto:
        """An array as a constant of a graph: what it holds is in the file, once."""
        data = np.ascontiguousarray(array)
        key = hashlib.sha256(data.data).digest()
        if key not in self._offsets:
            with self._path.open("ab") as file:
                file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                self._offsets[key] = file.tell()
                data.tofile(file)
        tensor = onnx.TensorProto(name=name, dims=array.shape, data_location=onnx.TensorProto.EXTERNAL)
        tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        where = {"location": WEIGHTS_FILE, "offset": self._offsets[key], "length": data.nbytes}
        for field, value in where.items():
            tensor.external_data.add(key=field, value=str(value))
        return tensor


def set_weights(model: onnx.ModelProto, weights: Mapping[str, np.ndarray], shared: SharedFile | None) -> None:
    """Makes constants of inputs of a graph, and of what it computes of them alone.

    Args:
        model: the graph. It is changed.
        weights: the values by the names of the inputs, those of other graphs too.
        shared: where large ones go; None leaves all in the graph.
    """
    graph = model.graph
    inputs = [value for value in graph.input if value.name in weights]
    known = {value.name: weights[value.name] for value in inputs}
    for value in inputs:
        graph.input.remove(value)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept = [node for node in graph.node if not _computed(node, known, constants, model.opset_import)]
    del graph.node[:]
    graph.node.extend(kept)
    used = set(_names(graph))
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    for tensor in [tensor for tensor in graph.initializer if len(tensor.raw_data) >= _SMALL]:
        known[tensor.name] = onnx.numpy_helper.to_array(tensor)
        graph.initializer.remove(tensor)
    for name in sorted(used & known.keys()):
        array = known[name]
        if shared is None or array.nbytes < _SMALL:
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        else:
            graph.initializer.append(shared.place(array, name))


def _computed(
    node: onnx.NodeProto,
    known: dict[str, np.ndarray],
    constants: Mapping[str, onnx.TensorProto],
    opsets: Any,
) -> bool:
    """Computes a node of weights and constants alone, and notes its outputs as known; False of any other node."""
    names = [name for name in node.input if name]
    if node.op_type in _NOT_COMPUTED or known.keys().isdisjoint(names):
        return False
    if any(name not in known and name not in constants for name in names):
        return False
    inputs = {name: known[name] if name in known else onnx.numpy_helper.to_array(constants[name]) for name in names}
    versions = {opset.domain: opset.version for opset in opsets}
    outputs = [np.asarray(value) for value in ReferenceEvaluator(node, opsets=versions).run(None, inputs)]
    if sum(value.nbytes for value in outputs) > 2 * sum(value.nbytes for value in inputs.values()):
        return False  # It is larger than what it is made of, as a kernel that is repeated is.
    known.update(zip(node.output, outputs, strict=True))
    return True


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """The names that the nodes of a graph, those of graphs inside nodes too, and its outputs use."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _names(inner)


def write_alone(graph: Path, path: Path) -> None:
    """Copies a graph, with its weights in it.

    Args:
        graph: the graph, in its folder.
        path: the new file.
    """
    onnx.save(onnx.load(graph), path)
