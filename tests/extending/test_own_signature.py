"""A signature of a user's own goes the whole way that those of tfpvae go."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import httpx
import numpy as np
import pytest

from tfpvae import signatures
from tfpvae.client import Client
from tfpvae.edge import Decoder
from tfpvae.errors import ExportError, RequestError
from tfpvae.export import Profile, verify
from tfpvae.manifest import read_manifest
from tfpvae.signatures import Signature, register_signature

Z = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def registered():
    spec = importlib.util.spec_from_file_location(
        "tests_extending_bernoulli_stddev", Path(__file__).with_name("bernoulli_stddev.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    register_signature(module.STDDEV)
    try:
        yield module.STDDEV
    finally:
        del signatures.SIGNATURES["stddev"]


@pytest.fixture(scope="module")
def export(registered, vae, tmp_path_factory, restrict):
    import tfpvae

    with pytest.MonkeyPatch.context() as patch:
        restrict(patch, "decode", "stddev")
        profile = Profile(litert=True, float16="never", int8="never")
        return tfpvae.export_model(vae, tmp_path_factory.mktemp("own") / "digits", profile=profile)


@pytest.fixture(scope="module")
def expected(vae):
    return vae.decode(Z).stddev().numpy()


def test_every_target_holds_it_and_agrees_with_keras(export):
    assert export.targets == dict.fromkeys(("saved_model", "onnx", "litert"), ("decode", "stddev"))
    runtimes = {gap.runtime for gap in export.parity if gap.signature == "stddev"}
    assert runtimes == {"SavedModel", "SavedModel (v1)", "ONNX Runtime", "LiteRT"}


def test_it_is_verified(export):
    verification = verify(export.path)
    assert verification.findings == ()
    assert {gap.runtime for gap in verification.parity if gap.signature == "stddev"} == {
        "SavedModel (v1)", "ONNX Runtime", "LiteRT"
    }  # fmt: skip


def test_the_manifest_and_the_card_describe_it(export):
    entry = read_manifest(export.path).signatures["stddev"]
    assert entry.meaning == "the standard deviation of p(x given z)"
    assert entry.outputs["stddev"].shape == (None, 8, 8, 1)
    section = (export.path / "MODEL_CARD.md").read_text(encoding="utf-8").partition("### stddev\n")[2]
    assert "Gives the standard deviation of p(x given z)." in section
    assert 'client.call("stddev", z=z)\nedge.call("stddev", z=z)\nrun("stddev", z=z)' in section


def test_the_edge_runtime_calls_it_by_name(export, expected):
    edge = Decoder(export.path)
    np.testing.assert_allclose(edge.call("stddev", z=Z)["stddev"], expected, atol=1e-5)
    np.testing.assert_allclose(edge.call("decode", z=Z)["mean"], edge.decode(Z))
    with pytest.raises(RequestError, match=r"stddev of this model takes z\. Received: seed"):
        edge.call("stddev", 3)
    with pytest.raises(RequestError, match="n must be the rows of z or x"):
        edge.call("stddev", 3, z=Z)


def test_the_server_answers_it_and_the_client_calls_it_by_name(export, expected):
    from tfpvae.server.handler import Handler
    from tfpvae.server.repository import Repository

    handler = Handler(Repository(export.path.parents[1]))

    def answer(request: httpx.Request) -> httpx.Response:
        given = handler.answer(request.method, request.url.path, request.content)
        return httpx.Response(given.status, headers=given.headers, content=given.body)

    with Client("http://server", "digits", transport=httpx.MockTransport(answer)) as client:
        np.testing.assert_allclose(client.call("stddev", z=Z)["stddev"], expected, atol=1e-5)


def test_a_client_that_does_not_know_it_calls_it_as_well(export, expected, monkeypatch):
    monkeypatch.delitem(signatures.SIGNATURES, "stddev")
    np.testing.assert_allclose(Decoder(export.path).call("stddev", z=Z)["stddev"], expected, atol=1e-5)


def test_a_model_that_cannot_have_it_says_why(registered, build_vae):
    import tensorflow as tf

    from tfpvae import layers
    from tfpvae.export.endpoints import endpoints

    vae = build_vae(likelihood=layers.IndependentNormal((8, 8, 1)))
    vae(tf.zeros([1, 8, 8, 1]))
    _, absent = endpoints(vae)
    assert absent == {"stddev": "p(x given z) is no Bernoulli"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "decode"}, "must be an identifier other than decode,"),
        ({"name": "serving_default"}, "must be an identifier"),
        ({"name": "a b"}, "must be an identifier"),
        ({"inputs": ("w",)}, "inputs must be some of z, x, seed"),
        ({"inputs": ()}, "inputs must be some of"),
        ({"outputs": None}, "must have outputs and a function"),
        ({"compute": None}, "must have outputs and a function"),
    ],
)
def test_what_is_no_signature(change, message):
    good = {"name": "own", "inputs": ("z",), "outputs": ("own",), "meaning": "own", "compute": lambda model, inputs: {}}
    with pytest.raises(ExportError, match=message):
        register_signature(Signature(**{**good, **change}))
    assert "own" not in signatures.SIGNATURES
