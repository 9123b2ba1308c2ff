"""Parts of tf2onnx that its documentation does not name, and what it changes of the process."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from tf2onnx import utils

from tfpvae._logs import log_level

_TENSORFLOW_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_CATCH_ERRORS = "TF2ONNX_CATCH_ERRORS"
_LOGGER = logging.getLogger("tf2onnx")


def from_function(function: Any, **options: Any) -> Any:
    """`tf2onnx.convert.from_function`, with the process left as it was.

    tf2onnx sets TensorFlow's log level in the environment when its converter is imported. It logs the operators that
    it cannot convert, goes on all the same and raises nothing: whoever uses the graph finds them.

    Unless its own switch is off, it copies the whole graph, weights included, before each of its optimisers, so that it
    can go on without one that fails: a quarter of the time, and many times the memory of the weights. So it is off, and
    on for the graph in which an optimiser fails.

    Args:
        function: the `tf.function`.
        **options: the arguments of `tf2onnx.convert.from_function`.

    Returns:
        The `onnx.ModelProto`.
    """
    with _unchanged_environment(_TENSORFLOW_LOG_LEVEL, _CATCH_ERRORS), log_level(_LOGGER, logging.CRITICAL):
        from tf2onnx import convert

        os.environ[_CATCH_ERRORS] = "FALSE"
        try:
            return convert.from_function(function, **options)[0]
        except Exception:  # noqa: BLE001 - whatever one of its optimisers raises; it goes on without that one.
            del os.environ[_CATCH_ERRORS]
            return convert.from_function(function, **options)[0]


@contextlib.contextmanager
def _unchanged_environment(*names: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def unique_name(prefix: str) -> str:
    """A name that no node of the graph has."""
    return utils.make_name(prefix)


def numpy_type(onnx_type: int) -> Any:
    """NumPy's type for a type of ONNX."""
    return utils.map_onnx_to_numpy_type(onnx_type)
