"""All figures of a trained model on its test data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tfpvae.batch import Batch, Latents
from tfpvae.checks import non_negative_integer
from tfpvae.errors import DataError, ModelError
from tfpvae.evaluate.estimators import EstimatorComparison
from tfpvae.evaluate.latents import (
    ActiveUnits,
    ManifoldDimension,
    active_units,
    kl_per_latent,
    manifold_dimension,
)
from tfpvae.evaluate.log_marginal import LogMarginal, importance_log_marginal, monte_carlo_log_marginal
from tfpvae.evaluate.rates import bits_per_dimension, is_probability_mass
from tfpvae.evaluate.rows import BATCH_SIZE, Mean, batches, checked, mean_of, score_rows, worth_of_latent
from tfpvae.layers.distribution_tensor import wrap
from tfpvae.models import LatentVariableModel, sampling
from tfpvae.random.seeds import POSTERIOR

_SOME: Final = 1024
"""Rows that are enough to see whether the decoder looks at z, and how small its noise is."""

_FEW: Final = 100
"""Rows that are enough to see whether naive Monte Carlo works."""

_TRAIN: Final = 500
"""Rows of training data that are enough to see whether log p(x) is higher there."""


@dataclass(frozen=True)
class Noise:
    """The standard deviations of a likelihood that has them, `scale`, in the unit of x.

    Attributes:
        smallest: the smallest.
        share_at_smallest: the share of the values that have it, within a thousandth; 1 where all share one.
        data_stddev: the standard deviation of x, of all its values together.
    """

    smallest: float
    share_at_smallest: float
    data_stddev: float


@dataclass(frozen=True)
class Measurements:
    """What `measure` finds; all figures in nats per example, and of the test data where nothing else is said.

    Attributes:
        n: how many examples.
        latents: D.
        event_shape: the shape of one example.
        elbo: the bound, one draw of z for each example.
        elbo_stddev: its standard deviation between examples.
        log_likelihood: log p(x given z). Its negative is the distortion.
        kl: KL(q || p), the rate.
        worth_of_latent: by how much an example's own z predicts it better than another example's.
        active_units: which latents move with x; None where it cannot be told.
        kl_per_latent: `[D]`; None where the KL is no sum over latents.
        manifold_dimension: how many latents the posterior pins down; None where there are no variances.
        discrete: whether p(x) is a probability mass; None where it is neither that nor a density.
        noise: of the likelihood, where it has any.
        log_marginal: log p(x) by importance sampling, of each example; None if not asked for.
        inference_gap: log p(x) - ELBO.
        estimators: log p(x) of the first examples by importance sampling and by naive Monte Carlo.
        train_elbo: the bound on training data; None if there is none.
        train_log_marginal: log p(x) of training data, by importance sampling.
        train_inference_gap: log p(x) - ELBO of training data.
    """

    n: int
    latents: int
    event_shape: tuple[int, ...]
    elbo: Mean
    elbo_stddev: float
    log_likelihood: Mean
    kl: Mean
    worth_of_latent: Mean
    active_units: ActiveUnits | None = None
    kl_per_latent: np.ndarray | None = None
    manifold_dimension: ManifoldDimension | None = None
    discrete: bool | None = None
    noise: Noise | None = None
    log_marginal: LogMarginal | None = None
    inference_gap: Mean | None = None
    estimators: EstimatorComparison | None = None
    train_elbo: Mean | None = None
    train_log_marginal: Mean | None = None
    train_inference_gap: Mean | None = None

    @property
    def log_marginal_mean(self) -> Mean | None:
        """log p(x) by importance sampling, its mean over the examples; None if not asked for."""
        return None if self.log_marginal is None else mean_of(self.log_marginal.log_marginal)

    @property
    def bits_per_dimension(self) -> float | None:
        """At most so many, by log p(x) or else by the bound; None where p(x) is no probability mass."""
        if not self.discrete:
            return None
        return bits_per_dimension((self.log_marginal_mean or self.elbo).value, self.event_shape, discrete=True)

    def to_json(self) -> dict[str, Any]:
        """The figures by name, as JSON takes them; what was not measured is left out."""
        found: dict[str, Any] = {
            "elbo": self.elbo.value,
            "log_likelihood": self.log_likelihood.value,
            "kl": self.kl.value,
            "n": self.n,
            "elbo_standard_error": self.elbo.standard_error,
            "rate": self.kl.value,
            "rate_standard_error": self.kl.standard_error,
            "distortion": -self.log_likelihood.value,
            "distortion_standard_error": self.log_likelihood.standard_error,
            "latents": self.latents,
            "active_units": None if self.active_units is None else self.active_units.num_active,
            "kl_per_latent": None if self.kl_per_latent is None else self.kl_per_latent.tolist(),
            "bits_per_dimension": self.bits_per_dimension,
            "train_elbo": None if self.train_elbo is None else self.train_elbo.value,
        }
        if self.manifold_dimension is not None and self.manifold_dimension.gamma is not None:
            found |= {"gamma": self.manifold_dimension.gamma, "manifold_dimension": self.manifold_dimension.dimension}
        if self.log_marginal is not None and self.log_marginal_mean is not None:
            found |= {
                "log_marginal": self.log_marginal_mean.value,
                "log_marginal_standard_error": self.log_marginal_mean.standard_error,
                "samples": self.log_marginal.samples,
                "effective_samples": float(np.median(self.log_marginal.effective_samples)),
            }
        if self.estimators is not None:
            naive = self.estimators.monte_carlo
            found["monte_carlo"] = {
                "n": len(naive.log_marginal),
                "log_marginal": float(naive.log_marginal.mean()),
                "importance_log_marginal": float(self.estimators.importance.log_marginal.mean()),
                "words": self.estimators.words,
                "effective_samples": float(np.median(naive.effective_samples)),
            }
        # JSON has no NaN: the standard error of one example is not there.
        absent = {name for name, value in found.items() if value is None or (value != value) is True}
        return {name: value for name, value in found.items() if name not in absent}


def measure(
    vae: LatentVariableModel,
    x: Any,
    x_train: Any = None,
    *,
    y: Any = None,
    y_train: Any = None,
    samples: int = 0,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[str], None] = lambda step: None,
) -> Measurements:
    """Measures a trained model on test data.

    Args:
        vae: the model.
        x: test data `[N, *event_shape]`.
        x_train: training data, to see whether the model overfits: as much of it as there is test data will do.
        y: of a conditional model, one for each example or one for all.
        y_train: of the training data.
        samples: how many draws for each example to estimate log p(x) by; 0 leaves it out. Of the naive estimate and of
            training data, only the first hundreds of examples.
        seed: of the first example; example i draws by `seed + i`.
        batch_size: how many examples at once.
        progress: called with what is being done.

    Raises:
        DataError: the data has the wrong shape, holds NaN or infinity, or values outside [0, 1] for a Bernoulli
            likelihood.
        ModelError: the encoder's layer cannot be drawn by seed, or `samples` is not an integer of 0 or more.
    """
    non_negative_integer("samples", samples)
    data = checked(vae, x, y)
    scores = score_rows(vae, data, seed, batch_size, lambda done: progress(f"{done} examples"))
    found: dict[str, Any] = {}
    if samples:

        def log_marginal(data: Batch, estimate: Callable[..., LogMarginal], what: str) -> LogMarginal:
            return estimate(vae, data, samples, seed, progress=lambda done: progress(f"{what} of {done} examples"))

        estimated = log_marginal(data, importance_log_marginal, "log p(x)")
        found["log_marginal"] = estimated
        found["inference_gap"] = mean_of(estimated.log_marginal - scores["elbo"])
        found["estimators"] = EstimatorComparison(
            LogMarginal(estimated.log_marginal[:_FEW], estimated.standard_error[:_FEW], samples),
            log_marginal(data.rows(slice(_FEW)), monte_carlo_log_marginal, "naive Monte Carlo"),
        )
    if x_train is not None:
        train = checked(vae, x_train, y_train)
        of_train = score_rows(vae, train, seed, batch_size, lambda done: progress(f"{done} training examples"))
        found["train_elbo"] = mean_of(of_train["elbo"])
        if samples:
            estimated = log_marginal(train.rows(slice(_TRAIN)), importance_log_marginal, "training data's log p(x)")
            found["train_log_marginal"] = mean_of(estimated.log_marginal)
            found["train_inference_gap"] = mean_of(estimated.log_marginal - of_train["elbo"][:_TRAIN])
    progress("latents")
    return Measurements(
        n=len(data.x),
        latents=vae.latent_size,
        event_shape=tuple(vae.event_shape),
        elbo=mean_of(scores["elbo"]),
        elbo_stddev=float(scores["elbo"].std()),
        log_likelihood=mean_of(scores["log_likelihood"]),
        kl=mean_of(scores["kl"]),
        worth_of_latent=mean_of(worth_of_latent(vae, data.rows(slice(_SOME)), seed, batch_size)),
        active_units=_if_defined(active_units, vae, data),
        kl_per_latent=_if_defined(kl_per_latent, vae, data),
        manifold_dimension=_if_defined(manifold_dimension, vae, data),
        discrete=_if_defined(is_probability_mass, vae, data),
        noise=_noise(vae, data.rows(slice(_SOME)), seed),
        **found,
    )


def _if_defined(figure: Callable[..., Any], vae: LatentVariableModel, data: Batch) -> Any:
    """A figure, or None for a model or data that has none."""
    try:
        return figure(vae, data)
    except (DataError, ModelError):
        return None


def _noise(vae: LatentVariableModel, data: Batch, seed: int) -> Noise | None:
    """Of the likelihood at z drawn as for the ELBO; None where it is no family of locations and scales."""
    scales, seeds = [], sampling.as_seeds(len(data.x), seed)
    for rows, batch in batches(data, vae, BATCH_SIZE):
        z = sampling.draw(wrap(vae.posterior(batch)), seeds[rows], POSTERIOR)
        named = wrap(vae.likelihood(Latents(z, batch.y))).named_parameters or {}
        if "loc" not in named or "scale" not in named or named["scale"].shape.rank != named["loc"].shape.rank:
            return None
        scales.append(named["scale"].numpy())
    scale = np.concatenate(scales).astype(np.float64)
    smallest = float(scale.min())
    return Noise(smallest, float((scale <= smallest * 1.001).mean()), float(data.x.std()))
