"""Files and directories that a user names: reading their paths, and writing them whole or not at all.

A file is written under another name beside its place, flushed to the disk, and renamed. Whoever reads the place sees
the old file or the new one, also when the writer is killed half way; `tfpvae.export.versions` says what a rename
guarantees on which system.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tfpvae.errors import TfpvaeError

# Two letters at least: `C:/models` is a drive of Windows. One slash is enough: `Path` takes the other away.
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def local_path(path: str | os.PathLike[str], error: type[TfpvaeError]) -> Path:
    """The path of a file or directory of this machine, with `~` as the user's home directory.

    Raises:
        error: it is the address of something elsewhere, such as `s3://bucket/models`; or no path at all.
    """
    if not isinstance(path, str | os.PathLike):
        raise error(f"A path must be a string or a pathlib.Path. Received: {path!r}")
    text = os.fspath(path)
    address = _SCHEME.match(text)
    if address is not None:
        raise error(
            f"A path must name a file or directory of this machine, and not an address on {address[1]}. Write to a "
            f"local directory and copy it there, or read from a local copy. Received: {text!r}"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as problem:
        raise error(f"The home directory in the path {text!r} is not known: {problem}") from problem


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file to; it takes the place of `path` when the block ends without an error.

    The file lies beside `path`, with the same suffix. It is flushed to the disk before it is renamed, and keeps the
    permissions of the file that it replaces. Where `path` is a link, the file that it points to is replaced. After an
    error nothing is left of the new file.

    Args:
        path: the file to write; its directory exists.

    Yields:
        The path to write to.

    Raises:
        OSError: the file cannot be flushed or renamed.
    """
    path = path.resolve()
    unfinished = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield unfinished
        if path.exists():
            shutil.copymode(path, unfinished)
        flush_file(unfinished)
        os.replace(unfinished, path)
        flush_directory(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all, as UTF-8 and with the line ends of `text`.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all, indented by two.

    Raises:
        OSError: it cannot be written.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")


def flush_tree(directory: Path) -> None:
    """Sends the files and directories below a directory, and the directory itself, to the disk.

    Raises:
        OSError: a file cannot be flushed.
    """
    for parent, _, files in os.walk(directory):
        for name in files:
            flush_file(Path(parent) / name)
        flush_directory(Path(parent))


def flush_file(path: Path) -> None:
    """Sends a file to the disk.

    Raises:
        OSError: it cannot be flushed.
    """
    # Windows flushes only what is open for writing.
    with path.open("r+b" if sys.platform == "win32" else "rb") as file:
        os.fsync(file.fileno())


def flush_directory(directory: Path) -> None:
    """Sends the names in a directory to the disk, where the system can do that: Windows and some networks cannot."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
