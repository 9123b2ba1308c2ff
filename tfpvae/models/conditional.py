"""The conditional variational autoencoder.

[SLY15] Sohn, Lee, Yan: Learning structured output representation using deep conditional generative models. NIPS 2015.
"""

from __future__ import annotations

from typing import Any

import keras
from tensorflow_probability import distributions as tfd

from tfpvae.batch import Batch, Latents
from tfpvae.checks import positive_integer
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.models import networks
from tfpvae.models.latent_variable_model import LatentVariableModel
from tfpvae.objectives import Objective
from tfpvae.priors import ConditionalPrior, Prior
from tfpvae.priors.fixed import as_prior


@register
class ConditionalVAE(LatentVariableModel):
    """A variational autoencoder with a condition y: q(z given x, y), p(z) and p(x given z, y) [SLY15, section 4].

    It is trained on a bound on log p(x given y). Its usual prior does not depend on y (the relaxed form of [SLY15,
    section 4]), so that z holds what y does not say. `tfpvae.priors.ConditionalPrior` gives it p(z given y), the
    paper's own.

    y is a label or any tensor. Labels are integers `[B]` from 0 to `num_classes - 1`, and the networks see them
    one-hot, float `[B, num_classes]`. Without `num_classes`, y is a float tensor `[B, *y_shape]`, and the networks see
    it as it is.

    ```python
    x, y = keras.Input((8, 8, 1)), keras.Input((10,))
    h = keras.layers.Concatenate()([keras.layers.Flatten()(x), y])
    encoder = keras.Model([x, y], tfpl.MultivariateNormalDiag(4)(keras.layers.Dense(8)(h)))
    z = keras.Input((4,))
    h = keras.layers.Concatenate()([z, y])
    decoder = keras.Model([z, y], tfpl.IndependentBernoulli((8, 8, 1))(keras.layers.Dense(64)(h)))
    vae = ConditionalVAE(encoder, decoder, num_classes=10)
    vae.compile("adam")
    vae.fit(images, labels)
    threes = vae.sample(16, y=3, seed=7)
    ```

    Wherever a call takes y, it is one for each row, or one for all of them: a scalar, or an array of one row.

    Args:
        encoder: a Keras model from `[x, y]`, in this order, or from `{"x": x, "y": y}`, to a distribution over z `[D]`.
        decoder: a Keras model from `[z, y]` or `{"z": z, "y": y}` to a distribution over x.
        prior: p(z), as of `VAE`, or p(z given y), a `tfpvae.priors.ConditionalPrior`.
        objective: as of `VAE`.
        num_classes: how many labels there are; None where y is a float tensor.
        **kwargs: those of `keras.Model`.

    Raises:
        ModelError: the parts do not fit, as for `VAE`; a network does not take y; num_classes is not an integer of at
            least 1, or not the size of the networks' y; the prior is made of the encoder, and would call it without y.

    Attributes:
        num_classes: as given.
        condition: what y must be: int64 `[None]`, or float32 `[None, *y_shape]`.
    """

    takes_condition = True
    _roles = ("encoder", "decoder")

    def __init__(
        self,
        encoder: keras.layers.Layer,
        decoder: keras.layers.Layer,
        prior: Prior | tfd.Distribution | None = None,
        objective: Objective | None = None,
        num_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        networks.check_two_inputs(encoder, "encoder", "x")
        networks.check_two_inputs(decoder, "decoder", "z")
        super().__init__(objective, **kwargs)
        networks.check_networks(encoder, decoder)
        self.encoder = encoder
        self.decoder = decoder
        if prior is not None:
            self.prior = as_prior(prior)
        self.num_classes = None if num_classes is None else positive_integer("num_classes", num_classes)
        if prior is not None and self.prior.shares_encoder:
            raise ModelError(
                f"A ConditionalVAE must have a prior that is not made of the encoder, which needs y beside x. "
                f"Received: {type(self.prior).__name__}"
            )
        shapes = networks.two_input_shapes(encoder, "x")
        if shapes is not None:
            x_shape, y_shape = shapes
            self._check_y_shape(y_shape, "encoder")
            self.build([(None, *x_shape), (None, *(() if self.num_classes else y_shape))])

    def posterior(self, batch: Batch, training: bool = False) -> tfd.Distribution:
        """q(z given x, y): x `[B, *event_shape]`, y `[B, ...]` -> batch `[B]`, event `[D]`."""
        x, y = Batch.of(batch)
        return networks.call_with_condition(self.encoder, "x", x, self.condition_tensor(y), training)

    def likelihood(self, latents: Latents, training: bool = False) -> tfd.Distribution:
        """p(x given z, y): z `[B, D]`, y `[B, ...]` -> batch `[B]`, event `event_shape`."""
        z, y = Latents.of(latents)
        return networks.call_with_condition(self.decoder, "z", z, self.condition_tensor(y), training)

    def _check_networks(self, latent_size: int, y: Any) -> None:
        networks.check_no_kl_regularizer(self.encoder)  # Again: a subclass may have made layers just now.
        shapes = networks.two_input_shapes(self.decoder, "z")
        if shapes is None:
            return
        self._check_y_shape(shapes[1], "decoder", tuple(self.condition_tensor(y).shape[1:]))
        if shapes[0] != (latent_size,):
            raise ModelError(
                f"The decoder must take z of shape [B, {latent_size}], as the encoder's distribution has it. "
                f"Received: a decoder that takes [B, {', '.join(map(str, shapes[0]))}]"
            )

    def _check_y_shape(self, shape: tuple[int, ...], role: str, wanted: tuple[int, ...] | None = None) -> None:
        """Refuses a network whose y has another shape than labels, or the encoder's y, have.

        Raises:
            ModelError: it has.
        """
        if self.num_classes is not None:
            wanted = (self.num_classes,)
        if wanted is not None and shape != wanted:
            why = "labels come one-hot" if self.num_classes is not None else "as the encoder does"
            raise ModelError(
                f"The {role} must take y of shape [B, {', '.join(map(str, wanted))}]: {why}. "
                f"Received: a network that takes [B, {', '.join(map(str, shape))}]"
            )

    def _bind_prior(self, latent_size: int, event_shape: tuple[int, ...], y: Any) -> tfd.Distribution:
        if hasattr(self, "prior") and isinstance(self.prior, ConditionalPrior):
            self._check_y_shape(self.prior.condition_shape, "prior", tuple(self.condition_tensor(y).shape[1:]))
        return super()._bind_prior(latent_size, event_shape, y)

    def get_config(self) -> dict[str, Any]:
        parts = self._serialized("encoder", "decoder", "prior", "objective")
        return {**super().get_config(), **parts, "num_classes": self.num_classes}
