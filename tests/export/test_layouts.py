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
        assert any(step.startswith("left out digits_sample_mean: OpenVINO computes int64 in 32 bits") for step in steps)
        config = json.loads((repository / "config.json").read_text())
        assert config == {
            "model_config_list": [
                other,
                {
                    "config": {
                        "name": "digits_decode",
                        "base_path": "/models/digits_decode",
                        "plugin_config": {"INFERENCE_PRECISION_HINT": "f32"},
                    }
                },
            ],
            "mediapipe_config_list": [],
        }
    assert "digits_decode/2/model.onnx" in files(repository)
    assert not list(repository.rglob("config.pbtxt"))


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

    with pytest.raises(ExportError, match=r"layout must be one of openvino, triton\. Received: 'kserve'"):
        export_layout(vae, tmp_path / "digits", "kserve")


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
