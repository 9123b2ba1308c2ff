"""The conditional variational autoencoder.

[SLY15] Sohn, Lee, Yan: Learning structured output representation using deep conditional generative models. NIPS 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.checks import positive_integer
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.distribution_tensor import DistributionTensor
from tfpvae.models import feeding, networks, sampling
from tfpvae.models.vae import VAE
from tfpvae.objectives import Objective
from tfpvae.priors import Prior
from tfpvae.random.seeds import Seeds


@register
class ConditionalVAE(VAE):
    """A variational autoencoder with a condition y: q(z given x, y), p(z) and p(x given z, y) [SLY15, section 4].

    It is trained on a bound on log p(x given y). The prior does not depend on y (the relaxed form of [SLY15, section
    4]), so z holds what y does not say.

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
        prior: p(z), as of `VAE`.
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

    condition: tf.TensorSpec

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
        super().__init__(encoder, decoder, prior, objective, **kwargs)
        self.num_classes = None if num_classes is None else positive_integer("num_classes", num_classes)
        if getattr(self, "prior", None) is not None and self.prior.shares_encoder:
            raise ModelError(
                f"A ConditionalVAE must have a prior that is not made of the encoder, which needs y beside x. "
                f"Received: {type(self.prior).__name__}"
            )
        shapes = networks.two_input_shapes(encoder, "x")
        if shapes is not None:
            x_shape, y_shape = shapes
            self._check_y_shape(y_shape, "encoder")
            self.build([(None, *x_shape), (None, *(() if self.num_classes else y_shape))])

    def build(self, input_shape: Any) -> None:
        """Checks that the parts fit together, for x `[B, *event_shape]` and y: `[x_shape, y_shape]`, batches free."""
        if self.built:
            return
        x_shape, y_shape = (tuple(shape[1:]) for shape in input_shape)
        if self.num_classes is None:
            condition = tf.TensorSpec([None, *y_shape], tf.float32, name="y")
        else:
            condition = tf.TensorSpec([None], tf.int64, name="y")
        y = tf.zeros([1, *condition.shape[1:]], condition.dtype)
        self._assemble(Given(self, y), x_shape)
        self.condition = condition

    def _assemble(self, model: Any, event_shape: tuple[int, ...]) -> None:
        shapes = networks.two_input_shapes(self.decoder, "z")
        if shapes is not None:
            self._check_y_shape(shapes[1], "decoder", tuple(model.y.shape[1:]))
            latent_size = networks.probe(model.encoder, event_shape, "encoder").event_shape[-1:]
            if tuple(latent_size) != shapes[0]:
                raise ModelError(
                    f"The decoder must take z of shape [B, {', '.join(map(str, latent_size))}], as the encoder's "
                    f"distribution has it. Received: a decoder that takes [B, {', '.join(map(str, shapes[0]))}]"
                )
        super()._assemble(model, event_shape)

    def _check_y_shape(self, shape: tuple[int, ...], role: str, wanted: tuple[int, ...] | None = None) -> None:
        if self.num_classes is not None:
            wanted = (self.num_classes,)
        if wanted is not None and shape != wanted:
            why = "labels come one-hot" if self.num_classes is not None else "as the encoder does"
            raise ModelError(
                f"The {role} must take y of shape [B, {', '.join(map(str, wanted))}]: {why}. "
                f"Received: a network that takes [B, {', '.join(map(str, shape))}]"
            )

    # What training, export and evaluation see. In each call y stands second, as in `fit(x, y)`.

    def given(self, y: tf.Tensor | None = None) -> Given:
        """The model with y fixed, `[B]` or `[B, *y_shape]`: what objectives, signatures and estimates work on.

        Nothing is checked but that there is a y: inside a graph its values are not known.

        Raises:
            ModelError: y is None.
        """
        if y is None:
            raise ModelError("y must be given: this model is conditional. Received: y=None")
        return Given(self, tf.convert_to_tensor(y))

    def posterior(  # type: ignore[override]
        self, x: tf.Tensor, y: tf.Tensor | None = None, training: bool = False
    ) -> tfd.Distribution:
        """q(z given x, y): x `[B, *event_shape]`, y `[B, ...]` -> batch `[B]`, event `[D]`."""
        return self.given(y).posterior(x, training=training)

    def likelihood(  # type: ignore[override]
        self, z: tf.Tensor, y: tf.Tensor | None = None, training: bool = False
    ) -> tfd.Distribution:
        """p(x given z, y): z `[B, D]`, y `[B, ...]` -> batch `[B]`, event `event_shape`."""
        return self.given(y).likelihood(z, training=training)

    # What a user calls.

    def call(self, inputs: Sequence[tf.Tensor], training: bool = False) -> DistributionTensor:
        """p(x given z, y) for a draw of z from q(z given x, y); `inputs` are `[x, y]`."""
        x, y = inputs
        model = self.given(y)
        z = model.posterior(x, training=training).sample(seed=self._next_seed())
        return model.decoder(z, training=training)

    def encode(self, x: tf.Tensor, y: Any = None) -> DistributionTensor:
        """q(z given x, y): x `[B, *event_shape]` -> a distribution, batch `[B]`, event `[D]`.

        Raises:
            DataError: x or y have another shape or type, or a label is out of range.
            ModelError: y is missing.
        """
        x, model = self._x_given(x, y)
        return model.encode(x)

    def decode(self, z: tf.Tensor, y: Any = None) -> DistributionTensor:
        """p(x given z, y): z `[B, D]` -> a distribution, batch `[B]`, event `event_shape`; errors as of `encode`."""
        shape = (self.latent_size,) if self.built else None
        z = self._as_batch(z, shape, "z")
        return self.given_for(y, z.shape[0]).decode(z)

    def sample_mean(self, n: int | None = None, seed: Seeds = None, *, y: Any = None) -> tf.Tensor:
        """E[x given z, y] for z as of `sample_latent`, `[n, *event_shape]`."""
        model, seeds = self._given_and_seeds(n, seed, y)
        return sampling.sample_mean(model, seeds)

    def sample(self, n: int | None = None, seed: Seeds = None, *, y: Any = None) -> tf.Tensor:
        """x ~ p(x given z, y) for z as of `sample_latent`, `[n, *event_shape]`.

        The same numbers, for the same seeds and y, as the exported model gives on every runtime.

        Args:
            n: how many; may be left out where `seed` or `y` is an array.
            seed: an int s (row i uses s + i), an array of n seeds, or None for a fresh random one.
            y: one for all, or one for each.

        Raises:
            DataError: y has another shape or type, or a label is out of range.
            ModelError: y is missing, prior or likelihood cannot be drawn by seed, or n and seed are not as said.
        """
        model, seeds = self._given_and_seeds(n, seed, y)
        return sampling.sample(model, seeds)

    def sample_png(self, n: int | None = None, seed: Seeds = None, *, y: Any = None) -> list[bytes]:
        """PNG files of `sample_mean`, for images `[H, W, C]` of 1, 3 or 4 channels; pixels [0, 1] become 0 to 255."""
        model, seeds = self._given_and_seeds(n, seed, y)
        return list(sampling.sample_png(model, seeds).numpy())

    def reconstruct(self, x: tf.Tensor, y: Any = None) -> tf.Tensor:
        """E[x given z, y] at the mean of q(z given x, y), `[B, *event_shape]`; errors as of `encode`."""
        x, model = self._x_given(x, y)
        return sampling.reconstruct(model, x)

    def score(  # type: ignore[override]
        self, x: tf.Tensor, y: Any = None, seed: Seeds = None
    ) -> dict[str, tf.Tensor]:
        """The bound on log p(x given y) and its terms, each `[B]`, in nats, for one draw of z per row, by seed.

        Args:
            x: `[B, *event_shape]`.
            y: one for each row, or one for all.
            seed: an int s (row i uses s + i), an array of B seeds, or None for a fresh random one.

        Returns:
            `elbo`, `log_likelihood` (log p(x given z, y)) and `kl`.
        """
        x, model = self._x_given(x, y)
        return sampling.score(model, x, sampling.as_seeds(x.shape[0], seed))

    def predict(self, x: Any, y: Any = None, *args: Any, statistics: Sequence[str] | None = None, **kwargs: Any) -> Any:
        """As `VAE.predict`, of p(x given z, y); x and y as for `fit`."""
        return super().predict(x if y is None else _Pair(x, y), *args, statistics=statistics, **kwargs)

    def _given_and_seeds(self, n: int | None, seed: Seeds, y: Any) -> tuple[Given, tf.Tensor]:
        if n is None and np.ndim(y) > 0 and isinstance(seed, int | np.integer | None):
            n = len(y)
        seeds = sampling.as_seeds(n, seed)
        return self.given_for(y, seeds.shape[0]), seeds

    def _x_given(self, x: Any, y: Any) -> tuple[tf.Tensor, Given]:
        x = self._as_batch(x, self.event_shape if self.built else None, "x")
        model = self.given_for(y, x.shape[0])
        if not self.built:
            self.build([x.shape, model.given.shape])
        return x, model

    def given_for(self, y: Any, rows: int | None) -> Given:
        """As `given`, for so many rows: y is checked, and what is for all rows is repeated.

        Inside a graph nothing is known of y, and it is `given`.

        Raises:
            DataError: y has another shape or type, or a label is out of range.
            ModelError: y is None.
        """
        if y is None or rows is None or not tf.executing_eagerly():
            return self.given(y)
        y = np.asarray(y)
        if y.ndim == 0:
            y = y[np.newaxis]
        shape = tuple(self.condition.shape[1:]) if self.built else None
        support = feeding.condition_support(self.num_classes)
        feeding.check_condition(y, rows if len(y) != 1 else None, support, shape, "y")
        return Given(self, tf.constant(np.repeat(y, rows, axis=0) if len(y) == 1 else y))

    # Training.

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains on x given y, as `keras.Model.fit`.

        Args:
            x: data `[N, *event_shape]`, or batches `(x, y)`: a `tf.data.Dataset`, a `PyDataset` or a
                generator.
            y: labels `[N]`, or `[N, *y_shape]`; none beside a data set.
            *args: those of `keras.Model.fit`.
            **kwargs: those of `keras.Model.fit`; `validation_data` is `(x, y)`, or a data set as x.

        Raises:
            DataError: as of `VAE.fit`; y of another length, shape or type, labels out of range, NaN or infinity.
            ModelError: y is missing.
        """
        return super().fit(x, y, *args, **kwargs)

    def _check_targets(self, y: Any, advice: str) -> None:
        """They are the condition: `_prepared` checks them."""

    def _unpack(self, data: Any) -> tuple[tf.Tensor, Any, tf.Tensor | None]:
        if isinstance(data, tuple) and isinstance(data[0], _Pair):  # Of `predict`, for which Keras has no targets.
            data = (*data[0], *data[1:])
        return super()._unpack(data)

    def _prepared(self, data: Any, y: Any, weight: Any, what: str, warn_of_grey: bool = False) -> tuple[Any, Any]:
        if isinstance(data, _Pair):
            return _Pair(*self._prepared(data.x, data.y, weight, what, warn_of_grey)), None
        y_what = "y" if what == "x" else f"the y of {what}"
        source = feeding.opened_pairs(data, y, what, y_what)
        batch, condition = source.first[:2]
        shape = tuple(self.condition.shape[1:]) if self.built else None
        support = feeding.condition_support(self.num_classes)
        feeding.check_condition(condition, len(batch), support, shape, y_what)
        if not self.built:
            self.build([batch.shape, condition.shape])
        part = feeding.Part(what, self.event_shape, self.support)
        part.check(batch)
        if warn_of_grey:
            feeding.warn_of_grey(batch, self.support, what)
        if not source.in_memory:
            y_shape = tuple(self.condition.shape[1:])
            return feeding.checked(source.data, part, feeding.Condition(y_what, y_shape, support)), None
        if weight is not None:
            feeding.check_sample_weight(weight, len(batch))
        return batch, condition

    # Saving.

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


class Given:
    """A conditional model with y fixed, one for each row: p(x, z given y) and q(z given x, y) as functions of x and z.

    Args:
        model: the model.
        y: `[B]` labels, or `[B, *y_shape]`.

    Attributes:
        model: as given.
        given: y as given.
        y: as the networks see it, float `[B, *shape]`. A label outside the classes is a row of zeros.
        built, prior, event_shape: the model's.
    """

    prior: Prior
    event_shape: tuple[int, ...]

    def __init__(self, model: ConditionalVAE, y: tf.Tensor) -> None:
        self.model, self.given, self.built = model, y, model.built
        if model.built:
            self.prior, self.event_shape = model.prior, model.event_shape
        if model.num_classes is None:
            self.y = tf.cast(y, model.variable_dtype)
        else:
            # tf.one_hot with a label out of range is another row in ONNX, which counts negative ones from the end.
            classes = tf.range(model.num_classes, dtype=tf.int64)
            self.y = tf.cast(tf.equal(tf.cast(y, tf.int64)[:, tf.newaxis], classes), model.variable_dtype)

    def encoder(self, x: tf.Tensor, training: bool = False) -> DistributionTensor:
        """q(z given x, y): x `[B, *event_shape]` -> batch `[B]`, event `[D]`."""
        return networks.call_with_condition(self.model.encoder, "x", x, self.y, training)

    def decoder(self, z: tf.Tensor, training: bool = False) -> DistributionTensor:
        """p(x given z, y): z `[B, D]` -> batch `[B]`, event `event_shape`."""
        return networks.call_with_condition(self.model.decoder, "z", z, self.y, training)

    def encode(self, x: tf.Tensor) -> DistributionTensor:
        """`encoder`, not in training."""
        return self.encoder(x)

    def decode(self, z: tf.Tensor) -> DistributionTensor:
        """`decoder`, not in training."""
        return self.decoder(z)

    def posterior(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """q(z given x, y): x `[B, *event_shape]` -> batch `[B]`, event `[D]`."""
        return self.encoder(x, training=training).tensor_distribution

    def sample_prior(self, uniforms: tf.Tensor) -> tf.Tensor:
        """z ~ p(z), as a function of uniforms `[B, prior.num_uniforms]`: `[B, D]`."""
        return self.model.sample_prior(uniforms)

    def likelihood(self, z: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """p(x given z, y): z `[k B, D]`, draw after draw -> batch `[k B]`, event `event_shape`."""
        k = tf.shape(z)[0] // tf.shape(self.y)[0]
        tiled = tf.tile(self.y, tf.concat([[k], tf.ones(self.y.shape.rank - 1, tf.int32)], axis=0))
        return networks.call_with_condition(self.model.decoder, "z", z, tiled, training).tensor_distribution


class _Pair(NamedTuple):
    """x and y in place of x alone."""

    x: Any
    y: Any
