"""The parts of z, and networks for the distribution of one part given others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.errors import ModelError
from tfpvae.layers.base import Parameters
from tfpvae.layers.distribution_tensor import DistributionTensor, wrap

DATA = "x"
"""The name of the data among the names of the parts."""

Values: TypeAlias = Mapping[str, tf.Tensor]
"""The data and the parts drawn so far, by name, each `[R, *shape]`."""


@dataclass(frozen=True)
class Part:
    """One latent of several: a named part of z.

    Attributes:
        name: its name.
        event_shape: the shape of one value, which is flattened in z.
    """

    name: str
    event_shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of values of z in this part."""
        return math.prod(self.event_shape)


@dataclass(frozen=True)
class Conditional:
    """A network that returns the distribution of one part, or of the data, given its parents.

    Attributes:
        name: the name of the part, or `DATA`.
        network: the network.
        inputs: the parents' names, in the structure of the network's inputs: a name, a list or a dict of names.
        function: called in place of the network, such as a model's `posterior`; None calls the network itself.
    """

    name: str
    network: keras.layers.Layer
    inputs: Any
    function: Callable[..., tfd.Distribution] | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        """The names of the parts and data that it conditions on."""
        return tuple(keras.tree.flatten(self.inputs))

    @property
    def of_data_alone(self) -> bool:
        """Whether it conditions on x and no latent."""
        return self.parents == (DATA,)

    def __call__(self, values: Values, training: bool = False) -> DistributionTensor:
        inputs = keras.tree.map_structure(lambda name: values[name], self.inputs)
        return wrap((self.function or self.network)(inputs, training=training))


class Untracked:
    """Hides a value from Keras's tracking: layers that a network already owns."""

    def __init__(self, value: Any) -> None:
        self.value = value


def split(z: tf.Tensor, parts: Sequence[Part]) -> dict[str, tf.Tensor]:
    """Splits z `[B, D]` into its parts by name, each `[B, *event_shape]`."""
    flat = tf.split(z, [part.size for part in parts], axis=-1)
    return {part.name: tf.reshape(value, [-1, *part.event_shape]) for part, value in zip(parts, flat, strict=True)}


def join(rows: Values, parts: Sequence[Part]) -> tf.Tensor:
    """Joins the parts by name, each `[B, *event_shape]`, to z `[B, D]`."""
    return tf.concat([tf.reshape(rows[part.name], [-1, part.size]) for part in parts], axis=-1)


def split_uniforms(uniforms: tf.Tensor, parts: Sequence[Part], counts: Sequence[int]) -> dict[str, tf.Tensor]:
    """Splits the uniforms of all parts into those of each part, by name, `[B, counts[i]]`."""
    names = (part.name for part in parts)
    return dict(zip(names, tf.split(uniforms, counts, axis=-1), strict=True))


def in_order(conditionals: Sequence[Conditional], known: tuple[str, ...] = (DATA,)) -> list[Conditional]:
    """Sorts the conditionals so that each comes after its parents.

    Raises:
        ModelError: they form a cycle.
    """
    waiting, order, seen = list(conditionals), [], set(known)
    while waiting:
        ready = [c for c in waiting if seen.issuperset(c.parents)]
        if not ready:
            circle = "; ".join(f"{c.name} given {', '.join(c.parents)}" for c in waiting)
            raise ModelError(f"Networks must not condition on each other in a circle. Received: {circle}")
        order += ready
        seen |= {c.name for c in ready}
        waiting = [c for c in waiting if c not in ready]
    return order


def probe(
    conditionals: Sequence[Conditional], parts: Sequence[Part], known: Mapping[str, tuple[int, ...]]
) -> dict[str, DistributionTensor]:
    """The distribution of each part for one row of zeros.

    Args:
        conditionals: the networks, each after its parents.
        parts: the parts with their event shapes.
        known: the shapes of the inputs that are not among `parts`, by name.

    Raises:
        ModelError: the event shape of a distribution is not that of its part.
    """
    shapes = {part.name: part.event_shape for part in parts}
    rows = {name: tf.zeros([1, *shape], keras.config.floatx()) for name, shape in (dict(known) | shapes).items()}
    probed = {}
    for c in conditionals:
        rv = probed[c.name] = c(rows)
        if tuple(rv.event_shape) != shapes[c.name]:
            raise ModelError(
                f"p({c.name} given {', '.join(c.parents)}) must be over the event of q({c.name} given ...), "
                f"{list(shapes[c.name])}. Received: event shape {rv.event_shape.as_list()}"
            )
    return probed


def parameters_of(part: str, parameters: Parameters) -> Parameters:
    """The parameters of one part, with the prefix `<part>_` removed from their names."""
    prefix = f"{part}_"
    return {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}


def all_known(counts: Sequence[int | None]) -> list[int] | None:
    """The counts, or None if any is unknown."""
    return None if any(n is None for n in counts) else [n for n in counts if n is not None]
