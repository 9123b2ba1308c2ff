"""Checks and converts the arguments of calls before anything is sent. Every error is a `RequestError`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tfpvae.errors import RequestError
from tfpvae.random.seeds import Seeds, seeds_for


def as_seeds(n: int | np.integer | None, seed: Seeds) -> np.ndarray:
    """The seeds of n rows, int64 `[n]`; see `tfpvae.random.seeds.seeds_for`.

    Raises:
        RequestError: `n` is not a positive integer, or `seed` is not an int64 or `n` of them.
    """
    try:
        return seeds_for(n, seed)
    except ValueError as error:
        raise RequestError(str(error)) from error


def as_rows(name: str, value: ArrayLike, ndim: int | None = None) -> np.ndarray:
    """`value` as float32, batched on the first axis.

    Args:
        name: `z` or `x`, for the messages.
        value: `[B, ...]`, at least one row.
        ndim: the number of axes that `value` must have, batch included; None is any number from 2 up.

    Raises:
        RequestError: `value` has no batch axis or no rows, or a value is not a finite float32.
    """
    array = _as_array(name, value)
    if array.dtype.kind not in "bfiu":
        raise RequestError(f"{name} must be numbers. Received: dtype {array.dtype}")
    expected = "[B, D]" if ndim == 2 else "[B, ...]"
    if array.ndim == 1:
        raise RequestError(
            f"{name} must have shape {expected}. Received: shape {list(array.shape)}. "
            f"Add the batch axis: {name}[np.newaxis]"
        )
    if array.ndim < 2 or (ndim is not None and array.ndim != ndim) or array.size == 0:
        raise RequestError(
            f"{name} must have shape {expected} and at least one row. Received: shape {list(array.shape)}"
        )
    with np.errstate(over="ignore"):  # a value that overflows becomes infinite, and is refused below
        array = array.astype(np.float32)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise RequestError(f"{name} must be finite in float32. Received: {array[tuple(bad[0])]} in row {bad[0][0]}")
    return array


def as_condition(y: ArrayLike, rows: int) -> np.ndarray:
    """The condition y, repeated for all rows: labels as int64 `[rows]`, other values as float32 `[rows, ...]`.

    Args:
        y: one for each row, or one for all: a scalar, or an array of one row. Integers `[B]` are labels.
        rows: how many rows the call has.

    Raises:
        RequestError: it does not hold finite numbers for one row or for all rows.
    """
    array = np.atleast_1d(_as_array("y", y))
    if array.dtype.kind not in "fiu" or array.size == 0:
        raise RequestError(f"y must be labels or floats. Received: shape {list(array.shape)}, dtype {array.dtype}")
    if len(array) not in (1, rows):
        raise RequestError(f"y must be one for all {rows} rows, or one for each. Received: shape {list(array.shape)}")
    labels = array.ndim == 1 and array.dtype.kind in "iu"
    array = array.astype(np.int64 if labels else np.float32)
    if not np.isfinite(array).all():
        raise RequestError("y must be finite in float32. Received: NaN or infinity")
    return np.repeat(array, rows, axis=0) if len(array) == 1 else array


def count_of(y: ArrayLike | None) -> int | None:
    """How many rows a condition has; None for a scalar, which is for any number of rows, and for no condition."""
    array = None if y is None else _as_array("y", y)
    return None if array is None or array.ndim == 0 else len(array)


def _as_array(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of unequal length
        raise RequestError(f"{name} must be an array. Received: {error}") from error
