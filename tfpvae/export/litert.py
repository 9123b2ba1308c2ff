"""Writing the decoder for LiteRT, TensorFlow's runtime for phones and small devices, once TensorFlow Lite.

It has `decode` alone. The random numbers of the signatures by seed need the bitwise operators on int64 that LiteRT
does not have: the converter refuses BitwiseAnd, BitwiseXor and RightShift of them.
"""

from __future__ import annotations

import functools
import re
import warnings
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from tfpvae.export.endpoints import Endpoint
from tfpvae.export.saved_model import Run

LITERT: Final = "decoder.tflite"
"""The file of a version directory that this module writes."""

LITERT_ERRORS: Final = (ValueError, RuntimeError)
"""What LiteRT raises of a file that it cannot open or run."""


class NoLiteRtFormError(Exception):
    """A signature holds operators that LiteRT does not have."""


def write_litert(model: keras.Model, endpoint: Endpoint, path: Path) -> None:
    """Writes a signature as a flat buffer with a free batch.

    Args:
        model: owns the variables.
        endpoint: the signature.
        path: the file.

    Raises:
        NoLiteRtFormError: it has no form there; no file is left.
    """
    function = tf.function(endpoint.function, input_signature=endpoint.input_signature, autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
    try:
        path.write_bytes(converter.convert())
    except Exception as error:  # The converter's own exception has no public name.
        named = re.search(r"^(TF Select|Custom) ops: .*$", str(error), re.MULTILINE)
        why = named[0] if named else str(error).partition("\n")[0]
        raise NoLiteRtFormError(f"LiteRT's converter refuses it: {why}") from error


def run_litert(path: Path) -> Run:
    """Runs the signature that a file holds, whatever name it is given."""
    open_once = functools.cache(_interpreter)

    def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        interpreter: Any = open_once(path)
        given = {each["name"]: each["index"] for each in interpreter.get_input_details()}
        for key, index in given.items():
            interpreter.resize_tensor_input(index, inputs[key].shape)
        interpreter.allocate_tensors()
        for key, index in given.items():
            interpreter.set_tensor(index, inputs[key])
        interpreter.invoke()
        (output,) = interpreter.get_output_details()
        return {"mean": interpreter.get_tensor(output["index"])}

    return run


def _interpreter(path: Path) -> Any:
    """LiteRT's own interpreter where it is installed, else the same one within TensorFlow, which is to go one day."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tf.lite.Interpreter(model_path=str(path))
    return Interpreter(model_path=str(path))
