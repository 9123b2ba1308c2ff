"""Makes the `.keras` files of the other models beside it, and what they answer: `<name>.keras` and `<name>.npz`.

    python tests/goldens/make_models.py DIRECTORY

The files were made at commit 93c8234, before the models were rearranged. They are not made again, as those of `make.py`
are not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits

import tfpvae
from tfpvae import layers

EVENT = (8, 8, 1)
SEEDS = np.array([0, 1, 7, -1, 2**63 - 1], np.int64)


def network(inputs: list[Any], last: Any, params: int) -> keras.Model:
    flat = [keras.layers.Flatten()(each) for each in inputs]
    h = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    h = keras.layers.Dense(6, "tanh")(h)
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], last(keras.layers.Dense(params)(h)))


def hierarchical() -> tfpvae.HierarchicalVAE:
    x, z1, z2 = keras.Input(EVENT, name="x"), keras.Input((3,), name="z1"), keras.Input((2,), name="z2")
    return tfpvae.HierarchicalVAE(
        posteriors={
            "z2": network([x], layers.MultivariateNormalDiag(2), 4),
            "z1": network([x, z2], layers.MultivariateNormalDiag(3), 6),
        },
        conditionals={"z1": network([z2], layers.MultivariateNormalDiag(3), 6)},
        decoder=network([z1, z2], layers.IndependentBernoulli(EVENT), 64),
        name="hierarchical",
    )


def two_stage() -> tfpvae.TwoStageVAE:
    first = tfpvae.VAE(
        network([keras.Input(EVENT)], layers.MultivariateNormalDiag(3), 6),
        network([keras.Input((3,))], layers.IndependentBernoulli(EVENT), 64),
    )
    second = tfpvae.VAE(
        network([keras.Input((3,))], layers.MultivariateNormalDiag(2), 4),
        network([keras.Input((2,))], layers.SphericalNormal(3, learn_scale=True), 3),
    )
    return tfpvae.TwoStageVAE(first, second, name="two_stage")


def density() -> tfpvae.ConditionalDensity:
    return tfpvae.ConditionalDensity(network([keras.Input(EVENT)], layers.OneHotCategorical(10), 10), name="density")


def answers(model: Any, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """What the model's own methods answer."""
    if model.name == "density":
        found = {
            "decode": model.decode(x).mean(),
            "sample": model.sample(x, seed=SEEDS),
            "log_likelihood": model.score(x, y)["log_likelihood"],
        }
    else:
        found = {
            "sample_latent": model.sample_latent(seed=SEEDS),
            "sample_mean": model.sample_mean(seed=SEEDS),
            "sample": model.sample(seed=SEEDS),
            "encode": model.encode(x).mean(),
            "reconstruct": model.reconstruct(x),
            **model.score(x, seed=SEEDS),
        }
    return {name: np.asarray(value) for name, value in found.items()}


def main(directory: Path) -> None:
    digits = load_digits()
    x = (digits.images >= 8).astype(np.float32)[..., None]
    y = np.eye(10, dtype=np.float32)[digits.target]
    for model, data in ((hierarchical(), (x,)), (two_stage(), (x,)), (density(), (x, y))):
        keras.utils.set_random_seed(0)
        model.compile(keras.optimizers.Adam(1e-2))
        model.fit(*data, epochs=2, batch_size=64, verbose=0)
        model.save(directory / f"{model.name}.keras")
        iterations = int(model.optimizer.iterations)
        np.savez_compressed(
            directory / f"{model.name}.npz", x=x[:5], y=y[:5], iterations=iterations, **answers(model, x[:5], y[:5])
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
