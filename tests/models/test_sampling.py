"""Samples by seed: a row depends on its own seed alone, and follows the model's distribution."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.special import expit

CALLS = ("sample", "sample_mean", "sample_latent")
EDGE_SEEDS = [0, 1, -1, -5, 2**32, 2**63 - 1, -(2**63)]


def latents_by_hand(seeds) -> np.ndarray:
    from tfpvae.random import numpy as reference
    from tfpvae.random.seeds import LATENT

    return reference.normal_from_uniform(reference.uniform(seeds, 4, LATENT))


@pytest.mark.parametrize("call", CALLS)
def test_a_row_depends_on_its_own_seed_alone(call, vae):
    sample = getattr(vae, call)
    whole = sample(12, seed=7).numpy()
    one_by_one = np.concatenate([sample(1, seed=7 + i).numpy() for i in range(12)])
    by_array = sample(seed=[7 + i for i in range(12)]).numpy()
    backwards = sample(12, seed=np.arange(18, 6, -1)).numpy()[::-1]
    in_a_crowd = sample(200, seed=7).numpy()[:12]
    for other in (one_by_one, by_array, backwards, in_a_crowd):
        if call == "sample":
            np.testing.assert_array_equal(whole, other)
        else:
            np.testing.assert_allclose(whole, other, atol=1e-5)
    assert len(np.unique(whole.reshape(12, -1), axis=0)) == 12


@pytest.mark.parametrize("call", CALLS)
def test_the_same_seed_gives_the_same_and_none_a_fresh_one(call, vae):
    sample = getattr(vae, call)
    np.testing.assert_array_equal(sample(3, seed=5), sample(3, seed=5))
    assert (sample(3).numpy() != sample(3).numpy()).any()
    assert sample().shape[0] == 1


def test_keras_random_seed_has_no_part_in_it(vae):
    import keras

    first = vae.sample(3, seed=5).numpy()
    keras.utils.set_random_seed(99)
    np.testing.assert_array_equal(vae.sample(3, seed=5), first)


def test_latents_means_and_samples_are_numpys_for_the_edge_seeds(vae):
    from tfpvae.random import numpy as reference
    from tfpvae.random.seeds import OBSERVATION

    z = latents_by_hand(EDGE_SEEDS)
    np.testing.assert_allclose(vae.sample_latent(seed=EDGE_SEEDS), z, atol=1e-6)
    mean = expit(vae.decode(z).named_parameters["logits"].numpy().astype(np.float64))
    np.testing.assert_allclose(vae.sample_mean(seed=EDGE_SEEDS), mean, atol=1e-5)
    uniforms = reference.uniform(EDGE_SEEDS, 64, OBSERVATION).reshape(mean.shape)
    np.testing.assert_array_equal(vae.sample(seed=EDGE_SEEDS), uniforms < mean)


MANY = 600
BY_ROWS = {
    "sample_mean": lambda vae, x: vae.sample_mean(MANY, seed=3),
    "sample": lambda vae, x: vae.sample(MANY, seed=3),
    "sample_png": lambda vae, x: vae.sample_png(MANY, seed=3),
    "reconstruct": lambda vae, x: vae.reconstruct(x),
    "score": lambda vae, x: vae.score(x, seed=3)["elbo"],
}


@pytest.mark.parametrize("call", BY_ROWS.values(), ids=BY_ROWS)
def test_many_rows_are_computed_some_at_a_time(call, vae, digits, monkeypatch):
    import tfpvae

    likelihood, rows = tfpvae.VAE.likelihood, []

    def spy(self, latents, training=False):
        rows.append(latents.z.shape[0])
        return likelihood(self, latents, training)

    x = np.resize(digits.test, (MANY, 8, 8, 1))
    monkeypatch.setattr(tfpvae.VAE, "likelihood", spy)
    values = call(vae, x)
    assert len(values) == MANY == sum(rows)
    assert max(rows) <= 256
    if isinstance(values, list):
        assert len(set(values)) > MANY / 2
        return
    alone = {"sample_mean": vae.sample_mean(seed=[3 + MANY - 1]), "sample": vae.sample(seed=[3 + MANY - 1])}
    alone |= {"reconstruct": vae.reconstruct(x[-1:]), "score": vae.score(x[-1:], seed=[3 + MANY - 1])["elbo"]}
    (name,) = [name for name, each in BY_ROWS.items() if each is call]
    np.testing.assert_allclose(values[-1:], alone[name], rtol=1e-5, atol=1e-5)


def test_samples_follow_their_means(vae):
    """Each pixel is on as often as its mean says: 64 x 2000 draws, z-scores of each pixel's count."""
    n = 2000
    means, samples = vae.sample_mean(n, seed=0).numpy(), vae.sample(n, seed=0).numpy()
    assert set(np.unique(samples)) == {0.0, 1.0}
    assert samples.dtype == np.float32
    z = (samples - means).sum(0) / np.sqrt((means * (1 - means)).sum(0) + 1e-9)
    assert np.abs(z).max() < 4.5
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / z.size)


def test_png_pixels_are_the_means_rounded_to_the_nearest(vae):
    from PIL import Image

    levels = 255 * vae.sample_mean(4, seed=0).numpy()[..., 0]
    clear = np.abs(levels % 1 - 0.5) > 1e-3  # From a tie, where the last digit of the mean decides.
    assert (np.rint(levels) != np.floor(levels))[clear].any()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in vae.sample_png(4, seed=0)])
    np.testing.assert_array_equal(pixels[clear], np.rint(levels)[clear])


def test_a_gaussian_likelihood_and_a_correlated_posterior_are_drawn_by_seed(build_vae, digits):
    import tensorflow as tf

    from tfpvae import layers
    from tfpvae.random import numpy as reference
    from tfpvae.random.seeds import OBSERVATION, POSTERIOR

    vae = build_vae(likelihood=layers.IndependentNormal((8, 8, 1)), posterior=layers.MultivariateNormalTriL(4))
    seeds = np.array([3, 4, -9])
    p_x = vae.decode(latents_by_hand(seeds)).named_parameters
    epsilon = reference.normal_from_uniform(reference.uniform(seeds, 64, OBSERVATION)).reshape(3, 8, 8, 1)
    np.testing.assert_allclose(vae.sample(seed=seeds), p_x["loc"] + p_x["scale"] * epsilon, atol=1e-5)
    np.testing.assert_allclose(vae.sample_mean(seed=seeds), p_x["loc"], atol=1e-5)

    x = digits.test[:3]
    q = vae.encode(x).named_parameters
    epsilon = reference.normal_from_uniform(reference.uniform(seeds, 4, POSTERIOR))
    z = q["loc"].numpy() + np.einsum("bij,bj->bi", q["scale_tril"].numpy(), epsilon)
    expected = vae.decode(tf.constant(z)).log_prob(x)
    np.testing.assert_allclose(vae.score(x, seed=seeds)["log_likelihood"], expected, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_images_of_1_3_or_4_channels_have_pngs(channels, build_vae):
    import keras
    from PIL import Image

    from tfpvae import layers
    from tfpvae.errors import UnavailableError

    shape = (2, 3, channels)
    encoder = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(8), layers.MultivariateNormalDiag(4)]
    decoder = [keras.Input((4,)), keras.layers.Dense(6 * channels), layers.IndependentBernoulli(shape)]
    vae = build_vae(encoder=keras.Sequential(encoder), decoder=keras.Sequential(decoder))
    if channels in (1, 3, 4):
        (png,) = vae.sample_png(1, seed=0)
        mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        assert (Image.open(io.BytesIO(png)).size, Image.open(io.BytesIO(png)).mode) == ((3, 2), mode)
    else:
        with pytest.raises(UnavailableError, match="of 1, 3, 4 channels"):
            vae.sample_png(1, seed=0)


def test_what_a_bare_distribution_lacks_is_unavailable():
    import tensorflow_probability as tfp

    from tfpvae.errors import UnavailableError
    from tfpvae.layers.distribution_tensor import wrap
    from tfpvae.models import sampling

    tfd = tfp.distributions
    normal = wrap(tfd.Normal([1.0, 2.0], 1.0))
    np.testing.assert_array_equal(sampling.mean(normal), [1.0, 2.0])
    with pytest.raises(UnavailableError, match="no named parameters"):
        sampling.parameters(normal)
    # TFP gives NaN for the first one's mean, and has none for the second.
    for without in (tfd.Cauchy([0.0], 1.0), tfd.LogitNormal([0.0], 1.0)):
        with pytest.raises(UnavailableError, match="q has no finite mean"):
            sampling.mean(wrap(without), "q")


@pytest.mark.parametrize("kind", ["Independent", "MultivariateNormalDiag", "MultivariateNormalTriL"])
def test_a_given_prior_is_drawn_from(kind, build_vae):
    import tensorflow_probability as tfp

    tfd = tfp.distributions
    loc, scale = np.float32([1, 2, 3, 4]), np.float32([0.1, 0.2, 0.3, 0.4])
    tril = np.diag(scale) + 0.05 * np.tri(4, k=-1, dtype=np.float32)
    prior, L = {
        "Independent": lambda: (tfd.Independent(tfd.Normal(loc, scale), 1), np.diag(scale)),
        "MultivariateNormalDiag": lambda: (tfd.MultivariateNormalDiag(loc, scale), np.diag(scale)),
        "MultivariateNormalTriL": lambda: (tfd.MultivariateNormalTriL(loc, tril), tril),
    }[kind]()
    vae = build_vae(prior=prior)
    seeds = np.arange(5)
    np.testing.assert_allclose(vae.sample_latent(5, seed=0), loc + latents_by_hand(seeds) @ L.T, atol=1e-5)


class TestWithoutANumberOfUniforms:
    @pytest.fixture
    def lambda_vae(self, build_vae):
        import tensorflow_probability as tfp

        from tfpvae import layers

        tfd = tfp.distributions

        def laplace(t):
            import tensorflow as tf

            return tfd.Independent(tfd.Laplace(tf.reshape(t, [-1, 8, 8, 1]), 1.0), 3)

        return build_vae(likelihood=layers.DistributionLambda(laplace))

    def test_a_distribution_lambda_has_means_and_no_samples_by_seed(self, lambda_vae, digits):
        from tfpvae.errors import ModelError

        x = digits.train[:32]
        assert np.isfinite(lambda_vae.fit(x, verbose=0).history["loss"]).all()
        z = lambda_vae.sample_latent(3, seed=1)
        np.testing.assert_allclose(lambda_vae.sample_mean(3, seed=1), lambda_vae.decode(z).mean(), atol=1e-6)
        with pytest.raises(ModelError, match=r"Layer DistributionLambda cannot be drawn by seed.*decode\(z\)\.sample"):
            lambda_vae.sample(3, seed=1)

    def test_a_prior_that_is_no_gaussian_is_trained_with_and_not_drawn_by_seed(self, build_vae, digits, monkeypatch):
        import tensorflow as tf
        import tensorflow_probability as tfp

        from tfpvae.errors import ModelError
        from tfpvae.layers import kl

        tfd = tfp.distributions
        monkeypatch.setattr(kl, "_warned", set())
        vae = build_vae(prior=tfd.Independent(tfd.Laplace(tf.zeros(4), 1.0), 1))
        with pytest.warns(UserWarning, match=r"MultivariateNormalDiag and Independent\(Laplace\)") as caught:
            vae.fit(digits.train[:32], epochs=2, verbose=0)
        assert len(caught) == 1
        for call in CALLS:
            with pytest.raises(ModelError, match="Prior DistributionPrior cannot be drawn by seed"):
                getattr(vae, call)(3, seed=1)
