"""Tensors to the JSON of the answers of TensorFlow Serving's `:predict`."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np

from tfpvae.server.json_codec import Layout
from tfpvae.server.json_text import decode
from tfpvae.server.json_writing import INDENT, format_decimals, quote
from tfpvae.server.status import invalid


def write_outputs(outputs: Mapping[str, np.ndarray], layout: Layout) -> str:
    """The answer to a request.

    A single output is written without its name, several are members of objects in the order given. (TensorFlow
    Serving's order is that of a hash table, and differs from run to run.) Strings of an output whose name ends in
    `_bytes` are written as `{"b64": ...}`.

    Args:
        outputs: one array for each output: numbers, bools, or `bytes` in an array of dtype object.
        layout: the format of the request.

    Raises:
        StatusError: in the row format the outputs differ in their number of rows, or a dtype has no JSON form.
    """
    one = len(outputs) == 1
    if layout is Layout.ROW:
        rows = _count_rows(outputs)
        columns = {name: _write_rows(name, array, 2 if one else 3) for name, array in outputs.items()}
        if one:
            (texts,) = columns.values()
            content = ", ".join(texts)
        else:
            members = ([(name, texts[i]) for name, texts in columns.items()] for i in range(rows))
            content = ",".join(f"\n{INDENT * 2}{_write_object(row, 2)}" for row in members)
        answer = f"[{content}\n{INDENT}]"
    elif one:
        (output,) = outputs.items()
        answer = _write_column(output, 1)
    else:
        answer = _write_object([(name, _write_column((name, array), 2)) for name, array in outputs.items()], 1)
    return _write_object([(layout.value, answer)], 0)


def _count_rows(outputs: Mapping[str, np.ndarray]) -> int:
    rows = 0
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if len(array) < 1:
            raise invalid(f"Tensor name: {name} has invalid batch size: {len(array)}")
        if rows and len(array) != rows:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {rows}")
        rows = len(array)
    return rows


def _write_object(members: Iterable[tuple[str, str]], level: int) -> str:
    """An object inside `level` others, from members whose values are texts."""
    inner = f"\n{INDENT * (level + 1)}"
    content = ",".join(f"{inner}{quote(name)}: {text}" for name, text in members)
    return f"{{{content}\n{INDENT * level}}}"


def _write_rows(name: str, array: np.ndarray, level: int) -> list[str]:
    """One text for each row of an output, on one line each."""
    shape = array.shape[1:]
    texts = _write_values(name, array, level + len(shape))
    for axis in reversed(range(len(shape))):
        if shape[axis] == 1:
            texts = [f"[{text}]" for text in texts]
        else:
            texts = [f"[{', '.join(group)}]" for group in _groups(texts, len(array), shape, axis)]
    return texts


def _write_column(output: tuple[str, np.ndarray], level: int) -> str:
    """The text of a whole output, with each value on a line of its own."""
    name, array = output
    texts = _write_values(name, array, level + array.ndim)
    for axis in reversed(range(array.ndim)):
        inner, outer = f"\n{INDENT * (level + axis + 1)}", f"\n{INDENT * (level + axis)}"
        texts = [
            f"[{inner}{f',{inner}'.join(group)}{outer}]" if group else "[]"
            for group in _groups(texts, 1, array.shape, axis)
        ]
    return texts[0]


def _groups(texts: list[str], rows: int, shape: tuple[int, ...], axis: int) -> Iterator[list[str]]:
    """The texts of `rows` tensors of `shape`, in lists of those that lie along `axis`."""
    size = shape[axis]
    return (texts[i * size : (i + 1) * size] for i in range(rows * math.prod(shape[:axis])))


def _write_values(name: str, array: np.ndarray, level: int) -> list[str]:
    """One text for each value of an output, in order."""
    match array.dtype.name:
        case "float32" | "float64":
            return format_decimals(array)
        case "int8" | "int16" | "int32" | "int64" | "uint8" | "uint32" | "uint64":
            return [str(value) for value in array.ravel().tolist()]
        case "bool":
            return ["true" if value else "false" for value in array.ravel().tolist()]
        case "object" if name.endswith("_bytes"):
            texts = (base64.b64encode(value).decode("ascii") for value in array.ravel().tolist())
            return [_write_object([("b64", quote(text))], level) for text in texts]
        case "object":
            return [quote(decode(value)) for value in array.ravel().tolist()]
        case other:
            raise invalid(f"Failed to write JSON value for tensor type: {_UNWRITABLE.get(other, other)}")


_UNWRITABLE: Final = {"float16": "half"}
"""TensorFlow's names of dtypes that NumPy calls otherwise."""
