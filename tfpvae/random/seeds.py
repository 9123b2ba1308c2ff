"""Which seeds a call means by `n` and `seed`: the same rule in Python, client, edge and command line."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import numpy as np

from tfpvae.checks import positive_integer

Seeds = int | np.integer | Sequence[int] | np.ndarray | None
"""One seed for row 0 (row i then uses seed + i), one seed for each row, or None for a fresh one."""

# The streams of a seed's random numbers, by what each is used for.
LATENT: Final = 0
OBSERVATION: Final = 1
POSTERIOR: Final = 2
DRAW_SEEDS: Final = 3

_INT64: Final = np.iinfo(np.int64)


def seeds_for(n: int | np.integer | None = None, seed: Seeds = None) -> np.ndarray:
    """One seed for each of n rows, int64 `[n]`.

    Args:
        n: the number of rows; None is as many as there are seeds, or 1 where `seed` is no array.
        seed: an int s gives row i the seed s + i, wrapping in int64; an array `[n]` is taken as it is; None
            stands for an int drawn from the operating system's entropy.

    Raises:
        ValueError: `n` is not a positive integer, or `seed` is not an int64 or `n` of them.
    """
    if n is not None:
        positive_integer("n", n, ValueError)
    if seed is None:
        seed = secrets.randbits(64) + _INT64.min
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
        if not _INT64.min <= seed <= _INT64.max:
            raise ValueError(f"seed must fit in int64 (-2**63 to 2**63 - 1). Received: seed={seed}")
        # In uint64 NumPy defines the wrap; the same bits are then read as int64.
        return (np.arange(n or 1, dtype=np.uint64) + np.uint64(int(seed) % 2**64)).view(np.int64)

    try:
        seeds = np.asarray(seed)
    except ValueError as error:
        raise ValueError(f"seed must be an int64, or a list of them with shape [n]. Received: {seed!r}") from error
    # Python ints beyond uint64 make an array of objects, and a mixture of int64 and uint64 one of floats.
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
