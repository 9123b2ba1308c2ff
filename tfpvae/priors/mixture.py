"""A prior that is a learned mixture of Gaussians.

[TW18] Tomczak, Welling: VAE with a VampPrior. AISTATS 2018.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.checks import positive_integer
from tfpvae.layers.base import register
from tfpvae.layers.mixture import mixture_distribution
from tfpvae.layers.multivariate_normal import MIN_SCALE
from tfpvae.priors.base import Prior
from tfpvae.random.tensorflow import normal_from_uniform


@register
class MixturePrior(Prior):
    """p(z) = sum_k pi_k N(z; loc_k, diag(scale_k)^2) with learned parameters: a baseline in [TW18].

    Initially the weights are equal, the locations are drawn from N(0, I), and the scales are 1.

    The first uniform of a draw picks the component, and every runtime picks the same one. The cumulative weights are
    computed in float64 and compared with the middle of the uniform's step of 2^-24. So rounding can change the pick
    only if a cumulative weight is within some 1e-15 of such a middle.

    Args:
        event_size: D, the number of latent dimensions.
        components: K, the number of components.
        seed: the seed of the initial locations; None uses Keras's.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ModelError: `event_size` or `components` is not an integer of 1 or more.

    Attributes:
        logits: the log weights, up to a constant, `[K]`.
        loc: the means, `[K, D]`.
        raw_scale: the unconstrained scales, `[K, D]`; `scale = softplus(raw_scale) + 1e-5`.
    """

    closed_form_kl = False

    def __init__(self, event_size: int, components: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_size = positive_integer("event_size", event_size)
        self.components = positive_integer("components", components)
        self.seed = seed
        shape = (self.components, self.event_size)
        spread = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
        one = keras.initializers.Constant(np.log(np.expm1(1.0)))
        self.logits = self.add_weight(name="logits", shape=(self.components,), initializer="zeros", autocast=False)
        self.loc = self.add_weight(name="loc", shape=shape, initializer=spread, autocast=False)
        self.raw_scale = self.add_weight(name="raw_scale", shape=shape, initializer=one, autocast=False)
        self.built = True

    @property
    def scale(self) -> tf.Tensor:
        """The standard deviations, `[K, D]`."""
        return tf.nn.softplus(tf.convert_to_tensor(self.raw_scale)) + MIN_SCALE

    def distribution(self) -> tfd.Distribution:
        parameters = {"loc": tf.convert_to_tensor(self.loc), "scale_diag": self.scale}
        return mixture_distribution(tf.convert_to_tensor(self.logits), tfd.MultivariateNormalDiag, parameters)

    @property
    def num_uniforms(self) -> int:
        """One uniform to pick the component, plus those of the Gaussian."""
        return 1 + self.event_size + self.event_size % 2

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        index = pick_component(tf.convert_to_tensor(self.logits), uniforms[:, 0])
        normals = tf.cast(normal_from_uniform(uniforms[:, 1:])[:, : self.event_size], self.variable_dtype)
        return tf.gather(tf.convert_to_tensor(self.loc), index) + tf.gather(self.scale, index) * normals

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_size": self.event_size,
            "components": self.components,
            "seed": self.seed,
        }


def pick_component(logits: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """The component that each uniform selects, the same on every runtime.

    Args:
        logits: `[K]`.
        uniforms: `[B]` in [0, 1), multiples of 2^-24.

    Returns:
        int32 `[B]`, 0 to K - 1.
    """
    cdf = tf.cumsum(tf.nn.softmax(tf.cast(logits, tf.float64)))
    middle = tf.cast(uniforms, tf.float64) + 2.0**-25
    return tf.reduce_sum(tf.cast(middle[:, tf.newaxis] >= cdf[:-1], tf.int32), axis=-1)
