"""Saved and loaded: the same numbers, in the same process and in a fresh one."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

FRESH = """
{imports}
import json, sys
import numpy as np
vae = keras.models.load_model({path!r})
x = np.load({data!r})
print(json.dumps({{
    "class": type(vae).__module__ + "." + type(vae).__name__,
    "weights": [np.asarray(w).astype(float).ravel().tolist() for w in vae.get_weights()],
    "mean": vae.reconstruct(x).numpy().ravel().tolist(),
    "sample": vae.sample(3, seed=7).numpy().ravel().tolist(),
    "elbo": vae.score(x, seed=1)["elbo"].numpy().tolist(),
    "next": vae._next_seed().numpy().tolist(),
    "fitted": sorted(vae.fit(np.round(x), verbose=0).history),
}}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["import keras, tfpvae", "import tfpvae, keras"])
def test_a_fresh_process_gets_the_same_numbers_whatever_is_imported_first(imports, vae, digits, tmp_path: Path):
    x = digits.test[:5]
    np.save(tmp_path / "x.npy", x)
    vae.save(tmp_path / "vae.keras")
    code = FRESH.format(imports=imports, path=str(tmp_path / "vae.keras"), data=str(tmp_path / "x.npy"))
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    got = json.loads(finished.stdout.splitlines()[-1])
    assert got["class"] == "tfpvae.models.vae.VAE"
    assert len(got["weights"]) == len(vae.get_weights())
    for mine, its in zip(vae.get_weights(), got["weights"], strict=True):
        np.testing.assert_array_equal(np.asarray(mine, float).ravel(), its)
    np.testing.assert_allclose(got["mean"], vae.reconstruct(x).numpy().ravel(), atol=1e-6)
    np.testing.assert_array_equal(got["sample"], vae.sample(3, seed=7).numpy().ravel())
    np.testing.assert_allclose(got["elbo"], vae.score(x, seed=1)["elbo"], rtol=1e-5)
    assert got["fitted"] == ["elbo", "kl", "log_likelihood", "loss"]


def test_the_file_holds_json_and_weights_and_no_code(vae, tmp_path: Path):
    vae.save(tmp_path / "vae.keras")
    with zipfile.ZipFile(tmp_path / "vae.keras") as archive:
        assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        config = archive.read("config.json").decode()
    assert json.loads(config)["registered_name"] == "tfpvae>VAE"
    assert "__lambda__" not in config


def assert_same(a, b, x: np.ndarray) -> None:
    """The same weights, and the same answers from encoder, prior and decoder."""
    for mine, its in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    np.testing.assert_allclose(a.encode(x).mean(), b.encode(x).mean(), atol=1e-6)
    np.testing.assert_allclose(a.reconstruct(x), b.reconstruct(x), atol=1e-6)
    np.testing.assert_allclose(a.score(x, seed=1)["kl"], b.score(x, seed=1)["kl"], rtol=1e-5)
    np.testing.assert_allclose(a.score(x, seed=1)["elbo"], b.score(x, seed=1)["elbo"], rtol=1e-5)
    np.testing.assert_allclose(a.sample_mean(3, seed=1), b.sample_mean(3, seed=1), atol=1e-6)


def round_trip(vae, path: Path):
    import keras

    vae.save(path / "vae.keras")
    return keras.models.load_model(path / "vae.keras")


def prior_of(kind: str):
    import tensorflow_probability as tfp

    tfd = tfp.distributions
    loc, scale = np.float32([1, 2, 3, 4]), np.float32([0.5, 1, 2, 3])
    return {
        "Independent(Normal)": lambda: tfd.Independent(tfd.Normal(loc, scale), reinterpreted_batch_ndims=1),
        "Sample(Normal)": lambda: tfd.Sample(tfd.Normal(0.5, 2.0), 4),
        "MultivariateNormalDiag": lambda: tfd.MultivariateNormalDiag(loc, scale),
        "MultivariateNormalTriL": lambda: tfd.MultivariateNormalTriL(
            loc, np.diag(scale) + 0.3 * np.tri(4, k=-1, dtype=np.float32)
        ),
    }[kind]()


@pytest.mark.parametrize(
    "kind", ["Independent(Normal)", "Sample(Normal)", "MultivariateNormalDiag", "MultivariateNormalTriL"]
)
def test_a_prior_of_tfps_is_saved_with_the_model(kind, build_vae, digits, tmp_path):
    vae = build_vae(prior=prior_of(kind))
    vae.fit(digits.train[:32], verbose=0)
    loaded = round_trip(vae, tmp_path)
    assert_same(vae, loaded, digits.test[:4])
    z = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_allclose(loaded.prior.distribution().log_prob(z), prior_of(kind).log_prob(z), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["IndependentNormal", "MultivariateNormalTriL"])
def test_other_layers_are_saved_with_the_model(kind, build_vae, digits, tmp_path):
    from tfpvae import layers

    vae = (
        build_vae(likelihood=layers.IndependentNormal((8, 8, 1)))
        if kind == "IndependentNormal"
        else build_vae(posterior=layers.MultivariateNormalTriL(4))
    )
    vae.fit(digits.train[:32], verbose=0)
    assert_same(vae, round_trip(vae, tmp_path), digits.test[:4])


def functional_encoder():
    import keras

    from tfpvae import layers

    x = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(x)
    hidden = keras.layers.Dense(8, "relu")(flat)
    # A skip connection, which a Sequential cannot have.
    params = keras.layers.Dense(8)(keras.layers.Concatenate()([flat, hidden]))
    return keras.Model(x, layers.MultivariateNormalDiag(4)(params))


def sequential_encoder():
    import keras

    from tfpvae import layers

    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(8), layers.MultivariateNormalDiag(4)])


def subclassed_encoder():
    import keras

    from tfpvae import layers

    @keras.saving.register_keras_serializable(package="tests")
    class Encoder(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(8)
            self.posterior_layer = layers.MultivariateNormalDiag(4)

        def call(self, x):
            return self.posterior_layer(self.dense(self.flatten(x)))

    return Encoder()


def layer_encoder():
    import keras

    from tfpvae import layers

    @keras.saving.register_keras_serializable(package="tests")
    class EncoderLayer(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.flatten, self.dense = keras.layers.Flatten(), keras.layers.Dense(8)
            self.posterior_layer = layers.MultivariateNormalDiag(4)

        def build(self, input_shape):
            self.dense.build((None, 64))

        def call(self, x):
            return self.posterior_layer(self.dense(self.flatten(x)))

    return EncoderLayer()


@pytest.mark.parametrize(
    "make",
    [
        functional_encoder,
        pytest.param(sequential_encoder, marks=pytest.mark.slow),
        subclassed_encoder,
        pytest.param(layer_encoder, marks=pytest.mark.slow),
    ],
)
def test_every_way_to_write_an_encoder_trains_and_is_saved(make, build_vae, digits, tmp_path):
    vae = build_vae(encoder=make())
    losses = vae.fit(digits.train[:200], epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    x = digits.test[:4]
    loaded = round_trip(vae, tmp_path)
    assert_same(vae, loaded, x)
    # The optimizer goes on where it was.
    assert int(loaded.optimizer.iterations) == int(vae.optimizer.iterations) > 0
    for mine, its in zip(vae.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), its.numpy())
    loaded.fit(digits.train[:32], verbose=0)


def test_training_goes_on_from_the_file_as_it_would_have_without(build_vae, digits, tmp_path):
    vae = build_vae()
    vae.fit(digits.train[:64], verbose=0, shuffle=False)
    loaded = round_trip(vae, tmp_path)
    # Keras saves no seed generator's state, not that of Dropout either.
    loaded.seed_generator.state.assign(vae.seed_generator.state)
    histories = [m.fit(digits.train[:64], verbose=0, shuffle=False).history["loss"] for m in (vae, loaded)]
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-6)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_encoder_and_decoder_are_saved_alone(part, vae, digits, tmp_path):
    import keras

    network = getattr(vae, part)
    network.save(tmp_path / "part.keras")
    loaded = keras.models.load_model(tmp_path / "part.keras")
    given = digits.test[:3] if part == "encoder" else np.float32([[0, 1, 2, 3]])
    for name, value in network(given).named_parameters.items():
        np.testing.assert_array_equal(loaded(given).named_parameters[name], value)
    np.testing.assert_array_equal(network(given).mean(), loaded(given).mean())


def test_weights_alone_go_into_a_model_built_anew(vae, build_vae, digits, tmp_path):
    vae.save_weights(tmp_path / "vae.weights.h5")
    other = build_vae(hidden=32)
    other.optimizer.build(other.trainable_variables)  # Its state is in the file too.
    assert (other.reconstruct(digits.test[:3]).numpy() != vae.reconstruct(digits.test[:3]).numpy()).any()
    other.load_weights(tmp_path / "vae.weights.h5")
    assert_same(vae, other, digits.test[:3])


def test_a_copy_from_the_config_has_the_same_architecture_and_its_own_weights(vae):
    import tfpvae

    config = json.loads(json.dumps(vae.get_config()))
    copy = tfpvae.VAE.from_config(config)
    assert [w.shape for w in copy.get_weights()] == [w.shape for w in vae.get_weights()]
    assert copy.name == vae.name
    assert copy.encoder is not vae.encoder
    assert copy.latent_size == 4
    assert copy.event_shape == (8, 8, 1)


def test_a_registered_function_makes_a_distribution_lambda_that_is_saved(build_vae, digits, tmp_path):
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    from tfpvae import layers

    tfd = tfp.distributions

    @keras.saving.register_keras_serializable(package="tests")
    def laplace(t):
        return tfd.Independent(tfd.Laplace(tf.reshape(t, [-1, 8, 8, 1]), 1.0), 3)

    vae = build_vae(likelihood=layers.DistributionLambda(laplace))
    vae.fit(digits.train[:32], verbose=0)
    assert_same(vae, round_trip(vae, tmp_path), digits.test[:4])
