"""Layers of independent values over an event of any shape, the usual p(x given z)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.layers.base import ConvertToTensor, DistributionLayer, Parameters, register
from tfpvae.layers.constraints import LARGEST_LOG_RATE, SMALLEST, at_least, at_most, check_size, positive
from tfpvae.layers.new import new_distribution
from tfpvae.layers.quantiles import logistic_quantile
from tfpvae.layers.sizes import EventShape, Size, as_shape, for_config, num_axes, num_values, with_axes
from tfpvae.random.tensorflow import normal_from_uniform
from tfpvae.supports import Binary


class IndependentLayer(DistributionLayer):
    """What the layers of independent values share: abstract.

    Args:
        event_shape: the shape of one draw: an integer, a sequence or a tensor of integers. A layer whose event shape is
            a tensor of a graph cannot be saved.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.
    """

    params_per_value: Size = 1
    """How many inputs one value of the event takes."""
    interleaved: ClassVar[bool] = False
    """Whether the inputs of a value are side by side, not those of a parameter."""

    def __init__(
        self,
        event_shape: EventShape = (),
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(convert_to_tensor_fn, **kwargs)
        self.event_shape = as_shape(event_shape)
        self.validate_args = validate_args

    @property
    def event_size(self) -> Size:
        """How many values one draw has."""
        return num_values(self.event_shape)

    def split(self, inputs: tf.Tensor) -> list[tf.Tensor]:
        """`[..., params_per_value * event_size]` to `params_per_value` tensors `[..., *event_shape]`."""
        check_size(inputs, self.params_per_value * self.event_size, self)
        return [self.to_event(part) for part in tf.split(inputs, self.params_per_value, axis=-1)]

    def to_event(self, flat: tf.Tensor) -> tf.Tensor:
        """`[..., event_size]` to `[..., *event_shape]`."""
        return tf.reshape(flat, tf.concat([tf.shape(flat)[:-1], self.event_shape], axis=0))

    def uniforms_to_event(self, uniforms: tf.Tensor) -> tf.Tensor:
        """`[B, event_size]` to `[B, *event_shape]`."""
        return tf.reshape(uniforms, with_axes([-1], self.event_shape))

    def independent(self, distribution: tfd.Distribution) -> tfd.Distribution:
        """The distribution with `event_shape` as its event."""
        return tfd.Independent(
            distribution,
            reinterpreted_batch_ndims=num_axes(self.event_shape),
            validate_args=self.validate_args,
        )

    @classmethod
    def params_size(cls, event_shape: EventShape = (), name: str | None = None) -> Size:
        """How many inputs the layer takes: `params_per_value` for each value."""
        del name
        return cls.params_per_value * num_values(as_shape(event_shape))

    @classmethod
    def new(
        cls,
        params: tf.Tensor,
        event_shape: EventShape = (),
        validate_args: bool = False,
        name: str | None = None,
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        return new_distribution(cls, params, event_shape, validate_args=validate_args, name=name)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_shape": for_config("event_shape", self.event_shape),
            "validate_args": self.validate_args,
        }


class _Bernoulli(tfd.Bernoulli):
    """TFP's, with half the work in `log_prob`: x s - ln(1 + e^s) for logits s, which are finite.

    TFP computes ln p and ln(1 - p) of every value and adds both, for logits that may be infinite. For binary images
    it is the largest part of a step.
    """

    def _log_prob(self, event: tf.Tensor) -> tf.Tensor:
        return tf.cast(event, self.logits.dtype) * self.logits - tf.math.softplus(self.logits)


@register
class IndependentBernoulli(IndependentLayer):
    """Independent Bernoulli values: binary images [KW14, appendix C.1].

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        sample_dtype: the dtype of draws. By default the float dtype of the inputs, not TFP's int32: Keras would cast
            an integer tensor and lose the distribution.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: logits `[..., event_size]` -> batch `[...]`, event `event_shape`.
    """

    discrete = True
    support = Binary()

    def __init__(
        self,
        event_shape: EventShape = (),
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        sample_dtype: tf.DType | str | None = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.sample_dtype = None if sample_dtype is None else tf.as_dtype(sample_dtype).name

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        (logits,) = self.split(inputs)
        return {"logits": logits}

    def distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        dtype = self.sample_dtype or logits.dtype
        return self.independent(
            _Bernoulli(logits=logits, dtype=dtype, validate_args=self.validate_args, name="Bernoulli")
        )

    def mean(self, parameters: Parameters) -> tf.Tensor:
        return tf.sigmoid(parameters["logits"])

    @property
    def num_uniforms(self) -> int:
        return self.event_size

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.uniforms_to_event(uniforms) < self.mean(parameters), tf.float32)

    @classmethod
    def new(  # type: ignore[override]  # TFP's order of arguments
        cls,
        params: tf.Tensor,
        event_shape: EventShape = (),
        dtype: tf.DType | str | None = None,
        validate_args: bool = False,
        name: str | None = None,
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        return new_distribution(cls, params, event_shape, sample_dtype=dtype, validate_args=validate_args, name=name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sample_dtype": self.sample_dtype}


class _LocationScale(IndependentLayer):
    """What the layers of a location and a scale share."""

    mean_parameter = "loc"
    params_per_value = 2

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        loc, raw_scale = self.split(inputs)
        return {"loc": loc, "scale": positive(raw_scale)}


@register
class IndependentNormal(_LocationScale):
    """Independent Gaussian values, each with a scale of its own.

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 2 event_size]` -> batch `[...]`, event `event_shape`; `scale = softplus(.)`, as in TFP, but at least
    1e-6.
    """

    def distribution(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return self.independent(tfd.Normal(loc, scale, validate_args=self.validate_args))

    @property
    def num_uniforms(self) -> int:
        return self.event_size + self.event_size % 2

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        normals = normal_from_uniform(uniforms)[:, : self.event_size]
        return parameters["loc"] + parameters["scale"] * self.uniforms_to_event(normals)


@register
class IndependentNormalLogVariance(IndependentNormal):
    """`IndependentNormal` whose inputs are the mean and the log-variance of each value [KW14, appendix C.2].

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 2 event_size]` -> batch `[...]`, event `event_shape`; `scale = exp(. / 2)`, from 1e-6 to e^30.
    """

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        loc, log_variance = self.split(inputs)
        log_scale = at_most(at_least(0.5 * log_variance, math.log(SMALLEST)), LARGEST_LOG_RATE)
        return {"loc": loc, "scale": tf.exp(log_scale)}


@register
class IndependentLogistic(_LocationScale):
    """Independent logistic values, each with a scale of its own.

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 2 event_size]` -> batch `[...]`, event `event_shape`; `scale = softplus(.)`, as in TFP, but at least
    1e-6.
    """

    def distribution(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return self.independent(tfd.Logistic(loc, scale, validate_args=self.validate_args))

    @property
    def num_uniforms(self) -> int:
        return self.event_size

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        return parameters["loc"] + parameters["scale"] * logistic_quantile(self.uniforms_to_event(uniforms))


@register
class IndependentStudentT(IndependentLayer):
    """Independent Student t values, each with a scale and degrees of freedom of its own: Gaussian with heavy tails.

    The degrees of freedom are above one, the Cauchy distribution's, so that every value has a mean: `loc`. The
    variance is infinite for two and fewer.

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 3 event_size]`, for df, loc and scale in TFP's order -> batch `[...]`, event `event_shape`;
    `df = 1 + softplus(.)`, `scale = softplus(.)`, each softplus at least 1e-6.
    """

    mean_parameter = "loc"
    params_per_value = 3

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        raw_df, loc, raw_scale = self.split(inputs)
        return {"df": 1.0 + positive(raw_df), "loc": loc, "scale": positive(raw_scale)}

    def distribution(self, df: tf.Tensor, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return self.independent(tfd.StudentT(df, loc, scale, validate_args=self.validate_args))
