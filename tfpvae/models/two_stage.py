"""The two-stage variational autoencoder.

[DW19] Dai, Wipf: Diagnosing and enhancing VAE models. ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfpvae.batch import Batch, Latents
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.distribution_tensor import unwrap
from tfpvae.models.distribution_model import deserialized
from tfpvae.models.latent_graph import (
    DATA,
    AncestralDecoder,
    AncestralPosterior,
    AncestralPrior,
    Conditional,
    Part,
)
from tfpvae.models.latent_variable_model import LatentVariableModel
from tfpvae.objectives import BoundModel, BoundTerms, Objective
from tfpvae.priors import Prior


class StageTerms(NamedTuple):
    """The bounds of both stages and the terms of the two-stage model: each `[B]`, in nats."""

    first: BoundTerms
    second: BoundTerms
    """The terms of the second stage at a draw of q(z given x)."""
    log_q: tf.Tensor
    """log q(z given x) at that draw."""

    @property
    def bound(self) -> tf.Tensor:
        """The training objective: the sum of both bounds."""
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
    """The objectives of both stages: the first at x, the second at a draw of q(z given x) without its gradient."""

    def __init__(self, first: LatentVariableModel, second: LatentVariableModel) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def __call__(
        self,
        model: BoundModel,
        batch: Batch | tf.Tensor,
        seed: tf.Tensor | None = None,
        training: bool = False,
        step: Any = 0,
    ) -> StageTerms:
        first, second = self.first, self.second
        batch = Batch.of(batch)
        of_draw, of_first, of_second = tf.unstack(tfp.random.split_seed(seed, n=3))
        # A frozen stage runs in inference mode.
        train_first, train_second = training and first.trainable, training and second.trainable
        q = unwrap(first.posterior(batch, training=train_first))
        z = tf.stop_gradient(q.sample(seed=of_draw))
        return StageTerms(
            log_q=q.log_prob(z),
            first=first.objective(_WithPosterior(first, q), batch, of_first, train_first, step),
            second=second.objective(second, Batch(z), of_second, train_second, step),
        )


class _WithPosterior:
    """A model whose posterior for the batch is already computed."""

    def __init__(self, model: LatentVariableModel, q: tfd.Distribution) -> None:
        self.prior: Prior = model.prior
        self.likelihood = model.likelihood
        self.prior_distribution = model.prior_distribution
        self._q = q

    def posterior(self, batch: Batch, training: bool = False) -> tfd.Distribution:
        del batch, training
        return self._q


@register
class TwoStageVAE(LatentVariableModel):
    """A second VAE over the latents of a first [DW19]: u ~ p(u), z ~ p(z given u), x ~ p(x given z).

    In a trained VAE with good reconstructions, the aggregate posterior q(z) = E[q(z given x)] differs from the prior.
    Draws of the prior then fall where the decoder was never trained. The second VAE learns q(z), which fills its whole
    space even if the data lie on a manifold [DW19, section 4].

    It helps if the first stage reconstructs well. Such a stage has a likelihood with a small variance, such as
    `SphericalNormal(D, 0.03)`, or a learned variance that starts small. If the first stage's latents carry little
    (`kl` near 0), the second stage gains nothing.

    One `fit` trains both stages. The second is trained on draws of q(z given x), and its gradient stops there. To train
    the stages in turn, train the first, then set `first.trainable = False`:

    ```python
    first.compile("adam")
    first.fit(x, epochs=100)
    first.trainable = False
    vae = TwoStageVAE(first, second)
    vae.compile("adam")
    vae.fit(x, epochs=100)
    ```

    `fit` reports the losses of both stages, `first_loss` and `second_loss`, and the terms `elbo`, `log_likelihood` and
    `kl` of the two-stage model: log p(x) >= E[log p(x given z) - log q(z given x) + the second's bound on log p(z)].

    The latents of this model are (u, z), with the posterior q(z given x) q(u given z). `sample_latent` returns them,
    `decode` takes them, and bounds and estimates of log p(x) are over them. `vae.first.decode` takes z alone.

    Args:
        first: a VAE of the data. Its prior is only used in its own bound.
        second: a VAE of the first's latents, `[D]`.
        **kwargs: those of `keras.Model`.

    Raises:
        ModelError: a stage is not a model with latents or takes a condition, both are the same model, the first is not
            built, or the second's event shape is not that of the first's latents.

    Attributes:
        first, second: the arguments.
        encoder, decoder: q(u, z given x) and p(x given z), each as one layer.
    """

    _roles = ("encoder", "decoder")

    def __init__(self, first: LatentVariableModel, second: LatentVariableModel, **kwargs: Any) -> None:
        _check_stages(first, second)
        super().__init__(BothStages(first, second), **kwargs)
        self.first = first
        self.second = second
        self.first_loss_tracker = keras.metrics.Mean(name="first_loss")
        self.second_loss_tracker = keras.metrics.Mean(name="second_loss")
        parts = [Part("u", (second.latent_size,)), Part("z", (first.latent_size,))]
        # Calls the stages' methods, which a subclass may override.
        q_z = Conditional("z", _network(first, "encoder"), DATA, _posterior(first))
        q_u = Conditional("u", _network(second, "encoder"), "z", _posterior(second))
        p_z = Conditional("z", _network(second, "decoder"), "u", _likelihood(second))
        p_x = Conditional(DATA, _network(first, "decoder"), "z", _likelihood(first))
        self.encoder = AncestralPosterior([q_z, q_u], parts, first.event_shape)
        self.decoder = AncestralDecoder(p_x, parts)
        self.prior = AncestralPrior(second.prior, [p_z], parts)
        self.latent_parts = {part.name: part.size for part in parts}
        self.build((None, *first.event_shape))

    def posterior(self, batch: Batch | tf.Tensor, training: bool = False) -> tfd.Distribution:
        """q(u, z given x): x `[B, *event_shape]` -> batch `[B]`, event `[D]`."""
        return self.encoder(Batch.of(batch).x, training=training)

    def likelihood(self, latents: Latents | tf.Tensor, training: bool = False) -> tfd.Distribution:
        """p(x given z), with z taken from (u, z) `[B, D]` -> batch `[B]`, event `event_shape`."""
        return self.decoder(Latents.of(latents).z, training=training)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*super().metrics, self.first_loss_tracker, self.second_loss_tracker]

    def _report(self, terms: Any, loss: tf.Tensor, weight: tf.Tensor | None) -> dict[str, Any]:
        self.first_loss_tracker.update_state(-terms.first.bound, sample_weight=weight)
        self.second_loss_tracker.update_state(-terms.second.bound, sample_weight=weight)
        return super()._report(terms, loss, weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._serialized("first", "second")}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> TwoStageVAE:
        config = deserialized(config, custom_objects)
        for stage in ("first", "second"):
            if not config[stage].trainable:
                config[stage].trainable = False  # For its layers too: Keras restores only the model's own flag.
        return cls(**config)


def _network(stage: LatentVariableModel, name: str) -> keras.layers.Layer:
    """The named network of a stage, or the stage itself if it has none."""
    return getattr(stage, name, stage)


def _posterior(stage: LatentVariableModel) -> Callable[..., tfd.Distribution]:
    return lambda x, training: stage.posterior(Batch(x), training=training)


def _likelihood(stage: LatentVariableModel) -> Callable[..., tfd.Distribution]:
    return lambda z, training: stage.likelihood(Latents(z), training=training)


def _check_stages(first: Any, second: Any) -> None:
    for role, stage in (("first", first), ("second", second)):
        if not isinstance(stage, LatentVariableModel):
            raise ModelError(f"{role} must be a model with latents, such as a VAE. Received: {type(stage).__name__}")
        if stage.takes_condition:
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
