"""Every way of using the layers: the kinds of model, the calls of a model, and the modes that it runs in."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

RNG = np.random.default_rng(0)
X = (RNG.random((40, 2, 2, 1)) > 0.75).astype(np.float32)
EVENT, D = (2, 2, 1), 2


def negative_log_likelihood(x, rv):
    return -rv.log_prob(x)


@pytest.fixture(autouse=True)
def same_numbers_in_any_order():
    import keras

    keras.utils.set_random_seed(0)
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


@pytest.fixture
def build(tfpl, tfd):
    """`build(kind)`: a chained encoder and decoder with the KL, uncompiled."""
    import keras

    def stacks(convert):
        prior = tfd.Independent(tfd.Normal(np.zeros(D, "f"), 1.0), 1)
        encoder = [
            keras.layers.Flatten(),
            keras.layers.Dense(tfpl.MultivariateNormalTriL.params_size(D)),
            tfpl.MultivariateNormalTriL(D, convert, activity_regularizer=tfpl.KLDivergenceRegularizer(prior)),
        ]
        decoder = [keras.layers.Dense(tfpl.IndependentBernoulli.params_size(EVENT)), tfpl.IndependentBernoulli(EVENT)]
        return encoder, decoder

    class Subclassed(keras.Model):
        def __init__(self, stack):
            super().__init__()
            self.stack = stack

        def call(self, inputs):
            for layer in self.stack:
                inputs = layer(inputs)
            return inputs

    def build(kind="sequential", convert="sample"):
        encoder, decoder = stacks(convert)
        if kind == "sequential":
            return keras.Sequential([keras.Input(EVENT), *encoder, *decoder])
        if kind == "sequential without an input":
            return keras.Sequential([*encoder, *decoder])
        if kind == "chained":
            first = keras.Sequential([keras.Input(EVENT), *encoder])
            second = keras.Sequential([keras.Input((D,)), *decoder])
            return keras.Model(first.inputs[0], second(first.outputs[0]))
        if kind == "functional":
            x = output = keras.Input(EVENT)
            for layer in (*encoder, *decoder):
                output = layer(output)
            return keras.Model(x, output)
        if kind == "subclassed":
            return Subclassed([*encoder, *decoder])
        x = keras.Input(EVENT)
        return keras.Model(x, Subclassed(decoder)(Subclassed(encoder)(x)))

    return build


KINDS = ["sequential", "sequential without an input", "chained", "functional", "subclassed", "subclassed parts"]


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] if kind in ("sequential", "functional") else []) for kind in KINDS],
)
def test_every_kind_of_model_is_fitted_and_returns_a_distribution(kind, build, tfd):
    model = build(kind)
    model.compile("adam", jit_compile=False, loss=negative_log_likelihood, metrics=[negative_log_likelihood])
    whole = kind == "chained"
    history = model.fit(X, X, batch_size=20, verbose=0, **({"validation_data": (X, X)} if whole else {})).history
    names = {"loss", "negative_log_likelihood"}
    assert set(history) == names | ({f"val_{name}" for name in names} if whole else set())
    assert history["loss"][0] > history["negative_log_likelihood"][0] > 0  # By the KL.
    rv = model(X)
    assert isinstance(rv.tensor_distribution, tfd.Independent)
    assert isinstance(rv.distribution, tfd.Bernoulli)
    assert rv.mean().shape == X.shape
    assert rv.log_prob(X).shape == [40]
    if whole:
        assert model.predict(X, verbose=0).shape == X.shape


@pytest.mark.slow
def test_one_batch_at_a_time(build):
    model = build()
    model.compile("adam", jit_compile=False, loss=negative_log_likelihood)
    assert np.isfinite(model.train_on_batch(X, X))
    assert np.isfinite(model.test_on_batch(X, X))
    assert model.predict_on_batch(X).shape == X.shape
    assert np.isfinite(model.evaluate(X, X, verbose=0))


MODES = {
    "graph": {"jit_compile": False},
    "eager": {"run_eagerly": True},
    "XLA": {"jit_compile": True},
    "steps per execution": {"steps_per_execution": 2, "jit_compile": False},
}


@pytest.mark.parametrize(
    "mode", ["graph", "eager", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("XLA", "steps per execution"))]
)
def test_every_mode_trains_and_repeats(mode, build):
    import keras

    def run():
        keras.utils.set_random_seed(7)
        model = build("chained")
        model.compile(keras.optimizers.Adam(0.01), loss=negative_log_likelihood, **MODES[mode])
        losses = model.fit(X, X, batch_size=10, epochs=2, verbose=0).history["loss"]
        # One compilation of XLA is enough to wait for.
        return (losses, model.predict(X, batch_size=10, verbose=0)) if mode == "graph" else (losses,)

    first, second = run(), run()
    # What is random is drawn from the seed, under XLA too, where TensorFlow's own generator is not.
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert np.isfinite(first[0]).all()


def test_no_two_draws_are_the_same(build):
    import tensorflow as tf

    model = build("chained")
    draw = tf.function(lambda: tf.convert_to_tensor(model(X)), jit_compile=True)
    assert not np.array_equal(draw(), draw())
    assert not np.array_equal(model.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_several_draws(kind, tfpl, tfd):
    import keras

    draws = tfpl.MultivariateNormalTriL(D, lambda d: d.sample(3))
    decoder = [keras.layers.Dense(4), keras.layers.Lambda(lambda t: keras.ops.mean(t, 0)), tfpl.IndependentBernoulli(4)]
    model = keras.Sequential([keras.Input((5,)), draws, *decoder])
    if kind == "functional":
        x = output = keras.Input((5,))
        for layer in (draws, *decoder):
            output = layer(output)
        model = keras.Model(x, output)
    model.compile("adam", jit_compile=False, loss=negative_log_likelihood)
    x, y = RNG.normal(size=(8, 5)).astype("f"), np.ones((8, 4), "f")
    model.fit(x, y, batch_size=4, verbose=0)
    rv = draws(x)
    assert rv.shape == [3, 8, D]
    assert rv.batch_shape == [8]


# The layer's function, and the shapes of y that mean the same.
RANKS = {
    "a batch of numbers": (lambda tfd: lambda t: tfd.Normal(t[..., 0], 1.0), [(6,), (6, 1)]),
    "a column": (lambda tfd: lambda t: tfd.Normal(t, 1.0), [(6,), (6, 1)]),
    "events of one": (lambda tfd: lambda t: tfd.Independent(tfd.Normal(t, 1.0), 1), [(6,), (6, 1)]),
    "images with a channel": (
        lambda tfd: lambda t: tfd.Independent(tfd.Normal(t[:, None, None] + np.zeros((2, 3, 1), "f"), 1.0), 3),
        [(6, 2, 3), (6, 2, 3, 1)],
    ),
    "images without": (
        lambda tfd: lambda t: tfd.Independent(tfd.Normal(t[:, None] + np.zeros((2, 3), "f"), 1.0), 2),
        [(6, 2, 3), (6, 2, 3, 1)],
    ),
}


@pytest.mark.parametrize("mode", ["graph", "eager", "three draws"])
@pytest.mark.parametrize("name", RANKS)
def test_y_of_any_rank_means_the_same_in_losses_and_metrics(name, mode, tfpl, tfd):
    # TFP broadcast [B] against [B, 1] to [B, B], and trained on that without a word.
    import keras

    make, shapes = RANKS[name][0](tfd), RANKS[name][1]
    x = np.arange(6, dtype="f")[:, None] / 4
    y = np.random.default_rng(3).normal(size=shapes[0]).astype("f")
    residual = y.reshape(6, -1) - x
    expected = np.mean(np.sum(0.5 * residual**2 + 0.5 * np.log(2 * np.pi), axis=1))
    for shape in shapes:
        model = keras.Sequential(
            [tfpl.DistributionLambda(make, (lambda d: d.sample(3)) if mode == "three draws" else "sample")]
        )
        eager = {"run_eagerly": True} if mode != "graph" else {"jit_compile": False}
        model.compile(loss=negative_log_likelihood, metrics=[negative_log_likelihood], **eager)
        actual = model.evaluate(x, y.reshape(shape), batch_size=4, verbose=0)
        np.testing.assert_allclose(actual, [expected, expected], rtol=1e-5)


@pytest.mark.parametrize("kind", ["Bernoulli", "Categorical", "Poisson", "float64"])
def test_distributions_of_other_dtypes_reach_the_loss(kind, tfpl, tfd):
    # Keras casts to the loss's float32. A cast makes a tensor of a distribution in Keras 3, unless it is prevented.
    import keras
    import tensorflow as tf

    makes = {
        "Bernoulli": lambda t: tfd.Bernoulli(logits=t[..., 0]),
        "Categorical": lambda t: tfd.Categorical(logits=t),
        "Poisson": lambda t: tfd.Poisson(log_rate=t[..., 0]),
        "float64": lambda t: tfd.Normal(tf.cast(t[..., 0], tf.float64), np.float64(1)),
    }
    x = RNG.normal(size=(6, 2)).astype("f")
    y = np.array([0, 1, 1, 0, 1, 0])
    model = keras.Sequential([tfpl.DistributionLambda(makes[kind])])
    model.compile(jit_compile=False, loss=negative_log_likelihood)
    expected = -np.mean(makes[kind](tf.constant(x)).log_prob(tf.cast(y, makes[kind](tf.constant(x)).dtype)))
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert model.predict(x, verbose=0).shape == (6,)


@pytest.mark.parametrize("policy", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"])
def test_mixed_precision_computes_parameters_in_float32(policy, tfpl, tfd):
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    scale = tfp.util.TransformedVariable(1.0, tfp.bijectors.Softplus())
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        prior = tfd.MultivariateNormalDiag(np.zeros(D, "f"))
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(2 * D),
                tfpl.MultivariateNormalDiag(D),
                tfpl.KLDivergenceAddLoss(prior),
                keras.layers.Dense(3),
                tfpl.DistributionLambda(lambda t: tfd.Independent(tfd.Normal(t, scale), 1)),
            ]
        )
        model.compile("adam", jit_compile=False, loss=negative_log_likelihood)
        x, y = RNG.normal(size=(16, 4)).astype("f"), RNG.normal(size=(16, 3)).astype("f")
        assert np.isfinite(model.fit(x, y, batch_size=8, epochs=2, verbose=0).history["loss"]).all()
        rv = model(x)
    finally:
        keras.config.set_dtype_policy(before)
    assert rv.tensor_distribution.dtype == tf.float32
    assert rv.log_prob(y).dtype == tf.float32
    assert model.layers[0].compute_dtype == policy.removeprefix("mixed_")
    assert len(model.losses) == 1
    assert model.losses[0].dtype == tf.float32


def test_a_distribution_goes_into_dense(tfpl):
    # TFP issue 1779: Dense refused the output of a distribution layer.
    import keras
    import tensorflow as tf

    rv = tfpl.IndependentNormal(3)(tf.zeros([4, 6]))
    assert keras.layers.Dense(2)(rv).shape == (4, 2)
    for layer in (keras.layers.Concatenate(), keras.layers.Add()):
        assert layer([rv, rv]).shape[0] == 4


@pytest.mark.parametrize("name", ["mean", "mode", "stddev", "property", "function"])
def test_predict_gives_what_convert_to_tensor_fn_says(name, tfpl, tfd):
    import keras

    fns = {"property": tfd.Normal.loc, "function": lambda d: d.mean() + d.stddev()}
    model = keras.Sequential([tfpl.IndependentNormal(2, fns.get(name, name))])
    x = RNG.normal(size=(5, 4)).astype("f")
    scale = np.log1p(np.exp(x[:, 2:]))
    expected = {"stddev": scale, "function": x[:, :2] + scale}.get(name, x[:, :2])
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5)


def test_logits_of_a_bernoulli_of_probabilities_are_worked_out(tfpl, tfd):
    import tensorflow as tf

    layer = tfpl.DistributionLambda(lambda t: tfd.Independent(tfd.Bernoulli(probs=t), 1), tfd.Bernoulli.logits)
    np.testing.assert_allclose(layer(tf.constant([[0.5, 0.9]])), [[0.0, np.log(9.0)]], atol=1e-5)


class TestVariablesOfDistributions:
    def test_a_side_variable_is_tracked_and_trained(self, tfpl, tfd):
        import keras
        import tensorflow as tf
        import tensorflow_probability as tfp

        scale = tfp.util.TransformedVariable(3.0, tfp.bijectors.Softplus(), name="scale")
        deferred_input = tf.Variable(0.0, name="shift")
        shift = tfp.util.DeferredTensor(deferred_input, lambda v: 2 * v)
        model = keras.Sequential(
            [
                keras.Input((1,)),
                tfpl.DistributionLambda(lambda t: tfd.Normal(shift, scale)),
            ]
        )
        values = [v.value for v in model.trainable_variables]
        assert {id(v) for v in values} == {id(scale.pretransformed_input), id(deferred_input)}
        y = np.random.default_rng(1).normal(5.0, 0.5, 256).astype("f")
        model.compile(keras.optimizers.Adam(0.3), jit_compile=False, loss=negative_log_likelihood)
        many = np.tile(y[:, None], (90, 1))
        model.fit(np.zeros_like(many), many, batch_size=256, shuffle=False, verbose=0)
        assert float(shift + 0.0) == pytest.approx(y.mean(), abs=0.05)
        assert float(scale + 0.0) == pytest.approx(y.std(), rel=0.1)

    def test_variables_that_are_not_trainable_are_kept_but_not_trained(self, tfpl, tfd):
        import tensorflow as tf

        loc, scale = tf.Variable(0.0), tf.Variable(1.0, trainable=False)
        layer = tfpl.DistributionLambda(lambda t: tfd.Normal(loc, scale))
        layer(tf.zeros([2, 1]))
        layer(tf.zeros([2, 1]))
        assert [v.value is loc for v in layer.trainable_variables] == [True]
        assert [v.value is scale for v in layer.non_trainable_weights] == [True]
        # As Keras does: frozen with the layer.
        layer.trainable = False
        assert not layer.trainable_variables

    def test_a_keras_layer_in_a_bijector_is_tracked(self, tfpl, tfd):
        import tensorflow as tf
        import tensorflow_probability as tfp

        network = tfpl.AutoregressiveNetwork(params=2, event_shape=[2], hidden_units=[4])
        flow = tfp.bijectors.MaskedAutoregressiveFlow(network)
        layer = tfpl.DistributionLambda(
            lambda t: tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 2), flow)
        )
        layer(tf.zeros([3, 1])).log_prob(np.zeros((3, 2), "f"))
        assert len(layer.trainable_variables) == len(network.trainable_variables) > 0


@pytest.mark.slow  # tests/models/test_train_step.py compares the steps of one and of two.
def test_two_replicas(tmp_path):
    """MirroredStrategy over two logical devices: it trains, a learned prior's variables too. A process of its own."""
    script = tmp_path / "replicas.py"
    script.write_text(
        textwrap.dedent(
            """
            import keras, numpy as np, tensorflow as tf, tensorflow_probability as tfp
            cpu = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
            from tfpvae import layers as tfpl
            from tfpvae.schedules import KLWarmUp
            tfd = tfp.distributions
            keras.utils.set_random_seed(0)
            strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
            with strategy.scope():
                loc = tf.Variable(np.zeros(2, "f"))
                prior = tfd.Independent(tfd.Normal(loc, 1.0), 1)
                kl = tfpl.KLDivergenceRegularizer(prior, weight=KLWarmUp(2, start=0.5))
                model = keras.Sequential([
                    keras.Input((3,)), keras.layers.Dense(4),
                    tfpl.MultivariateNormalDiag(2, activity_regularizer=kl),
                    keras.layers.Dense(6), tfpl.IndependentNormal(3)])
                nll = lambda y, rv: -rv.log_prob(y)
                model.compile("adam", loss=nll, metrics=[nll], jit_compile=False)
            x = np.random.default_rng(0).normal(size=(16, 3)).astype("f")
            losses = model.fit(x, x, batch_size=8, epochs=2, verbose=0).history["loss"]
            assert np.isfinite(losses).all() and np.abs(loc.numpy()).max() > 0, (losses, loc)
            assert int(kl.steps.numpy()) == 4, kl.steps
            assert model.predict(x, verbose=0).shape == (16, 3)
            @tf.function
            def draws():
                per_replica = strategy.run(lambda: model.layers[1](tf.zeros([1, 4])) + 0.0)
                return strategy.experimental_local_results(per_replica)
            first, second = draws()
            assert not np.array_equal(first, second), "both replicas draw the same"
            """
        )
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
