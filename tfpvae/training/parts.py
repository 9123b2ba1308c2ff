"""The parts of a run's data."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from tfpvae.data import ImageData

SHARE: Final = 0.1
MOST: Final = 5_000


class Parts(NamedTuple):
    """Which rows of the training images a run learns from, and which say when to stop: two arrays of integers."""

    train: np.ndarray
    validation: np.ndarray


def split(images: ImageData, seed: int) -> Parts:
    """A random tenth of the training images, 5,000 at most, are for validation. A single image is in both parts.

    Args:
        images: the data; its test images have no part in training.
        seed: that of the run.
    """
    n = len(images.x_train)
    order = np.random.default_rng(seed).permutation(n)
    held_out = min(MOST, max(1, round(SHARE * n)))
    return Parts(np.sort(order[held_out:]) if n > 1 else order, np.sort(order[:held_out]))
