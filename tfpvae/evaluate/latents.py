"""How much each latent is used: active units, KL per latent, dimension of the data manifold.

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
"""Draws for each of the two mean estimates, where the posterior has no mean in closed form."""


class ActiveUnits(NamedTuple):
    """Which latents carry information about x."""

    variances: np.ndarray
    """Var_x(E_q[z_d]), float64 `[D]`."""
    threshold: float

    @property
    def active(self) -> np.ndarray:
        """Which latents are active, bool `[D]`."""
        return self.variances > self.threshold

    @property
    def num_active(self) -> int:
        """The number of active latents."""
        return int(self.active.sum())

    @property
    def most_active(self) -> np.ndarray:
        """The indices of the latents, the most active first: int `[D]`."""
        return np.argsort(-self.variances, kind="stable")


def active_units(
    vae: LatentVariableModel, x: Any, threshold: float = 0.01, *, y: Any = None, batch_size: int = BATCH_SIZE
) -> ActiveUnits:
    """The latents whose posterior mean varies with x: Var_x(E_q[z_d]) > threshold [BGS16, section 5].

    According to the paper, these variances form two clusters far apart, and 0.01 lies between them. If the posterior
    has no mean in closed form, as with a flow, the covariance between the means of two independent sets of draws gives
    an unbiased estimate of the variance.

    Args:
        vae: the model.
        x: `[N, *event_shape]`, N at least 2.
        threshold: the variance above which a latent is active.
        y: the condition of a conditional model, one for each row or one for all.
        batch_size: the number of rows per batch.

    Returns:
        The variances, and which latents are active.

    Raises:
        DataError: the model cannot take x.
        ModelError: x has a single row, so there is no variance over rows.
    """
    means = posterior_means(vae, checked(vae, x, y), batch_size)
    if means.shape[1] < 2:
        raise ModelError("Active units are told by how z moves with x. Received: x of one row")
    first, second = means - means.mean(axis=1, keepdims=True)
    return ActiveUnits((first * second).sum(axis=0) / (means.shape[1] - 1), threshold)


def posterior_means(vae: LatentVariableModel, data: Batch, batch_size: int = BATCH_SIZE) -> np.ndarray:
    """E_q[z] of each row twice, or two independent estimates if it has no closed form: float64 `[2, N, D]`."""
    means: list[np.ndarray] = []
    for _, batch in batches(data, vae, batch_size):
        rv = wrap(vae.posterior(batch))
        try:
            mean = sampling.mean(rv)
            means.append(np.stack([mean, mean]))
        except NotImplementedError:
            draws = rv.tensor_distribution.sample(2 * _DRAWS, seed=tf.constant([0, len(means)])).numpy()
            means.append(draws.reshape(2, _DRAWS, *draws.shape[1:]).mean(axis=1))
    return np.concatenate(means, axis=1).astype(np.float64)


def kl_per_latent(vae: LatentVariableModel, x: Any, *, y: Any = None, batch_size: int = BATCH_SIZE) -> np.ndarray:
    """The mean over x of KL(q(z_d given x) || p(z_d)) for each latent: float64 `[D]`, in nats. The sum is the whole KL.

    It is exact, and is defined only if q(z given x) and p(z) are Gaussians with independent latents. Otherwise the KL
    is not a sum over latents.

    Args:
        vae: the model.
        x: `[N, *event_shape]`.
        y: the condition of a conditional model, one for each row or one for all.
        batch_size: the number of rows per batch.

    Raises:
        DataError: the model cannot take x.
        ModelError: the posterior or the prior is not a Gaussian with independent latents.
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
    """The number of latents that the data needs."""

    variances: np.ndarray
    """The mean over x of Var_q(z_d given x) divided by the prior's variance of z_d, float64 `[D]`."""
    threshold: float
    gamma: float | None
    """The likelihood's variance if all values share one, else None. The estimate is only meaningful if it is small."""

    @property
    def dimension(self) -> int:
        """The number of latents with a variance below the threshold."""
        return int((self.variances < self.threshold).sum())

    @property
    def gap(self) -> tuple[float, float]:
        """The largest variance below the threshold and the smallest above it. A wide gap makes the count reliable.

        If no variance lies below, the first is 0; if none lies above, the second is 1. These are the clusters' limits.
        """
        below, above = self.variances[self.variances < self.threshold], self.variances[self.variances >= self.threshold]
        return float(below.max(initial=0.0)), float(above.min(initial=np.inf)) if len(above) else 1.0


def manifold_dimension(
    vae: LatentVariableModel, x: Any, threshold: float = 0.25, *, y: Any = None, batch_size: int = BATCH_SIZE
) -> ManifoldDimension:
    """The dimension of the manifold that x lies near: how many latents the posterior pins down [DW19, section 3].

    Take a VAE with likelihood N(decoder(z), gamma I) and a learned gamma. At its optimum gamma is the noise variance,
    and the latents form two clusters. One latent per dimension of the manifold has a posterior variance that goes to 0
    with gamma. The superfluous latents stay at the prior, with variance 1. The estimate counts the first cluster. It
    does not hold for gamma fixed at 1: a dimension that spreads less than the noise in x is then cheaper to leave out.

    Args:
        vae: the model. The argument needs a decoder that ends in `SphericalNormal(..., learn_scale=True)`.
        x: `[N, *event_shape]`.
        threshold: a posterior variance, in units of the prior's. Every threshold between the clusters gives the same
            count. On a curved manifold some rows may use superfluous latents, whose mean variance is then below 1.
        y: the condition of a conditional model, one for each row or one for all.
        batch_size: the number of rows per batch.

    Raises:
        DataError: the model cannot take x.
        ModelError: the posterior or the prior has no variance in closed form.
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
    """The standard deviation of a Gaussian likelihood if all values and rows share one, else None."""
    scale = (p_x.named_parameters or {}).get("scale")
    if scale is None or "loc" not in (p_x.named_parameters or {}):
        return None
    scale = scale.numpy()
    return float(scale.flat[0]) if np.ptp(scale) <= 1e-6 * np.abs(scale).max() else None
