"""The KL divergence as a regulariser, and as a layer that adds it to the loss.

[KSJ+16] Kingma et al.: Improving variational inference with inverse autoregressive flow. NeurIPS 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.checks import number
from tfpvae.errors import ModelError
from tfpvae.layers.base import deserialize_callable, register, serialize_callable
from tfpvae.layers.distribution_config import deserialize_distribution, serialize_distribution
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap
from tfpvae.layers.kl import check_same_event, kl_divergence, kl_per_value, monte_carlo_kl
from tfpvae.layers.owned_variables import OwnedVariables

Schedule = keras.optimizers.schedules.LearningRateSchedule
Weight: TypeAlias = float | tf.Variable | keras.Variable | keras.optimizers.schedules.LearningRateSchedule
Reference: TypeAlias = tfd.Distribution | keras.layers.Layer | Callable[[], tfd.Distribution]
TestPoints = Callable[[tfd.Distribution], tf.Tensor]


@register
class KLDivergenceRegularizer(keras.Regularizer):
    """weight KL(q || distribution_b), the mean over the batch, in nats.

    Given to a distribution layer as `activity_regularizer`, it is added once per call to the model's losses: a sum over
    the event and a mean over the batch and over draws, which is the scale of `loss=lambda x, rv: -rv.log_prob(x)`.

    Differs from `tfp.layers`: exact by default where a closed form exists (TFP's default was a noisy one-draw
    estimate), and the mean over the batch whatever Keras does with a regulariser's result (TFP's was the sum, which
    Keras 2 divided by the batch's size and Keras 3.12 does not). Variables of `distribution_b` and of `weight` are
    trained and saved with the layer.

    Args:
        distribution_b: the distribution to stay close to; a function of no arguments that returns it; or a Keras model
            or layer that returns it whatever its input, such as `VariableLayer` and a distribution layer in a row.
        use_exact_kl: whether to use the closed form where there is one; otherwise Monte Carlo, with one warning. False
            is Monte Carlo always. None, the default, is True unless test points are given.
        test_points_reduce_axis: the axes over which a Monte Carlo estimate is averaged; as for `tf.reduce_mean`.
        test_points_fn: takes the layer's distribution, returns the points of the Monte Carlo estimate. The default is
            the layer's own draw.
        weight: a factor of the divergence; None is 1. A number, a variable, or a schedule: `tfpvae.schedules.KLWarmUp`
            or any of `keras.optimizers.schedules`, a function of the number of training batches seen.
        free_bits: nats per value of the event that cost nothing [KSJ+16, eq. 15]. For two Gaussians with independent
            values, each value's divergence, averaged over the batch, counts as at least this. For all others, the
            whole divergence counts as at least this times the event's size.

    Raises:
        ModelError: an argument is of the wrong kind.
    """

    def __init__(
        self,
        distribution_b: Reference,
        use_exact_kl: bool | None = None,
        test_points_reduce_axis: int | tuple[int, ...] | None = (),
        test_points_fn: TestPoints = tf.convert_to_tensor,
        weight: Weight | None = None,
        free_bits: float = 0.0,
    ) -> None:
        if not (isinstance(distribution_b, tfd.Distribution) or callable(distribution_b)):
            raise ModelError(
                "distribution_b must be a tfd.Distribution or a function that returns one. "
                f"Received: distribution_b={distribution_b!r}"
            )
        _check_weight(weight)
        self.distribution_b = distribution_b
        self.use_exact_kl = use_exact_kl
        self.test_points_reduce_axis = test_points_reduce_axis
        self.test_points_fn = test_points_fn
        self.weight = weight
        self.free_bits = number("free_bits", free_bits, least=0)
        self.owned_variables = OwnedVariables()
        self.owned_variables.adopt(distribution_b)
        self.owned_variables.adopt(weight)
        self.steps: Any = None
        if isinstance(weight, Schedule):
            # Each replica counts for itself: waiting for the others, it would find their losses in place of its own.
            self.steps = keras.Variable(0, dtype="int64", trainable=False, aggregation="none", name="steps")
            self.owned_variables.adopt(self.steps)

    @property
    def _exact(self) -> bool:
        if self.use_exact_kl is None:
            return self.test_points_fn is tf.convert_to_tensor and self.test_points_reduce_axis in ((), [], None)
        return self.use_exact_kl

    def _reference(self) -> tfd.Distribution:
        if isinstance(self.distribution_b, tfd.Distribution):
            return unwrap(self.distribution_b)
        if isinstance(self.distribution_b, keras.layers.Layer):
            p = self.distribution_b(tf.zeros([]))
        else:
            p = self.distribution_b()
            self.owned_variables.adopt(p)
        if not isinstance(p, tfd.Distribution):
            raise ModelError(f"distribution_b must return a tfd.Distribution. Received: {p!r}")
        return unwrap(p)

    def divergence(self, distribution_a: tfd.Distribution) -> tf.Tensor:
        """KL(distribution_a || distribution_b) for each member of the batch, unweighted, in nats."""
        return self._divergence(distribution_a, self._reference())

    def _divergence(self, q: tfd.Distribution, p: tfd.Distribution) -> tf.Tensor:
        if self._exact:
            return kl_divergence(q, p, self.test_points_fn)
        check_same_event(q, p)
        estimate = monte_carlo_kl(q, p, self.test_points_fn(q))
        return tf.reduce_mean(estimate, axis=self.test_points_reduce_axis)

    def current_weight(self) -> tf.Tensor | float:
        """The factor at this step."""
        if self.weight is None:
            return 1.0
        return self.weight(self.steps) if isinstance(self.weight, Schedule) else self.weight

    def count_step(self) -> None:
        """Tells a schedule that a training batch has passed; the layers call it."""
        if self.steps is not None:
            self.steps.assign_add(1)

    def __call__(self, distribution_a: tfd.Distribution) -> tf.Tensor:
        p = self._reference()
        per_value = kl_per_value(distribution_a, p) if self.free_bits and self._exact else None
        if per_value is not None:
            check_same_event(distribution_a, p)
            rank = distribution_a.event_shape.rank
            per_value = tf.reduce_mean(per_value, axis=list(range(per_value.shape.rank - rank)))
            kl = tf.reduce_sum(tf.maximum(per_value, self.free_bits))
        else:
            kl = tf.reduce_mean(self._divergence(distribution_a, p))
            if self.free_bits:
                size = tf.cast(tf.reduce_prod(distribution_a.event_shape_tensor()), kl.dtype)
                kl = tf.maximum(kl, self.free_bits * size)
        return kl if self.weight is None else tf.cast(self.current_weight(), kl.dtype) * kl

    def get_config(self) -> dict[str, Any]:
        if isinstance(self.distribution_b, tfd.Distribution):
            reference = serialize_distribution(self.distribution_b)
        elif isinstance(self.distribution_b, keras.layers.Layer):
            reference = {"keras": keras.saving.serialize_keras_object(self.distribution_b)}
        else:
            reference = serialize_callable(self.distribution_b)
        points = None if self.test_points_fn is tf.convert_to_tensor else serialize_callable(self.test_points_fn)
        axis = self.test_points_reduce_axis
        return {
            "distribution_b": reference,
            "use_exact_kl": self.use_exact_kl,
            "test_points_reduce_axis": axis if axis is None or isinstance(axis, int) else list(axis),
            "test_points_fn": points,
            "weight": _serialize_weight(self.weight),
            "free_bits": self.free_bits,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KLDivergenceRegularizer:
        return cls(**_constructor_arguments(config))


def _check_weight(weight: Any) -> None:
    if weight is None or isinstance(weight, tf.Variable | keras.Variable | Schedule):
        return
    if isinstance(weight, bool) or callable(weight) or isinstance(weight, str):
        raise ModelError(
            "weight must be a number, a variable, or a schedule, such as tfpvae.schedules.KLWarmUp(steps=1000). "
            f"Received: weight={weight!r}"
        )
    if tf.convert_to_tensor(weight).shape.rank != 0:
        raise ModelError(f"weight must be one number. Received: weight={weight!r}")


def _serialize_weight(weight: Any) -> Any:
    if isinstance(weight, Schedule):
        return keras.saving.serialize_keras_object(weight)
    if isinstance(weight, tf.Variable | keras.Variable):
        return {"variable": float(weight.numpy()), "trainable": weight.trainable}
    return None if weight is None else float(weight)


def _deserialize_weight(config: Any) -> Any:
    if isinstance(config, dict) and "variable" in config:
        return keras.Variable(config["variable"], trainable=config["trainable"], name="weight", autocast=False)
    return keras.saving.deserialize_keras_object(config) if isinstance(config, dict) else config


def _constructor_arguments(config: dict[str, Any]) -> dict[str, Any]:
    config = dict(config)
    reference = config["distribution_b"]
    if "distribution" in reference:
        config["distribution_b"] = deserialize_distribution(reference)
    elif "keras" in reference:
        config["distribution_b"] = keras.saving.deserialize_keras_object(reference["keras"])
    else:
        config["distribution_b"] = deserialize_callable(reference)
    points = config.pop("test_points_fn", None)
    if points is not None:
        config["test_points_fn"] = deserialize_callable(points)
    axis = config.get("test_points_reduce_axis")
    config["test_points_reduce_axis"] = tuple(axis) if isinstance(axis, list) else axis
    config["weight"] = _deserialize_weight(config.get("weight"))
    return config


@register
class KLDivergenceAddLoss(keras.layers.Layer):
    """Adds weight KL(q || distribution_b) to the model's losses, and passes the distribution q on.

    The same as a `KLDivergenceRegularizer` on the layer before, for where the prior is to be a layer of its own.
    It differs from `tfp.layers` as the regulariser does. Its output is the distribution that went in, with its draw.

    Args:
        distribution_b: see `KLDivergenceRegularizer`.
        use_exact_kl: see `KLDivergenceRegularizer`.
        test_points_reduce_axis: see `KLDivergenceRegularizer`; None, the default, means all axes.
        test_points_fn: see `KLDivergenceRegularizer`.
        weight: see `KLDivergenceRegularizer`.
        free_bits: see `KLDivergenceRegularizer`.
        **kwargs: those of `keras.layers.Layer`.

    Call: the output of a distribution layer -> the same.

    Raises:
        ModelError: called on something that is no distribution.
    """

    def __init__(
        self,
        distribution_b: Reference,
        use_exact_kl: bool | None = None,
        test_points_reduce_axis: int | tuple[int, ...] | None = None,
        test_points_fn: TestPoints = tf.convert_to_tensor,
        weight: Weight | None = None,
        free_bits: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # Keras would cast the tensor of a distribution to the half precision of a mixed policy.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.regularizer = KLDivergenceRegularizer(
            distribution_b, use_exact_kl, test_points_reduce_axis, test_points_fn, weight, free_bits
        )
        self.owned_variables = self.regularizer.owned_variables

    def call(self, inputs: DistributionTensor, training: bool | None = None) -> DistributionTensor:
        if not isinstance(inputs, tfd.Distribution):
            raise ModelError(
                "KLDivergenceAddLoss must follow a distribution layer, such as tfpvae.layers.MultivariateNormalTriL. "
                f"Received: {type(inputs).__name__}"
            )
        self.add_loss(self.regularizer(inputs))
        if training:
            self.regularizer.count_step()
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.regularizer.get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KLDivergenceAddLoss:
        return cls(**_constructor_arguments(config))
