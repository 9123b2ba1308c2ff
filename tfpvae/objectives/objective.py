"""Training objectives: the bounds with their settings, saved with the model.

Citations are listed in `tfpvae.objectives.bounds`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.batch import Batch
from tfpvae.checks import number, positive_integer
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.distribution_tensor import unwrap
from tfpvae.layers.kl import kl_per_value
from tfpvae.objectives.bounds import (
    NO_FREE_BITS,
    BoundModel,
    BoundTerms,
    Terms,
    dreg,
    elbo,
    free_bits,
    iwae,
)
from tfpvae.priors.base import Prior

Beta: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
"""A factor of the KL: a number, or a schedule of it over the training steps, such as `tfpvae.schedules.KLWarmUp`."""


class Objective:
    """The quantity that a model maximises, saved with the model. Abstract.

    Args:
        beta: a factor of the KL: a number, or a schedule over the training steps, such as
            `tfpvae.schedules.KLWarmUp(steps=5000)`. The objective owns it; the optimizer counts the steps.

    Raises:
        ModelError: beta is neither a number of 0 or more nor a schedule.
    """

    def __init__(self, beta: Beta = 1.0) -> None:
        schedule = isinstance(beta, keras.optimizers.schedules.LearningRateSchedule)
        number = isinstance(beta, int | float | np.number) and not isinstance(beta, bool)
        if not schedule and not (number and 0 <= float(beta) < math.inf):
            raise ModelError(
                "beta must be a number of 0 or more, or a schedule such as tfpvae.schedules.KLWarmUp(steps=1000). "
                f"Received: beta={beta!r}"
            )
        self.beta = beta if schedule else float(beta)

    def __call__(
        self,
        model: BoundModel,
        batch: Batch | tf.Tensor,
        seed: tf.Tensor | None = None,
        training: bool = False,
        step: Any = 0,
    ) -> BoundTerms:
        """The bound and its terms, each `[B]`, in nats.

        Args:
            model: the model.
            batch: the data; a tensor x `[B, *event_shape]` for a model without a condition.
            seed: a stateless seed, int32 `[2]`; None draws from TensorFlow's global generator.
            training: whether the networks run in training mode.
            step: the number of training steps made so far.
        """
        return self.function()(model, Batch.of(batch), seed=seed, training=training, beta=self.beta_at(step))

    def function(self) -> Callable[..., BoundTerms]:
        """The bound: a function of a model, a `Batch`, seed, training and beta."""
        raise NotImplementedError

    def check(self, prior: Prior, q: tfd.Distribution, p: tfd.Distribution) -> None:
        """Refuses a model whose bound cannot be computed.

        Args:
            prior: the model's prior.
            q: the posterior for one row.
            p: the prior's distribution for that row.

        Raises:
            ModelError: the bound cannot be computed.
        """
        if q.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
            raise ModelError(
                f"{type(self).__name__} must have a posterior that is reparameterised: the gradient comes through its "
                "draws, and would be None. Use one such as tfpvae.layers.MultivariateNormalDiag. "
                f"Received: {unwrap(q).name}"
            )

    def beta_at(self, step: Any) -> Any:
        """The factor of the KL after `step` training steps."""
        return self.beta if isinstance(self.beta, float) else self.beta(step)

    def get_config(self) -> dict[str, Any]:
        beta = self.beta
        return {"beta": beta if isinstance(beta, float) else keras.saving.serialize_keras_object(beta)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Objective:
        config = dict(config)
        if isinstance(config["beta"], dict):
            config["beta"] = keras.saving.deserialize_keras_object(config["beta"])
        return cls(**config)


@register
class Elbo(Objective):
    """The evidence lower bound [KW14, eq. 3], the default. `beta` other than 1: the beta-ELBO [HMP+17, eq. 4]."""

    def function(self) -> Callable[..., Terms]:
        return elbo


@register
class FreeBits(Objective):
    """The ELBO with at least `nats` of KL per latent [KSJ+16, eq. 15]; see `free_bits`.

    Args:
        nats: the minimum KL per latent, 0 or more.
        beta: as for `Objective`.

    Raises:
        ModelError: nats is not a number of at least 0.
    """

    def __init__(self, nats: float, beta: Beta = 1.0) -> None:
        super().__init__(beta)
        self.nats = number("nats", nats, least=0)

    def function(self) -> Callable[..., Terms]:
        return functools.partial(free_bits, nats=self.nats)

    def check(self, prior: Prior, q: tfd.Distribution, p: tfd.Distribution) -> None:
        super().check(prior, q, p)
        if kl_per_value(q, p) is None:
            raise ModelError(NO_FREE_BITS)

    def get_config(self) -> dict[str, Any]:
        return {"nats": self.nats, **super().get_config()}


@register
class Iwae(Objective):
    """The importance-weighted bound of k draws [BGS16, eq. 8]; see `iwae`.

    Args:
        k: the number of draws, at least 1. The decoder takes k rows per row of the batch.
        beta: as for `Objective`.

    Raises:
        ModelError: k is not an integer of at least 1.
    """

    def __init__(self, k: int, beta: Beta = 1.0) -> None:
        super().__init__(beta)
        self.k = positive_integer("k", k)

    def function(self) -> Callable[..., Terms]:
        return functools.partial(iwae, k=self.k)

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, **super().get_config()}


@register
class DReG(Iwae):
    """`Iwae` with the doubly reparameterised gradient [TLRM19]: less noise in the encoder's gradient; see `dreg`."""

    def function(self) -> Callable[..., Terms]:
        return functools.partial(dreg, k=self.k)

    def check(self, prior: Prior, q: tfd.Distribution, p: tfd.Distribution) -> None:
        super().check(prior, q, p)
        if prior.shares_encoder:
            raise ModelError(
                f"DReG must have a prior that does not share the encoder's weights: its gradient holds them fixed in "
                f"q, and would be wrong for {type(prior).__name__}. Use Iwae, or another prior."
            )
