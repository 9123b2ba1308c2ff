"""One loaded version of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpvae._compat.tensorflow import make_callable
from tfpvae.savedmodel.graph import SavedGraph
from tfpvae.savedmodel.session import open_session
from tfpvae.server.status import Code, StatusError, invalid
from tfpvae.signatures import DEFAULT_SIGNATURE


@dataclass(frozen=True)
class ServedSignature:
    """One signature of a loaded version.

    Attributes:
        inputs: TensorFlow's name for the dtype of each input ("float", "int64", ...), by name.
        outputs: the names of the outputs.
        definition: the `SignatureDef`.
        compiled: the place where it calls a function that XLA must compile, which the server refuses; None if there is
            none.
    """

    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    definition: Any
    compiled: str | None


class Servable:
    """A SavedModel, loaded as TensorFlow Serving loads it: into a graph and a session of its own.

    It uses the loader of TensorFlow 1, as TensorFlow Serving does. A SavedModel that `tf.saved_model.load` reads may
    fail there ("Could not find variable ..."), and must fail here in the same way. The session closes with the last
    reference to the servable, so that running requests end normally when a version is replaced.

    Args:
        version: the version's number.
        path: its directory, which holds `saved_model.pb`.

    Raises:
        StatusError: the directory cannot be loaded.
    """

    def __init__(self, version: int, path: Path) -> None:
        self.version = version
        try:
            self._session, meta_graph = open_session(path)
        except tf.errors.OpError as error:
            raise status_of(error) from error
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise StatusError(Code.UNKNOWN, str(error)) from error
        graph = SavedGraph(meta_graph)
        self.signatures = {
            name: _served(definition, graph) for name, definition in sorted(meta_graph.signature_def.items())
        }
        self._calls = {
            name: self._callable(signature)
            for name, signature in self.signatures.items()
            if signature.inputs and signature.compiled is None
        }

    def signature(self, name: str) -> ServedSignature:
        """The signature that a `:predict` request names; "" stands for the default.

        Raises:
            StatusError: there is none of this name, or it has no inputs.
        """
        key = name or DEFAULT_SIGNATURE
        if key not in self.signatures:
            raise invalid(f'Serving signature name: "{key}" not found in signature def')
        signature = self.signatures[key]
        if not signature.inputs:
            raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
        return signature

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature. Any number of threads may call this at once.

        Args:
            name: the signature; "" stands for the default.
            inputs: one array for each of its inputs.

        Raises:
            StatusError: TensorFlow could not compute them; the message is TensorFlow's.
        """
        signature = self.signature(name)
        if signature.compiled is not None:
            raise StatusError(Code.INTERNAL, f"XLA compilation disabled\n\t [[{signature.compiled}]]")
        try:
            outputs = self._calls[name or DEFAULT_SIGNATURE](*(inputs[key] for key in signature.inputs))
        except tf.errors.OpError as error:
            raise status_of(error) from error
        return {key: np.asarray(output) for key, output in zip(signature.outputs, outputs, strict=True)}

    def _callable(self, signature: ServedSignature) -> Any:
        return make_callable(
            self._session,
            feeds=[signature.definition.inputs[name].name for name in signature.inputs],
            fetches=[signature.definition.outputs[name].name for name in signature.outputs],
        )


def status_of(error: tf.errors.OpError) -> StatusError:
    """The error that the client gets for an error of TensorFlow."""
    return StatusError(Code(error.error_code), error.message)


_DTYPE_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


def _served(definition: Any, graph: SavedGraph) -> ServedSignature:
    names = {name: tf.as_dtype(info.dtype).name for name, info in sorted(definition.inputs.items())}
    return ServedSignature(
        inputs={name: _DTYPE_NAMES.get(dtype, dtype) for name, dtype in names.items()},
        outputs=tuple(sorted(definition.outputs)),
        definition=definition,
        compiled=_compiled(graph, definition),
    )


def _compiled(graph: SavedGraph, definition: Any) -> str | None:
    """The place of a function that XLA must compile, as TensorFlow's errors name it."""
    place = graph.compiled([info.name for info in definition.outputs.values()])
    if place is None:
        return None
    function = f"{{{{function_node {place.function}}}}}" if place.function else ""
    return f"{function}{{{{node {place.node.name}}}}}"
