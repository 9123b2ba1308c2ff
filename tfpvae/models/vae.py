"""The variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.errors import DataError, ModelError
from tfpvae.layers.base import register, stateless_seed
from tfpvae.layers.distribution_tensor import DistributionTensor
from tfpvae.models import feeding, networks, sampling
from tfpvae.models.exporting import Exportable
from tfpvae.objectives import Elbo, Objective, Terms
from tfpvae.priors import DistributionPrior, Prior, StandardNormal
from tfpvae.random.seeds import Seeds
from tfpvae.supports import Real, Support

_STATISTICS: Final = ("mean", "stddev", "variance", "mode", "entropy", "log_prob", "prob")
"""What `VAE.predict` can give of p(x given z)."""


@register
class VAE(Exportable, keras.Model):
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
        latent_size: D.
        event_shape: the shape of one example.
        support: what data the likelihood is over, one of `tfpvae.supports`.
        condition: what y must be, with a free batch, in a conditional model; None in all others.
    """

    built: bool
    prior: Prior
    latent_size: int
    event_shape: tuple[int, ...]
    support: Support
    condition: tf.TensorSpec | None = None
    _statistics: tuple[str, ...] | None = None

    def __init__(
        self,
        encoder: keras.layers.Layer,
        decoder: keras.layers.Layer,
        prior: Prior | tfd.Distribution | None = None,
        objective: Objective | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if objective is not None and not isinstance(objective, Objective):
            raise ModelError(
                "objective must be one of tfpvae.objectives, such as Iwae(k=50), or None for the ELBO. "
                f"Received: objective={objective!r}"
            )
        self.objective = objective or Elbo()
        for role, network in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(network, keras.layers.Layer):
                raise ModelError(f"The {role} must be a Keras model or layer. Received: {type(network).__name__}")
            networks.check_ends_in_distribution(network, role)
        networks.check_no_kl_regularizer(encoder)
        self.encoder = encoder
        self.decoder = decoder
        if prior is not None:
            self.prior = prior if isinstance(prior, Prior) else DistributionPrior(prior)
        self.seed_generator = keras.random.SeedGenerator()
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.elbo_tracker = keras.metrics.Mean(name="elbo")
        self.log_likelihood_tracker = keras.metrics.Mean(name="log_likelihood")
        self.kl_tracker = keras.metrics.Mean(name="kl")
        shape = networks.static_input_shape(encoder)
        if shape is not None:
            self.build((None, *shape))

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Checks that encoder, prior and decoder fit together, for inputs `[B, *event_shape]`."""
        if not self.built:
            self._assemble(self, tuple(input_shape[1:]))

    def _assemble(self, model: Any, event_shape: tuple[int, ...]) -> None:
        """Checks that the parts fit together; `model` has `encoder` and `decoder` as functions of one input."""
        q = networks.probe(model.encoder, event_shape, "encoder")
        networks.check_no_kl_regularizer(self.encoder)  # Again: a subclass may have made layers just now.
        if q.event_shape.rank != 1:
            raise ModelError(
                "The encoder's distribution must be over a vector z, event shape [D]. "
                f"Received: event shape {q.event_shape.as_list()}"
            )
        latent_size = q.event_shape[0]
        if not hasattr(self, "prior"):
            self.prior = StandardNormal(latent_size)
        self.prior.bind(lambda x: model.encoder(x, training=False), event_shape)
        if self.prior.event_size != latent_size:
            raise ModelError(
                f"The prior must have the posterior's dimension, {latent_size}. "
                f"Received: a prior of dimension {self.prior.event_size}"
            )
        decoder_shape = networks.static_input_shape(self.decoder)
        if decoder_shape is not None and decoder_shape != (latent_size,):
            raise ModelError(
                f"The decoder must take z of shape [B, {latent_size}], as the encoder's distribution has it. "
                f"Received: a decoder that takes [B, {', '.join(map(str, decoder_shape))}]"
            )
        p_x = networks.probe(model.decoder, (latent_size,), "decoder")
        if tuple(p_x.event_shape) != event_shape:
            raise ModelError(
                "The decoder's event shape must be that of the data, "
                f"{list(event_shape)}. Received: event shape {p_x.event_shape.as_list()}"
            )
        self.objective.check(self.prior, q.tensor_distribution)
        self.latent_size = latent_size
        self.event_shape = event_shape
        self.support = p_x.support or Real()
        self.built = True

    # The three functions that training, export and evaluation see.

    def posterior(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """q(z given x): x `[B, *event_shape]` -> batch `[B]`, event `[D]`."""
        return self.encoder(x, training=training).tensor_distribution

    def sample_prior(self, uniforms: tf.Tensor) -> tf.Tensor:
        """z ~ p(z), as a function of uniforms `[B, prior.num_uniforms]`: `[B, D]`."""
        return self.prior.draw(uniforms)

    def likelihood(self, z: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """p(x given z): z `[B, D]` -> batch `[B]`, event `event_shape`."""
        return self.decoder(z, training=training).tensor_distribution

    def given(self, y: tf.Tensor | None = None) -> sampling.Model:
        """The model with its condition fixed: itself, as it has none. See `ConditionalVAE`."""
        del y
        return self

    # What a user calls.

    def call(self, x: tf.Tensor, training: bool = False) -> DistributionTensor:
        """p(x given z) for a draw of z from q(z given x)."""
        z = self.posterior(x, training=training).sample(seed=self._next_seed())
        return self.decoder(z, training=training)

    def encode(self, x: tf.Tensor) -> DistributionTensor:
        """q(z given x): x `[B, *event_shape]` -> a distribution, batch `[B]`, event `[D]`.

        Raises:
            DataError: x has another shape.
        """
        return self.encoder(self._x(x), training=False)

    def decode(self, z: tf.Tensor) -> DistributionTensor:
        """p(x given z): z `[B, D]` -> a distribution, batch `[B]`, event `event_shape`.

        Raises:
            DataError: z has another shape.
        """
        shape = (self.latent_size,) if self.built else None
        return self.decoder(self._as_batch(z, shape, "z"), training=False)

    def sample_latent(self, n: int | None = None, seed: Seeds = None) -> tf.Tensor:
        """z ~ p(z), `[n, D]`. Row i depends on its seed alone: `seed + i`, or `seed[i]` of an array."""
        return sampling.sample_latent(self, sampling.as_seeds(n, seed))

    def sample_mean(self, n: int | None = None, seed: Seeds = None) -> tf.Tensor:
        """E[x given z] for z as of `sample_latent`, `[n, *event_shape]`."""
        return sampling.sample_mean(self, sampling.as_seeds(n, seed))

    def sample(self, n: int | None = None, seed: Seeds = None) -> tf.Tensor:
        """x ~ p(x given z) for z as of `sample_latent`, `[n, *event_shape]`.

        The same numbers, for the same seeds, as the exported model gives on every runtime.

        Args:
            n: how many; may be left out where `seed` is an array.
            seed: an int s (row i uses s + i), an array of n seeds, or None for a fresh random one.

        Raises:
            ModelError: prior or likelihood cannot be drawn by seed, or n and seed are not as said.
        """
        return sampling.sample(self, sampling.as_seeds(n, seed))

    def sample_png(self, n: int | None = None, seed: Seeds = None) -> list[bytes]:
        """PNG files of `sample_mean`, for images `[H, W, C]` of 1, 3 or 4 channels; pixels [0, 1] become 0 to 255."""
        return list(sampling.sample_png(self, sampling.as_seeds(n, seed)).numpy())

    def reconstruct(self, x: tf.Tensor) -> tf.Tensor:
        """E[x given z] at the mean of q(z given x), `[B, *event_shape]`."""
        return sampling.reconstruct(self, self._x(x))

    def score(self, x: tf.Tensor, seed: Seeds = None) -> dict[str, tf.Tensor]:
        """The bound on log p(x) and its terms, each `[B]`, in nats, for one draw of z per row, by seed.

        Args:
            x: `[B, *event_shape]`.
            seed: an int s (row i uses s + i), an array of B seeds, or None for a fresh random one.

        Returns:
            `elbo`, `log_likelihood` (log p(x given z)) and `kl`.
        """
        x = self._x(x)
        return sampling.score(self, x, sampling.as_seeds(x.shape[0], seed))

    # Training.

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """Sets the optimizer. The loss is minus the objective's bound.

        Args:
            optimizer: as for `keras.Model.compile`.
            **kwargs: those of `keras.Model.compile`, but for losses and metrics.

        Raises:
            ModelError: a loss or metrics were given.
        """
        networks.refuse_losses(
            kwargs,
            "A VAE is compiled without a loss and metrics: its loss is minus its objective, and it reports loss, elbo, "
            "log_likelihood and kl.",
        )
        super().compile(optimizer, **kwargs)
        if self.built:
            # Else a model that is saved before it is trained would be loaded with a warning.
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_tracker, self.elbo_tracker, self.log_likelihood_tracker, self.kl_tracker]

    def fit(self, x: Any = None, y: Any = None, *args: Any, validation_data: Any = None, **kwargs: Any) -> Any:
        """Trains on x; `keras.Model.fit` without targets.

        Args:
            x: data `[N, *event_shape]`, or batches: a `tf.data.Dataset`, a
                `PyDataset` or a generator. Of pairs `(x, y)` in a data
                set, y is not used.
            y: none: a VAE has no targets.
            *args: those of `keras.Model.fit`.
            validation_data: as x.
            **kwargs: those of `keras.Model.fit`.

        Raises:
            DataError: the data has the wrong shape, holds NaN or infinity, or values that the likelihood is not over.
            ModelError: targets were given.
        """
        self._check_targets(y, "call fit(x), not fit(x, y)")
        if kwargs.get("class_weight") is not None:
            raise ModelError("A VAE has no classes: give sample_weight, not class_weight.")
        x, y = self._prepared(x, y, kwargs.get("sample_weight"), "x", warn_of_grey=True)
        if validation_data is not None:
            x_val, y_val, weight = keras.utils.unpack_x_y_sample_weight(validation_data)
            self._check_targets(y_val, "give validation_data=x, not validation_data=(x, y)")
            x_val, y_val = self._prepared(x_val, y_val, weight, "validation_data")
            validation_data = x_val if y_val is None else (x_val, y_val, weight)
        if feeding.has_its_order(x) and not args:
            kwargs.setdefault("shuffle", False)  # Keras warns of its own default.
        with feeding.bad_batches_named():
            return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The metrics on x, as `keras.Model.evaluate`; x as for `fit`."""
        if not kwargs.get("_use_cached_eval_dataset"):  # Called by `fit`, which has checked it.
            self._check_targets(y, "call evaluate(x), not evaluate(x, y)")
            x, y = self._prepared(x, y, kwargs.get("sample_weight"), "x")
        with feeding.bad_batches_named():
            return super().evaluate(x, y, *args, **kwargs)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = self._unpack(data)
        with tf.GradientTape() as tape:
            terms = self.objective(self.given(y), x, self._next_seed(), training=True, step=self.optimizer.iterations)
            loss = self._loss(terms, weight)
            # The replicas' gradients are summed.
            scaled = loss / tf.distribute.get_strategy().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(scaled)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return self._report(terms, loss, weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = self._unpack(data)
        terms = self.objective(self.given(y), x, self._next_seed(), step=self.optimizer.iterations)
        return self._report(terms, self._loss(terms, weight), weight)

    def predict(self, x: Any, *args: Any, statistics: Sequence[str] | None = None, **kwargs: Any) -> Any:
        """E[x given z] at the mean of q(z given x), or statistics of that p(x given z), in one pass.

        Args:
            x: as for `fit`.
            *args: those of `keras.Model.predict`.
            statistics: names of methods of `tfd.Distribution`: "mean", "stddev", "variance", "mode", "entropy", and
                "log_prob" and "prob", which are those of x itself.
            **kwargs: those of `keras.Model.predict`.

        Returns:
            An array `[N, *event_shape]`; with `statistics`, a dict of arrays by name.

        Raises:
            ModelError: an unknown statistic.
        """
        wanted = None if statistics is None else tuple([statistics] if isinstance(statistics, str) else statistics)
        unknown = [name for name in wanted or () if name not in _STATISTICS]
        if unknown or wanted == ():
            raise ModelError(f"statistics must be some of {', '.join(_STATISTICS)}. Received: {statistics!r}")
        x, _ = self._prepared(x, None, None, "x")
        if wanted != self._statistics:
            # What has been traced computes the statistics of an earlier call.
            self._statistics, self.predict_function = wanted, None
        with feeding.bad_batches_named():
            return super().predict(x, *args, **kwargs)

    def predict_step(self, data: Any) -> Any:
        x, y, _ = self._unpack(data)
        model = self.given(y)
        if self._statistics is None:
            return sampling.reconstruct(model, x)
        p_x = model.likelihood(sampling.center(model.encode(x)))
        of_x = {"log_prob", "prob"}
        return {name: getattr(p_x, name)(*([x] if name in of_x else [])) for name in self._statistics}

    def _unpack(self, data: Any) -> tuple[tf.Tensor, Any, tf.Tensor | None]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        return tf.cast(x, self.variable_dtype), y, weight

    def _loss(self, terms: Terms, weight: tf.Tensor | None) -> tf.Tensor:
        value = -terms.bound if weight is None else -terms.bound * tf.cast(weight, terms.bound.dtype)
        return tf.reduce_mean(value) + sum(self.losses)

    def _report(self, terms: Terms, loss: tf.Tensor, weight: tf.Tensor | None) -> dict[str, Any]:
        self.loss_tracker.update_state(loss, sample_weight=tf.shape(terms.kl)[0])
        self.elbo_tracker.update_state(terms.elbo, sample_weight=weight)
        self.log_likelihood_tracker.update_state(terms.log_likelihood, sample_weight=weight)
        self.kl_tracker.update_state(terms.kl, sample_weight=weight)
        return self.get_metrics_result()

    def _next_seed(self) -> tf.Tensor:
        return stateless_seed(self.seed_generator)

    def _check_targets(self, y: Any, advice: str) -> None:
        """Refuses targets.

        Raises:
            ModelError: there are some.
        """
        if y is not None:
            raise ModelError(f"A VAE has no targets: {advice}.")

    def _prepared(self, data: Any, y: Any, weight: Any, what: str, warn_of_grey: bool = False) -> tuple[Any, Any]:
        """Checked data, and the targets that Keras wants beside sample weights; builds the model if it is not built."""
        del y
        source = feeding.opened(data, what)
        batch = source.first[0]
        if not self.built:
            self.build((None, *batch.shape[1:]))
        part = feeding.Part(what, self.event_shape, self.support)
        part.check(batch)
        if warn_of_grey:
            feeding.warn_of_grey(batch, self.support, what)
        if not source.in_memory:
            return feeding.checked(source.data, part), None
        if weight is None:
            return batch, None
        feeding.check_sample_weight(weight, len(batch))
        return batch, np.zeros(len(batch), np.float32)  # Keras drops weights that come without targets.

    def _as_batch(self, value: Any, shape: tuple[int, ...] | None, what: str) -> tf.Tensor:
        """A batch `[B, *shape]` of floats.

        Raises:
            DataError: it has another shape.
        """
        try:
            tensor = tf.cast(tf.convert_to_tensor(value), self.variable_dtype)
        except (TypeError, ValueError) as error:
            raise DataError(f"{what} must be an array of numbers. Received: {type(value).__name__}") from error
        wanted = tf.TensorShape([None, *shape]) if shape is not None else tf.TensorShape(None)
        if not tensor.shape.is_compatible_with(wanted) or tensor.shape[0] == 0:
            raise DataError(
                f"{what} must have shape {wanted.as_list()}, batch first. Received: {tensor.shape.as_list()}"
            )
        return tensor

    def _x(self, x: Any) -> tf.Tensor:
        x = self._as_batch(x, self.event_shape if self.built else None, "x")
        if not self.built:
            self.build(x.shape)
        return x

    # Saving.

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "encoder": serialize(self.encoder),
            "decoder": serialize(self.decoder),
            "prior": serialize(self.prior) if hasattr(self, "prior") else None,
            "objective": serialize(self.objective),
        }

    def save_own_variables(self, store: Any) -> None:
        # Keras leaves seed generators out; with its state, training goes on from a file as it would have without.
        store["seed"] = self.seed_generator.state.numpy()

    def load_own_variables(self, store: Any) -> None:
        if "seed" in store:
            self.seed_generator.state.assign(store["seed"])

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> VAE:
        config = dict(config)
        for part in ("encoder", "decoder", "prior", "objective"):
            config[part] = keras.saving.deserialize_keras_object(config.get(part), custom_objects)
        return cls(**config)
