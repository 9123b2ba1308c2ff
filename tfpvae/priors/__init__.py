"""The priors p(z) and p(z given y)."""

from tfpvae.priors.base import Prior
from tfpvae.priors.conditional import ConditionalPrior
from tfpvae.priors.fitted import FittedMixturePrior
from tfpvae.priors.fixed import DistributionPrior, StandardNormal
from tfpvae.priors.flow import FlowPrior
from tfpvae.priors.mixture import MixturePrior
from tfpvae.priors.vamp import VampPrior

__all__ = [
    "ConditionalPrior",
    "DistributionPrior",
    "FittedMixturePrior",
    "FlowPrior",
    "MixturePrior",
    "Prior",
    "StandardNormal",
    "VampPrior",
]
