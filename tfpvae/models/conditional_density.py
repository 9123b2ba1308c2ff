"""Fully observed conditional models."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.batch import Batch
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap, wrap
from tfpvae.models import feeding, networks, sampling
from tfpvae.models.distribution_model import DistributionModel
from tfpvae.random.seeds import Seeds
from tfpvae.supports import Real


class LogLikelihood(NamedTuple):
    """What `ConditionalDensity` maximises."""

    log_likelihood: tf.Tensor
    """log p(y given x), `[B]`, in nats."""

    @property
    def bound(self) -> tf.Tensor:
        """The log-likelihood itself."""
        return self.log_likelihood


@register
class ConditionalDensity(DistributionModel):
    """p(y given x) by maximum likelihood: a network from x to a distribution over y, and nothing hidden between.

    The loss is minus the mean of log p(y given x), in nats, a sum over the event. No draw is differentiated, so the
    distribution need not be reparameterised.

    ```python
    network = keras.Sequential([
        keras.Input((3,)), keras.layers.Dense(32, "relu"),
        keras.layers.Dense(tfpl.MixtureNormal.params_size(5, [1])), tfpl.MixtureNormal(5, [1]),
    ])
    model = ConditionalDensity(network)
    model.compile("adam")
    model.fit(x, y)
    p_y = model.decode(x)  # a tfd.Distribution
    ```

    Args:
        network: a Keras model from x `[B, *input_shape]` to a distribution over y: its last layer is one of
            `tfpvae.layers`.
        **kwargs: those of `keras.Model`.

    Raises:
        ModelError: the network is no such model.

    Attributes:
        network: as given.
        input_shape_of_x: the shape of one x.
        event_shape: the shape of one y.
        support: what y the distribution is over, one of `tfpvae.supports`.
    """

    input_shape_of_x: tuple[int, ...]
    takes_y = True
    _event_is_x = False

    def __init__(self, network: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(network, keras.layers.Layer):
            raise ModelError(f"The network must be a Keras model or layer. Received: {type(network).__name__}")
        networks.check_ends_in_distribution(network, "network")
        self.network = network
        shape = networks.static_input_shape(network)
        if shape is not None:
            self.build((None, *shape))

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Checks that the network gives one distribution for each row of inputs `[B, *input_shape]`."""
        if self.built:
            return
        x = tf.zeros([1, *input_shape[1:]], keras.config.floatx())
        p_y = networks.probe(lambda: self.likelihood(x), "network")
        self.input_shape_of_x = tuple(input_shape[1:])
        self.event_shape = tuple(p_y.event_shape)
        self.support = networks.support_of_data(p_y)

    def likelihood(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """p(y given x), which everything else uses: x `[B, *input_shape]` -> batch `[B]`, event `event_shape`."""
        return self.network(x, training=training)

    def call(self, x: tf.Tensor, training: bool = False) -> DistributionTensor:
        """p(y given x), as `decode`."""
        return wrap(self.likelihood(x, training=training))

    # What a user calls.

    def decode(self, x: tf.Tensor) -> DistributionTensor:
        """p(y given x): x `[B, *input_shape]` -> a distribution, batch `[B]`, event `event_shape`.

        Raises:
            DataError: x has another shape.
        """
        return wrap(self.likelihood(self._x(x)))

    def sample(self, x: tf.Tensor, seed: Seeds = None) -> tf.Tensor:
        """y ~ p(y given x), one for each row: `[B, *event_shape]`.

        The same numbers, for the same seeds, as the exported model gives on every runtime.

        Args:
            x: `[B, *input_shape]`.
            seed: an int s (row i uses s + i), an array of B seeds, or None for a fresh random one.

        Raises:
            DataError: x has another shape.
            ModelError: the distribution cannot be drawn by seed, or seed is not as said.
        """
        x = self._x(x)
        return sampling.in_chunks(
            sampling.sample_observed, self, {"x": x, "seed": sampling.as_seeds(x.shape[0], seed)}
        )["sample"]

    def score(self, x: tf.Tensor, y: Any) -> dict[str, tf.Tensor]:
        """`log_likelihood`: log p(y given x), `[B]`, in nats.

        Raises:
            DataError: x or y have another shape, or hold what the distribution is not over.
        """
        x = self._x(x)
        feeding.check_array(y, self.event_shape, self.support, "y")
        feeding.check_rows(x, y)
        return sampling.in_chunks(sampling.score_observed, self, {"x": x, "y": tf.cast(y, self.variable_dtype)})

    # Training.

    def _terms(self, batch: Batch, seed: tf.Tensor, training: bool) -> LogLikelihood:
        del seed
        return LogLikelihood(unwrap(self.likelihood(batch.x, training=training)).log_prob(batch.y))

    def predict_step(self, data: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return sampling.in_chunks(sampling.decode_observed, self, {"x": tf.cast(x, self.variable_dtype)})["mean"]

    def _unpack(self, data: Any) -> tuple[Batch, tf.Tensor | None]:
        batch, weight = super()._unpack(data)
        if batch.y is None:
            raise ModelError("y must be given beside x: batches are to be pairs (x, y). Received: x alone")
        return Batch(batch.x, tf.cast(batch.y, self.variable_dtype)), weight

    def _checked_parts(self, first: tuple[Any, ...], what: str, y_what: str) -> list[feeding.Part]:
        x, y = first[:2]
        if not self.built:
            self.build((None, *x.shape[1:]))
        of_x = feeding.Part(what, self.input_shape_of_x)
        of_y = feeding.Part(y_what, self.event_shape, self.support)
        of_x.check(x)
        of_y.check(y)
        feeding.check_rows(x, y)
        return [of_x, of_y]

    def _x(self, x: Any) -> tf.Tensor:
        if not self.built:
            self.build(np.shape(x))
        if not tf.executing_eagerly():  # Nothing is known of its values.
            return tf.cast(x, self.variable_dtype)
        feeding.check_array(x, self.input_shape_of_x, Real(), "x")
        return tf.cast(tf.convert_to_tensor(x), self.variable_dtype)

    # Saving.

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._serialized("network")}
