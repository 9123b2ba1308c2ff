"""The command line, whole: train, evaluate, export, serve, sample."""

import json
import re
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from tfpvae.cli import main


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A folder with a run and an exported model."""
    folder = tmp_path_factory.mktemp("road")
    run, model = folder / "runs" / "digits", folder / "models" / "digits"
    assert (
        main(
            [
                "train",
                "--data",
                "digits",
                "--out",
                str(run),
                "--epochs",
                "1",
                "--latent",
                "3",
                "--likelihood",
                "bernoulli",
            ]
        )
        == 0
    )
    assert main(["export", str(run), "--out", str(model)]) == 0
    return folder


def test_evaluate(road, capsys, process_settings):
    settings = process_settings()
    assert main(["evaluate", str(road / "runs" / "digits")]) == 0
    assert process_settings() == settings
    text = capsys.readouterr().out
    assert main(["evaluate", str(road / "runs" / "digits"), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert {"elbo", "log_likelihood", "kl", "n", "rate", "distortion", "active_units", "findings"} <= set(metrics)
    assert metrics["n"] == 180
    assert float(re.search(r"test elbo +(\S+) nats", text)[1]) == pytest.approx(metrics["elbo"], abs=1e-3)
    assert float(re.search(r"bits/dimension +(\S+)", text)[1]) == pytest.approx(metrics["bits_per_dimension"], abs=1e-3)
    assert re.search(r"active units +(\d) of 3", text)[1] == str(metrics["active_units"])
    for found in metrics["findings"]:
        assert f"{found['level'].upper():<6}{found['name']}: " in text
    assert "log_marginal" not in text


def test_evaluate_by_importance_samples_and_a_report(road, tmp_path, capsys):
    run, report = str(road / "runs" / "digits"), tmp_path / "report"
    arguments = ["evaluate", run, "--samples", "20", "--images", "30", "--report", str(report)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    value, error = re.search(r"log_marginal +(\S+) ± (\S+)   by 20 importance samples", text).groups()
    assert float(value) > float(re.search(r"test elbo +(\S+)", text)[1]) - 0.5
    assert 0 < float(error) < 5
    assert "naive Monte Carlo" in text
    assert "30 test images of digits" in text
    assert f"| {float(value):.3f} ± {error} |" in (report / "report.md").read_text()
    assert (report / "history.png").is_file()

    assert main(arguments) == 1
    assert "already holds a report" in capsys.readouterr().err
    assert main([*arguments[:2], "--images", "5", "--report", str(report), "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 5
    assert "5 test examples" in (report / "report.md").read_text()


def test_serve_and_sample(road, tmp_path):
    from tfpvae.edge import Decoder

    config = road / "models.config"
    assert main(["versions", str(road / "models" / "digits"), "--label", "stable=1", "--config", str(config)]) == 0
    server = subprocess.Popen(
        [sys.executable, "-m", "tfpvae", "serve", str(road / "models"), "--port", "0", "--config", str(config)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in server.stdout:
            if found := re.search(r"http://[\d.]+:\d+", line):
                break
        url = found[0]
        out = tmp_path / "grid.png"
        arguments = ["sample", "--url", url, "--model", "digits", "--n", "16", "--seed", "7", "--out", str(out)]
        assert main(arguments) == 0
        assert np.asarray(Image.open(out)).std() > 10

        from tfpvae.client import Client

        with Client(url, "digits") as client:
            over_http = client.sample(16, seed=7)
        labelled = httpx.get(f"{url}/v1/models/digits/labels/stable").json()
        assert labelled["model_version_status"][0]["version"] == "1"
        np.testing.assert_array_equal(over_http, Decoder(road / "models" / "digits").sample(16, seed=7))
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


@pytest.mark.slow
def test_second_export_is_the_next_version(road, capsys, only):
    only("sample")
    model = road / "models" / "digits"
    assert main(["export", str(road / "runs" / "digits"), "--out", str(model), "--version", "1"]) == 1
    assert "never overwritten" in capsys.readouterr().err
    profile = road / "profile.toml"
    profile.write_text("saved_model = false\n")
    arguments = ["export", str(road / "runs" / "digits"), "--out", str(road / "edge" / "digits")]
    assert main([*arguments, "--profile", str(profile)]) == 0
    out = capsys.readouterr().out
    assert "Serve it with" not in out
    assert f"Use it with: tfpvae.edge.Decoder('{road}/edge/digits/1')" in out
    assert not (road / "edge" / "digits" / "1" / "saved_model.pb").exists()
    assert (road / "edge" / "digits" / "1" / "onnx" / "sample.onnx").is_file()
    profile.write_text("savedmodel = false\n")
    assert main([*arguments, "--profile", str(profile)]) == 1
    assert "unknown key 'savedmodel'" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_one_line(tmp_path, capsys):
    assert main(["sample", "--url", "http://127.0.0.1:9", "--model", "m", "--out", str(tmp_path / "g.png")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tfpvae: error: ")
    assert "tfpvae serve" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_interrupted_training_can_be_resumed(tmp_path):
    """Killed as soon as a model is saved: the run opens, and goes on from there."""
    out = tmp_path / "run"
    arguments = ["train", "--data", "digits", "--out", str(out), "--latent", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", _SAVE_OFTEN, *arguments, "--epochs", "500"], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (out / "model.keras").is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()

    done = len(json.loads((out / "history.json").read_text())["elbo"])
    assert main([*arguments, "--epochs", str(done + 1), "--resume"]) == 0
    assert len(json.loads((out / "history.json").read_text())["elbo"]) == done + 1
    assert main(["evaluate", str(out)]) == 0


_SAVE_OFTEN = """
import sys
from tfpvae.training import trainer
trainer.SAVE_EVERY = 0.0
from tfpvae.cli import main
sys.exit(main())
"""


@pytest.mark.slow
def test_demo_twice(tmp_path):
    for version in (1, 2):
        done = subprocess.run(
            [sys.executable, "-m", "tfpvae", "demo", "--out", str(tmp_path / "demo")],
            capture_output=True,
            text=True,
            timeout=600,
            check=True,
        )
        assert f"models/digits/{version}/" in done.stdout
        first, last = re.search(r"validation ELBO (\S+) -> (\S+) nats", done.stdout).groups()
        assert float(last) > float(first) + 2
        assert "demo.png" in done.stdout
        assert np.asarray(Image.open(tmp_path / "demo" / "demo.png")).std() > 10
