"""TFP distributions as plain JSON, by class name and constructor arguments. Nothing is pickled.

Variables come back as variables with the same value, so a trained prior can be trained further.
"""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import util as tfu

from tfpvae.errors import ModelError
from tfpvae.layers.base import deserialize_callable, serialize_callable
from tfpvae.layers.distribution_tensor import unwrap

_KINDS = (("distribution", tfd), ("bijector", tfb))
"""What is saved by class name, and where its classes are."""


def serialize_distribution(distribution: tfd.Distribution) -> dict[str, Any]:
    """A distribution as JSON: `{"distribution": "Normal", "config": {...}}`.

    Raises:
        ModelError: an argument of the distribution has no JSON form.
    """
    return _serialize(unwrap(distribution), "")


def deserialize_distribution(config: dict[str, Any]) -> tfd.Distribution:
    """The inverse of `serialize_distribution`. Only classes that TFP exports by name are made.

    Raises:
        ModelError: the configuration names no class of `tfp.distributions` or `tfp.bijectors`.
    """
    return _deserialize(config)


def _serialize(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tfu.DeferredTensor):
        return _serialize_deferred(value, where)
    if isinstance(value, tf.Variable):
        return {
            "variable": np.asarray(value).tolist(),
            "dtype": value.dtype.name,
            "trainable": value.trainable,
            "name": value.name.split(":")[0],
        }
    if isinstance(value, keras.layers.Layer):
        return {"keras": keras.saving.serialize_keras_object(value)}
    for kind, module in _KINDS:
        if isinstance(value, getattr(module, kind.capitalize())):
            return _serialize_object(value, kind, module)
    if isinstance(value, tf.DType):
        return {"dtype": value.name}
    if isinstance(value, type) and issubclass(value, np.generic):
        return {"dtype": np.dtype(value).name}
    if isinstance(value, tf.TensorShape):
        return value.as_list()
    if isinstance(value, list | tuple):
        return [_serialize(v, where) for v in value]
    if isinstance(value, dict):
        return {k: _serialize(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic) or tf.is_tensor(value):
        array = np.asarray(value)
        return {"array": array.tolist(), "array_dtype": array.dtype.name}
    raise ModelError(f"{where} must have a JSON form to be saved. Received: {value!r}")


def _serialize_object(value: Any, kind: str, module: Any) -> dict[str, Any]:
    """A distribution or a bijector by its class and the arguments of its constructor."""
    # `tfd.Independent(...)` may be of a private base class, `_Independent`.
    name = type(value).__name__.lstrip("_")
    if getattr(module, name, None) is None:
        raise ModelError(f"A {kind} must be one of TFP's own classes to be saved. Received: {value!r}")
    defaults = inspect.signature(type(value).__init__).parameters
    config = {
        key: _serialize(argument, f"{name}.{key}")
        for key, argument in value.parameters.items()
        # A default may be a function: `kwargs_split_fn` of TransformedDistribution is.
        if not (callable(argument) and key in defaults and defaults[key].default is argument)
    }
    return {kind: name, "config": config}


def _serialize_deferred(value: tfu.DeferredTensor, where: str) -> dict[str, Any]:
    config = {
        "deferred_tensor": type(value).__name__.lstrip("_"),
        "input": _serialize(value.pretransformed_input, where),
        "name": value.name,
    }
    # A bijector is kept as its method `forward`.
    transform = getattr(value.transform_fn, "__self__", value.transform_fn)
    if isinstance(transform, tfb.Bijector):
        return {**config, "transform": _serialize(transform, f"{where}.transform_fn")}
    return {**config, "transform_fn": serialize_callable(transform), "shape": value.shape.as_list()}


def _deserialize(value: Any) -> Any:
    if isinstance(value, list):
        return [_deserialize(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "keras" in value and len(value) == 1:
        return keras.saving.deserialize_keras_object(value["keras"])
    if "variable" in value:
        return tf.Variable(
            np.asarray(value["variable"], value["dtype"]), trainable=value["trainable"], name=value["name"]
        )
    if "deferred_tensor" in value:
        return _deserialize_deferred(value)
    if "array" in value:
        return tf.constant(np.asarray(value["array"], value["array_dtype"]))
    if "dtype" in value and len(value) == 1:
        return tf.as_dtype(value["dtype"])
    for kind, module in _KINDS:
        if kind in value and "config" in value:
            return _deserialize_object(value, kind, module)
    return {k: _deserialize(v) for k, v in value.items()}


def _deserialize_object(value: dict[str, Any], kind: str, module: Any) -> Any:
    cls = getattr(module, value[kind], None)
    if not (isinstance(cls, type) and issubclass(cls, getattr(module, kind.capitalize()))):
        raise ModelError(f"A {kind} must be one of TFP's classes. Received: {value[kind]!r}")
    return cls(**{k: _deserialize(v) for k, v in value["config"].items()})


def _deserialize_deferred(config: dict[str, Any]) -> tfu.DeferredTensor:
    variable = _deserialize(config["input"])
    if "transform" not in config:
        transform = deserialize_callable(config["transform_fn"])
        shape = tf.TensorShape(config["shape"])
        return tfu.DeferredTensor(variable, transform, shape=shape, name=config["name"])
    bijector = _deserialize(config["transform"])
    if config["deferred_tensor"] != "TransformedVariable":
        return tfu.DeferredTensor(variable, bijector, name=config["name"])
    value = bijector.forward(tf.convert_to_tensor(variable))
    restored = tfu.TransformedVariable(value, bijector, name=config["name"], trainable=variable.trainable)
    # On the way through the bijector and back, the last digit may have changed.
    restored.pretransformed_input.assign(variable)
    return restored
