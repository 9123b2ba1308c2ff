"""p(x given z) of several latents."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfpvae.layers.distribution_tensor import DistributionTensor
from tfpvae.models.latent_graph.parts import Conditional, Part, Untracked, split


class AncestralDecoder(keras.layers.Layer):
    """p(x given z) for several latents: a layer that applies a network to parts of z.

    Args:
        conditional: the network and the names of the parts that it takes.
        parts: in their order within z.
    """

    def __init__(self, conditional: Conditional, parts: Sequence[Part]) -> None:
        super().__init__(autocast=False)
        self.parts = Untracked(tuple(parts))
        self.conditional = Untracked(conditional)
        self.network = conditional.network
        self.built = True

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return (None, sum(part.size for part in self.parts.value))

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> DistributionTensor:
        return self.conditional.value(split(inputs, self.parts.value), bool(training))
