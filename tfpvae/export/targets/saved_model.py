"""Writing a SavedModel."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import keras

from tfpvae.export.endpoints import Endpoint
from tfpvae.signatures import DEFAULT_ALIAS_OF, DEFAULT_SIGNATURE


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
