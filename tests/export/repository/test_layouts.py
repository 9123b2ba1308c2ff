"""Model repositories for Triton and OpenVINO Model Server."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfpvae.errors import ExportError


@pytest.fixture
def three(only):
    """A profile; exports have three signatures alone."""
    from tfpvae.export import Profile

    only("decode", "sample_mean", "sample_png")
    return Profile(float16="never", int8="never")


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_triton(vae, tmp_path, three):
    import onnxruntime

    from tfpvae.export import export_layout

    paths = export_layout(vae, tmp_path / "models" / "digits", "triton", profile=three)
    assert [path.relative_to(tmp_path / "models").as_posix() for path in paths] == [
        "digits_decode/1", "digits_sample_mean/1"
    ]  # fmt: skip
    assert files(tmp_path / "models") == [
        "digits_decode/1/model.onnx",
        "digits_decode/config.pbtxt",
        "digits_sample_mean/1/model.onnx",
        "digits_sample_mean/config.pbtxt",
    ]
    assert (tmp_path / "models" / "digits_decode" / "config.pbtxt").read_text() == (
        'name: "digits_decode"\nbackend: "onnxruntime"\nmax_batch_size: 64\n'
        'input {\n  name: "z"\n  data_type: TYPE_FP32\n  dims: [ 4 ]\n}\n'
        'output {\n  name: "mean"\n  data_type: TYPE_FP32\n  dims: [ 8, 8, 1 ]\n}\n'
        "dynamic_batching { }\n"
    )
    by_seed = (tmp_path / "models" / "digits_sample_mean" / "config.pbtxt").read_text()
    assert '  name: "seed"\n  data_type: TYPE_INT64\n  dims: [ 1 ]\n  reshape: { shape: [ ] }\n' in by_seed
    session = onnxruntime.InferenceSession(paths[1] / "model.onnx", providers=["CPUExecutionProvider"])
    (means,) = session.run(None, {"seed": np.arange(5)})
    np.testing.assert_allclose(means, vae.sample_mean(5, seed=0), atol=1e-5)

    # The next version is one for all, and what people wrote stays.
    own = tmp_path / "models" / "digits_decode" / "config.pbtxt"
    own.write_text("# ours\n")
    (tmp_path / "models" / "digits_sample_mean" / "6").mkdir()
    paths = export_layout(vae, tmp_path / "models" / "digits", "triton", profile=three)
    assert {path.name for path in paths} == {"7"}
    assert own.read_text() == "# ours\n"
    with pytest.raises(ExportError, match="versions are never overwritten"):
        export_layout(vae, tmp_path / "models" / "digits", "triton", version=7, profile=three)
    assert not [path for path in (tmp_path / "models").rglob(".*") if path.name != "."]


def test_openvino(vae, tmp_path, three):
    from tfpvae.export import export_layout

    repository = tmp_path / "models"
    repository.mkdir()
    other = {"config": {"name": "other", "base_path": "/models/other"}}
    (repository / "config.json").write_text(json.dumps({"model_config_list": [other], "mediapipe_config_list": []}))
    for version in ("1", "2"):
        steps: list[str] = []
        paths = export_layout(vae, repository / "digits", "openvino", profile=three, progress=steps.append)
        assert {path.name for path in paths} == {version}
        assert any(step.startswith("seeds are those of 32 bits there") for step in steps)
        config = json.loads((repository / "config.json").read_text())
        entries = [
            {
                "config": {
                    "name": servable,
                    "base_path": f"/models/{servable}",
                    "plugin_config": {"INFERENCE_PRECISION_HINT": "f32"},
                }
            }
            for servable in ("digits_decode", "digits_sample_mean")
        ]
        assert config == {"model_config_list": [other, *entries], "mediapipe_config_list": []}
    assert "digits_decode/2/model.onnx" in files(repository)
    assert not list(repository.rglob("config.pbtxt"))


@pytest.mark.slow
def test_openvino_draws_the_models_samples(vae, tmp_path, only):
    """Of every seed that it can read; it computes int64 in 32 bits."""
    openvino = pytest.importorskip("openvino")
    from tfpvae.export import Profile, export_layout

    only("sample_latent", "sample_mean", "sample")
    profile = Profile(float16="never", int8="never")
    export_layout(vae, tmp_path / "digits", "openvino", profile=profile)
    (first, *_) = json.loads((tmp_path / "config.json").read_text())["model_config_list"]
    settings = first["config"]["plugin_config"]

    def served(signature, seeds):
        graph = tmp_path / f"digits_{signature}" / "1" / "model.onnx"
        (output,) = openvino.Core().compile_model(graph, "CPU", settings)({"seed": seeds}).values()
        return output

    seeds = np.random.default_rng(0).integers(-(2**31), 2**31, 1000)
    seeds[:5] = [0, 1, -1, 2**31 - 1, -(2**31)]
    np.testing.assert_allclose(served("sample_latent", seeds), vae.sample_latent(seed=seeds), rtol=0, atol=1e-6)
    np.testing.assert_allclose(served("sample_mean", seeds), vae.sample_mean(seed=seeds), rtol=0, atol=1e-5)
    assert np.mean(served("sample", seeds) != vae.sample(seed=seeds).numpy()) <= 1e-5


@pytest.mark.slow
def test_what_openvino_cannot_compute_is_left_out(build_vae, tmp_path, only):
    """The mean of discretised logistics is a loop in ONNX, which it cannot open."""
    pytest.importorskip("openvino")
    from tfpvae import layers
    from tfpvae.export import Profile, export_layout

    only("likelihood", "sample_mean")
    vae = build_vae(likelihood=layers.IndependentDiscretizedLogistic((8, 8, 1)))
    vae(np.zeros((1, 8, 8, 1), np.float32))
    steps: list[str] = []
    profile = Profile(float16="never", int8="never")
    (path,) = export_layout(vae, tmp_path / "digits", "openvino", profile=profile, progress=steps.append)
    assert path == tmp_path / "digits_likelihood" / "1"
    assert files(tmp_path) == ["config.json", "digits_likelihood/1/model.onnx"]
    assert any(step.startswith("left out digits_sample_mean: OpenVINO cannot run it: ") for step in steps)
    only("sample_mean")
    with pytest.raises(ExportError, match=r"no ONNX graph for this server: \{'digits_sample_mean': 'OpenVINO cannot"):
        export_layout(vae, tmp_path / "digits", "openvino", profile=profile)


def test_a_graph_that_openvino_computes_otherwise_is_left_out(vae, tmp_path, three, monkeypatch):
    pytest.importorskip("openvino")
    from tfpvae.export import export_layout
    from tfpvae.export.repository import layouts

    monkeypatch.setattr(layouts, "_of_32_bits", lambda inputs: inputs)  # It cannot read all of these.
    steps: list[str] = []
    export_layout(vae, tmp_path / "digits", "openvino", profile=three, progress=steps.append)
    assert not (tmp_path / "digits_sample_mean").exists()
    (left_out,) = [step for step in steps if step.startswith("left out")]
    assert left_out.startswith(
        "left out digits_sample_mean: Output 'mean' of signature 'sample_mean' in OpenVINO differs"
    )


def test_without_openvino_that_is_said(vae, tmp_path, three, monkeypatch):
    import sys

    from tfpvae.export import export_layout

    monkeypatch.setitem(sys.modules, "openvino", None)
    steps: list[str] = []
    paths = export_layout(vae, tmp_path / "digits", "openvino", profile=three, progress=steps.append)
    assert [path.parent.name for path in paths] == ["digits_decode", "digits_sample_mean"]
    assert any(step.startswith("OpenVINO is not installed, and was not compared") for step in steps)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_config_list": [{}]}', '{"model_config_list": 3}'])
def test_a_config_that_cannot_be_read_is_left_alone(text, vae, tmp_path):
    from tfpvae.export import export_layout

    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ExportError, match=r"config\.json is no configuration of OpenVINO Model Server"):
        export_layout(vae, tmp_path / "digits", "openvino")
    assert files(tmp_path) == ["config.json"]
    assert (tmp_path / "config.json").read_text() == text


def test_an_unknown_layout(vae, tmp_path):
    from tfpvae.export import export_layout

    with pytest.raises(ExportError, match=r"layout must be one of openvino, triton\. Received: layout='kserve'"):
        export_layout(vae, tmp_path / "digits", "kserve")


@pytest.mark.slow
def test_the_command_line(tmp_path, capsys, three):
    from tfpvae.cli import main

    run = tmp_path / "run"
    assert main(["train", "--data", "digits", "--epochs", "1", "--out", str(run)]) == 0
    capsys.readouterr()
    out = tmp_path / "models" / "digits"
    assert main(["export", str(run), "--out", str(out), "--layout", "triton"]) == 0
    text = capsys.readouterr().out
    assert "Published\n" in text
    assert f"  {tmp_path}/models/digits_decode/1/\n" in text
    assert (tmp_path / "models" / "digits_sample_mean" / "1" / "model.onnx").is_file()
