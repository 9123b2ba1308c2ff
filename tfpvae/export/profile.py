"""Export profiles: what to write for a target, as a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tfpvae.errors import ExportError


@dataclass(frozen=True)
class Profile:
    """What an export writes.

    Attributes:
        saved_model: whether to write a SavedModel, for TensorFlow Serving.
        onnx: whether to write ONNX graphs, for ONNX Runtime and the browser.
        warmup: whether to write requests that TensorFlow Serving answers while it loads the SavedModel; where there is
            none, nothing is written.
        model_card: whether to write MODEL_CARD.md.
        samples: whether to draw samples.png, of models of images.
        tolerance: the largest difference from Keras that is published, relative to the larger of 1 and the largest
            output.
    """

    saved_model: bool = True
    onnx: bool = True
    warmup: bool = True
    model_card: bool = True
    samples: bool = True
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        for key in ("saved_model", "onnx", "warmup", "model_card", "samples"):
            if not isinstance(getattr(self, key), bool):
                raise ExportError(f"{key} must be true or false. Received: {key}={getattr(self, key)!r}")
        if (
            isinstance(self.tolerance, bool)
            or not isinstance(self.tolerance, int | float)
            or not 0 < self.tolerance < 1
        ):
            raise ExportError(f"tolerance must be a number above 0 and below 1. Received: tolerance={self.tolerance!r}")
        if not (self.saved_model or self.onnx):
            raise ExportError("A profile must write something: saved_model, onnx or both must be true.")

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Reads a profile from a TOML file.

        Raises:
            ExportError: the file cannot be read, or a key is unknown or has a wrong value.
        """
        try:
            settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ExportError(f"Profile {path} cannot be read: {error}") from error
        known = [field.name for field in dataclasses.fields(cls)]
        for key in settings:
            if key not in known:
                raise ExportError(f"Profile {path} has an unknown key {key!r}. Known: {', '.join(known)}")
        try:
            return cls(**settings)
        except ExportError as error:
            raise ExportError(f"Profile {path}: {error}") from error
