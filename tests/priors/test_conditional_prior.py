"""p(z given y): the KL, the draws, training, saving and exporting of a conditional VAE that has it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tfpvae.errors import ModelError
from tfpvae.signatures import ONNX_DIRECTORY

LATENT = 4


def prior_network(y_shape=(10,), latent=LATENT):
    import keras

    from tfpvae import layers

    y = keras.Input(y_shape)
    return keras.Model(y, layers.MultivariateNormalDiag(latent)(keras.layers.Dense(2 * latent)(y)))


@pytest.fixture
def build(build_conditional):
    """`build(**options)`: a new conditional VAE whose prior depends on the label."""
    import keras

    from tfpvae import priors

    keras.utils.set_random_seed(2)
    return lambda **options: build_conditional(prior=priors.ConditionalPrior(prior_network()), **options)


@pytest.fixture(scope="module")
def trained(build_conditional, digits, labels):
    import keras

    from tfpvae import priors

    keras.utils.set_random_seed(2)
    vae = build_conditional(prior=priors.ConditionalPrior(prior_network()))
    before = [np.array(w) for w in vae.prior.trainable_weights]
    losses = vae.fit(digits.train, labels.train, epochs=3, batch_size=50, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert all(np.abs(w - b).max() > 1e-3 for w, b in zip(vae.prior.trainable_weights, before, strict=True))
    return vae


def loc_and_scale(vae, y):
    """Of p(z given y), in NumPy from the network's weights."""
    kernel, bias = (np.asarray(w, np.float64) for w in vae.prior.get_weights()[:2])
    raw = np.eye(10)[np.asarray(y)] @ kernel + bias
    return raw[:, :LATENT], np.logaddexp(0, raw[:, LATENT:]) + 1e-5


def test_the_kl_is_the_closed_form_of_two_gaussians(trained, digits, labels):
    x, y = digits.test[:20], labels.test[:20]
    q = trained.encode(x, y)
    loc, scale = (np.asarray(q.named_parameters[name], np.float64) for name in ("loc", "scale"))
    loc_p, scale_p = loc_and_scale(trained, y)
    ratio = scale / scale_p
    kl = (0.5 * (ratio**2 + ((loc - loc_p) / scale_p) ** 2 - 1) - np.log(ratio)).sum(axis=-1)
    np.testing.assert_allclose(trained.score(x, y, seed=0)["kl"], kl, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", ["Elbo", "FreeBits", "Iwae", "DReG"])
@pytest.mark.slow
def test_every_objective_trains(objective, build, digits, labels):
    from tfpvae import objectives

    options = {"Elbo": {}, "FreeBits": {"nats": 0.1}, "Iwae": {"k": 3}, "DReG": {"k": 3}}[objective]
    vae = build(objective=getattr(objectives, objective)(**options))
    losses = vae.fit(digits.train[:400], labels.train[:400], epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]


def test_latents_by_seed_are_those_of_their_own_y(trained):
    y = np.repeat([3, 7], 4000)
    z = trained.sample_latent(seed=0, y=y).numpy()
    loc, scale = loc_and_scale(trained, [3, 7])
    for half, m, s in zip(np.split(z, 2), loc, scale, strict=True):
        for d in range(LATENT):
            assert stats.kstest(half[:, d], "norm", (m[d], s[d])).pvalue > 1e-4
    alone = trained.sample_latent(1, seed=4002, y=7)
    np.testing.assert_allclose(alone, z[4002:4003], rtol=1e-5)
    y = [3, 7, 7]
    means = trained.decode(trained.sample_latent(3, seed=1, y=y), y).mean()
    np.testing.assert_allclose(trained.sample_mean(3, seed=1, y=y), means, rtol=1e-5)


def test_without_y_there_is_no_latent(trained):
    with pytest.raises(ModelError, match="y must be given"):
        trained.sample_latent(3, seed=1)
    with pytest.raises(ModelError, match="y must be given"):
        trained.prior.distribution()


def test_saved_and_loaded_it_draws_the_same(trained, tmp_path):
    import keras

    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.sample_latent(5, seed=3, y=2), trained.sample_latent(5, seed=3, y=2))


@pytest.mark.slow
def test_exported_it_draws_the_same(trained, only, tmp_path):
    import tfpvae
    from tfpvae.export import Profile
    from tfpvae.export.targets.onnx import run_onnx

    only("sample_latent", "score")
    profile = Profile(float16="never", int8="never", litert=False)
    run = run_onnx(tfpvae.export_model(trained, tmp_path / "m", profile=profile).path / ONNX_DIRECTORY)
    y = np.array([0, 5, 9])
    got = run("sample_latent", {"seed": np.arange(3), "y": y})["z"]
    np.testing.assert_allclose(got, trained.sample_latent(3, seed=0, y=y), rtol=1e-5, atol=1e-5)


def test_estimates_of_log_p_agree(trained, digits, labels):
    from tfpvae.evaluate import importance_log_marginal, kl_per_latent, manifold_dimension

    x, y = digits.test[:32], labels.test[:32]
    estimate = importance_log_marginal(trained, x, samples=200, y=y).log_marginal
    scores = trained.score(x, y, seed=0)
    assert estimate.mean() > np.mean(scores["elbo"]) - 2
    np.testing.assert_allclose(kl_per_latent(trained, x, y=y).sum(), np.mean(scores["kl"]), rtol=1e-4)
    assert manifold_dimension(trained, x, y=y).variances.shape == (LATENT,)


class TestRefused:
    def test_where_there_is_no_condition(self, build_vae):
        from tfpvae import priors

        with pytest.raises(ModelError, match="A VAE must have a prior without a condition"):
            build_vae(prior=priors.ConditionalPrior(prior_network()))

    def test_of_another_y(self, build_conditional):
        from tfpvae import priors

        with pytest.raises(ModelError, match=r"The prior must take y of shape \[B, 10\]"):
            build_conditional(prior=priors.ConditionalPrior(prior_network((9,))))

    def test_of_another_dimension(self, build_conditional):
        from tfpvae import priors

        with pytest.raises(ModelError, match=r"must have the posterior's dimension, 4.*dimension 3"):
            build_conditional(prior=priors.ConditionalPrior(prior_network(latent=3)))

    def test_networks_that_make_no_distribution_over_a_vector(self):
        import keras

        from tfpvae import layers, priors

        for network, message in (
            (keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)]), "must end in a distribution layer"),
            (keras.Sequential([layers.MultivariateNormalDiag(2)]), "one input with a known shape"),
            ("network", "one input with a known shape"),
            (
                keras.Sequential([keras.Input((3,)), keras.layers.Dense(8), layers.IndependentNormal((2, 2))]),
                "one distribution over a vector",
            ),
        ):
            with pytest.raises(ModelError, match=message):
                priors.ConditionalPrior(network)
