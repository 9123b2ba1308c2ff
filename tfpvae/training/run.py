"""The directory of a run: what it holds, and how to open it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tfpvae import files
from tfpvae._directories import check_free as check_directory
from tfpvae._directories import check_free_for_report
from tfpvae.checks import non_negative_integer, positive_integer
from tfpvae.data import ImageData, load
from tfpvae.errors import RunError
from tfpvae.files import local_path, replacing
from tfpvae.training.config import TrainConfig

if TYPE_CHECKING:
    from tfpvae.models import VAE

CONFIG: Final = "config.json"
MODEL: Final = "model.keras"
REFINED: Final = "refined.keras"
HISTORY: Final = "history.json"
PICTURES: Final = ("reconstructions.png", "samples.png", "history.png")
FILES: Final = (CONFIG, MODEL, REFINED, HISTORY, *PICTURES)


@dataclass(frozen=True)
class Run:
    """One training run on disk.

    Attributes:
        path: its directory.
        config: its settings.
        image_shape: `(H, W, C)` of the images that it is trained on.
    """

    path: Path
    config: TrainConfig
    image_shape: tuple[int, ...] | None = None

    @property
    def model_path(self) -> Path:
        """The file of the model as it was trained, and its optimizer, from the last saved epoch."""
        return self.path / MODEL

    @property
    def refined_path(self) -> Path:
        """The file of the model with a prior that was fitted after training; see `tfpvae.training.refine`."""
        return self.path / REFINED

    @property
    def final_path(self) -> Path:
        """The file of the model to use: the refined one, if there is one."""
        return self.refined_path if self.refined_path.is_file() else self.model_path

    def check_model(self) -> None:
        """Checks that the model's file is there and is a `.keras` file, without loading it.

        Raises:
            RunError: it is missing or damaged.
        """
        if not self.model_path.is_file():
            raise RunError(f"{self.path} holds no model yet: its training stopped before an epoch was saved.")
        if not zipfile.is_zipfile(self.final_path):
            raise RunError(f"{self.final_path} is damaged: it is no .keras file.")

    def model(self, *, refined: bool = True) -> VAE:
        """Loads the model.

        Args:
            refined: whether to load the refined one, if there is one, or the one that was trained.

        Raises:
            ModelError: its weights are not finite.
            RunError: there is no model, or it cannot be read.
        """
        self.check_model()
        import keras

        from tfpvae.models.divergence import check_weights

        path = self.final_path if refined else self.model_path
        try:
            model = keras.models.load_model(path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        check_weights(model)
        return model

    def history(self) -> dict[str, list[float]]:
        """The values of each epoch by metric, as in the `history` that `fit` returns; empty before an epoch is saved.

        Raises:
            RunError: the file cannot be read.
        """
        path = self.path / HISTORY
        if not path.is_file():
            return {}
        try:
            history = json.loads(path.read_text(encoding="utf-8"))
            return {name: [float(value) for value in values] for name, values in history.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error

    def data(self) -> ImageData:
        """Loads the run's data.

        Raises:
            DataError: it cannot be read.
            RunError: its images have another shape than those that the run was trained on.
        """
        images = load(self.config.data)
        if self.image_shape is not None and images.image_shape != self.image_shape:
            raise RunError(
                f"The images of {self.config.data} must have shape {list(self.image_shape)}, as those that the run "
                f"{self.path} was trained on. Received: {list(images.image_shape)}"
            )
        return images


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    try:
        files.write_json(path, value)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error}") from error


def open_run(path: str | Path) -> Run:
    """Opens a run's directory.

    Raises:
        RunError: the directory holds no run, or its settings cannot be read.
    """
    path = local_path(path, RunError)
    try:
        settings = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        return Run(path, TrainConfig(**settings["train"]), tuple(settings["data"]["image_shape"]))
    except FileNotFoundError as error:
        raise RunError(f"{path} is no run: it has no {CONFIG}. Make one with: tfpvae train --out {path}") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path / CONFIG} cannot be read: {error!r}") from error


def check_free(path: Path, overwrite: bool) -> None:
    """Checks that a new run may be written to `path`, and changes nothing.

    Raises:
        RunError: it holds a run and `overwrite` is False, or it holds something else.
    """
    check_directory(path, CONFIG, "run", overwrite, "Continue it with --resume, or replace it with --overwrite.")


def check_measurement(samples: int, images: int | None, report: str | Path | None, overwrite: bool) -> None:
    """Checks what `tfpvae.training.evaluate` is asked for, without TensorFlow.

    Raises:
        ModelError: `samples` is not an integer of at least 0.
        RunError: `images` is not an integer of at least 1, or the report's directory is not free.
    """
    non_negative_integer("samples", samples)
    if images is not None:
        positive_integer("images", images, RunError)
    if report is not None:
        check_free_for_report(local_path(report, RunError), overwrite)


def create_run(path: Path, config: TrainConfig, about: dict[str, Any]) -> Run:
    """Creates the directory of a run, and removes the files of an older run.

    Args:
        path: the directory.
        config: the settings of the run.
        about: the rest of its record: versions, and the shape of the data.

    Raises:
        RunError: the directory cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (path / name).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error}") from error
    return write_config(path, config, about)


def write_config(path: Path, config: TrainConfig, about: dict[str, Any]) -> Run:
    """Writes the settings of a run, in place of older ones."""
    write_json(path / CONFIG, {"train": config.to_json()} | about)
    return Run(path, config, tuple(about["data"]["image_shape"]))


def save_model(model: VAE, path: Path) -> None:
    """Saves a model whole or not at all: see `tfpvae.files.replacing`.

    Raises:
        RunError: it cannot be written.
    """
    try:
        with replacing(path) as unfinished:
            model.save(unfinished)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error}") from error
