"""The decoder for LiteRT computes what Keras computes, or is left out with the reason."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tfpvae.signatures import MANIFEST


@pytest.fixture(scope="module")
def version(vae, tmp_path_factory, restrict):
    """A version of everything that has the decoder. Read it, do not write into it."""
    import tfpvae
    from tfpvae.export import Profile

    with pytest.MonkeyPatch.context() as patch:
        restrict(patch, "decode")
        profile = Profile(litert=True, float16="never", int8="never")
        return tfpvae.export_model(vae, tmp_path_factory.mktemp("litert") / "digits", profile=profile).path


def test_it_is_compared_with_keras(version, vae):
    from tfpvae.export.litert import LITERT, run_litert

    manifest = json.loads((version / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["litert"] is True
    assert manifest["no_litert"] is None
    (gap,) = [gap for gap in manifest["parity"] if gap["runtime"] == "LiteRT"]
    assert (gap["signature"], gap["output"]) == ("decode", "mean")
    assert 0 <= gap["difference"] <= 1e-5
    z = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    run = run_litert(version / LITERT)
    for rows in (7, 1, 3):
        np.testing.assert_allclose(run("decode", {"z": z[:rows]})["mean"], vae.decode(z[:rows]).mean(), atol=1e-5)


def test_verify_compares_it_again(version, tmp_path, build_vae):
    import tensorflow as tf

    from tfpvae.export.endpoints import endpoints
    from tfpvae.export.hashes import write_hashes
    from tfpvae.export.litert import LITERT, write_litert
    from tfpvae.export.verify import verify

    found = verify(version)
    assert not found.refused
    assert "LiteRT" in {gap.runtime for gap in found.parity}

    spoilt = tmp_path / "digits" / "1"
    shutil.copytree(version, spoilt)
    other = build_vae()
    other(tf.zeros([1, 8, 8, 1]))
    write_litert(other, endpoints(other)[0]["decode"], spoilt / LITERT)
    write_hashes(spoilt)
    (error,) = verify(spoilt).errors
    assert (error.signature, error.op) == ("decode", "LiteRT")


def test_labels_are_its_second_input(build_conditional, tmp_path):
    from tfpvae.export.endpoints import endpoints, example_inputs
    from tfpvae.export.litert import run_litert, write_litert
    from tfpvae.export.parity import check_parity, example

    model = build_conditional()
    endpoint = endpoints(model)[0]["decode"]
    write_litert(model, endpoint, tmp_path / "decoder.tflite")
    made = [example(endpoint, example_inputs(endpoint, rows)) for rows in (2, 33)]
    (gap,) = check_parity(made, "LiteRT", run_litert(tmp_path / "decoder.tflite"), 1e-5)
    assert gap.difference <= 1e-5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_it_cannot_compute_is_said(vae, tmp_path):
    """Random numbers by seed, which need bitwise operators."""
    from tfpvae.export.endpoints import endpoints
    from tfpvae.export.litert import NoLiteRtFormError, write_litert

    with pytest.raises(NoLiteRtFormError, match=r"refuses it: TF Select ops: BitwiseAnd, BitwiseXor, RightShift"):
        write_litert(vae, endpoints(vae)[0]["sample_mean"], tmp_path / "sample_mean.tflite")
    assert list(tmp_path.iterdir()) == []
