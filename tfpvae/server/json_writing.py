"""JSON as TensorFlow Serving writes it: RapidJSON's number formats and layout."""

from __future__ import annotations

import json
import math
from typing import Final

import numpy as np

from tfpvae.server.json_text import ESCAPED, JsonObject, JsonValue

INDENT: Final = "    "

_QUOTED: Final = {
    **{code: f"\\u{code:04X}" for code in range(0x20)},
    **{ord(character): f"\\{letter}" for letter, character in ESCAPED.items() if letter != "/"},
}


def quote(text: str) -> str:
    """A string as a JSON token."""
    return f'"{text.translate(_QUOTED)}"'


def format_decimals(values: np.ndarray) -> list[str]:
    """Each of the float32 or float64 values as TensorFlow Serving writes it.

    Six significant digits if they give the value back, else as many as always give it back: 9 for float32, 17 for
    float64. A whole number that is not in scientific notation ends in `.0`.

    Args:
        values: floats of any shape.

    Returns:
        One text for each value, in the order of `values.ravel()`.
    """
    flat = values.ravel()
    numbers = flat.tolist()
    if not numbers:
        return []
    # All in one call, and read in one: one by one they would take most of the time of a small request.
    line = "%g " * len(numbers) % tuple(numbers)
    texts = line.split()
    read_back = np.fromstring(line, np.float64, sep=" ").astype(flat.dtype)
    full = ".9g" if flat.dtype == np.float32 else ".17g"
    for i in np.flatnonzero((read_back != flat) & np.isfinite(flat)).tolist():
        texts[i] = format(numbers[i], full)
    return [text if "." in text else _without_point(text) for text in texts]


_NOT_FINITE: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _without_point(text: str) -> str:
    return _NOT_FINITE.get(text) or (text if "e" in text else f"{text}.0")


def write(value: JsonValue) -> str:
    """A value as TensorFlow Serving prints it in its errors: objects indented, arrays on one line."""
    if isinstance(value, float):
        in_float_range = abs(value) <= float(np.finfo(np.float32).max)
        return format_decimals(np.array([value], np.float32 if in_float_range else np.float64))[0]
    pieces: list[str] = []
    _write(value, 0, pieces)
    return "".join(pieces)


def _write(value: JsonValue, level: int, pieces: list[str]) -> bool:
    """Appends the text of a value. False where it breaks off: inside a value RapidJSON cannot write NaN."""
    match value:
        case JsonObject():
            pieces.append("{")
            for i, (name, member) in enumerate(value):
                pieces.append(f"{',' if i else ''}\n{INDENT * (level + 1)}{quote(name)}: ")
                if not _write(member, level + 1, pieces):
                    return False
            pieces.append(f"\n{INDENT * level}}}" if len(value) else "}")
        case list():
            pieces.append("[")
            for i, item in enumerate(value):
                pieces.append(", " if i else "")
                if not _write(item, level + 1, pieces):
                    return False
            pieces.append("]")
        case str():
            pieces.append(quote(value))
        case float():
            if not math.isfinite(value):
                return False
            pieces.append(_shortest(value))
        case _:
            pieces.append(json.dumps(value))
    return True


def _shortest(value: float) -> str:
    """The shortest text from which a finite double can be read back, with RapidJSON's rules for the exponent."""
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0)  # where the decimal point stands, counted from the first digit
    if whole == "0":
        point -= 1 + len(fraction) - len(fraction.lstrip("0"))
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return f"{sign}{digits.ljust(point, '0')}.0"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[0]}{'.' + digits[1:] if len(digits) > 1 else ''}e{point - 1}"
