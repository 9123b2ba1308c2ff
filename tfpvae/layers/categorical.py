"""Layers of choices among K categories."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae._compat.tfp import with_mode
from tfpvae.layers.base import ConvertToTensor, DistributionLayer, Parameters, register
from tfpvae.layers.constraints import check_size
from tfpvae.layers.independent import IndependentLayer
from tfpvae.layers.mixture import mixture_distribution
from tfpvae.layers.new import new_distribution
from tfpvae.layers.quantiles import categorical_quantile
from tfpvae.layers.sizes import EventShape, Size, as_shape, as_size, for_config, num_values, with_axes
from tfpvae.supports import Categories, OneHot

DType = Any
"""A `tf.DType`, its name, or None."""


def _dtype_name(dtype: DType) -> str | None:
    return None if dtype is None else tf.as_dtype(dtype).name


class _OneHot(DistributionLayer):
    """What the layers over one-hot vectors share.

    Both are drawn from one uniform: a mixture of categoricals is itself a categorical, whose probabilities are its
    mean.
    """

    discrete = True

    def __init__(
        self,
        event_size: int,
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        sample_dtype: DType = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(convert_to_tensor_fn, **kwargs)
        self.event_size = as_size("event_size", event_size)
        if isinstance(self.event_size, int):
            self.support = OneHot(self.event_size)
        self.sample_dtype = _dtype_name(sample_dtype)
        self.validate_args = validate_args

    def log_mean(self, parameters: Parameters) -> tf.Tensor:
        """ln of the categories' probabilities, `[..., event_size]`."""
        raise NotImplementedError

    def mean(self, parameters: Parameters) -> tf.Tensor:
        return tf.exp(self.log_mean(parameters))

    @property
    def num_uniforms(self) -> int:
        return 1

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        index = categorical_quantile(self.log_mean(parameters), uniforms[:, 0])
        return tf.one_hot(index, self.event_size, dtype=tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_size": for_config("event_size", self.event_size),
            "sample_dtype": self.sample_dtype,
            "validate_args": self.validate_args,
        }


@register
class OneHotCategorical(_OneHot):
    """One of K categories, as a one-hot vector.

    Args:
        event_size: K, the number of categories.
        convert_to_tensor_fn: see `DistributionLayer`.
        sample_dtype: the dtype of draws; None is that of the inputs.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: logits `[..., K]` -> batch `[...]`, event `[K]`.
    """

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        check_size(inputs, self.event_size, self)
        return {"logits": inputs}

    def distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        dtype = self.sample_dtype or logits.dtype
        return tfd.OneHotCategorical(logits=logits, dtype=dtype, validate_args=self.validate_args)

    def log_mean(self, parameters: Parameters) -> tf.Tensor:
        return tf.nn.log_softmax(parameters["logits"], axis=-1)

    @staticmethod
    def params_size(event_size: int, name: str | None = None) -> Size:
        """How many inputs the layer takes: K."""
        del name
        return as_size("event_size", event_size)

    @staticmethod
    def new(
        params: tf.Tensor,
        event_size: int,
        dtype: DType = None,
        validate_args: bool = False,
        name: str | None = None,
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        return new_distribution(
            OneHotCategorical, params, event_size, sample_dtype=dtype, validate_args=validate_args, name=name
        )


@register
class CategoricalMixtureOfOneHotCategorical(_OneHot):
    """A mixture of categoricals, as a one-hot vector.

    As in TFP, the distribution has a `log_mean()`, ln of the categories' probabilities `[..., event_size]`.

    Args:
        event_size: d, the number of categories.
        num_components: K, the number of components of the mixture.
        convert_to_tensor_fn: see `DistributionLayer`.
        sample_dtype: the dtype of draws; None is that of the inputs.
        validate_args: not used, as in TFP: components that are checked refuse points inside the simplex.
        **kwargs: see `DistributionLayer`.

    Call: `[..., K (1 + d)]`, for the mixture's logits and each component's -> batch `[...]`, event `[d]`.
    """

    def __init__(
        self,
        event_size: int,
        num_components: int,
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        sample_dtype: DType = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_size, convert_to_tensor_fn, sample_dtype, validate_args, **kwargs)
        self.num_components = as_size("num_components", num_components)

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        check_size(inputs, self.num_components * (1 + self.event_size), self)
        shape = tf.concat([tf.shape(inputs)[:-1], [self.num_components, self.event_size]], axis=0)
        return {
            "mixture_logits": inputs[..., : self.num_components],
            "component_logits": tf.reshape(inputs[..., self.num_components :], shape),
        }

    def distribution(self, mixture_logits: tf.Tensor, component_logits: tf.Tensor) -> tfd.Distribution:
        dtype = self.sample_dtype or mixture_logits.dtype

        def component(logits: tf.Tensor) -> tfd.Distribution:
            return tfd.OneHotCategorical(logits=logits, dtype=dtype)

        mixture = mixture_distribution(mixture_logits, component, {"logits": component_logits})
        parameters = {"mixture_logits": mixture_logits, "component_logits": component_logits}
        mixture.log_mean = lambda: self.log_mean(parameters)

        def mode() -> tf.Tensor:
            return tf.one_hot(tf.argmax(self.log_mean(parameters), axis=-1), self.event_size, dtype=dtype)

        return with_mode(mixture, mode)

    def log_mean(self, parameters: Parameters) -> tf.Tensor:
        log_mixture = tf.nn.log_softmax(parameters["mixture_logits"], axis=-1)[..., None]
        log_component = tf.nn.log_softmax(parameters["component_logits"], axis=-1)
        return tf.reduce_logsumexp(log_mixture + log_component, axis=-2)

    @staticmethod
    def params_size(event_size: int, num_components: int, name: str | None = None) -> Size:
        """How many inputs the layer takes: K (1 + d)."""
        del name
        return as_size("num_components", num_components) * (1 + as_size("event_size", event_size))

    @staticmethod
    def new(
        params: tf.Tensor,
        event_size: int,
        num_components: int,
        dtype: DType = None,
        validate_args: bool = False,
        name: str | None = None,
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        return new_distribution(
            CategoricalMixtureOfOneHotCategorical,
            params,
            event_size,
            num_components,
            sample_dtype=dtype,
            validate_args=validate_args,
            name=name,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_components": for_config("num_components", self.num_components)}


class _Categorical(tfd.Categorical):
    """TFP's, whose checks take labels of a float dtype too: TFP refuses those that it drew itself."""

    def _log_prob(self, k: tf.Tensor) -> tf.Tensor:
        return super()._log_prob(tf.cast(k, tf.int32) if self.validate_args else k)


@register
class IndependentCategorical(IndependentLayer):
    """Independent values, each one of K categories, as the number of the category.

    The mean is that of the numbers: it says something where the categories are levels, such as grey values.

    Args:
        num_categories: K, the number of categories.
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        sample_dtype: the dtype of draws. By default the float dtype of the inputs, not TFP's int32: Keras would cast
            an integer tensor and lose the distribution.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: logits `[..., event_size K]`, the K of a value side by side -> batch `[...]`, event `event_shape`, values
    0, 1, ..., K - 1.
    """

    discrete = True
    interleaved = True

    def __init__(
        self,
        num_categories: int,
        event_shape: EventShape = (),
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        sample_dtype: DType = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.num_categories = as_size("num_categories", num_categories)
        self.params_per_value = self.num_categories
        if isinstance(self.num_categories, int):
            self.support = Categories(self.num_categories)
        self.sample_dtype = _dtype_name(sample_dtype)

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        check_size(inputs, self.event_size * self.num_categories, self)
        shape = tf.concat([tf.shape(inputs)[:-1], with_axes([], self.event_shape, self.num_categories)], axis=0)
        return {"logits": tf.reshape(inputs, shape)}

    def distribution(self, logits: tf.Tensor) -> tfd.Distribution:
        dtype = self.sample_dtype or logits.dtype
        return self.independent(
            _Categorical(logits=logits, dtype=dtype, validate_args=self.validate_args, name="Categorical")
        )

    def mean(self, parameters: Parameters) -> tf.Tensor:
        probs = tf.nn.softmax(parameters["logits"], axis=-1)
        return tf.reduce_sum(probs * tf.range(self.num_categories, dtype=probs.dtype), axis=-1)

    @property
    def num_uniforms(self) -> int:
        return self.event_size

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        return tf.cast(categorical_quantile(parameters["logits"], self.uniforms_to_event(uniforms)), tf.float32)

    @classmethod
    def params_size(  # type: ignore[override]  # the number of categories goes first, as in TFP's mixtures
        cls, num_categories: int, event_shape: EventShape = (), name: str | None = None
    ) -> Size:
        """How many inputs the layer takes: K for each value."""
        del name
        return as_size("num_categories", num_categories) * num_values(as_shape(event_shape))

    @classmethod
    def new(  # type: ignore[override]
        cls,
        params: tf.Tensor,
        num_categories: int,
        event_shape: EventShape = (),
        dtype: DType = None,
        validate_args: bool = False,
        name: str | None = None,
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        return new_distribution(
            cls, params, num_categories, event_shape, sample_dtype=dtype, validate_args=validate_args, name=name
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_categories": for_config("num_categories", self.num_categories),
            "sample_dtype": self.sample_dtype,
        }
