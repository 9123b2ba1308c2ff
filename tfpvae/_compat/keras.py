"""Private parts of Keras."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf
from keras.src import backend


def layers_within(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """The layer and all layers inside it, at any depth.

    `keras.Model.layers` has the first level alone, and a plain layer has no public list of the layers inside it.
    """
    return layer._flatten_layers()


class Place:
    """Where a tensor stands in a graph of layers: the call that made it.

    A graph of layers has no public way from an output back to the tensors that it is made from.

    Args:
        tensor: a `keras.KerasTensor` of a functional model.

    Attributes:
        operation: the layer or operation that was called.
        is_input: whether the tensor is an input of the graph.
        input_tensors: the tensors that the call was given.
        args: the positional arguments of the call.
        kwargs: its other arguments.
        index: which of the outputs of the call it is.
    """

    def __init__(self, tensor: Any) -> None:
        operation, call, index = tensor._keras_history
        node = operation._inbound_nodes[call]
        self.operation: Any = operation
        self.is_input: bool = node.is_input
        self.input_tensors: list[Any] = list(node.input_tensors)
        self.args: tuple[Any, ...] = tuple(node.arguments.args)
        self.kwargs: dict[str, Any] = dict(node.arguments.kwargs)
        self.index: int = index


def has_place(tensor: Any) -> bool:
    """Whether a tensor stands in a graph of layers; a placeholder that Keras makes to learn a shape does not."""
    return hasattr(tensor, "_keras_history")


def model_of_part(inputs: list[Any], outputs: Any) -> keras.Model:
    """A model of a part of a graph, which leaves the whole graph as it is.

    `keras.Model(inputs, outputs)` gives those inputs a new place in the graph, and the model that they came from can
    no longer be saved.
    """
    places = [tensor._keras_history for tensor in inputs]
    part = keras.Model(inputs, outputs)
    for tensor, place in zip(inputs, places, strict=True):
        tensor._keras_history = place
    return part


def around_output_spec(around: Callable[..., Any], is_known: Callable[[Any], bool]) -> None:
    """Makes Keras call `around(compute, function, *args, **kwargs)` to learn what a function returns.

    Keras learns what a layer returns by `compute(function, *args, **kwargs)`, which calls the function on placeholders
    that have shapes and dtypes alone, and has no public hook there. A second call changes nothing.

    Args:
        around: called in place of `compute`, which it is given.
        is_known: whether more than shape and dtype is known of a `keras.KerasTensor`. A `Lambda` layer, which goes by
            shapes, is then asked as every other layer is.
    """
    compute = backend.compute_output_spec
    if hasattr(compute, "__wrapped__"):
        return

    @functools.wraps(compute)
    def compute_output_spec(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return around(compute, function, *args, **kwargs)

    def output_spec_of_lambda(layer: keras.layers.Lambda, *args: Any, **kwargs: Any) -> Any:
        by_call = layer._output_shape is None and any(map(is_known, keras.tree.flatten((args, kwargs))))
        return (keras.Operation if by_call else keras.Layer).compute_output_spec(layer, *args, **kwargs)

    backend.compute_output_spec = compute_output_spec
    keras.layers.Lambda.compute_output_spec = output_spec_of_lambda


def in_stateless_scope() -> bool:
    """Whether Keras calls layers to learn what they return: variables that are made then are made after it.

    The scope is public, whether one is entered is not.
    """
    return bool(backend.in_stateless_scope())


def before_symbolic_build(prepare: Callable[[keras.Model, Any], None]) -> None:
    """Calls `prepare(model, batch)` before Keras builds a model's losses and metrics under a distribution strategy.

    Under a strategy alone Keras calls losses and metrics once before the first step, on placeholders in place of what
    the model returns, and has no public hook there. A second call changes nothing.
    """
    original = keras.Model._symbolic_build
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def build(self: keras.Model, iterator: Any = None, data_batch: Any = None) -> None:
        if data_batch is not None:
            prepare(self, data_batch)
        original(self, iterator=iterator, data_batch=data_batch)

    keras.Model._symbolic_build = build


def adam_moments(optimizer: keras.optimizers.Adam, variable: keras.Variable) -> tuple[keras.Variable, keras.Variable]:
    """The running means of a variable's gradient and of its square.

    `optimizer.variables` has them without saying which variable they belong to.
    """
    index = optimizer._get_variable_index(variable)
    return optimizer._momentums[index], optimizer._velocities[index]


def evaluates_during_fit(options: Mapping[str, Any]) -> bool:
    """Whether the keyword arguments of `evaluate` are those by which `fit` calls it after an epoch.

    `fit` marks that call by an argument of its own and in no public way.
    """
    return bool(options.get("_use_cached_eval_dataset"))


class SharedVariable(keras.Variable):
    """A Keras variable whose storage is a given `tf.Variable`: `shared.value is variable`.

    Keras makes the storage of a variable itself, and has no public way to give it one.
    """

    def __init__(self, variable: tf.Variable) -> None:
        self._shared = variable
        super().__init__(
            # Called instead of an initializer, at once or, inside one of Keras's stateless scopes, at its end.
            lambda shape, dtype=None: variable,
            shape=variable.shape,
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            autocast=False,
            name=variable.name.split(":")[0].replace("/", "_"),
        )

    def _initialize_with_initializer(self, initializer: Any) -> None:
        del initializer
        self._value = self._shared
