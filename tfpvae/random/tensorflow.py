"""Threefry-2x32 in TensorFlow operations with an ONNX form. It gives the same bits as `tfpvae.random.numpy`.

The words are 32-bit, but the arithmetic is int64, because few runtimes can add uint32. Words count modulo 2^32, and
higher bits are ignored. So sums and products need no mask, and a runtime that computes int64 in 32 bits, such as
OpenVINO, gives the same bits. Only right shifts and returned words are masked. Constants are Python numbers below 2^31
and not captured tensors, which would become inputs of the ONNX graph.

LiteRT has neither `and` nor shifts for int64. If the seeds are int32 `[B, 2]`, their low and high halves, everything is
int32, which LiteRT supports. This is not the default because TensorFlow with a GPU adds int32 on the host.
"""

from __future__ import annotations

import math
from typing import Final

import tensorflow as tf

from tfpvae.random.numpy import KEY_PARITY, ROTATIONS, ROUNDS

_WORD: Final = 0xFFFFFFFF


def _high_bits(x: tf.Tensor, n: int) -> tf.Tensor:
    """The n highest bits of each word, a number below 2^n."""
    if x.dtype == tf.int32:
        return tf.bitcast(tf.bitwise.right_shift(tf.bitcast(x, tf.uint32), tf.constant(32 - n, tf.uint32)), tf.int32)
    return tf.bitwise.bitwise_and(tf.bitwise.right_shift(x, 32 - n), 2**n - 1)


def _rotate_left(x: tf.Tensor, r: int) -> tf.Tensor:
    return x * 2**r + _high_bits(x, r)


def threefry2x32(key: tuple[tf.Tensor, tf.Tensor], counter: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Threefry-2x32 with 20 rounds [SM11, section 3.3].

    Args:
        key: two int64 or int32 tensors, broadcast against the counter.
        counter: two tensors of that type.

    Returns:
        Two tensors of random bits, of the same type. Only the low 32 bits of arguments and results count.
    """
    k0, k1 = key
    schedule = (k0, k1, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(k0, k1), KEY_PARITY))
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for round_ in range(ROUNDS):
        x0 += x1
        x1 = tf.bitwise.bitwise_xor(_rotate_left(x1, ROTATIONS[round_ % 8]), x0)
        if round_ % 4 == 3:
            injection = round_ // 4 + 1
            x0 += schedule[injection % 3]
            x1 += schedule[(injection + 1) % 3] + injection
    return x0, x1


def random_bits(seeds: tf.Tensor, size: int, stream: int = 0) -> tf.Tensor:
    """The first `size` random words of each seed.

    Args:
        seeds: int64 `[B]`.
        size: words per row.
        stream: which of a seed's independent streams, 0 to 2^32 - 1.

    Returns:
        int64 `[B, size]`, each below 2^32.
    """
    return tf.bitwise.bitwise_and(_words(seeds, size, stream), _WORD)


def _words(seeds: tf.Tensor, size: int, stream: int) -> tf.Tensor:
    """As `random_bits`, in the type of the seeds. Only the low 32 bits count."""
    if seeds.dtype == tf.int32:
        low, high = seeds[:, :1], seeds[:, 1:]
    else:
        low = seeds[:, None]
        # In two steps, because a runtime with 32-bit int64 cannot shift by 32. Its high half is the seed's sign.
        high = tf.bitwise.right_shift(tf.bitwise.right_shift(low, 16), 16)
    blocks = tf.range((size + 1) // 2, dtype=seeds.dtype)[None, :]
    x0, x1 = threefry2x32((low, high), (blocks, tf.zeros_like(blocks) + stream))
    return tf.reshape(tf.stack([x0, x1], axis=-1), [-1, 2 * ((size + 1) // 2)])[:, :size]


def uniform(seeds: tf.Tensor, size: int, stream: int = 0) -> tf.Tensor:
    """u ~ U[0, 1) from the top 24 bits of each word: multiples of 2^-24, exact in float32.

    Args:
        seeds: int64 `[B]`, or int32 `[B, 2]`, their low and high halves.
        size: numbers per row.
        stream: which of a seed's independent streams.

    Returns:
        float32 `[B, size]`.
    """
    return tf.cast(_high_bits(_words(seeds, size, stream), 24), tf.float32) * 2.0**-24


def normal_from_uniform(uniforms: tf.Tensor) -> tf.Tensor:
    """Box-Muller transform: pairs of uniforms `(u, v)` to `sqrt(-2 ln(1 - u)) (cos 2 pi v, sin 2 pi v)`.

    `1 - u` is at least 2^-24, so all values are finite and at most 5.77 in magnitude.

    Args:
        uniforms: float32 `[B, n]` in [0, 1), n even and static.

    Returns:
        float32 `[B, n]`, standard normal.
    """
    pairs = tf.reshape(uniforms, [-1, uniforms.shape[-1] // 2, 2])
    radius = tf.sqrt(-2.0 * tf.math.log(1.0 - pairs[..., 0]))
    angle = 2.0 * math.pi * pairs[..., 1]
    normals = tf.stack([radius * tf.cos(angle), radius * tf.sin(angle)], axis=-1)
    return tf.reshape(normals, [-1, uniforms.shape[-1]])
