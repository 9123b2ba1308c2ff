"""Private parts of TensorFlow: `tensorflow.python`, and the protocol buffers of `tensorflow.core`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# The messages of a SavedModel and of tensors have no public names; TensorFlow keeps their format for good.
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import config_pb2, saved_model_pb2
from tensorflow.python.framework import op_def_registry

# The base class of what TensorFlow can take apart into tensors and put together again, as TFP's distributions are.
# `tf.type_spec_from_value` tells one by an error alone, which it also raises for lists and dicts.
from tensorflow.python.framework.composite_tensor import CompositeTensor

# The base class by which `tf.is_tensor` knows ragged and sparse tensors. Keras asks `tf.is_tensor` of every layer's
# inputs and outputs.
from tensorflow.python.types.internal import NativeObject

# What makes a class be seen by `tf.experimental.dispatch_for_api`.
from tensorflow.python.util.dispatch import register_dispatchable_type

__all__ = [
    "CompositeTensor",
    "SavedModel",
    "TensorLike",
    "dtype_name",
    "make_callable",
    "register_dispatchable_type",
    "tensor_file",
    "tensorflow_has_operator",
]

TensorLike = NativeObject
"""A class derived from this is a tensor for `tf.is_tensor`."""

SavedModel = saved_model_pb2.SavedModel
"""The message of `saved_model.pb`."""

tensor_file = tensor_pb2.DESCRIPTOR
"""The description of the file that defines `TensorProto`, for messages that hold one."""


def dtype_name(dtype: int) -> str:
    """The name of a type in a `SavedModel`, as TensorFlow Serving writes it: "DT_FLOAT"."""
    return types_pb2.DataType.Name(dtype)


def tensorflow_has_operator(name: str) -> bool:
    """Whether this TensorFlow has an operator. `tf.raw_ops` lacks some of those that it has."""
    return op_def_registry.get(name) is not None


def make_callable(
    session: tf.compat.v1.Session, feeds: Sequence[str], fetches: Sequence[str]
) -> Callable[..., list[Any]]:
    """A function that runs a part of a session's graph.

    `Session.run` and `Session.make_callable` check the shapes of the inputs with other messages than TensorFlow
    Serving's, and rewrite the messages of errors.

    Args:
        session: the session.
        feeds: the names of the tensors that the function takes, in the order of its arguments.
        fetches: the names of the tensors that it returns.
    """
    return session._make_callable_from_options(config_pb2.CallableOptions(feed=feeds, fetch=fetches))
