"""What every model of the package shares: training, saving and exporting."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from tfpvae._compat.keras import evaluates_during_fit
from tfpvae.batch import Batch
from tfpvae.errors import DataError
from tfpvae.layers.base import stateless_seed
from tfpvae.layers.keras2 import refuse_keras_2_within
from tfpvae.models import feeding, networks, sources
from tfpvae.models.divergence import StopWhenDiverged, check_weights, checked_gradients, divergence_named
from tfpvae.models.exporting import Exportable
from tfpvae.supports import Interval, Support


class TrainingTerms(Protocol):
    """What a training step maximises and reports, each `[B]`, in nats."""

    @property
    def bound(self) -> tf.Tensor:
        """What is maximised."""

    @property
    def log_likelihood(self) -> tf.Tensor:
        """The log-likelihood of each row."""


_WEIGHTS = feeding.Part("sample_weight", (), Interval(0.0, None))
"""What sample weights in batches must be: one number of 0 or more for each row."""


class DistributionModel(Exportable, keras.Model):
    """A model that is trained by maximising a bound on a log-likelihood, or the log-likelihood itself: abstract.

    The loss is minus the mean of the bound over the batch, plus the losses that the networks add.

    Args:
        **kwargs: those of `keras.Model`.

    Attributes:
        event_shape: the shape of one value of what the model is a distribution over.
        condition: what y must be, with a free batch, in a model that takes a condition; None in all others.
        num_classes: how many labels y has; None where y is no label.
        support: what data it is a distribution over, one of `tfpvae.supports`.
    """

    built: bool
    event_shape: tuple[int, ...]
    condition: tf.TensorSpec | None = None
    num_classes: int | None = None
    support: Support
    _event_is_x = True
    """Whether the model is a distribution over x, and not over y."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator()
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.log_likelihood_tracker = keras.metrics.Mean(name="log_likelihood")

    # What a subclass says.

    @property
    def takes_y(self) -> bool:
        """Whether `fit` takes y beside x."""
        raise NotImplementedError

    def _terms(self, batch: Batch, seed: tf.Tensor, training: bool) -> TrainingTerms:
        """What is maximised for a batch, and what is reported.

        Args:
            batch: the data.
            seed: a stateless seed, int32 `[2]`.
            training: whether the networks run in training mode.
        """
        raise NotImplementedError

    def _term_trackers(self) -> list[keras.metrics.Metric]:
        """The metrics that are means of the terms of the same name."""
        return [self.log_likelihood_tracker]

    def _checked_parts(self, first: tuple[Any, ...], what: str, y_what: str) -> list[feeding.Part]:
        """Checks data, and builds the model if it is not built.

        Args:
            first: x, and y where the model takes it: the arrays themselves, or those of the first batch.
            what, y_what: what they are called in the messages.

        Returns:
            What x, and y where the model takes it, must be in every batch.

        Raises:
            DataError: the data is not what the model is a distribution over.
        """
        raise NotImplementedError

    # Training.

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """Sets the optimizer. The loss is minus what the model maximises.

        Args:
            optimizer: as for `keras.Model.compile`.
            **kwargs: those of `keras.Model.compile`, but for losses and metrics.

        Raises:
            ModelError: a loss or metrics were given, or a layer holds one of Keras 2, whose weights would not train.
        """
        refuse_keras_2_within(self)
        names = [metric.name for metric in self.metrics]
        networks.refuse_losses(
            kwargs,
            f"A {type(self).__name__} is compiled without a loss and metrics: its loss is minus what it maximises, and "
            f"it reports {', '.join(names[:-1])} and {names[-1]}.",
        )
        super().compile(optimizer, **kwargs)
        if self.built:
            # Otherwise Keras warns when a model is loaded that was saved before it was trained.
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_tracker, *self._term_trackers()]

    def fit(self, x: Any = None, y: Any = None, *args: Any, validation_data: Any = None, **kwargs: Any) -> Any:
        """Trains the model, as `keras.Model.fit` does.

        Args:
            x: data `[N, ...]`, or batches: a `tf.data.Dataset`, a `PyDataset` or a generator. A model that takes y
                needs batches `(x, y)`; any other model uses x alone.
            y: `[N, ...]`, where the model takes it; none beside a data set.
            *args: those of `keras.Model.fit`.
            validation_data: as x, or `(x, y)` where the model takes y.
            **kwargs: those of `keras.Model.fit`.

        Raises:
            DataError: NaN or infinity in the data, values that the likelihood is not over, or a wrong shape.
            DivergedError: the loss or its gradient is not finite. The model keeps the weights from before.
            ModelError: y is missing, or was given to a model that takes none; or the model's weights are not finite.
        """
        kwargs |= _by_name(keras.Model.fit, args)
        validation_data = kwargs.pop("validation_data", validation_data)
        self._check_fit(y, kwargs)
        x, y = self._prepared(x, y, kwargs.get("sample_weight"), "x", warn_of_values=True)
        if self.built:
            check_weights(self)
        if validation_data is not None:
            x_val, y_val, weight = keras.utils.unpack_x_y_sample_weight(validation_data)
            self._check_y(y_val, "give validation_data=x, not validation_data=(x, y)")
            x_val, y_val = self._prepared(x_val, y_val, weight, "validation_data")
            validation_data = x_val if y_val is None else (x_val, y_val, weight)
        if sources.has_its_order(x):
            kwargs.setdefault("shuffle", False)  # Keras warns of its own default.
        callbacks = kwargs.pop("callbacks", None)
        watch = StopWhenDiverged()
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(watch)
        else:
            callbacks = [watch, *keras.tree.flatten(callbacks if callbacks is not None else [])]
        in_memory = x if sources.as_array(x) is not None else None
        with feeding.bad_batches_named(), divergence_named(self, in_memory, watch):
            return super().fit(x, y, callbacks=callbacks, validation_data=validation_data, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The metrics on data, as `keras.Model.evaluate`; x and y as for `fit`."""
        kwargs |= _by_name(keras.Model.evaluate, args)
        if not evaluates_during_fit(kwargs):  # Called by `fit`, which has checked the data.
            self._check_y(y, "call evaluate(x), not evaluate(x, y)")
            x, y = self._prepared(x, y, kwargs.get("sample_weight"), "x")
        with feeding.bad_batches_named():
            return super().evaluate(x, y, **kwargs)

    def train_step(self, data: Any) -> dict[str, Any]:
        batch, weight = self._unpack(data)
        with tf.GradientTape() as tape:
            terms = self._terms(batch, self._next_seed(), training=True)
            loss = self._loss(terms, weight)
            # The replicas' gradients are summed.
            scaled = loss / tf.distribute.get_strategy().num_replicas_in_sync
            scaled = self.optimizer.scale_loss(scaled)
        variables = self.trainable_variables
        gradients = checked_gradients(loss, tape.gradient(scaled, variables), self.optimizer)
        self.optimizer.apply(gradients, variables)
        return self._report(terms, loss, weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        batch, weight = self._unpack(data)
        terms = self._terms(batch, self._next_seed(), training=False)
        return self._report(terms, self._loss(terms, weight), weight)

    def _unpack(self, data: Any) -> tuple[Batch, tf.Tensor | None]:
        """A batch and its sample weights, of what Keras hands to a step."""
        if isinstance(data, tuple) and isinstance(data[0], Batch):  # `predict` has no other place for y.
            data = (*data[0], *data[1:])
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if weight is not None and len(weight.shape) == 2 and weight.shape[1] == 1:
            weight = weight[:, 0]  # Against the bound of each row, [B], it would make [B, B].
        if weight is not None and len(weight.shape) != 1:
            raise DataError(f"sample_weight must be one number for each row, [B]. Received: shape {weight.shape}")
        return Batch(tf.cast(x, self.variable_dtype), y if self.takes_y else None), weight

    def _loss(self, terms: TrainingTerms, weight: tf.Tensor | None) -> tf.Tensor:
        value = -terms.bound if weight is None else -terms.bound * tf.cast(weight, terms.bound.dtype)
        return tf.reduce_mean(value) + sum(self.losses)

    def _report(self, terms: TrainingTerms, loss: tf.Tensor, weight: tf.Tensor | None) -> dict[str, Any]:
        self.loss_tracker.update_state(loss, sample_weight=tf.shape(terms.log_likelihood)[0])
        for tracker in self._term_trackers():
            tracker.update_state(getattr(terms, tracker.name), sample_weight=weight)
        return self.get_metrics_result()

    def _next_seed(self) -> tf.Tensor:
        return stateless_seed(self.seed_generator)

    # Checks of what a user gives.

    def _check_fit(self, y: Any, kwargs: dict[str, Any]) -> None:
        """Refuses arguments of `fit` that the model has no use for.

        Raises:
            ModelError: there are some.
        """
        del kwargs
        self._check_y(y, "call fit(x), not fit(x, y)")

    def _check_y(self, y: Any, advice: str) -> None:
        """Refuses targets, where the model has none.

        Raises:
            ModelError: y was given.
        """
        del y, advice

    def _prepared(self, data: Any, y: Any, weight: Any, what: str, warn_of_values: bool = False) -> tuple[Any, Any]:
        """Checked data, and the y that Keras is to have beside it; builds the model if it is not built."""
        y_what = "y" if what == "x" else f"the y of {what}"
        source = sources.opened_pairs(data, y, what, y_what) if self.takes_y else sources.opened(data, what)
        parts = self._checked_parts(source.first, what, y_what)
        batch, beside = source.first[0], source.first[1] if self.takes_y else None
        if warn_of_values and self._event_is_x:
            feeding.warn_of_values(batch, self.support, what)
        if not source.in_memory:
            of_weight = _WEIGHTS
            if len(source.first) > 2 and source.first[2] is not None:
                if np.shape(source.first[2])[1:] == (1,):
                    of_weight = dataclasses.replace(_WEIGHTS, shape=(1,))
                of_weight.check(source.first[2])
            return feeding.checked(source.data, parts[0], parts[1] if len(parts) > 1 else None, of_weight), None
        if weight is not None:
            feeding.check_sample_weight(weight, len(batch))
            if beside is None:
                beside = np.zeros(len(batch), np.float32)  # Keras drops weights that come without targets.
        return batch, beside

    def _as_batch(self, value: Any, shape: Iterable[int] | None, what: str) -> tf.Tensor:
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

    # Saving.

    def _serialized(self, *names: str) -> dict[str, Any]:
        """Attributes as Keras writes them, by name; None for one that is not there yet."""
        return {
            name: keras.saving.serialize_keras_object(getattr(self, name)) if hasattr(self, name) else None
            for name in names
        }

    def save_own_variables(self, store: Any) -> None:
        # Keras does not save seed generators. With its state, training goes on from a file as it would have without.
        store["seed"] = self.seed_generator.state.numpy()

    def load_own_variables(self, store: Any) -> None:
        if "seed" in store:
            self.seed_generator.state.assign(store["seed"])

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        return cls(**deserialized(config, custom_objects))


def deserialized(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> dict[str, Any]:
    """The arguments of a model, of its config: networks, priors and the like as objects."""
    return {
        name: keras.saving.deserialize_keras_object(value, custom_objects) if isinstance(value, dict) else value
        for name, value in config.items()
    }


def _by_name(method: Callable[..., Any], positional: tuple[Any, ...]) -> dict[str, Any]:
    """Arguments of one of Keras's methods that come after x and y, by name.

    Raises:
        TypeError: there are more of them than the method takes.
    """
    names = [name for name in inspect.signature(method).parameters if name not in ("self", "x", "y")]
    if len(positional) > len(names):
        raise TypeError(f"{method.__name__} takes at most {len(names) + 2} arguments. Received: {len(positional) + 2}")
    return dict(zip(names, positional, strict=False))
