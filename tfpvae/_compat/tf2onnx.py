"""Parts of tf2onnx that its documentation does not name."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from tf2onnx import utils


def unique_name(prefix: str) -> str:
    """A name that no node of the graph has."""
    return utils.make_name(prefix)


def numpy_type(onnx_type: int) -> Any:
    """NumPy's type for a type of ONNX."""
    return utils.map_onnx_to_numpy_type(onnx_type)


@contextlib.contextmanager
def without_log() -> Iterator[None]:
    """Keeps back what tf2onnx logs of operators that it cannot convert; it goes on all the same, and raises nothing."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
