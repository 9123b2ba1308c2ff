"""Bounds on log p(x), as functions and as training objectives."""

from tfpvae.objectives.bounds import (
    BoundModel,
    BoundTerms,
    Terms,
    dreg,
    elbo,
    elbo_at,
    free_bits,
    iwae,
    log_joint,
    log_likelihood,
    log_weights,
)
from tfpvae.objectives.objective import Beta, DReG, Elbo, FreeBits, Iwae, Objective

__all__ = [
    "Beta",
    "BoundModel",
    "BoundTerms",
    "DReG",
    "Elbo",
    "FreeBits",
    "Iwae",
    "Objective",
    "Terms",
    "dreg",
    "elbo",
    "elbo_at",
    "free_bits",
    "iwae",
    "log_joint",
    "log_likelihood",
    "log_weights",
]
