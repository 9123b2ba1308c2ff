"""What each signature computes, as a function of a model and its inputs by name.

The methods of the models and the exported graphs both call these functions. Every function is batched on the first
axis, and each row of its outputs depends on that row of its inputs alone. Nothing is checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import tensorflow as tf

from tfpvae.batch import Batch, Latents
from tfpvae.errors import ModelError, UnavailableError
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap, wrap
from tfpvae.objectives import elbo_at
from tfpvae.random import numpy as random_numpy
from tfpvae.random import tensorflow as random_tensorflow
from tfpvae.random.seeds import LATENT, OBSERVATION, POSTERIOR, Seeds, seeds_for

if TYPE_CHECKING:
    from tfpvae.models.conditional_density import ConditionalDensity
    from tfpvae.models.latent_variable_model import LatentVariableModel

PNG_CHANNELS: Final = (1, 3, 4)
"""The channels that a PNG can have: grey, RGB, RGBA."""

_CHUNK: Final = 256
"""Rows at a time outside a graph: as many as the clients ask for at once."""

STATISTICS: Final = ("mean", "stddev", "variance", "mode", "entropy", "log_prob", "prob")
"""What `predict` can give of p(x given z): methods of `tfd.Distribution`."""

Tensors: TypeAlias = Mapping[str, tf.Tensor]
"""A signature's inputs or outputs by name: "x", "z", "seed", "y"."""


def as_seeds(n: int | None, seed: Seeds) -> tf.Tensor:
    """The seeds of n rows, int64 `[n]`; see `tfpvae.random.seeds.seeds_for`.

    Raises:
        ModelError: n or seed are not as they must be.
    """
    try:
        return tf.constant(seeds_for(n, seed))
    except ValueError as error:
        raise ModelError(str(error)) from error


def mean(rv: DistributionTensor, name: str = "p(x given z)") -> tf.Tensor:
    """E of a distribution, in operations that export where its layer knows how.

    Args:
        rv: the distribution.
        name: its name, for the error.

    Raises:
        UnavailableError: it has no finite mean in closed form.
    """
    return _point(rv, name, lambda layer, parameters: layer.mean(parameters))


def center(rv: DistributionTensor) -> tf.Tensor:
    """A point that stands for q(z given x): its mean, or what its layer has in place of one.

    Raises:
        UnavailableError: it has no such point in closed form.
    """
    return _point(rv, "q(z given x)", lambda layer, parameters: layer.center(parameters))


def _point(rv: DistributionTensor, name: str, of_layer: Callable[..., tf.Tensor]) -> tf.Tensor:
    try:
        if rv.layer is not None and rv.named_parameters is not None:
            return of_layer(rv.layer, rv.named_parameters)
        value = rv.tensor_distribution.mean()
    except NotImplementedError as error:
        raise UnavailableError(f"{name} has no finite mean in closed form") from error
    # A named layer's mean is finite by construction. TFP gives NaN or infinity for a mean that does not exist.
    if tf.executing_eagerly() and not bool(tf.reduce_all(tf.math.is_finite(value))):
        raise UnavailableError(f"{name} has no finite mean in closed form")
    return value


def draw(rv: DistributionTensor, seeds: tf.Tensor, stream: int, name: str = "p(x given z)") -> tf.Tensor:
    """One draw per row, by seed: `[B, *event_shape]`.

    Args:
        rv: the distribution.
        seeds: int64 `[B]`.
        stream: which random numbers of a seed, one of `tfpvae.random.seeds`.
        name: its name, for the error.

    Raises:
        UnavailableError: its layer cannot be drawn from a fixed number of uniforms.
    """
    layer, parameters = rv.layer, rv.named_parameters
    size = None if layer is None else layer.num_uniforms
    if layer is None or parameters is None or size is None:
        kind = "DistributionLambda" if layer is None else type(layer).__name__
        raise UnavailableError(
            f"{name} cannot be drawn from a fixed number of uniforms",
            f"Layer {kind} cannot be drawn by seed. Use TFP's own draws, as in vae.decode(z).sample().",
        )
    return layer.draw(parameters, uniform(seeds, size, stream))


def parameters(rv: DistributionTensor) -> dict[str, tf.Tensor]:
    """The named parameters of a distribution, as the outputs of a graph.

    Raises:
        UnavailableError: it has none.
    """
    if rv.named_parameters is None:
        raise UnavailableError("the distribution has no named parameters")
    # Named copies: an output that is itself an input or a variable would lose its name in the graph.
    return {name: tf.identity(tensor, name=name) for name, tensor in rv.named_parameters.items()}


def uniform(seeds: tf.Tensor, size: int, stream: int) -> tf.Tensor:
    """The uniforms of each seed, `[B, size]`: the same bits in a graph and outside, where NumPy is faster."""
    if tf.executing_eagerly() and seeds.dtype == tf.int64:
        return tf.constant(random_numpy.uniform(np.asarray(seeds), size, stream))
    return random_tensorflow.uniform(seeds, size, stream)


def in_chunks(function: Callable[..., dict[str, tf.Tensor]], model: Any, inputs: Tensors) -> dict[str, tf.Tensor]:
    """One of the functions below for any number of rows: so many at a time that its memory is that of the outputs.

    Args:
        function: the function; each row of its outputs depends on that row of its inputs alone.
        model, inputs: its arguments.
    """
    rows = next(iter(inputs.values())).shape[0]
    if rows is None or rows <= _CHUNK or not tf.executing_eagerly():
        return function(model, inputs)
    chunks = [
        function(model, {name: value[first : first + _CHUNK] for name, value in inputs.items()})
        for first in range(0, rows, _CHUNK)
    ]
    return {name: tf.concat([chunk[name] for chunk in chunks], axis=0) for name in chunks[0]}


def _posterior(model: LatentVariableModel, inputs: Tensors) -> DistributionTensor:
    return wrap(model.posterior(Batch(inputs["x"], inputs.get("y"))))


def _likelihood(model: LatentVariableModel, z: tf.Tensor, inputs: Tensors) -> DistributionTensor:
    return wrap(model.likelihood(Latents(z, inputs.get("y"))))


def _drawn_latent(model: LatentVariableModel, inputs: Tensors) -> tf.Tensor:
    if not model.built:
        raise ModelError("The model has not been built: train it, or call it on some data, before it is sampled from.")
    if model.prior.num_uniforms is None:
        raise UnavailableError(
            "the prior cannot be drawn from a fixed number of uniforms",
            f"Prior {type(model.prior).__name__} cannot be drawn by seed.",
        )
    return model.sample_prior(uniform(inputs["seed"], model.prior.num_uniforms, LATENT), inputs.get("y"))


# Models with latents.


def decode(model: LatentVariableModel, inputs: Tensors) -> dict[str, tf.Tensor]:
    """E[x given z]: z `[B, D]` -> `[B, *event_shape]`."""
    return {"mean": mean(_likelihood(model, inputs["z"], inputs))}


def likelihood(model: LatentVariableModel, inputs: Tensors) -> dict[str, tf.Tensor]:
    """The parameters of p(x given z) by name: z `[B, D]`."""
    return parameters(_likelihood(model, inputs["z"], inputs))


def sample_latent(model: LatentVariableModel, inputs: Tensors) -> dict[str, tf.Tensor]:
    """z ~ p(z) by seed: int64 `[B]` -> `[B, D]`.

    Raises:
        ModelError: the prior cannot be drawn from a fixed number of uniforms.
    """
    return {"z": _drawn_latent(model, inputs)}


def sample_mean(model: LatentVariableModel, inputs: Tensors) -> dict[str, tf.Tensor]:
    """E[x given z], z by seed: int64 `[B]` -> `[B, *event_shape]`."""
    return {"mean": mean(_likelihood(model, _drawn_latent(model, inputs), inputs))}


def sample(model: LatentVariableModel, inputs: Tensors) -> dict[str, tf.Tensor]:
    """x ~ p(x given z), both by seed: int64 `[B]` -> `[B, *event_shape]`."""
    p_x = _likelihood(model, _drawn_latent(model, inputs), inputs)
    return {"sample": draw(p_x, inputs["seed"], OBSERVATION)}


def sample_png(model: LatentVariableModel, inputs: Tensors) -> dict[str, tf.Tensor]:
    """PNG files of `sample_mean`, pixels [0, 1] to 0..255: int64 `[B]` -> string `[B]`.

    Raises:
        ModelError: the event is no image.
    """
    if len(model.event_shape) != 3 or model.event_shape[-1] not in PNG_CHANNELS:
        raise UnavailableError(
            "the event is no image [H, W, C] of 1, 3 or 4 channels",
            f"Only images [H, W, C] of {', '.join(map(str, PNG_CHANNELS))} channels have PNGs. "
            f"This model's event shape is {list(model.event_shape)}",
        )
    means = sample_mean(model, inputs)["mean"]
    pixels = tf.cast(tf.round(tf.clip_by_value(means, 0.0, 1.0) * 255.0), tf.uint8)
    return {"image_bytes": tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.string)}


def encode(model: LatentVariableModel, inputs: Tensors) -> dict[str, tf.Tensor]:
    """The parameters of q(z given x) by name: x `[B, *event_shape]`."""
    return parameters(_posterior(model, inputs))


def reconstruct(model: LatentVariableModel, inputs: Tensors) -> dict[str, tf.Tensor]:
    """E[x given z] at the center of q(z given x): `[B, *event_shape]` -> the same."""
    return {"mean": mean(_likelihood(model, center(_posterior(model, inputs)), inputs))}


def score(model: LatentVariableModel, inputs: Tensors) -> dict[str, tf.Tensor]:
    """The bound and its terms, z by seed: `[B, *event_shape]` and int64 `[B]` -> three of `[B]`, in nats."""
    batch = Batch(inputs["x"], inputs.get("y"))
    q = _posterior(model, inputs)
    terms = elbo_at(model, q.tensor_distribution, draw(q, inputs["seed"], POSTERIOR, "q(z given x)"), batch)
    return {"elbo": terms.elbo, "log_likelihood": terms.log_likelihood, "kl": terms.kl}


def statistics(model: LatentVariableModel, batch: Batch, names: tuple[str, ...]) -> dict[str, tf.Tensor]:
    """Statistics of p(x given z) at the center of q(z given x), by name; `log_prob` and `prob` are those of x."""
    p_x = unwrap(model.likelihood(Latents(center(wrap(model.posterior(batch))), batch.y)))
    return {name: getattr(p_x, name)(*([batch.x] if name in ("log_prob", "prob") else [])) for name in names}


LATENT_FUNCTIONS: Final[Mapping[str, Callable[[LatentVariableModel, Tensors], dict[str, tf.Tensor]]]] = {
    "decode": decode,
    "likelihood": likelihood,
    "sample_latent": sample_latent,
    "sample_mean": sample_mean,
    "sample": sample,
    "sample_png": sample_png,
    "encode": encode,
    "reconstruct": reconstruct,
    "score": score,
}
"""The computing function of each signature of a model with latents."""


# Models p(y given x) without latents.


def decode_observed(model: ConditionalDensity, inputs: Tensors) -> dict[str, tf.Tensor]:
    """E[y given x]: x `[B, *input_shape]` -> `[B, *event_shape]`."""
    return {"mean": mean(wrap(model.likelihood(inputs["x"])), "p(y given x)")}


def likelihood_observed(model: ConditionalDensity, inputs: Tensors) -> dict[str, tf.Tensor]:
    """The parameters of p(y given x) by name: x `[B, *input_shape]`."""
    return parameters(wrap(model.likelihood(inputs["x"])))


def sample_observed(model: ConditionalDensity, inputs: Tensors) -> dict[str, tf.Tensor]:
    """y ~ p(y given x) by seed: x `[B, *input_shape]` and int64 `[B]` -> `[B, *event_shape]`."""
    return {"sample": draw(wrap(model.likelihood(inputs["x"])), inputs["seed"], OBSERVATION, "p(y given x)")}


def score_observed(model: ConditionalDensity, inputs: Tensors) -> dict[str, tf.Tensor]:
    """log p(y given x): x `[B, *input_shape]`, y `[B, *event_shape]` -> `[B]`, in nats."""
    return {"log_likelihood": unwrap(model.likelihood(inputs["x"])).log_prob(inputs["y"])}


OBSERVED_FUNCTIONS: Final[Mapping[str, Callable[[ConditionalDensity, Tensors], dict[str, tf.Tensor]]]] = {
    "decode": decode_observed,
    "likelihood": likelihood_observed,
    "sample": sample_observed,
}
"""The computing function of each signature of a model without latents."""
