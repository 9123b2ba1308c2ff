"""models.config, by which TensorFlow Serving knows its models: a model's labels, and which versions are loaded.

The file is a `ModelServerConfig` in protobuf's text format. Only the two fields that are written here are touched,
where they stand: other models, fields that are not known here, comments and layout stay as they are, to the byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from tfpvae.errors import ExportError
from tfpvae.export.repository.text_format import Message, messages, parse, texts
from tfpvae.files import write_text

POLICY: Final = "model_version_policy"
LABELS: Final = "version_labels"
LOADING: Final = timedelta(minutes=1)
"""How long a server may take to see a version in the file and to load it: polls of 30 s, as in serving/compose.yaml."""

HEADER: Final = "# What TensorFlow Serving serves (ModelServerConfig, in protobuf's text format).\n"


@dataclass(frozen=True)
class Entry:
    """What models.config says of one model.

    Attributes:
        base_path: where the server finds the model's directory.
        versions: the versions that are loaded, ascending; empty where the policy names none, as the default does, which
            loads the highest.
        labels: the versions by label.
        kept: those of the loaded versions that a label has left, to move it back at once.
        loading: when others of them were added, for a minute: the server may not have loaded them yet.
    """

    base_path: str = ""
    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    kept: tuple[int, ...] = ()
    loading: Mapping[int, datetime] = field(default_factory=dict)


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
    text = _read(config)
    found = _find(parse(text, config), model, config)
    return None if found is None else _entry(found, text, config)


def read_entries(config: Path) -> dict[str, Entry]:
    """What the file says of every model, by name, to serve them so.

    Args:
        config: the file.

    Raises:
        ExportError: the file cannot be read, or has a policy other than versions by number or the highest one.
    """
    if not config.is_file():
        raise ExportError(f"There is no {config}.")
    text = _read(config)
    root = parse(text, config)
    entries: dict[str, Entry] = {}
    for message in messages(_list(root, config), "config", config) if root.fields else []:
        name = "".join(texts(message, "name"))
        for policy in messages(message, POLICY, config):
            latest = [count for one in messages(policy, "latest", config) for count in texts(one, "num_versions")]
            if messages(policy, "all", config) or latest not in ([], ["1"]):
                raise ExportError(
                    f"{config} must have {name!r} served by version numbers or in its highest version: "
                    "specific { versions: 1 } or latest { num_versions: 1 }."
                )
        entries[name] = _entry(message, text, config)
    return entries


def write_labels(
    config: Path, model: str, changes: Mapping[str, int | None], present: Iterable[int], base_path: str
) -> Labelling:
    """Sets a model's labels, and has the server load the versions that they point at and the newest.

    TensorFlow Serving refuses a whole file, its policy included, that moves a label to a version that is not loaded,
    and goes on refusing it. So where a label is to move to such a version, it is only loaded now; the same call a
    minute later moves the label. The version that a label leaves stays loaded, so that it can be moved back at once.

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
    root = parse(text, config)
    found = _find(root, model, config)
    old = None if found is None else _entry(found, text, config)
    present = sorted(present)
    labels, pending = _changed(old, changes, present, model)
    entry = _changed_entry(old or Entry(base_path), labels, pending, present)
    if entry != old:
        lines = _lines(entry)
        replace_text(config, _added(text, root, model, entry, config) if found is None else _edited(text, found, lines))
    return Labelling(entry, pending)


def _changed_entry(old: Entry, labels: dict[str, int], pending: dict[str, int], present: list[int]) -> Entry:
    if not labels and not pending:
        return Entry(old.base_path)
    left = {version for label, version in old.labels.items() if labels.get(label) != version}
    kept = (left or set(old.kept)) & set(present) - {*labels.values()}
    versions = {*labels.values(), *pending.values(), *present[-1:], *kept}
    loading = {version: since for version, since in old.loading.items() if version in versions and _is_new(since)}
    if old.labels:  # A server without labels takes those of versions that it has not loaded.
        loading |= dict.fromkeys(versions - {*old.versions, *loading}, now())
    return Entry(old.base_path, tuple(sorted(versions)), dict(sorted(labels.items())), tuple(sorted(kept)), loading)


def now() -> datetime:
    """The moment, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def _is_new(since: datetime) -> bool:
    return now() - since < LOADING


def _changed(
    old: Entry | None, changes: Mapping[str, int | None], present: list[int], model: str
) -> tuple[dict[str, int], dict[str, int]]:
    """The labels as they are to be written, and those that must wait."""
    labels = dict(old.labels) if old is not None else {}
    loaded = set(old.versions if old is not None and old.versions else present[-1:])
    if old is not None:
        loaded -= {version for version, since in old.loading.items() if _is_new(since)}
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
    notes = [f"# {version} is kept for a roll-back" for version in entry.kept]
    notes += [f"# {version} is loaded since {since.isoformat()}" for version, since in sorted(entry.loading.items())]
    if notes:
        policy = "\n".join(["", *notes, policy, ""])
    labels = [f'{LABELS} {{ key: "{label}" value: {version} }}' for label, version in entry.labels.items()]
    return [f"{POLICY} {{ {policy} }}", *labels]


def _edited(text: str, found: Message, lines: list[str]) -> str:
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


def _added(text: str, root: Message, model: str, entry: Entry, config: Path) -> str:
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


def _list(root: Message, config: Path) -> Message:
    lists = messages(root, "model_config_list", config)
    if len(lists) != 1:
        raise ExportError(f"{config} must have one model_config_list. Received: {len(lists)}")
    return lists[0]


def _find(root: Message, model: str, config: Path) -> Message | None:
    if not root.fields:
        return None
    entries = messages(_list(root, config), "config", config)
    found = [entry for entry in entries if texts(entry, "name") == [model]]
    if len(found) > 1:
        raise ExportError(f"{config} must name {model!r} once. Received: {len(found)} times")
    return found[0] if found else None


def _entry(message: Message, text: str, config: Path) -> Entry:
    versions: set[int] = set()
    labels: dict[str, int] = {}
    try:
        for policy in messages(message, POLICY, config):
            for specific in messages(policy, "specific", config):
                versions |= {int(value, 0) for value in texts(specific, "versions")}
        for label in messages(message, LABELS, config):
            labels[texts(label, "key")[0]] = int(texts(label, "value")[0], 0)
    except (ValueError, IndexError) as error:
        raise ExportError(
            f"{config} must have whole numbers for versions, and a key and a value in each label."
        ) from error
    kept = {int(version) for version in _KEPT.findall(text, message.start, message.end)} & versions
    loading = {int(v): _time(t) for v, t in _LOADING.findall(text, message.start, message.end) if int(v) in versions}
    return Entry(
        "".join(texts(message, "base_path")),
        tuple(sorted(versions)),
        dict(sorted(labels.items())),
        tuple(sorted(kept)),
        loading,
    )


_KEPT: Final = re.compile(r"# (\d+) is kept for a roll-back")
_LOADING: Final = re.compile(r"# (\d+) is loaded since (\S+)")


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return now()  # Somebody wrote it: it is waited for a minute from now.
