"""What the tests of golden files share."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def load_keras_file() -> Callable[[Path], Any]:
    """Loads a `.keras` file, unless a later Keras than this one wrote it: no Keras promises to read those.

    Keras 3.12 refuses the argument `quantization_config` that Keras 3.15 writes for every `Dense`.
    """

    def load(path: Path) -> Any:
        import keras

        with zipfile.ZipFile(path) as file:
            written_by = json.loads(file.read("metadata.json"))["keras_version"]

        def numbers(version: str) -> list[int]:
            return [int(number) for number in version.split(".")[:2]]

        if numbers(keras.__version__) < numbers(written_by):
            pytest.skip(f"written by Keras {written_by}, later than this one, {keras.__version__}")
        return keras.models.load_model(path)

    return load
