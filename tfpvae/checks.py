"""Checks of arguments: one function for each kind of value, the same everywhere in the package.

Each takes the argument's name, its value and the class of the error that it raises, and returns the value as a plain
Python number, which JSON can hold. NumPy's numbers are numbers; `True` is none, and neither is a tensor or a string.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any, Final, TypeVar

import numpy as np

from tfpvae.errors import ModelError

Choice = TypeVar("Choice")
Error = type[Exception]
_URL_NAME: Final = re.compile(r"\w[\w.\-]*", re.ASCII)


def integer(name: str, value: Any, error: Error = ModelError, *, least: int, most: int | None = None) -> int:
    """An integer of at least `least`, and of at most `most` if that is given.

    Raises:
        error: the value is anything else.
    """
    if not _is_integer(value) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise error(f"{name} must be an integer {bounds}. Received: {name}={value!r}")
    return int(value)


def positive_integer(name: str, value: Any, error: Error = ModelError) -> int:
    """An integer of at least 1: a size, a count, a version.

    Raises:
        error: the value is anything else.
    """
    return integer(name, value, error, least=1)


def non_negative_integer(name: str, value: Any, error: Error = ModelError) -> int:
    """An integer of at least 0.

    Raises:
        error: the value is anything else.
    """
    return integer(name, value, error, least=0)


def positive_integers(name: str, value: Any, error: Error = ModelError) -> tuple[int, ...]:
    """A shape: `3` as `(3,)`, and a sequence of integers of at least 1 as a tuple, which may be empty.

    Raises:
        error: the value is anything else.
    """
    sizes = np.asarray(value, dtype=object)
    if sizes.ndim > 1 or not all(_is_integer(size) and size >= 1 for size in sizes.reshape(-1)):
        raise error(
            f"{name} must be an integer of at least 1, or a sequence of such integers. Received: {name}={value!r}"
        )
    return tuple(int(size) for size in sizes.reshape(-1))


def url_name(name: str, value: Any, error: Error = ModelError) -> str:
    """A part of a server's addresses, such as a model's name: letters, digits and `_`, with `-` and `.` between.

    The path holds it unchanged: the server does not decode escapes such as `%20`.

    Raises:
        error: it is anything else.
    """
    if not isinstance(value, str) or not _URL_NAME.fullmatch(value):
        raise error(f"{name} must be letters, digits and '_', with '-' and '.' between. Received: {value!r}")
    return value


def number(
    name: str,
    value: Any,
    error: Error = ModelError,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> float:
    """A finite real number within bounds.

    Args:
        name: the argument's name.
        value: its value.
        error: the class of the error.
        least: the smallest number that is allowed.
        above: all numbers that are allowed are larger than this one.
        most: the largest number that is allowed.
        below: all numbers that are allowed are smaller than this one.

    Raises:
        error: the value is anything else.
    """
    real = isinstance(value, Real) and not _is_bool(value) and math.isfinite(value)
    if not real or not least <= value <= most or not above < value < below:
        bounds = {"of at least": least, "above": above, "of at most": most, "below": below}
        words = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))
        raise error(f"{name} must be a number{words and ' ' + words}. Received: {name}={value!r}")
    return float(value)


def one_of(name: str, value: Choice, choices: Collection[Choice], error: Error = ModelError) -> Choice:
    """One of some choices.

    Raises:
        error: the value is none of them.
    """
    if _is_bool(value) or value not in choices:
        raise error(f"{name} must be one of {', '.join(map(str, choices))}. Received: {name}={value!r}")
    return value


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not _is_bool(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)
