"""What each latent is used for: active units, the KL of each, the dimension of the data's manifold.

[BGS16] Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016.
[DW19] Dai, Wipf: Diagnosing and enhancing VAE models. ICLR 2019.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import tensorflow as tf

from tfpvae.batch import Batch, Latents
from tfpvae.errors import ModelError
from tfpvae.evaluate.rows import BATCH_SIZE, batches, checked
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap, wrap
from tfpvae.layers.kl import kl_per_value
from tfpvae.models import LatentVariableModel, sampling

_DRAWS: Final = 64
"""Of each half, where a posterior has no mean in closed form."""


class ActiveUnits(NamedTuple):
    """Which latents say something of x."""

    variances: np.ndarray
    """Var_x(E_q[z_d]), float64 `[D]`."""
    threshold: float

    @property
    def active(self) -> np.ndarray:
        """Which latents are active, bool `[D]`."""
        return self.variances > self.threshold

    @property
    def num_active(self) -> int:
        """How many are."""
        return int(self.active.sum())

    @property
    def most_active(self) -> np.ndarray:
        """The latents' numbers, from the most active to the least: int `[D]`."""
        return np.argsort(-self.variances, kind="stable")


def active_units(
    vae: LatentVariableModel, x: Any, threshold: float = 0.01, *, y: Any = None, batch_size: int = BATCH_SIZE
) -> ActiveUnits:
    """The latents whose posterior mean moves with x: Var_x(E_q[z_d]) > threshold [BGS16, section 5].

    The variance of the means falls into two clusters, far from each other, and 0.01 lies between them, says the paper.
    For a posterior without a mean in closed form, such as a flow's, it is estimated, without bias, by the covariance of
    the means of two independent sets of draws.

    Args:
        vae: the model.
        x: `[N, *event_shape]`, N at least 2.
        threshold: above which a latent counts.
        y: of a conditional model, one for each row or one for all.
        batch_size: how many rows at once.

    Returns:
        The variances, and what follows from them.

    Raises:
        DataError: x is not as said.
        ModelError: a single row, whose means have no variance.
    """
    means = posterior_means(vae, checked(vae, x, y), batch_size)
    if means.shape[1] < 2:
        raise ModelError("Active units are told by how z moves with x. Received: x of one row")
    first, second = means - means.mean(axis=1, keepdims=True)
    return ActiveUnits((first * second).sum(axis=0) / (means.shape[1] - 1), threshold)


def posterior_means(vae: LatentVariableModel, data: Batch, batch_size: int = BATCH_SIZE) -> np.ndarray:
    """E_q[z] of each row, or two independent estimates of it where it has no closed form: float64 `[2, N, D]`."""
    found = []
    for _, batch in batches(data, vae, batch_size):
        rv = wrap(vae.posterior(batch))
        try:
            mean = sampling.mean(rv)
            found.append(np.stack([mean, mean]))
        except NotImplementedError:
            draws = rv.tensor_distribution.sample(2 * _DRAWS, seed=tf.constant([0, len(found)])).numpy()
            found.append(draws.reshape(2, _DRAWS, *draws.shape[1:]).mean(axis=1))
    return np.concatenate(found, axis=1).astype(np.float64)


def kl_per_latent(vae: LatentVariableModel, x: Any, *, y: Any = None, batch_size: int = BATCH_SIZE) -> np.ndarray:
    """KL(q(z_d given x) || p(z_d)) of each latent, its mean over x: float64 `[D]`, in nats. It sums to the whole KL.

    Exact, and only there: for a Gaussian q and a Gaussian p(z) whose latents are independent. Otherwise the KL is no
    sum over latents.

    Args:
        vae: the model.
        x: `[N, *event_shape]`.
        y: of a conditional model, one for each row or one for all.
        batch_size: how many rows at once.

    Raises:
        DataError: x is not as said.
        ModelError: posterior or prior is no Gaussian with independent latents.
    """
    total, data = 0.0, checked(vae, x, y)
    for _, batch in batches(data, vae, batch_size):
        q, p = unwrap(vae.posterior(batch)), unwrap(vae.prior_distribution(batch.y))
        values = kl_per_value(q, p)
        if values is None:
            raise ModelError(
                "The KL of each latent is defined where posterior and prior are Gaussians with independent latents: "
                "otherwise the KL is no sum over latents. Received: "
                f"{type(unwrap(q)).__name__} and {type(unwrap(p)).__name__}. Use active_units, or rate_distortion "
                "for the KL as a whole."
            )
        total = total + values.numpy().astype(np.float64).sum(axis=0)
    return np.asarray(total / len(data.x))


class ManifoldDimension(NamedTuple):
    """How many latents the data needs."""

    variances: np.ndarray
    """Var_q(z_d given x) over the prior's variance of z_d, its mean over x, float64 `[D]`."""
    threshold: float
    gamma: float | None
    """The likelihood's variance, where it has the same for all values; the estimate means something if it is small."""

    @property
    def dimension(self) -> int:
        """How many latents have a variance below the threshold."""
        return int((self.variances < self.threshold).sum())

    @property
    def gap(self) -> tuple[float, float]:
        """The largest variance below the threshold and the smallest above it: far from each other if the count is sure.

        0 and 1, where the two clusters tend to, in place of one that is not there.
        """
        below, above = self.variances[self.variances < self.threshold], self.variances[self.variances >= self.threshold]
        return float(below.max(initial=0.0)), float(above.min(initial=np.inf)) if len(above) else 1.0


def manifold_dimension(
    vae: LatentVariableModel, x: Any, threshold: float = 0.25, *, y: Any = None, batch_size: int = BATCH_SIZE
) -> ManifoldDimension:
    """The dimension of the manifold that x lies near: how many latents the posterior pins down [DW19, section 3].

    At the optimum of a VAE whose likelihood is N(decoder(z), gamma I) with a learned gamma, gamma falls to the noise,
    and the latents fall into two clusters: one for each dimension of the manifold, whose posterior variance goes to 0
    with gamma; and superfluous ones, which stay at the prior, at variance 1. The estimate counts the first. With gamma
    fixed at 1 it is no such estimate: a dimension whose spread in x is less than the noise is then cheaper to
    leave out.

    Args:
        vae: the model; for the reasoning to hold, one that ends in `SphericalNormal(..., learn_scale=True)`.
        x: `[N, *event_shape]`.
        threshold: of the posterior's variance, in units of the prior's; anything between the clusters gives the same.
            On a curved manifold superfluous latents may be used here and there, and their mean variance lies below 1.
        y: of a conditional model, one for each row or one for all.
        batch_size: how many rows at once.

    Raises:
        DataError: x is not as said.
        ModelError: posterior or prior has no variance in closed form.
    """
    data, total = checked(vae, x, y), 0.0
    for _, batch in batches(data, vae, batch_size):
        rv = wrap(vae.posterior(batch))
        prior_variance = _variance(unwrap(vae.prior_distribution(batch.y)), "prior")
        total = total + (_variance(rv.tensor_distribution, "posterior") / prior_variance).sum(axis=0)
    gamma = _shared_scale(wrap(vae.likelihood(Latents(sampling.mean(rv), batch.y))))
    return ManifoldDimension(
        variances=np.asarray(total / len(data.x)),
        threshold=threshold,
        gamma=None if gamma is None else gamma**2,
    )


def _variance(distribution: Any, what: str) -> np.ndarray:
    try:
        return distribution.variance().numpy().astype(np.float64)
    except NotImplementedError as error:
        raise ModelError(
            f"The manifold's dimension is told by the variance of the posterior beside the prior's, and the {what} has "
            f"none in closed form: {type(unwrap(distribution)).__name__}. Use Gaussian ones."
        ) from error


def _shared_scale(p_x: DistributionTensor) -> float | None:
    """The standard deviation of a Gaussian likelihood, where it is one for all values and rows; None otherwise."""
    scale = (p_x.named_parameters or {}).get("scale")
    if scale is None or "loc" not in (p_x.named_parameters or {}):
        return None
    scale = scale.numpy()
    return float(scale.flat[0]) if np.ptp(scale) <= 1e-6 * np.abs(scale).max() else None
