"""models.config, by which TensorFlow Serving knows its models: a model's labels, and which versions are loaded.

The file is a `ModelServerConfig` in protobuf's text format. Only the two fields that are written here are touched,
where they stand: other models, fields that are not known here, comments and layout stay as they are, to the byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tfpvae.errors import ExportError
from tfpvae.files import write_text

POLICY: Final = "model_version_policy"
LABELS: Final = "version_labels"
HEADER: Final = "# What TensorFlow Serving serves (ModelServerConfig, in protobuf's text format).\n"


@dataclass(frozen=True)
class Entry:
    """What models.config says of one model.

    Attributes:
        base_path: where the server finds the model's directory.
        versions: the versions that are loaded, ascending; empty where the policy names none, as the default does, which
            loads the highest.
        labels: the versions by label.
    """

    base_path: str = ""
    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)


class Labelling(NamedTuple):
    """The outcome of a change of labels.

    Attributes:
        entry: what models.config says now.
        pending: the labels that were not moved yet, with the versions that they are to move to: those must be loaded
            first.
    """

    entry: Entry
    pending: dict[str, int]


def read_entry(config: Path, model: str) -> Entry | None:
    """What the file says of a model; None where it says nothing, or does not exist.

    Args:
        config: the file.
        model: the model's name.

    Raises:
        ExportError: the file cannot be read, or TensorFlow Serving could not read it.
    """
    found = _find(_parse(_read(config), config), model, config)
    return None if found is None else _entry(found, config)


def write_labels(
    config: Path, model: str, changes: Mapping[str, int | None], present: Iterable[int], base_path: str
) -> Labelling:
    """Sets a model's labels, and has the server load the versions that they point at and the newest.

    TensorFlow Serving refuses a whole file, its policy included, that moves a label to a version that is not loaded. So
    where a label is to move to such a version, it is only loaded now; the same call later moves the label.

    Args:
        config: the file; made if there is none.
        model: the model's name.
        changes: the version by label; None removes a label. Other labels stay. Without any label left, the server
            loads the highest version again.
        present: the versions that there are.
        base_path: where the server finds the model's directory; for a model that the file lacks.

    Returns:
        What the file says now, and which labels are to be moved yet.

    Raises:
        ExportError: a label or a version that cannot be, or a file that cannot be read or written.
    """
    text = _read(config)
    root = _parse(text, config)
    found = _find(root, model, config)
    old = None if found is None else _entry(found, config)
    present = sorted(present)
    labels, pending = _changed(old, changes, present, model)
    wanted = {*labels.values(), *pending.values(), *present[-1:]} if labels or pending else set()
    entry = Entry(base_path if old is None else old.base_path, tuple(sorted(wanted)), dict(sorted(labels.items())))
    if entry != old:
        lines = _lines(entry)
        replace_text(config, _added(text, root, model, entry, config) if found is None else _edited(text, found, lines))
    return Labelling(entry, pending)


def _changed(
    old: Entry | None, changes: Mapping[str, int | None], present: list[int], model: str
) -> tuple[dict[str, int], dict[str, int]]:
    """The labels as they are to be written, and those that must wait."""
    labels = dict(old.labels) if old is not None else {}
    loaded = set(old.versions if old is not None and old.versions else present[-1:])
    pending: dict[str, int] = {}
    for label, version in changes.items():
        if re.fullmatch(r"[A-Za-z0-9_.-]+", label) is None:
            raise ExportError(f"A label must be of letters, digits and _ . - alone. Received: {label!r}")
        if version is None:
            if label not in labels:
                raise ExportError(
                    f"There is no label {label!r} to remove. The labels are: {', '.join(labels) or 'none'}."
                )
            del labels[label]
        elif version not in present:
            known = ", ".join(map(str, present)) or "none"
            raise ExportError(f"{model} has no version {version} for the label {label!r}. Its versions are: {known}.")
        elif labels.get(label, version) != version and labels[label] in present and version not in loaded:
            pending[label] = version
        else:
            labels[label] = version
    for label, version in labels.items():
        if version not in present:
            raise ExportError(
                f"The label {label!r} points at version {version}, which does not exist; TensorFlow Serving would not "
                f"start. Move it (--label {label}=N) or remove it (--label {label}=)."
            )
    return labels, pending


def _lines(entry: Entry) -> list[str]:
    specific = " ".join(f"versions: {version}" for version in entry.versions)
    policy = f"specific {{ {specific} }}" if entry.versions else "latest { num_versions: 1 }"
    labels = [f'{LABELS} {{ key: "{label}" value: {version} }}' for label, version in entry.labels.items()]
    return [f"{POLICY} {{ {policy} }}", *labels]


def _edited(text: str, found: _Message, lines: list[str]) -> str:
    """The text with the model's two fields replaced, where the first of them stood, or else at the entry's end."""
    spans = [(one.start, one.end) for one in found.fields if one.name in (POLICY, LABELS)]
    several_lines = "\n" in text[found.start : found.end]
    indent = _indent(text, found.fields[0].start) if several_lines else ""
    separator = f"\n{indent}" if several_lines else " "
    new = separator.join(lines)
    if not spans:
        end = found.end - 1  # Of the closing brace.
        before = text[:end].rstrip(" \t")
        if several_lines and before.endswith("\n"):
            return f"{before}{indent}{new}\n{text[len(before) :]}"
        return f"{text[:end].rstrip(' ')} {new} {text[end:]}"
    first, *others = spans
    for start, end in reversed(others):
        # The line goes too where there is nothing else in it.
        line_start, line_end = text.rfind("\n", 0, start) + 1, text.find("\n", end)
        if line_end >= 0 and not text[line_start:start].strip() and not text[end:line_end].strip():
            start, end = line_start, line_end + 1
        text = text[:start] + text[end:]
    return text[: first[0]] + new + text[first[1] :]


def _added(text: str, root: _Message, model: str, entry: Entry, config: Path) -> str:
    """The text with the model after the others."""
    names = [f"name: {json.dumps(model)}", f"base_path: {json.dumps(entry.base_path)}", 'model_platform: "tensorflow"']
    block = "  config {\n" + "".join(f"    {line}\n" for line in names + _lines(entry)) + "  }\n"
    if not root.fields:
        start = text if not text or text.endswith("\n") else f"{text}\n"
        return f"{start or HEADER}model_config_list {{\n{block}}}\n"
    end = _list(root, config).end - 1
    before = text[:end].rstrip(" \t")
    return f"{before}{'' if before.endswith(chr(10)) else chr(10)}{block}{text[len(before) :].lstrip(' ')}"


def _indent(text: str, position: int) -> str:
    before = text[text.rfind("\n", 0, position) + 1 : position]
    return before if not before.strip() else "    "


def _read(config: Path) -> str:
    try:
        return config.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{config} cannot be read: {error}") from error


def replace_text(config: Path, text: str) -> None:
    """Replaces a file at once: the server may be reading it.

    Raises:
        ExportError: it cannot be written.
    """
    try:
        write_text(config, text)
    except OSError as error:
        raise ExportError(f"{config} cannot be written: {error}") from error


# Of protobuf's text format: what every message has, without knowing its fields.


class _Message(NamedTuple):
    """A message, with its braces; the file itself is one without.

    Attributes:
        fields: what is in it.
        start: where it begins in the text.
        end: where it ends.
    """

    fields: list[_Field]
    start: int
    end: int


class _Field(NamedTuple):
    """A field and its value: `name: "digits"`, `latest { ... }`, `versions: [1, 2]`.

    Attributes:
        name: its name.
        values: the value, or the list's values: messages, and what else there is as text without quotes.
        start: where it begins in the text.
        end: where it ends.
    """

    name: str
    values: list[_Message | str]
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

    def fields(self, closing: str) -> list[_Field]:
        fields = []
        while self.peek() != closing:
            fields.append(self.field())
        return fields

    def field(self) -> _Field:
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
        return _Field(name.text, values, name.start, end)

    def values(self) -> list[_Message | str]:
        if self.peek() != "[":
            return [self.value()]
        self.take()
        listed: list[_Message | str] = []
        while self.peek() != "]":
            listed.append(self.value())
            if self.peek() != "]":
                self.expect(",")
        self.take()
        return listed

    def value(self) -> _Message | str:
        token = self.take()
        if token.text in _CLOSING:
            fields = self.fields(_CLOSING[token.text])
            return _Message(fields, token.start, self.take().end)
        if token.text[0] not in "\"'":
            if re.fullmatch(r"[\w.+-]+", token.text) is None:
                raise self.error(token.start)
            return token.text
        text = token.text[1:-1]
        while self.peek()[:1] in ('"', "'"):  # "a" "b" is "ab".
            text += self.take().text[1:-1]
        return text


def _parse(text: str, config: Path) -> _Message:
    return _Message(_Parser(text, config).fields(""), 0, len(text))


def _messages(message: _Message, name: str, config: Path) -> list[_Message]:
    """The values of a field that holds messages."""
    messages = []
    for one in message.fields:
        if one.name == name and one.values:
            value = one.values[0] if len(one.values) == 1 else None
            if not isinstance(value, _Message):
                raise ExportError(f"{config} must have {name} {{ ... }}, once for each, to be changed here.")
            messages.append(value)
    return messages


def _texts(message: _Message, name: str) -> list[str]:
    """The values of a field that holds numbers or strings."""
    return [value for one in message.fields if one.name == name for value in one.values if isinstance(value, str)]


def _list(root: _Message, config: Path) -> _Message:
    lists = _messages(root, "model_config_list", config)
    if len(lists) != 1:
        raise ExportError(f"{config} must have one model_config_list. Received: {len(lists)}")
    return lists[0]


def _find(root: _Message, model: str, config: Path) -> _Message | None:
    if not root.fields:
        return None
    entries = _messages(_list(root, config), "config", config)
    found = [entry for entry in entries if _texts(entry, "name") == [model]]
    if len(found) > 1:
        raise ExportError(f"{config} must name {model!r} once. Received: {len(found)} times")
    return found[0] if found else None


def _entry(message: _Message, config: Path) -> Entry:
    versions: set[int] = set()
    labels: dict[str, int] = {}
    try:
        for policy in _messages(message, POLICY, config):
            for specific in _messages(policy, "specific", config):
                versions |= {int(value, 0) for value in _texts(specific, "versions")}
        for label in _messages(message, LABELS, config):
            labels[_texts(label, "key")[0]] = int(_texts(label, "value")[0], 0)
    except (ValueError, IndexError) as error:
        raise ExportError(
            f"{config} must have whole numbers for versions, and a key and a value in each label."
        ) from error
    return Entry("".join(_texts(message, "base_path")), tuple(sorted(versions)), dict(sorted(labels.items())))
