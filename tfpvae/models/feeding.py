"""Checks of the data that a model is trained and evaluated on: each mistake is a DataError before any work.

Data in memory is checked whole. Data that comes in batches (`tf.data.Dataset`, `PyDataset`, generator) is checked batch
by batch, the first before training starts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfpvae.errors import DataError
from tfpvae.models.sampling import PNG_CHANNELS
from tfpvae.supports import Categories, Real, Support

_CHUNK = 2**22
"""How many values are checked at a time, so that large data is not copied whole."""


@dataclass(frozen=True)
class Part:
    """What one part of the data must be, x for instance."""

    what: str
    """What it is called in the messages."""
    shape: tuple[int, ...] | None
    """The shape of one example; None where it is not known yet."""
    support: Support = field(default_factory=Real)
    """What its values must be."""

    def check(self, x: Any) -> None:
        """Checks an array `[N, *shape]`.

        Raises:
            DataError: it is not as it must be.
        """
        check_array(x, self.shape, self.support, self.what)

    def in_batches(self) -> Part:
        """The same for one of many batches."""
        return dataclasses.replace(self, what=f"A batch of {self.what}")


@dataclass(frozen=True)
class Condition(Part):
    """What the y of a conditional model must be: labels where the support is `Categories`, else numbers."""

    def check(self, x: Any) -> None:
        check_condition(x, None, self.support, self.shape, self.what)


def check_array(x: Any, event_shape: tuple[int, ...] | None, support: Support, what: str) -> None:
    """Checks data in memory.

    Args:
        x: an array or tensor, to be `[N, *event_shape]`.
        event_shape: the shape of one example; None for any.
        support: what the values must be.
        what: what the data is called in the messages: "x", "validation_data".

    Raises:
        DataError: wrong shape, no numbers, NaN or infinity (also a float64 beyond float32), or values outside the
            support.
    """
    array = np.asarray(x)
    if array.ndim == 0 or len(array) == 0 or (event_shape is not None and array.shape[1:] != event_shape):
        wanted = ", ".join(map(str, ["N", *(["..."] if event_shape is None else event_shape)]))
        raise DataError(f"{what} must have shape [{wanted}], N at least 1. Received: shape {list(array.shape)}")
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} must hold numbers. Received: dtype {array.dtype}")
    check_values(array, support, what)


def check_tensor(x: tf.Tensor, event_shape: tuple[int, ...], support: Support, what: str) -> None:
    """`check_array` for a tensor. Inside a graph nothing is known of its values, and nothing is checked."""
    if tf.executing_eagerly():
        check_array(x, event_shape, support, what)


def check_values(array: np.ndarray, support: Support, what: str) -> None:
    """Refuses, by a DataError, numbers that are not finite or not inside a support.

    It names the first wrong value, its index, how many there are, and what to do.
    """
    if array.dtype.kind == "f":
        wrong = _wrong(array, np.isfinite)
        if wrong is not None:
            raise DataError(f"{what} must be finite. Received: {wrong.received}")
    wrong = None if type(support) is Real else _wrong(array, support.contains)
    if wrong is not None:
        advice = support.remedy(wrong.value, float(array.min()), float(array.max()))
        raise DataError(f"{what} must be {support}. Received: {wrong.received}{'. ' if advice else ''}{advice}")


class _Wrong(NamedTuple):
    value: float
    received: str


def _wrong(array: np.ndarray, inside: Callable[[np.ndarray], Any]) -> _Wrong | None:
    """The first wrong value with words for a message, or None where all are right."""
    rows = max(1, _CHUNK * len(array) // max(1, array.size))
    first, count, noun = None, 0, "values"
    for start in range(0, len(array), rows):
        chunk = array[start : start + rows]
        good = np.asarray(inside(_as_computed(chunk)))
        if good.all():
            continue
        if first is None:
            index = [int(i) for i in np.argwhere(~good)[0]]
            first = [index[0] + start, *index[1:]]
            noun = "values" if good.ndim == array.ndim else "rows"
        count += int((~good).sum())
    if first is None:
        return None
    value = array[tuple(first)]
    shown, computed = f"{value} at index {first}", _as_computed(value)
    if np.all(inside(np.asarray(value, np.float64)[np.newaxis])):
        shown += f", which is {computed} in {computed.dtype}"
    return _Wrong(float(np.ravel(value)[0]), f"{shown}, and {count} such {noun} in all")


def _as_computed(array: Any) -> np.ndarray:
    """Numbers in the precision that a model computes in: float32, whatever they are stored as."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(array).astype("float64" if keras.config.floatx() == "float64" else "float32")


def _is_inside(support: Support, tensor: tf.Tensor) -> tf.Tensor:
    """Whether the values of a tensor are finite and inside a support: one boolean, inside a graph."""
    x = tf.cast(tensor, "float64" if keras.config.floatx() == "float64" else "float32")
    good = tf.constant(True) if tensor.dtype.is_integer else tf.reduce_all(tf.math.is_finite(x))
    return good if type(support) is Real else tf.logical_and(good, tf.reduce_all(support.contains(x)))


# Data in batches.


def checked(data: Any, *parts: Part | None) -> Any:
    """The same data in batches, whose iteration fails at a batch that is not as it must be.

    Args:
        data: the data of a `Source` that is not in memory.
        *parts: what x and the parts after it must be; None for one that is not checked.
    """
    in_batches = tuple(None if part is None else part.in_batches() for part in parts)
    if isinstance(data, tf.data.Dataset):
        return _checked_dataset(data, in_batches)
    if isinstance(data, keras.utils.PyDataset):
        return _CheckedPyDataset(data, in_batches)
    return _checked_generator(data, in_batches)


def _check_batch(batch: Any, parts: tuple[Part | None, ...]) -> Any:
    """The batch, whose parts have been checked."""
    for part, value in zip(parts, batch if isinstance(batch, tuple | list) else (batch,), strict=False):
        if part is not None:
            part.check(value)
    return batch


def _checked_generator(batches: Iterator[Any], parts: tuple[Part | None, ...]) -> Iterator[Any]:
    for batch in batches:
        yield _check_batch(batch, parts)


class _CheckedPyDataset(keras.utils.PyDataset):
    """A `PyDataset` each of whose batches is checked."""

    def __init__(self, source: keras.utils.PyDataset, parts: tuple[Part | None, ...]) -> None:
        super().__init__(source.workers, source.use_multiprocessing, source.max_queue_size)
        self.source, self.parts = source, parts

    @property
    def num_batches(self) -> int | None:
        return self.source.num_batches

    def __getitem__(self, index: int) -> Any:
        return _check_batch(self.source[index], self.parts)

    def on_epoch_begin(self) -> None:
        self.source.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.source.on_epoch_end()


def _checked_dataset(dataset: tf.data.Dataset, parts: tuple[Part | None, ...]) -> tf.data.Dataset:
    def check(*batch: Any) -> Any:
        pairs = zip(parts, batch, strict=False)
        values = tuple(value if part is None else _asserted(value, part) for part, value in pairs)
        batch = values + batch[len(values) :]
        return batch if isinstance(dataset.element_spec, tuple) else batch[0]

    return dataset.map(check, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def _asserted(tensor: tf.Tensor, part: Part) -> tf.Tensor:
    """The tensor, whose computation fails where its values are not as they must be."""

    def fail(array: np.ndarray) -> bool:
        check_values(array, part.support, part.what)
        return True

    # NumPy looks at a bad batch alone, to say what is wrong with it.
    good = tf.cond(_is_inside(part.support, tensor), lambda: True, lambda: tf.numpy_function(fail, [tensor], tf.bool))
    with tf.control_dependencies([good]):
        return tf.identity(tensor)


@contextlib.contextmanager
def bad_batches_named() -> Iterator[None]:
    """Turns what TensorFlow makes of the DataError of a batch back into one."""
    try:
        yield
    except tf.errors.OpError as error:
        message = re.search(r"DataError: ([^\n]*)", error.message)
        if message is None:
            raise
        raise DataError(message[1]) from error


# What stands beside x.


def check_condition(y: Any, rows: int | None, support: Support, shape: tuple[int, ...] | None, what: str) -> None:
    """Checks the y of a conditional model, in memory.

    Args:
        y: an array or tensor, to be integer labels `[N]`, or `[N, *shape]` of numbers.
        rows: N; None is any number.
        support: `Categories` for labels.
        shape: the shape of one y that is no label, or None where that is not known yet.
        what: what y is called in the messages.

    Raises:
        DataError: wrong shape or type, labels out of range, NaN or infinity.
    """
    array = np.asarray(y)
    received = f"Received: shape {list(array.shape)}, dtype {array.dtype}"
    n = "N" if rows is None else rows
    if isinstance(support, Categories):
        if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) != (rows or len(array)):
            raise DataError(f"{what} must be integer labels, shape [{n}], as the model has num_classes. {received}")
    else:
        if array.dtype.kind not in "fiub":
            raise DataError(f"{what} must hold numbers. {received}")
        if shape is None and array.ndim == 1 and array.dtype.kind in "iu":
            raise DataError(f"{what} must be floats; for integer labels give the model num_classes. {received}")
        wrong_shape = shape is not None and array.shape[1:] != shape
        if array.ndim == 0 or len(array) == 0 or len(array) != (rows or len(array)) or wrong_shape:
            wanted = ", ".join(map(str, [n, *(["..."] if shape is None else shape)]))
            raise DataError(f"{what} must have shape [{wanted}]. {received}")
    check_values(array, support, what)


def condition_support(num_classes: int | None) -> Support:
    """What y must be: labels of so many classes, or any numbers."""
    return Real() if num_classes is None else Categories(num_classes)


def check_rows(x: Any, y: Any) -> None:
    """Checks that x and y have as many rows.

    Raises:
        DataError: they have not.
    """
    if len(x) != len(y):
        raise DataError(f"x and y must have as many rows. Received: {len(x)} of x, {len(y)} of y")


def check_sample_weight(weight: Any, n: int) -> None:
    """Checks the weights of n examples in memory.

    Raises:
        DataError: they are not n finite numbers of 0 or more.
    """
    array = np.asarray(weight)
    numbers = array.shape in ((n,), (n, 1)) and array.dtype.kind in "fiub"
    if not numbers or not np.isfinite(array).all() or (array < 0).any():
        raise DataError(
            f"sample_weight must be {n} finite numbers of 0 or more, shape [N]. "
            f"Received: shape {list(array.shape)}, dtype {array.dtype}"
        )


def warn_of_values(x: Any, support: Support, what: str) -> None:
    """Warns of data that is taken and is hardly meant: grey values by a Bernoulli, images of 0 to 255 by a Gaussian."""
    x = np.asarray(x)
    if support.caution is not None and not np.all(support.possible(x)):
        warnings.warn(f"{what} {support.caution}", stacklevel=4)
    unbounded = support.low is None and support.high is None
    if unbounded and x.ndim == 4 and x.shape[-1] in PNG_CHANNELS and x.size and (x.min() < 0 or x.max() > 1):
        warnings.warn(
            f"{what} holds images with values from {x.min():g} to {x.max():g}. In PNG files, pictures and the model "
            "card images are in [0, 1], and all beyond is cut. Scale them: x / 255.0, for bytes.",
            stacklevel=4,
        )
