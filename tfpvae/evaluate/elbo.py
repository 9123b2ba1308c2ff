"""The mean ELBO over a data set."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfpvae.batch import Batch
from tfpvae.evaluate.rows import traced
from tfpvae.models import LatentVariableModel, sampling
from tfpvae.random.seeds import seeds_for


def mean_score(
    vae: LatentVariableModel,
    dataset: tf.data.Dataset,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """The means of `vae.score` over a data set. Row i draws z with seed + i, whatever the batch size.

    Args:
        vae: the model.
        dataset: batches `[B, *event_shape]`; for a conditional model, pairs `(x, y)`.
        seed: the seed of the first row.
        progress: called with the number of rows done, after each batch.

    Returns:
        `elbo`, `log_likelihood` and `kl`, in nats per row, and `n`, the number of rows.
    """

    def score(batch: Batch, seeds: tf.Tensor) -> dict[str, tf.Tensor]:
        return sampling.score(vae, batch.inputs() | {"seed": seeds})

    score_batch = traced(vae, "score", score, reduce_retracing=True)
    rows: dict[str, list[np.ndarray]] = {}
    done = 0
    for data in dataset:
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        seeds = seeds_for(done + len(x), seed)[done:]
        for name, values in score_batch(Batch(x, y if vae.takes_condition else None), tf.constant(seeds)).items():
            rows.setdefault(name, []).append(values.numpy())
        done += len(x)
        progress(done)
    # In float64: a float32 sum of ten thousand terms loses digits that are printed.
    return {name: float(np.concatenate(values).mean(dtype=np.float64)) for name, values in rows.items()} | {"n": done}
