"""Large models: the weights lie once in a file beside the ONNX graphs, and the graphs compute what Keras computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfpvae.edge import Decoder
from tfpvae.errors import ServerError
from tfpvae.manifest import MANIFEST
from tfpvae.signatures import ONNX_DIRECTORY, WEIGHTS_FILE

# tf2onnx still calls NumPy by names of version 1.
pytestmark = pytest.mark.filterwarnings("ignore:.*np.object.*:FutureWarning")

SEEDS = np.arange(5)


@pytest.fixture(scope="module")
def model():
    """Convolutions, whose kernels ONNX has transposed, and what keeps statistics; trained, so that none is trivial."""
    import keras

    import tfpvae
    from tfpvae import layers

    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([
        keras.Input((8, 8, 1)), keras.layers.Conv2D(16, 3, 2, "same", activation="relu"),
        keras.layers.BatchNormalization(), keras.layers.DepthwiseConv2D(3), keras.layers.Flatten(),
        keras.layers.LayerNormalization(), keras.layers.Dense(8), layers.MultivariateNormalDiag(4),
    ])  # fmt: skip
    decoder = keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(256, "gelu"), keras.layers.Reshape((4, 4, 16)),
        keras.layers.Conv2DTranspose(16, 3, 2, "same", activation="relu"), keras.layers.Conv2D(1, 3, 1, "same"),
        keras.layers.Flatten(), layers.IndependentBernoulli((8, 8, 1)),
    ])  # fmt: skip
    vae = tfpvae.VAE(encoder, decoder)
    vae.compile(keras.optimizers.Adam(1e-2))
    vae.fit(np.random.default_rng(0).integers(0, 2, (64, 8, 8, 1)).astype("float32"), verbose=0)
    return vae


@pytest.fixture(scope="module")
def version(model, tmp_path_factory, restrict) -> Path:
    import tfpvae
    from tfpvae.export import Profile
    from tfpvae.export.targets import onnx

    with pytest.MonkeyPatch.context() as patch:
        restrict(patch, "decode", "sample_mean", "encode", "reconstruct")
        patch.setattr(onnx, "SHARED_FROM", 0)
        profile = Profile(float16="always", int8="always")
        return tfpvae.export_model(model, tmp_path_factory.mktemp("shared") / "digits", profile=profile).path


def test_every_large_weight_is_in_the_file_once_and_no_graph_holds_one(version, model):
    held = (version / ONNX_DIRECTORY / WEIGHTS_FILE).read_bytes()
    large = [np.asarray(weight) for weight in model.get_weights() if weight.nbytes >= 1024]
    assert len(large) >= 4
    as_onnx_has_them = [np.transpose(weight, (3, 2, 0, 1)) if weight.ndim == 4 else weight for weight in large]
    assert [held.count(weight.tobytes()) for weight in as_onnx_has_them] == [1] * len(large)
    for name in ("decode", "sample_mean", "encode", "reconstruct"):
        assert (version / ONNX_DIRECTORY / f"{name}.onnx").stat().st_size < 40_000
    assert len(held) < 1.1 * sum(weight.nbytes for weight in large) + 4096 * len(large)


def test_the_saved_model_holds_them_once(version, model):
    nbytes = sum(weight.nbytes for weight in model.get_weights())
    assert nbytes <= sum(file.stat().st_size for file in (version / "variables").iterdir()) < 1.1 * nbytes + 20_000


def test_the_graphs_compute_what_keras_computes_in_every_precision(version, model):
    for precision, allowed in (("float32", 1e-5), ("float16", 0.02), ("int8", 0.1)):
        decoder = Decoder(version, precision=precision)
        np.testing.assert_allclose(decoder.sample_mean(seed=SEEDS), model.sample_mean(seed=SEEDS), atol=allowed)
    x = np.random.default_rng(1).integers(0, 2, (3, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(Decoder(version).reconstruct(x), model.reconstruct(x), atol=1e-5)


def test_verify_knows_the_file(version, tmp_path):
    from tfpvae.export.verification import verify

    assert verify(version).findings == ()
    assert f"{ONNX_DIRECTORY}/{WEIGHTS_FILE}" in json.loads((version / MANIFEST).read_text())["files"]
    spoilt = Path(shutil.copytree(version, tmp_path / "digits" / "1"))
    (spoilt / ONNX_DIRECTORY / WEIGHTS_FILE).unlink()
    assert [finding.op for finding in verify(spoilt).findings] == [f"{ONNX_DIRECTORY}/{WEIGHTS_FILE}"]


def test_a_graph_that_is_copied_needs_the_file_and_says_so(version, model, tmp_path):
    from tfpvae.export.targets.onnx_weights import write_alone

    graph = version / ONNX_DIRECTORY / "sample_mean.onnx"
    shutil.copy(graph, tmp_path)
    with pytest.raises(ServerError, match=r"Its weights are in weights\.bin, which must lie beside it"):
        Decoder(tmp_path / "sample_mean.onnx").sample_mean(seed=SEEDS)
    shutil.copy(graph.with_name(WEIGHTS_FILE), tmp_path)
    np.testing.assert_allclose(
        Decoder(tmp_path / "sample_mean.onnx").sample_mean(seed=SEEDS), model.sample_mean(seed=SEEDS), atol=1e-5
    )
    (tmp_path / "alone").mkdir()
    write_alone(graph, tmp_path / "alone" / "sample_mean.onnx")
    np.testing.assert_allclose(
        Decoder(tmp_path / "alone").sample_mean(seed=SEEDS), model.sample_mean(seed=SEEDS), atol=1e-5
    )


def test_the_card_says_so(version):
    card = (version / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"`{ONNX_DIRECTORY}/{WEIGHTS_FILE}` holds the weights of all graphs" in card


def test_graphs_of_other_servers_hold_their_own(model, tmp_path, monkeypatch, only):
    from tfpvae.export import Profile
    from tfpvae.export.repository.layouts import export_layout
    from tfpvae.export.targets import onnx

    only("decode")
    monkeypatch.setattr(onnx, "SHARED_FROM", 0)
    profile = Profile(float16="never", int8="never")
    (path,) = export_layout(model, tmp_path / "triton" / "digits", layout="triton", profile=profile)
    assert [file.name for file in path.iterdir()] == ["model.onnx"]
    shutil.copy(path / "model.onnx", tmp_path / "decode.onnx")
    z = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(Decoder(tmp_path / "decode.onnx").decode(z), model.decode(z).mean(), atol=1e-5)


def test_the_graphs_of_a_small_model_hold_their_own(exported):
    assert not (exported.path / ONNX_DIRECTORY / WEIGHTS_FILE).exists()
    assert WEIGHTS_FILE not in (exported.path / "MODEL_CARD.md").read_text(encoding="utf-8")
