"""Each part of ONNX Runtime and tf2onnx that `tfpvae._compat` uses is still as it was."""

from __future__ import annotations

import logging
import os

import numpy as np
import onnx
import onnxruntime
import pytest

from tfpvae._compat import onnxruntime as compat_runtime
from tfpvae._compat import tf2onnx as compat_tf2onnx


def graph(operator: str, domain: str = "") -> bytes:
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    node = onnx.helper.make_node(operator, ["x"], ["y"], domain=domain)
    opsets = [onnx.helper.make_opsetid("", 18)] + ([onnx.helper.make_opsetid(domain, 1)] if domain else [])
    made = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=9)
    return made.SerializeToString()


@pytest.mark.parametrize("model", [graph("NoSuchOperator"), graph("Abs", "no.such.domain")])
def test_a_graph_of_unknown_operators_is_refused(model):
    with pytest.raises(compat_runtime.REFUSALS):
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def test_damaged_files_and_wrong_inputs_are_errors():
    with pytest.raises(compat_runtime.ERRORS):
        onnxruntime.InferenceSession(b"no graph", providers=["CPUExecutionProvider"])
    session = onnxruntime.InferenceSession(graph("Abs"), providers=["CPUExecutionProvider"])
    with pytest.raises(compat_runtime.ERRORS):
        session.run(None, {"x": np.ones((2, 2, 2), np.float32)})


def test_names_are_unique():
    assert compat_tf2onnx.unique_name("a") != compat_tf2onnx.unique_name("a")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.bool_])
def test_numpys_types(dtype):
    onnx_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    assert np.dtype(compat_tf2onnx.numpy_type(onnx_type)) == dtype


def test_a_conversion_logs_nothing_and_leaves_the_environment_as_it_was(caplog):
    import tensorflow as tf
    import tf2onnx

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def function(x):
        return tf.math.bessel_i0e(x)  # ONNX has no form of it.

    caplog.set_level(logging.WARNING, logger="tf2onnx")

    def messages():
        return [record.getMessage() for record in caplog.records if record.name.startswith("tf2onnx")]

    level, environment = logging.getLogger("tf2onnx").level, dict(os.environ)
    model = compat_tf2onnx.from_function(function, input_signature=function.input_signature, opset=18)
    assert [value.name for value in model.graph.input] == ["x"]
    assert messages() == []
    assert logging.getLogger("tf2onnx").level == level
    assert dict(os.environ) == environment
    tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=18)
    assert any("BesselI0e" in message for message in messages())


def test_the_graph_is_not_copied_but_where_an_optimiser_fails(monkeypatch):
    import tensorflow as tf
    import tf2onnx.optimizer as of_tf2onnx

    copies, failures = [], []
    copy_of = of_tf2onnx.copy.deepcopy
    counts = type("copy", (), {"deepcopy": staticmethod(lambda value: copies.append(type(value)) or copy_of(value))})
    monkeypatch.setattr(of_tf2onnx, "copy", counts)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def function(x):
        return x + 1.0

    def convert():
        return compat_tf2onnx.from_function(function, input_signature=function.input_signature, opset=18)

    assert [node.op_type for node in convert().graph.node] == ["Add"]
    assert tf2onnx_graph() not in copies

    def fails(self, graph, iteration):
        failures.append(iteration)
        raise RuntimeError("an optimiser's own fault")

    monkeypatch.setattr(of_tf2onnx.EinsumOptimizer, "optimize", fails)
    assert [node.op_type for node in convert().graph.node] == ["Add"]
    assert len(failures) >= 2
    assert tf2onnx_graph() in copies


def tf2onnx_graph():
    from tf2onnx.graph import Graph

    return Graph
