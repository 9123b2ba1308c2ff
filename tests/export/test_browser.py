"""The browser's runtime computes the same image for the same seed: ONNX Runtime Web's wasm backend, in Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ONNXRUNTIME_WEB = "onnxruntime-web@1.30.0"
SCRIPT = Path(__file__).with_name("sample_mean.mjs")
SEEDS = (7, 0, -5, 2**63 - 1, -(2**63))


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> Path:
    """A folder with the script and the package beside it."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("npm and Node.js are not installed")
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(SCRIPT, folder)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, ONNXRUNTIME_WEB],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


def check_sample_mean(version, vae, node):
    done = subprocess.run(
        ["node", SCRIPT.name, version / "onnx" / "sample_mean.onnx", *map(str, SEEDS)],
        cwd=node,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    found = np.array(answer["data"], np.float32).reshape(answer["dims"])
    expected = vae.sample_mean(seed=np.array(SEEDS, np.int64)).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.1  # Other seeds, other images.


@pytest.mark.slow  # It fetches a package.
def test_sample_mean_is_the_same_in_the_browsers_runtime(exported, vae, node):
    check_sample_mean(exported.path, vae, node)


@pytest.mark.slow
def test_a_graph_whose_weights_are_in_the_shared_file_too(build_vae, digits, only, node, tmp_path):
    import tfpvae

    vae = build_vae(hidden=16_000)
    vae.fit(digits.train[:100], verbose=0)
    only("sample_mean", "decode")
    export = tfpvae.export_model(vae, tmp_path / "large", profile=tfpvae.export.Profile(float16="never", int8="never"))
    assert (export.path / "onnx" / "weights.bin").stat().st_size > 4e6
    check_sample_mean(export.path, vae, node)
