"""Export profiles: what to write for a target, as a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfpvae.checks import number, one_of
from tfpvae.errors import ExportError

_WANTED: Final = ("if-faster", "always", "never")


@dataclass(frozen=True)
class Profile:
    """What an export writes.

    Attributes:
        saved_model: whether to write a SavedModel, for TensorFlow Serving.
        onnx: whether to write ONNX graphs, for ONNX Runtime and the browser.
        litert: whether to write decoder.tflite, for LiteRT.
        warmup: whether to write requests that TensorFlow Serving answers while it loads the SavedModel; where there is
            none, nothing is written.
        model_card: whether to write MODEL_CARD.md.
        samples: whether to draw samples.png, of models of images.
        tolerance: the largest difference from Keras that is published, relative to the larger of 1 and the largest
            output.
        float16, int8: whether to write `decode` and `sample_mean` in lower precision beside float32: "if-faster" than
            float32 on this machine, "always" or "never".
        float16_tolerance, int8_tolerance: the largest difference from Keras that those are kept with, relative as
            `tolerance` is.
    """

    saved_model: bool = True
    onnx: bool = True
    litert: bool = False
    warmup: bool = True
    model_card: bool = True
    samples: bool = True
    tolerance: float = 1e-5
    float16: str = "if-faster"
    int8: str = "if-faster"
    float16_tolerance: float = 0.01
    int8_tolerance: float = 0.25

    def __post_init__(self) -> None:
        for key in ("saved_model", "onnx", "litert", "warmup", "model_card", "samples"):
            if not isinstance(getattr(self, key), bool):
                raise ExportError(f"{key} must be true or false. Received: {key}={getattr(self, key)!r}")
        for key in ("tolerance", "float16_tolerance", "int8_tolerance"):
            number(key, getattr(self, key), ExportError, above=0, below=1)
        for key in ("float16", "int8"):
            one_of(key, getattr(self, key), _WANTED, ExportError)
        if not (self.saved_model or self.onnx):
            raise ExportError("A profile must write saved_model, onnx or both: LiteRT has the decoder alone.")

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
