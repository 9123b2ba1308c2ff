"""Any distribution, from a function."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.errors import ModelError
from tfpvae.layers.base import (
    ConvertToTensor,
    DistributionLayer,
    deserialize_callable,
    in_float32,
    register,
    serialize_callable,
)
from tfpvae.layers.distribution_tensor import DistributionTensor
from tfpvae.layers.keras2 import refuse_keras_2_in_function
from tfpvae.layers.owned_variables import OwnedVariables
from tfpvae.layers.support import deserialize_support, serialize_support, support_of
from tfpvae.supports import Support


@register
class DistributionLambda(DistributionLayer):
    """The distribution that a function makes of the previous layer's output.

    Variables that the distribution owns (`tf.Variable`, `tfp.util.TransformedVariable`, `DeferredTensor`) are trained
    and saved with the layer. Those that the function only reads are not seen, as in TFP: hand the variable itself to
    the distribution, or set the Keras layer that makes its parameters as an attribute of this one.

    Args:
        make_distribution_fn: takes the inputs, in float32 where the dtype policy is a mixed one, returns a
            `tfd.Distribution`. To be saved it must be registered with
            `keras.saving.register_keras_serializable`, or be a static or class method of a registered class. A lambda
            is saved with the modules, classes, functions, numbers and strings that it names, and loaded only with
            `safe_mode=False`.
        convert_to_tensor_fn: see `DistributionLayer`.
        support: what data the distribution is over, one of `tfpvae.supports`. None tells it by the distribution:
            TFP's Bernoulli, beta, gamma, Poisson, categorical and the like are known.
        **kwargs: see `DistributionLayer`.

    Call: whatever the function takes -> what it returns.
    """

    takes_any_real = False  # What the function makes of its input is not known.

    def __init__(
        self,
        make_distribution_fn: Callable[..., tfd.Distribution],
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        support: Support | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(convert_to_tensor_fn, **kwargs)
        self.given_support = support
        if support is not None:
            self.support = support
        if not callable(make_distribution_fn):
            raise ModelError(
                "make_distribution_fn must be a callable that returns a tfd.Distribution. "
                f"Received: make_distribution_fn={make_distribution_fn!r}"
            )
        refuse_keras_2_in_function(make_distribution_fn, "make_distribution_fn")
        self.make_distribution_fn = make_distribution_fn
        self._looked_at_variables = False
        self.owned_variables = OwnedVariables()

    def call(self, inputs: Any, *args: Any, training: bool | None = None, **kwargs: Any) -> DistributionTensor:
        with contextlib.nullcontext() if self._looked_at_variables else tf.GradientTape() as tape:
            distribution = self.make_distribution_fn(in_float32(inputs), *args, **kwargs)
        if not isinstance(distribution, tfd.Distribution):
            raise ModelError(f"make_distribution_fn must return a tfd.Distribution. Received: {distribution!r}")
        self.owned_variables.adopt(distribution)
        if tape is not None:
            self._looked_at_variables = True
            self._warn_of_variables(tape.watched_variables())
        return self.random_variable(distribution, training=training)

    def _warn_of_variables(self, read: Iterable[tf.Variable]) -> None:
        held = {id(variable.value) for variable in self.variables} | {id(variable) for variable in self.variables}
        others = [variable.name for variable in read if id(variable) not in held]
        if others:
            warnings.warn(
                f"make_distribution_fn of {self.name!r} reads variables that the layer does not hold: "
                f"{', '.join(others)}. Unless another layer of the model holds them, they are neither trained nor "
                "saved. Hand a variable to the distribution itself, or set the Keras layer that owns it as an "
                "attribute of this one.",
                stacklevel=2,
            )

    def support_for(self, distribution: tfd.Distribution) -> Support | None:
        return self.given_support or support_of(distribution)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "make_distribution_fn": serialize_callable(self.make_distribution_fn),
            "support": serialize_support(self.given_support),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        config = dict(config)
        config["make_distribution_fn"] = deserialize_callable(config["make_distribution_fn"])
        config["support"] = deserialize_support(config.get("support"))
        return super().from_config(config)
