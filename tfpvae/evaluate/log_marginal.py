"""Estimates log p(x) per example, or log p(x given y) with `y`, from any number of draws in bounded memory.

Each estimate is the log of a mean of weights W_s >= 0 whose expectation is p(x). Importance sampling draws z from
q(z given x), with weight p(x, z) / q(z given x). Naive Monte Carlo draws z from p(z), with weight p(x given z).

**Seeds.** Row i has the seed `seed + i` (or `seed[i]`), as in the rest of the package. Draw s of the row, from 0, has
its own seed: words 2 s and 2 s + 1 of the row seed's random words on stream 3, low half first (`sample_seeds`). That
seed draws the latent as usual, on the stream of the posterior or of the prior. So a row's draws depend only on its
seed, not on other rows or on the batch or chunk size, and more draws leave the first ones unchanged.

**Rounding.** The networks compute in float32, where a row's last digits depend on the batch size in TensorFlow. The
results therefore vary by some 1e-5 nats. Sums are in float64.

[BGS16] Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import tensorflow as tf

from tfpvae.batch import Batch
from tfpvae.checks import positive_integer
from tfpvae.errors import ModelError
from tfpvae.evaluate.rows import batches, checked, traced
from tfpvae.layers.distribution_tensor import wrap
from tfpvae.models import LatentVariableModel, networks, sampling
from tfpvae.models.feeding import warn_of_values
from tfpvae.objectives import log_joint, log_likelihood
from tfpvae.random.numpy import key_of, threefry2x32, uniform
from tfpvae.random.seeds import DRAW_SEEDS, LATENT, POSTERIOR, Seeds

_BATCH_SIZE: Final = 32
_CHUNK_SIZE: Final = 32
"""32 x 32 latents at once: enough for efficient matrix products in a dense decoder, few enough for the cache."""

_Tensors = list[tf.Tensor]
"""A batch as a list, `[x]` or `[x, y]`, because a `tf.function` with a signature accepts no None."""

_LogWeights = Callable[[_Tensors, tf.Tensor], tf.Tensor]
"""The log weights `[k, B]` of a batch of rows and a chunk of draws, whose uniforms are `[k, B, num_uniforms]`."""


class LogMarginal(NamedTuple):
    """Estimates of log p(x), in nats."""

    log_marginal: np.ndarray
    """The log of the mean weight, float64 `[N]`. On average it is low by about half the squared standard error."""
    standard_error: np.ndarray
    """The standard error of `log_marginal`, float64 `[N]`, by the delta method: that of the mean weight over its value.

    It is between 0 and 1. Near 1, one draw outweighs all others and neither value is reliable. It is NaN for one draw.
    """
    samples: int
    """The number of draws per row."""

    @property
    def effective_samples(self) -> np.ndarray:
        """The effective sample size, (sum W)^2 / sum W^2, `[N]`: from 1 to `samples`."""
        return self.samples / (1 + (self.samples - 1) * self.standard_error**2)


def importance_log_marginal(
    vae: LatentVariableModel,
    x: Any,
    samples: int = 5000,
    seed: Seeds = 0,
    *,
    y: Any = None,
    batch_size: int = _BATCH_SIZE,
    chunk_size: int = _CHUNK_SIZE,
    progress: Callable[[int], None] = lambda done: None,
) -> LogMarginal:
    """log 1/S sum_s p(x, z_s) / q(z_s given x), z_s ~ q(z given x): importance sampling [BGS16, eq. 8].

    Papers report minus its mean at S = 5000 as the "negative log-likelihood". It is exact if q is the true posterior.

    Args:
        vae: the model.
        x: `[N, *event_shape]`.
        samples: S.
        seed: an int s (row i uses s + i), an array of N seeds, or None for a fresh random one.
        y: the condition of a conditional model, one for each row or one for all. The estimates are then of
            log p(x given y).
        batch_size: the number of rows per batch.
        chunk_size: the number of draws per row and chunk. Memory grows with `batch_size * chunk_size`, the number of
            latents that the decoder takes at once, and not with S.
        progress: called with the number of rows done, after each batch.

    Returns:
        Estimates and standard errors, each `[N]`.

    Raises:
        DataError: x has the wrong shape, holds NaN or infinity, or values outside [0, 1] for a Bernoulli likelihood; y
            has the wrong shape or type, or a label is out of range.
        ModelError: y is missing, or the model takes none; samples, batch_size, chunk_size or seed is invalid; or the
            encoder's layer cannot be drawn by seed.
    """
    data, seeds = _check(vae, x, y, seed, samples=samples, batch_size=batch_size, chunk_size=chunk_size)
    zeros = tf.zeros([1, *vae.event_shape], vae.variable_dtype)
    rv = networks.probe(lambda: vae.posterior(Batch(zeros, data.rows(slice(1)).y)), "posterior")
    layer, of_one_row = rv.layer, rv.named_parameters
    if layer is None or of_one_row is None or layer.num_uniforms is None:
        name = "DistributionLambda" if layer is None else type(layer).__name__
        raise ModelError(
            f"Importance sampling draws z by seed, and the encoder's layer {name} cannot be drawn from a fixed number "
            "of uniforms. End the encoder in a layer that can, such as tfpvae.layers.MultivariateNormalDiag."
        )
    signature = _signature(vae, data, layer.num_uniforms)
    of_q = {name: _any_rows(value) for name, value in of_one_row.items()}

    def log_weights(batch: _Tensors, uniforms: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
        # Layers draw one latent per row, so a chunk takes one call per draw.
        spec = tf.TensorSpec([None, vae.latent_size], uniforms.dtype)
        z = tf.map_fn(lambda u: layer.draw(parameters, u), uniforms, fn_output_signature=spec)
        return log_joint(vae, Batch(*batch), z) - layer.distribution(**parameters).log_prob(z)

    specs = [*signature, of_q]
    graph = traced(vae, "importance sampling", log_weights, f"{id(layer)} {specs}", input_signature=specs)

    def prepare(batch: Batch) -> _LogWeights:
        parameters = wrap(vae.posterior(batch)).named_parameters
        return lambda batch, uniforms: graph(batch, uniforms, parameters)

    stream = (layer.num_uniforms, POSTERIOR)
    return _estimate(vae, data, seeds, samples, batch_size, chunk_size, progress, prepare, *stream)


def monte_carlo_log_marginal(
    vae: LatentVariableModel,
    x: Any,
    samples: int = 5000,
    seed: Seeds = 0,
    *,
    y: Any = None,
    batch_size: int = _BATCH_SIZE,
    chunk_size: int = _CHUNK_SIZE,
    progress: Callable[[int], None] = lambda done: None,
) -> LogMarginal:
    """log 1/S sum_s p(x given z_s), z_s ~ p(z): naive Monte Carlo over the prior.

    Right for one or two latents; with more it fails, and it fails quietly. p(x) is an average over z, nearly all of
    which comes from where the posterior p(z given x) lies. A draw of the prior falls there with a chance of about
    exp(-KL(p(z given x) || p(z))), and KL grows with the number of latents that the model uses: 20 latents at 2 nats
    each need e^40 draws before the first lands. With fewer, all weights are far too small, so the estimate is far too
    low, and its standard error, made of the same weights, does not show it: it is between 0 and 1 by its formula,
    while the error is many nats. Beside `importance_log_marginal` the gap shows; alone, `effective_samples` near 1
    is the only sign.

    Args, returns and errors are those of `importance_log_marginal`, except that the prior must be drawable by seed.
    """
    data, seeds = _check(vae, x, y, seed, samples=samples, batch_size=batch_size, chunk_size=chunk_size)
    num_uniforms = vae.prior.num_uniforms
    if num_uniforms is None:
        raise ModelError(f"Prior {type(vae.prior).__name__} cannot be drawn by seed.")

    def log_weights(batch: _Tensors, uniforms: tf.Tensor) -> tf.Tensor:
        rows, k = Batch(*batch), tf.shape(uniforms)[0]
        z = vae.sample_prior(tf.reshape(uniforms, [-1, num_uniforms]), rows.repeat(k).y)
        return log_likelihood(vae, rows, tf.reshape(z, [k, -1, vae.latent_size]))

    specs = _signature(vae, data, num_uniforms)
    graph = traced(vae, "naive Monte Carlo", log_weights, str(specs), input_signature=specs)
    stream = (num_uniforms, LATENT)
    return _estimate(vae, data, seeds, samples, batch_size, chunk_size, progress, lambda _: graph, *stream)


def sample_seeds(seeds: np.ndarray, first: int, count: int) -> np.ndarray:
    """The seeds of a row's draws `first` to `first + count - 1`: int64 `[B]` -> int64 `[count, B]`.

    Words 2 s and 2 s + 1 of `tfpvae.random.numpy.random_bits(seeds, ..., stream=3)`, low half first, for draw s.
    """
    numbers = np.arange(first, first + count).astype(np.uint32)[:, None]
    low, high = threefry2x32(key_of(seeds), (numbers, np.full_like(numbers, DRAW_SEEDS)))
    return (low.astype(np.uint64) | (high.astype(np.uint64) << np.uint64(32))).view(np.int64)


def _check(vae: LatentVariableModel, x: Any, y: Any, seed: Seeds, **counts: int) -> tuple[Batch, np.ndarray]:
    """The data, and the seeds of its rows, int64 `[N]`."""
    for name, count in counts.items():
        positive_integer(name, count)
    data = checked(vae, x, y)
    warn_of_values(data.x, vae.support, "x")
    return data, sampling.as_seeds(len(data.x), seed).numpy()


def _signature(vae: LatentVariableModel, data: Batch, num_uniforms: int) -> list[Any]:
    """Of `(batch, uniforms)`, with any number of rows and draws: the last batch and chunk are not traced anew."""
    y = [] if data.y is None else [tf.TensorSpec([None, *data.y.shape[1:]], data.y.dtype)]
    return [
        [tf.TensorSpec([None, *vae.event_shape], vae.variable_dtype), *y],
        tf.TensorSpec([None, None, num_uniforms], tf.float32),
    ]


def _any_rows(parameter: tf.Tensor) -> tf.TensorSpec:
    """The spec of a parameter for any number of rows: `[1, ...]` becomes `[None, ...]`; a shared one is unchanged."""
    shape = parameter.shape
    return tf.TensorSpec([None, *shape[1:]] if shape.rank and shape[0] == 1 else shape, parameter.dtype)


def _estimate(
    vae: LatentVariableModel,
    data: Batch,
    seeds: np.ndarray,
    samples: int,
    batch_size: int,
    chunk_size: int,
    progress: Callable[[int], None],
    prepare: Callable[[Batch], _LogWeights],
    num_uniforms: int,
    stream: int,
) -> LogMarginal:
    """Loops over batches of rows and, within each, over chunks of draws. Calls `prepare` once per batch."""
    log_marginal, standard_error = np.empty(len(seeds)), np.empty(len(seeds))
    for rows, batch in batches(data, vae, batch_size):
        log_weights, mean = prepare(batch), _LogMeanExp(len(seeds[rows]))
        tensors = [tensor for tensor in batch if tensor is not None]
        for first in range(0, samples, chunk_size):
            chunk = sample_seeds(seeds[rows], first, min(chunk_size, samples - first))
            # In NumPy: same bits as the exportable form, ten times as fast with uint32 as with its int64.
            uniforms = uniform(chunk.ravel(), num_uniforms, stream).reshape(*chunk.shape, num_uniforms)
            mean.add(log_weights(tensors, tf.constant(uniforms)).numpy())
        log_marginal[rows], standard_error[rows] = mean.value(), mean.standard_error()
        progress(rows.stop)
    return LogMarginal(log_marginal, standard_error, samples)


class _LogMeanExp:
    """log mean exp of chunks of log weights for each row, and its standard error, in float64.

    It keeps the largest log weight and, at that scale, the mean of the weights and the sum of squared deviations from
    the mean. Each chunk is merged into these. A plain sum of squares would lose a spread that is small beside the mean.
    """

    def __init__(self, rows: int) -> None:
        self.count = 0
        self.scale = np.full(rows, -np.inf)
        self.mean = np.zeros(rows)
        self.deviations = np.zeros(rows)

    def add(self, log_weights: np.ndarray) -> None:
        """Adds log weights `[k, B]`."""
        log_weights = log_weights.astype(np.float64)
        scale = np.maximum(self.scale, log_weights.max(axis=0))
        # If all weights so far are zero, or one is NaN, there is no scale.
        shift = np.where(np.isfinite(scale), scale, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            weights, factor = np.exp(log_weights - shift), np.exp(self.scale - shift)
            n, k = self.count, len(weights)
            mean, old = weights.mean(axis=0), self.mean * factor
            gap = mean - old
            self.mean = old + gap * (k / (n + k))
            self.deviations = (
                self.deviations * factor**2 + np.square(weights - mean).sum(axis=0) + gap**2 * (n * k / (n + k))
            )
        self.count, self.scale = n + k, scale

    def value(self) -> np.ndarray:
        """The log mean weight, `[B]`; minus infinity where all weights are zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.scale + np.log(self.mean)

    def standard_error(self) -> np.ndarray:
        """The standard error of `value` by the delta method, `[B]`; NaN for one weight, or where all are zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = self.deviations / np.float64(self.count - 1)
            return np.sqrt(variance / self.count) / self.mean
