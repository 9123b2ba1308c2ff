"""A decoder and a client in another process: forked, or reached by pickle."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]

FORKED = """
import json, os, sys
import numpy as np
from tfpvae.client import Client
from tfpvae.edge import Decoder

decoder, other = Decoder(sys.argv[1], threads=2), Decoder(sys.argv[1])
want = decoder.sample_mean(3, seed=1)
client = Client("http://127.0.0.1:1", "m")

def leaves():
    sys.exit(3)

def uses_and_leaves():
    assert np.array_equal(decoder.sample_mean(3, seed=1), want)
    assert np.array_equal(other.sample_mean(3, seed=1), want)
    sys.exit(3)

def closes():
    decoder.close()
    client.close()
    os._exit(3)

results = {}
for child in (leaves, uses_and_leaves, closes):
    pid = os.fork()
    if pid == 0:
        child()
    results[child.__name__] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
results["parent"] = bool(np.array_equal(decoder.sample_mean(3, seed=1), want))
print(json.dumps(results))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and glibc's exit handlers")
def test_forked_children_use_close_and_leave_a_decoder(exported):
    finished = subprocess.run(
        [sys.executable, "-c", FORKED, str(exported.path)], capture_output=True, text=True, timeout=60
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == {"leaves": 3, "uses_and_leaves": 3, "closes": 3, "parent": True}


@pytest.mark.parametrize("again", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy])
def test_a_decoder_opens_the_same_version_again(again, exported, tmp_path, monkeypatch):
    from tfpvae.edge import Decoder

    monkeypatch.chdir(exported.path.parent.parent)
    decoder = Decoder("digits", threads=1, batch_size=2)
    expected = decoder.sample_mean(5, seed=3)
    monkeypatch.chdir(tmp_path)
    twin = again(decoder)
    decoder.close()
    np.testing.assert_array_equal(twin.sample_mean(5, seed=3), expected)
    assert twin.signatures == decoder.signatures
    assert again(twin).signatures == decoder.signatures
    alone = Decoder(exported.path / "onnx" / "sample_mean.onnx")
    np.testing.assert_allclose(again(alone).sample_mean(5, seed=3), expected, atol=1e-6)


@pytest.mark.parametrize("again", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy])
def test_a_client_asks_the_same_model_again(again):
    from tfpvae.client import Client

    for client in (
        Client("http://user:secret@localhost:8501/base/v1", "digits", version=3, timeout=5, batch_size=7),
        Client("http://localhost:8501", "digits", label="stable"),
    ):
        assert repr(again(client)) == repr(client)
        assert again(client).url == client.url
    assert "secret" not in repr(client)
    with pytest.raises(TypeError, match="make one in each process"):
        again(Client("http://localhost", "digits", transport=httpx.MockTransport(lambda request: httpx.Response(200))))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_has_connections_of_its_own():
    from tfpvae.client import Client

    closed: list[object] = []
    client = Client("http://localhost:1", "digits")
    before = client.__dict__["_http"]
    before.close = lambda: closed.append(before)
    client.reopen_in_child()
    assert client.__dict__["_http"] is not before
    assert closed == []


def test_the_shipped_batching_takes_what_the_client_sends_at_once():
    from tfpvae.client.interface import BATCH_SIZE

    text = (ROOT / "serving" / "batching.config").read_text(encoding="utf-8")
    largest = int(re.search(r"^max_batch_size \{ value: (\d+) \}", text, re.MULTILINE)[1])
    sizes = [int(size) for size in re.findall(r"^allowed_batch_sizes: (\d+)", text, re.MULTILINE)]
    assert largest == sizes[-1] >= BATCH_SIZE
    assert sizes == sorted(sizes)
