"""Checks of the networks that a model is built from: each mistake is an error where it is made, before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae._compat.keras import layers_within
from tfpvae.errors import ModelError
from tfpvae.layers.base import DistributionLayer
from tfpvae.layers.distribution_tensor import DistributionTensor, wrap
from tfpvae.layers.regularizers import KLDivergenceAddLoss, KLDivergenceRegularizer
from tfpvae.layers.support import support_of
from tfpvae.supports import Real, Support


def static_input_shape(network: keras.layers.Layer) -> tuple[int, ...] | None:
    """The shape of one input `[*shape]` of a network, or None where it is not known yet."""
    try:
        shape = network.input_shape
    except AttributeError:
        return None
    if not isinstance(shape, tuple) or any(not isinstance(n, int) for n in shape[1:]):
        return None
    return shape[1:]


def check_no_kl_regularizer(encoder: keras.layers.Layer) -> None:
    """Refuses whatever would add the KL a second time, anywhere inside the encoder.

    Losses that an encoder adds by a bare `add_loss` cannot be told apart, and are left alone.

    Raises:
        ModelError: a distribution layer has a regulariser, or there is a `KLDivergenceAddLoss`.
    """
    for layer in layers_within(encoder):
        regularizers = (getattr(layer, name, None) for name in ("distribution_regularizer", "activity_regularizer"))
        if isinstance(layer, KLDivergenceAddLoss):
            found = "KLDivergenceAddLoss"
        elif isinstance(layer, DistributionLayer) and layer.distribution_regularizer is not None:
            found = "activity_regularizer"
        elif any(isinstance(regularizer, KLDivergenceRegularizer) for regularizer in regularizers):
            found = "activity_regularizer=KLDivergenceRegularizer(...)"
        else:
            continue
        raise ModelError(
            "The encoder of a VAE must have no KL regulariser: the VAE adds the KL itself, and it would count twice. "
            f"Remove {found} from layer {layer.name!r}, and give its distribution as VAE(..., prior=...)."
        )


def check_networks(encoder: Any, decoder: Any) -> None:
    """Refuses an encoder or a decoder that cannot be one, as far as this shows without an input.

    Raises:
        ModelError: one is no layer or does not end in a distribution layer, or the encoder adds a KL itself.
    """
    for role, network in (("encoder", encoder), ("decoder", decoder)):
        if not isinstance(network, keras.layers.Layer):
            raise ModelError(f"The {role} must be a Keras model or layer. Received: {type(network).__name__}")
        check_ends_in_distribution(network, role)
    check_no_kl_regularizer(encoder)


def check_ends_in_distribution(network: keras.layers.Layer, role: str) -> None:
    """Refuses a network that ends in one of Keras's own layers: that needs no input shape to see.

    Raises:
        ModelError: it does.
    """
    last = network
    while isinstance(last, keras.Sequential) and last.layers:
        last = last.layers[-1]
    if not isinstance(last, keras.Model) and type(last).__module__.partition(".")[0] == "keras":
        raise _no_distribution(role, f"layer {last.name!r} of type {type(last).__name__} at its end")


def _no_distribution(role: str, received: str) -> ModelError:
    example = "MultivariateNormalDiag" if role in ("encoder", "posterior") else "IndependentBernoulli"
    return ModelError(
        f"The {role} must end in a distribution layer, such as tfpvae.layers.{example}. Received: {received}"
    )


def check_two_inputs(network: keras.layers.Layer, role: str, first: str) -> None:
    """Refuses a network of a conditional model that does not take y beside its own input.

    Args:
        network: encoder or decoder. Of a subclassed model nothing is known before it is called.
        role: "encoder" or "decoder", for the messages.
        first: the input beside y, "x" or "z".

    Raises:
        ModelError: it has not two inputs, or has them the other way round.
    """
    single = isinstance(network, keras.Sequential | DistributionLayer)
    inputs = [network] if single else getattr(network, "inputs", None)
    if inputs is None:
        return
    example = f"keras.Model([{first}, y], distribution)"
    if len(inputs) != 2:
        raise ModelError(
            f"The {role} of a conditional model must take two inputs, {first} and y, as {example} does. "
            f"Received: a {type(network).__name__} of {len(inputs)}"
        )
    by_name = isinstance(network.input, dict)
    names = list(network.input) if by_name else [tensor.name for tensor in inputs]
    if (by_name and set(names) != {first, "y"}) or (not by_name and names[0] == "y"):
        raise ModelError(
            f"The {role} of a conditional model must take its inputs in the order [{first}, y], as {example} does, or "
            f'by name, {{"{first}": ..., "y": ...}}. Received: {", ".join(names)}'
        )


def two_input_shapes(network: keras.layers.Layer, first: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The shapes of one first input and of one y of such a network, or None where they are not known yet."""
    if not hasattr(network, "inputs"):
        return None
    inputs = [network.input[first], network.input["y"]] if isinstance(network.input, dict) else network.inputs
    shapes = tuple(tuple(tensor.shape[1:]) for tensor in inputs)
    return None if any(n is None for shape in shapes for n in shape) else (shapes[0], shapes[1])


def call_with_condition(
    network: keras.layers.Layer, first: str, value: tf.Tensor, y: tf.Tensor, training: bool = False
) -> DistributionTensor:
    """What a network of two inputs makes of them: by name where it was built so, else in the order `[first, y]`."""
    by_name = hasattr(network, "inputs") and isinstance(network.input, dict)
    value = tf.convert_to_tensor(value)  # Keras refuses an array beside a tensor.
    return network({first: value, "y": y} if by_name else [value, y], training=training)


def probe(distribution_of_one_row: Callable[[], Any], role: str) -> DistributionTensor:
    """The distribution that a model makes of one row of zeros.

    Args:
        distribution_of_one_row: makes it.
        role: what makes it, "encoder" or "decoder", for the messages.

    Returns:
        A distribution with batch shape `[1]`.

    Raises:
        ModelError: it is not one distribution per row.
    """
    rv = distribution_of_one_row()
    if not isinstance(rv, tfd.Distribution):
        raise _no_distribution(role, f"a model whose output is {'a tensor' if tf.is_tensor(rv) else type(rv).__name__}")
    rv = wrap(rv)
    if rv.batch_shape.as_list() != [1]:
        raise ModelError(
            f"The {role}'s distribution must have one batch dimension, the rows. Give the layer the event's shape, "
            "or wrap the distribution in tfd.Independent. Received: for an input of one row, "
            f"batch shape {rv.batch_shape.as_list()}, event shape {rv.event_shape.as_list()}"
        )
    return rv


def support_of_data(rv: DistributionTensor) -> Support:
    """What data a likelihood is over; any numbers where that is not known."""
    return rv.support or support_of(rv.tensor_distribution) or Real()


def refuse_losses(kwargs: dict[str, Any], message: str) -> None:
    """Refuses losses and metrics given to `compile`.

    Raises:
        ModelError: there are some.
    """
    names = {"loss", "loss_weights", "metrics", "weighted_metrics"}
    refused = names & {key for key, value in kwargs.items() if value is not None}
    if refused:
        raise ModelError(f"{message} Received: {', '.join(sorted(refused))}")
