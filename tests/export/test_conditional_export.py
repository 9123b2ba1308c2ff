"""Exports of conditional models: every signature takes y, over all runtimes, and mistakes in it are told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tfpvae.errors import NotFoundError, RequestError
from tfpvae.manifest import MANIFEST
from tfpvae.signatures import OBSERVED_SIGNATURES, ONNX_DIRECTORY, SIGNATURES

KEPT = ("decode", "sample_latent", "sample_mean", "sample", "sample_png", "encode", "score")
SEEDS, LABELS = np.arange(6), np.array([3, 0, 9, 1, 1, 7])


@pytest.fixture(scope="module")
def model(build_conditional, digits, labels):
    import keras

    keras.utils.set_random_seed(0)
    vae = build_conditional(hidden=16)
    vae.fit(digits.train, labels.train, epochs=2, batch_size=50, verbose=0)
    return vae


@pytest.fixture(scope="module")
def version(model, tmp_path_factory, restrict):
    """Its version directory, with some of its signatures: all take long."""
    import tfpvae
    from tfpvae.export import Profile

    with pytest.MonkeyPatch.context() as patch:
        restrict(patch, *KEPT)
        directory = tmp_path_factory.mktemp("models") / "labelled"
        return tfpvae.export_model(model, directory, profile=Profile(float16="never", int8="never")).path


@pytest.fixture(scope="module")
def decoder(version):
    from tfpvae.edge import Decoder

    return Decoder(version, threads=1)


@pytest.fixture(scope="module")
def url(version):
    from tfpvae.server import running

    with running(version.parent.parent) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    from tfpvae.client import Client

    with Client(url, "labelled") as client:
        yield client


@pytest.fixture(params=["onnx", "rest"])
def sampler(request):
    return request.getfixturevalue({"onnx": "decoder", "rest": "client"}[request.param])


def test_every_signature_takes_y(model):
    from tfpvae.export.endpoints import endpoints

    present, absent = endpoints(model)
    assert tuple(present) == tuple(SIGNATURES)
    assert absent == {}
    for name, endpoint in present.items():
        assert [spec.name for spec in endpoint.input_signature] == [*SIGNATURES[name].inputs, "y"]
        spec = endpoint.input_signature[-1]
        assert (spec.dtype.name, spec.shape.as_list()) == ("int64", [None])


def test_the_manifest_and_the_metadata_say_what_y_is(version, client):
    manifest = json.loads((version / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["condition"] == {"dtype": "int64", "shape": [None], "num_classes": 10}
    for name in KEPT:
        assert manifest["signatures"][name]["inputs"]["y"] == {"dtype": "int64", "shape": [None]}
        assert client.metadata()[name].inputs["y"] == ("int64", (None,))
    assert set(manifest["targets"]["onnx"]["left_out"]) == {"sample_png"}


def test_samples_are_the_models_by_seed_and_label(sampler, model):
    np.testing.assert_allclose(sampler.sample_latent(6, seed=0, y=LABELS), model.sample_latent(6, seed=0), atol=1e-6)
    mean = model.sample_mean(6, seed=0, y=LABELS)
    np.testing.assert_allclose(sampler.sample_mean(6, seed=0, y=LABELS), mean, atol=1e-5)
    differing = (sampler.sample(6, seed=0, y=LABELS) != model.sample(6, seed=0, y=LABELS).numpy()).sum()
    assert differing <= 1  # A mean in its last digit next to a uniform.
    assert np.abs(sampler.sample_mean(2, seed=0, y=3) - sampler.sample_mean(2, seed=0, y=4)).max() > 0.05


def test_the_other_calls_are_the_models(sampler, model, digits):
    z, x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), digits.test[:6]
    np.testing.assert_allclose(sampler.decode(z, LABELS), model.decode(z, LABELS).mean(), atol=1e-5)
    np.testing.assert_allclose(sampler.encode(x, LABELS)["loc"], model.encode(x, LABELS).mean(), atol=1e-5)


def test_over_rest_alone(client, model, digits):
    x = digits.test[:6]
    score = client.score(x, seed=3, y=LABELS)
    for name, value in model.score(x, LABELS, seed=3).items():
        np.testing.assert_allclose(score[name], value, rtol=1e-4)


def test_one_label_is_for_all_rows_in_requests_of_any_size(sampler, version):
    whole = sampler.sample(5, seed=7, y=3)
    np.testing.assert_array_equal(whole, sampler.sample(5, seed=7, y=[3] * 5))
    np.testing.assert_array_equal(whole, sampler.sample(seed=range(7, 12), y=[3]))
    assert sampler.sample(y=[1, 2]).shape == (2, 8, 8, 1)
    assert len(sampler.sample_png(2, seed=1, y=3)) == 2
    from tfpvae.edge import Decoder

    split = Decoder(version, threads=1, batch_size=2).sample(6, seed=0, y=LABELS)
    np.testing.assert_array_equal(split, sampler.sample(6, seed=0, y=LABELS))


def test_a_label_outside_the_classes_is_no_class_to_a_graph(version, model):
    from tfpvae.export.targets.onnx import run_onnx
    from tfpvae.savedmodel.session import run_v1

    z = np.zeros((2, 4), np.float32)
    no_class = model.decoder([z, np.zeros((2, 10), np.float32)]).mean()
    with run_v1(version) as v1:
        for run in (v1, run_onnx(version / ONNX_DIRECTORY)):
            np.testing.assert_allclose(run("decode", {"z": z, "y": np.array([-1, 10])})["mean"], no_class, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.sample(2), "sample of this model takes seed, y. Received: seed"),
        (lambda s: s.decode(np.zeros((2, 4))), "decode of this model takes y, z. Received: z"),
        (lambda s: s.sample(2, y=[1, 2, 3]), "y must be one for all 2 rows, or one for each"),
        (lambda s: s.sample(2, y="three"), "y must be labels or floats"),
        (lambda s: s.sample(2, y=[[1], [1, 2]]), "y must be an array"),
        (lambda s: s.sample(2, y=np.nan), "y must be finite"),
        (lambda s: s.decode(y=1), "Expected z, or x .* Received: neither"),
    ],
    ids=["missing", "missing beside z", "too many", "text", "ragged", "NaN", "no z"],
)  # fmt: skip
def test_mistakes_in_y(sampler, call, message):
    with pytest.raises(RequestError, match=message):
        call(sampler)


def test_the_edge_runtime_knows_the_classes(decoder):
    assert decoder.num_classes == 10
    for label in (10, -1):
        with pytest.raises(RequestError, match=rf"y must be labels below 10, from 0. Received: {label}"):
            decoder.sample(2, y=label)
    with pytest.raises(RequestError, match=r"y must be integer labels.*float32"):
        decoder.sample(2, y=1.0)


def test_a_model_without_a_condition_takes_no_y(exported):
    from tfpvae.edge import Decoder

    with pytest.raises(RequestError, match=r"sample of this model takes seed. Received: seed, y"):
        Decoder(exported.path, threads=1).sample(2, y=1)


class TestTheCommandLinesSample:
    def picture(self, url, out, *arguments):
        from tfpvae.cli import main

        assert main(["sample", "--url", url, "--model", "labelled", "--mean", "--out", str(out), *arguments]) == 0
        return np.asarray(Image.open(out))

    @pytest.mark.parametrize(("y", "of_rows", "columns"), [("3", [3] * 6, 3), ("0,1,2", [0, 1, 2] * 2, 3)])
    def test_of_labels(self, y, of_rows, columns, url, client, tmp_path):
        from tfpvae.images import grid

        picture = self.picture(url, tmp_path / "grid.png", "--n", "6", "--seed", "5", "--y", y)
        expected = grid(client.sample_mean(6, seed=5, y=of_rows), columns)
        np.testing.assert_array_equal(picture, np.asarray(expected))

    def test_wrong_ones_are_refused(self, url, tmp_path, capsys):
        from tfpvae.cli import main

        with pytest.raises(SystemExit):
            main(["sample", "--url", url, "--model", "labelled", "--y", "zero", "--out", str(tmp_path / "x.png")])
        assert "must be numbers, as in 3 or 0,1,2 or 0.5,1.0. Received: 'zero'" in capsys.readouterr().err
        assert main(["sample", "--url", url, "--model", "labelled", "--out", str(tmp_path / "x.png")]) == 1
        assert "takes seed, y" in capsys.readouterr().err


@pytest.mark.slow
def test_a_condition_of_floats(build_conditional, tmp_path, only):
    import tfpvae
    from tfpvae.edge import Decoder
    from tfpvae.export import Profile

    floats = build_conditional(num_classes=None, y_shape=(2, 3))
    only("decode")
    path = tfpvae.export_model(floats, tmp_path / "floats", profile=Profile(float16="never", int8="never")).path
    z, y = np.ones((3, 4), np.float32), np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(Decoder(path).decode(z, y), floats.decode(z, y).mean(), atol=1e-5)
    np.testing.assert_allclose(Decoder(path).decode(z, y[:1]), floats.decode(z, y[[0, 0, 0]]).mean(), atol=1e-5)


@pytest.mark.slow
def test_data_without_latents(tmp_path):
    import keras

    import tfpvae
    from tfpvae import layers
    from tfpvae.edge import Decoder
    from tfpvae.export import Profile

    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), layers.IndependentNormal([2])])
    density = tfpvae.ConditionalDensity(network)
    export = tfpvae.export_model(density, tmp_path / "density", profile=Profile(float16="never", int8="never"))
    assert export.signatures == export.onnx == tuple(OBSERVED_SIGNATURES)
    edge, x = Decoder(export.path), np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(edge.decode(x=x), density.decode(x).mean(), atol=1e-5)
    np.testing.assert_allclose(edge.likelihood(x=x)["scale"], density.decode(x).stddev(), atol=1e-5)
    np.testing.assert_allclose(edge.sample(x=x, seed=7), density.sample(x, seed=7), atol=1e-5)
    with pytest.raises(RequestError, match=r"decode of this model takes x. Received: z"):
        edge.decode(x)
    with pytest.raises(RequestError, match="n must be the number of rows of x"):
        edge.sample(3, x=x)
    with pytest.raises(NotFoundError, match="no ONNX graph for the signature 'encode'"):
        edge.encode(x)
