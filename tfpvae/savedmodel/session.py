"""Runs SavedModels with TensorFlow's two loaders."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpvae._logs import log_level
from tfpvae.signatures import Run


def open_session(directory: Path) -> tuple[tf.compat.v1.Session, Any]:
    """Loads a SavedModel into its own graph and session, as TensorFlow Serving does.

    This is the loader of TensorFlow 1. A SavedModel that `tf.saved_model.load` accepts may fail here with "Could not
    find variable ...". It then fails in TensorFlow Serving too.

    Args:
        directory: the directory with `saved_model.pb`.

    Returns:
        The session, which the caller closes, and the `MetaGraphDef`.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    try:
        # TensorFlow advises to use `tf.saved_model.load` instead.
        with graph.as_default(), log_level(tf.get_logger(), logging.ERROR):
            return session, tf.compat.v1.saved_model.load(session, ["serve"], str(directory))
    except BaseException:
        session.close()
        raise


@contextlib.contextmanager
def run_v1(directory: Path) -> Iterator[Run]:
    """Runs signatures as TensorFlow Serving does. Variables that it would not restore raise an error."""
    session, meta_graph = open_session(directory)

    def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        signature = meta_graph.signature_def[name]
        feeds = {signature.inputs[key].name: value for key, value in inputs.items()}
        return session.run({key: info.name for key, info in signature.outputs.items()}, feeds)

    with contextlib.closing(session):
        yield run


def run_v2(directory: Path) -> Run:
    """Runs signatures as Python programs do, through `tf.saved_model.load`."""
    loaded = tf.saved_model.load(str(directory))

    def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        return {key: tensor.numpy() for key, tensor in outputs.items()}

    # The closure of `run` keeps the loaded object alive, which owns the variables.
    return run
