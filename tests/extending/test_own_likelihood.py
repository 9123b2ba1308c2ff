"""A likelihood layer with its own support, in a file of its own, goes the whole road with public names alone."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

ANGLES = np.random.default_rng(0).uniform(-3.0, 3.0, (32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def own():
    """The user's module."""
    spec = importlib.util.spec_from_file_location("own_likelihood", Path(__file__).with_name("wrapped_normal.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vae(own):
    import keras

    import tfpvae
    from tfpvae import layers

    encoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), layers.MultivariateNormalDiag(2)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), own.WrappedNormal(3)])
    vae = tfpvae.VAE(encoder, decoder)
    vae.compile("adam")
    vae.fit(ANGLES, verbose=0)
    return vae


def test_fit_refuses_what_it_is_not_over(vae):
    import tensorflow as tf

    from tfpvae.errors import DataError

    degrees = ANGLES * 180 / math.pi
    message = r"x must be values in \[-3\.14159, 3\.14159\]\. Received: .*Wrap angles by \(x \+ pi\) % \(2 pi\) - pi"
    for data in (degrees, tf.data.Dataset.from_tensor_slices(degrees).batch(8)):
        with pytest.raises(DataError, match=message):
            vae.fit(data, verbose=0)
    with pytest.raises(DataError, match=r"A batch of " + message):
        vae.fit(tf.data.Dataset.from_tensor_slices(np.concatenate([ANGLES, degrees])).batch(32), verbose=0)


def test_it_is_saved_and_loaded(vae, tmp_path):
    import keras

    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert loaded.support == vae.support
    np.testing.assert_allclose(loaded.score(ANGLES, seed=0)["elbo"], vae.score(ANGLES, seed=0)["elbo"], rtol=1e-6)


def test_it_is_evaluated(vae):
    from tfpvae import evaluate
    from tfpvae.errors import DataError

    estimate = evaluate.importance_log_marginal(vae, ANGLES[:4], samples=16)
    assert np.isfinite(estimate.log_marginal).all()
    with pytest.raises(DataError, match="Wrap angles"):
        evaluate.importance_log_marginal(vae, ANGLES * 100, samples=16)


def test_it_is_exported_and_verified(vae, tmp_path, only):
    import tfpvae
    from tfpvae.export import Profile, verify

    only("decode", "score")
    path = tfpvae.export_model(
        vae, tmp_path / "angles", profile=Profile(litert=False, float16="never", int8="never")
    ).path
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["support"] == "interval"
    assert manifest["data_range"] == [-math.pi, math.pi]
    assert verify(path).findings == ()
    assert "values in [-3.14159, 3.14159]" in (path / "MODEL_CARD.md").read_text()
