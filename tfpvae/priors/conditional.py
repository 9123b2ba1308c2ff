"""A prior that depends on the condition.

[SLY15] Sohn, Lee, Yan: Learning structured output representation using deep conditional generative models. NIPS 2015.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.distribution_tensor import DistributionTensor
from tfpvae.priors.base import Prior


@register
class ConditionalPrior(Prior):
    """A network for p(z given y): the prior in the paper on conditional VAEs [SLY15, section 4].

    ```python
    y = keras.Input((10,))
    network = keras.Model(y, tfpl.MultivariateNormalDiag(4)(keras.layers.Dense(8)(y)))
    vae = ConditionalVAE(encoder, decoder, prior=ConditionalPrior(network), num_classes=10)
    ```

    The KL is exact if it has a closed form, as between two Gaussians. `sample_latent` of the model then needs y.

    Args:
        network: a Keras model from y, as the model's networks take it, to a distribution over z `[D]`. Its input shape
            must be known, as with `keras.Input`.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ModelError: the network does not return one distribution over a vector per row, or its input shape is unknown.

    Attributes:
        network: the argument.
        condition_shape: the shape of one y as the network takes it.
    """

    takes_condition = True

    def __init__(self, network: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        shape = getattr(network, "input_shape", None) if isinstance(network, keras.layers.Layer) else None
        if not isinstance(shape, tuple) or any(not isinstance(n, int) for n in shape[1:]):
            raise ModelError(
                "network must be a Keras model of one input with a known shape, such as keras.Input((10,)). "
                f"Received: network={network!r}"
            )
        self.network = network
        self.condition_shape = shape[1:]
        of_zeros = network(tf.zeros([1, *self.condition_shape], keras.config.floatx()), training=False)
        if not isinstance(of_zeros, DistributionTensor):
            raise ModelError(
                "network must end in a distribution layer, such as tfpvae.layers.MultivariateNormalDiag. "
                f"Received: a model whose output is of type {type(of_zeros).__name__}"
            )
        if of_zeros.batch_shape.as_list() != [1] or of_zeros.event_shape.rank != 1:
            raise ModelError(
                "network must make one distribution over a vector for each row: batch shape [1], event shape [D] for "
                f"one row. Received: batch shape {of_zeros.batch_shape.as_list()}, "
                f"event shape {of_zeros.event_shape.as_list()}"
            )
        self.event_size = of_zeros.event_shape[0]
        self._num_uniforms = None if of_zeros.layer is None else of_zeros.layer.num_uniforms
        self.built = True

    def distribution_given(self, y: tf.Tensor | None, training: bool = False) -> DistributionTensor:
        """p(z given y): y `[B, *condition_shape]` -> batch `[B]`, event `[D]`.

        Raises:
            ModelError: y is None.
        """
        if y is None:
            raise ModelError("y must be given: this prior is p(z given y). Received: y=None")
        return self.network(y, training=training)

    def distribution(self) -> DistributionTensor:
        return self.distribution_given(None)

    @property
    def num_uniforms(self) -> int | None:
        return self._num_uniforms

    def draw_given(self, uniforms: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        p = self.distribution_given(y)
        if p.layer is None or p.named_parameters is None or self.num_uniforms is None:
            return self.draw(uniforms)
        return p.layer.draw(p.named_parameters, uniforms)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ConditionalPrior:
        config = dict(config)
        if isinstance(config["network"], dict):
            config["network"] = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config)
