"""Models and versions of an earlier release: this one opens, verifies and reproduces them (see `make.py`)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

GOLDENS = Path(__file__).parent
NAMES = ("bernoulli", "conditional")

Answers = dict[str, dict[str, dict[str, np.ndarray]]]


def recorded(name: str) -> Answers:
    """By signature: inputs and outputs by name."""
    answers: Answers = {}
    with np.load(GOLDENS / f"{name}.npz") as file:
        for key in file:
            signature, direction, array = key.split("/")
            answers.setdefault(signature, {"inputs": {}, "outputs": {}})[direction][array] = file[key]
    return answers


def pixels(pngs: Any) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(png)), np.int16) for png in pngs])


def assert_answers(name: str, signature: str, got: dict[str, Any]) -> None:
    """The recorded outputs: draws to the bit, the others as far as two runtimes may differ."""
    expected = recorded(name)[signature]["outputs"]
    assert got.keys() == expected.keys()
    for output, value in expected.items():
        answer = np.asarray(got[output])
        if output == "image_bytes":
            np.testing.assert_allclose(pixels(answer), pixels(value), atol=1)  # A half rounds to either side.
        elif signature == "sample":
            np.testing.assert_array_equal(answer, value)
        else:
            np.testing.assert_allclose(answer, value, rtol=1e-5, atol=1e-5, err_msg=f"{signature} {output}")


@pytest.mark.parametrize("name", NAMES)
def test_the_saved_model_answers_as_it_did(name):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(GOLDENS / name / "1"))
    answers = recorded(name)
    assert set(loaded.signatures) == {"serving_default", *answers}
    for signature, recording in answers.items():
        got = loaded.signatures[signature](**{k: tf.constant(v) for k, v in recording["inputs"].items()})
        assert_answers(name, signature, {k: v.numpy() for k, v in got.items()})


@pytest.mark.parametrize("name", NAMES)
def test_the_onnx_graphs_answer_as_they_did(name):
    from tfpvae import edge

    decoder = edge.Decoder(GOLDENS / name)
    labels = {} if name == "bernoulli" else {"y": recorded(name)["sample"]["inputs"]["y"]}
    for signature, recording in recorded(name).items():
        inputs = recording["inputs"]
        by_seed = {"seed": inputs["seed"]} if "seed" in inputs else {}
        data = [inputs[key] for key in ("z", "x") if key in inputs]
        got = getattr(decoder, signature)(*data, **by_seed, **labels)
        if not isinstance(got, dict):
            got = {next(iter(recording["outputs"])): got}
        assert_answers(name, signature, got)


@pytest.mark.parametrize("name", NAMES)
def test_the_litert_file_answers_as_it_did(name):
    import warnings

    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow announces that its interpreter will move.
        interpreter = tf.lite.Interpreter(str(GOLDENS / name / "1" / "decoder.tflite"))
    signatures = interpreter.get_signature_list()
    assert {"decode", "sample", "sample_mean"} <= signatures.keys()
    for signature, names in signatures.items():
        inputs = recorded(name)[signature]["inputs"]
        if "seed" in names["inputs"]:
            continue  # Seeds come to LiteRT by their halves: `verify` compares those.
        got = interpreter.get_signature_runner(signature)(**{k: v for k, v in inputs.items() if k in names["inputs"]})
        assert_answers(name, signature, got)


@pytest.mark.parametrize("name", NAMES)
def test_the_version_verifies(name):
    from tfpvae.export.verification import verify

    found = verify(GOLDENS / name / "1")
    assert found.findings == ()
    assert {gap.runtime for gap in found.parity} >= {"ONNX Runtime", "LiteRT"}


@pytest.mark.parametrize("name", NAMES)
def test_the_keras_file_answers_as_it_did(name, load_keras_file):
    import tfpvae

    model = load_keras_file(GOLDENS / f"{name}.keras")
    assert type(model) is (tfpvae.VAE if name == "bernoulli" else tfpvae.ConditionalVAE)
    recording = recorded(name)
    for signature, each in recording.items():
        inputs = each["inputs"]
        given = {"y": inputs["y"]} if "y" in inputs and signature != "sample_latent" else {}
        seed = {"seed": inputs["seed"]} if "seed" in inputs else {}
        data = [inputs[key] for key in ("z", "x") if key in inputs]
        method = {"likelihood": "decode"}.get(signature, signature)
        answer = getattr(model, method)(*data, **seed, **given)
        if signature in ("likelihood", "encode"):
            got = answer.named_parameters
        elif signature == "score":
            got = answer
        else:
            got = {next(iter(each["outputs"])): answer.mean() if signature == "decode" else np.asarray(answer)}
        assert_answers(name, signature, got)
