"""The signatures of a servable as the JSON of `GET /v1/models/<model>/metadata`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfpvae._compat.tensorflow import dtype_name
from tfpvae.server.servable import Servable


def write_message(message: Mapping[str, Any]) -> str:
    """A message as protobuf prints it: indented by one space for each level, with a line feed at the end."""
    return json.dumps(message, indent=1, ensure_ascii=False) + "\n"


def write_metadata(model: str, servable: Servable) -> str:
    """The answer: the model, the version and its signatures, in order of their names."""
    spec = {"name": model, "version": str(servable.version), "signature_name": ""}
    signatures = {name: _signature(served.definition) for name, served in servable.signatures.items()}
    return (
        f'{{\n"model_spec":{write_message(spec)},\n'
        f'"metadata": {{"signature_def": {write_message({"signature_def": signatures})}}}\n}}\n'
    )


def _signature(definition: Any) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor(info) for name, info in sorted(definition.inputs.items())},
        "outputs": {name: _tensor(info) for name, info in sorted(definition.outputs.items())},
        "method_name": definition.method_name,
        "defaults": {},
    }


def _tensor(info: Any) -> dict[str, Any]:
    shape = tf.TensorShape(info.tensor_shape)
    sizes = [] if shape.rank is None else [-1 if size is None else size for size in shape]
    return {
        "name": info.name,
        "dtype": dtype_name(info.dtype),
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in sizes],
            "unknown_rank": shape.rank is None,
        },
    }
