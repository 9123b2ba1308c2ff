"""Callbacks that watch a model during training: collapse, log p(x) of held-out data, samples.

[BGS16] Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfpvae.checks import non_negative_integer, positive_integer
from tfpvae.errors import RunError
from tfpvae.evaluate import active_units, importance_log_marginal, pictures
from tfpvae.files import local_path
from tfpvae.images import save_png


class CollapseAlarm(keras.callbacks.Callback):
    """Warns once when latents collapse: when their posterior means no longer depend on x [BGS16, section 5].

    It counts the active units after each epoch, and adds the number to the logs as `active_units`, for the history and
    for callbacks that come later in the list.

    Args:
        x: held-out data `[N, *event_shape]`; a few hundred examples are enough.
        at_least: how many latents must stay active; None is half of the most that were active so far, and at least one.
        threshold: the variance of the posterior mean above which a latent is active.
        start_from_epoch: how many epochs pass before it may warn: at the start of training few latents are active.
        y: of a conditional model, one for each row of x or one for all.

    Raises:
        ModelError: `at_least` is not an integer of at least 1, or `start_from_epoch` not one of at least 0.
    """

    def __init__(
        self, x: Any, at_least: int | None = None, threshold: float = 0.01, start_from_epoch: int = 1, y: Any = None
    ) -> None:
        super().__init__()
        if at_least is not None:
            positive_integer("at_least", at_least)
        non_negative_integer("start_from_epoch", start_from_epoch)
        self.x, self.y = np.asarray(x), y
        self.at_least, self.threshold, self.start_from_epoch = at_least, threshold, start_from_epoch
        self.most = 0
        self.warned = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        del logs
        self.most, self.warned = 0, False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        count = active_units(self.model, self.x, self.threshold, y=self.y).num_active
        self.most = max(self.most, count)
        if logs is not None:
            logs["active_units"] = count
        wanted = self.at_least or max(1, math.ceil(self.most / 2))
        if self.warned or epoch < self.start_from_epoch or count >= wanted:
            return
        self.warned = True
        before = f", after {self.most} before" if self.most > count else ""
        warnings.warn(
            f"Posterior collapse: after epoch {epoch + 1} only {count} of {self.model.latent_size} latents are "
            f"active{before}. The others carry no information about x, and rarely become active again. Warm the KL up "
            "(tfpvae.schedules.KLWarmUp), give each latent free bits (tfpvae.objectives.FreeBits), or weaken the "
            "decoder.",
            stacklevel=2,
        )


class LogMarginalEstimate(keras.callbacks.Callback):
    """log p(x) of held-out data by importance sampling, every n epochs: `val_log_marginal` in the logs, in nats.

    In the other epochs the logs keep the last value, so that every epoch of the history has one. Callbacks that read it
    must come later in the list; the history always does. To stop early by it:

    ```python
    vae.fit(x, epochs=1000, callbacks=[
        LogMarginalEstimate(x_val, every=5),
        keras.callbacks.EarlyStopping("val_log_marginal", mode="max", patience=15, restore_best_weights=True),
    ])
    ```

    `patience` counts epochs, and should be a multiple of `every`. The draws are the same each time, so that changes
    come from the model.

    Args:
        x: held-out data `[N, *event_shape]`. The decoder computes each example `samples` times: a few hundred are
            enough.
        samples: how many draws for each example.
        every: n; the first epoch is measured, and every n-th after it.
        seed: the seed of the first example.
        y: of a conditional model, one for each row of x or one for all.

    Raises:
        ModelError: `samples` or `every` is not an integer of at least 1.
    """

    name = "val_log_marginal"

    def __init__(self, x: Any, samples: int = 100, every: int = 1, seed: int = 0, y: Any = None) -> None:
        super().__init__()
        positive_integer("samples", samples)
        positive_integer("every", every)
        self.x, self.y = np.asarray(x), y
        self.samples, self.every, self.seed = samples, every, seed
        self.last: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        del logs
        self.last = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Measured at the first epoch of a `fit` with `initial_epoch` too, so that every epoch has a value.
        if self.last is None or epoch % self.every == 0:
            estimate = importance_log_marginal(self.model, self.x, self.samples, self.seed, y=self.y)
            self.last = float(estimate.log_marginal.mean())
        if logs is not None:
            logs[self.name] = self.last


class SamplePictures(keras.callbacks.Callback):
    """Draws samples of the model during training: `samples-0001.png` after the first epoch, and so on.

    The seeds are the same each time, so that the pictures show the same latents.

    Args:
        directory: where to write the pictures; it is created.
        every: how many epochs lie between two pictures; the last epoch has one too.
        n: how many samples.
        seed: the seed of the first sample.
        x: images `[N, H, W, C]` to draw beside their reconstructions, as `reconstructions-0001.png`; None draws none.
        y: for a conditional model, the condition of all samples and of all images x.

    Raises:
        ModelError: `every` or `n` is not an integer of at least 1.
    """

    def __init__(
        self, directory: str | Path, every: int = 1, n: int = 64, seed: int = 0, x: Any = None, y: Any = None
    ) -> None:
        super().__init__()
        positive_integer("every", every)
        positive_integer("n", n)
        self.directory = local_path(directory, RunError)
        self.every, self.n, self.seed = every, n, seed
        self.x = None if x is None else np.asarray(x)
        self.y = y

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        del logs
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.directory} cannot be written: {error}") from error

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        if epoch % self.every and epoch + 1 != self.params.get("epochs"):
            return
        picture = pictures.samples(self.model, self.n, self.seed, y=self.y)
        save_png(picture, self.directory / f"samples-{epoch + 1:04d}.png")
        if self.x is not None:
            picture = pictures.reconstructions(self.model, self.x, y=self.y)
            save_png(picture, self.directory / f"reconstructions-{epoch + 1:04d}.png")
