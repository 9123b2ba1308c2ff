"""The protocol of models with latents: what training, sampling, evaluation and export all call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.batch import Batch, Latents
from tfpvae.errors import ModelError
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap, wrap
from tfpvae.models import condition, feeding, networks, sampling
from tfpvae.models.distribution_model import DistributionModel
from tfpvae.models.predicting import Kept, Predictor
from tfpvae.objectives import BoundTerms, Elbo, Objective
from tfpvae.priors import Prior, StandardNormal
from tfpvae.random.seeds import Seeds

_BY_USERS: Final = {"decode", "encode", "reconstruct", "sample", "sample_latent", "sample_mean", "sample_png", "score"}
_FINAL: Final = _BY_USERS | {"call", "predict_step"}
"""The methods that no subclass overrides."""


class LatentVariableModel(DistributionModel):
    """A model p(x, z) with an approximate posterior q(z given x), trained on a bound on log p(x): abstract.

    A subclass defines two functions, each of one batch value, and each returns a distribution with one batch dimension:

    - `posterior(batch)`, q(z given x), for a `tfpvae.batch.Batch` of rows `x`, over a vector z `[D]`;
    - `likelihood(latents)`, p(x given z), for `tfpvae.batch.Latents` of rows `z`.

    The prior is `self.prior`, N(0, I) if none is set. Everything else is made of these: training, `evaluate`,
    `predict`, all of `encode` to `score`, the measurements of `tfpvae.evaluate`, and every exported signature.
    A signature needs a distribution that one of `tfpvae.layers` made, with its named parameters. A bare
    `tfd.Distribution` is trained and evaluated with, but it cannot be exported or drawn by seed.

    A model of p(x given y) sets `takes_condition = True`. Then `batch.y` and `latents.y` are y as `fit` takes it, for
    each row: integer labels `[B]` if `num_classes` is set, otherwise floats. `condition_tensor` makes of it what a
    network takes.

    ```python
    @keras.saving.register_keras_serializable("mine")
    class WithResidual(tfpvae.LatentVariableModel):
        def __init__(self, encoder, mean, residual, **kwargs):
            super().__init__(**kwargs)
            self.encoder, self.mean, self.residual = encoder, mean, residual
            self.last = tfpvae.layers.IndependentBernoulli((8, 8, 1))
            self.build((None, 8, 8, 1))

        def posterior(self, batch, training=False):
            return self.encoder(batch.x, training=training)

        def likelihood(self, latents, training=False):
            return self.last(self.mean(latents.z, training=training) + self.residual(latents.z, training=training))
    ```

    To be saved, it defines `get_config` as every Keras model does: what its `__init__` takes, networks serialised by
    `keras.saving.serialize_keras_object`. `from_config` takes them back.

    The methods that users call (`encode`, `decode`, `sample_latent`, `sample_mean`, `sample`, `sample_png`,
    `reconstruct`, `score`, and `call` and `predict_step`, which Keras calls) check their arguments and call these
    functions. A class that overrides one of them is refused: its override would not be what is trained or exported.

    Args:
        objective: the bound, one of `tfpvae.objectives`: `Elbo(beta=...)`, `FreeBits(nats)`, `Iwae(k)`, `DReG(k)`. None
            is the ELBO.
        **kwargs: those of `keras.Model`.

    Raises:
        ModelError: objective is none. When the model is built: its parts do not fit.

    Attributes:
        objective: as given.
        prior: p(z), a `tfpvae.priors.Prior`.
        latent_size: D.
        latent_parts: where z is several latents one after the other, how many numbers each is, by name; else None.
        event_shape: the shape of one x.
        takes_condition: whether the model is one of p(x given y).
        condition: what y must be: int64 `[None]`, or float32 `[None, *y_shape]`; None without a condition.
        num_classes: how many labels y has; None where y is no label.
        support: what data the likelihood is over, one of `tfpvae.supports`.
    """

    prior: Prior
    latent_size: int
    latent_parts: dict[str, int] | None = None
    takes_condition: bool = False
    _roles: tuple[str, str] = ("posterior", "likelihood")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        overridden = sorted(_FINAL & vars(cls).keys())
        if overridden:
            raise ModelError(
                f"A model must not override {', '.join(overridden)}: training and evaluation would not use the "
                "override. Override posterior or likelihood instead, which everything uses. "
                f"Received: class {cls.__name__}"
            )

    def __init__(self, objective: Objective | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if objective is not None and not isinstance(objective, Objective):
            raise ModelError(
                "objective must be one of tfpvae.objectives, such as Iwae(k=50), or None for the ELBO. "
                f"Received: objective={objective!r}"
            )
        self.objective = objective or Elbo()
        self.kept = Kept()
        self.elbo_tracker = keras.metrics.Mean(name="elbo")
        self.kl_tracker = keras.metrics.Mean(name="kl")

    # The functions that everything uses.

    def posterior(self, batch: Batch, training: bool = False) -> tfd.Distribution:
        """q(z given x), or q(z given x, y): batch `[B]`, event `[D]`."""
        raise NotImplementedError

    def likelihood(self, latents: Latents, training: bool = False) -> tfd.Distribution:
        """p(x given z), or p(x given z, y): batch `[B]`, event `event_shape`."""
        raise NotImplementedError

    def prior_distribution(self, y: tf.Tensor | None = None, training: bool = False) -> DistributionTensor:
        """p(z): batch `[]`, event `[D]`; or p(z given y), batch `[B]`, where the prior takes the condition."""
        seen = self.condition_tensor(y) if self.prior.takes_condition else None
        return wrap(self.prior.distribution_given(seen, training=training))

    def sample_prior(self, uniforms: tf.Tensor, y: tf.Tensor | None = None) -> tf.Tensor:
        """z ~ p(z), or p(z given y), as a function of uniforms `[B, prior.num_uniforms]`: `[B, D]`."""
        seen = self.condition_tensor(y) if self.prior.takes_condition else None
        return self.prior.draw_given(uniforms, seen)

    def condition_tensor(self, y: tf.Tensor | None) -> tf.Tensor:
        """y as the networks see it, float `[B, *shape]`: labels one-hot, everything else as it is.

        A label outside the classes is a row of zeros: inside a graph, nothing can be refused.

        Raises:
            ModelError: y is None.
        """
        return condition.as_networks_see_it(y, self.num_classes, self.variable_dtype)

    # Building.

    def build(self, input_shape: Any) -> None:
        """Checks that the functions and the prior fit together, on one row of zeros.

        Args:
            input_shape: `(None, *event_shape)`; of a conditional model `[(None, *event_shape), (None, *y_shape)]`.

        Raises:
            ModelError: they do not.
        """
        if self.built:
            return
        shapes = input_shape if self.takes_condition else [input_shape]
        event_shape = tuple(shapes[0][1:])
        spec = condition.spec(self.num_classes, shapes[1][1:]) if self.takes_condition else None
        y = None if spec is None else tf.zeros([1, *spec.shape[1:]], spec.dtype)
        of_posterior, of_likelihood = self._roles
        x = tf.zeros([1, *event_shape], keras.config.floatx())
        q = networks.probe(lambda: self.posterior(Batch(x, y)), of_posterior)
        if q.event_shape.rank != 1:
            raise ModelError(
                f"The {of_posterior}'s distribution must be over a vector z, event shape [D]. "
                f"Received: event shape {q.event_shape.as_list()}"
            )
        latent_size = q.event_shape[0]
        p = self._bind_prior(latent_size, event_shape, y)
        self._check_networks(latent_size, y)
        z = tf.zeros([1, latent_size], keras.config.floatx())
        p_x = networks.probe(lambda: self.likelihood(Latents(z, y)), of_likelihood)
        if tuple(p_x.event_shape) != event_shape:
            raise ModelError(
                f"The {of_likelihood}'s event shape must be that of the data, "
                f"{list(event_shape)}. Received: event shape {p_x.event_shape.as_list()}"
            )
        self.objective.check(self.prior, q.tensor_distribution, p)
        self.condition = spec
        self.latent_size = latent_size
        self.event_shape = event_shape
        self.support = networks.support_of_data(p_x)
        self.built = True

    def _bind_prior(self, latent_size: int, event_shape: tuple[int, ...], y: tf.Tensor | None) -> tfd.Distribution:
        """Gives the prior the posterior, and returns what it is at one row."""
        if not hasattr(self, "prior"):
            self.prior = StandardNormal(latent_size)
        if self.prior.takes_condition and not self.takes_condition:
            raise ModelError(
                f"A {type(self).__name__} must have a prior without a condition, as it has none itself. "
                f"Received: {type(self.prior).__name__}"
            )
        self.prior.bind(lambda x: wrap(self.posterior(Batch(x, y))), event_shape)
        if self.prior.event_size != latent_size:
            raise ModelError(
                f"The prior must have the posterior's dimension, {latent_size}. "
                f"Received: a prior of dimension {self.prior.event_size}"
            )
        return unwrap(self.prior_distribution(y))

    def _check_networks(self, latent_size: int, y: tf.Tensor | None) -> None:
        """Checks the networks of a subclass, before the likelihood is called for the first time."""
        del latent_size, y

    # What a user calls.

    def encode(self, x: Any, y: Any = None) -> DistributionTensor:
        """q(z given x): x `[B, *event_shape]` -> a distribution, batch `[B]`, event `[D]`.

        Args:
            x: `[B, *event_shape]`.
            y: the condition of a conditional model: one for each row, or one for all of them.

        Raises:
            DataError: x or y have another shape or type, or a label is out of range.
            ModelError: y is missing, or the model takes none.
        """
        return wrap(self.posterior(self._checked_batch(x, y)))

    def decode(self, z: Any, y: Any = None) -> DistributionTensor:
        """p(x given z): z `[B, D]` -> a distribution, batch `[B]`, event `event_shape`; y and errors as of `encode`."""
        z = self._as_batch(z, (self.latent_size,) if self.built else None, "z")
        return wrap(self.likelihood(Latents(z, self.checked_condition(y, z.shape[0]))))

    def sample_latent(self, n: int | None = None, seed: Seeds = None, *, y: Any = None) -> tf.Tensor:
        """z ~ p(z), `[n, D]`. Row i depends on its seed alone: `seed + i`, or `seed[i]` of an array.

        y is needed where the prior takes the condition, and may be left out elsewhere.
        """
        seeds = self._seeds(n, seed, y)
        needed = y is not None or (self.built and self.prior.takes_condition)
        beside = {"y": self.checked_condition(y, seeds.shape[0])} if needed else {}
        return sampling.in_chunks(sampling.sample_latent, self, {"seed": seeds, **beside})["z"]

    def sample_mean(self, n: int | None = None, seed: Seeds = None, *, y: Any = None) -> tf.Tensor:
        """E[x given z] for z as of `sample_latent`, `[n, *event_shape]`; arguments and errors as of `sample`."""
        return sampling.in_chunks(sampling.sample_mean, self, self._by_seed(n, seed, y))["mean"]

    def sample(self, n: int | None = None, seed: Seeds = None, *, y: Any = None) -> tf.Tensor:
        """x ~ p(x given z) for z as of `sample_latent`, `[n, *event_shape]`.

        The same numbers, for the same seeds and y, as the exported model gives on every runtime.

        Args:
            n: how many; may be left out where `seed` or `y` is an array.
            seed: an int s (row i uses s + i), an array of n seeds, or None for a fresh random one.
            y: the condition of a conditional model: one for each row, or one for all of them.

        Raises:
            DataError: y has another shape or type, or a label is out of range.
            ModelError: y is missing or not taken, n or seed is not as said, or a part cannot be drawn by seed.
        """
        return sampling.in_chunks(sampling.sample, self, self._by_seed(n, seed, y))["sample"]

    def sample_png(self, n: int | None = None, seed: Seeds = None, *, y: Any = None) -> list[bytes]:
        """PNG files of `sample_mean`, for images `[H, W, C]` of 1, 3 or 4 channels; pixels [0, 1] become 0 to 255."""
        return list(sampling.in_chunks(sampling.sample_png, self, self._by_seed(n, seed, y))["image_bytes"].numpy())

    def reconstruct(self, x: Any, y: Any = None) -> tf.Tensor:
        """E[x given z] at the mean of q(z given x), `[B, *event_shape]`; arguments and errors as of `encode`."""
        return sampling.in_chunks(sampling.reconstruct, self, self._checked_batch(x, y).inputs())["mean"]

    def score(self, x: Any, y: Any = None, seed: Seeds = None) -> dict[str, tf.Tensor]:
        """`elbo` and its terms `log_likelihood` and `kl`, each `[B]`, in nats, for one draw of z per row, by seed.

        Args:
            x: `[B, *event_shape]`.
            y: the condition of a conditional model: one for each row, or one for all of them.
            seed: an int s (row i uses s + i), an array of B seeds, or None for a fresh random one.

        Raises:
            DataError: x or y has another shape, or x holds values that the likelihood is not over.
        """
        batch = self._checked_batch(x, y)
        feeding.check_tensor(batch.x, self.event_shape, self.support, "x")
        seeds = sampling.as_seeds(batch.x.shape[0], seed)
        return sampling.in_chunks(sampling.score, self, {**batch.inputs(), "seed": seeds})

    def call(self, inputs: Any, training: bool = False) -> DistributionTensor:
        """p(x given z) for a draw of z from q(z given x); `inputs` are x, of a conditional model `[x, y]`."""
        batch = Batch(*inputs) if self.takes_condition else Batch(inputs)
        z = unwrap(self.posterior(batch, training=training)).sample(seed=self._next_seed())
        return wrap(self.likelihood(Latents(z, batch.y), training=training))

    def predict(self, x: Any, y: Any = None, *args: Any, statistics: Sequence[str] | None = None, **kwargs: Any) -> Any:
        """E[x given z] at the mean of q(z given x), or statistics of that p(x given z), in one pass.

        Args:
            x: as for `fit`.
            y: as for `fit`.
            *args: those of `keras.Model.predict`.
            statistics: names of methods of `tfd.Distribution`: "mean", "stddev", "variance", "mode", "entropy", and
                "log_prob" and "prob", which are those of x itself.
            **kwargs: those of `keras.Model.predict`.

        Returns:
            An array `[N, *event_shape]`; with `statistics`, a dict of arrays by name.

        Raises:
            ModelError: an unknown statistic; y is missing, or the model takes none.
        """
        wanted = None if statistics is None else tuple([statistics] if isinstance(statistics, str) else statistics)
        unknown = [name for name in wanted or () if name not in sampling.STATISTICS]
        if unknown or wanted == ():
            raise ModelError(f"statistics must be some of {', '.join(sampling.STATISTICS)}. Received: {statistics!r}")
        self._check_y(y, "call predict(x), not predict(x, y)")
        x, y = self._prepared(x, y, None, "x")
        data = x if y is None else Batch(x, y)
        with feeding.bad_batches_named():
            if wanted is None:
                return super().predict(data, *args, **kwargs)
            return self.kept.get(("predict", wanted), (), self._predictor(wanted)).predict(data, *args, **kwargs)

    def predict_step(self, data: Any) -> tf.Tensor:
        batch, _ = self._unpack(data)
        return sampling.reconstruct(self, batch.inputs())["mean"]

    def _predictor(self, names: tuple[str, ...]) -> Callable[[], Predictor]:
        return lambda: Predictor(self, lambda data: sampling.statistics(self, self._unpack(data)[0], names))

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        super().compile(optimizer, **kwargs)
        self.kept.clear()

    # Checks of what a user gives.

    def _checked_batch(self, x: Any, y: Any) -> Batch:
        x = self._as_batch(x, self.event_shape if self.built else None, "x")
        y = self.checked_condition(y, x.shape[0])
        if not self.built:
            self.build(x.shape if y is None else [x.shape, y.shape])
        return Batch(x, y)

    def checked_condition(self, y: Any, rows: int | None) -> tf.Tensor | None:
        """y for so many rows: one y for all rows is repeated.

        Inside a graph nothing is known of y, and it stays as it is.

        Raises:
            DataError: y has another shape or type, or a label is out of range.
            ModelError: y is missing, or the model takes none.
        """
        if not self.takes_condition:
            if y is not None:
                raise ModelError(
                    f"{type(self).__name__} takes no y: it has no condition. Received: y of type {type(y).__name__}"
                )
            return None
        return condition.for_rows(y, rows, self.num_classes, self._shape_of_y())

    def _shape_of_y(self) -> tuple[int, ...] | None:
        """The shape of one y, where it is known."""
        return None if self.condition is None else tuple(self.condition.shape[1:])

    def _seeds(self, n: int | None, seed: Seeds, y: Any) -> tf.Tensor:
        if n is None and y is not None and np.ndim(y) > 0 and isinstance(seed, int | np.integer | None):
            n = len(y)
        return sampling.as_seeds(n, seed)

    def _by_seed(self, n: int | None, seed: Seeds, y: Any) -> dict[str, tf.Tensor]:
        """The inputs of a signature that draws from the model."""
        seeds = self._seeds(n, seed, y)
        y = self.checked_condition(y, seeds.shape[0])
        return {"seed": seeds} if y is None else {"seed": seeds, "y": y}

    # Training.

    @property
    def takes_y(self) -> bool:
        return self.takes_condition

    def _terms(self, batch: Batch, seed: tf.Tensor, training: bool) -> BoundTerms:
        return self.objective(self, batch, seed, training=training, step=self.optimizer.iterations)

    def _term_trackers(self) -> list[keras.metrics.Metric]:
        return [self.elbo_tracker, self.log_likelihood_tracker, self.kl_tracker]

    def _check_fit(self, y: Any, kwargs: dict[str, Any]) -> None:
        super()._check_fit(y, kwargs)
        if kwargs.get("class_weight") is not None:
            raise ModelError(f"A {type(self).__name__} has no classes: give sample_weight, not class_weight.")

    def _check_y(self, y: Any, advice: str) -> None:
        if y is not None and not self.takes_condition:
            raise ModelError(f"A {type(self).__name__} has no targets: {advice}.")

    def _checked_parts(self, first: tuple[Any, ...], what: str, y_what: str) -> list[feeding.Part]:
        x, support = first[0], feeding.condition_support(self.num_classes)
        shape_of_x = (None, *x.shape[1:])
        if self.takes_condition:
            feeding.check_condition(first[1], len(x), support, self._shape_of_y(), y_what)
        if not self.built:
            self.build([shape_of_x, (None, *first[1].shape[1:])] if self.takes_condition else shape_of_x)
        part = feeding.Part(what, self.event_shape, self.support)
        part.check(x)
        return [part, feeding.Condition(y_what, self._shape_of_y(), support)] if self.takes_condition else [part]
