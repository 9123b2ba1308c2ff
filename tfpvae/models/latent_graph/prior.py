"""p(z) of several latents."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.errors import ModelError
from tfpvae.layers.distribution_tensor import unwrap
from tfpvae.models.latent_graph.joint import Ancestral, Factor, factor
from tfpvae.models.latent_graph.parts import (
    Conditional,
    Part,
    Untracked,
    all_known,
    in_order,
    join,
    probe,
    split_uniforms,
)
from tfpvae.priors import Prior


class AncestralPrior(Prior):
    """The prior p(z) of several latents: a prior for the top part, and networks for the others.

    Args:
        top: the prior of the first part, over its flattened values.
        conditionals: the networks of the other parts, in any order.
        parts: in their order within z.

    Raises:
        ModelError: the dimension of the top prior or the event shape of a network's distribution is wrong.
    """

    closed_form_kl = False

    def __init__(self, top: Prior, conditionals: Sequence[Conditional], parts: Sequence[Part]) -> None:
        super().__init__()
        self.top = top
        self.parts = Untracked(tuple(parts))
        self.conditionals = Untracked(tuple(in_order(conditionals, known=(parts[0].name,))))
        self.networks = {c.name: c.network for c in conditionals}
        if top.event_size != parts[0].size:
            raise ModelError(
                f"The prior must have the dimension of {parts[0].name}, {parts[0].size}. "
                f"Received: a prior of dimension {top.event_size}"
            )
        probed = probe(self.conditionals.value, self.parts.value, {parts[0].name: parts[0].event_shape})
        self.layers_at_end = Untracked({name: rv.layer for name, rv in probed.items()})
        self.event_size = sum(part.size for part in parts)
        self.shares_encoder = top.shares_encoder
        self.built = True

    def distribution(self) -> tfd.Distribution:
        return self.distribution_given(None)

    def distribution_given(self, y: tf.Tensor | None, training: bool = False) -> tfd.Distribution:
        top = unwrap(self.top.distribution_given(y, training))
        factors: dict[str, Factor] = {self.parts.value[0].name: top}
        factors |= {c.name: factor(c, training) for c in self.conditionals.value}
        return Ancestral(self.parts.value, factors)

    @property
    def num_uniforms(self) -> int | None:
        counts = self._counts()
        return None if counts is None else sum(counts)

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        counts = self._counts()
        if counts is None:
            return super().draw(uniforms)
        parts, layers = self.parts.value, self.layers_at_end.value
        of_part = split_uniforms(uniforms, parts, counts)
        top = parts[0]
        rows = {top.name: tf.reshape(self.top.draw(of_part[top.name]), [-1, *top.event_shape])}
        for c in self.conditionals.value:
            rows[c.name] = layers[c.name].draw(c(rows).named_parameters, of_part[c.name])
        return join(rows, parts)

    def _counts(self) -> list[int] | None:
        """The number of uniforms that each part takes, in the order of the parts."""
        layers = [self.layers_at_end.value[part.name] for part in self.parts.value[1:]]
        return all_known([self.top.num_uniforms, *(None if layer is None else layer.num_uniforms for layer in layers)])
