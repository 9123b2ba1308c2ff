"""The parts of z, and the networks that make a distribution of one part given others."""

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
"""The data and the parts drawn so far, by name, row by row: `[R, *shape]`."""


@dataclass(frozen=True)
class Part:
    """One latent of several: where it is in z, and what its values look like.

    Attributes:
        name: its name.
        event_shape: the shape of one value; within z the value is flat.
    """

    name: str
    event_shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers of z it is."""
        return math.prod(self.event_shape)


@dataclass(frozen=True)
class Conditional:
    """A network that makes a distribution of one part, or of the data, given its parents.

    Attributes:
        name: the name of what the distribution is over.
        network: the network.
        inputs: the parents' names, in the structure of the network's inputs: a name, a list or a dict of names.
        function: what is called in place of the network, such as a model's `posterior`; None is the network itself.
    """

    name: str
    network: keras.layers.Layer
    inputs: Any
    function: Callable[..., tfd.Distribution] | None = None

    @property
    def parents(self) -> tuple[str, ...]:
        """The names of what it conditions on."""
        return tuple(keras.tree.flatten(self.inputs))

    @property
    def of_data_alone(self) -> bool:
        """Whether it conditions on x and no latent."""
        return self.parents == (DATA,)

    def __call__(self, values: Values, training: bool = False) -> DistributionTensor:
        inputs = keras.tree.map_structure(lambda name: values[name], self.inputs)
        return wrap((self.function or self.network)(inputs, training=training))


class Untracked:
    """Holds what Keras must not track: layers that belong to a network, which has them already."""

    def __init__(self, value: Any) -> None:
        self.value = value


def split(z: tf.Tensor, parts: Sequence[Part]) -> dict[str, tf.Tensor]:
    """z `[B, D]` to its parts by name, each `[B, *event_shape]`."""
    flat = tf.split(z, [part.size for part in parts], axis=-1)
    return {part.name: tf.reshape(value, [-1, *part.event_shape]) for part, value in zip(parts, flat, strict=True)}


def join(rows: Values, parts: Sequence[Part]) -> tf.Tensor:
    """The parts by name, each `[B, *event_shape]`, to z `[B, D]`."""
    return tf.concat([tf.reshape(rows[part.name], [-1, part.size]) for part in parts], axis=-1)


def split_uniforms(uniforms: tf.Tensor, parts: Sequence[Part], counts: Sequence[int]) -> dict[str, tf.Tensor]:
    """The uniforms of each part by name, `[B, counts[i]]`, of those of them all."""
    names = (part.name for part in parts)
    return dict(zip(names, tf.split(uniforms, counts, axis=-1), strict=True))


def in_order(conditionals: Sequence[Conditional], known: tuple[str, ...] = (DATA,)) -> list[Conditional]:
    """The same conditionals, each after those that it conditions on.

    Raises:
        ModelError: there is no such order.
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
    """What networks make of one row of zeros, by part.

    Args:
        conditionals: in order.
        parts: what the distributions must be over.
        known: the shapes of what the first conditionals are given.

    Raises:
        ModelError: a distribution is over another event than its part.
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
    """A part's parameters by their own names, of those named `<part>_<parameter>`."""
    prefix = f"{part}_"
    return {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}


def all_known(counts: Sequence[int | None]) -> list[int] | None:
    """The counts, or None if one of them is not known."""
    return None if any(n is None for n in counts) else [n for n in counts if n is not None]
