"""Makes the golden files beside it: what every later release must open, verify and reproduce.

    python tests/goldens/make.py DIRECTORY

For a `VAE` with a Bernoulli likelihood and a `ConditionalVAE`, trained for a few steps on digits of scikit-learn, it
writes

- `<name>/1`: an exported version with a SavedModel, ONNX graphs and a LiteRT file;
- `<name>.keras`: the model itself;
- `<name>.npz`: inputs of every signature and what the model answers to them: `<signature>/inputs/<name>` and
  `<signature>/outputs/<name>`.

The files were made at commit 308f734, before the package was rearranged. They are not made again: a release that cannot
reproduce them would break its users' models.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import tfpvae
from tfpvae import layers
from tfpvae.export import Profile

EVENT, LATENT, CLASSES = (8, 8, 1), 3, 10
SEEDS = np.array([0, 1, 7, -1, 2**31, 2**63 - 1, -(2**63)], np.int64)


def bernoulli() -> tfpvae.VAE:
    encoder = keras.Sequential(
        [
            keras.Input(EVENT),
            keras.layers.Flatten(),
            keras.layers.Dense(12, activation="relu"),
            keras.layers.Dense(2 * LATENT),
            layers.MultivariateNormalDiag(LATENT),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((LATENT,)),
            keras.layers.Dense(12, activation="relu"),
            keras.layers.Dense(64),
            layers.IndependentBernoulli(EVENT),
        ]
    )
    return tfpvae.VAE(encoder, decoder, name="bernoulli")


def conditional() -> tfpvae.ConditionalVAE:
    x, y, z = keras.Input(EVENT, name="x"), keras.Input((CLASSES,), name="y"), keras.Input((LATENT,), name="z")
    h = keras.layers.Dense(12, activation="relu")(keras.layers.Concatenate()([keras.layers.Flatten()(x), y]))
    encoder = keras.Model([x, y], layers.MultivariateNormalDiag(LATENT)(keras.layers.Dense(2 * LATENT)(h)))
    h = keras.layers.Dense(12, activation="relu")(keras.layers.Concatenate()([z, y]))
    decoder = keras.Model([z, y], layers.IndependentBernoulli(EVENT)(keras.layers.Dense(64)(h)))
    return tfpvae.ConditionalVAE(encoder, decoder, num_classes=CLASSES, name="conditional")


def answers(model: tfpvae.VAE, x: np.ndarray, y: np.ndarray | None) -> dict[str, np.ndarray]:
    """What the model's own methods answer, by signature, direction and name."""
    n, given = len(SEEDS), {} if y is None else {"y": y}
    z = np.random.default_rng(0).standard_normal((n, LATENT), np.float32)
    inputs = {
        "decode": {"z": z},
        "likelihood": {"z": z},
        "sample_latent": {"seed": SEEDS},
        "sample_mean": {"seed": SEEDS},
        "sample": {"seed": SEEDS},
        "sample_png": {"seed": SEEDS},
        "encode": {"x": x},
        "reconstruct": {"x": x},
        "score": {"x": x, "seed": SEEDS},
    }
    outputs = {
        "decode": {"mean": model.decode(z, **given).mean()},
        "likelihood": model.decode(z, **given).named_parameters,
        "sample_latent": {"z": model.sample_latent(seed=SEEDS)},
        "sample_mean": {"mean": model.sample_mean(seed=SEEDS, **given)},
        "sample": {"sample": model.sample(seed=SEEDS, **given)},
        "sample_png": {"image_bytes": np.array(model.sample_png(seed=SEEDS, **given))},
        "encode": model.encode(x, **given).named_parameters,
        "reconstruct": {"mean": model.reconstruct(x, **given)},
        "score": model.score(x, seed=SEEDS, **given),
    }
    flat = {}
    for signature in inputs:
        flat |= {f"{signature}/inputs/{name}": value for name, value in (inputs[signature] | given).items()}
        flat |= {f"{signature}/outputs/{name}": np.asarray(value) for name, value in outputs[signature].items()}
    return flat


def main(directory: Path) -> None:
    digits = load_digits()
    x = (digits.images >= 8).astype(np.float32)[..., None]
    y = digits.target.astype(np.int64)
    for model, targets in ((bernoulli(), None), (conditional(), y)):
        keras.utils.set_random_seed(0)
        model.compile(keras.optimizers.Adam(1e-2))
        model.fit(x, targets, epochs=3, batch_size=64, verbose=0)
        profile = Profile(saved_model=True, onnx=True, litert=True, float16="never", int8="never")
        tfpvae.export_model(model, directory / model.name, version=1, profile=profile)
        model.save(directory / f"{model.name}.keras")
        rows = slice(0, len(SEEDS))
        of_some = answers(model, x[rows], None if targets is None else targets[rows])
        np.savez_compressed(directory / f"{model.name}.npz", **of_some)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
