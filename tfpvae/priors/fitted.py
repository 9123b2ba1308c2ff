"""A prior that is fitted to what the encoder makes of the data, after training.

[DW19] Dai, Wipf: Diagnosing and enhancing VAE models. ICLR 2019.
[GSV+20] Ghosh, Sajjadi, Vergari, Black, Schölkopf: From variational to deterministic autoencoders. ICLR 2020.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfpvae._extras import explain_missing
from tfpvae.checks import positive_integer
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.mixture import mixture_distribution
from tfpvae.priors.base import Prior
from tfpvae.random.tensorflow import normal_from_uniform

LEAST_VARIANCE = 1e-4
"""Added to the variances, so that no component falls on a point."""


@register
class FittedMixturePrior(Prior):
    """p(z) = sum_k pi_k N(z; loc_k, L_k L_k^T), Gaussians of full covariance, fitted to draws of q [GSV+20].

    Where the draws of q over the data are not distributed as the prior, samples from the prior are of places that the
    decoder does not know [DW19]. `fit` finds the mixture by expectation maximisation. It is not trained with the
    networks: its weights are not trainable. Before `fit` it is N(0, I).

    The first uniform of a draw picks the component. Uniforms are multiples of 2^-24, and so is what they are compared
    with: every runtime picks the same.

    Args:
        event_size: D, the number of latent dimensions.
        components: K, the number of components.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ModelError: `event_size` or `components` is not an integer of 1 or more.

    Attributes:
        logits: the log weights, up to a constant, `[K]`.
        thresholds: where the uniforms of component k end, `[K]`.
        loc: the means, `[K, D]`.
        scale_tril: L, lower triangular, `[K, D, D]`.
        inverse_scale_tril: its inverse: the density needs it, and few runtimes can invert.
    """

    closed_form_kl = False

    def __init__(self, event_size: int, components: int = 30, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_size = positive_integer("event_size", event_size)
        self.components = positive_integer("components", components)

        def weight(name: str, *shape: int, start: Any = "zeros") -> Any:
            return self.add_weight(
                name=name, shape=(self.components, *shape), initializer=start, trainable=False, autocast=False
            )

        def identity(shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
            return tf.eye(self.event_size, batch_shape=shape[:1], dtype=dtype or tf.float32)

        size = self.event_size
        self.logits = weight("logits")
        self.thresholds = weight("thresholds", start="ones")
        self.loc = weight("loc", size)
        self.scale_tril = weight("scale_tril", size, size, start=identity)
        self.inverse_scale_tril = weight("inverse_scale_tril", size, size, start=identity)
        self.built = True

    def fit(self, z: Any, seed: int = 0) -> None:
        """Fits the mixture to latents by expectation maximisation (scikit-learn's `GaussianMixture`).

        Args:
            z: draws of q(z given x) for the x of the data, `[N, D]`, N at least twice the number of components.
            seed: that of the start.

        Raises:
            ModelError: `z` has another shape, values that are not finite, or too few rows.
        """
        with explain_missing("FittedMixturePrior.fit"):
            from sklearn.mixture import GaussianMixture

        z = np.asarray(z, np.float64)
        if z.ndim != 2 or z.shape[1] != self.event_size or len(z) < 2 * self.components or not np.isfinite(z).all():
            raise ModelError(
                f"z must be finite latents [N, {self.event_size}] with N at least {2 * self.components}. Received: "
                f"shape {list(z.shape)}"
            )
        found = GaussianMixture(
            self.components, covariance_type="full", reg_covar=LEAST_VARIANCE, max_iter=100, random_state=seed
        ).fit(z)
        scale_tril = np.linalg.cholesky(found.covariances_)
        self.logits.assign(np.log(found.weights_))
        self.thresholds.assign(np.ceil(np.cumsum(found.weights_) * 2**24 - 0.5) / 2**24)
        self.loc.assign(found.means_)
        self.scale_tril.assign(scale_tril)
        self.inverse_scale_tril.assign(np.tril(np.linalg.inv(scale_tril)))

    def distribution(self) -> tfd.Distribution:
        def components(loc: tf.Tensor, inverse_scale_tril: tf.Tensor) -> tfd.Distribution:
            factor = tf.linalg.LinearOperatorLowerTriangular(inverse_scale_tril).adjoint()
            return tfp.experimental.distributions.MultivariateNormalPrecisionFactorLinearOperator(loc, factor)

        parameters = {
            "loc": tf.convert_to_tensor(self.loc),
            "inverse_scale_tril": tf.convert_to_tensor(self.inverse_scale_tril),
        }
        return mixture_distribution(tf.convert_to_tensor(self.logits), components, parameters)

    @property
    def num_uniforms(self) -> int:
        """One uniform to pick the component, plus those of the Gaussian."""
        return 1 + self.event_size + self.event_size % 2

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        ends = tf.convert_to_tensor(self.thresholds)[: self.components - 1]
        index = tf.reduce_sum(tf.cast(uniforms[:, :1] >= ends, tf.int32), axis=-1)
        normals = tf.cast(normal_from_uniform(uniforms[:, 1:])[:, : self.event_size], self.variable_dtype)
        scale_tril = tf.gather(tf.convert_to_tensor(self.scale_tril), index)
        return tf.gather(tf.convert_to_tensor(self.loc), index) + tf.reduce_sum(
            scale_tril * normals[:, tf.newaxis, :], axis=-1
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "event_size": self.event_size, "components": self.components}
