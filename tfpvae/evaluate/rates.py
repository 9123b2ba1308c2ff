"""The ELBO in terms of coding: rate, distortion, bits per dimension.

[ABD+18] Alemi, Poole, Fischer, Dillon, Saurous, Murphy: Fixing a broken ELBO. ICML 2018.
[TOB16] Theis, van den Oord, Bethge: A note on the evaluation of generative models. ICLR 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpvae.batch import Latents
from tfpvae.errors import DataError, ModelError
from tfpvae.evaluate.rows import BATCH_SIZE, Mean, checked, mean_of, score_rows
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap, wrap
from tfpvae.models import LatentVariableModel
from tfpvae.random.seeds import Seeds


class RateDistortion(NamedTuple):
    """The rate and distortion of a model, in nats per example."""

    rate: Mean
    """E KL(q(z given x) || p(z)): the cost of sending z."""
    distortion: Mean
    """-E log p(x given z): the cost of sending x once z is known."""
    elbo: Mean
    """-(rate + distortion). It has its own standard error because the two are not independent."""


def rate_distortion(
    vae: LatentVariableModel,
    x: Any,
    seed: Seeds = 0,
    *,
    y: Any = None,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] = lambda done: None,
) -> RateDistortion:
    """R = E KL(q(z given x) || p(z)) and D = -E log p(x given z) [ABD+18, section 2].

    Models with the same ELBO lie on one line R + D = const. At one end z carries nothing (R = 0), at the other end
    everything. The ELBO alone cannot distinguish them.

    Args:
        vae: the model.
        x: `[N, *event_shape]`.
        seed: row i draws one z with the seed `seed + i`, or `seed[i]`.
        y: the condition of a conditional model, one for each row or one for all.
        batch_size: the number of rows per batch.
        progress: called with the number of rows done, after each batch.

    Raises:
        DataError: the model cannot take x.
        ModelError: the encoder's layer cannot be drawn by seed.
    """
    scores = score_rows(vae, checked(vae, x, y), seed, batch_size, progress)
    return RateDistortion(
        rate=mean_of(scores["kl"]), distortion=mean_of(-scores["log_likelihood"]), elbo=mean_of(scores["elbo"])
    )


def is_probability_mass(vae: LatentVariableModel, x: Any, *, y: Any = None) -> bool:
    """Whether the model's p(x) is a probability mass rather than a density, for this data.

    The two cannot be compared. A mass is at most 1, and its negative logarithm is the information in x. A density has
    the unit of 1/x and can be arbitrarily high for data on a grid [TOB16, section 3.1].

    Args:
        vae: the model.
        x: `[N, *event_shape]`.
        y: the condition of a conditional model, one for each row or one for all.

    Raises:
        DataError: x is outside the likelihood's support, or the likelihood is Bernoulli and x is not binary. p(x) is
            then neither a mass nor a density.
        ModelError: the kind of the likelihood's distribution is unknown.
    """
    data = checked(vae, x, y)
    x, y = data.x, data.rows(slice(1)).y
    p_x = wrap(vae.likelihood(Latents(tf.zeros([1, vae.latent_size], vae.variable_dtype), y)))
    possible = np.asarray(vae.support.possible(x))
    if not possible.all():
        raise DataError(f"x {vae.support.caution} Received: values such as {x[~possible].flat[0]}")
    return is_discrete(p_x)


def is_discrete(p_x: DistributionTensor) -> bool:
    """Whether a likelihood is a probability mass.

    Raises:
        ModelError: this cannot be determined.
    """
    if p_x.layer is not None and p_x.named_parameters is not None:
        return p_x.layer.discrete
    if p_x.support is not None:
        return p_x.support.discrete
    try:
        # In TFP, None means a discrete event space.
        return p_x.tensor_distribution.experimental_default_event_space_bijector() is None
    except NotImplementedError as error:
        raise ModelError(
            "It cannot be told whether the likelihood is a density or a probability mass: "
            f"{type(unwrap(p_x.tensor_distribution)).__name__}. End the decoder in a layer of tfpvae.layers."
        ) from error


def bits_per_dimension(log_prob: Any, event_shape: Sequence[int], *, discrete: bool) -> float:
    """-log p(x) / (n ln 2) for n values per example: the bits needed to send each value.

    Args:
        log_prob: log p(x) or a bound on it, in nats. An array with one value per example is averaged. A lower bound
            gives an upper bound on the bits.
        event_shape: the shape of one example.
        discrete: whether `log_prob` is the log of a probability mass; see `is_probability_mass`.

    Raises:
        ModelError: `log_prob` is the log of a density, or the event has no values.
    """
    if not discrete:
        raise ModelError(
            "Bits per dimension are defined for discrete data. A density's logarithm is no number of bits: it changes "
            "with the unit of x (pixels from 0 to 255 in place of 0 to 1 change it by 8 bits), and it has no bound. "
            "Use a likelihood over the values themselves, such as IndependentDiscretizedLogistic for 8-bit pixels."
        )
    size = math.prod(event_shape)
    if size < 1:
        raise ModelError(f"event_shape must have at least one value. Received: event_shape={tuple(event_shape)}")
    return -float(np.mean(np.asarray(log_prob, np.float64))) / (size * math.log(2))
