"""What an exported model computes, as functions of a model and tensors.

Every function is batched on the first axis and depends on its own row alone. The methods of the models, the exporter
and the tests all call these. A conditional model comes with its condition fixed, as `model.given(y)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import tensorflow as tf

from tfpvae.errors import ModelError
from tfpvae.layers.distribution_tensor import DistributionTensor
from tfpvae.objectives import LatentVariableModel, elbo_at
from tfpvae.random.seeds import LATENT, OBSERVATION, POSTERIOR, Seeds, seeds_for
from tfpvae.random.tensorflow import uniform

PNG_CHANNELS: Final = (1, 3, 4)
"""The channels that a PNG can have: grey, RGB, RGBA."""


class Model(LatentVariableModel, Protocol):
    """What a signature needs of a model: a VAE, or a conditional one with its condition fixed."""

    built: bool
    event_shape: tuple[int, ...]

    @property
    def encoder(self) -> Callable[..., DistributionTensor]:
        """The network of `encode`, as a function of x and `training`."""

    def encode(self, x: tf.Tensor) -> DistributionTensor:
        """q(z given x)."""

    def decode(self, z: tf.Tensor) -> DistributionTensor:
        """p(x given z)."""

    def sample_prior(self, uniforms: tf.Tensor) -> tf.Tensor:
        """z ~ p(z), as a function of uniforms."""


def as_seeds(n: int | None, seed: Seeds) -> tf.Tensor:
    """The seeds of n rows, int64 `[n]`; see `tfpvae.random.seeds.seeds_for`.

    Raises:
        ModelError: n or seed are not as they must be.
    """
    try:
        return tf.constant(seeds_for(n, seed))
    except ValueError as error:
        raise ModelError(str(error)) from error


def mean(rv: DistributionTensor) -> tf.Tensor:
    """E of a distribution, in operations that export where its layer knows how."""
    if rv.layer is None or rv.named_parameters is None:
        return rv.tensor_distribution.mean()
    return rv.layer.mean(rv.named_parameters)


def center(rv: DistributionTensor) -> tf.Tensor:
    """A point that stands for a posterior: its mean, or what its layer has in place of one."""
    if rv.layer is None or rv.named_parameters is None:
        return rv.tensor_distribution.mean()
    return rv.layer.center(rv.named_parameters)


def draw(rv: DistributionTensor, seeds: tf.Tensor, stream: int) -> tf.Tensor:
    """One draw per row, by seed: `[B, *event_shape]`.

    Raises:
        ModelError: its layer cannot be drawn from a fixed number of uniforms.
    """
    layer, parameters = rv.layer, rv.named_parameters
    size = None if layer is None else layer.num_uniforms
    if layer is None or parameters is None or size is None:
        name = "DistributionLambda" if layer is None else type(layer).__name__
        raise ModelError(f"Layer {name} cannot be drawn by seed. Use TFP's own draws, as in vae.decode(z).sample().")
    return layer.draw(parameters, uniform(seeds, size, stream))


def sample_latent(model: Model, seeds: tf.Tensor) -> tf.Tensor:
    """z ~ p(z) by seed: int64 `[B]` -> `[B, D]`.

    Raises:
        ModelError: the prior cannot be drawn from a fixed number of uniforms.
    """
    if not model.built:
        raise ModelError("The model has not been built: train it, or call it on some data, before it is sampled from.")
    if model.prior.num_uniforms is None:
        raise ModelError(f"Prior {type(model.prior).__name__} cannot be drawn by seed.")
    return model.sample_prior(uniform(seeds, model.prior.num_uniforms, LATENT))


def sample_mean(model: Model, seeds: tf.Tensor) -> tf.Tensor:
    """E[x given z], z by seed: int64 `[B]` -> `[B, *event_shape]`."""
    return mean(model.decode(sample_latent(model, seeds)))


def sample(model: Model, seeds: tf.Tensor) -> tf.Tensor:
    """x ~ p(x given z), both by seed: int64 `[B]` -> `[B, *event_shape]`."""
    return draw(model.decode(sample_latent(model, seeds)), seeds, OBSERVATION)


def sample_png(model: Model, seeds: tf.Tensor) -> tf.Tensor:
    """PNG files of `sample_mean`, pixels [0, 1] to 0..255: int64 `[B]` -> string `[B]`.

    Raises:
        ModelError: the event is no image.
    """
    if len(model.event_shape) != 3 or model.event_shape[-1] not in PNG_CHANNELS:
        raise ModelError(
            f"Only images [H, W, C] of {', '.join(map(str, PNG_CHANNELS))} channels have PNGs. "
            f"This model's event shape is {list(model.event_shape)}"
        )
    pixels = tf.cast(tf.round(tf.clip_by_value(sample_mean(model, seeds), 0.0, 1.0) * 255.0), tf.uint8)
    return tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.string)


def reconstruct(model: Model, x: tf.Tensor) -> tf.Tensor:
    """E[x given z] at the mean of q(z given x): `[B, *event_shape]` -> the same."""
    return mean(model.decode(center(model.encode(x))))


def score(model: Model, x: tf.Tensor, seeds: tf.Tensor) -> dict[str, tf.Tensor]:
    """The bound and its terms, z by seed: `[B, *event_shape]` and int64 `[B]` -> three of `[B]`, in nats."""
    q = model.encode(x)
    terms = elbo_at(model, q.tensor_distribution, draw(q, seeds, POSTERIOR), x)
    return {"elbo": terms.elbo, "log_likelihood": terms.log_likelihood, "kl": terms.kl}
