"""Threefry-2x32 in TensorFlow, in operations that have an ONNX form; the same bits as `tfpvae.random.numpy`.

The words are 32-bit, but the arithmetic is int64, for few runtimes add uint32. Words are carried modulo 2^32, whatever
lies above: sums and products need no mask, and a runtime that computes int64 in 32 bits, as OpenVINO's does, gives the
same bits. Only what is shifted to the right, or given away, is masked. Constants are Python numbers below 2^31, not
captured tensors: a captured tensor would become an input of the ONNX graph.

LiteRT has neither `and` nor shifts of int64. With seeds that come as int32 `[B, 2]`, their low and high halves, all is
int32, which it has; on a GPU, TensorFlow would compute sums of int32 on the host.
"""

from __future__ import annotations

import math
from typing import Final

import tensorflow as tf

from tfpvae.random.numpy import KEY_PARITY, ROTATIONS, ROUNDS

_WORD: Final = 0xFFFFFFFF


def _high_bits(x: tf.Tensor, n: int) -> tf.Tensor:
    """The n highest bits of words: below 2^n."""
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
        Two tensors of that type of random bits. Of these, as of the arguments, the low 32 bits count.
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
    """As `random_bits`, in the type of the seeds; the low 32 bits count."""
    if seeds.dtype == tf.int32:
        low, high = seeds[:, :1], seeds[:, 1:]
    else:
        low = seeds[:, None]
        # In two steps: 32 is no shift where int64 has 32 bits. There the seed's sign is its high half.
        high = tf.bitwise.right_shift(tf.bitwise.right_shift(low, 16), 16)
    blocks = tf.range((size + 1) // 2, dtype=seeds.dtype)[None, :]
    x0, x1 = threefry2x32((low, high), (blocks, tf.zeros_like(blocks) + stream))
    return tf.reshape(tf.stack([x0, x1], axis=-1), [-1, 2 * ((size + 1) // 2)])[:, :size]


def uniform(seeds: tf.Tensor, size: int, stream: int = 0) -> tf.Tensor:
    """u ~ U[0, 1): the top 24 bits of each word, so multiples of 2^-24, exact in float32.

    Args:
        seeds: int64 `[B]`, or int32 `[B, 2]`, their low and high halves.
        size: numbers per row.
        stream: which of a seed's independent streams.

    Returns:
        float32 `[B, size]`.
    """
    return tf.cast(_high_bits(_words(seeds, size, stream), 24), tf.float32) * 2.0**-24


def normal_from_uniform(uniforms: tf.Tensor) -> tf.Tensor:
    """Box-Muller: pairs of uniforms `(u, v)` to `sqrt(-2 ln(1 - u)) (cos 2 pi v, sin 2 pi v)`.

    As `1 - u` is at least 2^-24, no value is infinite, and none exceeds 5.77 in size.

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
