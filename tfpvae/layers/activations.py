"""A warning of an activation before a distribution layer, which restricts the parameters that the layer can have."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from tfpvae._compat.keras import Place, has_place

_SHAPE_ONLY: Final = (
    keras.layers.Reshape, keras.layers.Flatten, keras.layers.Permute, keras.layers.Dropout, keras.layers.Identity,
    keras.layers.GaussianNoise, keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D,
    keras.layers.UpSampling1D, keras.layers.UpSampling2D, keras.layers.UpSampling3D, keras.layers.RepeatVector,
)  # fmt: skip
"""Layers whose outputs are inputs of theirs, moved or left out."""

_ACTIVATIONS: Final = (keras.layers.Activation, keras.layers.ReLU, keras.layers.ELU, keras.layers.Softmax)
_PROBE: Final = np.linspace(-40.0, 40.0, 81, dtype=np.float32)[np.newaxis]
_SAME_VALUES: Final = {"Reshape", "Identity", "Cast", "Squeeze", "ExpandDims", "Transpose"}
"""TensorFlow's operations that give the values of their first input."""

_BOUNDS_OF_OPERATIONS: Final = {
    "Elu": ("-1", "infinity"),
    "Relu": ("0", "infinity"),
    "Relu6": ("0", "6"),
    "Sigmoid": ("0", "1"),
    "Softmax": ("0", "1"),
    "Softplus": ("0", "infinity"),
    "Softsign": ("-1", "1"),
    "Tanh": ("-1", "1"),
}
_FAR: Final = 2.0
"""An activation that takes no value beyond it, on one side, restricts the parameters."""


def warn_of_activation(layer: keras.layers.Layer, inputs: Any) -> bool:
    """Warns where the inputs of a layer come out of an activation that is bounded.

    A distribution layer takes any real numbers and makes parameters of them: after a sigmoid, a probability of
    `IndependentBernoulli` lies between 0.5 and 0.73.

    Args:
        layer: the distribution layer.
        inputs: what it is called on: tensors of a graph of layers, or of a TensorFlow graph, such as a subclassed model
            is traced in. Nothing is known of eager tensors.

    Returns:
        Whether it warned.
    """
    for operation in _made_by(inputs):
        activation = _activation(operation)
        bounds = None if activation is None else _bounds(activation)
        if bounds is None:
            continue
        given = "" if activation is operation else f" with activation {getattr(activation, '__name__', activation)!r}"
        _warn(layer, f"Layer {operation.name!r}{given}", bounds)
        return True
    for tensor in keras.tree.flatten(inputs):
        kind = _operation_of_graph(tensor)
        if kind in _BOUNDS_OF_OPERATIONS:
            _warn(layer, f"The {kind} operation", _BOUNDS_OF_OPERATIONS[kind])
            return True
    return False


def _warn(layer: keras.layers.Layer, before: str, bounds: tuple[str, str]) -> None:
    low, high = bounds
    warnings.warn(
        f"{type(layer).__name__} {layer.name!r} takes any real numbers, and makes its parameters of them. "
        f"{before} before it gives numbers from {low} to {high} alone, so that many parameters cannot be reached. "
        "Leave the activation out.",
        stacklevel=5,
    )


def _operation_of_graph(tensor: Any) -> str | None:
    """The type of the operation that a tensor of a TensorFlow graph comes out of; None of others."""
    if not isinstance(tensor, tf.Tensor) or not hasattr(tensor, "op"):
        return None
    operation = tensor.op
    while operation.type in _SAME_VALUES and operation.inputs:
        operation = operation.inputs[0].op
    return operation.type


def _made_by(inputs: Any) -> Iterator[Any]:
    """The operations whose outputs reach the layer as they are: the last one of each branch."""
    for tensor in keras.tree.flatten(inputs):
        if not has_place(tensor):
            continue
        place = Place(tensor)
        operation = place.operation
        if isinstance(operation, _SHAPE_ONLY):
            yield from _made_by(place.input_tensors)
        elif isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
            yield from _made_by(operation.outputs)
        elif not place.is_input:
            yield operation


def _activation(operation: Any) -> Callable[[Any], Any] | None:
    """The function that an operation ends in, where it is known to end in one."""
    if isinstance(operation, _ACTIVATIONS):
        return operation
    if isinstance(operation, keras.layers.Layer):
        activation = getattr(operation, "activation", None)
        return activation if callable(activation) else None
    name = type(operation).__name__.lower()  # An operation of keras.ops, such as `keras.ops.sigmoid`.
    return getattr(keras.activations, name, None)


def _bounds(activation: Callable[[Any], Any]) -> tuple[str, str] | None:
    """The least and the largest value, in words; None where values far from zero on both sides are taken."""
    try:
        values = np.asarray(activation(keras.ops.convert_to_tensor(_PROBE)), np.float64)
    except Exception:  # noqa: BLE001  A user's own function may take other shapes alone: then nothing is known of it.
        return None
    low, high = float(values.min()), float(values.max())
    if low < -_FAR and high > _FAR:
        return None
    return ("minus infinity" if low < -_FAR else f"{low:.2g}", "infinity" if high > _FAR else f"{high:.2g}")
