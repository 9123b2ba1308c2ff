"""Layers of Keras 2, which TFP's own networks are: inside a Keras 3 layer nothing trains or saves their weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

from tfpvae._compat.keras import layers_within
from tfpvae.errors import ModelError
from tfpvae.layers.lambdas import globals_of

_REPLACEMENTS = {"AutoregressiveNetwork": "tfpvae.layers.AutoregressiveNetwork, which takes the same arguments"}


def is_of_keras_2(thing: Any) -> bool:
    """Whether a thing is a layer or a model of Keras 2."""
    return any(cls.__module__.partition(".")[0] == "tf_keras" for cls in type(thing).__mro__)


def refuse_keras_2(thing: Any, what: str) -> None:
    """Refuses a layer of Keras 2.

    Args:
        thing: anything.
        what: what it is called in the message.

    Raises:
        ModelError: it is one.
    """
    if is_of_keras_2(thing):
        kind = type(thing)
        instead = _REPLACEMENTS.get(kind.__name__, f"keras.layers.{kind.__name__}")
        raise ModelError(
            f"{what} is a layer of Keras 2, {kind.__module__}.{kind.__name__}: Keras 3 neither trains nor saves its "
            f"weights. Use {instead}."
        )


def refuse_keras_2_within(layer: keras.layers.Layer) -> None:
    """Refuses a layer or model of Keras 3 in which a layer of Keras 2 is an attribute, or in a list or dict.

    Args:
        layer: the layer.

    Raises:
        ModelError: it holds one.
    """
    for each in layers_within(layer):
        for name, value in sorted(vars(each).items(), key=lambda item: item[0].startswith("_")):
            parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            for part in parts:
                refuse_keras_2(part, f"{name} of layer {each.name!r}")


def refuse_keras_2_in_function(function: Callable[..., Any], what: str) -> None:
    """Refuses a function that calls a layer of Keras 2.

    Args:
        function: a function, a method or a `functools.partial`.
        what: what it is called in the message.

    Raises:
        ModelError: it refers to one by a name of its own, of the functions around it, or of its module.
    """
    for name, thing in _referred_to(function):
        refuse_keras_2(thing, f"{name}, which {what} uses,")


def _referred_to(function: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(function, functools.partial):
        yield from _referred_to(function.func)
        yield from (("an argument", value) for value in (*function.args, *function.keywords.values()))
        return
    code = getattr(function, "__code__", None)
    if code is None:
        return
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # It has no value yet.
            continue
    yield from globals_of(function).items()
    yield from (("a default", value) for value in function.__defaults__ or ())
