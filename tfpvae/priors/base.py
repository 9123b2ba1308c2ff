"""What every prior offers."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.layers.distribution_tensor import DistributionTensor


class Prior(keras.layers.Layer):
    """p(z) over latents `[D]`, or p(z given y): abstract.

    It is a Keras layer, so that a prior's weights are trained and saved with the model.

    Attributes:
        event_size: D, the number of latent dimensions.
        shares_encoder: whether it is made of the encoder, whose weights then appear in p(z) too.
        closed_form_kl: whether a KL to it can be expected to have a closed form. Where it is False, nobody is warned
            that the KL is estimated by Monte Carlo.
        takes_condition: whether it is p(z given y). It then defines `distribution_given` and `draw_given` in place of
            `distribution` and `draw`; see `ConditionalPrior`.
    """

    event_size: int
    shares_encoder: bool = False
    closed_form_kl: bool = True
    takes_condition: bool = False

    def bind(self, posterior: Callable[[tf.Tensor], DistributionTensor], event_shape: tuple[int, ...]) -> None:
        """Tells the prior what model it belongs to; the model does, once, when it is built. Most have no use for it.

        Args:
            posterior: q(z given x), of x `[B, *event_shape]`.
            event_shape: the shape of one example.
        """
        del posterior, event_shape

    def distribution(self) -> tfd.Distribution:
        """p(z): batch `[]`, event `[D]`."""
        raise NotImplementedError

    @property
    def num_uniforms(self) -> int | None:
        """How many uniform numbers one draw takes, or None if it cannot be drawn from a fixed number of them."""
        return None

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        """One draw per row, as a pure function of uniform numbers, in operations that export.

        Args:
            uniforms: float32 `[B, num_uniforms]` in [0, 1).

        Returns:
            z, `[B, D]`.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be drawn from a fixed number of uniforms.")

    def distribution_given(self, y: tf.Tensor | None, training: bool = False) -> tfd.Distribution:
        """p(z given y): batch `[B]`, event `[D]`; `distribution()` for a prior that takes no condition.

        Args:
            y: the condition as the networks see it, float `[B, *condition_shape]`; None for a prior that takes none.
            training: whether networks of the prior run in training mode.
        """
        del y, training
        return self.distribution()

    def draw_given(self, uniforms: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        """As `draw`, of p(z given y); `draw(uniforms)` for a prior that takes no condition."""
        del y
        return self.draw(uniforms)
