"""How an object that holds tensors goes into a `tf.function`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

Part: TypeAlias = Any
"""A `tf.types.experimental.TraceType`."""


class ArgumentType(tf.types.experimental.TraceType):
    """The type of an argument of a `tf.function`: its parts are inputs of the graph, and all else belongs to the trace.

    Args:
        parts: the types of the parts, as `tf.type_spec_from_value` gives them.
        fixed: what two values must have in common to share a trace.
        take: the parts of a value.
        make: a value from its parts.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        fixed: Hashable,
        take: Callable[[Any], Sequence[Any]],
        make: Callable[[Sequence[Any]], Any],
    ) -> None:
        self._parts = tuple(parts)
        self._fixed = fixed
        self._take = take
        self._make = make

    def _is_alike(self, other: Any) -> bool:
        return isinstance(other, ArgumentType) and self._fixed == other._fixed and len(self._parts) == len(other._parts)

    def is_subtype_of(self, other: Any) -> bool:
        return self._is_alike(other) and all(
            mine.is_subtype_of(its) for mine, its in zip(self._parts, other._parts, strict=True)
        )

    def most_specific_common_supertype(self, others: Sequence[Any]) -> ArgumentType | None:
        if not all(map(self._is_alike, others)):
            return None
        of_others = zip(*(other._parts for other in others), strict=True) if others else [()] * len(self._parts)
        parts = [
            part.most_specific_common_supertype(list(theirs))
            for part, theirs in zip(self._parts, of_others, strict=True)
        ]
        return None if None in parts else ArgumentType(parts, self._fixed, self._take, self._make)

    def placeholder_value(self, placeholder_context: Any) -> Any:
        parts = [part.placeholder_value(placeholder_context) for part in self._parts]
        # TensorFlow asks for the types of the inputs as well, which nothing can be made of.
        return Signature(parts, self) if placeholder_context.unnest_only else self._make(parts)

    def to_tensors(self, value: Any) -> list[Any]:
        return [
            tensor
            for part, taken in zip(self._parts, self._take(value), strict=True)
            for tensor in part.to_tensors(taken)
        ]

    def from_tensors(self, tensors: Iterator[Any]) -> Any:
        return self._make([part.from_tensors(tensors) for part in self._parts])

    def flatten(self) -> list[Part]:
        return [tensor for part in self._parts for tensor in part.flatten()]

    def cast(self, value: Any, cast_context: Any) -> Any:
        del cast_context
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArgumentType) and self._fixed == other._fixed and self._parts == other._parts

    def __hash__(self) -> int:
        return hash((self._parts, self._fixed))

    def __repr__(self) -> str:
        return f"ArgumentType({list(self._parts)!r}, {self._fixed!r})"


class Signature(list[Part]):
    """The types of an argument's parts where TensorFlow keeps types in the place of arguments.

    A SavedModel holds it as the list that it is. A function that is called with it finds the trace of the argument.

    Args:
        parts: the types.
        argument: the type of the argument.
    """

    def __init__(self, parts: Sequence[Part], argument: ArgumentType) -> None:
        super().__init__(parts)
        self._argument = argument

    def __tf_tracing_type__(self, context: Any) -> ArgumentType:
        del context
        return self._argument

    def __tf_flatten__(self) -> tuple[ArgumentType, tuple[Part, ...]]:
        return self._argument, tuple(self)

    @classmethod
    def __tf_unflatten__(cls, argument: ArgumentType, parts: Sequence[Part]) -> Signature:
        return cls(parts, argument)
