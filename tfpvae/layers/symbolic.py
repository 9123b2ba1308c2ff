"""Distributions between the layers of a functional model, while Keras puts it together.

To learn what a layer returns, Keras calls it on placeholders. A layer that takes a distribution would get a plain
tensor there. So a `keras.KerasTensor` that stands for a distribution keeps the call that made it, and that call is made
again on the placeholders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import keras

from tfpvae._compat.keras import Place, around_output_spec, has_place
from tfpvae.layers.distribution_tensor import DistributionTensor

_RECIPE: Final = "_tfpvae_recipe"

_KEEPS: Final = {"Cast", "ExpandDims", "Identity", "Squeeze"}
"""The operations and layers that change the tensor of a `DistributionTensor` and keep the distribution. Keras casts
the inputs of layers of a mixed policy."""


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """A distribution: output `index` of `function(*args, **kwargs)`, on `KerasTensor`s."""

    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    index: int


def give_distributions_to_layers() -> None:
    """Makes Keras give distributions to the layers that take them, while it puts a functional model together.

    Without this, a layer whose `call` asks for `q.mean()` needs a `compute_output_shape`. A distribution layer calls
    this when it is made. A second call does nothing; layers that no distribution goes into are not affected.
    """
    around_output_spec(_output_spec, _stands_for_a_distribution)


def _output_spec(compute: Callable[..., Any], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`compute(function, *args, **kwargs)`, with distributions in and noted where they come out."""
    is_distribution: list[bool] = []

    def noted(*args: Any, **kwargs: Any) -> Any:
        outputs = function(*args, **kwargs)
        is_distribution.extend(isinstance(output, DistributionTensor) for output in keras.tree.flatten(outputs))
        return outputs

    if any(map(_stands_for_a_distribution, keras.tree.flatten((args, kwargs)))):
        tensors: dict[int, keras.KerasTensor] = {}
        _collect((args, kwargs), tensors)

        def on_tensors(values: Sequence[Any]) -> Any:
            made_again = _MadeAgain(dict(zip(tensors, values, strict=True)))
            again, again_by_name = keras.tree.map_structure(made_again, (args, kwargs))
            return noted(*again, **again_by_name)

        outputs = compute(on_tensors, list(tensors.values()))
    else:
        outputs = compute(noted, *args, **kwargs)
    if any(is_distribution):
        for index, output in enumerate(keras.tree.flatten(outputs)):
            if is_distribution[index]:
                setattr(output, _RECIPE, _Recipe(function, args, kwargs, index))
    return outputs


def _recipe(tensor: Any) -> _Recipe | None:
    """How the distribution that a `KerasTensor` stands for is made; None where it stands for a tensor."""
    if not isinstance(tensor, keras.KerasTensor):
        return None
    recipe = getattr(tensor, _RECIPE, None)
    if recipe is not None or not has_place(tensor):
        return recipe
    place = Place(tensor)
    operation = place.operation
    if place.is_input:
        return None
    if type(operation).__name__ in _KEEPS:
        original = place.input_tensors[0]
    elif isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
        # A functional model that is called returns copies of its outputs.
        original = operation.outputs[place.index]
    else:
        return None
    if not _stands_for_a_distribution(original):
        return None
    return _Recipe(operation.call, place.args, place.kwargs, place.index)


def _stands_for_a_distribution(tensor: Any) -> bool:
    return _recipe(tensor) is not None


def _collect(structure: Any, tensors: dict[int, keras.KerasTensor]) -> None:
    """Puts what a structure is made of, and stands for tensors alone, into `tensors` by its identity."""
    for leaf in keras.tree.flatten(structure):
        recipe = _recipe(leaf)
        if recipe is not None:
            _collect((recipe.args, recipe.kwargs), tensors)
        elif isinstance(leaf, keras.KerasTensor):
            tensors[id(leaf)] = leaf


class _MadeAgain:
    """What a `KerasTensor` stands for, in the graph of the placeholders.

    Args:
        values: the placeholder of each tensor, by the identity of its `KerasTensor`.
    """

    def __init__(self, values: Mapping[int, Any]) -> None:
        self._values = values
        self._distributions: dict[int, Any] = {}

    def __call__(self, leaf: Any) -> Any:
        recipe = _recipe(leaf)
        if recipe is None:
            return self._values.get(id(leaf), leaf)
        if id(leaf) not in self._distributions:
            args, kwargs = keras.tree.map_structure(self, (recipe.args, recipe.kwargs))
            self._distributions[id(leaf)] = keras.tree.flatten(recipe.function(*args, **kwargs))[recipe.index]
        return self._distributions[id(leaf)]
