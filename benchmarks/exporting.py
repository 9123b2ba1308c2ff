"""What an export of a large model takes: time, memory, and disk as a multiple of the weights.

python benchmarks/exporting.py             52 million parameters
python benchmarks/exporting.py --units 1000
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def dense_vae(units: int):
    """A built VAE of 28x28 images with two hidden layers on either side."""
    import keras
    import numpy as np

    import tfpvae
    from tfpvae import layers

    def hidden():
        return [keras.layers.Dense(units, "relu"), keras.layers.Dense(units, "relu")]

    encoder = [keras.Input((28, 28, 1)), keras.layers.Flatten(), *hidden(), keras.layers.Dense(64)]
    decoder = [keras.Input((32,)), *hidden(), keras.layers.Dense(784)]
    vae = tfpvae.VAE(
        keras.Sequential([*encoder, layers.MultivariateNormalDiag(32)]),
        keras.Sequential([*decoder, layers.IndependentBernoulli((28, 28, 1))]),
    )
    vae(np.zeros((1, 28, 28, 1), np.float32))
    return vae


def peak() -> float:
    """The most memory that this process has had, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=4700, help="of each hidden layer")
    units = parser.parse_args().units

    import tfpvae
    from tfpvae.export import Profile

    vae = dense_vae(units)
    weights = vae.count_params() * 4
    before, started = peak(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = tfpvae.export_model(vae, Path(folder) / "large", profile=Profile()).path
        seconds = time.perf_counter() - started
        sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in path.rglob("*") if file.is_file()}
    reduced = sum(size for name, size in sizes.items() if name.endswith((".int8.onnx", ".float16.onnx")))
    print(f"{vae.count_params():,} parameters, {weights / 1e6:.0f} MB")
    print(f"{seconds:.0f} s, {peak():.2f} GB at most, {before:.2f} GB before")
    print(f"{(sum(sizes.values()) - reduced) / weights:.2f} times the weights in float32, SavedModel and ONNX together")
    print(f"{reduced / weights:.2f} times the weights in lower precisions that were worth it")


if __name__ == "__main__":
    main()
