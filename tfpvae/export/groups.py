"""Grouped convolutions, in a form that every runtime has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfpvae._compat.keras import layers_within


@contextlib.contextmanager
def groups_apart(model: keras.Model) -> Iterator[None]:
    """Has the grouped convolutions of a model computed as one convolution for each group.

    On the CPU TensorFlow has grouped convolutions under XLA alone. Keras compiles them so, and what is compiled has
    no form in ONNX and LiteRT.

    Args:
        model: the model, which is as before after it.
    """
    layers = [layer for layer in layers_within(model) if getattr(layer, "groups", 1) != 1]
    layers = [layer for layer in layers if hasattr(layer, "convolution_op")]
    for layer in layers:
        # `convolution_op` is the method that Keras offers to subclasses: an attribute of that name hides it.
        object.__setattr__(layer, "convolution_op", _by_group(layer, layer.convolution_op))
    try:
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "convolution_op")


def _by_group(layer: Any, convolve: Any) -> Any:
    """A layer's convolution, group by group."""

    def apart(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        channels = -1 if layer.data_format == "channels_last" else 1
        parts = zip(
            tf.split(inputs, layer.groups, axis=channels),
            tf.split(tf.convert_to_tensor(kernel), layer.groups, axis=-1),
            strict=True,
        )
        return tf.concat([convolve(x, part) for x, part in parts], axis=channels)

    return apart
