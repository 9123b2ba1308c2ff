"""JSON as TensorFlow Serving reads it, with RapidJSON's errors and offsets; `tfpvae.server.json_writing` writes it.

NaN and the infinities are bare tokens in both directions. Strings are `str`; bytes that are not UTF-8 stand
in them as Python's surrogate escapes, so that every body can be read and written back unchanged.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from tfpvae.server.status import invalid


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
ESCAPED: Final = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
"""What a backslash and a letter stand for."""


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
        if kind in ESCAPED:
            self.at += 1
            return ESCAPED[kind]
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
