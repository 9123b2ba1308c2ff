"""Figures of each row of a data set, a batch at a time, and their mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import tensorflow as tf

from tfpvae.errors import ModelError
from tfpvae.models import VAE, ConditionalVAE, sampling
from tfpvae.models.feeding import check_array
from tfpvae.random.seeds import POSTERIOR, Seeds

BATCH_SIZE: Final = 128


class Mean(NamedTuple):
    """A mean over examples."""

    value: float
    standard_error: float
    """The examples' standard deviation over the root of their number; NaN for one example."""

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.standard_error:.3f}"


def mean_of(values: Any) -> Mean:
    """The mean of figures `[N]`, in float64."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(float(values.mean()), float(error))


class Data(NamedTuple):
    """Examples, and of a conditional model the y of each."""

    x: np.ndarray
    """`[N, *event_shape]`."""
    y: dict[str, tf.Tensor]
    """`{"y": [N, ...]}`, or `{}` for a model that takes none."""

    def first(self, n: int) -> Data:
        """The first n of them."""
        return self.rows(slice(n))

    def rows(self, rows: slice) -> Data:
        """Some of them."""
        return Data(self.x[rows], {name: value[rows] for name, value in self.y.items()})

    def batches(self, vae: VAE, batch_size: int) -> Iterator[Batch]:
        """All of them, in batches."""
        for start in range(0, len(self.x), batch_size):
            rows = slice(start, min(start + batch_size, len(self.x)))
            x, y = self.rows(rows)
            yield Batch(rows, tf.cast(tf.constant(x), vae.variable_dtype), y)


class Batch(NamedTuple):
    """Some rows of the data, as tensors."""

    rows: slice
    x: tf.Tensor
    y: dict[str, tf.Tensor]


def checked(vae: VAE, x: Any, y: Any = None) -> Data:
    """x as an array `[N, *event_shape]`, with the y of a conditional model, one for each or one for all.

    Raises:
        DataError: x has the wrong shape, holds NaN or infinity, or values that the likelihood is not over; or y is not
            as the model wants it.
        ModelError: y is missing, or given to a model that takes none.
    """
    x, conditional = np.asarray(x), isinstance(vae, ConditionalVAE)
    if not vae.built:
        vae.build(((None, *x.shape[1:]), (None, *np.shape(y)[1:])) if conditional else (None, *x.shape[1:]))
    check_array(x, vae.event_shape, vae.support, "x")
    if conditional:
        return Data(x, {"y": vae.given_for(y, len(x)).given})
    if y is not None:
        raise ModelError(f"{type(vae).__name__} takes no y: it has no condition. Received: y of {type(y).__name__}")
    return Data(x, {})


def score_rows(
    vae: VAE,
    data: Data,
    seed: Seeds = 0,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, np.ndarray]:
    """`vae.score` of every row, z by seed: `elbo`, `log_likelihood` and `kl`, each float64 `[N]`, in nats."""

    def score(x: tf.Tensor, y: dict[str, tf.Tensor], seeds: tf.Tensor) -> dict[str, tf.Tensor]:
        return sampling.score(vae.given(**y), x, seeds)

    seeds = sampling.as_seeds(len(data.x), seed)
    found: dict[str, list[np.ndarray]] = {}
    score_batch = _compiled(score, data, batch_size)
    for rows, x, y in data.batches(vae, batch_size):
        for name, values in score_batch(x, y, seeds[rows]).items():
            found.setdefault(name, []).append(values.numpy())
        progress(rows.stop)
    return {name: np.concatenate(values).astype(np.float64) for name, values in found.items()}


def worth_of_latent(vae: VAE, data: Data, seed: Seeds = 0, batch_size: int = BATCH_SIZE) -> np.ndarray:
    """By how much a row's own z predicts it better than another row's: `[N]`, in nats.

    log p(x given z) - log p(x given z'), z ~ q(z given x) and z' ~ q(z given x') of the row before it. Its mean is near
    zero where the decoder does not look at z.

    A single row is its own neighbour, and gives 0.
    """

    def worth(x: tf.Tensor, y: dict[str, tf.Tensor], seeds: tf.Tensor) -> tf.Tensor:
        model = vae.given(**y)
        z = sampling.draw(model.encode(x), seeds, POSTERIOR)
        return model.likelihood(z).log_prob(x) - model.likelihood(tf.roll(z, 1, axis=0)).log_prob(x)

    seeds = sampling.as_seeds(len(data.x), seed)
    worth_of_batch = _compiled(worth, data, batch_size)
    values = [worth_of_batch(x, y, seeds[rows]).numpy() for rows, x, y in data.batches(vae, batch_size)]
    return np.concatenate(values).astype(np.float64)


def _compiled(function: Callable[..., Any], data: Data, batch_size: int) -> Callable[..., Any]:
    """A function of batches as a graph, where there are enough of them to be worth the seconds that tracing takes."""
    return tf.function(function, reduce_retracing=True) if len(data.x) > 8 * batch_size else function
