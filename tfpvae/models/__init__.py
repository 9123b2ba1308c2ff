"""Models to train with `fit`."""

from tfpvae.models.conditional import ConditionalVAE
from tfpvae.models.conditional_density import ConditionalDensity
from tfpvae.models.distribution_model import DistributionModel
from tfpvae.models.hierarchical import HierarchicalVAE
from tfpvae.models.latent_variable_model import LatentVariableModel
from tfpvae.models.two_stage import TwoStageVAE
from tfpvae.models.vae import VAE

__all__ = [
    "VAE",
    "ConditionalDensity",
    "ConditionalVAE",
    "DistributionModel",
    "HierarchicalVAE",
    "LatentVariableModel",
    "TwoStageVAE",
]
