"""TwoStageVAE: its samples against the first stage's, its bound where log p(x) is known, its training and saving."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tfpvae.errors import ModelError

STEPS = 20
"""How many training steps one call of the compiled function makes: these models are too small for one each."""


def ring(n: int, seed: int) -> np.ndarray:
    """g(z) = z / 10 + z / |z| of z ~ N(0, I): figure 2 of Doersch's tutorial, float32 `[n, 2]`."""
    z = np.random.default_rng(seed).standard_normal((n, 2))
    return (z / 10 + z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def planted(n: int, seed: int) -> np.ndarray:
    """Three clusters on a plane in eight dimensions, and a little noise in all: float32 `[n, 8]`."""
    rng = np.random.default_rng(seed)
    plane = np.linalg.qr(np.random.default_rng(5).standard_normal((8, 2)))[0]
    angle = 2 * np.pi * rng.integers(0, 3, n) / 3
    on_plane = 1.5 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.15 * rng.standard_normal((n, 2))
    return (on_plane @ plane.T + 0.02 * rng.standard_normal((n, 8))).astype(np.float32)


def squared_mmd(x: np.ndarray, y: np.ndarray, bandwidth: float = 0.5) -> float:
    """The squared maximum mean discrepancy with a Gaussian kernel, by its unbiased estimate: about 0 for equals."""

    def kernel(a, b):
        squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
        return np.exp(-squares / (2 * bandwidth**2))

    n, m = len(x), len(y)
    within = (kernel(x, x).sum() - n) / (n * (n - 1)) + (kernel(y, y).sum() - m) / (m * (m - 1))
    return float(within - 2 * kernel(x, y).mean())


def dense_vae(size: int, latents: int, hidden: int, likelihood):
    import keras

    import tfpvae
    from tfpvae import layers

    def network(rows, params, layer):
        units = [keras.layers.Dense(hidden, "relu"), keras.layers.Dense(hidden, "relu")] if hidden else []
        return keras.Sequential([keras.Input((rows,)), *units, keras.layers.Dense(params), layer])

    return tfpvae.VAE(
        network(size, 2 * latents, layers.MultivariateNormalDiag(latents)), network(latents, size, likelihood)
    )


def stages(size: int = 2, latents: int = 2, hidden: int = 64):
    """A first stage that reconstructs to within 0.03, and a second with a learned variance."""
    from tfpvae import layers

    first = dense_vae(size, latents, hidden, layers.SphericalNormal(size, 0.03))
    second = dense_vae(latents, latents, hidden, layers.SphericalNormal(latents, 0.3, learn_scale=True))
    return first, second


def adam(steps: int) -> dict:
    import keras

    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    return {"optimizer": keras.optimizers.Adam(rate), "steps_per_execution": STEPS}


def trained(x: np.ndarray, first_steps: int, second_steps: int, batch_size: int = 200):
    """Both stages, one after the other."""
    import tfpvae

    per_epoch = len(x) // batch_size
    first, second = stages(x.shape[1])
    first.compile(**adam(first_steps))
    first.fit(x, batch_size=batch_size, epochs=first_steps // per_epoch, verbose=0)
    first.trainable = False
    vae = tfpvae.TwoStageVAE(first, second)
    vae.compile(**adam(second_steps))
    vae.fit(x, batch_size=batch_size, epochs=second_steps // per_epoch, verbose=0)
    return vae


DATA = {"ring": ring, "planted": planted}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("data", ["ring", "planted"])
def test_its_samples_have_half_the_first_stages_discrepancy_at_most(data, seed):
    import keras

    keras.utils.set_random_seed(seed)
    make = DATA[data]
    x, held_out = make(4000, 100 + seed), make(1500, 200 + seed)
    vae = trained(x, 300, 1000)
    # q(z) is not the prior.
    z = vae.first.encode(held_out).sample(seed=[seed, 0]).numpy()
    normal = np.random.default_rng(seed).standard_normal(z.shape)
    assert squared_mmd(z, normal) > 0.02
    first = squared_mmd(vae.first.sample(1500, seed=seed).numpy(), held_out)
    both = squared_mmd(vae.sample(1500, seed=seed).numpy(), held_out)
    assert first > 0.02
    # Of the discrepancy itself, the root: of its square a quarter.
    assert max(both, 0) <= 0.25 * first


class Linear:
    """u ~ N(0, 1), z ~ N(u b, t^2), x ~ N(z W, s^2), with q(z given x) = N(x C, c^2) and q(u given z) = N(z E, e^2)."""

    b = np.array([[0.9, -0.6]])
    W = np.array([[1.0, 0.3, -0.4], [0.2, -0.8, 0.5]])
    t, s = 0.5, 0.4
    x = np.float32([[0.3, -0.5, 0.7], [1.2, 0.4, -0.1], [0.0, 0.6, 0.2]])

    @classmethod
    def moments(cls):
        """The covariances of z and x, and C, c, E, e: the true posterior's means, and wider scales than its own."""
        z = cls.b.T @ cls.b + cls.t**2 * np.eye(2)
        x = cls.W.T @ z @ cls.W + cls.s**2 * np.eye(3)
        c = np.linalg.solve(x, cls.W.T @ z)
        c_scale = 1.2 * np.sqrt(np.diag(z - z @ cls.W @ c))
        e = np.linalg.solve(z, cls.b.T)
        e_scale = 1.2 * np.sqrt(np.diag(1 - cls.b @ e))
        return z, x, c, c_scale, e, e_scale

    @classmethod
    def model(cls):
        import tfpvae
        from tfpvae import layers

        _, _, c, c_scale, e, e_scale = cls.moments()
        first = dense_vae(3, 2, 0, layers.SphericalNormal(3, cls.s))
        second = dense_vae(2, 1, 0, layers.SphericalNormal(2, cls.t))

        def set_weights(network, kernel, scale=None):
            kernel, bias = np.asarray(kernel), np.zeros(np.shape(kernel)[1])
            if scale is not None:
                kernel = np.concatenate([kernel, 0 * kernel], 1)
                bias = np.concatenate([bias, np.log(np.expm1(scale - 1e-5))])
            network.layers[0].set_weights([kernel, bias])

        set_weights(first.encoder, c, c_scale)
        set_weights(first.decoder, cls.W)
        set_weights(second.encoder, e, e_scale)
        set_weights(second.decoder, cls.b)
        return tfpvae.TwoStageVAE(first, second)


@pytest.fixture(scope="module")
def vae():
    return Linear.model()


class TestLinear:
    def test_a_sample_by_seed_is_made_of_both_stages(self, vae):
        from tfpvae.random import numpy as reference
        from tfpvae.random.seeds import LATENT, OBSERVATION, seeds_for

        normals = reference.normal_from_uniform(reference.uniform(seeds_for(6, 3), 4, LATENT))
        u = normals[:, :1]
        z = u @ Linear.b + Linear.t * normals[:, 2:]  # The second normal of the pair for u is left over.
        np.testing.assert_allclose(vae.sample_latent(6, seed=3), np.concatenate([u, z], 1), atol=1e-5)
        np.testing.assert_allclose(vae.sample_mean(6, seed=3), z @ Linear.W, atol=1e-5)
        noise = reference.normal_from_uniform(reference.uniform(seeds_for(6, 3), 4, OBSERVATION))[:, :3]
        np.testing.assert_allclose(vae.sample(6, seed=3), z @ Linear.W + Linear.s * noise, atol=1e-5)

    def test_a_score_is_a_bound_on_log_p_of_both_stages(self, vae):
        _, covariance, c, c_scale, e, e_scale = Linear.moments()
        log_marginal = stats.multivariate_normal(np.zeros(3), covariance).logpdf(Linear.x)
        # E[log p(x given z)] + E[log p(z given u)] + E[log p(u)] + both entropies, in closed form.
        mean_z = Linear.x @ c

        def expected(residual, spread, scale):
            return (-0.5 * (residual**2 + spread) / scale**2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(-1)

        def entropy(scale):
            return (np.log(scale) + 0.5 * np.log(2 * np.pi * np.e)).sum()

        z_cov = np.diag(c_scale**2)
        u_variance = (e.T @ z_cov @ e)[0, 0] + e_scale[0] ** 2
        bound = expected(Linear.x - mean_z @ Linear.W, np.diag(Linear.W.T @ z_cov @ Linear.W), Linear.s)
        back = np.eye(2) - e @ Linear.b  # z - E[u given z] b.
        spread = np.diag(back.T @ z_cov @ back) + e_scale[0] ** 2 * Linear.b[0] ** 2
        bound += expected(mean_z @ back, spread, Linear.t) + expected(mean_z @ e, u_variance, 1.0)
        bound += entropy(c_scale) + entropy(e_scale)
        assert (bound < log_marginal).all()

        x = np.repeat(Linear.x, 1500, axis=0)
        score = {name: value.numpy().reshape(3, -1) for name, value in vae.score(x, seed=0).items()}
        error = score["elbo"].std(1) / np.sqrt(1500)
        assert (np.abs(score["elbo"].mean(1) - bound) < 4 * error).all()
        np.testing.assert_allclose(score["elbo"], score["log_likelihood"] - score["kl"], atol=1e-4)
        # `fit` and `evaluate` report the same bound, of other draws of each term.
        vae.compile("adam")
        reported = vae.evaluate(x, verbose=0, return_dict=True, batch_size=3000)
        assert reported["elbo"] == pytest.approx(bound.mean(), abs=0.1)
        assert reported["loss"] == pytest.approx(reported["first_loss"] + reported["second_loss"], rel=1e-5)

    def test_importance_sampling_finds_log_p_of_both_stages(self, vae):
        from tfpvae.evaluate import importance_log_marginal

        estimate = importance_log_marginal(vae, Linear.x, 2000, seed=1)
        exact = stats.multivariate_normal(np.zeros(3), Linear.moments()[1]).logpdf(Linear.x)
        assert (estimate.standard_error < 0.05).all()
        assert (np.abs(estimate.log_marginal - exact) < 3 * estimate.standard_error).all()

    def test_encode_and_decode(self, vae):
        _, _, c, _, e, _ = Linear.moments()
        named = vae.encode(Linear.x).named_parameters
        np.testing.assert_allclose(named["z_loc"], Linear.x @ c, atol=1e-5)
        np.testing.assert_allclose(named["u_loc"], Linear.x @ c @ e, atol=1e-5)
        np.testing.assert_allclose(named["z_loc"], vae.first.encode(Linear.x).mean(), atol=1e-6)
        z = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
        np.testing.assert_allclose(vae.decode(z).mean(), z[:, 1:] @ Linear.W, atol=1e-5)
        np.testing.assert_allclose(vae.decode(z).mean(), vae.first.decode(z[:, 1:]).mean(), atol=1e-6)


def weights(model) -> list[np.ndarray]:
    return [np.array(w) for w in model.trainable_variables]


def changed(model, before: list[np.ndarray]) -> bool:
    return any((a != b).any() for a, b in zip(weights(model), before, strict=True))


class TestTraining:
    def test_one_fit_trains_both(self):
        import keras

        import tfpvae

        vae = tfpvae.TwoStageVAE(*stages(hidden=16))
        vae.compile(keras.optimizers.Adam(3e-3))
        x = ring(1000, 0)
        history = vae.fit(x, epochs=4, verbose=0, validation_data=ring(100, 1)).history
        names = {"loss", "elbo", "log_likelihood", "kl", "first_loss", "second_loss"}
        assert set(history) == names | {f"val_{name}" for name in names}
        for name in ("first_loss", "second_loss"):
            assert history[name][-1] < history[name][0]
        np.testing.assert_allclose(history["loss"], np.add(history["first_loss"], history["second_loss"]), rtol=1e-5)

    def test_the_second_stages_loss_does_not_reach_the_first(self):
        import tensorflow as tf

        import tfpvae

        vae = tfpvae.TwoStageVAE(*stages(hidden=16))
        with tf.GradientTape(persistent=True) as tape:
            terms = vae.objective(vae, tf.constant(ring(8, 0)), [1, 2], training=True)
        second = tape.gradient(terms.second.bound, vae.first.trainable_variables)
        assert second
        assert all(gradient is None for gradient in second)
        assert all(g is not None for g in tape.gradient(terms.first.bound, vae.first.trainable_variables))
        assert all(g is not None for g in tape.gradient(terms.second.bound, vae.second.trainable_variables))
        assert all(g is None for g in tape.gradient(terms.first.bound, vae.second.trainable_variables))

    def test_a_first_stage_that_is_not_trainable_stays_as_it_is(self, tmp_path):
        import keras

        import tfpvae

        first, second = stages(hidden=16)
        vae = tfpvae.TwoStageVAE(first, second)
        frozen = [np.array(w) for w in first.get_weights()]
        first.trainable = False
        vae.compile("adam")
        before = weights(second)
        vae.fit(ring(64, 0), verbose=0)
        assert changed(second, before)
        for mine, then in zip(first.get_weights(), frozen, strict=True):
            np.testing.assert_array_equal(mine, then)
        # So it is after loading.
        vae.save(tmp_path / "vae.keras")
        loaded = keras.models.load_model(tmp_path / "vae.keras")
        assert len(loaded.trainable_variables) == len(vae.trainable_variables) == len(second.trainable_variables)
        loaded.fit(ring(64, 0), verbose=0)
        for mine, then in zip(loaded.first.get_weights(), frozen, strict=True):
            np.testing.assert_array_equal(mine, then)

    def test_each_stage_has_its_own_objective(self):
        import tensorflow as tf

        import tfpvae
        from tfpvae import objectives

        first, second = stages(hidden=4)
        first.objective, second.objective = objectives.Elbo(beta=0.5), objectives.Iwae(5)
        vae = tfpvae.TwoStageVAE(first, second)
        terms = vae.objective(vae, tf.constant(ring(8, 0)), [1, 2])
        np.testing.assert_allclose(
            terms.first.bound, terms.first.log_likelihood - 0.5 * terms.first.kl, rtol=1e-5, atol=1e-4
        )
        assert (terms.second.bound.numpy() > terms.second.elbo.numpy()).any()

    @pytest.mark.slow
    def test_it_is_saved_and_goes_on(self, tmp_path):
        import keras

        import tfpvae

        vae = tfpvae.TwoStageVAE(*stages(hidden=16))
        vae.compile("adam")
        x = ring(200, 0)
        vae.fit(x, verbose=0)
        vae.save(tmp_path / "vae.keras")
        loaded = keras.models.load_model(tmp_path / "vae.keras")
        assert type(loaded) is tfpvae.TwoStageVAE
        for mine, its in zip(vae.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, its)
        np.testing.assert_array_equal(vae.sample(5, seed=2), loaded.sample(5, seed=2))
        np.testing.assert_allclose(vae.score(x[:5], seed=2)["elbo"], loaded.score(x[:5], seed=2)["elbo"], rtol=1e-4)
        histories = [model.fit(x, verbose=0, shuffle=False).history["loss"] for model in (vae, loaded)]
        np.testing.assert_allclose(*histories, rtol=1e-4)


def test_it_has_every_signature_but_that_of_images(vae):
    from tfpvae.export.endpoints import endpoints

    present, absent = endpoints(vae)
    assert set(absent) == {"sample_png"}
    assert {"decode", "sample_latent", "sample_mean", "sample", "encode", "reconstruct", "score"} <= set(present)


class TestErrors:
    @pytest.mark.parametrize("role", ["first", "second"])
    def test_a_stage_that_is_no_vae(self, role):
        import tfpvae

        parts = dict(zip(("first", "second"), stages(hidden=2), strict=True)) | {role: "vae"}
        with pytest.raises(ModelError, match=f"{role} must be a model with latents, such as a VAE. Received: str"):
            tfpvae.TwoStageVAE(**parts)

    def test_the_same_twice(self):
        import tfpvae

        first, _ = stages(hidden=2)
        with pytest.raises(ModelError, match=r"two models\. Received: the same"):
            tfpvae.TwoStageVAE(first, first)

    def test_a_second_stage_of_another_size(self):
        import tfpvae
        from tfpvae import layers

        first, _ = stages(hidden=2)
        second = dense_vae(3, 2, 2, layers.SphericalNormal(3))
        with pytest.raises(ModelError, match=r"of the first's latents, event shape \[2\]. Received: event shape \[3\]"):
            tfpvae.TwoStageVAE(first, second)

    def test_a_first_stage_that_knows_no_shape(self):
        import keras

        import tfpvae
        from tfpvae import layers

        _, second = stages(hidden=2)
        encoder = keras.Sequential([keras.layers.Dense(4), layers.MultivariateNormalDiag(2)])
        decoder = keras.Sequential([keras.layers.Dense(2), layers.SphericalNormal(2)])
        with pytest.raises(ModelError, match="first must know the shape of its data"):
            tfpvae.TwoStageVAE(tfpvae.VAE(encoder, decoder), second)

    def test_a_second_stage_of_a_smaller_size(self):
        import tfpvae

        first, _ = stages(latents=3)
        _, smaller = stages()
        with pytest.raises(ModelError, match=r"event shape \[3\]. Received: event shape \[2\]"):
            tfpvae.TwoStageVAE(first, smaller)


def test_a_second_stage_without_an_input_is_built_for_the_firsts_latents():
    import keras

    import tfpvae
    from tfpvae import layers

    first, _ = stages(latents=3)
    encoder = keras.Sequential([keras.layers.Dense(4), layers.MultivariateNormalDiag(2)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), layers.SphericalNormal(3, 0.3)])
    second = tfpvae.VAE(encoder, decoder)
    assert not second.built
    assert tfpvae.TwoStageVAE(first, second).second.event_shape == (3,)


def test_the_networks_of_both_stages_drop_out_in_training_alone():
    import keras

    import tfpvae
    from tfpvae import layers
    from tfpvae.batch import Batch, Latents

    def network(rows, params, layer):
        return keras.Sequential([keras.Input((rows,)), keras.layers.Dropout(0.5), keras.layers.Dense(params), layer])

    def stage(size):
        q = network(size, 4, layers.MultivariateNormalDiag(2))
        return tfpvae.VAE(q, network(2, size, layers.SphericalNormal(size, 0.3)))

    vae = tfpvae.TwoStageVAE(stage(6), stage(2))
    z = np.ones((3, 4), np.float32)
    means = [vae.likelihood(Latents(z)).mean().numpy() for _ in range(2)]
    np.testing.assert_array_equal(*means)
    assert np.any(vae.likelihood(Latents(z), training=True).mean().numpy() != means[0])
    x = np.ones((3, 6), np.float32)
    parameters = [vae.encode(x).named_parameters for _ in range(2)]
    for name, value in parameters[0].items():
        np.testing.assert_array_equal(value, parameters[1][name])
    means = [vae.posterior(Batch(x)).sample(seed=(1, 2)).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*means)
    assert np.any(vae.posterior(Batch(x), training=True).sample(seed=(1, 2)).numpy() != means[0])

    vae.compile("adam")
    rows = np.random.default_rng(0).standard_normal((4000, 6)).astype(np.float32)
    reported, scores = vae.evaluate(rows, verbose=0, return_dict=True), vae.score(rows, seed=0)
    for name in ("elbo", "log_likelihood", "kl"):
        values = scores[name].numpy()
        assert abs(reported[name] - values.mean()) < 6 * values.std() / np.sqrt(len(values)), name
