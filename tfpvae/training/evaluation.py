"""Measuring the model of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpvae import data as tfpvae_data
from tfpvae.data import ImageData
from tfpvae.evaluate import diagnose, measure
from tfpvae.evaluate import report as write_report
from tfpvae.training.config import TrainConfig, decided
from tfpvae.training.parts import split
from tfpvae.training.run import Run, check_measurement

if TYPE_CHECKING:
    import tensorflow as tf


def evaluate(
    run: Run,
    progress: Callable[[str], None] = lambda step: None,
    *,
    samples: int = 0,
    images: int | None = None,
    report: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Measures the run's model on its test images.

    Binary images and z are drawn from the run's seed: the same call gives the same numbers. As many training images are
    measured as test images, at random, to see whether the model overfits.

    Args:
        run: the run.
        progress: called with a line for each step.
        samples: how many draws for each image estimate log p(x); 0 leaves the estimate out.
        images: how many test images, at most; None takes all.
        report: a directory to write a report with pictures to.
        overwrite: whether to replace the report that the directory holds.

    Returns:
        The measurements of `tfpvae.evaluate.measure` by name, as `json` can write them: `elbo`, `log_likelihood`, `kl`
        and so on in nats per image; `n`, the number of images; and `findings`, those of `tfpvae.evaluate.diagnose`.

    Raises:
        RunError: `images` is not an integer of at least 1, the report's directory is not free, or the run cannot be
            read.
        ModelError: `samples` is not an integer of at least 0.
    """
    check_measurement(samples, images, report, overwrite)
    vae, loaded = run.model(), run.data()
    rng = np.random.default_rng(run.config.seed)
    test = _some(np.arange(len(loaded.x_test)), images, rng)
    train = _some(split(loaded, run.config.seed).train, len(test), rng)
    x, x_train = (
        np.concatenate([batch.numpy() for batch in test_data(run, ImageData(loaded.name, part, part))])
        for part in (loaded.x_test[test], loaded.x_train[train])
    )
    settings: dict[str, Any] = {
        "samples": samples,
        "seed": run.config.seed,
        "batch_size": decided(run.config.batch_size),
        "progress": progress,
    }
    if report is None:
        measured = measure(vae, x, x_train, **settings)
    else:
        about: dict[str, Any] = {
            "history": run.history(),
            "labels": None if loaded.y_test is None else loaded.y_test[test],
            "title": f"{run.path.name}: {run.config.model} on {Path(run.config.data).name}",
        }
        measured = write_report(vae, x, report, x_train=x_train, overwrite=overwrite, **about, **settings).measurements
    findings = [{"name": f.name, "level": f.level.value, "text": f.text} for f in diagnose(measured).findings]
    return {**measured.to_json(), "findings": findings}


def _some(rows: np.ndarray, number: int | None, rng: np.random.Generator) -> np.ndarray:
    """So many of the rows, at random and in order: a file or folder may be sorted by class."""
    return rows if number is None or number >= len(rows) else np.sort(rng.choice(rows, number, replace=False))


def test_data(run: Run, images: ImageData) -> tf.data.Dataset:
    """The test images in batches `[B, H, W, C]`, binarised as the run's settings say, the same in every pass."""
    return held_out_dataset(run.config, images.x_test)


def held_out_dataset(config: TrainConfig, x: np.ndarray) -> tf.data.Dataset:
    """Images that are not trained on, in batches `[B, H, W, C]`, binarised by the settings, the same in every pass."""
    return tfpvae_data.test_dataset(
        x, batch_size=decided(config.batch_size), binarize=config.binarize, seed=config.seed
    )
