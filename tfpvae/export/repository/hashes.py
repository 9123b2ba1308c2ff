"""SHA-256 of every file of a version directory, in its manifest: has anything changed since it was exported?

They find damage and edits, and a file that was forgotten in a copy. They are no signature: whoever can write the files
can write new hashes too. Paths have / between folders. The manifest's own hash is that of its bytes with 64 zeros in
place of the hash itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tfpvae.errors import ExportError
from tfpvae.manifest import FILES, MANIFEST, to_text

_ZEROS: Final = "0" * 64


def write_hashes(version_dir: Path) -> dict[str, str]:
    """Adds the hashes of all files to the manifest. The last step of an export: every file must have been written.

    Args:
        version_dir: a version directory, with its `manifest.json`.

    Returns:
        The hashes by path.
    """
    manifest = json.loads((version_dir / MANIFEST).read_text(encoding="utf-8"))
    hashes = {path: _hash(version_dir / path) for path in sorted(_files(version_dir))}
    manifest[FILES] = hashes | {MANIFEST: _ZEROS}
    text = to_text(manifest)
    own = _sha256(text.encode())
    (version_dir / MANIFEST).write_bytes(text.replace(_entry(_ZEROS), _entry(own)).encode())
    return hashes | {MANIFEST: own}


def check_hashes(version_dir: Path) -> dict[str, str]:
    """Which files are not as they were exported.

    Args:
        version_dir: a version directory, with its `manifest.json`.

    Returns:
        By path, "was changed", "is missing" or "is not listed"; empty for a version that is whole.

    Raises:
        ExportError: the manifest cannot be read, or lists no hashes.
    """
    try:
        text = (version_dir / MANIFEST).read_bytes()
        listed = json.loads(text)[FILES]
        expected = {str(path): str(value) for path, value in listed.items()}
        own = expected.pop(MANIFEST)
    except OSError as error:
        raise ExportError(f"{version_dir / MANIFEST} cannot be read: {error}") from error
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ExportError(
            f"{version_dir / MANIFEST} must list the SHA-256 of each file, its own included. It was changed, or it was "
            "written by a tfpvae that did not yet do so."
        ) from error
    present = set(_files(version_dir))
    wrong = dict.fromkeys(sorted(expected.keys() - present), "is missing")
    wrong |= dict.fromkeys(sorted(present - expected.keys()), "is not listed")
    wrong |= {
        path: "was changed"
        for path in sorted(present & expected.keys())
        if _differs(version_dir / path, expected[path])
    }
    entry = _entry(own).encode()
    if text.count(entry) != 1 or _sha256(text.replace(entry, _entry(_ZEROS).encode())) != own:
        wrong[MANIFEST] = "was changed"
    return wrong


def _files(version_dir: Path) -> Iterator[str]:
    """The paths of all files but the manifest. A link to a folder counts as a file: it is not followed."""
    for folder, folders, files in os.walk(version_dir):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*files, *links]:
            path = (Path(folder) / name).relative_to(version_dir).as_posix()
            if path != MANIFEST:
                yield path


def _differs(path: Path, expected: str) -> bool:
    if not path.is_file():  # A pipe would be waited for.
        return True
    try:
        return _hash(path) != expected
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error}") from error


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _entry(value: str) -> str:
    return f'"{MANIFEST}": "{value}"'
