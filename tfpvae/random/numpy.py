"""Threefry-2x32 in NumPy: the reference for TensorFlow and ONNX, and the implementation for clients without them.

The key of the cipher is `(low, high)`, the two halves of a row's int64 seed. Words 2 i and 2 i + 1 of the row are the
two outputs for the counter `(i, stream)`, i = 0, 1, 2, ... So the first n words of a row depend neither on the number
of words requested nor on the other rows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

ROTATIONS: Final = (13, 15, 26, 6, 17, 29, 16, 24)
KEY_PARITY: Final = 0x1BD11BDA
ROUNDS: Final = 20

Array = npt.NDArray[Any]


def threefry2x32(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds [SM11, section 3.3].

    Args:
        key: two uint32 arrays, broadcast against the counter. A scalar is an array with one element.
        counter: two uint32 arrays.

    Returns:
        Two uint32 arrays of random bits.
    """
    k0, k1, c0, c1 = (np.atleast_1d(np.asarray(word, np.uint32)) for word in (*key, *counter))
    schedule = (k0, k1, k0 ^ k1 ^ np.uint32(KEY_PARITY))
    x0, x1 = c0 + schedule[0], c1 + schedule[1]
    for round_ in range(ROUNDS):
        r = ROTATIONS[round_ % 8]
        x0 = x0 + x1
        x1 = (x1 << np.uint32(r)) | (x1 >> np.uint32(32 - r))
        x1 = x1 ^ x0
        if round_ % 4 == 3:
            injection = round_ // 4 + 1
            x0 = x0 + schedule[injection % 3]
            x1 = x1 + schedule[(injection + 1) % 3] + np.uint32(injection)
    return x0, x1


def key_of(seeds: Array) -> tuple[Array, Array]:
    """The key of the cipher: the low and high halves of int64 seeds of any shape, each uint32."""
    words = seeds.view(np.uint64)
    return (words & np.uint64(0xFFFFFFFF)).astype(np.uint32), (words >> np.uint64(32)).astype(np.uint32)


def random_bits(seeds: npt.ArrayLike, size: int, stream: int = 0) -> Array:
    """The first `size` random words of each seed.

    Args:
        seeds: int64 `[B]`.
        size: words per row.
        stream: which of a seed's independent streams, 0 to 2^32 - 1.

    Returns:
        uint32 `[B, size]`.
    """
    key = key_of(np.asarray(seeds, np.int64)[:, None])
    blocks = np.arange((size + 1) // 2, dtype=np.uint32)[None, :]
    x0, x1 = threefry2x32(key, (blocks, np.full_like(blocks, stream)))
    return np.stack([x0, x1], axis=-1).reshape(len(x0), -1)[:, :size]


def uniform(seeds: npt.ArrayLike, size: int, stream: int = 0) -> Array:
    """u ~ U[0, 1) from the top 24 bits of each word: multiples of 2^-24, exact in float32.

    Args:
        seeds: int64 `[B]`.
        size: numbers per row.
        stream: which of a seed's independent streams.

    Returns:
        float32 `[B, size]`.
    """
    bits = random_bits(seeds, size, stream) >> np.uint32(8)
    return bits.astype(np.float32) * np.float32(2.0**-24)


def normal_from_uniform(uniforms: npt.ArrayLike) -> Array:
    """Box-Muller transform: pairs of uniforms `(u, v)` to `sqrt(-2 ln(1 - u)) (cos 2 pi v, sin 2 pi v)`.

    `1 - u` is at least 2^-24, so all values are finite and at most 5.77 in magnitude.

    Args:
        uniforms: float32 `[B, n]` in [0, 1), n even.

    Returns:
        float32 `[B, n]`, standard normal.
    """
    uniforms = np.asarray(uniforms, np.float32)
    u, v = uniforms[:, 0::2], uniforms[:, 1::2]
    radius = np.sqrt(np.float32(-2.0) * np.log(np.float32(1.0) - u))
    angle = np.float32(2.0 * np.pi) * v
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(uniforms.shape)
