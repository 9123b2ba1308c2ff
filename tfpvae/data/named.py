"""Data sets by name, from scikit-learn and from Keras."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tfpvae._extras import explain_missing
from tfpvae.data.images import ImageData
from tfpvae.data.split import HoldOut
from tfpvae.errors import DataError

_KERAS_FILES: Final = {
    "mnist": ("mnist.npz",),
    "fashion_mnist": (
        "fashion-mnist/train-labels-idx1-ubyte.gz",
        "fashion-mnist/train-images-idx3-ubyte.gz",
        "fashion-mnist/t10k-labels-idx1-ubyte.gz",
        "fashion-mnist/t10k-images-idx3-ubyte.gz",
    ),
}
"""The files that `keras.datasets` looks for, below its folder `datasets`."""


def load_digits(hold_out: HoldOut) -> ImageData:
    """The 1,797 handwritten digits of scikit-learn, `[8, 8, 1]`, without a download."""
    with explain_missing("The data set 'digits'"):
        from sklearn import datasets

    digits = datasets.load_digits()
    return hold_out.split("digits", digits.images / 16, digits.target, what="digits")


def load_mnist(hold_out: HoldOut) -> ImageData:
    """MNIST, `[28, 28, 1]`, with its own 10,000 test images."""
    return _load_keras("mnist")


def load_fashion_mnist(hold_out: HoldOut) -> ImageData:
    """Fashion-MNIST, `[28, 28, 1]`, with its own 10,000 test images."""
    return _load_keras("fashion_mnist")


LOADERS: Final[dict[str, Callable[[HoldOut], ImageData]]] = {
    "digits": load_digits,
    "fashion_mnist": load_fashion_mnist,
    "mnist": load_mnist,
}
"""Every data set that `load` knows by name."""


def keras_cache() -> Path:
    """The folder in which `keras.utils.get_file` keeps data sets.

    It is `$KERAS_HOME/datasets` or `~/.keras/datasets`. If Keras may not write there, it is `.keras/datasets` in the
    folder for temporary files.
    """
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    if not os.access(home, os.W_OK):
        temporary = Path("/tmp")
        home = (temporary if temporary.is_dir() else Path(tempfile.gettempdir())) / ".keras"
    return home / "datasets"


def _load_keras(name: str) -> ImageData:
    with explain_missing(f"The data set {name!r}"):
        from keras import datasets

    try:
        (x_train, y_train), (x_test, y_test) = getattr(datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception where the download fails
        files = "\n".join(f"  {keras_cache() / file}" for file in _KERAS_FILES[name])
        raise DataError(
            f"The data set {name!r} could neither be downloaded nor read from Keras's cache ({error}). "
            f"On a machine without network, put these files there:\n{files}"
        ) from error
    return ImageData(name, x_train, x_test, y_train, y_test)


DATA_SETS: Final = tuple(LOADERS)
"""The names that `tfpvae.data.load` knows."""
