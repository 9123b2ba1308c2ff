"""Training a run."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import keras

import tfpvae
from tfpvae import data as tfpvae_data
from tfpvae.data import Binarize, ImageData, is_binary, load
from tfpvae.errors import DivergedError, RunError
from tfpvae.evaluate import pictures
from tfpvae.files import local_path
from tfpvae.images import save_png
from tfpvae.models import VAE
from tfpvae.training.adam import FusedAdam
from tfpvae.training.config import TrainConfig
from tfpvae.training.evaluation import test_data
from tfpvae.training.networks import LIKELIHOODS, NETWORKS, PRIORS
from tfpvae.training.run import (
    HISTORY,
    PICTURES,
    Run,
    check_free,
    create_run,
    open_run,
    save_model,
    write_config,
    write_json,
)

SAVE_EVERY: Final = 10.0
"""The least time between two saved epochs, in seconds. An interrupted run loses no more than that, and an epoch."""


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Trains a run, and writes the settings, the model, the history and pictures into its directory.

    Everything is checked before the directory is changed. The model is saved during training, so that an interrupted
    run can be resumed from the last saved epoch. The order of the data then differs from that of an uninterrupted run.

    Args:
        config: the settings. With `resume` only `epochs` may differ from those of the run.
        out: the run's directory.
        overwrite: whether to replace the run that the directory holds.
        resume: whether to go on with the run that the directory holds.
        callbacks: more callbacks, such as `Progress`.

    Returns:
        The run.

    Raises:
        DataError: the data cannot be used.
        DivergedError: the loss or its gradient is not finite. The last finite model is kept.
        RunError: the directory holds a run and neither `overwrite` nor `resume` is set, or there is no run to resume.
    """
    out = local_path(out, RunError)
    if overwrite and resume:
        raise RunError("overwrite and resume exclude each other.")
    if resume:
        previous = open_run(out)
        config.check_resumes(previous.config)
        images = previous.data()
    else:
        check_free(out, overwrite)
        images = load(config.data)
    _warn_of_grey(config, images)

    keras.utils.set_random_seed(config.seed)
    done, history = 0, {}
    if resume and previous.model_path.is_file():
        vae = previous.model()
        done = int(vae.optimizer.iterations) // math.ceil(len(images.x_train) / config.batch_size)
        if config.epochs < done:
            raise RunError(f"epochs must be at least {done}, as many as the run has. Received: epochs={config.epochs}")
        history = {name: values[:done] for name, values in previous.history().items()}
    else:
        vae = NETWORKS[config.model](
            images.image_shape,
            config.latent,
            LIKELIHOODS[config.likelihood],
            PRIORS[config.prior](config.latent),
            config.objective(),
        )
        vae.compile(FusedAdam(config.learning_rate))
    run = (write_config if resume else create_run)(out, config, _about(images))

    if done < config.epochs:
        save = _Save(run, history, config.epochs)
        try:
            vae.fit(
                tfpvae_data.train_dataset(
                    images.x_train,
                    batch_size=config.batch_size,
                    binarize=run.config.binarize,
                    seed=config.seed + done,
                ),
                validation_data=test_data(run, images),
                initial_epoch=done,
                epochs=config.epochs,
                shuffle=False,
                verbose=0,
                callbacks=[
                    keras.callbacks.LearningRateScheduler(_Cosine(config.learning_rate, config.epochs)),
                    save,
                    *callbacks,
                ],
            )
        except DivergedError:
            if history:
                save.save()  # The last finite model; the last one saved may be many epochs older.
            raise
    _draw_pictures(run, vae, images)
    return run


class _Cosine:
    """The learning rate of each epoch: from `start` to zero along half a cosine."""

    def __init__(self, start: float, epochs: int) -> None:
        self.start, self.epochs = start, epochs

    def __call__(self, epoch: int, learning_rate: float) -> float:
        del learning_rate
        return self.start * 0.5 * (1.0 + math.cos(math.pi * epoch / self.epochs))


class _Save(keras.callbacks.Callback):
    """Saves history and model at the end of epochs, at least `SAVE_EVERY` seconds apart, and at the last."""

    def __init__(self, run: Run, history: dict[str, list[float]], epochs: int) -> None:
        super().__init__()
        self.run, self.history, self.epochs = run, history, epochs
        self.saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if epoch + 1 == self.epochs or time.monotonic() - self.saved >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Saves both."""
        # The history comes first: if the run stops between the two, the model tells how many epochs count.
        write_json(self.run.path / HISTORY, self.history)
        save_model(self.model, self.run.model_path)
        self.saved = time.monotonic()


def _warn_of_grey(config: TrainConfig, images: ImageData) -> None:
    if config.likelihood == "bernoulli" and config.binarize == Binarize.NONE and not is_binary(images.x_train):
        warnings.warn(
            "The images are grey and the likelihood is Bernoulli: log p(x|z) is then a cross-entropy, and the ELBO "
            "cannot be compared with others. Use --binarize dynamic, or --likelihood normal.",
            stacklevel=3,
        )


def _about(images: ImageData) -> dict[str, Any]:
    packages = ("tensorflow", "tensorflow-probability", "keras", "numpy")
    return {
        "data": {
            "image_shape": list(images.image_shape),
            "train": len(images.x_train),
            "test": len(images.x_test),
        },
        "versions": {"tfpvae": tfpvae.__version__} | {name: version(name) for name in packages},
    }


def _draw_pictures(run: Run, vae: VAE, images: ImageData) -> None:
    x = next(iter(test_data(run, ImageData(images.name, images.x_test[:12], images.x_test[:12])))).numpy()
    reconstructions, samples, history = PICTURES
    save_png(pictures.reconstructions(vae, x), run.path / reconstructions)
    save_png(pictures.samples(vae, 64), run.path / samples)
    save_png(pictures.history(run.history()), run.path / history)
