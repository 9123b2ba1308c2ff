"""The interface of priors."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.layers.distribution_tensor import DistributionTensor


class Prior(keras.layers.Layer):
    """A prior p(z) over latents `[D]`, or p(z given y). Abstract.

    A prior is a Keras layer, so its weights are trained and saved with the model.

    Attributes:
        event_size: D, the number of latent dimensions.
        shares_encoder: whether p(z) is built from the encoder and so contains its weights.
        closed_form_kl: whether the KL to this prior usually has a closed form. If False, there is no warning when the
            KL is estimated by Monte Carlo.
        takes_condition: whether it is p(z given y). Such a prior defines `distribution_given` and `draw_given` in place
            of `distribution` and `draw`; see `ConditionalPrior`.
    """

    event_size: int
    shares_encoder: bool = False
    closed_form_kl: bool = True
    takes_condition: bool = False

    def bind(self, posterior: Callable[[tf.Tensor], DistributionTensor], event_shape: tuple[int, ...]) -> None:
        """Gives the prior its model's posterior. The model calls it once when it is built. Most priors ignore it.

        Args:
            posterior: a function from x `[B, *event_shape]` to q(z given x).
            event_shape: the shape of one example.
        """
        del posterior, event_shape

    def distribution(self) -> tfd.Distribution:
        """p(z): batch `[]`, event `[D]`."""
        raise NotImplementedError

    @property
    def num_uniforms(self) -> int | None:
        """The number of uniforms per draw, or None if no fixed number is enough."""
        return None

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        """One draw per row, as a pure function of uniforms, in operations that can be exported.

        Args:
            uniforms: float32 `[B, num_uniforms]` in [0, 1).

        Returns:
            z, `[B, D]`.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be drawn from a fixed number of uniforms.")

    def distribution_given(self, y: tf.Tensor | None, training: bool = False) -> tfd.Distribution:
        """p(z given y): batch `[B]`, event `[D]`; `distribution()` for a prior that takes no condition.

        Args:
            y: the condition as the networks take it, float `[B, *condition_shape]`; None for a prior without one.
            training: whether the prior's networks run in training mode.
        """
        del y, training
        return self.distribution()

    def draw_given(self, uniforms: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        """As `draw`, but from p(z given y); `draw(uniforms)` for a prior that takes no condition."""
        del y
        return self.draw(uniforms)
