"""Measuring a trained model, and looking at it."""

from tfpvae.evaluate.baselines import (
    Baseline,
    BernoulliKernel,
    FactorizedBernoulli,
    GaussianDensity,
    GaussianMixtureDensity,
    KernelDensity,
)
from tfpvae.evaluate.comparison import Comparison, compare
from tfpvae.evaluate.diagnosis import Diagnosis, Finding, Level, diagnose
from tfpvae.evaluate.elbo import mean_score
from tfpvae.evaluate.estimators import EstimatorComparison, compare_estimators
from tfpvae.evaluate.frechet import frechet_distance
from tfpvae.evaluate.latents import (
    ActiveUnits,
    ManifoldDimension,
    active_units,
    kl_per_latent,
    manifold_dimension,
)
from tfpvae.evaluate.log_marginal import LogMarginal, importance_log_marginal, monte_carlo_log_marginal
from tfpvae.evaluate.measurements import Measurements, measure
from tfpvae.evaluate.parzen import ParzenLogLikelihood, parzen_log_likelihood
from tfpvae.evaluate.rates import RateDistortion, bits_per_dimension, is_probability_mass, rate_distortion
from tfpvae.evaluate.reporting import Report, report
from tfpvae.evaluate.rows import Mean

__all__ = [
    "ActiveUnits",
    "Baseline",
    "BernoulliKernel",
    "Comparison",
    "Diagnosis",
    "EstimatorComparison",
    "FactorizedBernoulli",
    "Finding",
    "GaussianDensity",
    "GaussianMixtureDensity",
    "KernelDensity",
    "Level",
    "LogMarginal",
    "ManifoldDimension",
    "Mean",
    "Measurements",
    "ParzenLogLikelihood",
    "RateDistortion",
    "Report",
    "active_units",
    "bits_per_dimension",
    "compare",
    "compare_estimators",
    "diagnose",
    "frechet_distance",
    "importance_log_marginal",
    "is_probability_mass",
    "kl_per_latent",
    "manifold_dimension",
    "mean_score",
    "measure",
    "monte_carlo_log_marginal",
    "parzen_log_likelihood",
    "rate_distortion",
    "report",
]
