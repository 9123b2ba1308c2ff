"""Writing the signatures for LiteRT, TensorFlow's runtime for phones and small devices, once TensorFlow Lite."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from tfpvae.export.endpoints import Endpoint
from tfpvae.export.parity import Example, Gap, compare, examples_of
from tfpvae.export.targets.saved_model import write_saved_model
from tfpvae.savedmodel.session import Run

LITERT: Final = "decoder.tflite"
"""The file of a version directory that this module writes."""

LITERT_ERRORS: Final = (ValueError, RuntimeError)
"""What LiteRT raises of a file that it cannot open or run."""


def write_litert(
    model: keras.Model, endpoints: dict[str, Endpoint], examples: list[Example], tolerance: float, path: Path
) -> tuple[list[Gap], dict[str, str]]:
    """Writes one file that holds all signatures that have a form there, with a free batch, and the weights once.

    What LiteRT then cannot run, or computes otherwise than the model, as it does of some densities, is left out too.

    Args:
        model: the model whose weights the endpoints use.
        endpoints: by name.
        examples: what the model itself answers.
        tolerance: the allowed difference, relative to the larger of 1 and the largest output.
        path: the file; it is not written if there is nothing to hold.

    Returns:
        The largest gap of each output, and why signatures were left out, by name.
    """
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(model, {name: _by_halves(endpoint) for name, endpoint in endpoints.items()}, Path(folder))
        while kept := [name for name in endpoints if name not in left_out]:
            converted = _convert(folder, kept)
            if isinstance(converted, dict):
                left_out |= converted
                continue
            path.write_bytes(converted)
            gaps, wrong = compare(examples_of(examples, kept), "LiteRT", run_litert(path), tolerance, LITERT_ERRORS)
            if not wrong:
                return gaps, left_out
            left_out |= wrong
    path.unlink(missing_ok=True)
    return [], left_out


def _by_halves(endpoint: Endpoint) -> Endpoint:
    """The same with seeds as `tfpvae.random.tensorflow` takes them for LiteRT."""
    names = [spec.name for spec in endpoint.input_signature]

    def function(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        given = dict(zip(names, inputs, strict=True))
        if "seed" in given:
            given["seed"] = tf.bitcast(given["seed"], tf.int32)
        return endpoint.function(**given)

    return replace(endpoint, function=function)


def _convert(folder: str, names: list[str]) -> bytes | dict[str, str]:
    """The file, or why the converter refuses some of them, by name."""
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
    try:
        with _quiet():
            return bytes(converter.convert())
    except Exception as error:  # noqa: BLE001  The converter's own exception has no public name; the reason is kept.
        named = re.search(r"^(TF Select|Custom) ops: .*$", str(error), re.MULTILINE)
        why = f"LiteRT's converter refuses it: {named[0] if named else str(error).partition(chr(10))[0]}"
    if len(names) == 1:
        return {names[0]: why}
    # It takes all of them or none: those that it refuses are found one by one.
    alone = [found for name in names if isinstance(found := _convert(folder, [name]), dict)]
    return {name: reason for found in alone for name, reason in found.items()} or dict.fromkeys(names, why)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the converter writes to the terminal by itself, a page for each operator that it lacks."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def run_litert(path: Path, threads: int | None = None) -> Run:
    """Runs the signatures that a file holds, on this many threads, None for LiteRT's own choice."""

    @functools.cache
    def interpreter() -> Any:
        return _interpreter(path, threads)

    @functools.cache
    def runner(name: str) -> Callable[..., dict[str, np.ndarray]]:
        return interpreter().get_signature_runner(name)

    def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return runner(name)(**inputs)

    return run


def _interpreter(path: Path, threads: int | None) -> Any:
    """LiteRT's own interpreter where it is installed, else the same one within TensorFlow, which is to go one day."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tf.lite.Interpreter(model_path=str(path), num_threads=threads)
    return Interpreter(model_path=str(path), num_threads=threads)
