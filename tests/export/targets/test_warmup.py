"""The requests that TensorFlow Serving warms up with: their bytes, and what the SavedModel answers to them."""

from __future__ import annotations

import numpy as np
import pytest

from tfpvae.signatures import DEFAULT_SIGNATURE, SIGNATURES

FILE = "assets.extra/tf_serving_warmup_requests"
"""What TensorFlow Serving looks for in a version directory."""


def requests_in(path):
    """(model, signature, inputs by name) of each record of a file."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    from tfpvae.export.targets.warmup import prediction_log_class

    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_class().FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {
            name: tf.make_ndarray(tensor_pb2.TensorProto.FromString(value.SerializeToString()))
            for name, value in request.inputs.items()
        }
        yield request.model_spec.name, request.model_spec.signature_name, inputs


def test_the_bytes_of_one_request():
    """By hand, from the field numbers in TensorFlow Serving's and TensorFlow's .proto files."""
    from tfpvae.export.targets.warmup import predict_log

    tensor = b"\x08\x09"  # TensorProto.dtype = 1, a varint: DT_INT64 is 9.
    tensor += b"\x12\x04" + b"\x12\x02" + b"\x08\x01"  # .tensor_shape = 2: .dim = 2: .size = 1.
    tensor += b"\x52\x01\x05"  # .int64_val = 10, packed.
    entry = b"\x0a\x01y" + b"\x12\x0b" + tensor  # Of a map: key = 1, value = 2.
    spec = b"\x0a\x01m" + b"\x1a\x01s"  # ModelSpec.name = 1, .signature_name = 3.
    request = b"\x0a\x06" + spec + b"\x12\x10" + entry  # PredictRequest.model_spec = 1, .inputs = 2.
    log = b"\x32\x1c" + b"\x0a\x1a" + request  # PredictionLog.predict_log = 6, PredictLog.request = 1.
    assert predict_log("m", "s", {"y": np.array([5], np.int64)}) == log


def test_the_order_of_inputs_does_not_show():
    from tfpvae.export.targets.warmup import predict_log

    x, seed = np.zeros([1, 3], np.float32), np.zeros([1], np.int64)
    assert predict_log("m", "s", {"x": x, "seed": seed}) == predict_log("m", "s", {"seed": seed, "x": x})


def test_every_signature_is_asked_once_and_answers(exported):
    """Through the loader that TensorFlow Serving uses."""
    from tfpvae.savedmodel.session import run_v1, run_v2

    asked = list(requests_in(exported.path / FILE))
    assert {model for model, _, _ in asked} == {"digits"}
    assert sorted(signature for _, signature, _ in asked) == sorted([*SIGNATURES, DEFAULT_SIGNATURE])
    shapes = {"mean": (1, 8, 8, 1), "sample": (1, 8, 8, 1), "logits": (1, 8, 8, 1), "z": (1, 4), "loc": (1, 4)}
    v2 = run_v2(exported.path)
    with run_v1(exported.path) as v1:
        for _, signature, inputs in asked:
            for run in (v1, v2):
                outputs = run(signature, inputs)
                assert {name: value.shape for name, value in outputs.items()} == {
                    name: (1, 4) if name == "scale" else shapes.get(name, (1,)) for name in outputs
                }


@pytest.mark.parametrize("num_classes", [10, None])
def test_a_conditional_models_requests_hold_y(num_classes, build_conditional, tmp_path):
    import tensorflow as tf

    from tfpvae.export.endpoints import endpoints
    from tfpvae.export.targets.warmup import MOST_RECORDS, write_warmup

    present, _ = endpoints(build_conditional(num_classes=num_classes))
    write_warmup(present, "labelled", tmp_path)
    asked = list(requests_in(tmp_path / FILE))
    assert len(asked) == len(present) + 1 <= MOST_RECORDS == 1000
    for model, signature, inputs in asked:
        assert model == "labelled"
        endpoint = present["decode" if signature == DEFAULT_SIGNATURE else signature]
        assert set(inputs) == {*endpoint.signature.inputs, "y"}
        assert inputs["y"].shape == ((1,) if num_classes else (1, 10))
        assert inputs["y"].dtype == (np.int64 if num_classes else np.float32)
        outputs = endpoint.function(**{name: tf.constant(value) for name, value in inputs.items()})
        assert {value.shape[0] for value in outputs.values()} == {1}
