"""Protobuf's text format: what every message has, without knowing its fields, and where it stands in the text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from tfpvae.errors import ExportError


class Message(NamedTuple):
    """A message, with its braces; the file itself is one without.

    Attributes:
        fields: what is in it.
        start: where it begins in the text.
        end: where it ends.
    """

    fields: list[Field]
    start: int
    end: int


class Field(NamedTuple):
    """A field and its value: `name: "digits"`, `latest { ... }`, `versions: [1, 2]`.

    Attributes:
        name: its name.
        values: the value, or the list's values: messages, and what else there is as text without quotes.
        start: where it begins in the text.
        end: where it ends.
    """

    name: str
    values: list[Message | str]
    start: int
    end: int


class _Token(NamedTuple):
    text: str
    start: int
    end: int


_TOKEN: Final = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[\w.+-]+)|(?P<mark>[][{}<>:;,/])"""
)
_CLOSING: Final = {"{": "}", "<": ">"}


class _Parser:
    """Reads the text from left to right; `next` is the token that comes."""

    def __init__(self, text: str, config: Path) -> None:
        self.config = config
        self.text = text
        self.tokens: list[_Token] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(position)
            if match.lastgroup != "space":
                self.tokens.append(_Token(match[0], match.start(), match.end()))
            position = match.end()
        self.tokens.append(_Token("", len(text), len(text)))
        self.next = 0

    def error(self, position: int) -> ExportError:
        line = self.text.count("\n", 0, position) + 1
        return ExportError(f"{self.config}, line {line}, is not a ModelServerConfig in protobuf's text format.")

    def peek(self) -> str:
        return self.tokens[self.next].text

    def take(self) -> _Token:
        token = self.tokens[self.next]
        if not token.text:
            raise self.error(token.start)
        self.next += 1
        return token

    def expect(self, text: str) -> _Token:
        token = self.take()
        if token.text != text:
            raise self.error(token.start)
        return token

    def fields(self, closing: str) -> list[Field]:
        fields = []
        while self.peek() != closing:
            fields.append(self.field())
        return fields

    def field(self) -> Field:
        name = self.take()
        if name.text == "[":  # [type.googleapis.com/some.Message] { ... }
            while self.take().text != "]":
                pass
        elif re.fullmatch(r"[A-Za-z_]\w*", name.text) is None:
            raise self.error(name.start)
        if self.peek() == ":":
            self.take()
        elif self.peek() not in ("{", "<", "["):
            raise self.error(self.tokens[self.next].start)
        values = self.values()
        end = self.tokens[self.next - 1].end
        if self.peek() in (",", ";"):
            end = self.take().end
        return Field(name.text, values, name.start, end)

    def values(self) -> list[Message | str]:
        if self.peek() != "[":
            return [self.value()]
        self.take()
        listed: list[Message | str] = []
        while self.peek() != "]":
            listed.append(self.value())
            if self.peek() != "]":
                self.expect(",")
        self.take()
        return listed

    def value(self) -> Message | str:
        token = self.take()
        if token.text in _CLOSING:
            fields = self.fields(_CLOSING[token.text])
            return Message(fields, token.start, self.take().end)
        if token.text[0] not in "\"'":
            if re.fullmatch(r"[\w.+-]+", token.text) is None:
                raise self.error(token.start)
            return token.text
        text = token.text[1:-1]
        while self.peek()[:1] in ('"', "'"):  # "a" "b" is "ab".
            text += self.take().text[1:-1]
        return text


def parse(text: str, config: Path) -> Message:
    return Message(_Parser(text, config).fields(""), 0, len(text))


def messages(message: Message, name: str, config: Path) -> list[Message]:
    """The values of a field that holds messages."""
    found = []
    for one in message.fields:
        if one.name == name and one.values:
            value = one.values[0] if len(one.values) == 1 else None
            if not isinstance(value, Message):
                raise ExportError(f"{config} must have {name} {{ ... }}, once for each, to be changed here.")
            found.append(value)
    return found


def texts(message: Message, name: str) -> list[str]:
    """The values of a field that holds numbers or strings."""
    return [value for one in message.fields if one.name == name for value in one.values if isinstance(value, str)]
