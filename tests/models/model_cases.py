"""One row for each model; `test_conformance_models.py` puts every row through the same checks.

Nothing here imports TensorFlow before a test runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

X, Y, Z = "x", "y", "z"


def latent_answers(model: Any, x: np.ndarray, y: np.ndarray) -> dict[str, dict[str, Any]]:
    """What a model with latents answers, by signature and output."""
    del y
    z = model.sample_latent(len(x), seed=5)
    return {
        "decode": {"mean": model.decode(z).mean()},
        "sample": {"sample": model.sample(len(x), seed=5)},
        "encode": dict(model.encode(x).named_parameters),
    }


def conditional_answers(model: Any, x: np.ndarray, y: np.ndarray) -> dict[str, dict[str, Any]]:
    z = model.sample_latent(len(x), seed=5)
    return {
        "decode": {"mean": model.decode(z, y).mean()},
        "sample": {"sample": model.sample(len(x), seed=5, y=y)},
        "encode": dict(model.encode(x, y).named_parameters),
    }


def density_answers(model: Any, x: np.ndarray, y: np.ndarray) -> dict[str, dict[str, Any]]:
    del y
    p_y = model.decode(x)
    return {
        "decode": {"mean": p_y.mean()},
        "sample": {"sample": model.sample(x, seed=5)},
        "likelihood": dict(p_y.named_parameters),
    }


@dataclass(frozen=True)
class ModelCase:
    """A row.

    Attributes:
        build: makes a new, compiled model of images `[8, 8, 1]`, from the fixtures' builders by name.
        fit: the arguments of `fit` and `evaluate`, of images and labels.
        answers: what the model's own methods give for some rows, by signature and output: those that must be exported.
        inputs: the inputs of each of these signatures beside seed 5 and up, of "x", "y" and the model's own "z".
        score: the figures of `score` at a seed, or None where the model has no bound.
        log_marginal: what `importance_log_marginal` takes beside model and x, of labels.
        mistakes: calls that must fail, each with what its message says; they get a new model, images and labels.
    """

    build: Callable[[dict[str, Callable[..., Any]]], Any]
    fit: Callable[[np.ndarray, np.ndarray], tuple[Any, ...]]
    answers: Callable[[Any, np.ndarray, np.ndarray], dict[str, dict[str, Any]]]
    inputs: dict[str, tuple[str, ...]]
    score: Callable[[Any, np.ndarray, np.ndarray, int], dict[str, Any]] | None = None
    log_marginal: Callable[[np.ndarray], dict[str, Any]] = lambda y: {}
    mistakes: tuple[tuple[Callable[[Any, np.ndarray, np.ndarray], Any], str], ...] = ()


def _density(builders: dict[str, Callable[..., Any]]) -> Any:
    import keras

    import tfpvae
    from tfpvae import layers

    del builders
    last = layers.OneHotCategorical(10)
    network = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10), last]
    model = tfpvae.ConditionalDensity(keras.Sequential(network))
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def _network(given: Any, last: Any, params: int) -> Any:
    """One hidden layer from an input to a distribution."""
    import keras

    hidden = keras.layers.Dense(16, "tanh")(keras.layers.Flatten()(given))
    return keras.Model(given, last(keras.layers.Dense(params)(hidden)))


def _hierarchical(builders: dict[str, Callable[..., Any]]) -> Any:
    import keras

    import tfpvae
    from tfpvae import layers

    del builders
    x, z1, z2 = keras.Input((8, 8, 1), name="x"), keras.Input((4,), name="z1"), keras.Input((3,), name="z2")
    model = tfpvae.HierarchicalVAE(
        posteriors={
            "z1": _network(x, layers.MultivariateNormalDiag(4), 8),
            "z2": _network(z1, layers.MultivariateNormalDiag(3), 6),
        },
        conditionals={"z1": _network(z2, layers.MultivariateNormalDiag(4), 8)},
        decoder=_network(z1, layers.IndependentBernoulli((8, 8, 1)), 64),
    )
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def _two_stage(builders: dict[str, Callable[..., Any]]) -> Any:
    import keras

    import tfpvae
    from tfpvae import layers

    z, u = keras.Input((4,)), keras.Input((3,))
    second = tfpvae.VAE(
        _network(z, layers.MultivariateNormalDiag(3), 6), _network(u, layers.SphericalNormal(4, learn_scale=True), 4)
    )
    model = tfpvae.TwoStageVAE(builders["vae"](), second)
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def _one_hot(y: np.ndarray) -> np.ndarray:
    return np.eye(10, dtype=np.float32)[y]


CASES = {
    "VAE": ModelCase(
        build=lambda builders: builders["vae"](),
        fit=lambda x, y: (x,),
        answers=latent_answers,
        inputs={"decode": (Z,), "sample": (), "encode": (X,)},
        score=lambda model, x, y, seed: model.score(x, seed=seed),
        mistakes=(
            (lambda model, x, y: model.fit(x, y), "no targets"),
            (lambda model, x, y: model.fit(x[:, :4]), "x must have shape"),
            (lambda model, x, y: model.decode(np.zeros((2, 3))), r"z must have shape \[None, 4\]"),
        ),
    ),
    "ConditionalVAE": ModelCase(
        build=lambda builders: builders["conditional"](),
        fit=lambda x, y: (x, y),
        answers=conditional_answers,
        inputs={"decode": (Z, Y), "sample": (Y,), "encode": (X, Y)},
        score=lambda model, x, y, seed: model.score(x, y, seed=seed),
        log_marginal=lambda y: {"y": y},
        mistakes=(
            (lambda model, x, y: model.fit(x), "y must be given"),
            (lambda model, x, y: model.fit(x, y + 10), "labels from 0 to 9"),
            (lambda model, x, y: model.fit(x[:, :4], y), "x must have shape"),
            (lambda model, x, y: model.sample(2), "y must be given"),
        ),
    ),
    "HierarchicalVAE": ModelCase(
        build=_hierarchical,
        fit=lambda x, y: (x,),
        answers=latent_answers,
        inputs={"decode": (Z,), "sample": (), "encode": (X,)},
        score=lambda model, x, y, seed: model.score(x, seed=seed),
        mistakes=(
            (lambda model, x, y: model.fit(x, y), "no targets"),
            (lambda model, x, y: model.fit(x[:, :4]), "x must have shape"),
            (lambda model, x, y: model.decode(np.zeros((2, 4))), r"z must have shape \[None, 7\]"),
        ),
    ),
    "TwoStageVAE": ModelCase(
        build=_two_stage,
        fit=lambda x, y: (x,),
        answers=latent_answers,
        inputs={"decode": (Z,), "sample": (), "encode": (X,)},
        score=lambda model, x, y, seed: model.score(x, seed=seed),
        mistakes=(
            (lambda model, x, y: model.fit(x, y), "no targets"),
            (lambda model, x, y: model.fit(x[:, :4]), "x must have shape"),
            (lambda model, x, y: model.decode(np.zeros((2, 4))), r"z must have shape \[None, 7\]"),
        ),
    ),
    "ConditionalDensity": ModelCase(
        build=_density,
        fit=lambda x, y: (x, _one_hot(y)),
        answers=density_answers,
        inputs={"decode": (X,), "sample": (X,), "likelihood": (X,)},
        mistakes=(
            (lambda model, x, y: model.fit(x), "y must be given"),
            (lambda model, x, y: model.fit(x, y), r"y must have shape \[N, 10\]"),
            (lambda model, x, y: model.fit(x[:, :4], _one_hot(y)), "x must have shape"),
        ),
    ),
}
