"""Frozen dataclasses as JSON, and back, by their annotations."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any


class RecordError(Exception):
    """JSON that is not what a dataclass holds. The message says where."""


def json_key(entry: dataclasses.Field[Any]) -> str | None:
    """A field's name in JSON: `metadata["key"]`, else its own; None for a field that JSON does not have."""
    return entry.metadata.get("key", entry.name)


@cache
def json_fields(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a dataclass that its JSON has."""
    return tuple(each for each in dataclasses.fields(cls) if json_key(each) is not None)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def encode(value: Any) -> Any:
    """The value of a dataclass, and of what it holds, as `json` writes it.

    A field with `metadata["if_any"]` is left out where it is empty.
    """
    if dataclasses.is_dataclass(value):
        fields = [each for each in json_fields(value.__class__) if not each.metadata.get("if_any")]
        fields += [each for each in json_fields(value.__class__) if each not in fields and getattr(value, each.name)]
        return {json_key(each): encode(getattr(value, each.name)) for each in fields}
    if isinstance(value, Mapping):
        return {key: encode(each) for key, each in value.items()}
    return [encode(each) for each in value] if isinstance(value, tuple | list) else value


def decode(kind: Any, value: Any, where: str) -> Any:
    """The value that JSON holds as an annotation has it.

    Args:
        kind: the annotation: a dataclass, `tuple[X, ...]`, `Mapping[str, X]`, `X | None`, a plain type, or `Any`.
        value: what `json` read.
        where: its place, for messages.

    Raises:
        RecordError: it is something else.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in arguments:
            return None
        (kind,) = [each for each in arguments if each is not types.NoneType]
        return decode(kind, value, where)
    if dataclasses.is_dataclass(kind):
        return _decode_object(kind, value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            places = (f"{where}[{index}]" for index in range(len(value)))
            return tuple(decode(*each) for each in zip(kinds, value, places, strict=True))
    elif origin in (Mapping, dict) and isinstance(value, dict):
        return {key: decode(arguments[1], each, _join(where, key)) for key, each in value.items()}
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif kind in (str, bool, int) and type(value) is kind:
        return value
    name = getattr(kind, "__name__", str(kind)) if origin is None else str(kind)
    raise RecordError(f"{where} must be of the type {name}. Received: {short(value)}")


def _decode_object(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise RecordError(f"{where} must be an object. Received: {short(value)}")
    arguments: dict[str, Any] = {}
    for entry in json_fields(cls):
        key = str(json_key(entry))
        if key in value:
            arguments[entry.name] = decode(_hints(cls)[entry.name], value[key], _join(where, key))
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise RecordError(f"{_join(where, key)} must be there. Received: {', '.join(map(str, value)) or 'nothing'}")
    return cls(**arguments)


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def short(value: Any) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
