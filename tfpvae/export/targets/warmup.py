"""Warm-up requests, which TensorFlow Serving runs while it loads a version so that the first client need not wait.

The file is a TFRecord of `PredictionLog` messages. Their package, tensorflow-serving-api, is not a dependency: the few
fields that a request needs are defined here, with the field numbers of TensorFlow Serving's `prediction_log.proto`,
`predict.proto` and `model.proto`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

from tfpvae._compat.tensorflow import tensor_file
from tfpvae.export.endpoints import Endpoint
from tfpvae.signatures import DEFAULT_ALIAS_OF, DEFAULT_SIGNATURE

WARMUP: Final = "assets.extra/tf_serving_warmup_requests"
"""The file of a version directory in which TensorFlow Serving looks for requests."""

MOST_RECORDS: Final = 1000
"""The most requests that TensorFlow Serving accepts in a version."""

_PACKAGE: Final = "tensorflow.serving"
_Field = descriptor_pb2.FieldDescriptorProto


def write_warmup(endpoints: Mapping[str, Endpoint], served_as: str, version_dir: Path) -> None:
    """Writes one request for each signature of a SavedModel, including `serving_default`.

    Each has one row of zeros, because the time of a first request does not depend on its rows.

    Args:
        endpoints: the signatures by name.
        served_as: the model's name on the server.
        version_dir: the version directory.
    """
    default = {DEFAULT_SIGNATURE: endpoints[DEFAULT_ALIAS_OF]} if DEFAULT_ALIAS_OF in endpoints else {}
    records = [
        predict_log(served_as, name, {spec.name: _zeros(spec) for spec in endpoint.input_signature})
        for name, endpoint in {**endpoints, **default}.items()
    ]
    assert len(records) <= MOST_RECORDS
    path = version_dir / WARMUP
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for record in records:
            file.write(record)


def predict_log(model: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A `PredictionLog` that holds one `PredictRequest`, serialised.

    Args:
        model: the model's name.
        signature: the signature's.
        inputs: the inputs by name.
    """
    log = prediction_log_class()()
    request = log.predict_log.request
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].ParseFromString(tf.make_tensor_proto(value).SerializeToString())
    return log.SerializeToString(deterministic=True)


@functools.cache
def prediction_log_class() -> Any:
    """The message class `tensorflow.serving.PredictionLog`, with the fields of a `PredictRequest` alone.

    In a pool of its own: the default one has these names already where tensorflow-serving-api is installed.
    """
    pool = descriptor_pool.DescriptorPool()
    for file in _with_dependencies(tensor_file):
        pool.AddSerializedFile(file.serialized_pb)
    pool.AddSerializedFile(_requests_file().SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.PredictionLog"))


def _with_dependencies(file: Any) -> Iterator[Any]:
    """A file of messages, after those that it imports. One that two of them import comes twice, which does no harm."""
    for imported in file.dependencies:
        yield from _with_dependencies(imported)
    yield file


def _requests_file() -> descriptor_pb2.FileDescriptorProto:
    predict = _message(
        "PredictRequest",
        _field("model_spec", 1, "ModelSpec"),
        _field("inputs", 2, "PredictRequest.InputsEntry", label=_Field.LABEL_REPEATED),
    )
    # What `map<string, TensorProto> inputs` stands for.
    entry = _message("InputsEntry", _field("key", 1), _field("value", 2, ".tensorflow.TensorProto"))
    entry.options.map_entry = True
    predict.nested_type.append(entry)
    log = _message("PredictionLog", _field("predict_log", 6, "PredictLog"))
    log.oneof_decl.add(name="log_type")
    log.field[0].oneof_index = 0
    return descriptor_pb2.FileDescriptorProto(
        name="tfpvae/prediction_log.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[tensor_file.name],
        message_type=[
            _message("ModelSpec", _field("name", 1), _field("signature_name", 3)),
            predict,
            _message("PredictLog", _field("request", 1, "PredictRequest")),
            log,
        ],
    )


def _message(name: str, *fields: descriptor_pb2.FieldDescriptorProto) -> descriptor_pb2.DescriptorProto:
    return descriptor_pb2.DescriptorProto(name=name, field=fields)


def _field(
    name: str, number: int, message: str | None = None, label: Any = _Field.LABEL_OPTIONAL
) -> descriptor_pb2.FieldDescriptorProto:
    """A field that holds a message of this type, or a string."""
    if message is None:
        return _Field(name=name, number=number, label=label, type=_Field.TYPE_STRING)
    full = message if message.startswith(".") else f".{_PACKAGE}.{message}"
    return _Field(name=name, number=number, label=label, type=_Field.TYPE_MESSAGE, type_name=full)


def _zeros(spec: tf.TensorSpec) -> np.ndarray:
    return np.zeros([1, *spec.shape[1:]], spec.dtype.as_numpy_dtype)
