"""The SavedModel of a version, for TensorFlow Serving and for Python."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

import keras
import tensorflow as tf

from tfpvae.export.endpoints import Endpoint
from tfpvae.export.targets.base import Target, Task
from tfpvae.export.targets.warmup import write_warmup
from tfpvae.savedmodel.session import run_v1, run_v2
from tfpvae.signatures import DEFAULT_ALIAS_OF, DEFAULT_SIGNATURE, SAVED_MODEL, Run, Signature


class SavedModel(Target):
    """A SavedModel, run through both of TensorFlow's loaders."""

    name = "saved_model"
    runtime = "SavedModel"
    files = SAVED_MODEL
    errors: ClassVar[tuple[type[Exception], ...]] = (tf.errors.OpError, KeyError)
    own_section = False

    def lacks(self, signature: Signature) -> str | None:
        return None

    def write(self, task: Task) -> dict[str, str]:
        task.progress("writing the SavedModel")
        write_saved_model(task.model, task.endpoints, task.directory)
        if task.profile.warmup:
            write_warmup(task.endpoints, task.served_as, task.directory)
        return {}

    @contextlib.contextmanager
    def open(self, directory: Path, signatures: tuple[str, ...]) -> Iterator[Mapping[str, Run]]:
        yield {self.runtime: run_v2(directory)}

    @contextlib.contextmanager
    def open_otherwise(self, directory: Path, signatures: tuple[str, ...]) -> Iterator[Mapping[str, Run]]:
        with run_v1(directory) as run:
            yield {f"{self.runtime} (v1)": run}


TARGET: Final = SavedModel()


def write_saved_model(model: keras.Model, endpoints: Mapping[str, Endpoint], directory: Path) -> None:
    """Writes a SavedModel with these signatures, and `serving_default` as another name for `decode` if there is one.

    What is saved is the variables of TensorFlow, as `keras.export.ExportArchive` does, and no layer. A plain
    `tf.saved_model.save` of Keras 3 layers loads in Python and then fails every request in TensorFlow Serving, because
    it restores copies of the variables. The archive itself would trace each function twice.

    Args:
        model: the model whose weights the endpoints use.
        endpoints: by name.
        directory: where to write.
    """
    signatures = {name: endpoint.concrete_function for name, endpoint in endpoints.items()}
    if DEFAULT_ALIAS_OF in signatures:
        signatures[DEFAULT_SIGNATURE] = signatures[DEFAULT_ALIAS_OF]
    layers = tf.Module()
    layers.all = list(model.layers)
    held = tf.train.TrackableView(layers).descendants()
    saved = tf.Module()
    saved.used = list({id(v): v for function in signatures.values() for v in function.variables}.values())
    # Lookup tables and the like.
    saved.resources = [each for each in held if isinstance(each, tf.saved_model.experimental.TrackableResource)]
    tf.saved_model.save(saved, str(directory), signatures=signatures)
