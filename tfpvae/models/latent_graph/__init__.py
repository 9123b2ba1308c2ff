"""Distributions over several latents, each given others: what `HierarchicalVAE` and `TwoStageVAE` are made of.

The latents are parts of one vector z, top first. They are drawn one after the other.
"""

from tfpvae.models.latent_graph.decoder import AncestralDecoder
from tfpvae.models.latent_graph.joint import Ancestral
from tfpvae.models.latent_graph.parts import DATA, Conditional, Part, in_order
from tfpvae.models.latent_graph.posterior import AncestralPosterior
from tfpvae.models.latent_graph.prior import AncestralPrior

__all__ = [
    "DATA",
    "Ancestral",
    "AncestralDecoder",
    "AncestralPosterior",
    "AncestralPrior",
    "Conditional",
    "Part",
    "in_order",
]
