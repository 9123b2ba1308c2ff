"""Fully observed conditional models."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.distribution_tensor import DistributionTensor
from tfpvae.models import feeding, networks, sampling
from tfpvae.models.exporting import Exportable
from tfpvae.random.seeds import OBSERVATION, Seeds
from tfpvae.supports import Real, Support


@register
class ConditionalDensity(Exportable, keras.Model):
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

    built: bool
    input_shape_of_x: tuple[int, ...]
    event_shape: tuple[int, ...]
    support: Support

    def __init__(self, network: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(network, keras.layers.Layer):
            raise ModelError(f"The network must be a Keras model or layer. Received: {type(network).__name__}")
        networks.check_ends_in_distribution(network, "network")
        self.network = network
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.log_likelihood_tracker = keras.metrics.Mean(name="log_likelihood")
        shape = networks.static_input_shape(network)
        if shape is not None:
            self.build((None, *shape))

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Checks that the network gives one distribution for each row of inputs `[B, *input_shape]`."""
        if self.built:
            return
        p_y = networks.probe(self.network, tuple(input_shape[1:]), "network")
        self.input_shape_of_x = tuple(input_shape[1:])
        self.event_shape = tuple(p_y.event_shape)
        self.support = p_y.support or Real()
        self.built = True

    def likelihood(self, x: tf.Tensor, training: bool = False) -> tfd.Distribution:
        """p(y given x): x `[B, *input_shape]` -> batch `[B]`, event `event_shape`."""
        return self.network(x, training=training).tensor_distribution

    def call(self, x: tf.Tensor, training: bool = False) -> DistributionTensor:
        """p(y given x), as `decode`."""
        return self.network(x, training=training)

    # What a user calls.

    def decode(self, x: tf.Tensor) -> DistributionTensor:
        """p(y given x): x `[B, *input_shape]` -> a distribution, batch `[B]`, event `event_shape`.

        Raises:
            DataError: x has another shape.
        """
        return self.network(self._x(x), training=False)

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
        p_y = self.decode(x)
        return sampling.draw(p_y, sampling.as_seeds(p_y.batch_shape[0], seed), OBSERVATION)

    def score(self, x: tf.Tensor, y: Any) -> dict[str, tf.Tensor]:
        """`log_likelihood`: log p(y given x), `[B]`, in nats.

        Raises:
            DataError: x or y have another shape, or hold what the distribution is not over.
        """
        x = self._x(x)
        feeding.check_array(y, self.event_shape, self.support, "y")
        feeding.check_rows(x, y)
        return {"log_likelihood": self.likelihood(x).log_prob(tf.cast(y, self.variable_dtype))}

    # Training.

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """Sets the optimizer. The loss is minus the mean of log p(y given x).

        Args:
            optimizer: as for `keras.Model.compile`.
            **kwargs: those of `keras.Model.compile`, but for losses and metrics.

        Raises:
            ModelError: a loss or metrics were given.
        """
        networks.refuse_losses(
            kwargs,
            "A ConditionalDensity is compiled without a loss and metrics: its loss is minus log p(y given x), and it "
            "reports loss and log_likelihood.",
        )
        super().compile(optimizer, **kwargs)
        if self.built:
            # Else a model that is saved before it is trained would be loaded with a warning.
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_tracker, self.log_likelihood_tracker]

    def fit(self, x: Any = None, y: Any = None, *args: Any, validation_data: Any = None, **kwargs: Any) -> Any:
        """Trains on pairs; as `keras.Model.fit`.

        Args:
            x: `[N, *input_shape]`, or batches `(x, y)`: a `tf.data.Dataset`, a `PyDataset` or a
                generator.
            y: `[N, *event_shape]`; none beside a data set.
            *args: those of `keras.Model.fit`.
            validation_data: `(x, y)`, or a data set as x.
            **kwargs: those of `keras.Model.fit`.

        Raises:
            DataError: the data has the wrong shape, holds NaN or infinity, or values that the likelihood is not over.
            ModelError: y is missing.
        """
        x, y = self._prepared(x, y, kwargs.get("sample_weight"), "x")
        if validation_data is not None:
            x_val, y_val, weight = keras.utils.unpack_x_y_sample_weight(validation_data)
            x_val, y_val = self._prepared(x_val, y_val, weight, "validation_data")
            validation_data = x_val if y_val is None else (x_val, y_val, weight)
        if feeding.has_its_order(x) and not args:
            kwargs.setdefault("shuffle", False)  # Keras warns of its own default.
        with feeding.bad_batches_named():
            return super().fit(x, y, *args, validation_data=validation_data, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The metrics on pairs, as `keras.Model.evaluate`; x and y as for `fit`."""
        if not kwargs.get("_use_cached_eval_dataset"):  # Called by `fit`, which has checked them.
            x, y = self._prepared(x, y, kwargs.get("sample_weight"), "x")
        with feeding.bad_batches_named():
            return super().evaluate(x, y, *args, **kwargs)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = self._unpack(data)
        with tf.GradientTape() as tape:
            log_likelihood = self.likelihood(x, training=True).log_prob(y)
            loss = self._loss(log_likelihood, weight)
            # The replicas' gradients are summed.
            scaled = loss / tf.distribute.get_strategy().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(scaled)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        return self._report(log_likelihood, loss, weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, weight = self._unpack(data)
        log_likelihood = self.likelihood(x).log_prob(y)
        return self._report(log_likelihood, self._loss(log_likelihood, weight), weight)

    def predict_step(self, data: Any) -> Any:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return sampling.mean(self.network(tf.cast(x, self.variable_dtype), training=False))

    def _unpack(self, data: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if y is None:
            raise ModelError("y must be given beside x: batches are to be pairs (x, y). Received: x alone")
        return tf.cast(x, self.variable_dtype), tf.cast(y, self.variable_dtype), weight

    def _loss(self, log_likelihood: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
        value = -log_likelihood if weight is None else -log_likelihood * tf.cast(weight, log_likelihood.dtype)
        return tf.reduce_mean(value) + sum(self.losses)

    def _report(self, log_likelihood: tf.Tensor, loss: tf.Tensor, weight: tf.Tensor | None) -> dict[str, Any]:
        self.loss_tracker.update_state(loss, sample_weight=tf.shape(log_likelihood)[0])
        self.log_likelihood_tracker.update_state(log_likelihood, sample_weight=weight)
        return self.get_metrics_result()

    def _prepared(self, data: Any, y: Any, weight: Any, what: str) -> tuple[Any, Any]:
        """Checked pairs; builds the model if it is not built."""
        y_what = "y" if what == "x" else f"the y of {what}"
        source = feeding.opened_pairs(data, y, what, y_what)
        batch, target = source.first[:2]
        if not self.built:
            self.build((None, *batch.shape[1:]))
        parts = (
            feeding.Part(what, self.input_shape_of_x),
            feeding.Part(y_what, self.event_shape, self.support),
        )
        for part, array in zip(parts, (batch, target), strict=True):
            part.check(array)
        feeding.check_rows(batch, target)
        if not source.in_memory:
            return feeding.checked(source.data, *parts), None
        if weight is not None:
            feeding.check_sample_weight(weight, len(batch))
        return batch, target

    def _x(self, x: Any) -> tf.Tensor:
        if not self.built:
            self.build(np.shape(x))
        if not tf.executing_eagerly():  # Nothing is known of its values.
            return tf.cast(x, self.variable_dtype)
        feeding.check_array(x, self.input_shape_of_x, Real(), "x")
        return tf.cast(tf.convert_to_tensor(x), self.variable_dtype)

    # Saving.

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> ConditionalDensity:
        config = dict(config)
        config["network"] = keras.saving.deserialize_keras_object(config["network"], custom_objects)
        return cls(**config)
