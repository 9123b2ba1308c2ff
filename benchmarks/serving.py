"""How long the embedded server takes to answer `decode` of one row.

    python benchmarks/serving.py [--calls 300]

A dense decoder (8-128-784) is exported and served on this machine. One client calls it over a connection that is kept
alive, and over a new connection for each call; the two take turns. Prints the median and the 99th percentile of each,
in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import httpx
import keras
import numpy as np

import tfpvae
from tfpvae import layers
from tfpvae.export import Profile
from tfpvae.server import running

SHAPE, LATENT = (28, 28, 1), 8
TURN = 50
"""Calls of one kind before those of the other."""


def model() -> tfpvae.VAE:
    encoder = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2 * LATENT)]
    decoder = [keras.Input((LATENT,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(784)]
    return tfpvae.VAE(
        keras.Sequential([*encoder, layers.MultivariateNormalDiag(LATENT)]),
        keras.Sequential([*decoder, layers.IndependentBernoulli(SHAPE)]),
    )


def milliseconds(call: Callable[[], httpx.Response]) -> float:
    start = time.perf_counter()
    call().raise_for_status()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300, help="calls of each kind")
    calls = parser.parse_args().calls
    request = {"signature_name": "decode", "instances": [[0.0] * LATENT]}
    with tempfile.TemporaryDirectory() as folder:
        tfpvae.export_model(model(), Path(folder) / "dense", profile=Profile(onnx=False))
        with running(folder) as url, httpx.Client() as client:
            predict = f"{url}/v1/models/dense:predict"
            ways = {
                "kept alive": lambda: client.post(predict, json=request),
                "a connection per call": lambda: httpx.post(predict, json=request),
            }
            times: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(TURN):
                client.post(predict, json=request).raise_for_status()
            while any(len(taken) < calls for taken in times.values()):
                for way, call in ways.items():
                    times[way] += [milliseconds(call) for _ in range(TURN)]
    print(f"{'decode of one row, ms':24} {'median':>8} {'p99':>8} {'calls':>6}")
    for way, taken in times.items():
        print(f"{way:24} {np.median(taken):8.2f} {np.percentile(taken, 99):8.2f} {len(taken):6}")


if __name__ == "__main__":
    main()
