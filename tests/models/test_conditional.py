"""Conditional VAEs: the loss by hand, log p(x given y) in closed form, what calls take, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_expit, logsumexp

from tfpvae.errors import DataError, ModelError


def one_hot(y) -> np.ndarray:
    return np.eye(10, dtype=np.float32)[y]


def both(first, y) -> list:
    """The inputs of a network: Keras wants both as tensors."""
    import tensorflow as tf

    return [tf.convert_to_tensor(first), tf.constant(one_hot(y))]


def log_p(x: np.ndarray, logits) -> np.ndarray:
    """log p(x given z, y) of a Bernoulli likelihood in double precision, `[B]`."""
    logits = np.asarray(logits, np.float64)
    return np.sum(x * log_expit(logits) + (1 - x) * log_expit(-logits), axis=(1, 2, 3))


@pytest.fixture(scope="module")
def trained(build_conditional, digits, labels):
    """A conditional VAE that has learned what a label looks like. Use it, do not train it."""
    import keras

    keras.utils.set_random_seed(0)
    vae = build_conditional(hidden=32)
    vae.fit(digits.train, labels.train, epochs=4, batch_size=50, verbose=0)
    return vae


class TestTheLoss:
    @pytest.mark.parametrize("by_name", [False, True])
    def test_is_numpys_from_the_networks_own_answers_to_one_hot_labels(
        self, by_name, build_conditional, digits, labels, monkeypatch
    ):
        import tensorflow as tf

        vae = build_conditional(by_name=by_name)
        seed = tf.constant([11, 12])
        monkeypatch.setattr(vae, "_next_seed", lambda: seed)
        x, y = digits.train[:32], labels.train[:32]

        def call(network, name, first):
            first, second = both(first, y)
            return network({name: first, "y": second} if by_name else [first, second])

        q = call(vae.encoder, "x", x)
        z = q.sample(seed=seed)
        loc, scale = (q.named_parameters[k].numpy().astype(np.float64) for k in ("loc", "scale"))
        log_likelihood = log_p(x, call(vae.decoder, "z", z).named_parameters["logits"])
        kl = 0.5 * np.sum(scale**2 + loc**2 - 1 - 2 * np.log(scale), axis=-1)
        reported = vae.test_on_batch(x, y, return_dict=True)
        np.testing.assert_allclose(reported["loss"], -(log_likelihood - kl).mean(), rtol=1e-5)
        np.testing.assert_allclose(reported["kl"], kl.mean(), rtol=1e-5)
        trained_on = vae.train_on_batch(x, y, return_dict=True)
        np.testing.assert_allclose(trained_on["loss"], reported["loss"], rtol=1e-5)

    def test_of_k_draws_gives_each_row_its_own_y(self, trained, digits, labels):
        import tensorflow as tf

        from tfpvae.batch import Batch
        from tfpvae.objectives import iwae

        x, y, seed = tf.constant(digits.test[:5]), labels.test[:5], tf.constant([3, 4])
        terms = iwae(trained, Batch(x, y), 7, seed)
        q = trained.encoder(both(x, y))
        weights = []
        for z in q.sample(7, seed=seed):
            p_x = trained.decoder(both(z, y))
            prior = stats.norm.logpdf(z.numpy()).sum(-1)
            weights.append(log_p(x.numpy(), p_x.named_parameters["logits"]) + prior - q.log_prob(z).numpy())
        np.testing.assert_allclose(terms.bound, logsumexp(weights, axis=0) - np.log(7), rtol=1e-5)

    def test_training_makes_the_label_count(self, trained, digits, labels):
        x, y = digits.test, labels.test
        right = np.asarray(trained.score(x, y, seed=0)["elbo"])
        wrong = np.asarray(trained.score(x, (y + 1) % 10, seed=0)["elbo"])
        assert right.mean() > wrong.mean() + 3 * (right - wrong).std() / np.sqrt(len(x))

    @pytest.mark.parametrize("objective", ["Elbo", "FreeBits", "Iwae", "DReG"])
    @pytest.mark.slow
    def test_every_objective_trains(self, objective, build_conditional, digits, labels):
        from tfpvae import objectives

        made = {"Elbo": {}, "FreeBits": {"nats": 0.1}, "Iwae": {"k": 3}, "DReG": {"k": 3}}[objective]
        vae = build_conditional(objective=getattr(objectives, objective)(**made))
        losses = vae.fit(digits.train[:400], labels.train[:400], epochs=2, verbose=0).history["loss"]
        assert losses[1] < losses[0]


def test_the_networks_drop_out_in_training_alone():
    import keras

    import tfpvae
    from tfpvae import layers
    from tfpvae.batch import Batch, Latents

    def network(size, params, last):
        first, y = keras.Input((size,)), keras.Input((3,), name="y")
        joined = keras.layers.Dropout(0.5)(keras.layers.Concatenate()([first, y]))
        return keras.Model([first, y], last(keras.layers.Dense(params)(joined)))

    encoder = network(6, 4, layers.MultivariateNormalDiag(2))
    vae = tfpvae.ConditionalVAE(encoder, network(2, 6, layers.SphericalNormal(6, 0.3)), num_classes=3)
    x, z, y = np.ones((4, 6), np.float32), np.ones((4, 2), np.float32), np.array([0, 1, 2, 0])
    for function, rows in ((vae.posterior, Batch(x, y)), (vae.likelihood, Latents(z, y))):
        first, second = (function(rows).mean().numpy() for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert np.any(function(rows, training=True).mean().numpy() != first)


class TestKinds:
    """Kinds of y, of data and of networks."""

    def test_one_hot_floats_are_what_labels_become(self, build_conditional, trained, digits, labels):
        x, y = digits.test[:6], labels.test[:6]
        floats = build_conditional(num_classes=None, hidden=32)
        floats.set_weights(trained.get_weights())
        np.testing.assert_array_equal(floats.reconstruct(x, one_hot(y)), trained.reconstruct(x, y))
        np.testing.assert_array_equal(floats.sample(2, seed=1, y=one_hot([3])), trained.sample(2, seed=1, y=3))
        assert floats.condition.shape.as_list() == [None, 10]
        assert trained.condition.shape.as_list() == [None]
        assert trained.condition.dtype == "int64"

    def test_y_may_be_an_image(self, build_conditional, digits):
        """The lower half of a digit from its upper half, as in [SLY15]."""
        vae = build_conditional(num_classes=None, y_shape=(4, 8))
        upper = digits.train[:200, :4, :, 0]
        losses = vae.fit(digits.train[:200], upper, epochs=2, verbose=0).history["loss"]
        assert losses[1] < losses[0]
        assert vae.sample(seed=[1, 2], y=upper[:2]).shape == (2, 8, 8, 1)

    def test_data_sets_of_pairs_and_validation(self, build_conditional, digits, labels):
        import tensorflow as tf

        x, y = digits.train[:100], labels.train[:100]
        pairs = tf.data.Dataset.from_tensor_slices((x, y)).batch(50)
        histories = []
        for data in ((x, y), (pairs,)):
            vae = build_conditional()
            validation = (digits.test, labels.test) if len(data) == 2 else pairs
            history = vae.fit(*data, batch_size=50 if len(data) == 2 else None, validation_data=validation, verbose=0)
            assert {"val_loss", "val_elbo"} <= set(history.history)
            histories.append(vae.predict(*data, verbose=0))
        assert histories[0].shape == histories[1].shape == (100, 8, 8, 1)
        alone = vae.predict(x, y, verbose=0, statistics=["mean", "log_prob"])
        np.testing.assert_allclose(alone["mean"], histories[1], atol=1e-6)
        np.testing.assert_allclose(alone["mean"], vae.reconstruct(x, y), atol=1e-6)
        assert alone["log_prob"].shape == (100,)

    def test_weights_count(self, build_conditional, digits, labels):
        vae = build_conditional()
        x, y = digits.test[:20], labels.test[:20]
        weight = np.r_[np.ones(10), np.zeros(10)]
        kl = vae.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)["kl"]
        np.testing.assert_allclose(kl, np.mean(vae.score(x[:10], y[:10])["kl"]), rtol=1e-5)

    def test_networks_that_are_built_by_the_data_are_saved(self, digits, labels, tmp_path):
        import keras

        import tfpvae
        from tfpvae import layers

        @keras.saving.register_keras_serializable(package="tests")
        class Joined(keras.Model):
            def __init__(self, last, **kwargs):
                super().__init__(**kwargs)
                self.last = last
                self.dense = keras.layers.Dense(64 if last.name == "px" else 8)

            def call(self, inputs):
                first, y = inputs
                return self.last(self.dense(keras.ops.concatenate([keras.ops.reshape(first, [-1, self.n]), y], -1)))

            @property
            def n(self):
                return 4 if self.last.name == "px" else 64

            def get_config(self):
                return {**super().get_config(), "last": keras.saving.serialize_keras_object(self.last)}

            @classmethod
            def from_config(cls, config):
                return cls(keras.saving.deserialize_keras_object(config.pop("last")), **config)

        def build():
            q, p_x = layers.MultivariateNormalDiag(4, name="qz"), layers.IndependentBernoulli((8, 8, 1), name="px")
            vae = tfpvae.ConditionalVAE(Joined(q), Joined(p_x), num_classes=10)
            vae.compile("adam")
            return vae

        x, y = digits.train[:50], labels.train[:50]
        vae = build()
        assert not vae.built
        vae.fit(x, y, verbose=0)
        by_call = build()
        assert by_call.encode(x, y).mean().shape == (50, 4)
        vae.save(tmp_path / "vae.keras")
        loaded = keras.models.load_model(tmp_path / "vae.keras")
        np.testing.assert_allclose(loaded.reconstruct(x, y), vae.reconstruct(x, y), atol=1e-6)


class TestCalls:
    def test_a_scalar_or_one_row_is_for_all(self, trained, digits):
        x = digits.test[:4]
        for y in (3, [3], np.int32(3), np.array([3, 3, 3, 3], np.uint8)):
            np.testing.assert_array_equal(trained.sample(4, seed=7, y=y), trained.sample(4, seed=7, y=[3] * 4))
            np.testing.assert_array_equal(trained.reconstruct(x, y), trained.reconstruct(x, [3] * 4))

    def test_as_many_as_there_are_y(self, trained):
        assert trained.sample(y=[1, 2, 3]).shape == (3, 8, 8, 1)
        assert trained.sample(seed=[1, 2], y=4).shape == (2, 8, 8, 1)
        assert len(trained.sample_png(y=[1, 2])) == 2

    def test_a_row_depends_on_its_own_seed_and_y_alone(self, trained):
        whole = trained.sample(6, seed=5, y=np.arange(6)).numpy()
        one_by_one = [trained.sample(1, seed=5 + i, y=i).numpy()[0] for i in range(6)]
        np.testing.assert_array_equal(whole, one_by_one)

    def test_the_pure_functions(self, trained, digits, labels):
        from tfpvae.batch import Batch, Latents

        x, y = digits.test[:3], labels.test[:3]
        np.testing.assert_allclose(trained.posterior(Batch(x, y)).mean(), trained.encode(x, y).mean())
        z = trained.sample_latent(3, seed=1)
        np.testing.assert_allclose(trained.likelihood(Latents(z, y)).mean(), trained.decode(z, y).mean())
        np.testing.assert_allclose(trained.sample_mean(3, seed=1, y=y), trained.decode(z, y).mean(), atol=1e-6)
        assert trained([x, y]).event_shape == (8, 8, 1)

    def test_a_label_outside_the_classes_is_no_class_where_nothing_can_be_refused(self, trained):
        seen = trained.condition_tensor(np.array([-1, 0, 9, 10]))
        np.testing.assert_array_equal(seen, np.eye(12)[[0, 1, 10, 11], 1:11])


SIGMA = 0.7


@pytest.fixture(scope="module")
def linear():
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    import tfpvae
    from tfpvae import layers

    rng = np.random.default_rng(0)
    W, V = rng.normal(size=(6, 2)), rng.normal(size=(6, 3))
    y = rng.normal(size=(20, 3)).astype(np.float32)
    x = (rng.normal(size=(20, 2)) @ W.T + y @ V.T + SIGMA * rng.normal(size=(20, 6))).astype(np.float32)
    covariance = np.linalg.inv(W.T @ W / SIGMA**2 + np.eye(2))
    matrix = covariance @ W.T / SIGMA**2  # The posterior's mean is matrix (x - V y).
    fill = tfp.bijectors.FillScaleTriL(diag_bijector=tfp.bijectors.Softplus(), diag_shift=np.float64(1e-5))
    raw = fill.inverse(1.3 * np.linalg.cholesky(covariance)).numpy()  # Wider than the posterior.
    of_x, of_y, of_z = keras.Input((6,), name="x"), keras.Input((3,), name="y"), keras.Input((2,), name="z")
    to_q, to_x = keras.layers.Dense(5), keras.layers.Dense(6)
    q = layers.MultivariateNormalTriL(2)(to_q(keras.layers.Concatenate()([of_x, of_y])))
    noise = layers.DistributionLambda(
        lambda loc: tfp.distributions.Independent(tfp.distributions.Normal(loc, tf.constant(SIGMA)), 1)
    )
    p_x = noise(to_x(keras.layers.Concatenate()([of_z, of_y])))
    to_q.set_weights([np.pad(np.r_[matrix.T, -(matrix @ V).T], [(0, 0), (0, 3)]), np.r_[0, 0, raw]])
    to_x.set_weights([np.r_[W.T, V.T], np.zeros(6)])
    vae = tfpvae.ConditionalVAE(keras.Model([of_x, of_y], q), keras.Model([of_z, of_y], p_x))
    marginal = stats.multivariate_normal(np.zeros(6), W @ W.T + SIGMA**2 * np.eye(6))
    return vae, x, y, marginal.logpdf(x - y @ V.T)


class TestLogMarginal:
    """x given z and y ~ N(W z + V y, sigma^2 I), so x given y ~ N(V y, W W^T + sigma^2 I)."""

    def test_importance_sampling_is_within_its_error_of_the_closed_form(self, linear):
        from tfpvae.evaluate import importance_log_marginal

        vae, x, y, expected = linear
        result = importance_log_marginal(vae, x, samples=400, y=y, batch_size=8)
        score = (result.log_marginal - expected) / result.standard_error
        assert np.abs(score).max() < 4
        assert 0.4 < np.mean(score**2) < 2
        of_two = importance_log_marginal(vae, x[8:10], samples=400, y=y[8:10], seed=8)
        np.testing.assert_allclose(of_two.log_marginal, result.log_marginal[8:10], atol=1e-4)
        for_all = importance_log_marginal(vae, x[:3], samples=10, y=y[:1]).log_marginal
        each = importance_log_marginal(vae, x[:3], samples=10, y=y[[0, 0, 0]]).log_marginal
        np.testing.assert_array_equal(for_all, each)

    def test_monte_carlo_over_the_prior_too(self, linear):
        from tfpvae.evaluate import monte_carlo_log_marginal

        vae, x, y, expected = linear
        result = monte_carlo_log_marginal(vae, x, samples=4000, y=y, chunk_size=500)
        near = result.standard_error < 0.2
        assert near.sum() > 5
        assert (np.abs(result.log_marginal - expected)[near] < 4 * result.standard_error[near]).all()

    def test_the_mean_score_is_that_of_pairs(self, linear):
        import tensorflow as tf

        from tfpvae.evaluate import mean_score

        vae, x, y, _ = linear
        score = mean_score(vae, tf.data.Dataset.from_tensor_slices((x, y)).batch(7), seed=3)
        assert score["n"] == 20
        np.testing.assert_allclose(score["elbo"], np.mean(vae.score(x, y, seed=3)["elbo"]), rtol=1e-5)

    def test_y_is_checked(self, linear, vae, digits):
        from tfpvae.evaluate import importance_log_marginal

        conditional, x, y, _ = linear
        with pytest.raises(ModelError, match="y must be given: this model is conditional"):
            importance_log_marginal(conditional, x, samples=1)
        with pytest.raises(DataError, match=r"y must have shape \[20, 3\]"):
            importance_log_marginal(conditional, x, samples=1, y=y[:19])
        with pytest.raises(ModelError, match="VAE takes no y"):
            importance_log_marginal(vae, digits.test[:2], samples=1, y=[1, 2])


class TestMistakes:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda y: None, "y must be given beside x"),
            (lambda y: y + 1, r"y must be labels from 0 to 9\. Received: 10 at index \[9\], and 6 such values"),
            (lambda y: y - 1, r"y must be labels from 0 to 9\. Received: -1 at index \[0\]"),
            (lambda y: y[:-1], r"integer labels, shape \[50\].*Received: shape \[49\]"),
            (lambda y: np.r_[y, y[:1]], r"integer labels, shape \[50\].*Received: shape \[51\]"),
            (lambda y: y.astype(float), "integer labels.*dtype float64"),
            (lambda y: one_hot(y), r"integer labels.*shape \[50, 10\]"),
            (lambda y: y.astype(str), "integer labels.*dtype <U"),
        ],
        ids=["missing", "too large", "negative", "too few", "too many", "floats", "one-hot", "text"],
    )
    def test_in_labels(self, change, message, build_conditional, digits, labels):
        vae = build_conditional()
        x, y = digits.train[:50], change(labels.train[:50])
        with pytest.raises((DataError, ModelError), match=message):
            vae.fit(x, y, verbose=0)
        with pytest.raises((DataError, ModelError), match=message):
            vae.evaluate(x, y, verbose=0)
        with pytest.raises((DataError, ModelError), match=message.replace("y must", "y of validation_data must", 1)
                           .replace("beside x", "beside validation_data")):  # fmt: skip
            vae.fit(x, labels.train[:50], validation_data=(x, y) if y is not None else x, verbose=0)

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (np.zeros((50, 9)), r"y must have shape \[50, 10\]"),
            (np.full((50, 10), np.nan), r"y must be finite\. Received: nan at index \[0, 0\]"),
            (np.zeros(50, int), r"y must have shape \[50, 10\]. Received: shape \[50\], dtype int64"),
        ],
        ids=["shape", "NaN", "labels"],
    )
    def test_in_floats(self, y, message, build_conditional, digits):
        with pytest.raises(DataError, match=message):
            build_conditional(num_classes=None).fit(digits.train[:50], y, verbose=0)

    def test_in_data_sets(self, build_conditional, digits, labels):
        import tensorflow as tf

        vae = build_conditional()
        y = labels.train[:100].copy()
        y[70] = 12

        def data(*parts):
            return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0]).batch(50)

        with pytest.raises(DataError, match="A batch of y must be labels from 0 to 9"):
            vae.fit(data(digits.train[:100], y), verbose=0)
        with pytest.raises(ModelError, match=r"x must be batches of pairs \(x, y\)"):
            vae.fit(data(digits.train[:100]), verbose=0)
        floats = build_conditional(num_classes=None)
        bad = one_hot(labels.train[:100])
        bad[70] = np.inf
        with pytest.raises(DataError, match="A batch of y must be finite"):
            floats.fit(data(digits.train[:100], bad), verbose=0)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda vae, x: vae.sample(2), "y must be given: this model is conditional"),
            (lambda vae, x: vae.sample(2, y=10), "labels from 0 to 9. Received: 10"),
            (lambda vae, x: vae.sample(2, y=[1, 2, 3]), r"shape \[2\].*Received: shape \[3\]"),
            (lambda vae, x: vae.encode(x), "y must be given"),
            (lambda vae, x: vae.encode(x[..., 0], 1), "x must have shape"),
            (lambda vae, x: vae.decode(np.zeros((2, 4))), "y must be given"),
            (lambda vae, x: vae.score(x, seed=1), "y must be given"),
            (lambda vae, x: vae.posterior(x), "y must be given"),
            (lambda vae, x: vae.predict(x, verbose=0), "y must be given beside x"),
        ],
    )  # fmt: skip
    def test_in_calls(self, call, message, trained, digits):
        with pytest.raises((DataError, ModelError), match=message):
            call(trained, digits.test[:2])

    def test_a_plain_vae_takes_no_y(self, vae, digits):
        for call in (
            lambda: vae.sample(2, y=1),
            lambda: vae.encode(digits.test[:2], 1),
            lambda: vae.score(digits.test, 1),
        ):
            with pytest.raises(ModelError, match="VAE takes no y"):
                call()
        with pytest.raises(ModelError, match="no targets"):
            vae.fit(digits.test, np.zeros(len(digits.test)))

    @pytest.mark.parametrize("num_classes", [0, -1, 2.0, True, "10"])
    def test_in_num_classes(self, num_classes, build_conditional):
        with pytest.raises(ModelError, match="num_classes must be an integer of at least 1"):
            build_conditional(num_classes=num_classes)

    def test_in_the_networks(self, build_conditional, build_vae):
        import keras

        import tfpvae
        from tfpvae import layers

        right, plain = build_conditional(), build_vae()
        with pytest.raises(ModelError, match=r"must take y of shape \[B, 9\]: labels come one-hot"):
            build_conditional(num_classes=9)
        with pytest.raises(
            ModelError, match=r"The encoder of a conditional model must take two inputs, x and y.*Sequential of 1"
        ):
            tfpvae.ConditionalVAE(plain.encoder, right.decoder, num_classes=10)
        with pytest.raises(ModelError, match="The decoder of a conditional model must take two inputs, z and y"):
            tfpvae.ConditionalVAE(right.encoder, plain.decoder, num_classes=10)
        with pytest.raises(ModelError, match=r"two inputs, x and y.*MultivariateNormalDiag of 1"):
            tfpvae.ConditionalVAE(layers.MultivariateNormalDiag(4), right.decoder, num_classes=10)
        x, y = keras.Input((8, 8, 1), name="x"), keras.Input((10,), name="y")
        joined = keras.layers.Concatenate()([keras.layers.Flatten()(x), y])
        q = layers.MultivariateNormalDiag(4)(keras.layers.Dense(8)(joined))
        with pytest.raises(ModelError, match=r"in the order \[x, y\].*Received: y, x"):
            tfpvae.ConditionalVAE(keras.Model([y, x], q), right.decoder, num_classes=10)
        q = layers.MultivariateNormalDiag(3)(keras.layers.Dense(6)(joined))
        with pytest.raises(ModelError, match=r"decoder must take z of shape \[B, 3\]"):
            tfpvae.ConditionalVAE(keras.Model([x, y], q), right.decoder, num_classes=10)

    def test_a_prior_that_is_made_of_the_encoder(self, build_conditional):
        from tfpvae import priors

        class Shared(priors.StandardNormal):
            shares_encoder = True

        with pytest.raises(ModelError, match=r"prior that is not made of the encoder.*Shared"):
            build_conditional(prior=Shared(4))
