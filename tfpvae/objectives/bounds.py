"""Bounds on log p(x): functions that return named terms of shape `[B]`, in nats.

The terms are summed over the event. The model takes the mean over the batch as its last step.

[KW14] Kingma, Welling: Auto-encoding variational Bayes. ICLR 2014.
[BGS16] Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016.
[HMP+17] Higgins et al.: beta-VAE: Learning basic visual concepts with a constrained variational framework. ICLR 2017.
[KSJ+16] Kingma et al.: Improving variational inference with inverse autoregressive flow. NeurIPS 2016.
[TLRM19] Tucker, Lawson, Gu, Maddison: Doubly reparameterized gradient estimators for Monte Carlo objectives. ICLR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.batch import Batch, Latents
from tfpvae.checks import positive_integer
from tfpvae.errors import ModelError
from tfpvae.layers.distribution_tensor import unwrap
from tfpvae.layers.kl import check_same_event, exact_kl, kl_divergence, kl_per_value, monte_carlo_kl
from tfpvae.priors.base import Prior


class BoundModel(Protocol):
    """The part of a model that a bound needs. `tfpvae.LatentVariableModel` implements it."""

    prior: Prior

    def posterior(self, batch: Batch, training: bool = False) -> tfd.Distribution:
        """q(z given x), or q(z given x, y)."""

    def prior_distribution(self, y: Any = None, training: bool = False) -> tfd.Distribution:
        """p(z), or p(z given y)."""

    def likelihood(self, latents: Latents, training: bool = False) -> tfd.Distribution:
        """p(x given z), or p(x given z, y)."""


class BoundTerms(Protocol):
    """The interface of an objective's result, each `[B]`, in nats. `Terms` implements it."""

    @property
    def bound(self) -> tf.Tensor:
        """What is maximised."""

    @property
    def log_likelihood(self) -> tf.Tensor:
        """log p(x given z)."""

    @property
    def kl(self) -> tf.Tensor:
        """KL(q || p), or an estimate of it."""

    @property
    def elbo(self) -> tf.Tensor:
        """The evidence lower bound."""


class Terms(NamedTuple):
    """A bound and its terms, each `[B]`, in nats."""

    bound: tf.Tensor
    """What is maximised."""
    log_likelihood: tf.Tensor
    """log p(x given z), averaged over the draws."""
    kl: tf.Tensor
    """KL(q || p) without beta, in closed form or as the mean over the draws of log q(z given x) - log p(z)."""

    @property
    def elbo(self) -> tf.Tensor:
        """The plain evidence lower bound, log p(x given z) - KL(q || p), for any objective: `[B]`, in nats."""
        return self.log_likelihood - self.kl


def elbo(
    model: BoundModel,
    batch: Batch | tf.Tensor,
    seed: tf.Tensor | None = None,
    training: bool = False,
    beta: float | tf.Tensor = 1.0,
) -> Terms:
    """E_q[log p(x given z)] by one draw, minus KL(q(z given x) || p(z)), exact if possible [KW14, eq. 3].

    Args:
        model: the model.
        batch: the data; a tensor x `[B, *event_shape]` for a model without a condition.
        seed: a stateless seed, int32 `[2]`; None draws from TensorFlow's global generator.
        training: whether the networks run in training mode.
        beta: a factor of the KL. A value other than 1 gives the beta-ELBO [HMP+17, eq. 4], a bound if beta >= 1.

    Returns:
        The terms, each `[B]`.
    """
    batch = Batch.of(batch)
    q = unwrap(model.posterior(batch, training=training))
    return elbo_at(model, q, q.sample(seed=seed), batch, training, beta)


def elbo_at(
    model: BoundModel,
    q: tfd.Distribution,
    z: tf.Tensor,
    batch: Batch | tf.Tensor,
    training: bool = False,
    beta: float | tf.Tensor = 1.0,
) -> Terms:
    """The terms of `elbo` at a given draw `z` `[B, D]` of `q`."""
    batch = Batch.of(batch)
    log_likelihood = unwrap(model.likelihood(Latents(z, batch.y), training=training)).log_prob(batch.x)
    p = unwrap(model.prior_distribution(batch.y, training=training))
    # `kl_divergence` warns if there is no closed form. A prior that never has one needs no warning.
    kl = kl_divergence(q, p, z) if model.prior.closed_form_kl else _quiet_kl(q, p, z)
    return Terms(log_likelihood - beta * kl, log_likelihood, kl)


def _quiet_kl(q: tfd.Distribution, p: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
    check_same_event(q, p)
    exact = exact_kl(q, p)
    return monte_carlo_kl(q, p, z) if exact is None else exact


def free_bits(
    model: BoundModel,
    batch: Batch | tf.Tensor,
    nats: float,
    seed: tf.Tensor | None = None,
    training: bool = False,
    beta: float | tf.Tensor = 1.0,
) -> Terms:
    """The ELBO with at least `nats` of KL per latent, so that no latent gains by collapsing [KSJ+16, eq. 15].

    As in the paper, the minimum applies to the batch mean of each latent's KL. The KL term in the bound is therefore
    the same for all rows.

    Args:
        model: the model. Its posterior and prior are Gaussians with independent latents.
        batch: the data; a tensor x `[B, *event_shape]` for a model without a condition.
        nats: the minimum KL per latent, 0 or more.
        seed, training, beta: as for `elbo`.

    Returns:
        The terms, each `[B]`; `kl` is the true KL, without the minimum.

    Raises:
        ModelError: the KL is not a sum over the latents.
    """
    batch = Batch.of(batch)
    q = unwrap(model.posterior(batch, training=training))
    per_latent = kl_per_value(q, unwrap(model.prior_distribution(batch.y, training=training)))
    if per_latent is None:
        raise ModelError(NO_FREE_BITS)
    p_x = unwrap(model.likelihood(Latents(q.sample(seed=seed), batch.y), training=training))
    log_likelihood = p_x.log_prob(batch.x)
    counted = tf.reduce_sum(tf.maximum(tf.reduce_mean(per_latent, axis=0), nats))
    return Terms(log_likelihood - beta * counted, log_likelihood, tf.reduce_sum(per_latent, axis=-1))


NO_FREE_BITS = (
    "FreeBits must have a KL that is a sum over the latents, as that of two Gaussians of independent values is. "
    "Use a posterior such as tfpvae.layers.MultivariateNormalDiag with the standard prior, or another objective."
)


def iwae(
    model: BoundModel,
    batch: Batch | tf.Tensor,
    k: int,
    seed: tf.Tensor | None = None,
    training: bool = False,
    beta: float | tf.Tensor = 1.0,
) -> Terms:
    """log 1/k sum_s p(x, z_s) / q(z_s given x), z_s ~ q(z given x) for s = 1 to k [BGS16, eq. 8].

    Its expectation is at most log p(x), does not decrease in k, and is the ELBO at k = 1.

    Args:
        model: the model. The decoder takes k B rows at once.
        batch: the data; a tensor x `[B, *event_shape]` for a model without a condition.
        k: how many draws.
        seed: a stateless seed, int32 `[2]`; None draws from TensorFlow's global generator.
        training: whether the networks run in training mode.
        beta: a factor of log q(z given x) - log p(z) in the weights. With 1 the result is a bound on log p(x).

    Returns:
        The bound, and the terms of the ELBO from the same draws, each `[B]`. `terms.elbo` estimates the bound at k = 1;
        `terms.bound` minus `terms.elbo` is the gain of k draws.

    Raises:
        ModelError: k is not an integer of at least 1.
    """
    draws = _draws(model, batch, k, seed, training)
    return _iwae_terms(model, draws, draws.log_likelihood - beta * draws.log_ratio, k)


def _iwae_terms(model: BoundModel, draws: _Draws, weights: tf.Tensor, k: int) -> Terms:
    # The KL is reported here, not maximised.
    kl = exact_kl(draws.q, draws.p) if model.prior.closed_form_kl else None
    return Terms(
        bound=tf.reduce_logsumexp(weights, axis=0) - math.log(k),
        log_likelihood=tf.reduce_mean(draws.log_likelihood, axis=0),
        kl=tf.reduce_mean(draws.log_ratio, axis=0) if kl is None else kl,
    )


def dreg(
    model: BoundModel,
    batch: Batch | tf.Tensor,
    k: int,
    seed: tf.Tensor | None = None,
    training: bool = False,
    beta: float | tf.Tensor = 1.0,
) -> Terms:
    """The bound of `iwae`, with the doubly reparameterised gradient of the encoder's weights [TLRM19, eq. 8].

    The value and the expected gradient are those of `iwae`. The variance of the encoder's gradient is smaller; that of
    `iwae` is lost in noise as k grows. The encoder's gradient is sum_s w_s^2 d log W_s / d z_s d z_s / d phi. W_s are
    the importance weights, computed with the parameters of q held fixed, and w_s are their shares of the sum. Decoder
    and prior have the gradient of `iwae`. A prior built from the encoder cannot be used: its gradient would be wrong.

    Args, returns and errors are those of `iwae`.
    """
    shares: list[tf.Tensor] = []

    @tf.custom_gradient
    def share_of_gradient(z: tf.Tensor) -> tuple[tf.Tensor, Any]:
        # The shares are known by the backward pass. The first factor w_s comes from `sum_s w_s log W_s` below.
        return tf.identity(z), lambda gradient: gradient * shares[0][..., tf.newaxis]

    draws = _draws(model, batch, k, seed, training, share_of_gradient)
    weights = draws.log_likelihood - beta * (draws.log_ratio - draws.score)
    shares.append(tf.stop_gradient(tf.nn.softmax(weights, axis=0)))
    terms = _iwae_terms(model, draws, weights, k)
    surrogate = tf.reduce_sum(shares[0] * weights, axis=0)
    return terms._replace(bound=tf.stop_gradient(terms.bound - surrogate) + surrogate)


def log_weights(
    model: BoundModel,
    batch: Batch | tf.Tensor,
    k: int,
    seed: tf.Tensor | None = None,
    training: bool = False,
) -> tf.Tensor:
    """log p(x, z) - log q(z given x) at k draws of q(z given x): the log of the importance weights [BGS16, eq. 8].

    Their mean estimates the ELBO; the log of the mean of their exponentials is the bound of `iwae`.

    Args:
        model: the model. The decoder takes k B rows at once.
        batch: the data; a tensor x `[B, *event_shape]` for a model without a condition.
        k: how many draws.
        seed: a stateless seed, int32 `[2]`; None draws from TensorFlow's global generator.
        training: whether the networks run in training mode.

    Returns:
        `[k, B]`, in nats.

    Raises:
        ModelError: k is not an integer of at least 1.
    """
    draws = _draws(model, batch, k, seed, training)
    return draws.log_likelihood - draws.log_ratio


def log_joint(model: BoundModel, batch: Batch | tf.Tensor, z: tf.Tensor, training: bool = False) -> tf.Tensor:
    """log p(x, z) = log p(x given z) + log p(z).

    Args:
        model: the model.
        batch: the data; a tensor x `[B, *event_shape]` for a model without a condition.
        z: one latent per row of x, `[B, D]`, or k per row, `[k, B, D]`.
        training: whether the decoder runs in training mode.

    Returns:
        `[B]` or `[k, B]`, in nats.

    Raises:
        ModelError: z does not have one latent, or k latents, per row of x.
    """
    batch = Batch.of(batch)
    p = unwrap(model.prior_distribution(batch.y, training=training))
    return log_likelihood(model, batch, z, training) + p.log_prob(z)


def log_likelihood(model: BoundModel, batch: Batch | tf.Tensor, z: tf.Tensor, training: bool = False) -> tf.Tensor:
    """log p(x given z). Args, returns and errors are those of `log_joint`."""
    x, y = Batch.of(batch)
    x, z = tf.convert_to_tensor(x), tf.convert_to_tensor(z)
    if z.shape.rank not in (2, 3) or not z.shape[-2:-1].is_compatible_with(x.shape[:1]):
        raise ModelError(
            f"z must have shape [B, D] or [k, B, D] for x of shape [B, ...]. Received: z of shape {z.shape}, "
            f"x of shape {x.shape}"
        )
    if z.shape.rank == 2:
        return unwrap(model.likelihood(Latents(z, y), training=training)).log_prob(x)
    # Decoders take [B, D]: the k draws are stacked as rows, and the batch is repeated k times.
    k = tf.shape(z)[0]
    repeated = Batch(x, y).repeat(k)
    latents = Latents(tf.reshape(z, [-1, z.shape[-1]]), repeated.y)
    return tf.reshape(unwrap(model.likelihood(latents, training=training)).log_prob(repeated.x), [k, -1])


class _Draws(NamedTuple):
    """q, p(z), and for k draws of q: log p(x given z) and log q(z given x) - log p(z), each `[k, B]`."""

    q: tfd.Distribution
    p: tfd.Distribution
    log_likelihood: tf.Tensor
    log_ratio: tf.Tensor
    score: tf.Tensor | float
    """Zero in value; its gradient is that of log q(z given x) at a fixed z, which DReG removes."""


def _draws(
    model: BoundModel,
    batch: Batch | tf.Tensor,
    k: int,
    seed: tf.Tensor | None,
    training: bool,
    wrap: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> _Draws:
    positive_integer("k", k)
    batch = Batch.of(batch)
    q = unwrap(model.posterior(batch, training=training))
    p = unwrap(model.prior_distribution(batch.y, training=training))
    z = q.sample(k, seed=seed)
    score: tf.Tensor | float = 0.0
    if wrap is not None:
        z = wrap(z)
        of_q = q.log_prob(tf.stop_gradient(z))
        score = of_q - tf.stop_gradient(of_q)
    return _Draws(
        q=q,
        p=p,
        log_likelihood=log_likelihood(model, batch, z, training),
        log_ratio=monte_carlo_kl(q, p, z),
        score=score,
    )
