"""Encoders and decoders that fit the shape of the data: `networks`."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import keras

from tfpvae import layers as tfpl
from tfpvae.checks import integer, positive_integers
from tfpvae.errors import ModelError
from tfpvae.layers.independent import IndependentLayer

LEAST_SIDE: Final = 16
"""Images whose shorter side has fewer pixels get dense networks."""
MOST_CHANNELS: Final = 4
SMALLEST_MAP: Final = 6
"""Maps are halved until no side is longer than this. So the dense layers that follow do not grow with the image."""
MAP_CHANNELS: Final = 32
GROUPS: Final = 8


class Networks(NamedTuple):
    """An encoder, q(z|x), and a decoder, p(x|z), for `tfpvae.VAE(*networks(...))`.

    Attributes:
        encoder: maps `[B, *event_shape]`, or a list of that and `[B, *y_shape]`, to a diagonal Gaussian of `[D]`.
        decoder: maps `[B, D]`, or a list of that and `[B, *y_shape]`, to the likelihood.
    """

    encoder: keras.Model
    decoder: keras.Model


def networks(
    event_shape: tuple[int, ...],
    latent: int | None = None,
    likelihood: keras.layers.Layer | None = None,
    *,
    y_shape: tuple[int, ...] | None = None,
    convolutional: bool | None = None,
    width: int | None = None,
) -> Networks:
    """An encoder and a decoder for data of this shape.

    Images, `[H, W, C]` with sides of at least 16 and at most four channels, get residual convolutions [HZRS16] with
    group normalisation [WH18]: a stride of 2 at a time down to a map of at most 6 x 6, and the same way up. The number
    of weights does not grow with the area. Sides may be odd. All other data gets residual dense layers.

        vae = tfpvae.VAE(*tfpvae.networks((28, 28, 1), likelihood=layers.IndependentBernoulli((28, 28, 1))))

    Args:
        event_shape: the shape of one example, without the batch.
        latent: D, the number of latents. By default 32 for images, and a quarter of the values of other data, between
            2 and 16. Latents that the data does not need stay at the prior.
        likelihood: the distribution layer at the decoder's end. By default `SphericalNormal` with a learned scale, a
            Gaussian of one variance, which suits data of any range.
        y_shape: the shape of what x is conditioned on, one-hot labels `[K]` for instance, for `ConditionalVAE`.
        convolutional: whether the networks are convolutions; by default, whether the data is such images.
        width: channels of the first convolution, twice as many follow, 32 by default; or units of the dense layers,
            256 by default.

    Raises:
        ModelError: a size is not a positive integer, the width of convolutions is no multiple of 8, or the likelihood
            has another event or no `params_size`.

    [HZRS16] He, Zhang, Ren, Sun: Identity mappings in deep residual networks. ECCV 2016.
    [WH18] Wu, He: Group normalization. ECCV 2018.
    """
    event_shape = _sizes("event_shape", event_shape)
    condition = None if y_shape is None else _sizes("y_shape", y_shape)
    if convolutional is None:
        convolutional = is_large_image(event_shape)
    elif convolutional and len(event_shape) != 3:
        raise ModelError(f"Convolutions need events [H, W, C]. Received: event_shape={event_shape}")
    latent = integer("latent", latent_for(event_shape) if latent is None else latent, ModelError, least=1)
    width = integer("width", (32 if convolutional else 256) if width is None else width, ModelError, least=1)
    if convolutional and width % GROUPS:
        raise ModelError(f"width must be a multiple of {GROUPS} for convolutions. Received: width={width}")
    if likelihood is None:
        likelihood = tfpl.SphericalNormal(event_shape, learn_scale=True)
    values, heads = _inputs_of(likelihood, event_shape)
    if convolutional and values != math.prod(event_shape):
        raise ModelError(
            f"{type(likelihood).__name__} has no parameters for each pixel, which convolutions give: set "
            "convolutional=False."
        )

    x, z = keras.Input(event_shape, name="x"), keras.Input((latent,), name="z")
    y = None if condition is None else keras.Input(condition, name="y")
    posterior = tfpl.MultivariateNormalDiag(latent)
    h = _convolutions_down(x, width) if convolutional else _dense_down(x, width)
    if y is not None:
        h = _activation(keras.layers.Dense(h.shape[-1])(_beside(h, y)))
    encoder = keras.Model(
        x if y is None else [x, y], posterior(_last(posterior.params_size(latent))(h)), name="encoder"
    )

    h = z if y is None else _beside(z, y)
    if convolutional:
        h = _convolutions_up(h, event_shape, heads, width)
    else:
        h = _last(values * heads)(_dense_down(h, width))
    if heads > 1 and not getattr(likelihood, "interleaved", False):  # All values of a parameter, then all of the next.
        h = keras.layers.Permute((2, 1))(keras.layers.Reshape((values, heads))(h))
    decoder = keras.Model(z if y is None else [z, y], likelihood(keras.layers.Flatten()(h)), name="decoder")
    return Networks(encoder, decoder)


def is_large_image(event_shape: tuple[int, ...]) -> bool:
    """Whether events are images for which convolutions are worth it."""
    return len(event_shape) == 3 and min(event_shape[:2]) >= LEAST_SIDE and event_shape[2] <= MOST_CHANNELS


def latent_for(event_shape: tuple[int, ...]) -> int:
    """How many latents such data gets."""
    return 32 if is_large_image(event_shape) else min(16, max(2, math.prod(event_shape) // 4))


def _beside(h: keras.KerasTensor, y: keras.KerasTensor) -> keras.KerasTensor:
    """`h` `[B, n]` with the condition beside it."""
    return keras.layers.Concatenate()([h, keras.layers.Flatten()(y)])


def _sizes(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    sizes = positive_integers(name, shape)
    if not sizes:
        raise ModelError(f"{name} must have at least one axis. Received: {name}={shape!r}")
    return sizes


def _inputs_of(likelihood: keras.layers.Layer, event_shape: tuple[int, ...]) -> tuple[int, int]:
    """How many values the likelihood takes parameters for, and how many of them each; or all its inputs, and one."""
    if tuple(getattr(likelihood, "event_shape", event_shape)) != event_shape:
        raise ModelError(f"The likelihood has events of {likelihood.event_shape}, not of event_shape={event_shape}.")
    if isinstance(likelihood, IndependentLayer):
        return math.prod(event_shape), likelihood.params_per_value
    components = [likelihood.num_components] if hasattr(likelihood, "num_components") else []
    event = event_shape[0] if len(event_shape) == 1 else event_shape
    try:
        return int(likelihood.params_size(*components, event)), 1
    except (AttributeError, TypeError, ModelError) as error:
        raise ModelError(
            f"{type(likelihood).__name__} does not say how many inputs it takes for event_shape={event_shape}: "
            "write its decoder."
        ) from error


def _last(units: int) -> keras.layers.Layer:
    """A dense layer to the parameters of a distribution: near zero at the start, where all of them are harmless."""
    return keras.layers.Dense(units, kernel_initializer=_small())


def _small() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(0.01)


def _activation(h: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.Activation("silu")(h)


# Convolutions.


def _sides(event_shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Height and width of the image and of each map, the largest first."""
    sides = [(event_shape[0], event_shape[1])]
    while max(sides[-1]) > SMALLEST_MAP:
        sides.append((math.ceil(sides[-1][0] / 2), math.ceil(sides[-1][1] / 2)))
    return sides


def _convolution(filters: int, size: int = 3, **options: object) -> keras.layers.Layer:
    return keras.layers.Conv2D(filters, size, padding="same", **options)


def _residual_block(h: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    """h + conv(silu(conv(silu(norm(h))))), the identity at the start."""
    change = _activation(keras.layers.GroupNormalization(GROUPS)(h))
    change = _activation(_convolution(filters)(change))
    return keras.layers.Add()([h, _convolution(filters, kernel_initializer="zeros")(change)])


def _convolutions_down(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    h = x
    for level in range(1, len(_sides(x.shape[1:]))):
        filters = width if level == 1 else 2 * width
        h = _residual_block(_convolution(filters, strides=2)(h), filters)
    h = _activation(keras.layers.GroupNormalization(GROUPS)(h))
    return keras.layers.Flatten()(_convolution(MAP_CHANNELS, 1)(h))


def _convolutions_up(z: keras.KerasTensor, event_shape: tuple[int, ...], heads: int, width: int) -> keras.KerasTensor:
    """The parameters, `[B, H, W, C heads]`, those of a value side by side."""
    *larger, smallest = _sides(event_shape)
    h = keras.layers.Dense(math.prod(smallest) * MAP_CHANNELS)(z)
    h = _convolution(2 * width, 1)(keras.layers.Reshape((*smallest, MAP_CHANNELS))(h))
    for level, (height, breadth) in reversed(list(enumerate(larger))):
        filters = width if level <= 1 else 2 * width
        h = keras.layers.UpSampling2D()(_residual_block(h, h.shape[-1]))
        h = keras.layers.Cropping2D(((0, h.shape[1] - height), (0, h.shape[2] - breadth)))(h)
        if level:
            h = _convolution(filters)(h)
    h = _activation(keras.layers.GroupNormalization(GROUPS)(h))
    h = _activation(_convolution(width // 2)(h))  # Else the grid of the last doubling shows.
    return _convolution(event_shape[2] * heads, kernel_initializer=_small())(h)


# Dense layers.


def _dense_block(h: keras.KerasTensor, units: int) -> keras.KerasTensor:
    change = _activation(keras.layers.Dense(units)(keras.layers.LayerNormalization()(h)))
    return keras.layers.Add()([h, keras.layers.Dense(units, kernel_initializer="zeros")(change)])


def _dense_down(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    h = keras.layers.Dense(width)(keras.layers.Flatten()(x))
    return _activation(_dense_block(_dense_block(h, width), width))
