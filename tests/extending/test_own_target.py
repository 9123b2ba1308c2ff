"""An export target of a user's own goes the whole way that SavedModel, ONNX and LiteRT go."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfpvae.errors import ExportError
from tfpvae.export import Profile, register_target, verify
from tfpvae.manifest import read_manifest

FILE = Path(__file__).with_name("dense_weights.py")


@pytest.fixture(scope="module")
def target():
    from tfpvae.export.targets import base

    spec = importlib.util.spec_from_file_location("tests_extending_dense_weights", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "_REGISTERED", {})
        yield register_target(module.DenseWeights())


@pytest.fixture(scope="module")
def export(target, vae, tmp_path_factory, restrict):
    import tfpvae

    with pytest.MonkeyPatch.context() as patch:
        restrict(patch, "decode", "sample_latent")
        profile = Profile(onnx=False, samples=False, targets=(target.name,))
        return tfpvae.export_model(vae, tmp_path_factory.mktemp("own") / "digits", profile=profile)


def test_it_is_written_and_compared_with_keras(export, vae, target):
    assert export.targets == {"saved_model": ("decode", "sample_latent"), "dense_weights": ("decode",)}
    (gap,) = [gap for gap in export.parity if gap.runtime == "NumPy"]
    assert (gap.signature, gap.output) == ("decode", "mean")
    assert gap.difference <= gap.allowed
    z = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    with target.open(export.path, ("decode",)) as runs:
        np.testing.assert_allclose(runs["NumPy"]("decode", {"z": z})["mean"], vae.decode(z).mean(), atol=1e-5)


def test_the_manifest_lists_it_and_its_file(export):
    manifest = read_manifest(export.path)
    assert manifest.targets["dense_weights"].signatures == ("decode",)
    assert manifest.targets["dense_weights"].left_out == {"sample_latent": "NumPy has dense layers alone"}
    assert "dense.npz" in manifest.files


def test_it_is_timed(export):
    assert {(each.signature, each.rows) for each in read_manifest(export.path).speed if each.runtime == "NumPy"} == {
        ("decode", rows) for rows in (1, 16, 256)
    }
    assert {each.runtime for each in export.recommended} <= {"NumPy", "SavedModel"}


def test_the_model_card_has_a_section_for_it(export):
    card = (export.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    section = card.partition("## NumPy\n")[2].partition("\n## ")[0]
    assert "`dense.npz` holds `decode`." in section
    assert "| `sample_latent` | NumPy has dense layers alone |" in section


def test_it_is_verified(export, tmp_path):
    whole = verify(export.path)
    assert whole.findings == ()
    assert "NumPy" in {gap.runtime for gap in whole.parity}

    from tfpvae.export.repository.hashes import write_hashes

    spoilt = Path(shutil.copytree(export.path, tmp_path / "digits" / "1"))
    with np.load(spoilt / "dense.npz") as file:
        arrays = dict(file)
    last = max(name for name in arrays if name.endswith("bias"))
    np.savez(spoilt / "dense.npz", **{**arrays, last: arrays[last] + 0.01})
    write_hashes(spoilt)
    (finding,) = verify(spoilt).errors
    assert (finding.signature, finding.op) == ("decode", "NumPy")


def test_where_it_is_not_registered_verify_says_so(export, monkeypatch):
    from tfpvae.export.targets import base

    monkeypatch.setattr(base, "_REGISTERED", {})
    verification = verify(export.path)
    assert not verification.refused
    assert "Not compared: dense_weights, for no target of this name is registered." in verification.checked


def test_what_it_computes_otherwise_stops_the_export(target, vae, tmp_path, only, monkeypatch):
    import tfpvae

    only("decode")
    right = target.write

    def write(task):
        right(task)
        with np.load(task.directory / target.files) as file:
            arrays = {name: array * 1.01 if name.endswith("bias") else array for name, array in file.items()}
        np.savez(task.directory / target.files, **arrays)
        return {}

    monkeypatch.setattr(target, "write", write)
    profile = Profile(saved_model=False, onnx=False, targets=(target.name,))
    with pytest.raises(ExportError, match=r"'mean' of signature 'decode' in NumPy differs from Keras"):
        tfpvae.export_model(vae, tmp_path / "digits", profile=profile)
    assert not (tmp_path / "digits").exists()


def test_names_that_are_taken_or_unknown(target):
    class Other(type(target)):
        name = "onnx"

    with pytest.raises(ExportError, match="must not be named saved_model, onnx, litert"):
        register_target(Other())
    with pytest.raises(ExportError, match=r"target must be a tfpvae\.export\.Target"):
        register_target(Other)
    with pytest.raises(ExportError, match=r"registered: dense_weights\. Received: 'npz'"):
        Profile(targets=("npz",))
    with pytest.raises(ExportError, match="which have keys of their own"):
        Profile(targets=("litert",))
