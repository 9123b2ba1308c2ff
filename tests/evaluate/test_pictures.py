"""Pictures: that they show the latents that they say, for the models that they are for."""

import numpy as np
import pytest

from tfpvae.errors import DataError, ModelError


@pytest.fixture
def decoded(monkeypatch):
    """The latents that are decoded, in calls."""
    from tfpvae import VAE

    calls: list[np.ndarray] = []
    decode = VAE.decode

    def spy(self, z, *args):
        calls.append(np.asarray(z))
        return decode(self, z, *args)

    monkeypatch.setattr(VAE, "decode", spy)
    return calls


@pytest.fixture(scope="module")
def plane(linear_gaussian):
    """Two latents, images."""
    import keras

    import tfpvae
    from tfpvae import layers

    keras.utils.set_random_seed(1)
    encoder = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4), layers.MultivariateNormalDiag(2)]
    )
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(64), layers.IndependentBernoulli((8, 8, 1))])
    return tfpvae.VAE(encoder, decoder)


def drawn(picture):
    """As grey values, after a check that it shows something."""
    values = np.asarray(picture.convert("L"))
    assert values.std() > 5
    return values


def test_traversals_move_one_latent_at_a_time(vae, digits, decoded):
    from tfpvae.evaluate import active_units, pictures

    drawn(pictures.latent_traversals(vae, digits.test, steps=5, latents=3))
    z = decoded[-1].reshape(3, 5, 4)
    base = np.asarray(vae.encode(digits.test[:1]).mean())[0]
    for row, d in enumerate(active_units(vae, digits.test).most_active[:3]):
        np.testing.assert_allclose(z[row, :, d], np.linspace(-3, 3, 5), atol=1e-6)
        np.testing.assert_allclose(np.delete(z[row], d, axis=1), np.tile(np.delete(base, d), (5, 1)), atol=1e-5)


def test_a_tile_lies_where_its_axes_say(plane, digits):
    """Each tile in the picture has the brightness of its image."""
    from tfpvae.evaluate.plots import picture, tiles

    brightness = np.array([[0.1, 0.9, 0.3], [0.8, 0.2, 0.6]])
    figure, axes = tiles(np.broadcast_to(brightness[..., None, None], (2, 3, 8, 8)))
    axes.set_xticks([])
    axes.set_yticks([])
    pixels = np.asarray(picture(figure).convert("L")) / 255
    for r in range(2):
        for c in range(3):
            x, y = axes.transData.transform((c, r))
            assert pixels[-round(y), round(x)] == pytest.approx(brightness[r, c], abs=0.01)


def test_the_grid_is_at_the_priors_quantiles(plane, decoded):
    from scipy import stats

    from tfpvae.evaluate import pictures

    drawn(pictures.latent_grid(plane, steps=4))
    z, quantiles = decoded[-1].reshape(4, 4, 2), stats.norm.ppf([0.125, 0.375, 0.625, 0.875])
    for i in range(4):
        np.testing.assert_allclose(z[i, :, 0], quantiles, rtol=1e-5)
        np.testing.assert_allclose(z[:, i, 1], quantiles[::-1], rtol=1e-5)  # From above.


def test_interpolations_end_at_the_posterior_means(vae, digits, decoded):
    from tfpvae.evaluate import pictures

    drawn(pictures.interpolations(vae, digits.test[:5], steps=3))  # The fifth has no partner.
    z = decoded[-1].reshape(2, 3, 4)
    means = np.asarray(vae.encode(digits.test[:4]).mean())
    np.testing.assert_allclose(z[:, 0], means[::2], atol=1e-5)
    np.testing.assert_allclose(z[:, 2], means[1::2], atol=1e-5)
    np.testing.assert_allclose(z[:, 1], (means[::2] + means[1::2]) / 2, atol=1e-5)


@pytest.mark.parametrize("labels", [None, "integers", "names", "numbers"], ids=str)
def test_maps(vae, plane, digits, labels):
    from tfpvae.evaluate import pictures

    given = {
        None: None,
        "integers": np.arange(297) % 10,
        "names": np.array(["a", "b", "c"])[np.arange(297) % 3],
        "numbers": np.linspace(0, 1, 297),
    }[labels]
    two, four = (pictures.latent_map(model, digits.test, given) for model in (plane, vae))
    drawn(two)
    drawn(four)
    assert four.width > 1.8 * two.width  # Two panels.


@pytest.mark.parametrize("size", [1, 4, 50])
def test_bars(size):
    from tfpvae.evaluate import ActiveUnits, pictures

    values = np.random.default_rng(0).random(size)
    drawn(pictures.kl_per_unit(values))
    drawn(pictures.activity(ActiveUnits(values * (values > 0.3), 0.01)))


def test_points_and_curves(linear_gaussian):
    import keras

    import tfpvae
    from tfpvae import layers
    from tfpvae.evaluate import pictures

    encoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4), layers.MultivariateNormalDiag(2)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), layers.SphericalNormal((2,))])
    drawn(pictures.points(tfpvae.VAE(encoder, decoder), linear_gaussian.x[:, :2]))
    drawn(pictures.curves(linear_gaussian.vae, linear_gaussian.x[:4]))


def test_history_shows_the_log_marginal_where_there_is_one():
    from tfpvae.evaluate import pictures

    metrics = {name: [1.0, 2.0, 3.0] for name in ("elbo", "val_elbo", "log_likelihood", "kl", "val_kl")}
    without = drawn(pictures.history(metrics))
    with_it = drawn(pictures.history({**metrics, "val_log_marginal": [2.0, 3.0, 4.0]}))
    assert (without != with_it).any()


def test_what_a_model_has_no_picture_of(vae, linear_gaussian, digits):
    from tfpvae.evaluate import pictures

    vectors, x = linear_gaussian.vae, linear_gaussian.x
    for draw in (pictures.latent_traversals, pictures.interpolations):
        with pytest.raises(ModelError, match=r"Only images.*\[8\]"):
            draw(vectors, x)
    with pytest.raises(ModelError, match=r"two latents with independent Gaussians.*4 latents"):
        pictures.latent_grid(vae)
    with pytest.raises(ModelError, match="Points of a plane"):
        pictures.points(vae, digits.test)
    with pytest.raises(DataError, match="one for each of 297 examples"):
        pictures.latent_map(vae, digits.test, labels=[1, 2])
    with pytest.raises(DataError, match="at least two images"):
        pictures.interpolations(vae, digits.test[:1])
