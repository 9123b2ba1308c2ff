"""Numbered version directories, published whole.

A version is written into a folder next to its final place, `.building-HOST-abcd1234`, and renamed to its number
when it is whole and checked. A server looks at numbers alone. What a rename guarantees:

- Linux and macOS, on one local file system: it is atomic. Whoever looks sees the version whole or not at all, also when
  the exporter is killed in the middle of it. It fails where the number exists as a directory with something in it; an
  empty one, in which there is nothing to lose, it replaces. So of two exporters that want one number, one gets it, and
  the other takes the next, or fails if it was told which.
- Windows, on NTFS: no half version is seen either. It fails where the number exists, even empty, and where a program
  (a virus scanner, an indexer) has a file of the folder open: the export then fails and publishes nothing.
- Network file systems: NFS and SMB rename on the server, at once, but a client may see the old list of names for some
  seconds. Object stores mounted as folders (gcsfuse, s3fs) copy file by file: export to a local disk, and copy the
  version to a name that is no number first.

That it survives a power failure is another matter: a rename can reach the disk before the files do. So each file and
folder is flushed (`fsync`) before the rename and the parent after it. On macOS fsync reaches the drive, which may still
hold it in its own cache; Windows flushes files, and has no call for folders.

An exporter that is killed leaves its building folder. It is in nobody's way but takes room; `remove_leftovers` removes
those whose exporter is gone. It is known to be gone by a lock on the folder (`flock`), which the system lets go of when
the process ends in whatever way. Where there are no such locks (Windows, some network file systems), and for folders
of another machine, age decides.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfpvae.checks import positive_integer
from tfpvae.errors import ExportError
from tfpvae.files import flush_directory, flush_tree
from tfpvae.manifest import MANIFEST
from tfpvae.signatures import SAVED_MODEL

if sys.platform != "win32":
    import fcntl

DAY: Final = 24 * 60 * 60
"""Seconds after which a building folder is a leftover where nothing tells whether its exporter still runs."""

MINUTE: Final = 60
"""Seconds for which a building folder without a lock is left alone: its exporter may be about to take it."""


def versions(model_directory: Path) -> list[int]:
    """The version numbers below a model's directory, ascending."""
    return sorted(version_directories(model_directory))


def version_directories(model_directory: Path) -> dict[int, Path]:
    """What has a number for a name below a model's directory, by number, ascending."""
    if not model_directory.is_dir():
        return {}
    numbered = (entry for entry in model_directory.iterdir() if re.fullmatch(r"[0-9]+", entry.name))
    return dict(sorted((int(entry.name), entry) for entry in numbered))


def check_version(model_directory: Path, version: int | None) -> int | None:
    """The number under which a version is to be published, once it is known to be free; None is the next free one.

    Raises:
        ExportError: it is not an integer of 1 or more, or the version exists already.
    """
    if version is not None:
        version = positive_integer("version", version, ExportError)
    if version in versions(model_directory):
        raise ExportError(
            f"{model_directory / str(version)} exists, and versions are never overwritten. "
            f"The next free number is {versions(model_directory)[-1] + 1}."
        )
    return version


def check_is_version(directory: Path) -> None:
    """Checks that a directory holds an exported version, or another tool's SavedModel.

    Raises:
        ExportError: it holds neither a SavedModel nor a manifest.
    """
    if (directory / SAVED_MODEL).is_file() or (directory / MANIFEST).is_file():
        return
    below = ", ".join(str(directory / str(number)) for number in versions(directory))
    hint = f" Its versions are: {below}" if below else ""
    raise ExportError(f"{directory} is no version: it holds neither {SAVED_MODEL} nor {MANIFEST}.{hint}")


@dataclass
class Publication:
    """A version on its way.

    Attributes:
        building: the folder to write into.
        path: the version directory that it has become; None until then.
    """

    building: Path
    path: Path | None = None


@contextlib.contextmanager
def publishing(model_directory: Path, version: int | None = None) -> Iterator[Publication]:
    """A folder to write a version into, which becomes the version when the block ends without an error.

    It lies next to its final place under a name that is no number, so that a server that polls the directory never sees
    half a version. The rename that publishes it is atomic on one file system.

    Args:
        model_directory: `models/mnist`; made if there is none.
        version: its number; None is the next free one.

    Yields:
        The publication; its `path` is set when the block has ended.

    Raises:
        ExportError: the version exists already, the directory cannot be made, or the disk is full.
    """
    version = check_version(model_directory, version)
    building = model_directory / f".building-{_host()}-{secrets.token_hex(4)}"
    existed = model_directory.is_dir()
    try:
        model_directory.mkdir(parents=True, exist_ok=True)
        building.mkdir()
    except OSError as error:
        raise ExportError(f"{model_directory} cannot be written: {error}") from error
    try:
        with _locked(building):
            publication = Publication(building)
            yield publication
            flush_tree(building)
            publication.path = _publish(building, model_directory, version)
            flush_directory(model_directory)
    except Exception as error:  # TensorFlow and ONNX have exceptions of their own for it.
        if _is_full(error):
            raise ExportError(f"{model_directory} cannot be written: {_FULL}. Nothing was published.") from error
        raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
        if not existed:
            with contextlib.suppress(OSError):  # Not empty: something was published.
                model_directory.rmdir()


_FULL: Final = os.strerror(errno.ENOSPC)


def _is_full(error: Exception) -> bool:
    """Whether an error says that the disk, or what may be used of it, is full."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    return full or _FULL in str(error)


def _publish(building: Path, model_directory: Path, version: int | None) -> Path:
    while True:
        number = version if version is not None else max(versions(model_directory), default=0) + 1
        try:
            # Fails, rather than replaces, where the directory exists and is not empty.
            os.rename(building, model_directory / str(number))
        except OSError as error:
            if number not in versions(model_directory):
                raise ExportError(f"{building} could not be renamed to version {number}: {error}") from error
            if version is not None:
                raise ExportError(f"{model_directory / str(number)} was made by another export meanwhile.") from error
        else:
            return model_directory / str(number)


def remove(model_directory: Path, version: int) -> None:
    """Removes a version: at once for whoever looks, by a rename to a name that is no number; then its files.

    Args:
        model_directory: `models/mnist`.
        version: its number.

    Raises:
        ExportError: it cannot be renamed; on Windows also where a server has a file of it open.
    """
    path = version_directories(model_directory)[version]
    removed = model_directory / f".removed-{version}-{secrets.token_hex(4)}"
    try:
        os.rename(path, removed)
    except OSError as error:
        raise ExportError(f"{path} cannot be removed: {error}") from error
    shutil.rmtree(removed, ignore_errors=True)  # `remove_leftovers` tries again.


def remove_leftovers(model_directory: Path) -> tuple[list[str], dict[str, str]]:
    """Removes what interrupted exports and removals left behind.

    Args:
        model_directory: `models/mnist`.

    Returns:
        The names of the folders that are gone, and those of the building folders that were left alone, with the reason.
    """
    gone: list[str] = []
    kept: dict[str, str] = {}
    folders = sorted(model_directory.iterdir()) if model_directory.is_dir() else []
    for folder in folders:
        if folder.name.startswith(".removed-"):
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.name.startswith(".building-"):
            reason = _remove_if_abandoned(folder)
            if reason is not None:
                kept[folder.name] = reason
                continue
        else:
            continue
        if folder.exists():
            kept[folder.name] = "could not be removed"
        else:
            gone.append(folder.name)
    return gone, kept


def _remove_if_abandoned(building: Path) -> str | None:
    """Removes a building folder, or tells why not."""
    try:
        age = time.time() - building.stat().st_mtime
    except FileNotFoundError:  # Published, or cleared away, while this looked.
        return None
    if age < MINUTE:  # Not even its lock is tried: the exporter itself may be about to take it.
        return "an export may be writing it; it is not yet a minute old"
    here = building.name.rpartition("-")[0] == f".building-{_host()}"
    try:
        with _locked(building) as locks:
            if not (here and locks) and age < DAY:
                where = "there are no locks here" if here else "another machine made it"
                return f"an export may be writing it; {where}, and it is not yet a day old"
            shutil.rmtree(building, ignore_errors=True)
    except BlockingIOError:
        return "an export is writing it"
    except OSError as error:
        return f"could not be removed: {error}"
    return None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Holds a folder's lock, by which others know that this process lives. False where there are no such locks.

    Raises:
        BlockingIOError: another process holds it.
    """
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locks = True
        except BlockingIOError:
            raise
        except OSError:  # A network file system without locks.
            locks = False
        yield locks
    finally:
        os.close(descriptor)


def _host() -> str:
    """This machine's name, in letters that a file's name may have."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", socket.gethostname())[:64] or "unnamed"
