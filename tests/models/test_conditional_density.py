"""Fully observed conditional models: the loss by SciPy, a fit beside scikit-learn's, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tfpvae.errors import DataError, ModelError


def dense(size: int, last, shape: tuple[int, ...] = (3,)):
    """A linear model into a distribution layer, compiled."""
    import keras

    import tfpvae

    layers = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(size), last]
    model = tfpvae.ConditionalDensity(keras.Sequential(layers))
    model.compile(keras.optimizers.Adam(0.05))
    return model


@pytest.fixture
def normal():
    from tfpvae import layers

    return dense(4, layers.IndependentNormal([2]))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    y = (x @ rng.normal(size=(3, 2)) + 0.5 + 0.3 * rng.normal(size=(200, 2))).astype(np.float32)
    return x, y


class TestTheLoss:
    def test_is_scipys_mean_over_rows_of_a_sum_over_the_event(self, normal, data):
        x, y = data
        p_y = normal.decode(x).named_parameters
        expected = stats.norm(p_y["loc"].numpy(), p_y["scale"].numpy()).logpdf(y).sum(-1)
        reported = normal.evaluate(x, y, verbose=0, return_dict=True)
        assert sorted(reported) == ["log_likelihood", "loss"]
        np.testing.assert_allclose(reported["loss"], -expected.mean(), rtol=1e-5)
        np.testing.assert_allclose(reported["log_likelihood"], expected.mean(), rtol=1e-5)
        np.testing.assert_allclose(normal.score(x, y)["log_likelihood"], expected, rtol=1e-4)
        np.testing.assert_allclose(normal.train_on_batch(x, y, return_dict=True)["loss"], -expected.mean(), rtol=1e-5)

    def test_weights_count(self, normal, data):
        x, y = (part[:20] for part in data)
        weight = np.r_[np.ones(5), np.zeros(15)]
        got = normal.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)["log_likelihood"]
        np.testing.assert_allclose(got, np.mean(normal.score(x[:5], y[:5])["log_likelihood"]), rtol=1e-5)


class TestMaximumLikelihood:
    @pytest.mark.slow
    def test_of_a_linear_gaussian_is_least_squares(self, data):
        from tfpvae import layers

        x, y = data
        model = dense(2, layers.SphericalNormal([2], 0.3))
        model.fit(x, y, epochs=40, batch_size=50, verbose=0)
        ones = np.c_[x, np.ones(len(x))]
        least, *_ = np.linalg.lstsq(ones, y, rcond=None)
        np.testing.assert_allclose(model.predict(x, verbose=0), ones @ least, atol=0.2)
        best = stats.norm.logpdf(y, ones @ least, 0.3).sum(-1).mean()
        reached = model.evaluate(x, y, verbose=0, return_dict=True)["log_likelihood"]
        assert best - 0.1 < reached < best + 1e-4

    @pytest.mark.parametrize("kind", ["OneHotCategorical", "IndependentPoisson"])
    def test_needs_no_reparameterised_distribution(self, kind, data):
        from tfpvae import layers

        x, _ = data
        rng = np.random.default_rng(1)
        if kind == "OneHotCategorical":
            model, y = dense(4, layers.OneHotCategorical(4)), np.eye(4)[(x @ rng.normal(size=(3, 4))).argmax(-1)]
        else:
            model, y = dense(1, layers.IndependentPoisson([1])), rng.poisson(np.exp(x[:, :1]))
        first = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
        history = model.fit(x, y, epochs=5, batch_size=50, validation_data=(x, y), verbose=0).history
        assert history["val_loss"][-1] < first


class TestWithoutAnInput:
    """A network that learns its shape from the first data."""

    @pytest.fixture
    def model(self):
        import keras

        import tfpvae
        from tfpvae import layers

        network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4), layers.IndependentNormal([2])])
        model = tfpvae.ConditionalDensity(network)
        model.compile(keras.optimizers.Adam(0.05))
        return model

    @pytest.mark.parametrize("first", ["fit", "decode"])
    def test_it_is_built_for_the_first_data_and_refuses_other(self, model, first):
        x, y = np.zeros((5, 4, 3), np.float32), np.zeros((5, 2), np.float32)
        model.fit(x, y, verbose=0) if first == "fit" else model.decode(x)
        assert model.built
        assert (model.input_shape_of_x, model.event_shape) == ((4, 3), (2,))
        model.build((None, 12))  # It is built already.
        assert model.input_shape_of_x == (4, 3)
        for call in (model.decode, lambda x: model.fit(x, y, verbose=0)):
            with pytest.raises(DataError, match=r"\[N, 4, 3\].*Received: shape \[5, 3, 4\]"):
                call(np.zeros((5, 3, 4), np.float32))

    def test_a_built_model_stays_as_it_is(self, normal):
        with pytest.raises(DataError, match=r"Received: shape \[5, 7\]"):
            normal.decode(np.zeros((5, 7), np.float32))
        assert normal.input_shape_of_x == (3,)


def test_it_is_called_inside_a_function_too(normal, data):
    import tensorflow as tf

    x = data[0][:4]
    inside = tf.function(lambda x: normal.decode(x).mean())
    np.testing.assert_allclose(inside(tf.constant(x)), normal.decode(x).mean(), rtol=1e-6)


def test_saved_before_it_is_trained_it_loads_without_a_warning(normal, data, tmp_path):
    import keras

    normal.save(tmp_path / "density.keras")
    loaded = keras.models.load_model(tmp_path / "density.keras")
    x, y = data
    expected = normal.score(x, y)["log_likelihood"]
    np.testing.assert_allclose(loaded.score(x, y)["log_likelihood"], expected, rtol=1e-6)
    assert len(loaded.optimizer.variables) == len(normal.optimizer.variables)


def test_samples_by_seed_follow_the_distribution(normal, data):
    from tfpvae.random import numpy as reference
    from tfpvae.random.seeds import OBSERVATION

    x = np.repeat(data[0][:1], 2000, axis=0)
    y = normal.sample(x, seed=5).numpy()
    p_y = normal.decode(x[:1]).named_parameters
    epsilon = reference.normal_from_uniform(reference.uniform(np.arange(5, 2005), 2, OBSERVATION))
    np.testing.assert_allclose(y, p_y["loc"] + p_y["scale"] * epsilon, atol=1e-5)
    assert stats.kstest((y[:, 0] - p_y["loc"][0, 0]) / p_y["scale"][0, 0], "norm").pvalue > 1e-3
    np.testing.assert_allclose(normal.sample(x[:3], seed=[7, 6, 5]), y[[2, 1, 0]], atol=1e-5)


def test_data_sets_of_pairs(normal, data):
    import tensorflow as tf

    pairs = tf.data.Dataset.from_tensor_slices(data).batch(50)
    history = normal.fit(pairs, validation_data=pairs, verbose=0).history
    assert {"val_loss", "val_log_likelihood"} <= set(history)
    np.testing.assert_allclose(normal.predict(pairs, verbose=0), normal.decode(data[0]).mean(), atol=1e-5)


class TestMistakes:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x, y: (x, None), "y must be given beside x"),
            (lambda x, y: (x, y[:-1]), "x and y must have as many rows. Received: 200 of x, 199 of y"),
            (lambda x, y: (x, y[:, :1]), r"y must have shape \[N, 2\].*Received: shape \[200, 1\]"),
            (lambda x, y: (x[:, :2], y), r"x must have shape \[N, 3\]"),
            (lambda x, y: (x * np.nan, y), "x must be finite"),
            (lambda x, y: (x, y * np.inf), "y must be finite"),
            (lambda x, y: (x.tolist(), y), "x must be an array"),
        ],
        ids=["missing", "rows", "event", "shape of x", "NaN", "infinity", "list"],
    )
    def test_in_data(self, change, message, normal, data):
        with pytest.raises((DataError, ModelError), match=message):
            normal.fit(*change(*data), verbose=0)

    def test_in_later_batches(self, normal, data):
        import tensorflow as tf

        x, y = data
        bad = y.copy()
        bad[150] = np.nan
        with pytest.raises(DataError, match="A batch of y must be finite"):
            normal.fit(tf.data.Dataset.from_tensor_slices((x, bad)).batch(50), verbose=0)
        with pytest.raises(ModelError, match=r"x must be batches of pairs \(x, y\)"):
            normal.fit(tf.data.Dataset.from_tensor_slices(x).batch(50), verbose=0)

    def test_values_that_a_bernoulli_does_not_have(self, data):
        from tfpvae import layers

        with pytest.raises(DataError, match=r"y must be values in \[0, 1\]"):
            dense(2, layers.IndependentBernoulli([2])).fit(*data, verbose=0)

    def test_in_the_network(self):
        import keras

        import tfpvae

        with pytest.raises(ModelError, match="The network must end in a distribution layer"):
            tfpvae.ConditionalDensity(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
        with pytest.raises(ModelError, match="The network must be a Keras model or layer"):
            tfpvae.ConditionalDensity("mlp")

    def test_a_loss_of_its_own(self, normal):
        with pytest.raises(ModelError, match=r"compiled without a loss and metrics.*Received: loss"):
            normal.compile("adam", loss="mse")
