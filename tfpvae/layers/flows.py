"""Normalising flows: trainable bijections of a vector whose log-determinant is a sum.

A flow turns u of a simple distribution into z, and log p(z) = log p(u) - log |det dz/du|.

[DSB17] Dinh, Sohl-Dickstein, Bengio: Density estimation using real NVP. ICLR 2017.
[KSJ+16] Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling: Improved variational inference with inverse
autoregressive flow. NIPS 2016.
[PP17] Papamakarios, Pavlakou, Murray: Masked autoregressive flow for density estimation. NIPS 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfpvae.checks import positive_integer
from tfpvae.errors import ModelError
from tfpvae.layers.autoregressive import AutoregressiveNetwork
from tfpvae.layers.base import register

LOG_SCALE_BOUND: Final = 2.0
"""How far from zero a step's log scale can be: one step stretches or shrinks a dimension by e^2 at most, and neither
direction of the flow overflows."""

GATE_BIAS: Final = 2.0
GATE_BOUND: Final = 4.0
"""The logit of the gate of an inverse autoregressive step is within `GATE_BOUND` of `GATE_BIAS`: at first the gate is
nearly open, as [KSJ+16] advises, and it never closes, so that the step can be inverted in float32."""

Activation = str | Callable[..., Any] | None
Mapped = tuple[tf.Tensor, tf.Tensor]


def bounded(raw: tf.Tensor, bound: float) -> tf.Tensor:
    """b tanh(raw / b): raw near zero, and never beyond `bound` in size."""
    return bound * tf.tanh(raw / bound)


class FlowStep(keras.layers.Layer):
    """One step of a flow: abstract."""

    def forward(self, u: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        """z `[..., D]` and log |det dz/du| `[...]`, for u `[..., D]`."""
        raise NotImplementedError

    def inverse(self, z: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        """u `[..., D]` and log |det dz/du| `[...]`, for z `[..., D]`."""
        raise NotImplementedError


class Flow(keras.layers.Layer):
    """A flow, as a Keras layer: abstract.

    A subclass makes the steps.

    Args:
        steps: T, how many steps.
        units: the number of units of each hidden layer of a step's network.
        activation: of the hidden layers, as for `keras.layers.Dense`.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ModelError: `steps`, or a number of `units`, is no integer of 1 or more.

    Attributes:
        event_size: D; None before the flow is built.
    """

    def __init__(
        self, steps: int = 4, units: Sequence[int] = (64, 64), activation: Activation = "relu", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.steps = positive_integer("steps", steps)
        if not isinstance(units, list | tuple):
            raise ModelError(f"units must be the number of units of each hidden layer. Received: units={units!r}")
        self.units = [positive_integer("units", size) for size in units]
        self.activation = keras.activations.get(activation)
        self.event_size: int | None = None

    def make_step(self, index: int, event_size: int) -> FlowStep:
        """Step number `index` in the forward direction, from 0."""
        raise NotImplementedError

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.event_size = positive_integer("event_size", input_shape[-1])
        self.chain = [self.make_step(index, self.event_size) for index in range(self.steps)]
        for step in self.chain:
            step.build((None, self.event_size))
        super().build(input_shape)

    def forward(self, u: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        """z `[..., D]` and log |det dz/du| `[...]`, for u `[..., D]`."""
        u, log_det = tf.convert_to_tensor(u), 0.0
        for step in self.chain:
            u, added = step.forward(u, context)
            log_det += added
        return u, log_det

    def inverse(self, z: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        """u `[..., D]` and log |det dz/du| `[...]`, for z `[..., D]`."""
        z, log_det = tf.convert_to_tensor(z), 0.0
        for step in reversed(self.chain):
            z, added = step.inverse(z, context)
            log_det += added
        return z, log_det

    def call(self, u: tf.Tensor) -> tf.Tensor:
        return self.forward(u)[0]

    def bijector(self, context: tf.Tensor | None = None) -> tfb.Bijector:
        """The flow as a bijector of TFP."""
        return FlowBijector(self, context)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "steps": self.steps,
            "units": list(self.units),
            "activation": keras.activations.serialize(self.activation),
        }


class FlowBijector(tfb.Bijector):
    """A flow as a bijector of TFP, for one context.

    It keeps the log-determinant of what it mapped last, and TFP's cache keeps where a draw came from. So the log
    density of a draw needs no second pass through the networks, in either direction.

    Args:
        flow: the flow, built.
        context: what the networks see beside the vector, `[..., C]`, or None.
    """

    def __init__(self, flow: Flow, context: tf.Tensor | None = None, name: str = "flow") -> None:
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self._flow = flow
            self._context = context
            self._last: tf.Tensor | None = None
            self._last_log_det: tf.Tensor | None = None
            super().__init__(forward_min_event_ndims=1, parameters=parameters, name=name)

    # TFP shares its cache between equal bijectors. A flow's weights change, so each bijector equals only itself.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType | None) -> dict[str, Any]:
        return {}

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        y, log_det = self._flow.forward(x, self._context)
        self._last, self._last_log_det = x, log_det
        return y

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        x, log_det = self._flow.inverse(y, self._context)
        self._last, self._last_log_det = x, log_det
        return x

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        return self._last_log_det if x is self._last else self._flow.forward(x, self._context)[1]


@register
class RealNVP(Flow):
    """Affine coupling layers [DSB17, eq. 7 and 8]: both directions take one pass through each network.

    A step keeps some dimensions and moves the others, `z_b = u_b exp(s(u_a)) + t(u_a)`. The dimensions that steps keep
    are by turns the even, the odd, the first half and the second half. At first the flow is the identity.

    Args:
        steps: T, how many coupling layers; 2 or more, or some dimensions never move.
        units: the number of units of each hidden layer of a step's network.
        activation: of the hidden layers, as for `keras.layers.Dense`.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ModelError: `steps` is below 2, or a number of `units` is no integer of 1 or more; at `build`, a vector of one
            dimension, which has no two parts.
    """

    def __init__(
        self, steps: int = 4, units: Sequence[int] = (64, 64), activation: Activation = "relu", **kwargs: Any
    ) -> None:
        super().__init__(steps, units, activation, **kwargs)
        if self.steps < 2:
            raise ModelError(f"steps must be 2 or more, or some dimensions never move. Received: steps={steps!r}")

    def make_step(self, index: int, event_size: int) -> FlowStep:
        if event_size < 2:
            raise ModelError(
                "RealNVP must have 2 dimensions or more, one part to move by the other. Use MaskedAutoregressive. "
                f"Received: event_size={event_size}"
            )
        place = np.arange(event_size)
        kept = [place % 2 == 0, place % 2 == 1, place < event_size // 2, place >= event_size // 2][index % 4]
        return _AffineCoupling(kept, self.units, self.activation)


class _AffineCoupling(FlowStep):
    """A step of `RealNVP`, which keeps the dimensions `kept`, bool `[D]`."""

    def __init__(self, kept: np.ndarray, units: Sequence[int], activation: Activation) -> None:
        super().__init__()
        self.kept = kept.astype(np.float32).tolist()
        # Never in half precision: a log density is computed from it.
        dtype = keras.config.floatx()
        self.network = [
            *(keras.layers.Dense(n, activation, dtype=dtype) for n in units),
            keras.layers.Dense(2 * len(kept), kernel_initializer="zeros", dtype=dtype),
        ]

    def build(self, input_shape: Sequence[int | None]) -> None:
        for dense in self.network:
            dense.build(input_shape)
            input_shape = (None, dense.units)
        super().build(input_shape)

    def _shift_and_log_scale(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Both `[..., D]`, zero where x is kept. They depend on what is kept alone."""
        kept = tf.constant(self.kept, x.dtype)
        raw = x * kept
        if x.shape.rank == 1:  # A dense layer takes no bare vector.
            raw = raw[tf.newaxis]
        for dense in self.network:
            raw = dense(raw)
        shift, raw_scale = tf.split(raw[0] if x.shape.rank == 1 else raw, 2, axis=-1)
        return shift * (1.0 - kept), bounded(raw_scale, LOG_SCALE_BOUND) * (1.0 - kept)

    def forward(self, u: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        shift, log_scale = self._shift_and_log_scale(u)
        return u * tf.exp(log_scale) + shift, tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, z: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        shift, log_scale = self._shift_and_log_scale(z)
        return (z - shift) * tf.exp(-log_scale), tf.reduce_sum(log_scale, axis=-1)


class AutoregressiveStep(FlowStep):
    """A step by a network whose outputs for i depend only on what is before i: abstract.

    One direction takes one pass through the network, the other D + 1: it finds one dimension after the other, unrolled
    in the graph.

    Args:
        network: an `AutoregressiveNetwork` with `params=2`, "left-to-right" or "right-to-left".
    """

    def __init__(self, network: AutoregressiveNetwork) -> None:
        super().__init__()
        self.network = network

    def build(self, input_shape: Sequence[int | None]) -> None:
        if not self.network.built:
            self.network.build(input_shape)
        super().build(input_shape)

    def raw(self, x: tf.Tensor, context: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """The two outputs of the network, each `[..., D]`."""
        # The network refuses a context that it has no weights for.
        raw = self.network(x) if context is None else self.network(x, conditional_input=context)
        return raw[..., 0], raw[..., 1]

    def one_by_one(self, solve: Callable[[tf.Tensor], tf.Tensor], like: tf.Tensor) -> tf.Tensor:
        """The x with `x = solve(x)`, for a `solve` whose i-th value sees only the values of x before i."""
        size = like.shape[-1]
        order = range(size) if self.network.input_order == "left-to-right" else reversed(range(size))
        x = tf.zeros_like(like)
        for i in order:
            # Dimensions that are not solved yet stay zero, so they cannot overflow.
            x += solve(x) * tf.constant(np.eye(size)[i], like.dtype)
        return x


def input_order(index: int) -> str:
    """The order of the dimensions in a step: each step reverses the one before [KSJ+16]."""
    return "left-to-right" if index % 2 == 0 else "right-to-left"


@register
class MaskedAutoregressive(Flow):
    """Masked autoregressive flow [PP17, eq. 3 and 4]: a log density takes one pass through each network.

    A step is `z_i = u_i exp(a(z_1..i-1)) + m(z_1..i-1)`; each step reverses the order. A draw takes D + 1 passes
    through each network, one dimension after the other, and an exported graph holds them all: with many latents use
    `RealNVP`. At first the flow is the identity.

    Args:
        steps: T, how many networks.
        units: the number of units of each hidden layer of a network.
        activation: of the hidden layers, as for `keras.layers.Dense`.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ModelError: `steps`, or a number of `units`, is no integer of 1 or more.
    """

    def make_step(self, index: int, event_size: int) -> FlowStep:
        network = AutoregressiveNetwork(
            2, event_size, hidden_units=self.units, input_order=input_order(index), activation=self.activation
        )
        return _AffineAutoregressive(network)


class _AffineAutoregressive(AutoregressiveStep):
    """A step of `MaskedAutoregressive`."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        # The network's outputs are multiplied by gains that start at zero: at first the step changes nothing.
        self.gain = self.add_weight(name="gain", shape=(2, input_shape[-1]), initializer="zeros", autocast=False)
        super().build(input_shape)

    def _shift_and_log_scale(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shift, log_scale = self.raw(z, None)
        gain = tf.cast(self.gain, z.dtype)
        return gain[0] * shift, bounded(gain[1] * log_scale, LOG_SCALE_BOUND)

    def forward(self, u: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        def solve(z: tf.Tensor) -> tf.Tensor:
            shift, log_scale = self._shift_and_log_scale(z)
            return u * tf.exp(log_scale) + shift

        z = self.one_by_one(solve, u)
        return z, tf.reduce_sum(self._shift_and_log_scale(z)[1], axis=-1)

    def inverse(self, z: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        shift, log_scale = self._shift_and_log_scale(z)
        return (z - shift) * tf.exp(-log_scale), tf.reduce_sum(log_scale, axis=-1)
