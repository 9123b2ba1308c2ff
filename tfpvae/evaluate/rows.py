"""Computes values per row of a data set in batches, and their means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import tensorflow as tf

from tfpvae.batch import Batch, Latents
from tfpvae.checks import positive_integer
from tfpvae.layers.distribution_tensor import unwrap, wrap
from tfpvae.models import LatentVariableModel, sampling
from tfpvae.models.feeding import check_array
from tfpvae.random.seeds import POSTERIOR, Seeds

BATCH_SIZE: Final = 128


class Mean(NamedTuple):
    """A mean over examples."""

    value: float
    standard_error: float
    """The standard deviation over the examples divided by the root of their number; NaN for one example."""

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.standard_error:.3f}"


def mean_of(values: Any) -> Mean:
    """The mean of values `[N]`, in float64."""
    values = np.asarray(values, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(float(values.mean()), float(error))


def batches(data: Batch, vae: LatentVariableModel, batch_size: int) -> Iterator[tuple[slice, Batch]]:
    """The batches of the data with their row slices; x is a tensor of the model's float type.

    Raises:
        ModelError: `batch_size` is not an integer of at least 1.
    """
    for start in range(0, len(data.x), positive_integer("batch_size", batch_size)):
        rows = slice(start, min(start + batch_size, len(data.x)))
        x, y = data.rows(rows)
        yield rows, Batch(tf.cast(tf.constant(x), vae.variable_dtype), y)


def checked(vae: LatentVariableModel, x: Any, y: Any = None) -> Batch:
    """Checks the data and returns it: x as an array `[N, *event_shape]`, and y per row for a conditional model.

    Args:
        vae: the model. It is built if it is not yet.
        x: the data, or a `Batch` of x and y.
        y: the condition of a conditional model: one for each row, or one for all.

    Raises:
        DataError: x has the wrong shape or values outside the likelihood's support, or the model cannot take y.
        ModelError: y is missing, or given to a model that takes none.
    """
    if isinstance(x, Batch):
        x, y = x
    x = np.asarray(x)
    if not vae.built:
        of_x = (None, *x.shape[1:])
        vae.build([of_x, (None, *np.shape(y)[1:])] if vae.takes_condition else of_x)
    check_array(x, vae.event_shape, vae.support, "x")
    return Batch(x, vae.checked_condition(y, len(x)))


def score_rows(
    vae: LatentVariableModel,
    data: Batch,
    seed: Seeds = 0,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, np.ndarray]:
    """`vae.score` of every row with z drawn by seed: `elbo`, `log_likelihood`, `kl`, each float64 `[N]`, in nats."""

    def score(batch: Batch, seeds: tf.Tensor) -> dict[str, tf.Tensor]:
        return sampling.score(vae, batch.inputs() | {"seed": seeds})

    seeds = sampling.as_seeds(len(data.x), seed)
    scores: dict[str, list[np.ndarray]] = {}
    score_batch = _compiled(vae, "score", score, data, batch_size)
    for rows, batch in batches(data, vae, batch_size):
        for name, values in score_batch(batch, seeds[rows]).items():
            scores.setdefault(name, []).append(values.numpy())
        progress(rows.stop)
    return {name: np.concatenate(values).astype(np.float64) for name, values in scores.items()}


def worth_of_latent(vae: LatentVariableModel, data: Batch, seed: Seeds = 0, batch_size: int = BATCH_SIZE) -> np.ndarray:
    """How much better a row's own z predicts it than another row's z does: `[N]`, in nats.

    It is log p(x given z) - log p(x given z') for z ~ q(z given x) and z' ~ q(z given x'), where x' is the row before
    x in the batch. Its mean is near zero if the decoder ignores z. A single row is its own neighbour and gives 0.
    """

    def worth(batch: Batch, seeds: tf.Tensor) -> tf.Tensor:
        x, y = batch
        z = sampling.draw(wrap(vae.posterior(batch)), seeds, POSTERIOR)
        own, others = Latents(z, y), Latents(tf.roll(z, 1, axis=0), y)
        return unwrap(vae.likelihood(own)).log_prob(x) - unwrap(vae.likelihood(others)).log_prob(x)

    seeds = sampling.as_seeds(len(data.x), seed)
    worth_of_batch = _compiled(vae, "worth", worth, data, batch_size)
    values = [worth_of_batch(batch, seeds[rows]).numpy() for rows, batch in batches(data, vae, batch_size)]
    return np.concatenate(values).astype(np.float64)


def traced(
    vae: LatentVariableModel, name: str, function: Callable[..., Any], made_for: str = "", **options: Any
) -> Callable[..., Any]:
    """A function of a model's as a graph, made by the first call and kept on the model for the next.

    Args:
        vae: the model. The graph is made anew after `compile`; Keras lets no other networks into a built model.
        name: which function it is.
        function: it uses nothing but the model and what `made_for` says.
        made_for: what else it was made for.
        **options: those of `tf.function`.
    """
    return vae.kept.get(name, made_for, lambda: tf.function(function, **options))


def _compiled(
    vae: LatentVariableModel, name: str, function: Callable[..., Any], data: Batch, batch_size: int
) -> Callable[..., Any]:
    """Compiles a function of batches to a graph if there are enough batches to repay the seconds of tracing."""
    many = len(data.x) > 8 * positive_integer("batch_size", batch_size)
    return traced(vae, name, function, reduce_retracing=True) if many else function
