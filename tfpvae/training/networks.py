"""The encoders and decoders that the command line trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import keras

from tfpvae import layers as tfpl
from tfpvae.models import VAE
from tfpvae.objectives import Objective
from tfpvae.priors import FlowPrior, MixturePrior, Prior, VampPrior

ImageShape = tuple[int, int, int]

MIN_PIXEL_SCALE: Final = 0.01
"""The least standard deviation of a pixel under the normal likelihood, about two and a half steps of 8-bit grey. A
density has no upper bound: if a pixel is the same in every image, its scale would fall to zero and its log-likelihood
would rise without limit."""


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of a decoder.

    Attributes:
        heads: how many parameters each pixel has.
        layer: builds the distribution layer for an event shape.
    """

    heads: int
    layer: Callable[[ImageShape], keras.layers.Layer]


LIKELIHOODS: Final = {
    "bernoulli": Likelihood(1, tfpl.IndependentBernoulli),
    "normal": Likelihood(2, tfpl.IndependentNormal),
}


PRIORS: Final[dict[str, Callable[[int], Prior | None]]] = {
    "standard": lambda latent: None,
    "mixture": lambda latent: MixturePrior(latent, components=100),
    "vamp": lambda latent: VampPrior(components=500),
    "flow": lambda latent: FlowPrior(latent),
}
"""Builds p(z) for D latents; None is N(0, I)."""


def _pixel_parameters(heads: list[keras.KerasTensor]) -> keras.KerasTensor:
    """The likelihood layer's input from one flat head per parameter, the scale bounded below."""
    if len(heads) == 1:
        return heads[0]
    loc, raw_scale = heads
    inverse_softplus = math.log(math.expm1(MIN_PIXEL_SCALE))
    return keras.layers.Concatenate()([loc, keras.ops.maximum(raw_scale, inverse_softplus)])


def _posterior(x: keras.KerasTensor, hidden: keras.KerasTensor, latent: int) -> keras.Model:
    params = keras.layers.Dense(tfpl.MultivariateNormalDiag.params_size(latent))(hidden)
    return keras.Model(x, tfpl.MultivariateNormalDiag(latent)(params), name="encoder")


def mlp(
    shape: ImageShape,
    latent: int,
    likelihood: Likelihood,
    prior: Prior | None = None,
    objective: Objective | None = None,
    units: int = 512,
) -> VAE:
    """Two dense layers of `units` on either side."""
    x = keras.Input(shape)
    h = keras.layers.Flatten()(x)
    for _ in range(2):
        h = keras.layers.Dense(units, "relu")(h)
    encoder = _posterior(x, h, latent)

    z = h = keras.Input((latent,))
    for _ in range(2):
        h = keras.layers.Dense(units, "relu")(h)
    heads = [keras.layers.Dense(math.prod(shape))(h) for _ in range(likelihood.heads)]
    decoder = keras.Model(z, likelihood.layer(shape)(_pixel_parameters(heads)), name="decoder")
    return VAE(encoder, decoder, prior, objective)


def conv(
    shape: ImageShape,
    latent: int,
    likelihood: Likelihood,
    prior: Prior | None = None,
    objective: Objective | None = None,
    filters: tuple[int, int] = (32, 64),
) -> VAE:
    """Two strided convolutions on either side, and a dense layer between them and the latents."""
    height, width, channels = shape
    x = h = keras.Input(shape)
    for n in filters:
        h = keras.layers.Conv2D(n, 3, strides=2, padding="same", activation="relu")(h)
    encoder = _posterior(x, keras.layers.Dense(256, "relu")(keras.layers.Flatten()(h)), latent)

    small = (math.ceil(height / 4), math.ceil(width / 4), filters[-1])
    z = keras.Input((latent,))
    h = keras.layers.Dense(256, "relu")(z)
    h = keras.layers.Reshape(small)(keras.layers.Dense(math.prod(small), "relu")(h))
    for n in reversed(filters):
        h = keras.layers.Conv2DTranspose(n, 3, strides=2, padding="same", activation="relu")(h)
    # Two doublings give sides that are multiples of four: the rest is cut off.
    h = keras.layers.Cropping2D(((0, 4 * small[0] - height), (0, 4 * small[1] - width)))(h)
    heads = [
        keras.layers.Flatten()(keras.layers.Conv2D(channels, 3, padding="same")(h)) for _ in range(likelihood.heads)
    ]
    decoder = keras.Model(z, likelihood.layer(shape)(_pixel_parameters(heads)), name="decoder")
    return VAE(encoder, decoder, prior, objective)


NETWORKS: Final[dict[str, Callable[..., VAE]]] = {"mlp": mlp, "conv": conv}
