"""`load`: the one way into all data sets."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from tfpvae.data.arrays import read_npy, read_npz
from tfpvae.data.folder import read_folder
from tfpvae.data.images import ImageData
from tfpvae.data.named import LOADERS
from tfpvae.data.split import HoldOut
from tfpvae.errors import DataError
from tfpvae.files import local_path

_READERS: Final[Mapping[str, Callable[[Path, HoldOut], ImageData]]] = {".npz": read_npz, ".npy": read_npy}
"""By suffix, what reads a file."""


def load(name_or_path: str | os.PathLike[str], *, test_fraction: float = 0.1, seed: int = 0) -> ImageData:
    """A data set of images, by its name or from a path.

    Names: `digits` (scikit-learn's, `[8, 8, 1]`, no download), `mnist` and `fashion_mnist` (through
    `keras.datasets`). Paths: a `.npz` file (see `read_npz`), a `.npy` file with one array, or a folder of
    images (see `read_folder`). Where a folder is called like a data set, the name means the data set: write
    `./mnist` for the folder.

    Args:
        name_or_path: the name or the path.
        test_fraction: the share of the images to hold out where the source has no test images of its own.
        seed: chooses which; the same seed gives the same split.

    Raises:
        DataError: an unknown name, a path that cannot be read, or images against the pixel rule of
            `check_images`.
        MissingExtraError: a name whose package is not installed.
    """
    read = _reader(name_or_path)
    return read(HoldOut(test_fraction, seed))


def check_source(name_or_path: str | os.PathLike[str]) -> None:
    """Checks that `load` knows the name, or that the path leads to a folder or to a file of a kind that it reads.

    It reads no data and loads no other package, so that it answers at once.

    Raises:
        DataError: an unknown name, a path that does not exist, or a file of another kind.
    """
    _reader(name_or_path)


def _reader(name_or_path: str | os.PathLike[str]) -> Callable[[HoldOut], ImageData]:
    """The function that reads a data set, chosen by its name or by the kind of file."""
    if not isinstance(name_or_path, str | os.PathLike) or not str(name_or_path):
        raise DataError(
            f"Data must be one of the names {', '.join(LOADERS)}, or a path. Received: {type(name_or_path).__name__} "
            f"{name_or_path!r}"
        )
    if name_or_path in LOADERS:
        return LOADERS[str(name_or_path)]
    path = local_path(name_or_path, DataError)
    if path.is_dir():
        return partial(read_folder, path)
    read = _READERS.get(path.suffix.lower())
    if read is not None and path.exists():
        return partial(read, path)
    name = str(name_or_path)
    what_is_there = "a file of another kind." if path.exists() else f"which does not exist.{_suggestion(name)}"
    raise DataError(
        f"Data must be one of the names {', '.join(LOADERS)}, or the path of a .npz file, a .npy file or a "
        f"folder of images. Received: {name!r}, {what_is_there}"
    )


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), LOADERS, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
