"""ONNX graphs in float16 and int8, made from those in float32.

int8 weights have a scale for each output channel. On processors without VNNI instructions (x86 before 2019) ONNX
Runtime's products of unsigned and signed bytes may saturate, and the error may be larger than where it was measured.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from tfpvae.export.targets.onnx_weights import write_alone

_CONVOLUTIONS: Final = ("Conv", "ConvTranspose")
_PRODUCTS: Final = ("MatMul", "Gemm", *_CONVOLUTIONS)
_IN_FLOAT32: Final = [*DEFAULT_OP_BLOCK_LIST, "IsInf"]
"""What has no float16 form: the converter's own list, and what ONNX gave one after our opset, in 20."""


def write_float16(graph: Path, path: Path) -> str:
    """Writes a graph with weights and activations in float16; inputs, outputs and random numbers stay float32.

    Args:
        graph: the float32 graph.
        path: the file.

    Returns:
        The method.
    """
    model = onnx.load(graph, load_external_data=False)
    before = set(_before_weights(model.graph))
    # The weights are left out: these tools copy the whole graph several times.
    weights = _as_inputs(model.graph, graph.parent)
    model = onnx.shape_inference.infer_shapes(model)
    computed = {name for node in model.graph.node if node.name in before for name in node.output}
    given = {value.name for value in model.graph.input}
    used = {name for node in model.graph.node if node.name not in before for name in node.input}
    # The converter rounds values between two nodes even if it must leave both in float32. So it gets the others alone.
    outputs = [value.name for value in model.graph.output]
    rest = onnx.utils.Extractor(model).extract_model(sorted(used & (computed | given)), outputs)
    own = [value.name for value in (*rest.graph.input, *rest.graph.output) if value.name not in weights]
    with _quiet():
        reduced = OnnxModel(convert_float_to_float16(rest, keep_io_types=own, op_block_list=_IN_FLOAT32))
        reduced.topological_sort()  # The casts of the inputs were put last.
    drawn = [value.name for value in reduced.model.graph.input if value.name in computed]
    if drawn:
        first = onnx.utils.Extractor(model).extract_model([value.name for value in model.graph.input], drawn)
        unused = given - {name for node in first.graph.node for name in node.input}
        for value in [value for value in first.graph.input if value.name in unused]:
            first.graph.input.remove(value)
        del reduced.model.graph.value_info[:]  # It names inputs, which `add_prefix` would rename.
        second = onnx.compose.add_prefix(reduced.model, "float16/", rename_inputs=False, rename_outputs=False)
        whole = onnx.compose.merge_models(first, second, io_map=[(name, name) for name in drawn])
    else:
        whole = reduced.model
    onnx.checker.check_model(whole, full_check=True)
    _fill_in(whole.graph, weights, graph.parent)
    onnx.save(whole, path)
    return "weights and activations"


def _as_inputs(graph: onnx.GraphProto, folder: Path) -> dict[str, onnx.TensorProto]:
    """Turns the weights of products into inputs, and returns their values by name. Other weights are loaded."""
    used = {name for node in graph.node if node.op_type in _PRODUCTS for name in node.input}
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.name in used and len(tensor.dims) > 1}
    for name, tensor in weights.items():
        graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    for tensor in weights.values():
        graph.initializer.remove(tensor)
    for tensor in graph.initializer:
        if onnx.external_data_helper.uses_external_data(tensor):
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    return weights


def _fill_in(graph: onnx.GraphProto, weights: Mapping[str, onnx.TensorProto], folder: Path) -> None:
    """Turns those inputs into constants again, in the type that the graph has for them."""
    for value in [value for value in graph.input if value.name in weights]:
        array = onnx.numpy_helper.to_array(weights[value.name], str(folder))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        graph.input.remove(value)
        graph.initializer.append(onnx.numpy_helper.from_array(array.astype(dtype), value.name))


def write_int8(graph: Path, path: Path, inputs: Mapping[str, np.ndarray]) -> str:
    """Writes a graph in which products with weights are computed in int8.

    In a graph with convolutions, the ranges of activations are those of `inputs`: to measure them in each call costs
    more than int8 gains. In a graph of matrix products alone they are measured in each call, which is more precise.

    Args:
        graph: the float32 graph.
        path: the file.
        inputs: rows of its inputs by name.

    Returns:
        The method, "dynamic" or "static".
    """
    nodes = onnx.load(graph, load_external_data=False).graph.node
    static = any(node.op_type in _CONVOLUTIONS for node in nodes)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        alone, prepared = Path(folder) / "alone.onnx", Path(folder) / "prepared.onnx"
        write_alone(graph, alone)
        quant_pre_process(str(alone), str(prepared), skip_symbolic_shape=True)
        if static:
            rows = _Rows(inputs)
            quantize_static(prepared, path, rows, per_channel=True, op_types_to_quantize=list(_PRODUCTS))
        else:
            quantize_dynamic(prepared, path, per_channel=True)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return "static" if static else "dynamic"


class _Rows(CalibrationDataReader):
    """Gives the inputs once."""

    def __init__(self, inputs: Mapping[str, np.ndarray]) -> None:
        self._batches = iter([dict(inputs)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def has_weights(graph: Path) -> bool:
    """Whether a graph has products with weights: without, there is nothing to reduce."""
    model = onnx.load(graph, load_external_data=False)
    return len(_before_weights(model.graph)) < len(model.graph.node)


def _before_weights(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes that come before all products with weights, such as those that draw random numbers."""
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    after: set[str] = set()
    before = []
    for node in graph.node:  # The checker holds graphs to the order of their computation.
        product = node.op_type in _PRODUCTS and not weights.isdisjoint(node.input)
        if product or not after.isdisjoint(node.input):
            after.update(node.output)
        else:
            before.append(node.name)
    return before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within this, the advice that these tools log and warn of is not shown."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
