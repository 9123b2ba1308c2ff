"""A prior that is a normalising flow."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.checks import positive_integer
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.flows import Flow, RealNVP
from tfpvae.priors.base import Prior
from tfpvae.random.tensorflow import normal_from_uniform


@register
class FlowPrior(Prior):
    """p(z) = N(u; 0, I) |det du/dz|, z = f(u) for a learned flow f. At first it is N(0, I).

    log p(z) takes one pass through the flow's networks. A draw takes one pass with `RealNVP`, and D + 1 passes with
    `MaskedAutoregressive`.

    Args:
        event_size: D, the number of latent dimensions.
        flow: a flow of `tfpvae.layers`: `RealNVP(steps=4, units=(64, 64))`, `MaskedAutoregressive(...)`. None is
            `RealNVP()`.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ModelError: `event_size` is not an integer of 1 or more; `flow` is not a flow, was built with another dimension,
            or needs more dimensions.
    """

    closed_form_kl = False

    def __init__(self, event_size: int, flow: Flow | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_size = positive_integer("event_size", event_size)
        if flow is not None and not isinstance(flow, Flow):
            raise ModelError(
                "flow must be one of tfpvae.layers' flows, RealNVP(...) or MaskedAutoregressive(...). "
                f"Received: flow={flow!r}"
            )
        self.flow = flow or RealNVP()
        if not self.flow.built:
            self.flow.build((None, self.event_size))
        if self.flow.event_size != self.event_size:
            raise ModelError(
                f"flow must be of the prior's dimension, {self.event_size}, or new. "
                f"Received: a flow that was built with {self.flow.event_size}"
            )
        self.built = True

    def distribution(self) -> tfd.Distribution:
        dtype = self.variable_dtype
        base = tfd.MultivariateNormalDiag(tf.zeros(self.event_size, dtype), tf.ones(self.event_size, dtype))
        return tfd.TransformedDistribution(base, self.flow.bijector())

    @property
    def num_uniforms(self) -> int:
        return self.event_size + self.event_size % 2

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        normals = normal_from_uniform(uniforms)[:, : self.event_size]
        return self.flow.forward(tf.cast(normals, self.variable_dtype))[0]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_size": self.event_size,
            "flow": keras.saving.serialize_keras_object(self.flow),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FlowPrior:
        config = dict(config)
        if isinstance(config.get("flow"), dict):
            config["flow"] = keras.saving.deserialize_keras_object(config["flow"])
        return cls(**config)
