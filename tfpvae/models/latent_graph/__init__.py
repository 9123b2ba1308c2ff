"""Joint distributions over several latents that depend on each other, for `HierarchicalVAE` and `TwoStageVAE`.

The latents are parts of one vector z, top first. They are drawn in sequence.
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
