"""The settings that the data decides, where the user does not."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfpvae.architectures import is_large_image, latent_for
from tfpvae.data import ImageData, default_binarize, is_binary
from tfpvae.training.config import TrainConfig
from tfpvae.training.parts import split

MINUTES = 10.0
"""How long a run takes at most, where neither epochs nor minutes are given."""
FEW = 20_000
"""Up to so many images the batches are small."""


def choose(config: TrainConfig, images: ImageData) -> tuple[TrainConfig, list[str]]:
    """Fills in what the settings leave to the data.

    Args:
        config: the settings.
        images: the data.

    Returns:
        The settings, complete, and what was chosen and why, in lines.
    """
    shape, n = images.image_shape, len(images.x_train)
    large, binary = is_large_image(shape), is_binary(images.x_train)
    likelihood, model, latent = config.likelihood, config.model, config.latent
    if likelihood == "auto":
        likelihood = "bernoulli" if binary else "normal"
    if model == "auto":
        model = "conv" if large else "mlp"
    if latent is None:
        latent = latent_for(shape)
    binarize = config.binarize
    if binarize == "auto":
        binarize = "none" if binary else default_binarize(likelihood).value
    batch_size = config.batch_size or (64 if n <= FEW else 128)
    learning_rate = config.learning_rate or (2e-3 if model == "conv" else 1e-3)
    minutes = MINUTES if config.epochs is None and config.minutes is None else config.minutes
    chosen = dataclasses.replace(
        config,
        likelihood=likelihood,
        model=model,
        latent=latent,
        binarize=binarize,
        batch_size=batch_size,
        learning_rate=learning_rate,
        minutes=minutes,
    )
    return chosen, _lines(chosen, images, binary)


_LIKELIHOODS = {
    "bernoulli": "Bernoulli",
    "normal": "Gaussian of one learned variance",
    "logistic": "discretised logistic",
}


def _lines(config: TrainConfig, images: ImageData, binary: bool) -> list[str]:
    height, width, channels = images.image_shape
    train, validation = split(images, config.seed)
    if binary:
        values = "every pixel is 0 or 1"
    else:
        values = f"pixels have {len(np.unique(images.x_train[:100]))} values"
        values += f" and are drawn as 0 or 1 ({config.binarize})" if config.binarize != "none" else ""
    networks = "residual convolutions" if config.model == "conv" else "residual dense layers"
    if config.epochs is None:
        until = f"until the bound of the validation images stops rising, {config.minutes:g} minutes at most"
    else:
        until = f"{config.epochs} epochs" + (f", {config.minutes:g} minutes at most" if config.minutes else "")
    return [
        f"data         {len(train)} training, {len(validation)} validation, {len(images.x_test)} test images "
        f"of {height} x {width}{'' if channels == 1 else f' x {channels}'}",
        f"likelihood   {_LIKELIHOODS[config.likelihood]}: {values}",
        f"networks     {networks}, {config.latent} latents",
        f"training     batches of {config.batch_size}, Adam from {config.learning_rate:g}, {until}",
    ]
