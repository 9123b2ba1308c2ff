"""Export profiles: what to write for a target, as a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfpvae.checks import number, one_of
from tfpvae.errors import ExportError
from tfpvae.export.targets.base import BUILT_IN, target_names
from tfpvae.files import local_path

_WANTED: Final = ("if-faster", "always", "never")


@dataclass(frozen=True)
class Profile:
    """What an export writes.

    Attributes:
        saved_model: whether to write a SavedModel, for TensorFlow Serving.
        onnx: whether to write ONNX graphs, for ONNX Runtime and the browser.
        litert: whether to write decoder.tflite, for LiteRT.
        targets: the names of further targets to write, registered with `tfpvae.export.register_target`.
        warmup: whether to write requests that TensorFlow Serving answers while it loads the SavedModel; where there is
            none, nothing is written.
        model_card: whether to write MODEL_CARD.md.
        samples: whether to draw samples.png, for models of images.
        tolerance: the largest allowed difference from Keras, relative to the larger of 1 and the largest output.
        float16, int8: whether to also write `decode` and `sample_mean` in lower precision: "if-faster" than float32 on
            this machine, "always" or "never".
        float16_tolerance, int8_tolerance: the largest allowed difference of these from Keras, relative like
            `tolerance`.
    """

    saved_model: bool = True
    onnx: bool = True
    litert: bool = False
    targets: tuple[str, ...] = ()
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
        if not isinstance(self.targets, list | tuple) or any(name in BUILT_IN for name in self.targets):
            raise ExportError(
                f"targets must list names of targets other than {', '.join(BUILT_IN)}, which have keys of their own. "
                f"Received: targets={self.targets!r}"
            )
        object.__setattr__(self, "targets", tuple(self.targets))  # TOML has lists.
        if unknown := [name for name in self.targets if name not in target_names()]:
            known = ", ".join(target_names()[len(BUILT_IN) :]) or "none"
            raise ExportError(f"targets must name targets that are registered: {known}. Received: {unknown[0]!r}")
        if not (self.saved_model or self.onnx or self.targets):
            raise ExportError("A profile must write saved_model, onnx or both: LiteRT has the decoder alone.")

    def writes(self, target: str) -> bool:
        """Whether a target is written."""
        return bool(getattr(self, target)) if target in BUILT_IN else target in self.targets

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Reads a profile from a TOML file.

        Raises:
            ExportError: the file cannot be read, or a key is unknown or has a wrong value.
        """
        path = local_path(path, ExportError)
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
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
