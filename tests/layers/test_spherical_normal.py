"""The Gaussians whose variance is one number, given or learned, or the exponential of what the decoder puts out."""

import numpy as np
import pytest
from scipy import stats

# tf2onnx still calls NumPy by names of version 1.
pytestmark = pytest.mark.filterwarnings("ignore:.*np.object.*:FutureWarning")


def negative_log_likelihood(y, rv):
    return -rv.log_prob(y)


@pytest.fixture
def loc():
    return np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


@pytest.mark.parametrize("learn_scale", [False, True])
def test_log_prob_is_scipys(tfpl, loc, learn_scale):
    x = np.random.default_rng(1).normal(size=(4, 2, 3)).astype(np.float32)
    layer = tfpl.SphericalNormal((2, 3), 0.3, learn_scale)
    rv = layer(loc)
    expected = stats.norm(loc.reshape(4, 2, 3), 0.3).logpdf(x).sum(axis=(1, 2))
    np.testing.assert_allclose(rv.log_prob(x), expected, rtol=1e-5)
    assert {name: value.shape for name, value in rv.named_parameters.items()} == {
        "loc": (4, 2, 3),
        "scale": (4, 1, 1),
    }
    np.testing.assert_allclose(layer.gamma, 0.09, rtol=1e-6)


def test_only_a_learned_scale_is_a_weight(tfpl):
    assert tfpl.SphericalNormal(3, 0.3).weights == []
    (weight,) = tfpl.SphericalNormal(3, 0.3, learn_scale=True).trainable_weights
    assert weight.shape == ()
    assert tfpl.SphericalNormal.params_size((2, 3)) == 6


@pytest.mark.slow
def test_gamma_is_learned_as_the_mean_square(tfpl):
    """Of data around a known loc the likeliest gamma is the mean square of the differences."""
    import keras

    x = (0.2 * np.random.default_rng(2).normal(size=(500, 4))).astype(np.float32)
    layer = tfpl.SphericalNormal(4, learn_scale=True)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(keras.optimizers.Adam(0.1), loss=negative_log_likelihood)
    model.fit(np.zeros_like(x), x, epochs=100, batch_size=500, verbose=0)
    np.testing.assert_allclose(layer.gamma, np.mean(x.astype(np.float64) ** 2), rtol=0.01)


def test_a_learned_scale_stops_at_its_floor_and_comes_back(tfpl):
    import keras

    zeros = np.zeros((8, 4), np.float32)
    layer = tfpl.SphericalNormal(4, 1e-6, learn_scale=True)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(keras.optimizers.Adam(0.1), loss=negative_log_likelihood)
    model.fit(zeros, zeros, epochs=5, verbose=0)
    np.testing.assert_allclose(layer.gamma, 1e-12, rtol=1e-4)
    assert np.isfinite(model.evaluate(zeros, zeros, verbose=0))
    model.fit(zeros, zeros + 1.0, epochs=40, verbose=0)
    assert layer.gamma > 1e-10


@pytest.mark.parametrize("nested", [False, True])
def test_a_learned_scale_is_saved(tfpl, loc, nested, tmp_path):
    import keras

    layer = tfpl.SphericalNormal(3, 0.5, learn_scale=True)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3), layer])
    if nested:
        x = keras.Input((6,))
        model = keras.Model(x, model(keras.layers.Dense(6)(x)))
    model.compile("adam", loss=negative_log_likelihood)
    model.fit(loc, loc[:, :3], epochs=3, verbose=0)
    assert layer.gamma != pytest.approx(0.25)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    for name, value in model(loc).named_parameters.items():
        np.testing.assert_array_equal(again(loc).named_parameters[name], value)
    found = again.layers[-1].layers[-1] if nested else again.layers[-1]
    assert found.gamma == layer.gamma
    assert found.get_config()["scale"] == 0.5  # Where it started.


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-7, float("nan"), float("inf"), None, "1", True])
def test_a_scale_must_be_a_finite_number_above_zero(tfpl, scale):
    from tfpvae.errors import ModelError

    for learn_scale in (False, True):
        with pytest.raises(ModelError, match=r"scale must be a number of at least 1e-06\. Received: scale="):
            tfpl.SphericalNormal(3, scale, learn_scale)


@pytest.mark.slow
def test_a_vae_with_a_learned_scale_is_exported(build_vae, digits, tmp_path, only):
    import tensorflow as tf

    import tfpvae
    from tfpvae import edge, layers
    from tfpvae.export import Profile

    only("decode", "likelihood", "sample")  # The others do not see the layer.
    vae = build_vae(likelihood=layers.SphericalNormal((8, 8, 1), learn_scale=True))
    vae.fit(digits.train, epochs=1, verbose=0)
    assert vae.decoder.layers[-1].gamma < 0.9
    profile = Profile(float16="never", int8="never")
    export = tfpvae.export_model(vae, tmp_path / "digits", profile=profile)  # It compares with Keras first.
    z = vae.sample_latent(3, seed=1)
    scale = np.full((3, 1, 1, 1), np.sqrt(vae.decoder.layers[-1].gamma))
    served = tf.saved_model.load(str(export.path)).signatures["likelihood"](z=z)
    decoder = edge.Decoder(export.path)
    for found in (served, decoder.likelihood(z.numpy())):
        np.testing.assert_allclose(found["scale"], scale, rtol=1e-5)
    np.testing.assert_allclose(decoder.sample(3, seed=1), vae.sample(3, seed=1), atol=1e-5)
    assert not np.allclose(vae.sample(3, seed=1), vae.sample_mean(3, seed=1), atol=0.1)


def test_a_log_variance_is_that(tfpl, loc):
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    rv = tfpl.IndependentNormalLogVariance(3)(loc)
    expected = stats.norm(loc[:, :3], np.sqrt(np.exp(loc[:, 3:]))).logpdf(x).sum(axis=-1)
    np.testing.assert_allclose(rv.log_prob(x), expected, rtol=1e-5)
    np.testing.assert_allclose(rv.variance(), np.exp(loc[:, 3:]), rtol=1e-5)
