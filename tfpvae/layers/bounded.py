"""Layers of independent values in an interval: [0, 1] as grey images are, or above zero."""

from __future__ import annotations

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.layers.base import Parameters, register
from tfpvae.layers.constraints import positive
from tfpvae.layers.independent import IndependentLayer
from tfpvae.supports import Positive, UnitInterval


@register
class IndependentBeta(IndependentLayer):
    """Independent beta values, strictly between 0 and 1.

    The density at 0 and at 1 is zero or infinite: bring pixels inside first, such as by `(255 x + 0.5) / 256`.

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 2 event_size]`, for concentration1 and concentration0 in TFP's order -> batch `[...]`, event
    `event_shape`; both are `softplus(.)`, at least 1e-6.
    """

    params_per_value = 2
    support = UnitInterval(open=True)

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        raw1, raw0 = self.split(inputs)
        return {"concentration1": positive(raw1), "concentration0": positive(raw0)}

    def distribution(self, concentration1: tf.Tensor, concentration0: tf.Tensor) -> tfd.Distribution:
        return self.independent(tfd.Beta(concentration1, concentration0, validate_args=self.validate_args))

    def mean(self, parameters: Parameters) -> tf.Tensor:
        return parameters["concentration1"] / (parameters["concentration1"] + parameters["concentration0"])


@register
class IndependentContinuousBernoulli(IndependentLayer):
    """Independent continuous Bernoulli values, in [0, 1]: grey images [LC19].

    [LC19] Loaiza-Ganem, Cunningham: The continuous Bernoulli: fixing a pervasive error in variational autoencoders.
    NeurIPS 2019.

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: logits `[..., event_size]` -> batch `[...]`, event `event_shape`. The mean is not `sigmoid(logits)`.
    """

    support = UnitInterval()

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        (logits,) = self.split(inputs)
        return {"logits": logits}

    def distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        distribution = tfd.ContinuousBernoulli(logits=logits, dtype=logits.dtype, validate_args=self.validate_args)
        return self.independent(distribution)

    def mean(self, parameters: Parameters) -> tf.Tensor:
        """1 / (1 - exp(-l)) - 1 / l [LC19, eq. 9], by its series around l = 0."""
        logits = parameters["logits"]
        near = tf.abs(logits) < 1.0
        l = tf.where(near, logits, 0.0)  # noqa: E741
        l2 = l * l
        series = l * (1 / 12 - l2 * (1 / 720 - l2 * (1 / 30240 - l2 * (1 / 1209600 - l2 / 47900160))))
        far = tf.where(near, 1.0, logits)
        return 0.5 + tf.where(near, series, 0.5 / tf.tanh(0.5 * far) - 1.0 / far)

    @property
    def num_uniforms(self) -> int:
        return self.event_size

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        """ln(1 - u (1 - exp(l))) / l for l < 0, and the mirror image, 1 - x, for l > 0."""
        logits, u = parameters["logits"], self.uniforms_to_event(uniforms)
        size = tf.abs(logits)
        near = size < 0.03
        far = tf.where(near, 1.0, size)
        # Around l = 0 the logarithm has no digits left to divide by l; two terms of the series have six.
        series = u - size * u * (1.0 - u) * (0.5 - size * (1.0 - 2.0 * u) / 6.0)
        x = tf.where(near, series, -tf.math.log(1.0 - u * (1.0 - tf.exp(-far))) / far)
        x = tf.clip_by_value(x, 0.0, 1.0)
        return tf.where(logits < 0.0, x, 1.0 - x)


@register
class IndependentGamma(IndependentLayer):
    """Independent gamma values, above zero.

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 2 event_size]`, for concentration and rate in TFP's order -> batch `[...]`, event `event_shape`; both
    are `softplus(.)`, at least 1e-6.
    """

    params_per_value = 2
    support = Positive()

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        raw_concentration, raw_rate = self.split(inputs)
        return {"concentration": positive(raw_concentration), "rate": positive(raw_rate)}

    def distribution(self, concentration: tf.Tensor, rate: tf.Tensor) -> tfd.Distribution:
        return self.independent(tfd.Gamma(concentration, rate, validate_args=self.validate_args))

    def mean(self, parameters: Parameters) -> tf.Tensor:
        return parameters["concentration"] / parameters["rate"]
