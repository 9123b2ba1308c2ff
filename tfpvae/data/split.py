"""Test images held out of a data set that has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfpvae.checks import number
from tfpvae.data.images import ImageData, check_images, check_labels
from tfpvae.data.seeds import generator
from tfpvae.errors import DataError


@dataclass(frozen=True)
class HoldOut:
    """Chooses the test images of a data set that has none.

    Attributes:
        test_fraction: the share of the images, between 0 and 1. At least one image is held out, and at least one is
            left for training.
        seed: chooses the images. The same seed, fraction and number of images give the same split.

    Raises:
        DataError: a fraction that is not between 0 and 1.
    """

    test_fraction: float
    seed: int

    def __post_init__(self) -> None:
        number("test_fraction", self.test_fraction, DataError, above=0, below=1)

    def split(self, name: str, x: np.ndarray, y: np.ndarray | None = None, *, what: str) -> ImageData:
        """Holds test images out of `x` `[N, H, W]` or `[N, H, W, C]`; both parts keep the order of `x`.

        Args:
            name: the data set's name.
            x: all images, in any form that `check_images` takes.
            y: their labels `[N]`, or None.
            what: what to call `x` in an error message.

        Raises:
            DataError: images that `check_images` refuses, labels that do not fit them, or a single image.
        """
        x = check_images(x, what=what)
        n = len(x)
        if n < 2:
            raise DataError(f"Images to split into training and test must be 2 or more. Received: {what} with 1.")
        if y is not None:
            y = check_labels(y, n=n, what=f"labels for {what}")
        n_test = min(max(round(n * self.test_fraction), 1), n - 1)
        is_test = np.zeros(n, dtype=bool)
        is_test[generator(self.seed).permutation(n)[:n_test]] = True
        if y is None:
            return ImageData(name, x[~is_test], x[is_test])
        return ImageData(name, x[~is_test], x[is_test], y[~is_test], y[is_test])
