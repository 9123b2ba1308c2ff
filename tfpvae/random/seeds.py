"""The seeds that `n` and `seed` stand for: one rule for Python, client, edge and command line."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import numpy as np

from tfpvae.checks import positive_integer

Seeds = int | np.integer | Sequence[int] | np.ndarray | None
"""The seed of row 0 (row i then uses seed + i), one seed per row, or None for a fresh random one."""

# The independent streams of a seed's random numbers.
LATENT: Final = 0
OBSERVATION: Final = 1
POSTERIOR: Final = 2
DRAW_SEEDS: Final = 3

_INT64: Final = np.iinfo(np.int64)


def seeds_for(n: int | np.integer | None = None, seed: Seeds = None) -> np.ndarray:
    """One seed for each of n rows, int64 `[n]`.

    Args:
        n: the number of rows; None is the number of seeds, or 1 if `seed` is not an array.
        seed: an int s gives row i the seed s + i, wrapping in int64. An array `[n]` is used as given. None draws an
            int from the operating system's entropy.

    Raises:
        ValueError: `n` is not a positive integer, or `seed` is neither one int64 nor `n` of them.
    """
    if n is not None:
        positive_integer("n", n, ValueError)
    if seed is None:
        seed = secrets.randbits(64) + _INT64.min
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
        if not _INT64.min <= seed <= _INT64.max:
            raise ValueError(f"seed must fit in int64 (-2**63 to 2**63 - 1). Received: seed={seed}")
        # NumPy defines wrapping for uint64. The same bits are then read as int64.
        return (np.arange(n or 1, dtype=np.uint64) + np.uint64(int(seed) % 2**64)).view(np.int64)

    try:
        seeds = np.asarray(seed)
    except ValueError as error:
        raise ValueError(f"seed must be an int64, or a list of them with shape [n]. Received: {seed!r}") from error
    # Python ints beyond uint64 give an object array; int64 mixed with uint64 gives a float array.
    if seeds.ndim != 1 or seeds.dtype.kind not in "iu":
        raise ValueError(
            f"seed must be an int64, or a list of them with shape [n]. Received: shape {list(seeds.shape)}, "
            f"dtype {seeds.dtype}"
        )
    if seeds.size == 0 or (n is not None and n != seeds.size):
        raise ValueError(f"seed must hold one seed for each row. Received: n={n}, {seeds.size} seeds")
    if seeds.dtype.kind == "u" and seeds.max() > _INT64.max:
        raise ValueError(f"seed must fit in int64 (-2**63 to 2**63 - 1). Received: {seeds.max()}")
    return seeds.astype(np.int64)
