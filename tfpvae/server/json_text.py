"""JSON as TensorFlow Serving reads and writes it: RapidJSON's errors, offsets, number formats and layout.

NaN and the infinities are bare tokens in both directions. Strings are `str`; bytes that are not UTF-8 stand
in them as Python's surrogate escapes, so that every body can be read and written back unchanged.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np

from tfpvae.server.status import invalid

INDENT: Final = "    "


class JsonObject:
    """A JSON object: its members in order, duplicates included.

    Attributes:
        members: (name, value) pairs.
    """

    def __init__(self, members: list[tuple[str, JsonValue]]) -> None:
        self.members = members

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[tuple[str, JsonValue]]:
        return iter(self.members)

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.members)

    def __getitem__(self, name: str) -> JsonValue:
        """The value of `name`, and the first one if there are several."""
        for key, value in self.members:
            if key == name:
                return value
        raise KeyError(name)

    def get(self, name: str, default: JsonValue) -> JsonValue:
        """The value of `name`, or `default`."""
        return next((value for key, value in self.members if key == name), default)


JsonValue: TypeAlias = JsonObject | list[Any] | str | int | float | bool | None


def encode(text: str) -> bytes:
    """The bytes of a text that was read or written here."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """The text of bytes, which may be no UTF-8."""
    return data.decode("utf-8", "surrogateescape")


def type_name(value: JsonValue) -> str:
    """RapidJSON's name for the type of a value."""
    match value:
        case None:
            return "Null"
        case bool():
            return "True" if value else "False"
        case JsonObject():
            return "Object"
        case list():
            return "Array"
        case str():
            return "String"
        case _:
            return "Number"


# Reading


def parse(body: bytes) -> JsonValue:
    """Reads a document.

    The standard library's parser, which is fast, reads the documents that it and RapidJSON read alike. `_Reader`, which
    is slow and exact, reads those that it refuses, and those with surrogates, which it accepts more freely than
    RapidJSON.

    Raises:
        StatusError: the body is not JSON; the message is RapidJSON's, with the byte offset.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        if b"\\ud" in body or b"\\uD" in body:
            return _Reader(body).document()
        try:
            return json.loads(
                body.decode("utf-8"),
                parse_int=_integer,
                parse_float=_decimal,
                object_pairs_hook=JsonObject,
            )
        except ValueError:
            return _Reader(body).document()
    except RecursionError:
        raise invalid("JSON Parse error: The document is nested too deeply.") from None


def _integer(digits: str) -> int | float:
    """An integer of at most 64 bits, else a double."""
    value = int(digits) if len(digits) <= 20 else None
    return value if value is not None and -(2**63) <= value < 2**64 else _decimal(digits)


def _decimal(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"Number too big: {digits}")
    return value


_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FRACTION: Final = re.compile(r"[0-9]+")
_EXPONENT: Final = re.compile(r"[+-]?[0-9]+")
_SPACE: Final = re.compile(r"[ \n\r\t]*")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_HEX4: Final = re.compile(r"[0-9A-Fa-f]{4}")
_ESCAPED: Final = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}


class _Reader:
    """RapidJSON's parser with `kParseNanAndInfFlag`: the same documents, the same errors at the same offsets.

    Each byte is one character of `text`, so that positions are byte offsets. A NUL marks the end, as in RapidJSON.
    """

    def __init__(self, body: bytes) -> None:
        self.text = body.decode("latin-1") + "\0"
        self.at = 3 if body.startswith(b"\xef\xbb\xbf") else 0

    def document(self) -> JsonValue:
        self._skip(_SPACE)
        if self._peek() == "\0":
            raise self._error("The document is empty.")
        value = self._value()
        self._skip(_SPACE)
        if self._peek() != "\0":
            raise self._error("The document root must not be followed by other values.")
        return value

    def _error(self, what: str, at: int | None = None) -> Exception:
        return invalid(f"JSON Parse error: {what} at offset: {self.at if at is None else at}")

    def _peek(self) -> str:
        return self.text[self.at]

    def _take(self, character: str) -> bool:
        if self.text[self.at] != character:
            return False
        self.at += 1
        return True

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """What `pattern` matches here: "" where it does not."""
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match.group()

    def _value(self) -> JsonValue:
        match self._peek():
            case "{":
                return self._object()
            case "[":
                return self._array()
            case '"':
                return self._string()
            case "n":
                return self._literal("null", None)
            case "t":
                return self._literal("true", True)
            case "f":
                return self._literal("false", False)
            case _:
                return self._number()

    def _literal(self, token: str, value: JsonValue) -> JsonValue:
        for character in token:
            if not self._take(character):
                raise self._error("Invalid value.")
        return value

    def _object(self) -> JsonObject:
        members: list[tuple[str, JsonValue]] = []
        self.at += 1
        self._skip(_SPACE)
        if self._take("}"):
            return JsonObject(members)
        while True:
            if self._peek() != '"':
                raise self._error("Missing a name for object member.")
            name = self._string()
            self._skip(_SPACE)
            if not self._take(":"):
                raise self._error("Missing a colon after a name of object member.")
            self._skip(_SPACE)
            members.append((name, self._value()))
            self._skip(_SPACE)
            if self._take("}"):
                return JsonObject(members)
            if not self._take(","):
                raise self._error("Missing a comma or } after an object member.")
            self._skip(_SPACE)

    def _array(self) -> list[JsonValue]:
        values: list[JsonValue] = []
        self.at += 1
        self._skip(_SPACE)
        if self._take("]"):
            return values
        while True:
            values.append(self._value())
            self._skip(_SPACE)
            if self._take("]"):
                return values
            if not self._take(","):
                raise self._error("Missing a comma or ] after an array element.")
            self._skip(_SPACE)

    def _string(self) -> str:
        parts: list[bytes] = []
        self.at += 1
        while True:
            parts.append(self._skip(_PLAIN).encode("latin-1"))
            if self._take('"'):
                return decode(b"".join(parts))
            if self._peek() == "\0":
                raise self._error("Missing a closing quotation mark in string.")
            if self._peek() != "\\":
                raise self._error("Invalid encoding in string.")
            parts.append(self._escape().encode("utf-8"))

    def _escape(self) -> str:
        start = self.at
        self.at += 1
        kind = self._peek()
        if kind in _ESCAPED:
            self.at += 1
            return _ESCAPED[kind]
        if kind != "u":
            raise self._error("Invalid escape character in string.", start)
        self.at += 1
        unit = self._hex4(start)
        if not 0xD800 <= unit <= 0xDFFF:
            return chr(unit)
        surrogate = self._error("The surrogate pair in string is invalid.", start)
        if unit > 0xDBFF or not (self._take("\\") and self._take("u")):
            raise surrogate
        low = self._hex4(start)
        if not 0xDC00 <= low <= 0xDFFF:
            raise surrogate
        return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))

    def _hex4(self, start: int) -> int:
        digits = self._skip(_HEX4)
        if not digits:
            raise self._error("Incorrect hex digit after \\u escape in string.", start)
        return int(digits, 16)

    def _number(self) -> int | float:
        start = self.at
        digits = self._skip(_NUMBER)
        if not digits:
            return self._not_finite()
        whole = True
        if self._take("."):
            whole = False
            if not self._skip(_FRACTION):
                raise self._error("Miss fraction part in number.")
        if self._take("e") or self._take("E"):
            whole = False
            if not self._skip(_EXPONENT):
                self._take("+") or self._take("-")
                raise self._error("Miss exponent in number.")
        try:
            return _integer(digits) if whole else _decimal(self.text[start : self.at])
        except ValueError:
            raise self._error("Number too big to be stored in double.", start) from None

    def _not_finite(self) -> float:
        """`NaN`, `Inf` or `Infinity`, with or without a minus."""
        sign = -1.0 if self._take("-") else 1.0
        if self._take("N"):
            if self._take("a") and self._take("N"):
                return math.nan
        elif self._take("I") and self._take("n") and self._take("f"):
            if self._peek() == "i":
                self._literal("inity", None)
            return sign * math.inf
        raise self._error("Invalid value.")


# Writing

_QUOTED: Final = {
    **{code: f"\\u{code:04X}" for code in range(0x20)},
    **{ord(character): f"\\{letter}" for letter, character in _ESCAPED.items() if letter != "/"},
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
    texts = [f"{number:g}" for number in numbers]
    read_back = np.array([float(text) for text in texts], np.float64).astype(flat.dtype)
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
