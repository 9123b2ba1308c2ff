"""The networks that fit the shape of the data."""

from __future__ import annotations

import numpy as np
import pytest

from tfpvae.errors import ModelError

IMAGE = (19, 16, 2)


def build(*arguments, **options):
    import tfpvae

    return tfpvae.VAE(*tfpvae.networks(*arguments, **options))


@pytest.mark.parametrize("shape", [(17, 31, 4), (16, 40, 1), (8, 8, 1), (5,), (3, 2), 7], ids=str)
def test_any_shape_goes_in_and_comes_out(shape):
    vae = build(shape, 3)
    shape = shape if isinstance(shape, tuple) else (shape,)
    assert vae.event_shape == shape
    assert vae.latent_size == 3
    x = np.random.default_rng(0).random((2, *shape), np.float32)
    assert vae.reconstruct(x).shape == x.shape


def test_large_images_are_convolved_and_the_weights_do_not_grow_with_the_area():
    import keras

    def weights(shape):
        encoder, decoder = build(shape).encoder, build(shape).decoder
        assert any(isinstance(layer, keras.layers.Conv2D) for layer in encoder.layers)
        return encoder.count_params() + decoder.count_params()

    small = weights((28, 28, 3))
    assert small < 600_000
    assert weights((112, 96, 3)) < 2 * small
    assert not any(isinstance(layer, keras.layers.Conv2D) for layer in build((8, 8, 1)).encoder.layers)


def test_the_first_values_of_a_parameter_are_of_its_own_pixel():
    """A change of the map at one place changes the parameters around it alone, whatever their order."""
    import keras

    import tfpvae
    from tfpvae import layers

    for likelihood in (layers.IndependentNormal(IMAGE), layers.MixtureDiscretizedLogistic(2, IMAGE)):
        decoder = tfpvae.networks(IMAGE, 3, likelihood).decoder
        last = [layer for layer in decoder.layers if isinstance(layer, keras.layers.Conv2D)][-1]
        heads = likelihood.params_per_value
        last.set_weights([np.zeros(last.kernel.shape), np.arange(IMAGE[2] * heads)])
        parameters = decoder(np.zeros((1, 3), np.float32)).named_parameters
        loc = np.asarray(parameters.get("loc", parameters.get("component_loc")))[0]
        assert np.ptp(loc, axis=(0, 1)).max() == 0  # Of each channel, and of each component, the same everywhere.
        first = 2 if heads == 6 else 0
        np.testing.assert_array_equal(
            loc[0, 0].ravel(), [c * heads + first + k for c in (0, 1) for k in range(heads // 3 or 1)]
        )


FAST = ("IndependentBernoulli", "IndependentBeta", "MixtureDiscretizedLogistic", "MixtureNormal")
SLOW = (
    "IndependentNormal", "IndependentLogistic", "IndependentPoisson", "IndependentContinuousBernoulli",
    "IndependentDiscretizedLogistic", "IndependentGamma", "IndependentNegativeBinomial", "IndependentStudentT",
    "IndependentCategorical", "MixtureLogistic", "SphericalNormal",
)  # fmt: skip


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_the_first_step_is_finite_for_every_likelihood(name):
    from tfpvae import layers
    from tfpvae.supports import UnitInterval

    kind = getattr(layers, name)
    count = {"MixtureDiscretizedLogistic": 3, "MixtureNormal": 3, "MixtureLogistic": 3, "IndependentCategorical": 4}
    likelihood = kind(*([count[name]] if name in count else []), IMAGE)
    vae = build(IMAGE, 3, likelihood, convolutional=not name.startswith("MixtureN") and name != "MixtureLogistic")
    rng = np.random.default_rng(0)
    x = (likelihood.support or UnitInterval()).examples(rng, (8, *IMAGE)).astype(np.float32)
    vae.compile("adam", run_eagerly=True)
    first = vae.train_on_batch(x, return_dict=True)["elbo"]
    assert np.isfinite(first)
    assert all(np.isfinite(weight).all() for weight in vae.get_weights())
    assert np.isfinite(vae.test_on_batch(x, return_dict=True)["elbo"])


@pytest.mark.parametrize("shape", [(17, 16, 1), (6,)], ids=str)
def test_given_labels(shape):
    import tfpvae

    encoder, decoder = tfpvae.networks(shape, 2, y_shape=(10,))
    vae = tfpvae.ConditionalVAE(encoder, decoder, num_classes=10)
    x = np.random.default_rng(0).random((4, *shape), np.float32)
    one, other = (np.asarray(vae.encode(x, np.full(4, y)).mean()) for y in (0, 1))
    assert not np.array_equal(one, other)
    assert vae.sample(2, seed=0, y=np.array([3, 4])).shape == (2, *shape)


def test_they_are_saved_with_the_model(tmp_path):
    import keras

    vae = build((17, 16, 1), 2)
    vae.save(tmp_path / "vae.keras")
    z = np.random.default_rng(0).standard_normal((2, 2), np.float32)
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "vae.keras").decode(z).mean(), vae.decode(z).mean()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event_shape": ()}, "event_shape must have at least one axis"),
        ({"event_shape": (0, 4)}, "event_shape must be an integer of at least 1"),
        ({"event_shape": (4,), "latent": 0}, "latent must be an integer of at least 1"),
        ({"event_shape": (16, 16, 1), "width": 20}, "width must be a multiple of 8"),
        ({"event_shape": (16,), "convolutional": True}, r"Convolutions need events \[H, W, C\]"),
    ],
    ids=str,
)
def test_bad_sizes_are_named(options, message):
    import tfpvae

    with pytest.raises(ModelError, match=message):
        tfpvae.networks(**options)


def test_a_likelihood_that_does_not_fit_is_named():
    import keras

    import tfpvae
    from tfpvae import layers

    with pytest.raises(ModelError, match=r"has events of \(3,\), not of event_shape=\(4,\)"):
        tfpvae.networks((4,), 2, layers.IndependentNormal(3))
    with pytest.raises(ModelError, match="MixtureNormal has no parameters for each pixel"):
        tfpvae.networks((16, 16, 1), 2, layers.MixtureNormal(3, (16, 16, 1)))
    with pytest.raises(ModelError, match="Lambda does not say how many inputs"):
        tfpvae.networks((4,), 2, keras.layers.Lambda(lambda t: t))
