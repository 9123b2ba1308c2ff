"""The two-stage variational autoencoder.

[DW19] Dai, Wipf: Diagnosing and enhancing VAE models. ICLR 2019.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.models.ancestral import (
    DATA,
    AncestralDecoder,
    AncestralPosterior,
    AncestralPrior,
    Conditional,
    Part,
)
from tfpvae.models.vae import VAE
from tfpvae.objectives import Objective, Terms
from tfpvae.priors import Prior


class StageTerms(NamedTuple):
    """The bounds of both stages, and what they say of the two-stage model: each `[B]`, in nats."""

    first: Terms
    second: Terms
    """Of the second stage at a draw of q(z given x)."""
    log_q: tf.Tensor
    """log q(z given x) at that draw."""

    @property
    def bound(self) -> tf.Tensor:
        """What is maximised: the sum of both."""
        return self.first.bound + self.second.bound

    @property
    def log_likelihood(self) -> tf.Tensor:
        """log p(x given z)."""
        return self.first.log_likelihood

    @property
    def kl(self) -> tf.Tensor:
        """log q(z given x) minus the second stage's lower bound on log p(z)."""
        return self.log_q - self.second.elbo

    @property
    def elbo(self) -> tf.Tensor:
        """The evidence lower bound of the two-stage model."""
        return self.log_likelihood - self.kl


class BothStages(Objective):
    """Each stage's own objective: the first's at x, the second's at a draw of q(z given x), whose gradient stops."""

    def __call__(  # type: ignore[override]  # Terms of two bounds.
        self,
        model: TwoStageVAE,
        x: tf.Tensor,
        seed: tf.Tensor | None = None,
        training: bool = False,
        step: Any = 0,
    ) -> StageTerms:
        first, second = model.first, model.second
        of_draw, of_first, of_second = tf.unstack(tfp.random.split_seed(seed, n=3))
        # A stage that is not trained runs as it does in use.
        q = first.posterior(x, training=training and first.trainable)
        z = tf.stop_gradient(q.sample(seed=of_draw))
        return StageTerms(
            log_q=q.log_prob(z),
            first=first.objective(_Given(first, q), x, of_first, training and first.trainable, step),
            second=second.objective(second, z, of_second, training and second.trainable, step),
        )


class _Given:
    """A model whose q(z given x) has been computed."""

    def __init__(self, model: VAE, q: tfd.Distribution) -> None:
        self.prior: Prior = model.prior
        self.likelihood = model.likelihood
        self._q = q

    def posterior(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        del x, training
        return self._q


@register
class TwoStageVAE(VAE):
    """A second VAE over the latents of a first [DW19]: u ~ p(u), z ~ p(z given u), x ~ p(x given z).

    The latents that a trained VAE gives to its data, q(z) = E[q(z given x)], are not spread as its prior is, where the
    bound has been won by the reconstruction: draws of the prior then fall where the decoder has seen nothing. The
    second VAE learns q(z), which fills all of its space, as the data may not [DW19, section 4].

    It gains where the first reconstructs well: by a likelihood of a small variance, such as `SphericalNormal(D, 0.03)`,
    or of a learned one that starts small. Of a first stage whose latents say little (`kl` near 0) it is but a copy.

    One `fit` trains both: the second on draws of q(z given x), through which no gradient goes back. To train one after
    the other, train the first, then set `first.trainable = False`:

    ```python
    first.compile("adam")
    first.fit(x, epochs=100)
    first.trainable = False
    vae = TwoStageVAE(first, second)
    vae.compile("adam")
    vae.fit(x, epochs=100)
    ```

    `fit` reports both stages' losses, `first_loss` and `second_loss`, and of the two-stage model `elbo`,
    `log_likelihood` and `kl`: log p(x) >= E[log p(x given z) - log q(z given x) + the second's bound on log p(z)].

    Its z is (u, z): that is what `sample_latent` gives, `decode` takes, and bounds and estimates of log p(x) are over,
    with q(z given x) q(u given z) as the posterior. `vae.first.decode` takes z alone.

    Args:
        first: a VAE of the data. Its prior is used in its own bound alone.
        second: a VAE of `[D]`, the first's latents.
        **kwargs: those of `keras.Model`.

    Raises:
        ModelError: they are not VAEs, the first is not built, or the second's data are not the first's latents.

    Attributes:
        first, second: as given.
    """

    encoder: AncestralPosterior
    decoder: AncestralDecoder

    def __init__(self, first: VAE, second: VAE, **kwargs: Any) -> None:
        _check_stages(first, second)
        parts = [Part("u", (second.latent_size,)), Part("z", (first.latent_size,))]
        q = [Conditional("z", first.encoder, DATA), Conditional("u", second.encoder, "z")]
        # Before the rest, which builds the model: Keras takes no layers after that.
        self.first = first
        self.second = second
        self.first_loss_tracker = keras.metrics.Mean(name="first_loss")
        self.second_loss_tracker = keras.metrics.Mean(name="second_loss")
        super().__init__(
            AncestralPosterior(q, parts, first.event_shape),
            AncestralDecoder(Conditional(DATA, first.decoder, "z"), parts),
            AncestralPrior(second.prior, [Conditional("z", second.decoder, "u")], parts),
            BothStages(),
            **kwargs,
        )

    def posterior(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        return self.encoder.joint(x, training)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*super().metrics, self.first_loss_tracker, self.second_loss_tracker]

    def _report(self, terms: Any, loss: tf.Tensor, weight: tf.Tensor | None) -> dict[str, Any]:
        self.first_loss_tracker.update_state(-terms.first.bound, sample_weight=weight)
        self.second_loss_tracker.update_state(-terms.second.bound, sample_weight=weight)
        return super()._report(terms, loss, weight)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {**keras.Model.get_config(self), "first": serialize(self.first), "second": serialize(self.second)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> TwoStageVAE:
        config = dict(config)
        for stage in ("first", "second"):
            config[stage] = keras.saving.deserialize_keras_object(config[stage], custom_objects)
            if not config[stage].trainable:
                config[stage].trainable = False  # Its layers too: Keras restores that of the model alone.
        return cls(**config)


def _check_stages(first: Any, second: Any) -> None:
    for role, stage in (("first", first), ("second", second)):
        if not isinstance(stage, VAE):
            raise ModelError(f"{role} must be a tfpvae.VAE. Received: {type(stage).__name__}")
        if stage.condition is not None:
            raise ModelError(f"{role} must be a model without a condition. Received: a {type(stage).__name__}")
    if first is second:
        raise ModelError("first and second must be two models. Received: the same")
    if not first.built:
        raise ModelError(
            "first must know the shape of its data: give its encoder a keras.Input, or call it on some data."
        )
    latents = (first.latent_size,)
    if not second.built:
        second.build((None, *latents))
    if second.event_shape != latents:
        raise ModelError(
            f"second must be a VAE of the first's latents, event shape {list(latents)}. "
            f"Received: event shape {list(second.event_shape)}"
        )
