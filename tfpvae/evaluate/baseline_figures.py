"""What a linear map and a fitted Gaussian reach: figures to hold a model's own against.

[JC16] Jolliffe, Cadima: Principal component analysis: a review and recent developments. Phil. Trans. A 374, 2016.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import tensorflow as tf

from tfpvae.batch import Batch, Latents
from tfpvae.errors import ModelError
from tfpvae.evaluate.baselines import GaussianDensity
from tfpvae.evaluate.rows import BATCH_SIZE, Mean, batches, mean_of
from tfpvae.layers.distribution_tensor import wrap
from tfpvae.models import LatentVariableModel, sampling
from tfpvae.random.seeds import POSTERIOR

_MOST_ROWS: Final = 1000
"""Rows of training data that suffice for the principal components."""


class Explained(NamedTuple):
    """The share of the variance of test data that reconstructions explain: 1 - E|x - x'|^2 / E|x - mean|^2.

    Attributes:
        share: that of the model, x' being the mean of p(x given z) at the mean of q(z given x). The mean of the
            training data explains 0.
        pca: that of principal components [JC16] of the training data.
        components: how many of them.
    """

    share: Mean
    pca: float
    components: int


def explained_variance(
    vae: LatentVariableModel, data: Batch, train: Batch, components: int, batch_size: int = BATCH_SIZE
) -> Explained:
    """The share of the variance that the model's reconstructions explain, and that of principal components.

    Args:
        vae: the model.
        data: test data.
        train: training data, for the mean and the components.
        components: how many components, such as the number of latents that the model uses.
        batch_size: rows at once.

    Raises:
        ModelError: q or the likelihood has no mean, or there are fewer than two rows.
    """
    x = np.asarray(data.x, np.float64).reshape(len(data.x), -1)
    _check_rows(data, train)
    known = np.asarray(train.x[:_MOST_ROWS], np.float64).reshape(-1, x.shape[1])
    center = known.mean(axis=0)
    try:
        decoded = [_reconstruction(vae, batch) for _, batch in batches(data, vae, batch_size)]
    except NotImplementedError as error:
        raise ModelError(f"The model's reconstructions need means: {error}") from error
    residual = np.square(x - np.concatenate(decoded).reshape(x.shape)).sum(axis=1)
    total = np.square(x - center).sum(axis=1)
    if total.sum() == 0:
        raise ModelError("The data does not vary.")
    share = 1 - residual.sum() / total.sum()
    # The delta method, for a ratio of means.
    standard_error = (residual - (1 - share) * total).std() / (total.mean() * math.sqrt(len(x)))
    _, _, axes = np.linalg.svd(known - center, full_matrices=False)
    axes = axes[:components]
    pca = np.square((x - center) @ axes.T).sum() / total.sum()
    return Explained(Mean(float(share), float(standard_error)), float(pca), len(axes))


def _reconstruction(vae: LatentVariableModel, batch: Batch) -> np.ndarray:
    z = sampling.mean(wrap(vae.posterior(batch)))
    return np.asarray(sampling.mean(wrap(vae.likelihood(Latents(z, batch.y)))), np.float64)


def prior_gap(vae: LatentVariableModel, data: Batch, train: Batch, seed: int = 0, batch_size: int = BATCH_SIZE) -> Mean:
    """How much better a Gaussian fitted to training data's latents is than the prior, on those of test data, in nats.

    It is a lower estimate of KL(q(z) || p(z)), the mismatch of the aggregate posterior and the prior [DW19]. Near zero
    or below, a Gaussian finds nothing that the prior lacks.

    Raises:
        ModelError: the prior is given y, or has no density of its own, or there are fewer than two rows.
    """
    _check_rows(data, train)
    prior = vae.prior
    if prior.takes_condition or prior.event_size != vae.latent_size:
        raise ModelError("The prior is no single density of all latents.")
    known = _latents(vae, train, seed, batch_size)
    z = _latents(vae, data, seed, batch_size)
    fitted = GaussianDensity().fit(known).log_prob(z)
    return mean_of(fitted - np.asarray(prior.distribution().log_prob(tf.constant(z, vae.variable_dtype)), np.float64))


def _check_rows(*parts: Batch) -> None:
    if min(len(part.x) for part in parts) < 2:
        raise ModelError("One example has no variance, and no standard error.")


def _latents(vae: LatentVariableModel, data: Batch, seed: int, batch_size: int) -> np.ndarray:
    """A draw of q(z given x) for each row, float64 `[N, D]`."""
    seeds = sampling.as_seeds(len(data.x), seed)
    draws = [
        sampling.draw(wrap(vae.posterior(batch)), seeds[rows], POSTERIOR)
        for rows, batch in batches(data, vae, batch_size)
    ]
    return np.concatenate([np.asarray(z, np.float64) for z in draws])
