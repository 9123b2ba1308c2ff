"""Priors without a network of their own: N(0, I), or any TFP distribution."""

from __future__ import annotations

import contextlib
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.checks import positive_integer
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.distribution_config import deserialize_distribution, serialize_distribution
from tfpvae.layers.distribution_tensor import unwrap
from tfpvae.layers.kl import is_diagonal_gaussian
from tfpvae.layers.owned_variables import OwnedVariables
from tfpvae.priors.base import Prior
from tfpvae.random.tensorflow import normal_from_uniform


@register
class StandardNormal(Prior):
    """N(0, I), the usual p(z) [KW14].

    Args:
        event_size: D, the number of latent dimensions.
    """

    def __init__(self, event_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_size = positive_integer("event_size", event_size)
        self.built = True

    def distribution(self) -> tfd.Distribution:
        dtype = self.variable_dtype
        return tfd.MultivariateNormalDiag(tf.zeros(self.event_size, dtype), tf.ones(self.event_size, dtype))

    @property
    def num_uniforms(self) -> int:
        return self.event_size + self.event_size % 2

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        return normal_from_uniform(uniforms)[:, : self.event_size]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "event_size": self.event_size}


@register
class DistributionPrior(Prior):
    """A prior given as a TFP distribution. Gaussians can also be drawn by seed; variables are trained and saved.

    Args:
        distribution: batch `[]`, event `[D]`. It is saved by its class name and arguments.

    Raises:
        ModelError: `distribution` is not one distribution over a vector.
    """

    def __init__(self, distribution: tfd.Distribution | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(distribution, dict):
            distribution = deserialize_distribution(distribution)
        if not isinstance(distribution, tfd.Distribution):
            raise ModelError(
                f"A prior must be a tfpvae.priors.Prior or a tfd.Distribution. Received: {type(distribution).__name__}"
            )
        self._distribution = unwrap(distribution)
        self.owned_variables = OwnedVariables()
        self.owned_variables.adopt(self._distribution)
        if self._distribution.event_shape.rank != 1 or self._distribution.batch_shape.rank != 0:
            raise ModelError(
                "A prior must be one distribution over a vector: batch shape [], event shape [D]. Wrap it in "
                "tfd.Independent if its dimensions are a batch. Received: "
                f"batch shape {self._distribution.batch_shape}, event shape {self._distribution.event_shape}"
            )
        if self._distribution.dtype != tf.as_dtype(keras.config.floatx()):
            raise ModelError(
                f"A prior must have Keras's float type, {keras.config.floatx()}: make its arrays with that dtype. "
                f"Received: a prior of {self._distribution.dtype.name}"
            )
        self.event_size = self._distribution.event_shape[0]
        self.built = True

    def distribution(self) -> tfd.Distribution:
        return self._distribution

    @property
    def num_uniforms(self) -> int | None:
        gaussian = is_diagonal_gaussian(self._distribution) or isinstance(
            self._distribution, tfd.MultivariateNormalLinearOperator
        )
        return self.event_size + self.event_size % 2 if gaussian else None

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        if self.num_uniforms is None:
            return super().draw(uniforms)
        normals = normal_from_uniform(uniforms)[:, : self.event_size]
        loc, scale = self._loc_and_scale()
        if is_diagonal_gaussian(self._distribution):
            return loc + scale * normals
        # L eps for each row, as one product: rows times L transposed.
        return loc + tf.matmul(normals, scale, transpose_b=True)

    def _loc_and_scale(self) -> tuple[Any, Any]:
        """The mean `[D]`, and the standard deviations `[D]` or the scale matrix `[D, D]`."""
        # A graph would capture the eager tensors of the distribution, and in ONNX they would become inputs without
        # values. Computed outside the graph, they become constants. Variables must be read inside the graph.
        scope = contextlib.nullcontext() if self._distribution.variables else tf.init_scope()
        with scope:
            loc = self._distribution.mean()
            if is_diagonal_gaussian(self._distribution):
                scale = self._distribution.stddev()
            else:
                scale = self._distribution.scale.to_dense()
        return (loc, scale) if self._distribution.variables else (loc.numpy(), scale.numpy())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "distribution": serialize_distribution(self._distribution)}


def as_prior(prior: Prior | tfd.Distribution) -> Prior:
    """Wraps a TFP distribution in a `DistributionPrior`; returns a prior unchanged.

    Raises:
        ModelError: it is neither, or not one distribution over a vector.
    """
    return prior if isinstance(prior, Prior) else DistributionPrior(prior)
