"""Writing a SavedModel, and running it as TensorFlow Serving does."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfpvae.export.endpoints import Endpoint
from tfpvae.signatures import DEFAULT_ALIAS_OF, DEFAULT_SIGNATURE

Run = Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray]]
"""Runs a signature by name on inputs by name."""


def write_saved_model(model: keras.Model, endpoints: dict[str, Endpoint], directory: Path) -> None:
    """Writes a SavedModel with these signatures, and `serving_default` as another name for `decode` if there is one.

    It goes through `keras.export.ExportArchive`: a plain `tf.saved_model.save` of Keras 3 layers loads in Python and
    then fails every request in TensorFlow Serving, because it restores copies of the variables.

    Args:
        model: the model whose weights the endpoints use.
        endpoints: by name.
        directory: where to write.
    """
    archive = keras.export.ExportArchive()
    for part in model.layers:
        archive.track(part)
    for name, endpoint in endpoints.items():
        archive.add_endpoint(name, endpoint.function, list(endpoint.input_signature))
    default = endpoints.get(DEFAULT_ALIAS_OF)
    if default is not None:
        archive.add_endpoint(DEFAULT_SIGNATURE, default.function, list(default.input_signature))
    with contextlib.redirect_stdout(io.StringIO()):  # ExportArchive announces its save folder, which is not the last.
        archive.write_out(str(directory), verbose=False)


def run_v2(directory: Path) -> Run:
    """Runs signatures through TensorFlow's v2 loader, as Python programs do."""
    loaded = tf.saved_model.load(str(directory))

    def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = loaded.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})
        return {k: v.numpy() for k, v in outputs.items()}

    # The loaded object owns the variables: it must live as long as `run`, whose closure holds it.
    return run


@contextlib.contextmanager
def run_v1(directory: Path) -> Iterator[Run]:
    """Runs signatures through a session, as TensorFlow Serving does: variables that it would not restore fail here."""
    graph = tf.Graph()
    with contextlib.closing(tf.compat.v1.Session(graph=graph)) as session:
        with graph.as_default(), _quiet():
            meta = tf.compat.v1.saved_model.load(session, ["serve"], str(directory))

        def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            signature = meta.signature_def[name]
            feeds = {signature.inputs[k].name: v for k, v in inputs.items()}
            return session.run({k: v.name for k, v in signature.outputs.items()}, feeds)

        yield run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the loader's deprecation notice: a server's view is just what is wanted here."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
