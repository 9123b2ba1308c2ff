"""Batches for training and testing as `tf.data`, from images in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfpvae._extras import explain_missing
from tfpvae.checks import positive_integer
from tfpvae.data.binarize import Binarize, draw_bernoulli, threshold
from tfpvae.data.images import check_images
from tfpvae.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf


def train_dataset(
    x: np.ndarray, *, batch_size: int, binarize: Binarize | str, seed: int, drop_remainder: bool = False
) -> tf.data.Dataset:
    """Shuffled batches for training, with a new order and new draws in each epoch.

    Two data sets with the same arguments give the same sequence of epochs. As everywhere in TensorFlow, it also depends
    on the global seed (`tf.random.set_seed`, `keras.utils.set_random_seed`).

    The images are one tensor in memory. Their indices are shuffled, and the graph gathers and binarises whole batches.

    Args:
        x: images `[N, H, W, C]` as `check_images` takes them.
        batch_size: B.
        binarize: how pixels become 0 or 1; dynamic binarisation draws afresh for each batch of each epoch.
        seed: any int64.
        drop_remainder: whether to leave out the last N mod B images of each epoch, so that every batch has one size.

    Returns:
        Batches `[B, H, W, C]`, float32; its cardinality is the number of batches in an epoch.

    Raises:
        DataError: images that `check_images` refuses, or a batch size that leaves no batch.
    """
    x, binarize = _checked(x, batch_size, binarize)
    n = len(x)
    if drop_remainder and batch_size > n:
        raise DataError(
            f"batch_size must be at most {n}, the number of images, with drop_remainder. Received: {batch_size}."
        )
    with explain_missing("tfpvae.data.train_dataset"):
        import tensorflow as tf

    images = _to_tensor(threshold(x) if binarize is Binarize.STATIC else x)
    indices = tf.data.Dataset.range(n).shuffle(n, seed=seed, reshuffle_each_iteration=True)
    indices = indices.batch(batch_size, drop_remainder=drop_remainder)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)

    def gather(batch: Any) -> Any:
        return tf.gather(images, batch)

    def draw(batch: Any, batch_seed: Any) -> Any:
        probability = tf.gather(images, batch)
        uniform = tf.random.stateless_uniform(tf.shape(probability), batch_seed)  # in [0, 1): 0 and 1 are exact
        return tf.cast(uniform < probability, tf.float32)

    if binarize is Binarize.DYNAMIC:
        batches = tf.data.Dataset.zip(indices, seeds).map(draw, num_parallel_calls=tf.data.AUTOTUNE)
    else:
        batches = indices.map(gather, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def test_dataset(x: np.ndarray, *, batch_size: int, binarize: Binarize | str, seed: int) -> tf.data.Dataset:
    """Batches for testing, in the order of `x`.

    Dynamic binarisation draws once, from the seed alone: every pass, every batch size and every run has the same binary
    test set, so that the results can be compared.

    Args:
        x: images `[N, H, W, C]` as `check_images` takes them.
        batch_size: B.
        binarize: how pixels become 0 or 1.
        seed: any int64; only dynamic binarisation depends on it.

    Returns:
        Batches `[B, H, W, C]`, float32; its cardinality is the number of batches.

    Raises:
        DataError: images that `check_images` refuses, or a batch size below 1.
    """
    x, binarize = _checked(x, batch_size, binarize)
    with explain_missing("tfpvae.data.test_dataset"):
        import tensorflow as tf

    match binarize:
        case Binarize.STATIC:
            x = threshold(x)
        case Binarize.DYNAMIC:
            x = draw_bernoulli(x, seed=seed)
    images = _to_tensor(x)
    batches = tf.data.Dataset.range(len(x)).batch(batch_size).map(lambda batch: tf.gather(images, batch))
    return batches.prefetch(tf.data.AUTOTUNE)


def _checked(x: np.ndarray, batch_size: int, binarize: Binarize | str) -> tuple[np.ndarray, Binarize]:
    positive_integer("batch_size", batch_size, DataError)
    return check_images(x, what="x"), Binarize(binarize)


def _to_tensor(x: np.ndarray) -> Any:
    """`x` as an eager tensor in main memory, where `tf.data` runs even on a machine with a GPU.

    A function that `tf.data` maps captures it as an input: it is never copied into a graph as a constant.
    """
    import tensorflow as tf

    with tf.device("/CPU:0"):
        return tf.convert_to_tensor(x)
