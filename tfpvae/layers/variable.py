"""A layer that is a variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfpvae.checks import positive_integers
from tfpvae.layers.base import register


@register
class VariableLayer(keras.layers.Layer):
    """A trained variable, whatever the input: f(x) = c.

    Before a distribution layer it makes a distribution that is trained without being conditioned on anything, such as
    a learned prior.

    Args:
        shape: the variable's shape, an integer or a list of them. The output has this shape: no batch axis is added.
        dtype: the variable's dtype, and that of the output. The default is that of variables under Keras's policy.
        activation: applied to the variable.
        initializer: of the variable.
        regularizer: of the variable.
        constraint: of the variable.
        **kwargs: those of `keras.layers.Layer`.

    Call: anything -> `[*shape]`.

    Raises:
        ModelError: `shape` is no integer or list of integers.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        dtype: Any = None,
        activation: Any = None,
        initializer: Any = "zeros",
        regularizer: Any = None,
        constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype=_policy(dtype), **kwargs)
        static = None if shape is None else tf.get_static_value(shape)
        self.shape = positive_integers("shape", shape if static is None else static)
        self.activation = keras.activations.get(activation)
        self.initializer = keras.initializers.get(initializer)
        self.regularizer = keras.regularizers.get(regularizer)
        self.constraint = keras.constraints.get(constraint)
        self.constant = self.add_weight(
            name="constant",
            shape=self.shape,
            initializer=self.initializer,
            regularizer=self.regularizer,
            constraint=self.constraint,
            autocast=False,
        )
        self.built = True

    def __call__(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        # `layer(0.)`, as in tfp.layers: Keras 3 takes nothing but tensors.
        known = keras.ops.is_tensor(inputs) or isinstance(inputs, keras.KerasTensor)
        return super().__call__(inputs if known else tf.zeros([]), *args, **kwargs)

    def call(self, inputs: Any) -> tf.Tensor:
        del inputs
        return self.activation(tf.convert_to_tensor(self.constant))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "activation": keras.activations.serialize(self.activation),
            "initializer": keras.initializers.serialize(self.initializer),
            "regularizer": keras.regularizers.serialize(self.regularizer) if self.regularizer else None,
            "constraint": keras.constraints.serialize(self.constraint) if self.constraint else None,
        }


def _policy(dtype: Any) -> Any:
    """TensorFlow's dtypes by the name that Keras knows; anything else as it is."""
    return dtype.name if isinstance(dtype, tf.DType) else dtype
