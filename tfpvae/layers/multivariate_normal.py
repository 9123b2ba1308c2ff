"""Gaussian layers over a vector, the usual q(z given x)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfpvae.layers.base import ConvertToTensor, DistributionLayer, Parameters, register
from tfpvae.layers.constraints import check_size
from tfpvae.layers.new import new_distribution
from tfpvae.layers.sizes import Size, as_size, for_config
from tfpvae.random.tensorflow import normal_from_uniform

MIN_SCALE = 1e-5
"""Added to the diagonal of every scale, as TFP's `MultivariateNormalTriL` layer does: where softplus underflows, the
scale would be zero and the KL infinite."""


class _MultivariateNormal(DistributionLayer):
    """What the Gaussian layers over a vector share."""

    mean_parameter = "loc"

    def __init__(
        self,
        event_size: int,
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(convert_to_tensor_fn, **kwargs)
        self.event_size = as_size("event_size", event_size)
        self.validate_args = validate_args

    @property
    def num_uniforms(self) -> int:
        return self.event_size + self.event_size % 2

    def standard_normal(self, uniforms: tf.Tensor) -> tf.Tensor:
        """Standard normal `[B, event_size]` from uniforms `[B, num_uniforms]`."""
        return normal_from_uniform(uniforms)[:, : self.event_size]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_size": for_config("event_size", self.event_size),
            "validate_args": self.validate_args,
        }


@register
class MultivariateNormalDiag(_MultivariateNormal):
    """N(loc, diag(scale)^2), the usual q(z given x) [KW14, eq. 9].

    Args:
        event_size: D, the number of dimensions.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 2 D]` -> batch `[...]`, event `[D]`; `scale = softplus(.) + 1e-5`.
    """

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        check_size(inputs, 2 * self.event_size, self)
        loc, raw_scale = tf.split(inputs, 2, axis=-1)
        return {"loc": loc, "scale": tf.nn.softplus(raw_scale) + MIN_SCALE}

    def distribution(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(loc, scale, validate_args=self.validate_args)

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        return parameters["loc"] + parameters["scale"] * self.standard_normal(uniforms)

    @staticmethod
    def params_size(event_size: int, name: str | None = None) -> Size:
        """How many inputs the layer takes: 2 D."""
        del name
        return 2 * as_size("event_size", event_size)

    @staticmethod
    def new(
        params: tf.Tensor, event_size: int, validate_args: bool = False, name: str | None = None
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        return new_distribution(MultivariateNormalDiag, params, event_size, validate_args=validate_args, name=name)


@register
class MultivariateNormalTriL(_MultivariateNormal):
    """N(loc, L L^T) with lower-triangular L: a full covariance.

    Args:
        event_size: D, the number of dimensions.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., D + D (D + 1) / 2]` -> batch `[...]`, event `[D]`; the diagonal of L is `softplus(.) + 1e-5`.
    """

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        check_size(inputs, self.params_size(self.event_size), self)
        loc, raw_scale = inputs[..., : self.event_size], inputs[..., self.event_size :]
        n = self.event_size
        if not isinstance(n, int):
            return {"loc": loc, "scale_tril": tfb.FillScaleTriL(diag_shift=MIN_SCALE)(raw_scale)}
        # TFP's order of the entries, as `tfb.FillScaleTriL` has it, in operations that have an ONNX form.
        entries = np.arange(n * (n + 1) // 2)
        order = np.concatenate([entries[n:], entries[::-1]]).reshape(n, n)
        diagonal = tf.nn.softplus(tf.gather(raw_scale, np.diag(order), axis=-1)) + MIN_SCALE
        below = tf.gather(raw_scale, order, axis=-1) * tf.constant(np.tri(n, k=-1), raw_scale.dtype)
        return {"loc": loc, "scale_tril": below + diagonal[..., None] * tf.eye(n, dtype=raw_scale.dtype)}

    def distribution(self, loc: tf.Tensor, scale_tril: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalTriL(loc, scale_tril, validate_args=self.validate_args)

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        return parameters["loc"] + tf.linalg.matvec(parameters["scale_tril"], self.standard_normal(uniforms))

    @staticmethod
    def params_size(event_size: int, name: str | None = None) -> Size:
        """How many inputs the layer takes: D + D (D + 1) / 2."""
        del name
        size = as_size("event_size", event_size)
        return size + size * (size + 1) // 2

    @staticmethod
    def new(
        params: tf.Tensor, event_size: int, validate_args: bool = False, name: str | None = None
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        return new_distribution(MultivariateNormalTriL, params, event_size, validate_args=validate_args, name=name)
