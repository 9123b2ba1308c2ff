"""Images in NumPy's files, `.npy` and `.npz`. Pickled objects are never loaded."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np

from tfpvae.data.images import ImageData
from tfpvae.data.split import HoldOut
from tfpvae.errors import DataError

_KERAS_KEYS: Final = ("x_train", "y_train", "x_test", "y_test")
_LONE_KEYS: Final = ("x", "images", "arr_0")  # arr_0: the name that numpy.savez gives to an array without one

_UNREADABLE: Final = (
    *(OSError, EOFError, ValueError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(SyntaxError, tokenize.TokenError),  # a damaged header, which NumPy reads as a Python literal
)
"""The errors of NumPy and `zipfile` for files that are missing, damaged, or hold pickled objects."""


def read_npy(path: Path, hold_out: HoldOut) -> ImageData:
    """One array `[N, H, W]` or `[N, H, W, C]`, split into training and test images.

    Raises:
        DataError: a file that cannot be read, or images against the pixel rule.
    """
    try:
        with path.open("rb") as file:
            x = np.lib.format.read_array(file, allow_pickle=False)
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as a .npy file without pickled objects: {error}") from error
    return hold_out.split(str(path), x, what=str(path))


def read_npz(path: Path, hold_out: HoldOut) -> ImageData:
    """Arrays in the layout of Keras, or a single array.

    The layout of Keras: `x_train`, `x_test` and, optionally, their labels `y_train`, `y_test`; other keys are not read.
    If `x_test` is missing, test images are held out of `x_train`, or out of the file's only array, which must be named
    `x`, `images` or `arr_0`.

    Raises:
        DataError: a file that cannot be read, other keys, or arrays that `ImageData` refuses.
    """
    keys, arrays = _read_known_keys(path)
    name = str(path)
    if "x_train" in arrays and "x_test" in arrays:
        return ImageData(name, **arrays)
    if "x_train" in arrays and "y_test" not in arrays:
        return hold_out.split(name, arrays["x_train"], arrays.get("y_train"), what=f"x_train of {path}")
    if len(keys) == 1 and keys[0] in _LONE_KEYS:
        return hold_out.split(name, arrays[keys[0]], what=f"{keys[0]} of {path}")
    raise DataError(
        "A .npz file must have the key x_train (and x_test, y_train, y_test where there are any; no y_test "
        f"without x_test), or a single key out of {', '.join(_LONE_KEYS)}. "
        f"Received: {path} with {'the keys ' + ', '.join(keys) if keys else 'no keys'}."
    )


def _read_known_keys(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """All keys of a `.npz` file, and the arrays of the keys that `read_npz` knows."""
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as npz:
            return npz.files, {key: npz[key] for key in npz.files if key in (*_KERAS_KEYS, *_LONE_KEYS)}
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as a .npz file without pickled objects: {error}") from error
