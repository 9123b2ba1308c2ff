"""Layers of independent counts: 0, 1, 2, ..., as floats."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfpvae.layers.base import Parameters, register
from tfpvae.layers.constraints import LARGEST_LOG_RATE, at_most, positive
from tfpvae.layers.independent import IndependentLayer
from tfpvae.supports import Counts


@register
class IndependentPoisson(IndependentLayer):
    """Independent Poisson counts.

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: log rates `[..., event_size]`, as in TFP, but taken to be at most 30 -> batch `[...]`, event `event_shape`.
    """

    discrete = True
    support = Counts()

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        (log_rate,) = self.split(inputs)
        return {"log_rate": at_most(log_rate, LARGEST_LOG_RATE)}

    def distribution(self, log_rate: tf.Tensor) -> tfd.Distribution:
        return self.independent(tfd.Poisson(log_rate=log_rate, validate_args=self.validate_args))

    def mean(self, parameters: Parameters) -> tf.Tensor:
        return tf.exp(parameters["log_rate"])


class _NegativeBinomial(tfd.NegativeBinomial):
    """TFP's, drawn by way of TFP's own gamma and Poisson: its draws use an operation that XLA cannot compile."""

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        gamma_seed, poisson_seed = tfp.random.split_seed(seed, salt="negative_binomial")
        log_rate = tfd.ExpGamma(self.total_count, log_rate=-self.logits).sample(n, seed=gamma_seed)
        return tfd.Poisson(log_rate=log_rate).sample(seed=poisson_seed)


@register
class IndependentNegativeBinomial(IndependentLayer):
    """Independent negative binomial counts: Poisson counts whose rate is gamma distributed, so more spread out.

    The mean is `total_count exp(logits)`, the variance `mean (1 + exp(logits))`.

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 2 event_size]`, for total_count and logits in TFP's order -> batch `[...]`, event `event_shape`;
    `total_count = softplus(.)`, at least 1e-6, and the logits are taken to be at most 30.
    """

    discrete = True
    params_per_value = 2
    support = Counts()

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        raw_total_count, logits = self.split(inputs)
        return {"total_count": positive(raw_total_count), "logits": at_most(logits, LARGEST_LOG_RATE)}

    def distribution(self, total_count: tf.Tensor, logits: tf.Tensor) -> tfd.Distribution:
        distribution = _NegativeBinomial(total_count, logits=logits, validate_args=self.validate_args)
        return self.independent(distribution)

    def mean(self, parameters: Parameters) -> tf.Tensor:
        return parameters["total_count"] * tf.exp(parameters["logits"])
