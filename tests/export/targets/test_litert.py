"""The file for LiteRT computes what Keras computes, samples by seed included, and says what it cannot hold."""

from __future__ import annotations

import json
import shutil
import sys
import types

import numpy as np
import pytest

from tfpvae.manifest import MANIFEST

HELD = ("decode", "sample_latent", "sample_mean", "sample", "score")


@pytest.fixture(scope="module")
def version(vae, tmp_path_factory, restrict):
    """A version with these signatures, for LiteRT too. Read it, do not write into it."""
    import tfpvae
    from tfpvae.export import Profile

    with pytest.MonkeyPatch.context() as patch:
        restrict(patch, *HELD, "sample_png")
        profile = Profile(litert=True, float16="never", int8="never")
        return tfpvae.export_model(vae, tmp_path_factory.mktemp("litert") / "digits", profile=profile).path


@pytest.fixture(scope="module")
def run(version):
    from tfpvae.export.targets.litert import LITERT, run_litert

    return run_litert(version / LITERT)


@pytest.fixture
def write(tmp_path):
    """`write(model, "decode", ...)`: the path of a file of these signatures, its gaps, and what was left out."""
    from tfpvae.export import Profile
    from tfpvae.export.endpoints import endpoints
    from tfpvae.export.exporter import write_target
    from tfpvae.export.parity import examples
    from tfpvae.export.targets.base import Task
    from tfpvae.export.targets.litert import TARGET

    def written(model, *names):
        present = {name: endpoint for name, endpoint in endpoints(model)[0].items() if name in names}
        task = Task(model, present, tmp_path, "m", Profile(litert=True), lambda step: None)
        done = write_target(TARGET, task, examples(present.values()))
        return tmp_path / TARGET.files, done.gaps, done.entry.left_out

    return written


def test_the_manifest_says_what_it_holds_and_how_far_that_is_from_keras(version):
    manifest = json.loads((version / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["targets"]["litert"] == {
        "signatures": list(HELD),
        "left_out": {"sample_png": "PNG has no LiteRT form"},
    }
    gaps = [gap for gap in manifest["parity"] if gap["runtime"] == "LiteRT"]
    assert {gap["signature"] for gap in gaps} == set(HELD)
    assert all(gap["difference"] <= gap["allowed"] for gap in gaps)
    timed = {(each["signature"], each["rows"]) for each in manifest["speed"] if each["runtime"] == "LiteRT"}
    assert timed == {(name, rows) for name in ("decode", "sample_mean") for rows in (1, 16, 256)}


def test_ten_thousand_seeds_give_the_models_samples(run, vae):
    ends = np.iinfo(np.int64)
    seeds = np.random.default_rng(0).integers(ends.min, ends.max, 10_000)
    seeds[:5] = [0, 1, -1, ends.max, ends.min]
    given = {"seed": seeds}
    np.testing.assert_allclose(run("sample_latent", given)["z"], vae.sample_latent(seed=seeds), rtol=0, atol=1e-6)
    means = run("sample_mean", given)["mean"]
    np.testing.assert_allclose(means, vae.sample_mean(seed=seeds), rtol=0, atol=1e-5)
    assert np.mean(run("sample", given)["sample"] != vae.sample(seed=seeds).numpy()) <= 1e-5
    # A row does not depend on the batch.
    np.testing.assert_allclose(run("sample_mean", {"seed": seeds[3:4]})["mean"], means[3:4], rtol=0, atol=1e-6)


def test_any_number_of_rows(run, vae):
    z = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    for rows in (7, 1, 3):
        np.testing.assert_allclose(run("decode", {"z": z[:rows]})["mean"], vae.decode(z[:rows]).mean(), atol=1e-5)


def test_the_weights_are_there_once(version, vae):
    from tfpvae.export.targets.litert import LITERT

    file = (version / LITERT).read_bytes()
    for kernel in (weight for weight in vae.decoder.get_weights() if weight.ndim == 2):
        assert file.count(kernel.T.tobytes()) == 1  # As a fully connected layer has it there: [outputs, inputs].


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_the_cards_call_runs(version, monkeypatch, vae):
    import tensorflow as tf

    card = (version / "MODEL_CARD.md").read_text(encoding="utf-8")
    code, call = card.partition("## LiteRT")[2].partition("```python\n")[2].partition("```")[0].strip().rsplit("\n", 1)
    assert "| `sample_png` | PNG has no LiteRT form |" in card
    module = types.ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = tf.lite.Interpreter  # The same one, until it goes.
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", types.ModuleType("ai_edge_litert"))
    monkeypatch.chdir(version)
    x, seed = np.zeros((2, 8, 8, 1), np.float32), np.array([7, 8])
    names = {"x": x, "seed": seed}
    exec(code, names)
    np.testing.assert_allclose(eval(call, names)["elbo"], vae.score(x, seed=seed)["elbo"], rtol=1e-5)


@pytest.mark.slow
def test_verify_compares_it_again(version, tmp_path, build_vae, write):
    import tensorflow as tf

    from tfpvae.export.repository.hashes import write_hashes
    from tfpvae.export.targets.litert import LITERT
    from tfpvae.export.verification import verify

    found = verify(version)
    assert found.findings == ()
    assert {gap.signature for gap in found.parity if gap.runtime == "LiteRT"} == set(HELD)

    spoilt = tmp_path / "digits" / "1"
    shutil.copytree(version, spoilt)
    other = build_vae()
    other(tf.zeros([1, 8, 8, 1]))
    shutil.copy(write(other, "decode", "sample_latent")[0], spoilt / LITERT)
    write_hashes(spoilt)
    findings = {error.signature: error.text for error in verify(spoilt).errors}
    assert findings.keys() == set(HELD) - {"sample_latent"}
    assert findings["decode"].startswith("Output 'mean' of signature 'decode' in LiteRT differs from SavedModel by")
    assert findings["sample"].startswith("LiteRT cannot run it: ")


@pytest.mark.slow
def test_labels_are_an_input_beside(build_conditional, write):
    path, gaps, left_out = write(build_conditional(), "decode", "sample_mean")
    assert path.is_file()
    assert left_out == {}
    assert {gap.signature for gap in gaps} == {"decode", "sample_mean"}


@pytest.mark.slow
def test_what_the_converter_refuses_is_left_out(build_vae, write, capfd):
    from tfpvae import priors
    from tfpvae.export.targets.litert import run_litert

    vae = build_vae(prior=priors.MixturePrior(4, 3))
    vae(np.zeros((1, 8, 8, 1), np.float32))
    path, gaps, left_out = write(vae, "decode", "sample_latent")
    assert left_out.keys() == {"sample_latent"}
    assert left_out["sample_latent"].startswith("LiteRT has no operators ")
    assert {gap.signature for gap in gaps} == {"decode"}
    z = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(run_litert(path)("decode", {"z": z})["mean"], vae.decode(z).mean(), atol=1e-5)
    assert "error: 'tf." not in capfd.readouterr().err  # The converter's own page for each operator.


@pytest.mark.slow
def test_what_it_computes_otherwise_is_left_out(vae, write, monkeypatch):
    from tfpvae.export.targets import litert

    computes = litert.run_litert

    def otherwise(path):
        def run(name, inputs):
            outputs = computes(path)(name, inputs)
            return {"z": outputs["z"] + 1} if name == "sample_latent" else outputs

        return run

    monkeypatch.setattr(litert, "run_litert", otherwise)
    path, gaps, left_out = write(vae, "decode", "sample_latent")
    assert left_out.keys() == {"sample_latent"}
    assert (
        "Output 'z' of signature 'sample_latent' in LiteRT differs from Keras by 1.0e+00" in left_out["sample_latent"]
    )
    assert {gap.signature for gap in gaps} == {"decode"}
    with pytest.raises(ValueError, match="sample_latent"):
        computes(path)("sample_latent", {"seed": np.arange(2)})
    assert write(vae, "sample_latent")[1:] == ([], left_out)
    assert not path.exists()
