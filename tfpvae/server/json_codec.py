"""Tensors from the JSON of TensorFlow Serving's `:predict`; `tfpvae.server.json_answers` writes the answers.

A request has the row format, `{"instances": [an entry for each row]}`, or the column format, `{"inputs": a value, or a
value for each name}`. The answer has the same format: `{"predictions": ...}` or `{"outputs": ...}`.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np

from tfpvae.server.json_text import JsonObject, JsonValue, encode, type_name
from tfpvae.server.json_writing import write
from tfpvae.server.status import Code, StatusError, invalid


class Layout(Enum):
    """The format of a request and of its answer."""

    ROW = "predictions"
    COLUMN = "outputs"


@dataclass(frozen=True)
class _Kind:
    """How JSON holds the values of one dtype.

    Attributes:
        accepts: whether a JSON value can be a value of the dtype.
        wire: the dtype that TensorFlow Serving reads the value as, before it casts it to `dtype`, with wrap-around.
        dtype: the tensor's dtype.
    """

    accepts: Callable[[JsonValue], bool]
    wire: type[np.generic]
    dtype: type[np.generic]


def _integer(low: int, high: int) -> Callable[[JsonValue], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _number(value: JsonValue) -> bool:
    return type(value) is float or type(value) is int


_INT32: Final = _integer(-(2**31), 2**31 - 1)
_KINDS: Final = {
    "float": _Kind(_number, np.float64, np.float32),
    "double": _Kind(_number, np.float64, np.float64),
    "int8": _Kind(_INT32, np.int32, np.int8),
    "int16": _Kind(_INT32, np.int32, np.int16),
    "int32": _Kind(_INT32, np.int32, np.int32),
    "int64": _Kind(_integer(-(2**63), 2**63 - 1), np.int64, np.int64),
    "uint8": _Kind(_INT32, np.int32, np.uint8),
    "uint32": _Kind(_integer(0, 2**32 - 1), np.uint32, np.uint32),
    "uint64": _Kind(_integer(0, 2**64 - 1), np.uint64, np.uint64),
    "bool": _Kind(lambda value: isinstance(value, bool), np.bool_, np.bool_),
    "string": _Kind(lambda value: isinstance(value, str), np.object_, np.object_),
}
"""The kinds by TensorFlow's name for the dtype."""


def parse_object(document: JsonValue) -> JsonObject:
    """The document, once it is known to be an object, as every request must be.

    Raises:
        StatusError: it is something else.
    """
    if not isinstance(document, JsonObject):
        raise invalid(f"JSON Value: {write(document)} Is not object")
    return document


def signature_name(document: JsonObject) -> str:
    """The signature that a request names; "" if it names none.

    Raises:
        StatusError: the name is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {write(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def read_inputs(document: JsonObject, dtypes: Mapping[str, str]) -> tuple[Layout, dict[str, np.ndarray]]:
    """The tensors of a request.

    Args:
        document: the request.
        dtypes: TensorFlow's name for the dtype of each input of the signature ("float", "int64", "string",
            ...).

    Returns:
        The layout to answer in, and one array for each input.

    Raises:
        StatusError: the request does not hold these inputs; the message is TensorFlow Serving's.
    """
    if "instances" in document:
        if "inputs" in document:
            raise _format_error(
                document,
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise _format_error(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _format_error(document, "No values in 'instances' array")
        return Layout.ROW, _read_instances(instances, dtypes)
    if "inputs" in document:
        return Layout.COLUMN, _read_columns(document["inputs"], dtypes)
    raise invalid("Missing 'inputs' or 'instances' key")


def _format_error(document: JsonObject, what: str) -> StatusError:
    return invalid(f"JSON Value: {write(document)} {what}")


def _read_columns(value: JsonValue, dtypes: Mapping[str, str]) -> dict[str, np.ndarray]:
    if not _has_names(value):
        if len(dtypes) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        ((name, dtype),) = dtypes.items()
        return {name: read_tensor(value, dtype)}
    assert isinstance(value, JsonObject)
    tensors = {}
    for name, dtype in dtypes.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        tensors[name] = read_tensor(value[name], dtype)
    return tensors


def _read_instances(instances: list[JsonValue], dtypes: Mapping[str, str]) -> dict[str, np.ndarray]:
    if len(dtypes) > 1 and not isinstance(instances[0], JsonObject):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    named = _has_names(instances[0])
    columns = {name: _Column(dtype) for name, dtype in sorted(dtypes.items())}
    for i, instance in enumerate(instances):
        if _has_names(instance) != named:
            expected, received = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {expected} but got {received} at item {i} of input list")
        if named:
            assert isinstance(instance, JsonObject)
            _add_named(columns, i, instance)
        else:
            try:
                next(iter(columns.values())).add(instance)
            except StatusError as error:
                raise invalid(
                    f"Failed to process element: {i} of 'instances' list. Error: {error.code.name}: {error.message}"
                ) from error
    return {name: column.tensor(len(instances)) for name, column in columns.items()}


def _add_named(columns: dict[str, _Column], i: int, instance: JsonObject) -> None:
    for name, value in instance:
        try:
            if name not in columns:
                raise invalid(f"JSON object: does not have named input: {name}")
            columns[name].add(value)
        except StatusError as error:
            raise invalid(
                f"Failed to process element: {i} key: {name} of 'instances' list. "
                f"Error: {error.code.name}: {error.message}"
            ) from error
    if {name for name, _ in instance} != set(columns):
        raise invalid(
            f"Failed to process element: {i} of 'instances' list. JSON object: {write(instance)} "
            f"keys must be equal to: {','.join(columns)}"
        )


def _has_names(value: JsonValue) -> bool:
    return isinstance(value, JsonObject) and not _is_base64(value)


@dataclass
class _Column:
    """One input of a request in row format: the values of its rows, which must agree in shape."""

    dtype: str
    shape: tuple[int, ...] | None = None
    values: list[JsonValue | bytes] = field(default_factory=list)

    def add(self, row: JsonValue) -> None:
        shape = _shape(row)
        before = len(self.values)
        _fill(row, 0, shape, self.dtype, self.values)
        if self.shape is None:
            self.shape = shape
        size, expected = len(self.values) - before, math.prod(self.shape)
        if size != expected:
            raise invalid(f"Expecting tensor size: {expected} but got: {size}")
        if shape != self.shape:
            raise invalid(f"Expecting shape {_shape_text(self.shape)} but got: {_shape_text(shape)}")

    def tensor(self, rows: int) -> np.ndarray:
        assert self.shape is not None
        return _as_array(self.values, (rows, *self.shape), self.dtype)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def read_tensor(value: JsonValue, dtype: str) -> np.ndarray:
    """One tensor, from a value or from lists that are nested as deep as the tensor's rank.

    Args:
        value: the JSON value.
        dtype: TensorFlow's name for the dtype.

    Raises:
        StatusError: the lists are ragged, or a value is not of the dtype.
    """
    shape = _shape(value)
    values: list[JsonValue | bytes] = []
    _fill(value, 0, shape, dtype, values)
    return _as_array(values, shape, dtype)


def _shape(value: JsonValue) -> tuple[int, ...]:
    """The shape of nested lists, from the first entry of each list."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    if len(shape) > _MAX_RANK:
        raise invalid(f"A tensor must have at most {_MAX_RANK} dimensions. Received: {len(shape)}")
    return tuple(shape)


_MAX_RANK: Final = 32
"""Every version of NumPy allows so many; TensorFlow allows 254."""


def _fill(value: JsonValue, level: int, shape: tuple[int, ...], dtype: str, values: list[JsonValue | bytes]) -> None:
    """Appends the numbers or strings in `value` to `values`, and checks shape and dtype."""
    if isinstance(value, list):
        if level >= len(shape):
            raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
            )
        for item in value:
            _fill(item, level + 1, shape, dtype, values)
        return
    if level != len(shape):
        raise invalid(
            f"JSON Value: {write(value)} found at incorrect level: {level + 1} in the JSON DOM. "
            f"Expected at level: {len(shape)}"
        )
    kind = _KINDS.get(dtype)
    if isinstance(value, JsonObject) and dtype == "string":
        values.append(_read_base64(value))
    elif kind is None and not isinstance(value, JsonObject):
        raise StatusError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {write(value)} to type: {dtype}")
    elif kind is not None and kind.accepts(value):
        values.append(encode(value) if isinstance(value, str) else value)
    else:
        raise invalid(f"JSON Value: {write(value)} Type: {type_name(value)} is not of expected type: {dtype}")


def _as_array(values: list[JsonValue | bytes], shape: tuple[int, ...], dtype: str) -> np.ndarray:
    kind = _KINDS.get(dtype)
    if kind is None:  # an empty list: no value was refused before
        raise StatusError(Code.UNIMPLEMENTED, f"Tensors of type {dtype} cannot be read from JSON")
    # If an object repeats a name, the column has more values than its shape holds: the first ones count.
    array = np.array(values[: math.prod(shape)], kind.wire)
    with np.errstate(over="ignore"):  # 1e39 is an infinite float32
        return array.astype(kind.dtype).reshape(shape)


_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def _is_base64(value: JsonObject) -> bool:
    return len(value) == 1 and "b64" in value and isinstance(value["b64"], str)


def _read_base64(value: JsonObject) -> bytes:
    if not _is_base64(value):
        raise invalid(f"JSON Value: {write(value)} not formatted correctly for base64 data")
    text = "".join(str(value["b64"]).split())
    padded = text if text.endswith("=") else text + "=" * (-len(text) % 4)
    try:
        if not _BASE64.fullmatch(text):
            raise binascii.Error
        return base64.b64decode(padded)
    except binascii.Error:
        raise invalid("Unable to base64 decode") from None
