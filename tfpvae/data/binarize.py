"""Grey images -> the 0/1 pixels that a Bernoulli likelihood models."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np

from tfpvae.data.seeds import generator
from tfpvae.errors import DataError

_CHUNK: Final = 2**20  # pixels; small enough to stay in the cache


class Binarize(StrEnum):
    """How pixels in [0, 1] become 0 or 1."""

    NONE = "none"
    """They stay as they are."""

    STATIC = "static"
    """By threshold: 1 where the pixel is above 0.5."""

    DYNAMIC = "dynamic"
    """By chance: the pixel's value is the probability of 1, drawn afresh in each epoch [BGS16, sec. 5].

    Fresh draws keep a model from memorising the noise of one draw. Results on MNIST can be compared only between models
    that binarise in the same way.
    """

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise DataError(f"binarize must be one of {', '.join(cls)}. Received: {value!r}.")


def default_binarize(likelihood: str) -> Binarize:
    """Dynamic for the likelihood "bernoulli", whose pixels are 0 or 1; none for all others."""
    return Binarize.DYNAMIC if likelihood == "bernoulli" else Binarize.NONE


def is_binary(x: np.ndarray) -> bool:
    """Whether all values are 0 or 1. For grey images the first pixels decide."""
    values = x.reshape(-1)
    chunks = (values[start : start + _CHUNK] for start in range(0, values.size, _CHUNK))
    return all(bool(((chunk == 0) | (chunk == 1)).all()) for chunk in chunks)


def threshold(x: np.ndarray) -> np.ndarray:
    """1 where `x` is above 0.5, else 0, as float32."""
    return (x > 0.5).astype(np.float32)


def draw_bernoulli(x: np.ndarray, *, seed: int) -> np.ndarray:
    """One draw of 0 or 1 for each probability in `x`, as float32: a pure function of `x` and the seed."""
    return (generator(seed).random(x.shape, dtype=np.float32) < x).astype(np.float32)
