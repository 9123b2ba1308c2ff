"""HierarchicalVAE: its joint distributions against the conditionals by hand, and log p(x) where it is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from tfpvae.errors import ModelError


def inverse_softplus(scale):
    return np.log(np.expm1(np.asarray(scale, np.float64) - 1e-5))


def linear(name: str, given: str, kernel, scale, bias=0.0):
    """N(given kernel + bias, scale^2), as a network."""
    import keras

    from tfpvae import layers

    kernel = np.asarray(kernel, np.float64)
    rows, size = kernel.shape
    v = keras.Input((rows,), name=given)
    dense = keras.layers.Dense(2 * size)
    network = keras.Model(v, layers.MultivariateNormalDiag(size)(dense(v)), name=name)
    raw = np.concatenate([np.full(size, bias), np.broadcast_to(inverse_softplus(scale), size)])
    dense.set_weights([np.concatenate([kernel, 0 * kernel], 1), raw])
    return network


class Linear:
    """z2 ~ N(0, I), z1 ~ N(z2 A, a^2), x ~ N(z1 W, s^2); q(z1 given x) = N(x C, c^2), q(z2 given z1) = N(z1 E, e^2)."""

    A = np.array([[0.9, -0.3, 0.2], [0.4, 0.8, -0.5]])
    W = np.array([[1.0, 0.2, -0.4, 0.3], [0.1, -0.7, 0.5, 0.6], [-0.3, 0.4, 0.8, -0.2]])
    a, s = 0.5, 0.7
    x = np.float32([[0.3, -0.5, 1.2, 0.4], [1.5, 0.1, -0.6, 0.9], [-0.2, 0.8, 0.3, -1.1], [0.0, 0.0, 0.0, 0.0]])

    @classmethod
    def covariance(cls):
        """Of (z2, z1, x)."""
        z2 = np.eye(2)
        z1 = cls.A.T @ cls.A + cls.a**2 * np.eye(3)
        x = cls.W.T @ z1 @ cls.W + cls.s**2 * np.eye(4)
        z2_z1, z1_x = cls.A, z1 @ cls.W
        return np.block([[z2, z2_z1, z2_z1 @ cls.W], [z2_z1.T, z1, z1_x], [(z2_z1 @ cls.W).T, z1_x.T, x]])

    @classmethod
    def log_marginal(cls):
        return stats.multivariate_normal(np.zeros(4), cls.covariance()[5:, 5:]).logpdf(cls.x)

    @classmethod
    def posterior(cls):
        """C, c, E and e: the true posterior's means, and scales that are 1.2 times its own, without correlations."""
        full = cls.covariance()
        c = np.linalg.solve(full[5:, 5:], full[5:, 2:5])
        c_cov = full[2:5, 2:5] - full[2:5, 5:] @ c
        e = np.linalg.solve(full[2:5, 2:5], full[2:5, :2])
        e_cov = full[:2, :2] - full[:2, 2:5] @ e
        return c, 1.2 * np.sqrt(np.diag(c_cov)), e, 1.2 * np.sqrt(np.diag(e_cov))

    @classmethod
    def model(cls, objective=None):
        import tfpvae

        c, c_scale, e, e_scale = cls.posterior()
        return tfpvae.HierarchicalVAE(
            posteriors={"z1": linear("q_z1", "x", c, c_scale), "z2": linear("q_z2", "z1", e, e_scale)},
            conditionals={"z1": linear("p_z1", "z2", cls.A, cls.a)},
            decoder=linear("p_x", "z1", cls.W, cls.s),
            objective=objective,
        )


@pytest.fixture(scope="module")
def vae():
    return Linear.model()


def normal_log_prob(value, loc, scale):
    return stats.norm(loc, scale).logpdf(value).sum(-1)


class TestJoint:
    def test_the_prior_is_the_product_of_its_conditionals(self, vae):
        p = vae.prior.distribution()
        z = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
        expected = stats.norm.logpdf(z[..., :2]).sum(-1) + normal_log_prob(z[..., 2:], z[..., :2] @ Linear.A, Linear.a)
        assert p.batch_shape == []
        assert p.event_shape == [5]
        np.testing.assert_allclose(p.log_prob(z), expected, rtol=1e-5)
        np.testing.assert_allclose(p.log_prob(z[0]), expected[0], rtol=1e-5)
        np.testing.assert_allclose(p.log_prob(z[0, 0]), expected[0, 0], rtol=1e-5)

    def test_the_posterior_is_the_product_of_its_conditionals(self, vae):
        c, c_scale, e, e_scale = Linear.posterior()
        q = vae.posterior(Linear.x)
        z = np.random.default_rng(1).standard_normal((3, 4, 5)).astype(np.float32)
        expected = normal_log_prob(z[..., 2:], Linear.x @ c, c_scale) + normal_log_prob(
            z[..., :2], z[..., 2:] @ e, e_scale
        )
        assert q.batch_shape == [4]
        assert q.event_shape == [5]
        np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-4)
        np.testing.assert_allclose(q.log_prob(z[0]), expected[0], rtol=1e-4)
        # One z for all rows.
        one = [normal_log_prob(z[0, 0, 2:], row @ c, c_scale) for row in Linear.x]
        one += normal_log_prob(z[0, 0, :2], z[0, 0, 2:] @ e, e_scale)
        np.testing.assert_allclose(q.log_prob(z[0, 0]), one, rtol=1e-4)

    def test_draws_have_the_joint_moments(self, vae):
        z = vae.prior.distribution().sample(40_000, seed=[1, 2]).numpy()
        covariance = Linear.covariance()[:5, :5]
        np.testing.assert_allclose(z.mean(0), 0, atol=4 * np.sqrt(covariance.diagonal().max() / 40_000))
        np.testing.assert_allclose(np.cov(z.T), covariance, atol=0.05)
        c, c_scale, e, e_scale = Linear.posterior()
        z = vae.posterior(Linear.x[:2]).sample((200, 100), seed=[3, 4]).numpy().reshape(-1, 2, 5)
        np.testing.assert_allclose(z[:, :, 2:].mean(0), Linear.x[:2] @ c, atol=0.03)
        np.testing.assert_allclose(z[:, :, :2].mean(0), Linear.x[:2] @ c @ e, atol=0.05)
        np.testing.assert_allclose(z[:, 0, 2:].std(0), c_scale, rtol=0.05)
        np.testing.assert_allclose((z[:, 0, :2] - z[:, 0, 2:] @ e).std(0), e_scale, rtol=0.05)

    @pytest.mark.parametrize("shape", [(), 1, 3, (2, 3)], ids=str)
    def test_log_prob_of_a_draw_is_that_of_its_copy(self, vae, shape):
        import tensorflow as tf

        for distribution in (vae.posterior(Linear.x), vae.prior.distribution()):
            z = distribution.sample(shape, seed=[1, 2])
            same = distribution.log_prob(z)
            assert same.shape == z.shape[:-1]
            np.testing.assert_allclose(same, distribution.log_prob(tf.identity(z)), rtol=1e-4, atol=1e-5)

    def test_a_training_step_runs_each_network_once(self):
        import tensorflow as tf

        from tfpvae.objectives import iwae

        model = Linear.model()

        @tf.function
        def bound(x):
            return iwae(model, x, 3, training=True).bound

        graph = bound.get_concrete_function(tf.TensorSpec([None, 4])).graph
        products = [op for op in graph.get_operations() if op.type == "MatMul"]
        assert len(products) == 4  # q(z1 given x), q(z2 given z1), p(z1 given z2), p(x given z1).


class TestSeeds:
    def test_a_latent_by_seed_is_the_ancestral_draw_by_hand(self, vae):
        from tfpvae.random import numpy as reference
        from tfpvae.random.seeds import LATENT, seeds_for

        # Two uniforms for z2, then four for the three of z1, of which the last normal is left over.
        normals = reference.normal_from_uniform(reference.uniform(seeds_for(5, 7), 6, LATENT))
        z2 = normals[:, :2]
        z1 = z2 @ Linear.A + Linear.a * normals[:, 2:5]
        np.testing.assert_allclose(vae.sample_latent(5, seed=7), np.concatenate([z2, z1], 1), atol=1e-5)
        np.testing.assert_allclose(vae.sample_mean(5, seed=7), z1 @ Linear.W, atol=1e-5)

    def test_a_score_is_the_bound_at_the_draw_by_hand(self, vae):
        from tfpvae.random import numpy as reference
        from tfpvae.random.seeds import POSTERIOR, seeds_for

        c, c_scale, e, e_scale = Linear.posterior()
        normals = reference.normal_from_uniform(reference.uniform(seeds_for(4, 9), 6, POSTERIOR))
        z1 = Linear.x @ c + c_scale * normals[:, 2:5]
        z2 = z1 @ e + e_scale * normals[:, :2]
        log_likelihood = normal_log_prob(Linear.x, z1 @ Linear.W, Linear.s)
        kl = (
            normal_log_prob(z1, Linear.x @ c, c_scale)
            + normal_log_prob(z2, z1 @ e, e_scale)
            - normal_log_prob(z1, z2 @ Linear.A, Linear.a)
            - stats.norm.logpdf(z2).sum(-1)
        )
        got = vae.score(Linear.x, seed=9)
        np.testing.assert_allclose(got["log_likelihood"], log_likelihood, rtol=1e-4)
        np.testing.assert_allclose(got["kl"], kl, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(got["elbo"], log_likelihood - kl, rtol=1e-4)


class TestBounds:
    def test_importance_sampling_finds_log_p(self, vae):
        from tfpvae.evaluate import importance_log_marginal

        estimate = importance_log_marginal(vae, Linear.x, 2000, seed=3)
        assert (estimate.standard_error < 0.05).all()
        assert (np.abs(estimate.log_marginal - Linear.log_marginal()) < 3 * estimate.standard_error).all()

    def test_the_bounds_rise_with_k_and_stay_below(self, vae):
        from tfpvae.objectives import elbo, iwae

        x = np.repeat(Linear.x, 2000, axis=0)
        exact = Linear.log_marginal()

        def estimate(bound):
            values = bound.numpy().reshape(4, -1)
            return values.mean(1), values.std(1) / np.sqrt(values.shape[1])

        found = [estimate(elbo(vae, x, [1, 2]).bound), *(estimate(iwae(vae, x, k, [k, 3]).bound) for k in (5, 25))]
        for (low, low_error), (high, high_error) in itertools.pairwise(found):
            assert (high - low > 3 * np.hypot(low_error, high_error)).all()
        for mean, error in found:
            assert (mean < exact + 3 * error).all()

    def test_dreg_has_iwaes_gradient_in_expectation(self, vae):
        import tensorflow as tf

        from tfpvae.objectives import dreg, iwae

        x = np.repeat(Linear.x[:1], 500, axis=0)
        weights = [vae.posteriors["z1"].trainable_variables[0], vae.posteriors["z2"].trainable_variables[0]]

        @tf.function
        def gradients(seed):
            found = []
            for bound in (iwae, dreg):
                with tf.GradientTape() as tape:
                    value = tf.reduce_mean(bound(vae, x, 3, seed).bound)
                found.append(tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(value, weights)], 0))
            return tf.stack(found)

        found = np.stack([gradients(tf.constant([s, 5])).numpy() for s in range(40)])
        gap = found[:, 0] - found[:, 1]
        error = gap.std(0, ddof=1) / np.sqrt(len(gap))
        # 36 values: the largest of so many normals is seldom beyond 4.
        assert (np.abs(gap.mean(0)) < 4 * error + 1e-6).all()
        assert found[:, 1].var(0).sum() < found[:, 0].var(0).sum()


class TestEncode:
    def test_it_has_each_layer_at_its_parents_means(self, vae):
        c, c_scale, e, e_scale = Linear.posterior()
        rv = vae.encode(Linear.x)
        found = {name: value.numpy() for name, value in rv.named_parameters.items()}
        assert list(found) == ["z2_loc", "z2_scale", "z1_loc", "z1_scale"]
        np.testing.assert_allclose(found["z1_loc"], Linear.x @ c, atol=1e-5)
        np.testing.assert_allclose(found["z2_loc"], Linear.x @ c @ e, atol=1e-5)
        np.testing.assert_allclose(found["z1_scale"], np.broadcast_to(c_scale, (4, 3)), rtol=1e-5)
        np.testing.assert_allclose(found["z2_scale"], np.broadcast_to(e_scale, (4, 2)), rtol=1e-5)
        mean = np.concatenate([found["z2_loc"], found["z1_loc"]], 1)
        np.testing.assert_allclose(rv.mean(), mean, atol=1e-5)
        np.testing.assert_allclose(vae.reconstruct(Linear.x), Linear.x @ c @ Linear.W, atol=1e-5)

    def test_the_layer_makes_the_same_distribution_of_the_parameters(self, vae):
        rv = vae.encode(Linear.x)
        z = np.random.default_rng(1).standard_normal((3, 4, 5)).astype(np.float32)
        made = rv.layer.distribution(**rv.named_parameters)
        np.testing.assert_allclose(made.log_prob(z), rv.log_prob(z), rtol=1e-5)
        assert made.batch_shape == [4]


# Models of images, by how their posterior and their networks are made.


def dense(given, size, event=None, layer=None):
    """A network of one hidden layer that ends in a Gaussian, or in `layer`."""
    import keras

    from tfpvae import layers

    inputs = given if isinstance(given, list) else [given]
    flat = [keras.layers.Flatten()(v) for v in inputs]
    hidden = keras.layers.Dense(8, "tanh")(keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0])
    layer = layer or layers.MultivariateNormalDiag(size)
    params = layer.params_size(event or size)
    return keras.Model(given, layer(keras.layers.Dense(params)(hidden)))


def up(keras, layers):
    x, z1, z2 = keras.Input((8, 8, 1), name="x"), keras.Input((4,), name="z1"), keras.Input((3,), name="z2")
    return {
        "posteriors": {"z1": dense(x, 4), "z2": dense(z1, 3)},
        "conditionals": {"z1": dense(z2, 4)},
        "decoder": dense(z1, None, (8, 8, 1), layers.IndependentBernoulli((8, 8, 1))),
    }


def down(keras, layers):
    x, z1, z2 = keras.Input((8, 8, 1), name="x"), keras.Input((4,), name="z1"), keras.Input((3,), name="z2")
    return {
        "posteriors": {"z1": dense([x, z2], 4), "z2": dense(x, 3)},
        "conditionals": {"z1": dense(z2, 4)},
        "decoder": dense([z1, z2], None, (8, 8, 1), layers.IndependentBernoulli((8, 8, 1))),
    }


def three(keras, layers):
    """Three layers: q(z2 given x) first, then z1 and z3 of it; p(z1 given z2, z3)."""
    x = keras.Input((8, 8, 1), name="x")
    z1, z2, z3 = (keras.Input((n,), name=name) for n, name in ((4, "z1"), (3, "z2"), (2, "z3")))
    return {
        "posteriors": {"z1": dense([z2, x], 4), "z2": dense(x, 3), "z3": dense(z2, 2)},
        "conditionals": {"z1": dense([z3, z2], 4), "z2": dense(z3, 3)},
        "decoder": dense(z1, None, (8, 8, 1), layers.IndependentBernoulli((8, 8, 1))),
    }


def convolutional(keras, layers):
    """Latents that are maps: z1 4x4x2, z2 2x2x2."""
    x, z1, z2 = (
        keras.Input(shape, name=name) for shape, name in (((8, 8, 1), "x"), ((4, 4, 2), "z1"), ((2, 2, 2), "z2"))
    )

    def to_map(given, convolution, shape):
        flat = keras.layers.Flatten()(convolution(given))
        return keras.Model(given, layers.IndependentNormal(shape)(flat))

    conv = keras.layers.Conv2D
    transposed = keras.layers.Conv2DTranspose
    hidden = transposed(4, 3, 2, "same", activation="relu")(z1)
    logits = keras.layers.Flatten()(conv(1, 3, 1, "same")(hidden))
    return {
        "posteriors": {
            "z1": to_map(x, conv(4, 3, 2, "same"), (4, 4, 2)),
            "z2": to_map(z1, conv(4, 3, 2, "same"), (2, 2, 2)),
        },
        "conditionals": {"z1": to_map(z2, transposed(4, 3, 2, "same"), (4, 4, 2))},
        "decoder": keras.Model(z1, layers.IndependentBernoulli((8, 8, 1))(logits)),
    }


KINDS = {"up": up, "down": down, "three": three, "convolutional": convolutional}


def build(kind, **options):
    import keras

    import tfpvae
    from tfpvae import layers

    return tfpvae.HierarchicalVAE(**{**KINDS[kind](keras, layers), **options})


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_joints_are_sums_of_the_networks_log_probs(self, kind, digits):
        model = build(kind)
        x = digits.test[:4]
        q, p = model.posterior(x), model.prior.distribution()
        z = q.sample(3, seed=[1, 2]).numpy()
        log_q, log_p = np.zeros((3, 4)), np.zeros((3, 4))
        for i in range(3):
            values, start = {"x": x}, 0
            for name, size in model.layer_sizes.items():
                values[name] = z[i, :, start : start + size]
                start += size
            shapes = {
                tensor.name: tensor.shape[1:]
                for network in [*model.posteriors.values(), *model.conditionals.values()]
                for tensor in network.inputs
            }

            def log_prob(name, network, values=values, shapes=shapes):
                given = [values[tensor.name].reshape(4, *shapes[tensor.name]) for tensor in network.inputs]
                rv = network(given if len(given) > 1 else given[0])
                return rv.log_prob(values[name].reshape(4, *rv.event_shape)).numpy()

            log_q[i] = sum(log_prob(name, network) for name, network in model.posteriors.items())
            top = next(iter(model.layer_sizes))
            log_p[i] = stats.norm.logpdf(values[top]).sum(-1)
            log_p[i] += sum(log_prob(name, network) for name, network in model.conditionals.items())
        np.testing.assert_allclose(q.log_prob(z), log_q, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(p.log_prob(z), log_p, rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("kind", ["down", "convolutional"])  # "up" is in the models' conformance table.
    def test_it_trains_is_saved_and_comes_back(self, kind, digits, tmp_path):
        import keras

        from tfpvae.objectives import Iwae

        model = build(kind, objective=Iwae(2))
        model.compile(keras.optimizers.Adam(1e-2))
        losses = model.fit(digits.train[:400], epochs=3, verbose=0).history["loss"]
        assert losses[-1] < losses[0] - 1
        model.save(tmp_path / "vae.keras")
        loaded = keras.models.load_model(tmp_path / "vae.keras")
        assert type(loaded) is type(model)
        assert loaded.objective.k == 2
        for mine, its in zip(model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, its)
        x = digits.test[:4]
        np.testing.assert_array_equal(model.sample(4, seed=3), loaded.sample(4, seed=3))
        np.testing.assert_allclose(model.score(x, seed=3)["elbo"], loaded.score(x, seed=3)["elbo"], rtol=1e-5)
        assert int(loaded.optimizer.iterations) == int(model.optimizer.iterations)
        loaded.fit(digits.train[:32], verbose=0)

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_weight_has_a_gradient(self, kind, digits):
        import tensorflow as tf

        from tfpvae.objectives import elbo

        model = build(kind)
        with tf.GradientTape() as tape:
            bound = tf.reduce_mean(elbo(model, digits.train[:4], [1, 2], training=True).bound)
        gradients = tape.gradient(bound, model.trainable_variables)
        assert all(gradient is not None and np.any(gradient != 0) for gradient in gradients)


@pytest.mark.slow
def test_it_is_exported_and_the_runtimes_agree(tmp_path, only):
    import tfpvae
    from tfpvae.export.endpoints import endpoints

    model = build("down")
    assert list(endpoints(model)[1]) == []
    some = ("encode", "sample")
    only("decode", *some)
    export = tfpvae.export_model(model, tmp_path / "models")  # It compares each runtime with Keras.
    assert set(some) <= set(export.signatures)
    assert set(some) <= set(export.onnx)


def test_what_x_alone_decides_is_computed_once_for_all_draws(digits):
    import keras
    import tensorflow as tf

    from tfpvae import layers

    x, z2 = keras.Input((8, 8, 1), name="x"), keras.Input((3,), name="z2")
    of_x = keras.layers.Dense(6, "tanh")
    hidden = of_x(keras.layers.Flatten()(x))
    both = keras.layers.Concatenate()([keras.layers.Dense(2)(z2), hidden])
    # A skip connection: x alone decides two of the tensors that meet z2.
    params = keras.layers.Concatenate()([keras.layers.Dense(7)(both), keras.layers.Dense(1)(hidden)])
    network = keras.Model({"x": x, "z2": z2}, layers.MultivariateNormalDiag(4)(params))
    parts = down(keras, layers)
    model = build("down", posteriors={**parts["posteriors"], "z1": network})
    images = digits.test[:5]
    named = model.encode(images).named_parameters
    assert {name for name in named if "features" in name} == {"x_features_z1", "x_features_z1_2"}
    shapes = sorted(named[name].shape[1] for name in named if "features" in name)
    assert shapes == [1, 6]
    (six,) = (named[name] for name in ("x_features_z1", "x_features_z1_2") if named[name].shape[1] == 6)
    np.testing.assert_allclose(six, of_x(images.reshape(5, 64)), atol=1e-6)

    # The same density as by the whole network.
    z = np.random.default_rng(0).standard_normal((2, 5, 7)).astype(np.float32)
    for draw in z:
        expected = model.posteriors["z2"](images).log_prob(draw[:, :3])
        expected += network({"x": tf.constant(images), "z2": tf.constant(draw[:, :3])}).log_prob(draw[:, 3:])
        np.testing.assert_allclose(model.posterior(images).log_prob(draw), expected, rtol=1e-4)

    @tf.function
    def log_prob(images, z):
        return model.posterior(images).log_prob(z)

    graph = log_prob.get_concrete_function(tf.TensorSpec([5, 8, 8, 1]), tf.TensorSpec([7, 5, 7])).graph
    rows = [op.outputs[0].shape for op in graph.get_operations() if op.type == "MatMul"]
    assert [shape[-1] for shape in rows].count(6) == 2  # Of x to `hidden`, and of q(z2 given x).
    assert all(shape[0] == 5 for shape in rows if shape[-1] == 6)
    assert len(model.trainable_variables) == len({id(v) for v in model.trainable_variables})


class TestPriors:
    def test_the_top_layer_can_have_any(self, digits):
        from tfpvae import priors

        model = build("up", prior=priors.MixturePrior(3, components=4))
        z = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
        expected = model.prior.top.distribution().log_prob(z[:, :3]) + model.conditionals["z1"](z[:, :3]).log_prob(
            z[:, 3:]
        )
        np.testing.assert_allclose(model.prior.distribution().log_prob(z), expected, rtol=1e-5)
        assert model.sample(2, seed=1).shape == (2, 8, 8, 1)

    def test_a_vamp_prior_is_of_the_top_posterior(self, digits, tmp_path):
        import keras

        from tfpvae import priors

        model = build("down", prior=priors.VampPrior(5))
        model.compile("adam")
        model.fit(digits.train[:64], verbose=0)
        u = model.prior.top.pseudo_inputs
        q = model.posteriors["z2"](u)
        z = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
        each = np.stack([normal_log_prob(z, loc, scale) for loc, scale in zip(q.loc, q.stddev(), strict=True)])
        expected = np.log(np.exp(each).mean(0))
        np.testing.assert_allclose(model.prior.top.distribution().log_prob(z), expected, rtol=1e-4)
        model.save(tmp_path / "vae.keras")
        loaded = keras.models.load_model(tmp_path / "vae.keras")
        np.testing.assert_array_equal(loaded.sample(3, seed=1), model.sample(3, seed=1))

    def test_a_vamp_prior_needs_a_top_posterior_of_x_alone(self):
        from tfpvae import priors

        with pytest.raises(ModelError, match=r"must condition on x alone.*Received: q\(z2 given z1\)"):
            build("up", prior=priors.VampPrior(5))

    def test_dreg_is_refused_with_it(self):
        from tfpvae import objectives, priors

        with pytest.raises(ModelError, match="DReG must have a prior that does not share"):
            build("down", prior=priors.VampPrior(5), objective=objectives.DReG(2))


class TestErrors:
    @staticmethod
    def parts(**changes):
        import keras

        from tfpvae import layers

        parts = up(keras, layers)
        for role, value in changes.items():
            parts[role] = {**parts[role], **value} if isinstance(value, dict) else value
        return parts

    @staticmethod
    def refused(parts, match):
        import tfpvae

        with pytest.raises(ModelError, match=match):
            tfpvae.HierarchicalVAE(**parts)

    def test_one_layer(self):
        parts = self.parts()
        parts["posteriors"] = {"z1": parts["posteriors"]["z1"]}
        self.refused(parts, "two stochastic layers or more.*Received: posteriors of 'z1'")

    def test_layers_with_other_names(self):
        parts = self.parts()
        parts["posteriors"] = {"a": parts["posteriors"]["z1"], "b": parts["posteriors"]["z2"]}
        self.refused(parts, "posteriors must have one network for each of z1, z2. Received: 'a', 'b'")
        parts = self.parts()
        parts["conditionals"] = {}
        self.refused(parts, "conditionals must have one network for each of z1. Received: none")

    def test_a_list_of_networks(self):
        parts = self.parts()
        parts["posteriors"] = list(parts["posteriors"].values())
        self.refused(parts, "posteriors must be a dict of networks")

    def test_an_unknown_input(self):
        import keras

        y = keras.Input((5,), name="y")
        self.refused(
            self.parts(posteriors={"z2": dense(y, 3)}), r"posteriors\['z2'\] must have inputs named x, z1.*Received: y"
        )

    def test_a_conditional_that_sees_the_data_or_a_lower_layer(self):
        import keras

        x, z1 = keras.Input((8, 8, 1), name="x"), keras.Input((4,), name="z1")
        for given in (x, z1):
            self.refused(
                self.parts(conditionals={"z1": dense(given, 4)}), r"conditionals\['z1'\] must have inputs named z2"
            )

    def test_a_circle(self):
        import keras

        z2 = keras.Input((3,), name="z2")
        self.refused(self.parts(posteriors={"z1": dense(z2, 4)}), "in a circle. Received: z2 given z1; z1 given z2")

    def test_a_layer_that_nothing_takes(self):
        import keras

        from tfpvae import layers

        z2 = keras.Input((3,), name="z2")
        decoder = dense(z2, None, (8, 8, 1), layers.IndependentBernoulli((8, 8, 1)))
        self.refused(self.parts(decoder=decoder), "Received: none takes z1")

    def test_an_input_of_another_shape(self):
        import keras

        z1 = keras.Input((5,), name="z1")
        self.refused(self.parts(posteriors={"z2": dense(z1, 3)}), r"must take z1 of shape \[4\].*input of shape \[5\]")
        smaller = keras.Input((3,), name="z1")
        self.refused(self.parts(posteriors={"z2": dense(smaller, 3)}), r"of shape \[4\].*input of shape \[3\]")

    def test_an_input_of_no_known_shape(self):
        import keras

        from tfpvae import layers

        x = keras.Input((None,), name="x")
        network = keras.Model(x, layers.MultivariateNormalDiag(1)(x))
        self.refused(self.parts(posteriors={"z1": network}), r"inputs of a known shape. Received: x of shape \[None\]")

    def test_a_conditional_over_another_event(self):
        import keras

        z2 = keras.Input((3,), name="z2")
        self.refused(
            self.parts(conditionals={"z1": dense(z2, 5)}),
            r"p\(z1 given z2\) must be over the event of q\(z1 given ...\), \[4\]. Received: event shape \[5\]",
        )

    def test_a_prior_of_another_dimension(self):
        from tfpvae import priors

        self.refused(
            {**self.parts(), "prior": priors.StandardNormal(4)}, "must have the dimension of z2, 3.*dimension 4"
        )

    def test_a_prior_that_is_none(self):
        self.refused({**self.parts(), "prior": "normal"}, "prior must be a tfpvae.priors.Prior.*Received: str")

    def test_a_posterior_that_is_not_reparameterised(self):
        import keras

        from tfpvae import layers

        z1 = keras.Input((4,), name="z1")
        network = dense(z1, 3, layer=layers.OneHotCategorical(3))
        self.refused(self.parts(posteriors={"z2": network}), r"posteriors\['z2'\] must be reparameterised.*OneHot")

    def test_a_network_without_a_distribution(self):
        import keras

        network = keras.Sequential([keras.Input((4,), name="z1"), keras.layers.Dense(6)])
        self.refused(self.parts(posteriors={"z2": network}), r"posteriors\['z2'\] must end in a distribution layer")

    def test_a_network_that_is_none(self):
        self.refused(self.parts(decoder="mlp"), "decoder must be a functional or Sequential Keras model.*Received: str")

    def test_shared_weights(self):
        import keras

        from tfpvae import layers

        x, z2 = keras.Input((8, 8, 1), name="x"), keras.Input((3,), name="z2")
        hidden = keras.layers.Dense(6)(keras.layers.Flatten()(x))
        both = keras.layers.Concatenate()([hidden, z2])
        posteriors = {
            "z2": keras.Model(x, layers.MultivariateNormalDiag(3)(hidden), name="q_z2"),
            "z1": keras.Model([x, z2], layers.MultivariateNormalDiag(4)(keras.layers.Dense(8)(both)), name="q_z1"),
        }
        self.refused({**self.parts(), "posteriors": posteriors}, "no weights in common.*share")

    def test_free_bits(self):
        from tfpvae.objectives import FreeBits

        self.refused({**self.parts(), "objective": FreeBits(0.5)}, "FreeBits must have a KL that is a sum")

    def test_a_decoder_of_another_event_than_the_data(self):
        import keras

        from tfpvae import layers

        z1 = keras.Input((4,), name="z1")
        decoder = dense(z1, None, (8, 8), layers.IndependentBernoulli((8, 8)))
        self.refused(self.parts(decoder=decoder), r"decoder's event shape must be that of the data")
