"""An initializer of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfpvae.checks import positive_integers
from tfpvae.errors import ModelError
from tfpvae.layers.base import register


@register
class BlockwiseInitializer(keras.initializers.Initializer):
    """Initializes blocks along the last axis, each in its own way: the location of a posterior and its scale, say.

    Args:
        initializers: one for each block, as Keras takes them.
        sizes: the sizes of the blocks along the last axis, in order.

    Call: a shape, whose last size is the sum of `sizes`, and a dtype -> a tensor.

    Raises:
        ModelError: there are not as many sizes as initializers; or (the call) the last size is another.
    """

    def __init__(self, initializers: Sequence[Any], sizes: Sequence[int]) -> None:
        self.initializers = [keras.initializers.get(initializer) for initializer in initializers]
        self.sizes = positive_integers("sizes", sizes)
        if len(self.initializers) != len(self.sizes) or not self.sizes:
            raise ModelError(
                f"There must be a size for each initializer. Received: {len(self.initializers)} initializers, "
                f"sizes={list(self.sizes)}"
            )

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> tf.Tensor:
        shape = tuple(int(size) for size in shape)
        if not shape or shape[-1] != sum(self.sizes):
            raise ModelError(
                f"The last size must be {sum(self.sizes)}, the sum of sizes={list(self.sizes)}. "
                f"Received: shape={list(shape)}"
            )
        blocks = zip(self.initializers, self.sizes, strict=True)
        return tf.concat([block((*shape[:-1], size), dtype=dtype) for block, size in blocks], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {
            "initializers": [keras.initializers.serialize(initializer) for initializer in self.initializers],
            "sizes": list(self.sizes),
        }
