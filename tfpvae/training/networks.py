"""The models that the command line trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import keras

from tfpvae import layers as tfpl
from tfpvae.architectures import networks
from tfpvae.models import VAE
from tfpvae.objectives import Objective
from tfpvae.priors import FlowPrior, MixturePrior, Prior, VampPrior

ImageShape = tuple[int, int, int]

PIXEL_SCALE: Final = 0.3
"""Where the learned standard deviation of a pixel starts: about that of pixels in [0, 1]."""

LIKELIHOODS: Final[dict[str, Callable[[ImageShape], keras.layers.Layer]]] = {
    "bernoulli": tfpl.IndependentBernoulli,
    "normal": lambda shape: tfpl.SphericalNormal(shape, PIXEL_SCALE, learn_scale=True),
    "logistic": tfpl.IndependentDiscretizedLogistic,
}
"""Builds the layer at the decoder's end for images `[H, W, C]`."""

PRIORS: Final[dict[str, Callable[[int], Prior | None]]] = {
    "standard": lambda latent: None,
    "mixture": lambda latent: MixturePrior(latent, components=100),
    "vamp": lambda latent: VampPrior(components=500),
    "flow": lambda latent: FlowPrior(latent),
}
"""Builds p(z) for D latents; None is N(0, I)."""

MODELS: Final = {"mlp": False, "conv": True}
"""Whether the networks are convolutions."""


def build(
    shape: ImageShape, model: str, latent: int, likelihood: str, prior: str, objective: Objective | None = None
) -> VAE:
    """A VAE of images `[H, W, C]`, each part by its name in the settings."""
    encoder, decoder = networks(shape, latent, LIKELIHOODS[likelihood](shape), convolutional=MODELS[model])
    return VAE(encoder, decoder, PRIORS[prior](latent), objective)
