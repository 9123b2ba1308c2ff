"""What TFP's own distribution_layer_test.py holds its layers to, in Keras 3: the facts of it, class by class.

The names of the tests follow those of TFP. Training to a known answer, saving, and the ways of building a model are
here as they are there; test_conformance.py has what holds for every layer.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

RNG = np.random.default_rng(42)


@pytest.fixture(autouse=True)
def same_numbers_in_any_order():
    import keras

    keras.utils.set_random_seed(0)
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


@pytest.fixture
def fit(tf):
    """`fit(model, x, y)`: compiled with the negative log-likelihood and fitted, without XLA, which takes long."""
    import keras

    def run(model, x, y, rate=0.05, **options):
        def negative_log_likelihood(y, rv):
            return -rv.log_prob(y)

        model.compile(keras.optimizers.Adam(rate), loss=negative_log_likelihood, jit_compile=False)
        return model.fit(x, y, verbose=0, **{"batch_size": 25, **options}).history

    return run


class TestEndToEnd:
    """A VAE in each of Keras's three ways: chained models are what the layers are for."""

    ENCODED, SHAPE = 2, (2, 2, 1)
    X = (RNG.random((50, *SHAPE)) > 0.75).astype(np.float32)

    def check(self, model, fit, tfd):
        history = fit(model, self.X, self.X)
        assert np.isfinite(history["loss"]).all()
        rv = model(self.X).tensor_distribution
        assert isinstance(rv, tfd.Independent)
        assert isinstance(rv.distribution, tfd.Bernoulli)

    def test_keras_sequential_api(self, fit, tf, tfd, tfpl):
        import keras

        kl = keras.layers
        prior = keras.Sequential([
            tfpl.VariableLayer(shape=[self.ENCODED]),
            tfpl.DistributionLambda(lambda t: tfd.Independent(tfd.Normal(loc=t, scale=1), 1)),
        ])  # fmt: skip
        beta = tf.Variable(0.9, name="beta")
        encoder = keras.Sequential([
            kl.InputLayer(shape=self.SHAPE),
            kl.Flatten(),
            kl.Dense(tfpl.MultivariateNormalTriL.params_size(self.ENCODED)),
            tfpl.MultivariateNormalTriL(
                self.ENCODED, activity_regularizer=tfpl.KLDivergenceRegularizer(prior, weight=beta)
            ),
        ])  # fmt: skip
        decoder = keras.Sequential([
            kl.InputLayer(shape=[self.ENCODED]),
            kl.Dense(tfpl.IndependentBernoulli.params_size(self.SHAPE)),
            tfpl.IndependentBernoulli(self.SHAPE, tfd.Bernoulli.logits),
        ])  # fmt: skip
        vae = keras.Model(encoder.inputs[0], decoder(encoder.outputs[0]))
        # Two layers of two, the prior's loc, and beta.
        assert len(vae.trainable_weights) == 4 + 1 + 1
        self.check(vae, fit, tfd)

    def test_keras_functional_api(self, fit, tf, tfd, tfp, tfpl):
        import keras

        kl = keras.layers
        beta = tf.Variable(0.9, trainable=False, name="beta")
        scale = tfp.util.TransformedVariable(1.0, bijector=tfp.bijectors.Exp())
        prior = tfd.Independent(tfd.Normal(loc=tf.Variable([0.0, 0.0]), scale=scale), 1)
        layers = [
            kl.Flatten(),
            kl.Dense(10, activation="relu"),
            kl.Dense(tfpl.MultivariateNormalTriL.params_size(self.ENCODED)),
            tfpl.MultivariateNormalTriL(self.ENCODED),
            tfpl.KLDivergenceAddLoss(prior, weight=beta),
            kl.Dense(10, activation="relu"),
            kl.Dense(tfpl.IndependentBernoulli.params_size(self.SHAPE)),
            tfpl.IndependentBernoulli(self.SHAPE, tfd.Bernoulli.logits),
        ]
        images = kl.Input(shape=self.SHAPE)
        vae = keras.Model(images, functools.reduce(lambda x, layer: layer(x), layers, images))
        # The prior's loc and scale; beta is not trained.
        assert len(vae.trainable_weights) == (2 + 2) + (2 + 2) + (1 + 1)
        self.check(vae, fit, tfd)

    def test_keras_model_api(self, fit, tf, tfd, tfpl):
        import keras

        kl = keras.layers

        class Chain(keras.Model):
            def __init__(self, layers):
                super().__init__()
                self.chain = layers

            def call(self, inputs):
                return functools.reduce(lambda x, layer: layer(x), self.chain, inputs)

        encoder = Chain([
            kl.Flatten(),
            kl.Dense(tfpl.MultivariateNormalTriL.params_size(self.ENCODED)),
            tfpl.MultivariateNormalTriL(self.ENCODED),
            tfpl.KLDivergenceAddLoss(tfd.Independent(tfd.Normal(tf.zeros(self.ENCODED), 1), 1), weight=0.9),
        ])  # fmt: skip
        decoder = Chain([
            kl.Dense(tfpl.IndependentBernoulli.params_size(self.SHAPE)),
            tfpl.IndependentBernoulli(self.SHAPE, tfd.Bernoulli.logits),
        ])  # fmt: skip
        images = kl.Input(shape=self.SHAPE)
        self.check(keras.Model(images, decoder(encoder(images))), fit, tfd)

    def test_keras_sequential_api_multiple_draws(self, fit, tf, tfd, tfpl):
        import keras

        kl = keras.layers

        def logit_avg_expit(t):
            """logit(mean(expit(t)))."""
            n = tf.cast(tf.shape(t)[0], t.dtype)
            log_mean = tf.reduce_logsumexp(-tf.nn.softplus(-t), axis=0) - tf.math.log(n)
            return log_mean - tf.math.log1p(-tf.exp(log_mean))

        encoder = keras.Sequential([
            kl.InputLayer(shape=self.SHAPE),
            kl.Flatten(),
            kl.Dense(tfpl.MultivariateNormalTriL.params_size(self.ENCODED)),
            tfpl.MultivariateNormalTriL(self.ENCODED, lambda s: s.sample(2, seed=42)),
            tfpl.KLDivergenceAddLoss(
                tfd.MultivariateNormalDiag(loc=tf.Variable(tf.zeros([self.ENCODED]))), weight=0.9
            ),
        ])  # fmt: skip
        decoder = keras.Sequential([
            kl.Dense(tfpl.IndependentBernoulli.params_size(self.SHAPE)),
            kl.Lambda(logit_avg_expit),
            tfpl.IndependentBernoulli(self.SHAPE, tfd.Bernoulli.logits),
        ])  # fmt: skip
        vae = keras.Model(encoder.inputs[0], decoder(encoder.outputs[0]))
        assert len(encoder.trainable_variables) == 2 + 1
        assert len(decoder.trainable_variables) == 2
        assert len(vae.trainable_variables) == 5
        self.check(vae, fit, tfd)

    def test_side_variable_is_auto_tracked(self, tf, tfd, tfp, tfpl):
        import keras

        s = tfp.util.TransformedVariable(1.0, tfp.bijectors.Softplus())
        prior = tfd.Normal(tf.Variable(0.0), 1.0)
        model = keras.Sequential([
            keras.layers.Dense(1),
            tfpl.DistributionLambda(
                lambda t: tfd.Normal(t, s), activity_regularizer=tfpl.KLDivergenceRegularizer(prior)
            ),
        ])  # fmt: skip
        model.build((1, 3))
        assert len(model.trainable_variables) == 4
        # A Keras variable around the same storage, where Keras 2 had the tf.Variable itself.
        storage = [id(v.value) for v in model.trainable_variables]
        assert id(s.pretransformed_input) in storage
        assert id(prior.loc) in storage


def test_variable_creation(fit, tfd, tf, tfpl):
    """Layers that the function calls are tracked when they are set as attributes."""
    import keras

    kl = keras.layers
    loc = keras.Sequential([kl.Conv2D(1, [1, 3]), kl.ZeroPadding2D(((0, 0), (1, 1)))])
    scale = keras.Sequential([kl.Conv2D(1, [2, 1]), kl.ZeroPadding2D(((1, 0), (0, 0)))])
    normal = tfpl.DistributionLambda(lambda x: tfd.Normal(loc=loc(x), scale=tf.exp(scale(x))))
    normal.loc_net = loc
    normal.scale_net = scale
    x = kl.Input(shape=(3, 3, 1))
    model = keras.Model(x, normal(x))
    assert len(model.trainable_variables) == 4
    data = RNG.random((50, 3, 3, 1)).astype(np.float32)
    before = model.get_weights()
    fit(model, data, data)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(before, model.get_weights(), strict=True))


class TestKLDivergenceAddLoss:
    LOC, TRIL = np.float32([-1, 1]), np.float32([[1.1, 0], [0.2, 1.3]])

    @pytest.mark.parametrize(
        ("draws", "options", "error"),
        [(1000, {"test_points_reduce_axis": 0}, 0.15), (3, {"use_exact_kl": True}, 1e-5)],
        ids=["approx", "exact"],
    )
    @pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
    def test_kl(self, draws, options, error, tf, tfd, tfp, tfpl):
        import keras

        prior = tfd.MultivariateNormalDiag(loc=tf.zeros(2))
        model = keras.Sequential([
            tfpl.MultivariateNormalTriL(2, lambda s: s.sample(draws, seed=42)),
            tfpl.KLDivergenceAddLoss(prior, **options),
        ])  # fmt: skip
        expected = tfd.kl_divergence(tfd.MultivariateNormalTriL(self.LOC, self.TRIL), prior)
        params = np.concatenate([self.LOC, tfp.bijectors.FillScaleTriL().inverse(self.TRIL)])[np.newaxis]
        rv = model(params)
        assert len(model.losses) == 1
        rv = model(params)
        assert len(model.losses) == 1  # Not of the call before.
        np.testing.assert_allclose(rv.loc, [self.LOC], rtol=1e-5)
        np.testing.assert_allclose(rv.scale.to_dense(), [self.TRIL], rtol=1e-4)
        np.testing.assert_allclose(model.losses[0], expected, atol=error)
        # The output is the distribution: there is something to fit.
        model.compile("adam", loss=lambda x, rv: -rv.log_prob(x[..., :2]), jit_compile=False)
        model.fit(params, params, verbose=0)


def softplus_inverse(x):
    return np.log(np.expm1(x))


# Class -> (its argument, how its distribution's parameters are read back, which TFP class it is or is made of).
def _vector_back(tfp, d):
    return np.concatenate([d.loc, tfp.bijectors.FillScaleTriL(diag_shift=1e-5).inverse(d.scale.to_dense())], -1)


def _flat(value, batch):
    return np.reshape(value, [*batch, -1])


INDEPENDENT = {
    "IndependentBernoulli": ("Bernoulli", lambda d, b: _flat(d.logits, b)),
    "IndependentLogistic": (
        "Logistic",
        lambda d, b: np.concatenate([_flat(d.loc, b), softplus_inverse(_flat(d.scale, b))], -1),
    ),
    "IndependentNormal": (
        "Normal",
        lambda d, b: np.concatenate([_flat(d.loc, b), softplus_inverse(_flat(d.scale, b))], -1),
    ),
    "IndependentPoisson": ("Poisson", lambda d, b: _flat(d.log_rate, b)),
}


class TestMultivariateNormalTriL:
    @pytest.mark.parametrize("how", ["new", "layer"])
    def test_parameters(self, how, tf, tfd, tfp, tfpl):
        d = 4
        t = RNG.normal(size=[2, 3, tfpl.MultivariateNormalTriL.params_size(d)]).astype("f")
        if how == "new":
            rv = tfpl.MultivariateNormalTriL.new(t, d, validate_args=True)
        else:
            rv = tfpl.MultivariateNormalTriL(d, tfd.Distribution.mean)(t).tensor_distribution
        assert isinstance(rv, tfd.MultivariateNormalTriL)
        np.testing.assert_allclose(_vector_back(tfp, rv), t, rtol=1e-4, atol=1e-4)

    def test_doc_string(self, fit, tf, tfd, tfpl):
        """Started at the answer, training stays there."""
        import keras

        tril, noise = np.float32([[1.618, 0], [-2.7183, 3.1416]]), 0.01
        x = RNG.normal(size=(1000, 2)).astype("f")
        y = x @ tril + noise * RNG.normal(size=(1000, 2)).astype("f")
        kernel = np.pad(tril, [[0, 0], [0, 3]])
        bias = np.float32([0, 0, np.log(noise), 0, np.log(noise)])
        model = keras.Sequential([
            keras.layers.Dense(
                tfpl.MultivariateNormalTriL.params_size(2),
                kernel_initializer=lambda shape, dtype: kernel,
                bias_initializer=lambda shape, dtype: bias,
            ),
            tfpl.MultivariateNormalTriL(2),
        ])  # fmt: skip
        fit(model, x, y, rate=0.001, batch_size=100)
        np.testing.assert_allclose(model.get_weights()[0], kernel, atol=1e-2, rtol=1e-3)
        np.testing.assert_allclose(model.get_weights()[1], bias, atol=2e-2, rtol=1e-3)


def _categorical_data():
    x = RNG.normal(size=(1000, 2))
    logits = 0.3142 + 1.618 * x[:, 0] - 2.7183 * x[:, 1]
    y = np.eye(2)[(RNG.random(1000) < 1 / (1 + np.exp(-logits))).astype(int)]
    return x.astype("f"), y.astype("f")


class TestOneHotCategorical:
    @pytest.mark.parametrize("how", ["new", "layer"])
    def test_parameters(self, how, tfd, tfpl):
        d = 4
        t = RNG.normal(size=[2, 3, tfpl.OneHotCategorical.params_size(d)]).astype("f")
        if how == "new":
            rv = tfpl.OneHotCategorical.new(t, d, validate_args=True)
        else:
            rv = tfpl.OneHotCategorical(d, validate_args=True)(t).tensor_distribution
        assert isinstance(rv, tfd.OneHotCategorical)
        np.testing.assert_allclose(rv.logits_parameter(), t, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rv.probs_parameter(), rv.mean(), rtol=1e-5, atol=1e-6)

    def test_doc_string(self, fit, tf, tfpl):
        import keras

        x, y = _categorical_data()
        model = keras.Sequential([
            keras.layers.Dense(tfpl.OneHotCategorical.params_size(2) - 1),
            keras.layers.Lambda(lambda t: tf.pad(t, [[0, 0], [1, 0]])),
            tfpl.OneHotCategorical(2),
        ])  # fmt: skip
        fit(model, x, y, rate=0.1, batch_size=100, epochs=8)
        kernel, bias = model.get_weights()
        np.testing.assert_allclose(kernel[:, 0], [1.618, -2.7183], rtol=0.3)
        np.testing.assert_allclose(bias, [0.3142], atol=0.3)


class TestCategoricalMixtureOfOneHotCategorical:
    @pytest.mark.parametrize("how", ["new", "layer"])
    def test_parameters(self, how, tfd, tfpl):
        k, d = 2, 4
        t = RNG.normal(size=[2, 3, tfpl.CategoricalMixtureOfOneHotCategorical.params_size(d, k)]).astype("f")
        if how == "new":
            rv = tfpl.CategoricalMixtureOfOneHotCategorical.new(t, d, k, validate_args=True)
        else:
            rv = tfpl.CategoricalMixtureOfOneHotCategorical(d, k, validate_args=True)(t)
        inner = getattr(rv, "tensor_distribution", rv)
        assert isinstance(inner, tfd.MixtureSameFamily)
        assert isinstance(rv.mixture_distribution, tfd.Categorical)
        assert isinstance(rv.components_distribution, tfd.OneHotCategorical)
        logits = np.reshape(rv.components_distribution.logits, [2, 3, -1])
        back = np.concatenate([rv.mixture_distribution.logits, logits], axis=-1)
        np.testing.assert_allclose(back, t, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(np.mean(rv.sample(10_000, seed=42), 0), rv.mean(), atol=0.03)
        if hasattr(inner, "log_mean"):
            np.testing.assert_allclose(rv.mean(), np.exp(rv.log_mean()), rtol=1e-5, atol=1e-6)

    def test_doc_string(self, fit, tfd, tfpl):
        import keras

        x, y = _categorical_data()
        layer = tfpl.CategoricalMixtureOfOneHotCategorical
        model = keras.Sequential([keras.layers.Dense(layer.params_size(2, 2)), layer(2, 2)])
        history = fit(model, x, y, rate=0.3, batch_size=100, epochs=3)
        assert history["loss"][-1] < history["loss"][0]
        assert isinstance(model(x).tensor_distribution, tfd.MixtureSameFamily)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", INDEPENDENT)
class TestIndependent:
    def check(self, rv, t, batch, name, dtype, tfd):
        family, back = INDEPENDENT[name]
        rv = getattr(rv, "tensor_distribution", rv)
        assert isinstance(rv, tfd.Independent)
        assert isinstance(rv.distribution, getattr(tfd, family))
        assert rv.dtype == dtype
        np.testing.assert_allclose(
            back(rv.distribution, batch), t, rtol=1e-3 if dtype == "float32" else 1e-6, atol=1e-5
        )

    def test_new(self, name, dtype, tfd, tfpl):
        cls, event_shape = getattr(tfpl, name), [2, 1, 2]
        t = RNG.uniform(-3, 3, [2, int(cls.params_size(event_shape))]).astype(dtype)
        self.check(cls.new(t, event_shape, validate_args=True), t, [2], name, dtype, tfd)

    def test_layer(self, name, dtype, tf, tfd, tfpl):
        cls = getattr(tfpl, name)
        t = RNG.uniform(-3, 3, [5, 5, int(cls.params_size())]).astype(dtype)
        rv = cls(validate_args=True, dtype=dtype)(tf.constant(t))
        self.check(rv, t, [5, 5], name, dtype, tfd)

    def test_serialization(self, name, dtype, tfpl, tmp_path):
        import keras

        cls = getattr(tfpl, name)
        n = int(cls.params_size([]))
        x = RNG.uniform(-3, 3, [4, 1, n]).astype(dtype)
        model = keras.Sequential([
            keras.layers.InputLayer(shape=(1, n), dtype=dtype),
            keras.layers.Dense(n, dtype=dtype),
            cls([], validate_args=True, dtype=dtype),
        ])  # fmt: skip
        model.save(tmp_path / "model.keras")
        copy = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(model(x).mean(), copy(x).mean())
        assert model(x).mean().dtype == dtype
        ones = np.ones([7, 4, 1], dtype)
        np.testing.assert_array_equal(model(x).log_prob(ones), copy(x).log_prob(ones))
        assert model(x).log_prob(ones).shape == (7, 4, 1)

    def test_model_export(self, name, dtype, tf, tfpl, tmp_path):
        import keras

        cls = getattr(tfpl, name)
        n = int(cls.params_size([3, 2]))
        model = keras.Sequential([
            keras.layers.InputLayer(shape=(n,), dtype=dtype),
            keras.layers.Dense(n, dtype=dtype),
            cls([3, 2], validate_args=True, convert_to_tensor_fn="mean", dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ])  # fmt: skip
        x = RNG.uniform(-3, 3, [4, n]).astype(dtype)
        model.export(str(tmp_path / "export"), verbose=False)
        copy = tf.saved_model.load(str(tmp_path / "export"))
        np.testing.assert_allclose(copy.serve(x), model(x), rtol=1e-6)
        assert model(x).dtype == dtype


class TestDocStringsOfIndependent:
    def test_bernoulli(self, fit, tf, tfd, tfpl):
        import keras

        weights = np.float32([[1.618, 0], [-2.7183, 3.1416]])
        x = RNG.normal(size=(10_000, 2)).astype("f")
        y = (RNG.random((10_000, 2)) < 1 / (1 + np.exp(-x @ weights))).astype("f").reshape(-1, 1, 2, 1)
        layer = tfpl.IndependentBernoulli
        model = keras.Sequential([keras.layers.Dense(layer.params_size(y.shape[1:])), layer(y.shape[1:])])
        fit(model, x, y, rate=0.5, batch_size=10_000, epochs=60)
        np.testing.assert_allclose(model.get_weights()[0], weights, atol=0.2, rtol=0.15)
        np.testing.assert_allclose(model.get_weights()[1], [0, 0], atol=0.15)

    @pytest.mark.parametrize("name", ["IndependentLogistic", "IndependentNormal"])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_an_encoder_draws(self, name, dtype, tf, tfpl):
        import keras

        cls = getattr(tfpl, name)
        encoder = keras.Sequential([
            keras.layers.InputLayer(shape=[28, 28, 1], dtype=dtype),
            keras.layers.Flatten(dtype=dtype),
            keras.layers.Dense(10, activation="relu", dtype=dtype),
            keras.layers.Dense(int(cls.params_size(2)), dtype=dtype),
            cls(2, dtype=dtype),
            keras.layers.Lambda(lambda x: x + 0.0, dtype=dtype),
        ])  # fmt: skip
        x = RNG.normal(size=(1, 28, 28, 1)).astype(dtype)
        assert encoder.predict_on_batch(x).shape == (1, 2)
        out = encoder(tf.constant(x))
        assert out.shape == (1, 2)
        assert out.dtype == dtype

    @pytest.mark.filterwarnings("ignore:.*The Relu operation:UserWarning")  # TFP's example has one.
    def test_an_input_of_unknown_size(self, tf, tfpl):
        import keras

        n = int(tfpl.IndependentNormal.params_size([2]))
        encoder = keras.Sequential([
            keras.layers.InputLayer(shape=[28, 28, 1]),
            keras.layers.Flatten(),
            keras.layers.Dense(12, activation="relu"),
            keras.layers.Lambda(lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:-1], [-1, n]], 0))),
            tfpl.IndependentNormal([2]),
            keras.layers.Lambda(lambda x: x + 0.0),
        ])  # fmt: skip
        x = RNG.normal(size=(1, 28, 28, 1)).astype("f")
        assert encoder.predict_on_batch(x).shape == (1, 3, 2)
        assert encoder(x).shape == (1, 3, 2)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_poisson(self, dtype, fit, tfpl):
        import keras

        x = RNG.uniform(1, 10, (200, 4)).astype(dtype)
        y = RNG.poisson(np.exp(x @ [[0.314], [0.272], [-0.162], [0.058]] - 0.141)).astype(dtype)
        model = keras.Sequential([
            keras.layers.Dense(tfpl.IndependentPoisson.params_size(1), dtype=dtype),
            tfpl.IndependentPoisson(1, dtype=dtype),
        ])  # fmt: skip
        history = fit(model, x, y, batch_size=50, epochs=3)
        assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "family"), [("MixtureLogistic", "Logistic"), ("MixtureNormal", "Normal")])
class TestMixtures:
    @pytest.mark.parametrize(
        ("how", "n", "event_shape", "batch"),
        [("new", 4, 3, [4, 2]), ("layer", 3, [4, 2], [7, 3])],
        ids=["new", "layer"],
    )
    def test_parameters(self, name, family, dtype, how, n, event_shape, batch, tf, tfd, tfpl):
        cls = getattr(tfpl, name)
        t = RNG.uniform(-3, 3, [*batch, int(cls.params_size(n, event_shape))]).astype(dtype)
        if how == "new":
            rv = cls.new(tf.constant(t), n, event_shape, validate_args=True)
        else:
            rv = cls(n, event_shape, validate_args=True, dtype=dtype)(tf.constant(t)).tensor_distribution
        assert isinstance(rv, tfd.MixtureSameFamily)
        assert isinstance(rv.mixture_distribution, tfd.Categorical)
        components = rv.components_distribution
        assert isinstance(components, tfd.Independent)
        assert isinstance(components.distribution, getattr(tfd, family))
        assert rv.dtype == dtype
        each = [
            np.reshape(a, [*batch, n, -1])
            for a in (components.distribution.loc, softplus_inverse(np.asarray(components.distribution.scale)))
        ]
        back = np.concatenate([rv.mixture_distribution.logits, np.reshape(np.concatenate(each, -1), [*batch, -1])], -1)
        np.testing.assert_allclose(back, t, rtol=1e-3 if dtype == "float32" else 1e-6, atol=1e-4)

    def test_serialization(self, name, family, dtype, tfpl, tmp_path):
        import keras

        cls = getattr(tfpl, name)
        n = int(cls.params_size(3, []))
        x = RNG.uniform(-3, 3, [4, 1, n]).astype(dtype)
        model = keras.Sequential([
            keras.layers.InputLayer(shape=(1, n), dtype=dtype),
            keras.layers.Dense(n, dtype=dtype),
            cls(3, [], validate_args=True, dtype=dtype),
        ])  # fmt: skip
        model.save(tmp_path / "model.keras")
        copy = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(model(x).mean(), copy(x).mean())
        ones = np.ones([7, 4, 1], dtype)
        np.testing.assert_array_equal(model(x).log_prob(ones), copy(x).log_prob(ones))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MixtureLogistic", "MixtureNormal", "MixtureSameFamily"])
def test_mixture_density_network(name, fit, tf, tfd, tfpl):
    """The cardioid of TFP's documentation: y given x has two branches, which one normal cannot have."""
    import keras

    cls = getattr(tfpl, name)
    angle = RNG.uniform(-np.pi, np.pi, (1000, 1))
    r = 2 * (1 - np.cos(angle))
    x = (r * np.sin(angle) + 0.1 * RNG.normal(size=(1000, 1))).astype("f")
    y = (r * np.cos(angle) + 0.1 * RNG.normal(size=(1000, 1))).astype("f")
    if name == "MixtureSameFamily":
        size = cls.params_size(5, tfpl.IndependentNormal.params_size([1]))
        layer = cls(5, tfpl.IndependentNormal([1]))
    else:
        size, layer = cls.params_size(5, [1]), cls(5, [1])
    assert size == 15
    model = keras.Sequential([keras.layers.Dense(12, activation="relu"), keras.layers.Dense(int(size)), layer])
    history = fit(model, x, y, rate=0.02, batch_size=100, epochs=3)
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("how", ["new", "layer"])
def test_mixture_same_family_of_multivariate_normals(how, tf, tfd, tfp, tfpl):
    n, d, batch = 3, 4, [7, 3]
    component = int(tfpl.MultivariateNormalTriL.params_size(d))
    t = RNG.uniform(-3, 3, [*batch, int(tfpl.MixtureSameFamily.params_size(n, component))]).astype("f")
    normal = tfpl.MultivariateNormalTriL(d, validate_args=True)
    if how == "new":
        rv = tfpl.MixtureSameFamily.new(tf.constant(t), n, normal, validate_args=True)
    else:
        rv = tfpl.MixtureSameFamily(n, normal, validate_args=True)(tf.constant(t)).tensor_distribution
    rv = getattr(rv, "tensor_distribution", rv)
    assert isinstance(rv, tfd.MixtureSameFamily)
    assert isinstance(rv.mixture_distribution, tfd.Categorical)
    back = np.concatenate(
        [rv.mixture_distribution.logits, np.reshape(_vector_back(tfp, rv.components_distribution), [*batch, -1])], -1
    )
    np.testing.assert_allclose(back, t, rtol=1e-3, atol=1e-4)


def test_joint_distribution_layer(tf, tfd, tfpl):
    import keras

    x = keras.Input(shape=())
    y = tfpl.VariableLayer(shape=[2, 4, 3], dtype=tf.float32)(x)
    y = keras.layers.Dense(5, use_bias=False)(y)
    y = tfpl.DistributionLambda(
        lambda t: tfd.JointDistributionSequential(
            [
                tfd.Gamma(tf.exp(t[..., 0]), tf.exp(t[..., 1])),
                tfd.Normal(t[..., 2], 1),
                lambda m, s: tfd.Normal(loc=m, scale=s),
            ]
        )
    )(y)
    model = keras.Model(x, y)
    rv = model(tf.zeros([1]))
    assert isinstance(rv.tensor_distribution, tfd.JointDistributionSequential)
    assert len(model.weights) == 2


class TestSerialization:
    """Lambdas with globals and closures, static methods and attributes, in models that are saved and loaded."""

    def check(self, model, tmp_path, shape):
        import keras

        x = RNG.uniform(-1, 1, shape).astype("f")
        before = model(x)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*lambda")
            model.save(tmp_path / "model.keras")
        after = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)(x)
        np.testing.assert_array_equal(after.mean(), before.mean())
        ones = np.ones(before.mean().shape, "f")
        np.testing.assert_array_equal(after.log_prob(ones), before.log_prob(ones))

    def test_lambdas_and_static_methods(self, tf, tfd, tfpl, tmp_path):
        import keras

        makes = [(6, lambda t: tfpl.IndependentBernoulli.new(t, [2, 3])), (1, tfpl.IndependentPoisson.new)]
        for size, make in makes:
            for convert in (lambda d: d.mean(), tfd.Distribution.mean, "mean"):
                layers = [keras.layers.Dense(size), tfpl.DistributionLambda(make, convert)]
                self.check(keras.Sequential([keras.Input((5,)), *layers]), tmp_path, (4, 5))

    @pytest.mark.parametrize("convert", ["logits", "entropy"])
    def test_attributes_and_methods_of_a_family(self, convert, tf, tfd, tfpl, tmp_path):
        import keras

        layer = tfpl.DistributionLambda(lambda t: tfd.Categorical(logits=t), getattr(tfd.Categorical, convert))
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5), layer])
        x = RNG.uniform(-1, 1, (4, 5)).astype("f")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*lambda")
            model.save(tmp_path / "model.keras")
        copy = keras.models.load_model(tmp_path / "model.keras", safe_mode=False)
        np.testing.assert_array_equal(copy.predict(x, verbose=0), model.predict(x, verbose=0))

    def test_closure_over_lambdas_tensors_and_arrays(self, tf, tfpl, tmp_path):
        import keras

        num_components, one = np.array(3), tf.convert_to_tensor(1)
        make_normal = lambda event_shape: tfpl.IndependentNormal(event_shape + one)  # noqa: E731
        size = tfpl.MixtureSameFamily.params_size(num_components, tfpl.IndependentNormal.params_size(2))
        for layer in (
            tfpl.MixtureSameFamily(num_components, make_normal(1)),
            tfpl.DistributionLambda(lambda t: tfpl.MixtureSameFamily.new(t, num_components, make_normal(1))),
        ):
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(size), layer])
            self.check(model, tmp_path, (8, 4))


def test_classes_with_validation_data_and_the_accuracy_of_the_mode(tf, tfpl):
    """TFP's end to end of a classifier: `validation_data`, and a metric of what the distribution's mode says."""
    import keras

    x = RNG.normal(size=(200, 2)).astype("f")
    y = np.eye(2, dtype="f")[(x[:, 0] > x[:, 1]).astype(int)]

    def accuracy(y, rv):
        return tf.reduce_mean(tf.cast(tf.reduce_all(tf.equal(y, tf.cast(rv.mode(), y.dtype)), -1), tf.float32))

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), tfpl.OneHotCategorical(2)])
    model.compile(keras.optimizers.Adam(0.1), loss=lambda y, rv: -rv.log_prob(y), metrics=[accuracy], jit_compile=False)
    history = model.fit(x[:150], y[:150], epochs=5, verbose=0, validation_data=(x[150:], y[150:])).history
    assert set(history) == {"loss", "val_loss", "accuracy", "val_accuracy"}
    assert history["val_accuracy"][-1] > 0.9
    assert history["val_loss"][-1] < history["val_loss"][0]
    right = np.argmax(model(x[150:]).mode(), -1) == np.argmax(y[150:], -1)
    # The metric is the mean of the batches' accuracies; the last batch is smaller.
    assert np.isclose(history["val_accuracy"][-1], right.mean(), atol=0.05)


@pytest.mark.parametrize("family", ["MultivariateNormalTriL", "MultivariateNormalDiag", "IndependentNormal"])
def test_mixture_same_family_of_float64(family, tf, tfpl):
    component = getattr(tfpl, family)(2, dtype="float64")
    size = tfpl.MixtureSameFamily.params_size(3, getattr(tfpl, family).params_size(2))
    t = RNG.uniform(-3, 3, [7, size])
    rv = tfpl.MixtureSameFamily(3, component, dtype="float64")(tf.constant(t))
    assert rv.tensor_distribution.dtype == tf.float64
    assert rv.components_distribution.dtype == tf.float64
    assert rv.sample(2).dtype == tf.float64
    assert rv.log_prob(rv).dtype == tf.float64
    assert np.isfinite(rv.log_prob(np.zeros((7, 2)))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variable_layer_of_a_dtype(dtype, tf, tfd, tfpl):
    import keras

    x = keras.Input((), dtype=dtype)
    loc = tfpl.VariableLayer([3], dtype=dtype, initializer="ones")(x)
    rv = tfpl.DistributionLambda(lambda t: tfd.Independent(tfd.Normal(t, tf.ones([], t.dtype)), 1), dtype=dtype)(loc)
    model = keras.Model(x, rv)
    out = model(tf.zeros([1], dtype))
    assert out.tensor_distribution.dtype == dtype
    np.testing.assert_allclose(out.mean(), np.ones(3), rtol=1e-12)
    model.compile(keras.optimizers.SGD(0.1), loss=lambda y, rv: -rv.log_prob(y), jit_compile=False)
    model.fit(np.zeros(4, dtype), np.full((4, 3), 5.0, dtype), epochs=3, verbose=0)
    assert (np.asarray(model.get_weights()[0]) > 1.0).all()
