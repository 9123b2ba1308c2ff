"""Priors p(z)."""

from tfpvae.priors.base import Prior
from tfpvae.priors.fixed import DistributionPrior, StandardNormal
from tfpvae.priors.flow import FlowPrior
from tfpvae.priors.mixture import MixturePrior
from tfpvae.priors.vamp import VampPrior

__all__ = ["DistributionPrior", "FlowPrior", "MixturePrior", "Prior", "StandardNormal", "VampPrior"]
