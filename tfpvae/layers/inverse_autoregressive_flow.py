"""A posterior: a diagonal Gaussian through a flow.

[KSJ+16] Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling: Improved variational inference with inverse
autoregressive flow. NIPS 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.checks import non_negative_integer, positive_integer
from tfpvae.layers.autoregressive import AutoregressiveNetwork
from tfpvae.layers.base import ConvertToTensor, DistributionLayer, Parameters, register
from tfpvae.layers.constraints import check_size
from tfpvae.layers.flows import (
    GATE_BIAS,
    GATE_BOUND,
    Activation,
    AutoregressiveStep,
    Flow,
    FlowStep,
    Mapped,
    bounded,
    input_order,
)
from tfpvae.layers.multivariate_normal import MIN_SCALE
from tfpvae.random.tensorflow import normal_from_uniform


class _GatedAutoregressive(AutoregressiveStep):
    """z = g u + (1 - g) m: g and m depend on the dimensions before, and on the context [KSJ+16, eq. 13 and 14]."""

    def _mean_and_logit(self, u: tf.Tensor, context: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        mean, raw = self.raw(u, context)
        return mean, GATE_BIAS + bounded(raw, GATE_BOUND)

    def forward(self, u: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        mean, logit = self._mean_and_logit(u, context)
        gate = tf.sigmoid(logit)
        return gate * u + (1.0 - gate) * mean, tf.reduce_sum(tf.math.log_sigmoid(logit), axis=-1)

    def inverse(self, z: tf.Tensor, context: tf.Tensor | None = None) -> Mapped:
        def solve(u: tf.Tensor) -> tf.Tensor:
            mean, logit = self._mean_and_logit(u, context)
            # (1 - g) / g is exp(-logit), and 1 / g is one more.
            odds = tf.exp(-logit)
            return z + odds * (z - mean)

        u = self.one_by_one(solve, z)
        return u, tf.reduce_sum(tf.math.log_sigmoid(self._mean_and_logit(u, context)[1]), axis=-1)


class _GatedFlow(Flow):
    """The steps of `InverseAutoregressiveFlow`, whose networks see a context of `context_size`."""

    def __init__(self, context_size: int, steps: int, units: Sequence[int], activation: Activation) -> None:
        super().__init__(steps, units, activation)
        self.context_size = context_size

    def make_step(self, index: int, event_size: int) -> FlowStep:
        network = AutoregressiveNetwork(
            2,
            event_size,
            conditional=self.context_size > 0,
            conditional_event_shape=self.context_size or None,
            hidden_units=self.units,
            input_order=input_order(index),
            activation=self.activation,
        )
        return _GatedAutoregressive(network)


@register
class InverseAutoregressiveFlow(DistributionLayer):
    """A diagonal Gaussian and T inverse autoregressive steps: q(z given x) with dependent dimensions [KSJ+16].

    A draw takes one pass through each of the T networks, which gives its log density too: `log_prob` of the tensor
    that `sample` returned takes no pass. For any other z it takes D + 1 passes through each network, one dimension
    after the other, unrolled in the graph.

    The layer has weights of its own, and the distribution has neither a mean nor a mode in closed form: `mean` raises
    NotImplementedError. `center` is what stands for the mean where a point is needed.

    Args:
        event_size: D, the number of dimensions.
        context_size: C, how many numbers of the encoder's output all networks see beside z; None is D, and 0 is none.
        steps: T, how many steps; each reverses the order of the dimensions.
        units: the number of units of each hidden layer of a step's network.
        activation: of the hidden layers, as for `keras.layers.Dense`.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 2 D + C]` -> batch `[...]`, event `[D]`; `scale = softplus(.) + 1e-5`. The parameters are `loc` and
    `scale` of the Gaussian, and `context`.

    Raises:
        ModelError: a size, `steps` or a number of units is not an integer of at least 1; `context_size`: of at least 0.
    """

    def __init__(
        self,
        event_size: int,
        context_size: int | None = None,
        steps: int = 2,
        units: Sequence[int] = (64,),
        activation: Activation = "elu",
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(convert_to_tensor_fn, **kwargs)
        self.event_size = positive_integer("event_size", event_size)
        self.context_size = _context_size(self.event_size, context_size)
        self.validate_args = validate_args
        self.flow = _GatedFlow(self.context_size, steps, units, activation)

    def build(self, input_shape: Any) -> None:
        if not self.flow.built:
            self.flow.build((None, self.event_size))
        super().build(input_shape)

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        check_size(inputs, self.params_size(self.event_size, self.context_size), self)
        loc, raw_scale, context = tf.split(inputs, [self.event_size, self.event_size, self.context_size], axis=-1)
        named = {"loc": loc, "scale": tf.nn.softplus(raw_scale) + MIN_SCALE}
        return {**named, "context": context} if self.context_size else named

    def distribution(self, loc: tf.Tensor, scale: tf.Tensor, context: tf.Tensor | None = None) -> tfd.Distribution:
        base = tfd.MultivariateNormalDiag(loc, scale, validate_args=self.validate_args)
        return tfd.TransformedDistribution(base, self.flow.bijector(context))

    def center(self, parameters: Parameters) -> tf.Tensor:
        """The flow of the Gaussian's mean, `[..., D]`: a draw without noise, and not the mean of the distribution."""
        return self.flow.forward(parameters["loc"], parameters.get("context"))[0]

    @property
    def num_uniforms(self) -> int:
        return self.event_size + self.event_size % 2

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        normals = tf.cast(normal_from_uniform(uniforms)[:, : self.event_size], parameters["loc"].dtype)
        u = parameters["loc"] + parameters["scale"] * normals
        return self.flow.forward(u, parameters.get("context"))[0]

    @staticmethod
    def params_size(event_size: int, context_size: int | None = None, name: str | None = None) -> int:
        """How many inputs the layer takes: 2 D + C."""
        del name
        size = positive_integer("event_size", event_size)
        return 2 * size + _context_size(size, context_size)

    def get_config(self) -> dict[str, Any]:
        flow = self.flow.get_config()
        return {
            **super().get_config(),
            "event_size": self.event_size,
            "context_size": self.context_size,
            **{name: flow[name] for name in ("steps", "units", "activation")},
            "validate_args": self.validate_args,
        }


def _context_size(event_size: int, context_size: int | None) -> int:
    return event_size if context_size is None else non_negative_integer("context_size", context_size)
