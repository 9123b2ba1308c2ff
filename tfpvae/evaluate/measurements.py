"""Measures a trained model on test data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tfpvae.batch import Batch, Latents
from tfpvae.checks import non_negative_integer
from tfpvae.errors import DataError, ModelError
from tfpvae.evaluate.baseline_figures import Explained, explained_variance, prior_gap
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
"""Rows that suffice to see whether the decoder uses z, and how small its noise is."""

_FEW: Final = 100
"""Rows that suffice to see whether naive Monte Carlo works."""

_TRAIN: Final = 500
"""Rows of training data that suffice to see whether log p(x) is higher there."""


@dataclass(frozen=True)
class Noise:
    """The standard deviations `scale` of a location-scale likelihood, in the unit of x.

    Attributes:
        smallest: the smallest standard deviation.
        share_at_smallest: the share of values within a thousandth of the smallest; 1 if all share one.
        data_stddev: the standard deviation over all values of x.
    """

    smallest: float
    share_at_smallest: float
    data_stddev: float


@dataclass(frozen=True)
class Measurements:
    """The results of `measure`: in nats per example, on test data unless stated otherwise.

    Attributes:
        n: the number of examples.
        latents: D, the number of latents.
        event_shape: the shape of one example.
        elbo: the ELBO, with one draw of z per example.
        elbo_stddev: its standard deviation between examples.
        log_likelihood: log p(x given z). Its negative is the distortion.
        kl: KL(q || p), the rate.
        worth_of_latent: how much better an example's own z predicts it than another example's z does.
        active_units: which latents vary with x; None if this is not defined.
        kl_per_latent: the KL of each latent, `[D]`; None if the KL is not a sum over latents.
        manifold_dimension: how many latents the posterior pins down; None without variances in closed form.
        discrete: whether p(x) is a probability mass; None if it is neither a mass nor a density.
        noise: the likelihood's noise; None if it is not a location-scale family.
        log_marginal: log p(x) of each example by importance sampling; None if not requested.
        inference_gap: log p(x) - ELBO.
        estimators: log p(x) of the first examples by importance sampling and by naive Monte Carlo.
        explained: the share of the variance that reconstructions explain, and that of principal components; None
            without training data or means.
        prior_gap: how many nats a Gaussian fitted to the latents of training data gains over the prior; None without
            training data, or where the prior is no single density.
        train_elbo: the ELBO on training data; None without training data.
        train_log_marginal: log p(x) on training data, by importance sampling.
        train_inference_gap: log p(x) - ELBO on training data.
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
    explained: Explained | None = None
    prior_gap: Mean | None = None
    train_elbo: Mean | None = None
    train_log_marginal: Mean | None = None
    train_inference_gap: Mean | None = None

    @property
    def log_marginal_mean(self) -> Mean | None:
        """The mean of log p(x) over the examples, by importance sampling; None if not requested."""
        return None if self.log_marginal is None else mean_of(self.log_marginal.log_marginal)

    @property
    def bits_per_dimension(self) -> float | None:
        """An upper bound, from log p(x) or else the ELBO; None unless p(x) is a probability mass."""
        if not self.discrete:
            return None
        return bits_per_dimension((self.log_marginal_mean or self.elbo).value, self.event_shape, discrete=True)

    def to_json(self) -> dict[str, Any]:
        """The results by name, ready for JSON, without those that were not measured."""
        values: dict[str, Any] = {
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
        if self.explained is not None:
            values |= {
                "explained_variance": self.explained.share.value,
                "explained_variance_standard_error": self.explained.share.standard_error,
                "explained_variance_pca": self.explained.pca,
                "pca_components": self.explained.components,
            }
        if self.prior_gap is not None:
            values |= {"prior_gap": self.prior_gap.value, "prior_gap_standard_error": self.prior_gap.standard_error}
        if self.manifold_dimension is not None and self.manifold_dimension.gamma is not None:
            values |= {"gamma": self.manifold_dimension.gamma, "manifold_dimension": self.manifold_dimension.dimension}
        if self.log_marginal is not None and self.log_marginal_mean is not None:
            values |= {
                "log_marginal": self.log_marginal_mean.value,
                "log_marginal_standard_error": self.log_marginal_mean.standard_error,
                "samples": self.log_marginal.samples,
                "effective_samples": float(np.median(self.log_marginal.effective_samples)),
            }
        if self.estimators is not None:
            naive = self.estimators.monte_carlo
            values["monte_carlo"] = {
                "n": len(naive.log_marginal),
                "log_marginal": float(naive.log_marginal.mean()),
                "importance_log_marginal": float(self.estimators.importance.log_marginal.mean()),
                "words": self.estimators.words,
                "effective_samples": float(np.median(naive.effective_samples)),
            }
        # JSON has no NaN, so the standard error of a single example is left out.
        absent = {name for name, value in values.items() if value is None or (value != value) is True}
        return {name: value for name, value in values.items() if name not in absent}


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
        x_train: training data, to see whether the model overfits. As many rows as the test data has are enough.
        y: the condition of a conditional model, one for each example or one for all.
        y_train: the condition of the training data.
        samples: the number of draws per example to estimate log p(x); 0 skips it. The naive estimate and the training
            data use only the first hundreds of examples.
        seed: the seed of the first example; example i uses `seed + i`.
        batch_size: the number of examples per batch.
        progress: called with the current step, in words.

    Raises:
        DataError: the data has the wrong shape, holds NaN or infinity, or values outside [0, 1] for a Bernoulli
            likelihood.
        ModelError: the encoder's layer cannot be drawn by seed, or `samples` is not an integer of 0 or more.
    """
    non_negative_integer("samples", samples)
    data = checked(vae, x, y)
    scores = score_rows(vae, data, seed, batch_size, lambda done: progress(f"{done} examples"))
    optional: dict[str, Any] = {}
    if samples:

        def log_marginal(data: Batch, estimate: Callable[..., LogMarginal], what: str) -> LogMarginal:
            return estimate(vae, data, samples, seed, progress=lambda done: progress(f"{what} of {done} examples"))

        estimated = log_marginal(data, importance_log_marginal, "log p(x)")
        optional["log_marginal"] = estimated
        optional["inference_gap"] = mean_of(estimated.log_marginal - scores["elbo"])
        optional["estimators"] = EstimatorComparison(
            LogMarginal(estimated.log_marginal[:_FEW], estimated.standard_error[:_FEW], samples),
            log_marginal(data.rows(slice(_FEW)), monte_carlo_log_marginal, "naive Monte Carlo"),
        )
    if x_train is not None:
        train = checked(vae, x_train, y_train)
        of_train = score_rows(vae, train, seed, batch_size, lambda done: progress(f"{done} training examples"))
        optional["train_elbo"] = mean_of(of_train["elbo"])
        if samples:
            estimated = log_marginal(train.rows(slice(_TRAIN)), importance_log_marginal, "training data's log p(x)")
            optional["train_log_marginal"] = mean_of(estimated.log_marginal)
            optional["train_inference_gap"] = mean_of(estimated.log_marginal - of_train["elbo"][:_TRAIN])
    progress("latents")
    active = _if_defined(active_units, vae, data)
    if x_train is not None:
        used = vae.latent_size if active is None else max(1, active.num_active)
        optional["explained"] = _if_defined(explained_variance, vae, data, train, used, batch_size)
        optional["prior_gap"] = _if_defined(prior_gap, vae, data, train, seed, batch_size)
    return Measurements(
        n=len(data.x),
        latents=vae.latent_size,
        event_shape=tuple(vae.event_shape),
        elbo=mean_of(scores["elbo"]),
        elbo_stddev=float(scores["elbo"].std()),
        log_likelihood=mean_of(scores["log_likelihood"]),
        kl=mean_of(scores["kl"]),
        worth_of_latent=mean_of(worth_of_latent(vae, data.rows(slice(_SOME)), seed, batch_size)),
        active_units=active,
        kl_per_latent=_if_defined(kl_per_latent, vae, data),
        manifold_dimension=_if_defined(manifold_dimension, vae, data),
        discrete=_if_defined(is_probability_mass, vae, data),
        noise=_noise(vae, data.rows(slice(_SOME)), seed),
        **optional,
    )


def _if_defined(figure: Callable[..., Any], vae: LatentVariableModel, data: Batch, *arguments: Any) -> Any:
    """The figure, or None if it is not defined for this model or data."""
    try:
        return figure(vae, data, *arguments)
    except (DataError, ModelError):
        return None


def _noise(vae: LatentVariableModel, data: Batch, seed: int) -> Noise | None:
    """The noise of the likelihood at z drawn as for the ELBO; None if it is not a location-scale family."""
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
