"""Lambdas and methods of classes in the configuration of layers: what Keras leaves out when it writes them.

Keras writes a lambda's code without the globals that it names, and a closure only where JSON can hold it. A lambda's
code is run when it is loaded, whatever stands beside it, so Keras loads it with `safe_mode=False` alone.
"""

from __future__ import annotations

import builtins
import dis
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from tfpvae.errors import ModelError

METHOD: Final = "__method__"
"""The class name, in a configuration, of a static method or class method of a registered class."""


def is_lambda(function: Any) -> bool:
    """Whether Keras would write it as a lambda."""
    return isinstance(function, types.FunctionType) and function.__name__ == "<lambda>"


def lambda_config(function: Any, inside: tuple[int, ...] = ()) -> dict[str, Any]:
    """A lambda as Keras writes it, with its globals, the variables around it and the defaults of its arguments.

    Args:
        function: the lambda.
        inside: the identities of the lambdas and sequences that name it.

    Raises:
        ModelError: it names itself, or something that cannot be written: no module, class, function, lambda, number,
            string, array or tensor, and no list, tuple or dict of these.
    """
    cells = function.__closure__ or ()
    empty = tuple(types.CellType(None) for _ in cells)
    bare = types.FunctionType(function.__code__, {}, function.__name__, None, empty)
    config = keras.saving.serialize_keras_object(bare)
    around = dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in cells), strict=True))
    beside, inside = config["config"], (*inside, id(function))
    beside["globals"] = {name: _encoded(name, value, inside) for name, value in globals_of(function).items()}
    beside["around"] = {name: _encoded(name, value, inside) for name, value in around.items()}
    beside["positional"] = [_encoded("a default", value, inside) for value in function.__defaults__ or ()]
    beside["keyword"] = {name: _encoded(name, value, inside) for name, value in (function.__kwdefaults__ or {}).items()}
    return config


def with_what_it_names(function: Any, config: dict[str, Any]) -> Any:
    """The lambda that Keras read, with the globals and the variables around it that stand in its configuration.

    Raises:
        ModelError: something that it names is not there.
    """
    beside = config.get("config", {})
    if not isinstance(beside, dict) or "globals" not in beside:
        return function  # Of an older file.
    named = {name: _decoded(value) for name, value in beside["globals"].items()}
    around = tuple(types.CellType(_decoded(beside["around"][name])) for name in function.__code__.co_freevars)
    named["__builtins__"] = builtins
    defaults = tuple(map(_decoded, beside["positional"])) if "positional" in beside else function.__defaults__
    made = types.FunctionType(function.__code__, named, function.__name__, defaults, around)
    made.__kwdefaults__ = {name: _decoded(value) for name, value in beside.get("keyword", {}).items()}
    return made


def globals_of(function: Any) -> dict[str, Any]:
    """The globals that a function's code names, by name; attributes of the same names are none."""
    return {name: function.__globals__[name] for name in _globals(function.__code__) if name in function.__globals__}


def method_config(function: Any) -> dict[str, Any] | None:
    """The configuration of a static or class method of a class that is registered with Keras; None of others."""
    owner = getattr(function, "__self__", None)
    if not isinstance(owner, type):
        path, _, _ = getattr(function, "__qualname__", "").rpartition(".")
        owner = _at(sys.modules.get(getattr(function, "__module__", "")), path)
    if not isinstance(owner, type):
        return None
    name = keras.saving.get_registered_name(owner)
    if keras.saving.get_registered_object(name) is not owner:
        return None
    return {"class_name": METHOD, "config": {"owner": name, "name": function.__name__}}


def method_of(config: dict[str, Any]) -> Callable[..., Any]:
    """The inverse of `method_config`.

    Raises:
        ModelError: the class is not registered, or lacks the method.
    """
    owner, name = config["config"]["owner"], config["config"]["name"]
    method = getattr(keras.saving.get_registered_object(owner), name, None)
    if method is None:
        raise ModelError(
            f"The model was saved with the method {name} of {owner}: the class must be imported, and registered with "
            "keras.saving.register_keras_serializable, before the model is loaded."
        )
    return method


def _globals(code: types.CodeType) -> Iterator[str]:
    """The globals that a function's code names, that of functions inside it too."""
    yield from (str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)


def _encoded(name: str, value: Any, inside: tuple[int, ...]) -> dict[str, Any]:
    if id(value) in inside:
        raise ModelError(
            f"A lambda that names itself cannot be saved, and {name} does. Replace it by a function registered with "
            "keras.saving.register_keras_serializable."
        )
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_encoded(name, part, (*inside, id(value))) for part in value]}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encoded(name, part, (*inside, id(value))) for key, part in value.items()}}
    if isinstance(value, np.ndarray | np.generic) or (isinstance(value, tf.Tensor) and hasattr(value, "numpy")):
        array = np.asarray(value)
        return {"array": array.tolist(), "dtype": array.dtype.name, "is_tensor": tf.is_tensor(value)}
    if is_lambda(value):
        return {"lambda": lambda_config(value, inside)}
    module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if isinstance(value, type | types.FunctionType) and _at(sys.modules.get(str(module)), path) is value:
        return {"object": path, "module": module}
    raise ModelError(
        f"A lambda is saved with the modules, classes, functions, numbers, strings and arrays that it names, and it "
        f"names {name}, {type(value).__name__}. Replace it by a function registered with "
        "keras.saving.register_keras_serializable."
    )


def _decoded(value: dict[str, Any]) -> Any:
    for sequence in (list, tuple):
        if sequence.__name__ in value:
            return sequence(map(_decoded, value[sequence.__name__]))
    if "dict" in value:
        return {key: _decoded(part) for key, part in value["dict"].items()}
    if "lambda" in value:
        return with_what_it_names(keras.saving.deserialize_keras_object(value["lambda"]), value["lambda"])
    if "array" in value:
        make = tf.constant if value["is_tensor"] else np.array
        return make(value["array"], value["dtype"])
    if "module" not in value:
        return value["value"]
    module, path = value["module"], value.get("object", "")
    try:
        found = _at(importlib.import_module(module), path)
    except ImportError:
        found = None
    if found is None:
        raise ModelError(f"A lambda of the model uses {module}{'.' if path else ''}{path}, which is not there.")
    return found


def _at(module: Any, path: str) -> Any:
    """What stands at `A.b` in a module; None where nothing does."""
    for part in path.split(".") if path else ():
        module = getattr(module, part, None)
    return module
