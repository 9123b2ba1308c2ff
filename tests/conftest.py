"""What tests share: a small trained VAE, its data and its export. TensorFlow is loaded when a test asks for one."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hypothesis
import numpy as np
import pytest

if TYPE_CHECKING:
    from tfpvae import VAE, ConditionalVAE
    from tfpvae.export import Export

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow takes oneDNN's kernels by itself on some processors only, and their errors are worded differently. The
# answers in tests/contract were recorded with them.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# The machines that run the tests are shared: a slow example says nothing.
hypothesis.settings.register_profile("tfpvae", deadline=None)
hypothesis.settings.load_profile("tfpvae")

# TensorFlow's graphs are hundreds of thousands of objects that live long. Python's default is to look through them so
# often that it took a twentieth of the time of the tests.
gc.set_threshold(20_000, 20, 100)

EVENT_SHAPE = (8, 8, 1)
LATENT = 4


class Digits(NamedTuple):
    """scikit-learn's 8x8 digits, binarised: float32 `[N, 8, 8, 1]` of 0 and 1."""

    train: np.ndarray
    test: np.ndarray


@pytest.fixture(scope="session", autouse=True)
def quick_timing() -> None:
    """An export times its runtimes for as short as it can: no test looks at the figures."""
    from tfpvae.export import speed

    speed.SECONDS = 0.0


@pytest.fixture(scope="session")
def digits() -> Digits:
    from sklearn.datasets import load_digits

    pixels = load_digits().images  # 0 to 16.
    x = (pixels >= 8).astype(np.float32)[..., None]
    return Digits(x[:1500], x[1500:])


@pytest.fixture(scope="session")
def build_vae() -> Callable[..., VAE]:
    """`build_vae(...)`: a new, compiled VAE of 8x8x1 images with one hidden layer; any part can be replaced."""

    def build(
        posterior: Any = None,
        likelihood: Any = None,
        prior: Any = None,
        encoder: Any = None,
        decoder: Any = None,
        hidden: int = 8,
        name: str | None = None,
        **compile_options: Any,
    ) -> VAE:
        import keras

        import tfpvae
        from tfpvae import layers

        posterior = posterior or layers.MultivariateNormalDiag(LATENT)
        likelihood = likelihood or layers.IndependentBernoulli(EVENT_SHAPE)

        def size(layer: Any, event: Any) -> int:
            return layer.params_size(event) if hasattr(layer, "params_size") else 64

        encoder = encoder or keras.Sequential(
            [
                keras.Input(EVENT_SHAPE),
                keras.layers.Flatten(),
                keras.layers.Dense(hidden, activation="relu"),
                keras.layers.Dense(size(posterior, LATENT)),
                posterior,
            ]
        )
        decoder = decoder or keras.Sequential(
            [
                keras.Input((LATENT,)),
                keras.layers.Dense(hidden, activation="relu"),
                keras.layers.Dense(size(likelihood, EVENT_SHAPE)),
                likelihood,
            ]
        )
        vae = tfpvae.VAE(encoder, decoder, prior, name=name)
        vae.compile(**{"optimizer": keras.optimizers.Adam(1e-2), **compile_options})
        return vae

    return build


class Labels(NamedTuple):
    """Which digits they are: int64 `[N]`, 0 to 9."""

    train: np.ndarray
    test: np.ndarray


@pytest.fixture(scope="session")
def labels() -> Labels:
    from sklearn.datasets import load_digits

    y = load_digits().target
    return Labels(y[:1500], y[1500:])


@pytest.fixture(scope="session")
def build_conditional() -> Callable[..., ConditionalVAE]:
    """`build_conditional(...)`: a new, compiled conditional VAE of 8x8x1 images, with labels unless told otherwise."""

    def build(
        num_classes: int | None = 10,
        y_shape: tuple[int, ...] = (10,),
        hidden: int = 8,
        by_name: bool = False,
        **options: Any,
    ) -> ConditionalVAE:
        import keras

        import tfpvae
        from tfpvae import layers

        x, y, z = keras.Input(EVENT_SHAPE, name="x"), keras.Input(y_shape, name="y"), keras.Input((LATENT,), name="z")
        flat_y = keras.layers.Flatten()(y)

        def network(first: Any, size: int, last: Any) -> Any:
            joined = keras.layers.Concatenate()([keras.layers.Flatten()(first), flat_y])
            return last(keras.layers.Dense(size)(keras.layers.Dense(hidden, activation="relu")(joined)))

        q = network(x, 2 * LATENT, layers.MultivariateNormalDiag(LATENT))
        p_x = network(z, 64, layers.IndependentBernoulli(EVENT_SHAPE))
        encoder = keras.Model({"x": x, "y": y} if by_name else [x, y], q)
        decoder = keras.Model({"z": z, "y": y} if by_name else [z, y], p_x)
        vae = tfpvae.ConditionalVAE(encoder, decoder, num_classes=num_classes, **options)
        vae.compile(keras.optimizers.Adam(1e-2))
        return vae

    return build


@pytest.fixture(scope="session")
def vae(build_vae: Callable[..., VAE], digits: Digits) -> VAE:
    """A trained Bernoulli VAE with four latents. Shared by every test: use it, do not train it."""
    import keras

    keras.utils.set_random_seed(0)
    model = build_vae(hidden=32, name="vae")  # The same in every worker: one of them exports it for all.
    model.fit(digits.train, epochs=3, batch_size=50, verbose=0)
    return model


@pytest.fixture(scope="session")
def restrict() -> Callable[..., None]:
    """`restrict(monkeypatch, "decode", ...)`: exports have these signatures alone, and take a fraction of the time."""

    def restrict(patch: pytest.MonkeyPatch, *names: str) -> None:
        from tfpvae.export import exporter

        every = exporter.endpoints

        def some(model: Any) -> Any:
            present, absent = every(model)
            return {name: present[name] for name in present if name in names}, absent

        patch.setattr(exporter, "endpoints", some)

    return restrict


@pytest.fixture
def only(restrict: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`only("decode", ...)`: `restrict`, for one test."""
    return functools.partial(restrict, monkeypatch)


@contextlib.contextmanager
def one_worker_at_a_time(directory: Path) -> Iterator[None]:
    """Within this, the other processes of the test run wait."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def exported(vae: VAE, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The shared VAE as version 1 of the model `digits`. Shared by every test: read it, do not write into it.

    The first process that asks for it makes it for all: it takes half a minute.
    """
    import tfpvae
    from tfpvae.export import Profile

    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent  # Each worker has a directory of its own in this one.
    record = directory / "exported.pickle"
    with one_worker_at_a_time(directory):
        if not record.exists():
            # Which other precisions are kept depends on how fast they are found to be.
            profile = Profile(float16="never", int8="never")
            export = tfpvae.export_model(vae, directory / "exported" / "models" / "digits", profile=profile)
            record.write_bytes(pickle.dumps(export))
        return pickle.loads(record.read_bytes())
