"""Checks of what a model is built from and trained on: the mistake is named where it is made, before any work."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.errors import DataError, ModelError
from tfpvae.layers.base import DistributionLayer
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap
from tfpvae.layers.regularizers import KLDivergenceAddLoss, KLDivergenceRegularizer


def static_input_shape(network: keras.layers.Layer) -> tuple[int, ...] | None:
    """The shape of one input `[*shape]` of a network, or None where it is not known yet."""
    try:
        shape = network.input_shape
    except AttributeError:
        return None
    if not isinstance(shape, tuple) or any(not isinstance(n, int) for n in shape[1:]):
        return None
    return shape[1:]


def check_no_kl_regularizer(encoder: keras.layers.Layer) -> None:
    """Refuses whatever would add the KL a second time, anywhere inside the encoder.

    Losses that an encoder adds by a bare `add_loss` cannot be told apart, and are left alone.

    Raises:
        ModelError: a distribution layer has a regulariser, or there is a `KLDivergenceAddLoss`.
    """
    # Keras has no public way to see the layers inside a plain layer, or those that a subclass made in `build`;
    # tests/models/test_checks.py tells when this one changes.
    for layer in encoder._flatten_layers():
        regularizers = (getattr(layer, name, None) for name in ("distribution_regularizer", "activity_regularizer"))
        if isinstance(layer, KLDivergenceAddLoss):
            found = "KLDivergenceAddLoss"
        elif isinstance(layer, DistributionLayer) and layer.distribution_regularizer is not None:
            found = "activity_regularizer"
        elif any(isinstance(regularizer, KLDivergenceRegularizer) for regularizer in regularizers):
            found = "activity_regularizer=KLDivergenceRegularizer(...)"
        else:
            continue
        raise ModelError(
            "The encoder of a VAE must have no KL regulariser: the VAE adds the KL itself, and it would count twice. "
            f"Remove {found} from layer {layer.name!r}, and give its distribution as VAE(..., prior=...)."
        )


def check_ends_in_distribution(network: keras.layers.Layer, role: str) -> None:
    """Refuses a network that ends in one of Keras's own layers: that needs no input shape to see.

    Raises:
        ModelError: it does.
    """
    last = network
    while isinstance(last, keras.Sequential) and last.layers:
        last = last.layers[-1]
    if not isinstance(last, keras.Model) and type(last).__module__.partition(".")[0] == "keras":
        raise _no_distribution(role, f"layer {last.name!r} of type {type(last).__name__} at its end")


def _no_distribution(role: str, received: str) -> ModelError:
    example = "MultivariateNormalDiag" if role == "encoder" else "IndependentBernoulli"
    return ModelError(
        f"The {role} must end in a distribution layer, such as tfpvae.layers.{example}. Received: {received}"
    )


def check_two_inputs(network: keras.layers.Layer, role: str, first: str) -> None:
    """Refuses a network of a conditional model that does not take y beside its own input.

    Args:
        network: encoder or decoder. Of a subclassed model nothing is known before it is called.
        role: "encoder" or "decoder", for the messages.
        first: the input beside y, "x" or "z".

    Raises:
        ModelError: it has not two inputs, or has them the other way round.
    """
    single = isinstance(network, keras.Sequential | DistributionLayer)
    inputs = [network] if single else getattr(network, "inputs", None)
    if inputs is None:
        return
    example = f"keras.Model([{first}, y], distribution)"
    if len(inputs) != 2:
        raise ModelError(
            f"The {role} of a conditional model must take two inputs, {first} and y, as {example} does. "
            f"Received: a {type(network).__name__} of {len(inputs)}"
        )
    by_name = isinstance(network.input, dict)
    names = list(network.input) if by_name else [tensor.name for tensor in inputs]
    if (by_name and set(names) != {first, "y"}) or (not by_name and names[0] == "y"):
        raise ModelError(
            f"The {role} of a conditional model must take its inputs in the order [{first}, y], as {example} does, or "
            f'by name, {{"{first}": ..., "y": ...}}. Received: {", ".join(names)}'
        )


def two_input_shapes(network: keras.layers.Layer, first: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The shapes of one first input and of one y of such a network, or None where they are not known yet."""
    if not hasattr(network, "inputs"):
        return None
    inputs = [network.input[first], network.input["y"]] if isinstance(network.input, dict) else network.inputs
    shapes = tuple(tuple(tensor.shape[1:]) for tensor in inputs)
    return None if any(n is None for shape in shapes for n in shape) else (shapes[0], shapes[1])


def call_with_condition(
    network: keras.layers.Layer, first: str, value: tf.Tensor, y: tf.Tensor, training: bool = False
) -> DistributionTensor:
    """What a network of two inputs makes of them: by name where it was built so, else in the order `[first, y]`."""
    by_name = hasattr(network, "inputs") and isinstance(network.input, dict)
    value = tf.convert_to_tensor(value)  # Keras refuses an array beside a tensor.
    return network({first: value, "y": y} if by_name else [value, y], training=training)


def probe(network: Callable[..., Any], shape: tuple[int, ...], role: str) -> DistributionTensor:
    """The distribution that a network makes of one row of zeros.

    Args:
        network: encoder or decoder, as a function of one input.
        shape: the shape of one input.
        role: "encoder" or "decoder", for the messages.

    Returns:
        A distribution with batch shape `[1]`.

    Raises:
        ModelError: the network does not return one distribution per row.
    """
    rv = network(tf.zeros([1, *shape], keras.config.floatx()), training=False)
    if not isinstance(rv, DistributionTensor):
        raise _no_distribution(role, f"a model whose output is {'a tensor' if tf.is_tensor(rv) else type(rv).__name__}")
    if rv.batch_shape.as_list() != [1]:
        raise ModelError(
            f"The {role}'s distribution must have one batch dimension, the rows. Give the layer the event's shape, "
            "or wrap the distribution in tfd.Independent. Received: for an input of one row, "
            f"batch shape {rv.batch_shape.as_list()}, event shape {rv.event_shape.as_list()}"
        )
    return rv


def is_bernoulli(distribution: tfd.Distribution) -> bool:
    """Whether every value is Bernoulli."""
    distribution = unwrap(distribution)
    inner = getattr(distribution, "distribution", None)
    return isinstance(distribution, tfd.Bernoulli) or isinstance(inner, tfd.Bernoulli)


def first_batch(data: Any, what: str) -> Any:
    """What of the data can be looked at beforehand: an array whole, of a data set the first batch of x.

    Args:
        data: what `fit` was given.
        what: what it is called in the messages.

    Returns:
        An array or tensor, or None where looking would use the batch up, as with a generator.

    Raises:
        DataError: it is nothing that a VAE can be trained on, or empty.
    """
    if is_array(data):
        return data
    batch = _peeked(data, what)
    if batch is None:
        return None
    x = batch[0] if isinstance(batch, tuple) else batch
    if not is_array(x):
        raise DataError(
            f"{_accepted(what)}, x alone or tuples that begin with it. Received: batches of {type(x).__name__}"
        )
    return x


def first_pair(data: Any, y: Any, what: str, y_what: str) -> tuple[Any, Any] | None:
    """As `first_batch`, of x and y.

    Args:
        data: what `fit` was given for x.
        y: what it was given for y.
        what, y_what: what they are called in the messages.

    Raises:
        DataError: x is nothing that a model can be trained on.
        ModelError: there is no y.
    """
    if is_array(data):
        if y is None:
            raise ModelError(f"{y_what} must be given beside {what}, as in fit(x, y). Received: none")
        return data, y if is_array(y) else np.asarray(y)
    batch = _peeked(data, what)
    if batch is None:
        return None
    if not isinstance(batch, tuple) or len(batch) < 2 or not (is_array(batch[0]) and is_array(batch[1])):
        raise ModelError(
            f"{what} must be a data set of pairs (x, y) of arrays. Received: batches of "
            f"{[type(part).__name__ for part in batch] if isinstance(batch, tuple) else type(batch).__name__}"
        )
    return batch[0], batch[1]


def is_array(data: Any) -> bool:
    """Whether it is an array or a tensor."""
    return isinstance(data, np.ndarray) or (tf.is_tensor(data) and not isinstance(data, tf.data.Dataset))


def _accepted(what: str) -> str:
    return f"{what} must be an array [N, ...], a tf.data.Dataset or a keras.utils.PyDataset of batches"


def _peeked(data: Any, what: str) -> Any:
    """The first batch of a data set, or None where looking would use it up."""
    accepted = _accepted(what)
    if isinstance(data, tf.data.Dataset):
        batch = next(iter(data.take(1)), None)
        if batch is None:
            raise DataError(f"{accepted}. Received: a data set without a batch")
    elif isinstance(data, keras.utils.PyDataset):
        batch = data[0]
    elif hasattr(data, "x_train"):
        raise DataError(f"{accepted}. Received: {type(data).__name__}; give its x_train or x_test.")
    elif data is None or isinstance(data, str | bytes | dict | list | tuple | int | float):
        raise DataError(f"{accepted}. Received: {type(data).__name__}")
    else:
        return None
    return batch


_BAD_BATCH = "tfpvae: a batch of "


class Values(NamedTuple):
    """What the values of one part of a batch must be, beside finite."""

    what: str
    """What the part is called in the message."""
    bernoulli: bool = False
    """Whether they must lie in [0, 1]."""
    num_classes: int | None = None
    """Of labels, how many there are."""

    def asserted(self, tensor: tf.Tensor) -> tf.Tensor:
        """The tensor, whose computation fails where its values are not so."""
        good, wanted = tf.constant(True), "be finite"
        if self.num_classes is not None:
            good = tf.reduce_all(tf.logical_and(tensor >= 0, tf.cast(tensor, tf.int64) < self.num_classes))
            wanted = f"be labels from 0 to {self.num_classes - 1}"
        elif tensor.dtype.is_floating:
            good = tf.reduce_all(tf.math.is_finite(tensor))
        if self.bernoulli:
            wanted = "be finite and lie in [0, 1], as the likelihood is Bernoulli"
            if tensor.dtype != tf.bool:
                good = tf.logical_and(good, tf.reduce_all(tf.logical_and(tensor >= 0, tensor <= 1)))
        with tf.control_dependencies([tf.debugging.Assert(good, [f"{_BAD_BATCH}{self.what} must {wanted}."])]):
            return tf.identity(tensor)


def check_batches(dataset: tf.data.Dataset, *parts: Values) -> tf.data.Dataset:
    """The same data set, whose iteration fails at a batch of wrong values.

    Args:
        dataset: batches of x, or tuples that begin with it.
        *parts: what x, and the parts after it that are checked, must be.
    """

    def check(*batch: Any) -> Any:
        checked = tuple(part.asserted(tensor) for part, tensor in zip(parts, batch, strict=False))
        batch = checked + batch[len(parts) :]
        return batch if isinstance(dataset.element_spec, tuple) else batch[0]

    return dataset.map(check, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


@contextlib.contextmanager
def bad_batches_named() -> Iterator[None]:
    """Turns the failure of `check_batches` into a DataError."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(rf"{_BAD_BATCH}[^\n]*?(Bernoulli|finite|labels from 0 to \d+)\.", error.message)
        if found is None:
            raise
        raise DataError(found[0].replace("tfpvae: a batch", "A batch", 1)) from error


def refuse_losses(kwargs: dict[str, Any], message: str) -> None:
    """Refuses losses and metrics given to `compile`.

    Raises:
        ModelError: there are some.
    """
    names = {"loss", "loss_weights", "metrics", "weighted_metrics"}
    refused = names & {key for key, value in kwargs.items() if value is not None}
    if refused:
        raise ModelError(f"{message} Received: {', '.join(sorted(refused))}")


def check_sample_weight(weight: Any, n: int) -> None:
    """Checks the weights of n examples in memory.

    Raises:
        DataError: they are not n finite numbers of 0 or more.
    """
    array = np.asarray(weight)
    if array.shape != (n,) or array.dtype.kind not in "fiub" or not np.isfinite(array).all() or (array < 0).any():
        raise DataError(
            f"sample_weight must be {n} finite numbers of 0 or more, shape [N]. "
            f"Received: shape {list(array.shape)}, dtype {array.dtype}"
        )


def check_array(x: Any, event_shape: tuple[int, ...], bernoulli: bool, what: str) -> None:
    """Checks data in memory.

    Args:
        x: an array or tensor, to be `[N, *event_shape]`.
        event_shape: the shape of one example.
        bernoulli: whether the likelihood is Bernoulli, whose values lie in [0, 1].
        what: what the data is called in the messages: "x", "validation_data".

    Raises:
        DataError: wrong shape, NaN or infinity, or values outside [0, 1] for a Bernoulli likelihood.
    """
    array = np.asarray(x)
    if array.shape[1:] != event_shape or array.ndim == 0 or len(array) == 0:
        raise DataError(
            f"{what} must have shape [N, {', '.join(map(str, event_shape))}], N at least 1. "
            f"Received: shape {list(array.shape)}"
        )
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} must hold numbers. Received: dtype {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise DataError(
            f"{what} must be finite. Received: {array[tuple(index)]} at index {index}, "
            f"and {int((~np.isfinite(array)).sum())} such values in all"
        )
    if bernoulli:
        low, high = array.min(), array.max()
        if low < 0 or high > 1:
            raise DataError(
                f"{what} must lie in [0, 1] for a Bernoulli likelihood; divide 8-bit pixels by 255. "
                f"Received: values from {low} to {high}"
            )


def check_condition(
    y: Any, rows: int | None, num_classes: int | None, shape: tuple[int, ...] | None, what: str
) -> None:
    """Checks the y of a conditional model, in memory.

    Args:
        y: an array or tensor, to be integer labels `[N]`, or `[N, *shape]` of numbers where there are no classes.
        rows: N; None is any number.
        num_classes: of labels; None where y is no label.
        shape: the shape of one y that is no label, or None where that is not known yet.
        what: what y is called in the messages.

    Raises:
        DataError: wrong shape or type, labels out of range, NaN or infinity.
    """
    array = np.asarray(y)
    received = f"Received: shape {list(array.shape)}, dtype {array.dtype}"
    n = "N" if rows is None else rows
    if num_classes is not None:
        if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) != (rows or len(array)):
            raise DataError(f"{what} must be integer labels, shape [{n}], as the model has num_classes. {received}")
        bad = np.flatnonzero((array < 0) | (array >= num_classes))
        if len(bad):
            raise DataError(
                f"{what} must be labels from 0 to {num_classes - 1}. Received: {array[bad[0]]} in row {bad[0]}, "
                f"and {len(bad)} such labels in all"
            )
        return
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} must hold numbers. {received}")
    if shape is None and array.ndim == 1 and array.dtype.kind in "iu":
        raise DataError(f"{what} must be floats; for integer labels give the model num_classes. {received}")
    wrong_shape = shape is not None and array.shape[1:] != shape
    if array.ndim == 0 or len(array) == 0 or len(array) != (rows or len(array)) or wrong_shape:
        wanted = ", ".join(map(str, [n, *(["..."] if shape is None else shape)]))
        raise DataError(f"{what} must have shape [{wanted}]. {received}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(
            f"{what} must be finite. Received: NaN or infinity in row {np.argwhere(~np.isfinite(array))[0][0]}"
        )


def warn_of_grey(x: Any, what: str) -> None:
    """Warns where data for a Bernoulli likelihood is not binary."""
    array = np.asarray(x)
    if array.dtype.kind == "f" and not ((array == 0) | (array == 1)).all():
        warnings.warn(
            f"{what} holds grey values, and the likelihood is Bernoulli: log p(x|z) is then a cross-entropy, not the "
            "likelihood of any data, and no ELBO to compare. Binarise the data (tfpvae.data.Binarize), or use another "
            "likelihood.",
            stacklevel=4,
        )
