"""Autoregressive flows: the network whose i-th output sees only earlier inputs, and the layer that transforms by it.

[GG15] Germain, Gregor, Murray, Larochelle: MADE. ICML 2015.
[PP17] Papamakarios, Pavlakou, Murray: Masked autoregressive flow for density estimation. NeurIPS 2017.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfpvae.checks import one_of, positive_integer, positive_integers
from tfpvae.errors import ModelError
from tfpvae.layers.base import ConvertToTensor, DistributionLayer, register
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap
from tfpvae.layers.keras2 import refuse_keras_2
from tfpvae.layers.owned_variables import _KERAS_VARIABLE as KERAS_VARIABLE

INPUT_ORDERS = ("left-to-right", "right-to-left", "random")
HIDDEN_DEGREES = ("equal", "random")
CONDITIONAL_INPUT_LAYERS = ("all_layers", "first_layer")

Degrees = list[np.ndarray]


def _vector_size(shape: int | Sequence[int] | None, argument: str) -> int | None:
    """`[3]` or `3` to 3."""
    if shape is None:
        return None
    sizes = positive_integers(argument, shape)
    if len(sizes) != 1:
        raise ModelError(f"{argument} must be one number, the size of a vector. Received: {argument}={shape!r}")
    return sizes[0]


def input_degrees(event_size: int, input_order: str | Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """The place of each input in the order, 1 to D, int64 `[D]`.

    Raises:
        ModelError: `input_order` is no permutation of 1, ..., D and no name of an order.
    """
    ascending = np.arange(1, event_size + 1)
    if isinstance(input_order, str):
        if input_order not in INPUT_ORDERS:
            raise ModelError(
                f"input_order must be one of {', '.join(INPUT_ORDERS)}, or a permutation of 1 to the event size. "
                f"Received: input_order={input_order!r}"
            )
        return {
            "left-to-right": lambda: ascending,
            "right-to-left": lambda: ascending[::-1],
            "random": lambda: rng.permutation(ascending),
        }[input_order]()
    degrees = np.asarray(input_order, np.int64)
    if not np.array_equal(np.sort(degrees), ascending):
        raise ModelError(
            f"input_order must be a permutation of 1 to {event_size}. Received: input_order={input_order!r}"
        )
    return degrees


def hidden_layer_degrees(
    first: np.ndarray,
    hidden_units: Sequence[int],
    hidden_degrees: str | Sequence[Sequence[int]],
    rng: np.random.Generator,
) -> Degrees:
    """The degree of each hidden unit [GG15, section 4.2], int64 `[units]` for each hidden layer.

    A unit sees the inputs of its own degree and below, so degrees go from 1 to D - 1.
    """
    if not isinstance(hidden_degrees, str):
        return [np.asarray(degrees, np.int64) for degrees in hidden_degrees]
    last = len(first) - 1
    layers: Degrees = []
    previous = first
    for units in hidden_units:
        lowest = min(int(previous.min()), last)
        if hidden_degrees == "equal":
            spread = np.ceil(np.arange(1, units + 1) * last / (units + 1)).astype(np.int64)
            previous = np.maximum(lowest, spread)
        else:
            previous = rng.integers(lowest, last + 1, size=units)
        layers.append(previous)
    return layers


@register
class AutoregressiveNetwork(keras.layers.Layer, tf.Module):
    """MADE [GG15]: a dense network whose outputs for input i depend only on the inputs before i in an order.

    Usable as a Keras layer and as the function of a bijector, `tfb.MaskedAutoregressiveFlow(made)`, which then finds
    its variables. It computes in the dtype of its inputs, under any dtype policy, as a bijector needs it.

    Args:
        params: how many outputs an input has; 2, shift and log scale, for a flow.
        event_shape: D, as a number or `[D]`; None reads it off the first inputs.
        conditional: whether there is a conditional input, which all outputs may depend on.
        conditional_event_shape: the size C of the conditional input, as a number or `[C]`.
        conditional_input_layers: "all_layers" or "first_layer": where the conditional input enters.
        hidden_units: the number of units of each hidden layer; None is no hidden layer.
        input_order: "left-to-right", "right-to-left", "random", or each input's place, a permutation of 1 to D.
        hidden_degrees: "equal", "random", or the degrees of each hidden layer's units, 0 to D - 1. What "random" has
            drawn is in `get_config()` once the layer is built, so that a saved model keeps its masks.
        activation: of the hidden layers, as for `keras.layers.Dense`.
        use_bias: whether the layers have a bias.
        kernel_initializer: as for `keras.layers.Dense`, as are those that follow.
        bias_initializer: of the biases.
        kernel_regularizer: of the kernels.
        bias_regularizer: of the biases.
        kernel_constraint: of the kernels.
        bias_constraint: of the biases.
        validate_args: accepted as in TFP, where it does nothing either: arguments are always checked.
        **kwargs: those of `keras.layers.Layer`.

    Call: x `[..., D]` and, if conditional, `conditional_input=` `[..., C]` -> `[..., D, params]`.

    Raises:
        ModelError: an argument is none of these, or the conditional input is missing.
    """

    name: str = ""  # `tf.Module` has a property of this name, which Keras could not set.

    def __init__(
        self,
        params: int,
        event_shape: int | Sequence[int] | None = None,
        conditional: bool = False,
        conditional_event_shape: int | Sequence[int] | None = None,
        conditional_input_layers: str = "all_layers",
        hidden_units: Sequence[int] | None = None,
        input_order: str | Sequence[int] = "left-to-right",
        hidden_degrees: str | Sequence[Sequence[int]] = "equal",
        activation: str | Callable[..., Any] | None = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.params = positive_integer("params", params)
        self._event_size = _vector_size(event_shape, "event_shape")
        self.conditional = conditional
        self._conditional_size = _vector_size(conditional_event_shape, "conditional_event_shape")
        self.conditional_input_layers = conditional_input_layers
        self.hidden_units = [positive_integer("hidden_units", units) for units in hidden_units or ()]
        self.input_order = input_order if isinstance(input_order, str) else np.asarray(input_order).tolist()
        self.hidden_degrees = (
            hidden_degrees if isinstance(hidden_degrees, str) else [np.asarray(d).tolist() for d in hidden_degrees]
        )
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.validate_args = validate_args
        self._check_arguments()

    def _check_arguments(self) -> None:
        if self.conditional and (self._event_size is None or self._conditional_size is None):
            raise ModelError("event_shape and conditional_event_shape must be given where conditional=True.")
        if not self.conditional and self._conditional_size is not None:
            raise ModelError(
                "conditional_event_shape must be None where conditional=False. "
                f"Received: conditional_event_shape={self._conditional_size}"
            )
        one_of("conditional_input_layers", self.conditional_input_layers, CONDITIONAL_INPUT_LAYERS)
        if isinstance(self.hidden_degrees, str):
            if self.hidden_degrees not in HIDDEN_DEGREES:
                raise ModelError(
                    f"hidden_degrees must be one of {', '.join(HIDDEN_DEGREES)}, or the degrees of each hidden layer. "
                    f"Received: hidden_degrees={self.hidden_degrees!r}"
                )
        elif [len(degrees) for degrees in self.hidden_degrees] != self.hidden_units:
            raise ModelError(
                "hidden_degrees must have a degree for each unit of each hidden layer. "
                f"Received: hidden_degrees={self.hidden_degrees!r} for hidden_units={self.hidden_units!r}"
            )
        if isinstance(self.input_order, str) and self.input_order not in INPUT_ORDERS:
            input_degrees(0, self.input_order, np.random.default_rng(0))

    @property
    def event_shape(self) -> list[int] | None:
        """`[D]`, or None before the layer has seen inputs."""
        return None if self._event_size is None else [self._event_size]

    def build(self, input_shape: Sequence[int | None]) -> None:
        size = input_shape[-1]
        if self._event_size is None:
            if size is None:
                raise ModelError(f"The last axis of the inputs must be known. Received: shape {tuple(input_shape)}")
            self._event_size = int(size)
        if size != self._event_size:
            raise ModelError(
                f"The last axis of the inputs must be the event size, {self._event_size}. "
                f"Received: shape {tuple(input_shape)}"
            )
        # Python's generator is the one that `keras.utils.set_random_seed` seeds for choices of structure.
        rng = np.random.default_rng(random.getrandbits(64))
        first = input_degrees(self._event_size, self.input_order, rng)
        hidden = hidden_layer_degrees(first, self.hidden_units, self.hidden_degrees, rng)
        self.input_order = self.input_order if self.input_order != "random" else first.tolist()
        if self.hidden_degrees == "random":
            self.hidden_degrees = [degrees.tolist() for degrees in hidden]
        degrees = [first, *hidden]
        masks = [a[:, None] <= b for a, b in itertools.pairwise(degrees)]
        # The outputs of an input are side by side, and see the inputs before it in the order.
        masks.append(np.repeat(degrees[-1][:, None] < first, self.params, axis=1))
        self._masks = [mask.astype(np.float32) for mask in masks]
        # In the order of TFP's network, so that its `get_weights()` can be set here.
        self._kernels, self._biases, self._conditional_kernels = [], [], []
        for i, mask in enumerate(self._masks):
            self._kernels.append(self._kernel(f"kernel_{i}", mask.shape, mask))
            if self.use_bias:
                bias = self.add_weight(
                    name=f"bias_{i}",
                    shape=(mask.shape[1],),
                    initializer=_fresh(self.bias_initializer),
                    regularizer=self.bias_regularizer,
                    constraint=self.bias_constraint,
                    autocast=False,
                )
                self._biases.append(bias)
            if self.conditional and (i == 0 or self.conditional_input_layers == "all_layers"):
                shape = (self._conditional_size, mask.shape[1])
                self._conditional_kernels.append(self._kernel(f"conditional_kernel_{i}", shape))
        # `tf.Module` finds TensorFlow's own variables, which Keras has wrapped. To wrap them again gives these.
        self._tensorflow_variables = tuple(v.value for v in self.weights)
        for variable in self.weights:
            setattr(variable.value, KERAS_VARIABLE, variable)
        super().build(input_shape)

    def _kernel(self, name: str, shape: tuple[int | None, ...], mask: np.ndarray | None = None) -> keras.Variable:
        initializer = _fresh(self.kernel_initializer)

        def masked(shape: tuple[int, ...], dtype: Any = None) -> Any:
            return initializer(shape, dtype=dtype) * keras.ops.cast(mask, dtype)

        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer if mask is None else masked,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            autocast=False,
        )

    def call(self, x: tf.Tensor, conditional_input: tf.Tensor | None = None) -> tf.Tensor:
        x = tf.convert_to_tensor(x)
        condition = None
        if self.conditional:
            if conditional_input is None:
                raise ModelError("conditional_input must be given to a conditional AutoregressiveNetwork.")
            condition = tf.cast(tf.convert_to_tensor(conditional_input), x.dtype)
        h = x
        for i, (kernel, mask) in enumerate(zip(self._kernels, self._masks, strict=True)):
            h = _matmul(h, tf.cast(kernel, x.dtype) * tf.constant(mask, x.dtype))
            if condition is not None and i < len(self._conditional_kernels):
                h += _matmul(condition, tf.cast(self._conditional_kernels[i], x.dtype))
            if self.use_bias:
                h += tf.cast(self._biases[i], x.dtype)
            if i < len(self.hidden_units):
                h = self.activation(h)
        return tf.reshape(h, tf.concat([tf.shape(h)[:-1], [self._event_size, self.params]], axis=0))

    def compute_output_shape(self, input_shape: Sequence[int | None], **kwargs: Any) -> tuple[int | None, ...]:
        del kwargs
        return (*input_shape, self.params)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "params": self.params,
            "event_shape": self.event_shape,
            "conditional": self.conditional,
            "conditional_event_shape": None if self._conditional_size is None else [self._conditional_size],
            "conditional_input_layers": self.conditional_input_layers,
            "hidden_units": list(self.hidden_units),
            "input_order": self.input_order if isinstance(self.input_order, str) else list(self.input_order),
            "hidden_degrees": self.hidden_degrees
            if isinstance(self.hidden_degrees, str)
            else [list(degrees) for degrees in self.hidden_degrees],
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
            "validate_args": self.validate_args,
        }


def _fresh(initializer: Any) -> Any:
    """A copy of an initialiser: Keras's own give the same numbers each time they are called."""
    return initializer.clone() if isinstance(initializer, keras.Initializer) else initializer


def _matmul(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`[..., n]` by `[n, m]` to `[..., m]`, for vectors too."""
    return tf.matmul(x[None], kernel)[0] if x.shape.rank == 1 else tf.matmul(x, kernel)


@register
class AutoregressiveTransform(DistributionLayer):
    """The distribution of `x = f(u)`, for u of the distribution before it and an autoregressive flow f [PP17].

    `log_prob` takes one pass through the network, a draw takes D. It has no named parameters, and cannot be drawn in
    an exported graph.

    Args:
        made: an `AutoregressiveNetwork` with `params=2`, shift and log scale.
        convert_to_tensor_fn: see `DistributionLayer`.
        **kwargs: see `DistributionLayer`.

    Call: a distribution, event `[D]` -> a distribution of the same shapes.

    Raises:
        ModelError: `made` does not have two parameters, or is TFP's own, of Keras 2; or the layer before is no
            distribution layer.
    """

    def __init__(
        self,
        made: AutoregressiveNetwork,
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        **kwargs: Any,
    ) -> None:
        # Keras would cast a distribution to the policy's dtype, and so to a tensor.
        super().__init__(convert_to_tensor_fn, autocast=False, **kwargs)
        refuse_keras_2(made, "made")
        if getattr(made, "params", None) != 2:
            raise ModelError(
                f"made must have two parameters, shift and log scale. Received: params={getattr(made, 'params', None)}"
            )
        self.made = made

    def build(self, input_shape: Sequence[int | None]) -> None:
        if not self.made.built:
            self.made.build((None, input_shape[-1]))
        super().build(input_shape)

    def call(self, inputs: DistributionTensor, training: bool | None = None) -> DistributionTensor:
        if not isinstance(inputs, tfd.Distribution):
            raise ModelError(
                "The input of AutoregressiveTransform must be a distribution: put a distribution layer before it. "
                f"Received: {inputs!r}"
            )
        return self.random_variable(self.transformed(unwrap(inputs)), training=training)

    def transformed(self, base: tfd.Distribution) -> tfd.Distribution:
        """The distribution of f(u) for u of `base`."""

        def shift_and_log_scale(x: tf.Tensor) -> list[tf.Tensor]:
            return tf.unstack(tf.cast(self.made(x), x.dtype), axis=-1)

        return tfd.TransformedDistribution(base, tfb.MaskedAutoregressiveFlow(shift_and_log_scale))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "made": keras.saving.serialize_keras_object(self.made)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        config = dict(config)
        if isinstance(config["made"], dict):
            config["made"] = keras.saving.deserialize_keras_object(config["made"])
        return super().from_config(config)
