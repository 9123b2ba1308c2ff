"""What `fit` takes, opened: arrays, and whatever gives batches, with the first of them."""

from __future__ import annotations

import itertools
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfpvae.errors import DataError, ModelError


class Source(NamedTuple):
    """What `fit` was given, ready for Keras, and what of it can be looked at beforehand."""

    data: Any
    """An array, a tensor, a data set, or a generator."""
    first: tuple[Any, ...]
    """The arrays themselves, or the parts of the first batch."""
    in_memory: bool
    """Whether it is arrays."""


def opened(data: Any, what: str, y: Any = None) -> Source:
    """The data that `fit` was given, with its first batch.

    Whatever NumPy converts (pandas data frames, h5py data sets) becomes an array.

    Args:
        data: x, or batches.
        what: what it is called in the messages.
        y: what stands beside x, if anything.

    Raises:
        DataError: it is nothing that a model can be trained on, or it is empty.
    """
    array = as_array(data)
    if array is not None:
        beside = () if y is None else (np.asarray(y) if as_array(y) is None else as_array(y),)
        return Source(array, (array, *beside), True)
    accepted = f"{what} must be an array [N, ...], a tf.data.Dataset, a keras.utils.PyDataset or a generator of batches"
    if isinstance(data, tf.data.Dataset):
        batch = next(iter(data.take(1)), None)
    elif isinstance(data, keras.utils.PyDataset):
        batch = data[0] if data.num_batches != 0 else None
    elif isinstance(data, types.GeneratorType):
        batch = next(data, None)
        data = _chained(batch, data)
    else:
        raise DataError(f"{accepted}. Received: {type(data).__name__}{_conversion(data)}")
    if batch is None:
        raise DataError(f"{accepted}. Received: a {type(data).__name__} without a batch")
    parts = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    first = tuple(part if as_array(part) is None else as_array(part) for part in parts)
    if not first or as_array(first[0]) is None:
        kinds = [type(part).__name__ for part in first]
        raise DataError(f"{accepted}, of x alone or of tuples that begin with it. Received: batches of {kinds}")
    return Source(data, first, False)


def opened_pairs(data: Any, y: Any, what: str, y_what: str) -> Source:
    """As `opened`, of x and y: both are there.

    Raises:
        DataError: as of `opened`.
        ModelError: there is no y.
    """
    source = opened(data, what, y)
    if len(source.first) > 1 and as_array(source.first[1]) is not None:
        return source
    if source.in_memory:
        raise ModelError(f"{y_what} must be given beside {what}, as in fit(x, y). Received: none")
    kinds = [type(part).__name__ for part in source.first]
    raise ModelError(f"{what} must be batches of pairs (x, y) of arrays. Received: batches of {kinds}")


def has_its_order(data: Any) -> bool:
    """Whether Keras cannot shuffle it."""
    return isinstance(data, tf.data.Dataset | types.GeneratorType)


def as_array(data: Any) -> np.ndarray | tf.Tensor | None:
    """An array or a tensor as it is; what NumPy converts, converted; None where it is none of these."""
    if isinstance(data, np.ndarray | tf.Tensor):
        return data
    plain = data is None or isinstance(data, str | bytes | dict | list | tuple | int | float)
    if plain or not hasattr(data, "__array__") or isinstance(data, tf.data.Dataset | keras.utils.PyDataset):
        return None
    return np.asarray(data)


def _conversion(data: Any) -> str:
    """How to make an array of what is none."""
    if hasattr(data, "x_train"):
        return "; give its x_train or x_test."
    if isinstance(data, tf.SparseTensor):
        return "; convert it by tf.sparse.to_dense."
    if isinstance(data, tf.RaggedTensor):
        return "; convert it by .to_tensor()."
    if hasattr(data, "toarray"):
        return "; convert it by .toarray()."
    if isinstance(data, list | tuple):
        return "; convert it by np.asarray."
    if isinstance(data, tf.distribute.DistributedDataset):
        return "; give the tf.data.Dataset itself, which fit distributes."
    if hasattr(data, "__iter__") and not isinstance(data, str | bytes | dict):
        return "; wrap it in a keras.utils.PyDataset, or in a generator of batches."
    return ""


def _chained(batch: Any, rest: types.GeneratorType) -> Iterator[Any]:
    """A generator (Keras takes no other iterator) of a batch and the rest."""
    yield from itertools.chain([] if batch is None else [batch], rest)
