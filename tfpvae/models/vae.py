"""The variational autoencoder."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.batch import Batch, Latents
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.models import networks
from tfpvae.models.latent_variable_model import LatentVariableModel
from tfpvae.objectives import Objective
from tfpvae.priors import Prior
from tfpvae.priors.fixed import as_prior


@register
class VAE(LatentVariableModel):
    """A variational autoencoder [KW14]: q(z given x), p(z) and p(x given z), trained on a bound on log p(x).

    The KL from posterior to prior is exact wherever it has a closed form. The loss is minus the bound: a sum over the
    event and a mean over the batch, in nats.

    ```python
    vae = VAE(encoder, decoder)
    vae.compile("adam")
    vae.fit(x)
    samples = vae.sample(16, seed=7)
    ```

    Args:
        encoder: a Keras model from x `[B, *event_shape]` to a distribution over z `[D]`: its last layer is one of
            `tfpvae.layers`, such as `MultivariateNormalDiag`.
        decoder: a Keras model from z `[B, D]` to a distribution over x, such as `IndependentBernoulli`.
        prior: p(z), a `tfpvae.priors.Prior` or a `tfd.Distribution` over `[D]`. None is N(0, I).
        objective: the bound, one of `tfpvae.objectives`: `Elbo(beta=...)`, `FreeBits(nats)`, `Iwae(k)`, `DReG(k)`. None
            is the ELBO.
        **kwargs: those of `keras.Model`.

    Raises:
        ModelError: the parts do not fit: no distribution at the end, a KL regulariser inside the encoder, a decoder
            whose event is not the encoder's input, a prior of another dimension, a bound that they do not have.

    Attributes:
        encoder, decoder, prior, objective: as given; the prior is always a `tfpvae.priors.Prior`.
    """

    _roles = ("encoder", "decoder")

    def __init__(
        self,
        encoder: keras.layers.Layer,
        decoder: keras.layers.Layer,
        prior: Prior | tfd.Distribution | None = None,
        objective: Objective | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(objective, **kwargs)
        networks.check_networks(encoder, decoder)
        self.encoder = encoder
        self.decoder = decoder
        if prior is not None:
            self.prior = as_prior(prior)
        shape = networks.static_input_shape(encoder)
        if shape is not None:
            self.build((None, *shape))

    def posterior(self, batch: Batch | tf.Tensor, training: bool = False) -> tfd.Distribution:
        """q(z given x): x `[B, *event_shape]` -> batch `[B]`, event `[D]`."""
        return self.encoder(Batch.of(batch).x, training=training)

    def likelihood(self, latents: Latents | tf.Tensor, training: bool = False) -> tfd.Distribution:
        """p(x given z): z `[B, D]` -> batch `[B]`, event `event_shape`."""
        return self.decoder(Latents.of(latents).z, training=training)

    def _check_networks(self, latent_size: int, y: Any) -> None:
        networks.check_no_kl_regularizer(self.encoder)  # Again: a subclass may have made layers just now.
        decoder_shape = networks.static_input_shape(self.decoder)
        if decoder_shape is not None and decoder_shape != (latent_size,):
            raise ModelError(
                f"The decoder must take z of shape [B, {latent_size}], as the encoder's distribution has it. "
                f"Received: a decoder that takes [B, {', '.join(map(str, decoder_shape))}]"
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._serialized("encoder", "decoder", "prior", "objective")}
