"""The file of a version for LiteRT, TensorFlow's runtime for phones and small devices, once TensorFlow Lite."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import keras
import numpy as np
import tensorflow as tf

from tfpvae.export.endpoints import Endpoint
from tfpvae.export.parity import first_line
from tfpvae.export.targets.base import Target, Task
from tfpvae.export.targets.saved_model import write_saved_model
from tfpvae.manifest import Manifest
from tfpvae.signatures import Run, Signature

LITERT: Final = "decoder.tflite"
"""The file of a version directory that this module writes."""

LITERT_ERRORS: Final = (ValueError, RuntimeError)
"""The exceptions of LiteRT for a file that it cannot open or run."""


class LiteRt(Target):
    """One file with all signatures that LiteRT supports, with a free batch and a single copy of the weights.

    LiteRT computes some densities differently from TensorFlow. Such signatures are left out.
    """

    name = "litert"
    runtime = "LiteRT"
    files = LITERT
    errors: ClassVar[tuple[type[Exception], ...]] = LITERT_ERRORS
    drops_differing = True

    def lacks(self, signature: Signature) -> str | None:
        return "PNG has no LiteRT form" if signature.name == "sample_png" else super().lacks(signature)

    def write(self, task: Task) -> dict[str, str]:
        task.progress(f"writing {LITERT}")
        converted, left_out = convert(task.model, task.endpoints)
        if converted is not None:
            (task.directory / LITERT).write_bytes(converted)
        return left_out

    @contextlib.contextmanager
    def open(self, directory: Path, signatures: tuple[str, ...]) -> Iterator[Mapping[str, Run]]:
        yield {self.runtime: run_litert(directory / LITERT)}

    def usage(self, manifest: Manifest) -> Iterator[str]:
        held = manifest.held(self.name)
        names, last = ", ".join(f"`{name}`" for name in held), held[-1]
        yield from (
            f"`{LITERT}` holds {names}, each by its name, for phones and small devices.",
            "",
            "In Python, with the arrays above:",
            "",
            "```python",
            "from ai_edge_litert.interpreter import Interpreter",
            "",
            f"litert = Interpreter({json.dumps(LITERT)}).get_signature_runner({json.dumps(last)})",
            f"litert({', '.join(f'{key}={key}' for key in manifest.signatures[last].inputs)})",
            "```",
            "",
        )


TARGET: Final = LiteRt()


def convert(model: keras.Model, endpoints: Mapping[str, Endpoint]) -> tuple[bytes | None, dict[str, str]]:
    """Converts the signatures.

    Args:
        model: the model whose weights the endpoints use.
        endpoints: by name.

    Returns:
        The file, or None if no signature can be converted, and the reasons for refused signatures, by name.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(model, {name: _by_halves(endpoint) for name, endpoint in endpoints.items()}, Path(folder))
        converted, why = _convert(folder, list(endpoints))
        if converted is not None:
            return converted, {}
        # The converter takes all signatures or none, so each is tried alone to find those it refuses.
        refused = {}
        for name in endpoints:
            alone, reason = _convert(folder, [name]) if len(endpoints) > 1 else (None, why)
            if alone is None:
                refused[name] = reason
        kept = [name for name in endpoints if name not in refused]
        converted, why = _convert(folder, kept) if refused and kept else (None, why)
        return converted, refused if converted is not None or not kept else dict.fromkeys(endpoints, why)


def _by_halves(endpoint: Endpoint) -> Endpoint:
    """The same endpoint with seeds split into int32 halves, as LiteRT needs them; see `tfpvae.random.tensorflow`."""
    names = [spec.name for spec in endpoint.input_signature]
    if "seed" not in names:
        return endpoint

    def function(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        given = dict(zip(names, inputs, strict=True))
        return endpoint.function(**given | {"seed": tf.bitcast(given["seed"], tf.int32)})

    return replace(endpoint, function=function)


def _convert(folder: str, names: list[str]) -> tuple[bytes | None, str]:
    """The file, or None and the reason why the converter refuses these signatures.

    The converter may use TensorFlow's operators, named "Flex...", for those that LiteRT lacks; they are detected
    afterwards. If it had to refuse them, it would write a page for each to standard error.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    try:
        converted = bytes(converter.convert())
    except Exception as error:  # noqa: BLE001  The converter's own exception has no public name. The reason is kept.
        named = re.search(r"^Custom ops: .*$", str(error), re.MULTILINE)
        return None, f"LiteRT's converter refuses it: {named[0] if named else first_line(error)}"
    lacking = sorted({name.decode() for name in re.findall(rb"\bFlex([A-Z]\w*)", converted)})
    if lacking:
        return None, f"LiteRT has no operators {', '.join(lacking)}"
    return converted, ""


def run_litert(path: Path, threads: int | None = None) -> Run:
    """Runs the signatures in a file on `threads` threads; None lets LiteRT choose."""

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
    """LiteRT's own interpreter if installed, else the copy in TensorFlow, which will be removed one day."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tf.lite.Interpreter(model_path=str(path), num_threads=threads)
    return Interpreter(model_path=str(path), num_threads=threads)
