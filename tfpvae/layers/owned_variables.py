"""The variables of TFP distributions, trained and saved by Keras.

A Keras 3 layer tracks `keras.Variable`s alone. A distribution owns `tf.Variable`s, directly or inside a
`tfp.util.TransformedVariable` or `DeferredTensor`. Here each of them gets a `keras.Variable` around the same storage.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfpvae._compat.keras import SharedVariable

_KERAS_VARIABLE = "_tfpvae_keras_variable"


def as_keras_variable(variable: tf.Variable) -> keras.Variable:
    """The one Keras variable around a `tf.Variable`.

    Every call returns the same one: an optimizer that saw two would take two steps.
    """
    shared = getattr(variable, _KERAS_VARIABLE, None)
    if shared is None:
        shared = SharedVariable(variable)
        setattr(variable, _KERAS_VARIABLE, shared)
    return shared


def _keras_parts(value: Any) -> list[keras.layers.Layer | keras.Variable]:
    """The Keras layers and variables among the constructor arguments of a distribution or a bijector."""
    if isinstance(value, keras.layers.Layer | keras.Variable):
        return [value]
    if isinstance(value, tfd.Distribution | tfb.Bijector):
        value = getattr(value, "tensor_distribution", value).parameters
    if isinstance(value, dict):
        value = list(value.values())
    return [part for v in value for part in _keras_parts(v)] if isinstance(value, list | tuple) else []


class OwnedVariables(keras.layers.Layer):
    """Holds the variables of distributions. As an attribute of a layer it has them trained and saved with the layer.

    A layer of its own, because a layer that has been built takes no more variables, and a function's distribution is
    seen only when the function is called.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts: list[keras.layers.Layer | keras.Variable] = []
        self.built = True

    def adopt(self, owner: Any) -> None:
        """Takes over a variable, or those of a distribution, bijector or deferred tensor; once is enough."""
        parts: list[Any] = _keras_parts(owner)
        if isinstance(owner, tf.Variable):
            parts.append(as_keras_variable(owner))
        elif isinstance(owner, tf.Module):
            parts.extend(as_keras_variable(v) for v in owner.variables)
        known = {id(part) for part in self.parts}
        for part in parts:
            if id(part) not in known:
                known.add(id(part))
                self.parts.append(part)
