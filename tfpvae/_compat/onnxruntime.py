"""Private parts of ONNX Runtime: its exceptions, which have no public names."""

from __future__ import annotations

from typing import Final

from onnxruntime.capi import onnxruntime_pybind11_state as _state

REFUSALS: Final[tuple[type[Exception], ...]] = (
    _state.Fail,
    _state.InvalidGraph,
    _state.InvalidArgument,
    _state.NotImplemented,
)
"""What ONNX Runtime raises of a graph that holds what it does not have."""

ERRORS: Final[tuple[type[Exception], ...]] = (*REFUSALS, _state.InvalidProtobuf, _state.RuntimeException)
"""What ONNX Runtime raises of a graph that it cannot open or run."""
