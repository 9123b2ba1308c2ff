"""Mixtures of K components of one family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfpvae._compat.tfp import with_sampler
from tfpvae.errors import ModelError
from tfpvae.layers.base import (
    ConvertToTensor,
    DistributionLayer,
    Parameters,
    deserialize_callable,
    in_float32,
    register,
    serialize_callable,
)
from tfpvae.layers.constraints import check_size
from tfpvae.layers.distribution_lambda import DistributionLambda
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap
from tfpvae.layers.independent import IndependentLayer, IndependentLogistic, IndependentNormal
from tfpvae.layers.new import new_distribution
from tfpvae.layers.quantiles import categorical_quantile, pick
from tfpvae.layers.sizes import EventShape, Size, as_size, for_config
from tfpvae.layers.support import support_of
from tfpvae.supports import Real, Support

ComponentLayer = Callable[[tf.Tensor], tfd.Distribution]


def mixture_distribution(
    logits: tf.Tensor, make_components: Callable[..., tfd.Distribution], parameters: Parameters
) -> tfd.Distribution:
    """A `tfd.MixtureSameFamily` whose draws take memory for the draws only.

    TFP draws from all components and keeps one. Here the component is picked first, and its parameters. Where the rank
    of the parameters is known only when the graph runs, it is TFP's own.

    Args:
        logits: `[*batch_shape, K]`.
        make_components: the distribution with these parameters.
        parameters: of the components, each `[*batch_shape, K, ...]`.
    """
    mixing = tfd.Categorical(logits=logits)
    mixture = tfd.MixtureSameFamily(mixing, make_components(**parameters))
    if any(value.shape.rank is None for value in (logits, *parameters.values())):
        return mixture
    rank = logits.shape.rank - 1

    def sample_n(n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        mixing_seed, component_seed = tfp.random.split_seed(seed, salt="mixture_distribution")
        # [n, *batch_shape] -> [*batch_shape, n], so that the batch goes first for `gather`, and back.
        index = tf.transpose(mixing.sample(n, seed=mixing_seed), [*range(1, rank + 1), 0])
        picked = {
            name: _move_axis_to_front(tf.gather(value, index, axis=rank, batch_dims=rank), rank)
            for name, value in parameters.items()
        }
        return make_components(**picked).sample(seed=component_seed)

    return with_sampler(mixture, sample_n)


def _move_axis_to_front(x: tf.Tensor, axis: int) -> tf.Tensor:
    return tf.transpose(x, [axis, *(i for i in range(x.shape.rank) if i != axis)])


class _Mixture(DistributionLayer):
    """What the mixtures over a whole event share."""

    def __init__(
        self,
        num_components: int,
        component_layer: Any,
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(convert_to_tensor_fn, **kwargs)
        self.num_components = as_size("num_components", num_components)
        self.validate_args = validate_args
        self.component_layer = component_layer
        self.discrete = getattr(component_layer, "discrete", False)  # type: ignore[misc]
        self.support = getattr(component_layer, "support", Real())

    def support_for(self, distribution: tfd.Distribution) -> Support | None:
        return self.support if self.named else support_of(distribution)

    @property
    def named(self) -> bool:
        """Whether the component layer has named parameters."""
        return isinstance(self.component_layer, DistributionLayer) and not isinstance(
            self.component_layer, DistributionLambda
        )

    def build(self, input_shape: Sequence[int | None]) -> None:
        component, size = self.component_layer, input_shape[-1]
        if isinstance(component, keras.layers.Layer) and not component.built:
            size = size // self.num_components - 1 if size and isinstance(self.num_components, int) else None
            count = self.num_components if isinstance(self.num_components, int) else None
            component.build((*input_shape[:-1], count, size))
        super().build(input_shape)

    def split(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`[..., K (1 + n)]` to `[..., K]` and `[..., K, n]`."""
        shape = tf.concat([tf.shape(inputs)[:-1], [self.num_components, -1]], axis=0)
        size = inputs.shape[-1]
        if size is not None and isinstance(self.num_components, int):
            if size < 2 * self.num_components or size % self.num_components:
                raise ModelError(
                    f"The inputs of {type(self).__name__} must have its params_size, num_components * "
                    f"(1 + the component's params_size), as their last axis. "
                    f"Received: inputs of shape {inputs.shape} for num_components={self.num_components}"
                )
            shape = tf.concat([tf.shape(inputs)[:-1], [self.num_components, size // self.num_components - 1]], axis=0)
        return inputs[..., : self.num_components], tf.reshape(inputs[..., self.num_components :], shape)

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        logits, component_inputs = self.split(inputs)
        component = self.component_layer.parameters(component_inputs)
        return {"mixture_logits": logits, **{f"component_{name}": value for name, value in component.items()}}

    def distribution(self, mixture_logits: tf.Tensor, **parameters: tf.Tensor) -> tfd.Distribution:
        return mixture_distribution(mixture_logits, self.component_layer.distribution, _component(parameters))

    def mean(self, parameters: Parameters) -> tf.Tensor:
        probs = tf.nn.softmax(parameters["mixture_logits"], axis=-1)
        means = self.component_layer.mean(_component(parameters))
        shape = tf.concat([tf.shape(probs), [1] * (means.shape.rank - probs.shape.rank)], axis=0)
        return tf.reduce_sum(tf.reshape(probs, shape) * means, axis=probs.shape.rank - 1)

    @property
    def num_uniforms(self) -> int | None:
        """One to pick the component, and those of the component."""
        n = self.component_layer.num_uniforms if self.named else None
        return None if n is None else 1 + n

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        index = categorical_quantile(parameters["mixture_logits"], uniforms[:, 0])
        picked = {name: pick(value, index) for name, value in _component(parameters).items()}
        return self.component_layer.draw(picked, uniforms[:, 1:])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_components": for_config("num_components", self.num_components),
            "validate_args": self.validate_args,
        }


def _component(parameters: Parameters) -> Parameters:
    """The components' parameters under their own names."""
    prefix = "component_"
    return {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}


@register
class MixtureSameFamily(_Mixture):
    """A mixture of K components that one layer makes.

    Args:
        num_components: K, the number of components.
        component_layer: a distribution layer; or a function from `[..., K, n]` to a distribution of batch `[..., K]`,
            which then has no named parameters. A function must be registered with Keras to be saved.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: not used, as in TFP; give it to the component layer.
        **kwargs: see `DistributionLayer`.

    Call: `[..., K (1 + n)]`, for the mixture's logits and each component's n inputs -> batch `[...]`, the component's
    event. The parameters are `mixture_logits` and the component's, with `component_` before their names.

    Raises:
        ModelError: the component layer cannot be called or has a regulariser, which belongs to the mixture.
    """

    def __init__(
        self,
        num_components: int,
        component_layer: ComponentLayer,
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        if not callable(component_layer):
            raise ModelError(
                "component_layer must be a distribution layer or a function that returns a distribution. "
                f"Received: component_layer={component_layer!r}"
            )
        if getattr(component_layer, "distribution_regularizer", None) is not None:
            raise ModelError(
                "component_layer must have no activity_regularizer: give it to MixtureSameFamily. "
                f"Received: component_layer={component_layer!r}"
            )
        super().__init__(num_components, component_layer, convert_to_tensor_fn, validate_args, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> DistributionTensor:
        if self.named:
            return super().call(inputs, training)
        distribution = self.unnamed_distribution(in_float32(tf.convert_to_tensor(inputs)))
        return self.random_variable(distribution, training=training)

    def unnamed_distribution(self, inputs: tf.Tensor) -> tfd.Distribution:
        """The mixture of components that a function makes."""
        logits, component_inputs = self.split(inputs)
        components = self.component_layer(component_inputs)
        if not isinstance(components, tfd.Distribution):
            raise ModelError(f"component_layer must return a tfd.Distribution. Received: {components!r}")
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), unwrap(components))

    @staticmethod
    def params_size(num_components: int, component_params_size: int, name: str | None = None) -> Size:
        """How many inputs the layer takes: K (1 + n)."""
        del name
        return as_size("num_components", num_components) * (1 + as_size("component_params_size", component_params_size))

    @staticmethod
    def new(
        params: tf.Tensor,
        num_components: int,
        component_layer: ComponentLayer,
        validate_args: bool = False,
        name: str | None = None,
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        layer = MixtureSameFamily(num_components, component_layer, validate_args=validate_args, name=name)
        params = tf.convert_to_tensor(params)
        return layer.distribution(**layer.parameters(params)) if layer.named else layer.unnamed_distribution(params)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "component_layer": serialize_callable(self.component_layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        config = dict(config)
        config["component_layer"] = deserialize_callable(config["component_layer"])
        return super().from_config(config)


class _MixtureOfIndependent(_Mixture):
    """What the mixtures of independent values share; one component for the whole event."""

    component_class: ClassVar[type[IndependentLayer]]

    def __init__(
        self,
        num_components: int,
        event_shape: EventShape = (),
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        component = self.component_class(event_shape, validate_args=validate_args)
        super().__init__(num_components, component, convert_to_tensor_fn, validate_args, **kwargs)
        self.event_shape = component.event_shape

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        check_size(inputs, self.params_size(self.num_components, self.event_shape), self)
        return super().parameters(inputs)

    @classmethod
    def params_size(cls, num_components: int, event_shape: EventShape = (), name: str | None = None) -> Size:
        """How many inputs the layer takes: K (1 + 2 event_size)."""
        del name
        return as_size("num_components", num_components) * (1 + cls.component_class.params_size(event_shape))

    @classmethod
    def new(
        cls,
        params: tf.Tensor,
        num_components: int,
        event_shape: EventShape = (),
        validate_args: bool = False,
        name: str | None = None,
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        return new_distribution(cls, params, num_components, event_shape, validate_args=validate_args, name=name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "event_shape": for_config("event_shape", self.event_shape)}


@register
class MixtureNormal(_MixtureOfIndependent):
    """A mixture of K Gaussians with diagonal covariance; one component for the whole event.

    Args:
        num_components: K, the number of components.
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the components' parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., K (1 + 2 event_size)]`, for the mixture's logits and each component's inputs, which are those of
    `IndependentNormal` -> batch `[...]`, event `event_shape`.
    """

    component_class = IndependentNormal


@register
class MixtureLogistic(_MixtureOfIndependent):
    """A mixture of K independent logistics; one component for the whole event.

    Args:
        num_components: K, the number of components.
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the components' parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., K (1 + 2 event_size)]`, for the mixture's logits and each component's inputs, which are those of
    `IndependentLogistic` -> batch `[...]`, event `event_shape`.
    """

    component_class = IndependentLogistic
