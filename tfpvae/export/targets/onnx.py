"""The ONNX graphs of a version, one a signature, for ONNX Runtime and the browser."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from tfpvae._compat.onnxruntime import ERRORS, REFUSALS
from tfpvae._compat.tf2onnx import from_function
from tfpvae.export.endpoints import Endpoint
from tfpvae.export.targets.base import Target, Task
from tfpvae.export.targets.onnx_operators import HANDLERS
from tfpvae.export.targets.onnx_precision import has_weights, write_float16, write_int8
from tfpvae.export.targets.onnx_weights import SHARED_FROM, SharedFile, Weights, set_weights
from tfpvae.signatures import ONNX_DIRECTORY, WEIGHTS_FILE, Run, Signature, graph_file

OPSET: Final = 18
"""The highest that tf2onnx writes."""


_NO_BFLOAT16: Final = "ONNX Runtime does not compute in bfloat16, as the model's layers do; mixed_float16 it can"


class NoOnnxFormError(Exception):
    """A signature holds operators that ONNX or ONNX Runtime do not have."""


def write_onnx(
    endpoint: Endpoint, path: Path, weights: Weights | None = None, shared: SharedFile | None = None
) -> None:
    """Writes a signature as an ONNX graph with a free batch, and opens it in ONNX Runtime.

    Args:
        endpoint: the signature.
        path: the file.
        weights: those of the model, which are then no part of what tf2onnx converts; None leaves them to it.
        shared: the file in the same folder where they go.

    Raises:
        NoOnnxFormError: it has no ONNX form; no file is left.
    """
    specs, function = list(endpoint.input_signature), endpoint.tf_function
    values: dict[str, np.ndarray] = {}
    if weights is not None:
        specs, values = [*specs, *weights.specs], weights.values()
        function = tf.function(weights.as_inputs(endpoint.function), input_signature=specs, autograph=False)
    model = from_function(function, input_signature=specs, opset=OPSET, custom_op_handlers=HANDLERS)
    # A tensor that the function took from outside, such as a prior's own, has become an input without a value.
    for tensor, inside in function.get_concrete_function().graph.captures:
        if tensor.dtype != tf.resource:
            values[inside.name] = tensor.numpy()
    try:
        onnx.checker.check_model(model, full_check=True)
        set_weights(model, values, shared)
        onnx.save(model, path)
        open_graph(path)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, *REFUSALS) as error:
        path.unlink(missing_ok=True)
        raise NoOnnxFormError(str(error).strip().splitlines()[0]) from error


def open_graph(graph: Path | bytes) -> onnxruntime.InferenceSession:
    """Opens a graph in ONNX Runtime on the CPU, its warnings kept off the terminal."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run_onnx(directory: Path, precision: str = "float32") -> Run:
    """Runs signatures in ONNX Runtime, from the files that `graph_file` names."""

    # One at a time: each holds the weights in memory.
    open_once = functools.lru_cache(maxsize=1)(open_graph)

    def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = open_once(directory / graph_file(name, precision))
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


class Onnx(Target):
    """One graph for each signature, and more of them in float16 and int8."""

    name = "onnx"
    runtime = "ONNX Runtime"
    files = f"{ONNX_DIRECTORY}/"
    errors: ClassVar[tuple[type[Exception], ...]] = ERRORS
    precisions = ("float16", "int8")
    own_section = False

    def lacks(self, signature: Signature) -> str | None:
        if signature.name == "sample_png":
            return "PNG has no ONNX form; tfpvae.edge makes it of sample_mean"
        return super().lacks(signature)

    def write(self, task: Task) -> dict[str, str]:
        directory = task.directory / ONNX_DIRECTORY
        directory.mkdir()
        left_out: dict[str, str] = {}
        weights = Weights(task.model)
        sharing = (weights, SharedFile(directory)) if weights.nbytes >= SHARED_FROM else (None, None)
        for name, endpoint in task.endpoints.items():
            task.progress(f"writing {graph_file(name)}")
            try:
                write_onnx(endpoint, directory / graph_file(name), *sharing)
            except NoOnnxFormError as error:
                left_out[name] = _NO_BFLOAT16 if "bfloat16" in str(error) else str(error)
        return left_out

    def shared_files(self, directory: Path) -> tuple[str, ...]:
        shared = Path(ONNX_DIRECTORY) / WEIGHTS_FILE
        return (shared.as_posix(),) if (directory / shared).is_file() else ()

    @contextlib.contextmanager
    def open(self, directory: Path, signatures: tuple[str, ...]) -> Iterator[Mapping[str, Run]]:
        yield {self.runtime: run_onnx(directory / ONNX_DIRECTORY)}

    def open_reduced(self, directory: Path, precision: str) -> Run:
        return run_onnx(directory / ONNX_DIRECTORY, precision)

    def write_reduced(
        self, directory: Path, signature: str, precision: str, inputs: Mapping[str, np.ndarray]
    ) -> str | None:
        source = directory / ONNX_DIRECTORY / graph_file(signature)
        if not has_weights(source):
            return None
        path = self.reduced_file(directory, signature, precision)
        return write_float16(source, path) if precision == "float16" else write_int8(source, path, inputs)

    def reduced_file(self, directory: Path, signature: str, precision: str) -> Path:
        return directory / ONNX_DIRECTORY / graph_file(signature, precision)


TARGET: Final = Onnx()
