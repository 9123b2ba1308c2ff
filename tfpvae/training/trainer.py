"""Training a run."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
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
from tfpvae.training.choices import choose
from tfpvae.training.config import TrainConfig, decided
from tfpvae.training.evaluation import held_out_dataset, test_data
from tfpvae.training.networks import build
from tfpvae.training.parts import Parts, split
from tfpvae.training.refining import refine
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
from tfpvae.training.stopping import AsLongAsItPays, BestWeights

MOST_EPOCHS: Final = 10_000
"""Where neither time nor the bound ends training."""
SAVE_EVERY: Final = 10.0
"""The least time between two saved epochs, in seconds. An interrupted run loses no more than that, and an epoch."""


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    say: Callable[[str], None] = lambda line: None,
    refine_prior: bool = True,
) -> Run:
    """Trains a run, and writes the settings, the model, the history and pictures into its directory.

    What the settings leave open is chosen by the data (`choose`). A tenth of the training images say when to stop; the
    model keeps the weights with the highest bound on them.

    Everything is checked before the directory is changed. The model is saved during training, so that an interrupted
    run can be resumed from the last saved epoch. The order of the data then differs from that of an uninterrupted run.

    Args:
        config: the settings. With `resume` only `epochs` and `minutes` may differ from those of the run.
        out: the run's directory.
        overwrite: whether to replace the run that the directory holds.
        resume: whether to go on with the run that the directory holds.
        callbacks: more callbacks, such as `Progress`.
        say: called with each line of what was chosen, and why training ended.
        refine_prior: whether to fit the prior to the latents afterwards, if it is N(0, I): see `refine`.

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
        config = config.resumes(previous.config)
        images = previous.data()
    else:
        check_free(out, overwrite)
        images = load(config.data)
    config, chosen = choose(config, images)
    for line in chosen:
        say(line)
    _warn_of_grey(config, images)

    keras.utils.set_random_seed(config.seed)
    parts = split(images, config.seed)
    steps = math.ceil(len(parts.train) / decided(config.batch_size))
    done, history = 0, {}
    if resume and previous.model_path.is_file():
        vae = previous.model(refined=False)
        earlier = previous.history()
        done = min(int(vae.optimizer.iterations) // steps, len(earlier.get("elbo", ())))
        if config.epochs is not None and config.epochs < done:
            raise RunError(f"epochs must be at least {done}, as many as the run has. Received: epochs={config.epochs}")
        history = {name: values[:done] for name, values in earlier.items()}
        vae.optimizer.learning_rate = config.learning_rate
    else:
        vae = build(
            images.image_shape,
            config.model,
            decided(config.latent),
            config.likelihood,
            config.prior,
            config.objective(),
        )
        vae.compile(FusedAdam(config.learning_rate))
    run = (write_config if resume else create_run)(out, config, _about(images, parts))

    if config.epochs is None or done < config.epochs:
        best = BestWeights(history)
        save = _Save(run, history, best)
        stop = AsLongAsItPays(best, config.minutes, steps, config.epochs)
        try:
            vae.fit(
                tfpvae_data.train_dataset(
                    images.x_train[parts.train],
                    batch_size=decided(config.batch_size),
                    binarize=config.binarize,
                    seed=config.seed + done,
                ),
                validation_data=held_out_dataset(config, images.x_train[parts.validation]),
                initial_epoch=done,
                epochs=config.epochs or done + MOST_EPOCHS,
                shuffle=False,
                verbose=0,
                callbacks=[best, stop, save, *callbacks],
            )
        except DivergedError:
            if history:
                save.save()  # The last finite model; the last one saved may be many epochs older.
            raise
        say(stop.summary(history))
    if refine_prior:
        refine(run, say, images)
    _draw_pictures(run, run.model(), images)
    return run


class _Save(keras.callbacks.Callback):
    """Saves history and the best model at the end of epochs, at least `SAVE_EVERY` seconds apart, and at the last."""

    def __init__(self, run: Run, history: dict[str, list[float]], best: BestWeights) -> None:
        super().__init__()
        self.run, self.history, self.best = run, history, best
        self.saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        del epoch
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if time.monotonic() - self.saved >= SAVE_EVERY:
            self.save()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        del logs
        self.save()

    def save(self) -> None:
        """Saves both."""
        # The history comes first: if the run stops between the two, the model tells how many epochs count.
        write_json(self.run.path / HISTORY, self.history)
        with self.best.in_place():
            save_model(self.model, self.run.model_path)
        self.run.refined_path.unlink(missing_ok=True)  # It was refined from older weights.
        self.saved = time.monotonic()


def _warn_of_grey(config: TrainConfig, images: ImageData) -> None:
    if config.likelihood == "bernoulli" and config.binarize == Binarize.NONE and not is_binary(images.x_train):
        warnings.warn(
            "The images are grey and the likelihood is Bernoulli: log p(x|z) is then a cross-entropy, and the ELBO "
            "cannot be compared with others. Use --binarize dynamic, or --likelihood normal.",
            stacklevel=3,
        )


def _about(images: ImageData, parts: Parts) -> dict[str, Any]:
    packages = ("tensorflow", "tensorflow-probability", "keras", "numpy")
    return {
        "data": {
            "image_shape": list(images.image_shape),
            "train": len(parts.train),
            "validation": len(parts.validation),
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
