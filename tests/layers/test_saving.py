"""Saving: plain JSON, nothing pickled, the same numbers back; functions by name, lambdas as Keras allows them."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest

from tfpvae.errors import ModelError

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture
def again(tmp_path):
    """`again(model)`: the model written to a file and read, and what the file says of it."""
    import keras

    def save_and_load(model, **options):
        path = tmp_path / "model.keras"
        model.save(path)
        return keras.models.load_model(path, **options)

    return save_and_load


@pytest.fixture(scope="module")
def functions(tfd):
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable(package="test_saving")
    def normal(t):
        return tfd.Independent(tfd.Normal(t[..., :2], tf.nn.softplus(t[..., 2:])), 1)

    @keras.saving.register_keras_serializable(package="test_saving")
    def mean_and_more(d):
        return d.mean() + 0.1 * d.stddev()

    @keras.saving.register_keras_serializable(package="test_saving")
    def unit_prior():
        return tfd.Independent(tfd.Normal(np.zeros(2, "f"), 1.0), 1)

    return {"normal": normal, "mean_and_more": mean_and_more, "unit_prior": unit_prior}


def plain_json(path):
    """The configuration of a saved model, which must not hold code."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read("config.json").decode()
        assert {n.split(".")[-1] for n in archive.namelist()} <= {"json", "h5"}
    assert "__lambda__" not in text
    assert "pickle" not in text
    return json.loads(text)


@pytest.mark.parametrize("convert", ["sample", "mean", "mode", "logits", "function"])
def test_functions_are_saved_by_name(convert, tfpl, functions, again, tmp_path):
    import keras

    fn = functions["mean_and_more"] if convert == "function" else convert
    make = functions["normal"]
    if convert == "logits":  # Of a Bernoulli, by the name of the attribute.
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), tfpl.IndependentBernoulli(3, fn)])
    else:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), tfpl.DistributionLambda(make, fn)])
    loaded = again(model)
    plain_json(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(X).mean(), model(X).mean())
    if convert != "sample":
        np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    expected = {"function": "mean_and_more"}.get(convert, convert)
    assert expected in json.dumps(model.layers[-1].get_config()["convert_to_tensor_fn"])


def loaded(layer, tmp_path):
    """A model of the layer alone: it, and it after it was saved and loaded."""
    import keras

    model = keras.Sequential([keras.Input((2,)), layer])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lambda")
        model.save(tmp_path / "model.keras")
    return model, keras.models.load_model(tmp_path / "model.keras", safe_mode=False)


SCALE = 0.25


def helper(t, scale):
    from tensorflow_probability import distributions as tfd

    return tfd.Normal(t, scale)


def test_a_lambda_is_saved_with_what_it_names(tfpl, tfd, tmp_path):
    import tensorflow as tf

    stddev = 3.0

    def around():
        return lambda t: tfd.Independent(tfd.Normal(tf.nn.softplus(t), stddev), 1)

    makes = [around(), lambda t: helper(t, SCALE), lambda t, loc=1.0: tfd.Normal(t + loc, [s * SCALE for s in (1, 2)])]
    x = np.float32([[1, 2], [3, 4]])
    for make in makes:
        before, after = loaded(tfpl.DistributionLambda(make), tmp_path)
        np.testing.assert_array_equal(after(x).mean(), before(x).mean())
        np.testing.assert_array_equal(after(x).stddev(), before(x).stddev())


FRESH = """
import keras, numpy as np, sys
import tfpvae
model = keras.models.load_model(sys.argv[1], safe_mode=False)
print(model(np.float32([[1, 2]])).stddev().numpy().tolist())
"""


@pytest.mark.slow
def test_a_fresh_process_has_what_a_lambda_names(tfpl, tmp_path):
    from tensorflow_probability import distributions as tfd

    loaded(tfpl.DistributionLambda(lambda t: tfd.Normal(t, SCALE)), tmp_path)
    finished = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "model.keras")], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == "[[0.25, 0.25]]"


def test_what_a_lambda_names_and_cannot_be_saved_is_refused(tfpl, tfd, tmp_path):
    scale = tfd.Normal(0.0, 1.0)
    with pytest.raises(ModelError, match=r"it names scale, Normal\. Replace it by a function registered"):
        loaded(tfpl.DistributionLambda(lambda t: tfd.Normal(t, scale.mean())), tmp_path)


@pytest.mark.filterwarnings("ignore:.*lambda:UserWarning")
def test_a_lambda_that_names_itself_is_refused(tfpl, tfd):
    again = lambda t, n=2: again(t, n - 1) if n else tfd.Normal(t, 1.0)  # noqa: E731
    endless = [1.0]
    endless.append(endless)
    for make in (again, lambda t: tfd.Normal(t, endless[0]), lambda t: again(t)):
        with pytest.raises(ModelError, match="A lambda that names itself cannot be saved"):
            tfpl.DistributionLambda(make).get_config()


def test_a_lambda_is_saved_with_arrays_tensors_and_lambdas(tfpl, tfd, tmp_path):
    import tensorflow as tf

    array, tensor, count = np.arange(2.0, dtype=np.float32), tf.constant([1, 2]), np.array(3)
    nested = {"scales": [1.0, (np.float32(2.0), tensor)]}
    inner = lambda t, *, by=array: t * by  # noqa: E731
    makes = [
        lambda t: tfd.Normal(inner(t) + array, tf.cast(tensor, tf.float32) * float(count)),
        lambda t: tfd.Normal(t, nested["scales"][0] * float(nested["scales"][1][0])),
        lambda t, scale=array + 1.0, *, loc=tensor: tfd.Normal(t + tf.cast(loc, tf.float32), scale),
        lambda t, inner=inner: tfd.Normal(inner(t), 1.0),
    ]
    x = np.float32([[1, 2], [3, 4]])
    for make in makes:
        before, after = loaded(tfpl.DistributionLambda(make), tmp_path)
        np.testing.assert_array_equal(after(x).mean(), before(x).mean())
        np.testing.assert_array_equal(after(x).stddev(), before(x).stddev())


def test_what_a_lambda_names_and_is_gone_is_told(tfpl, tmp_path, monkeypatch):
    import keras

    loaded(tfpl.DistributionLambda(lambda t: helper(t, 1.0)), tmp_path)
    monkeypatch.delitem(globals(), "helper")
    with pytest.raises(ModelError, match=r"A lambda of the model uses .*helper, which is not there"):
        keras.models.load_model(tmp_path / "model.keras", safe_mode=False)


def test_methods_of_registered_classes_are_saved(tfpl, tfd, tmp_path, monkeypatch):
    import keras

    class Makes(keras.layers.Layer):
        @staticmethod
        def normal(t):
            return tfd.Normal(t, 2.0)

        @classmethod
        def wide(cls, t):
            return tfd.Normal(t, 9.0)

    Makes.__qualname__ = "Makes"
    Makes.normal.__qualname__ = "Makes.normal"
    monkeypatch.setitem(globals(), "Makes", keras.saving.register_keras_serializable("tests_saving")(Makes))
    x = np.float32([[1.5]])
    for make in (Makes.normal, Makes.wide, tfpl.IndependentPoisson.new):
        model = keras.Sequential([keras.Input((1,)), tfpl.DistributionLambda(make)])
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert again.layers[-1].make_distribution_fn == make
        np.testing.assert_array_equal(again(x).stddev(), model(x).stddev())


def test_a_lambda_is_loaded_in_unsafe_mode_alone(tfpl, tmp_path):
    import keras

    from tfpvae.errors import ModelError

    models = {
        "make_distribution_fn": tfpl.DistributionLambda(
            lambda t: __import__("tensorflow_probability").distributions.Normal(t, 1.0)
        ),
        "convert_to_tensor_fn": tfpl.IndependentNormal(2, lambda d: d.mean()),
    }
    for name, layer in models.items():
        model = keras.Sequential([keras.Input((4,)), layer])
        with pytest.warns(UserWarning, match="lambda"):
            model.save(tmp_path / f"{name}.keras")
        # Keras wraps what a layer raises; ours is in the message.
        with pytest.raises((ModelError, TypeError, ValueError), match=r"safe_mode=False.*register_keras_serializable"):
            keras.models.load_model(tmp_path / f"{name}.keras")
        loaded = keras.models.load_model(tmp_path / f"{name}.keras", safe_mode=False)
        np.testing.assert_array_equal(loaded(X).mean(), model(X).mean())


def test_what_cannot_be_saved_is_named(tfpl, functions, tfd):
    from tfpvae.errors import ModelError

    layer = tfpl.DistributionLambda(functools.partial(tfd.Normal, scale=1.0))
    with pytest.raises(ModelError, match=r"must have a name to be saved: register a `def`"):
        layer.get_config()
    config = tfpl.DistributionLambda(functions["normal"]).get_config()
    config["make_distribution_fn"] = {**config["make_distribution_fn"], "registered_name": "gone", "config": "gone"}
    with pytest.raises(ModelError, match="must be imported, and registered"):
        tfpl.DistributionLambda.from_config(config)


def _priors(tfd, functions, tfpl):
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    tfb, tfu = tfp.bijectors, tfp.util
    zeros, ones = np.zeros(2, "f"), np.ones(2, "f")
    learned = keras.Sequential(
        [tfpl.VariableLayer(4, initializer="ones"), tfpl.DistributionLambda(functions["normal"])]
    )
    return {
        "fixed": tfd.MultivariateNormalDiag(zeros, 2 * ones),
        "tf.Variable": tfd.Independent(tfd.Normal(tf.Variable(zeros + 0.3, name="loc"), 1.0), 1),
        "TransformedVariable": tfd.Independent(
            tfd.Normal(0.0, tfu.TransformedVariable(ones * 0.7, tfb.Chain([tfb.Shift(1e-3), tfb.Softplus()]))), 1
        ),
        "DeferredTensor of a bijector": tfd.MultivariateNormalDiag(
            zeros, tfu.DeferredTensor(tf.Variable(ones * 0.5), tfb.Exp())
        ),
        "DeferredTensor of a function": tfd.MultivariateNormalDiag(
            tfu.DeferredTensor(tf.Variable(ones * 0.5), registered_square())
        ),
        "function": functions["unit_prior"],
        "model": learned,
        "mixture": tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.Variable(zeros)),
            tfd.MultivariateNormalDiag(tf.Variable(np.float32([[1, 1], [-1, -1]]))),
        ),
        "flow": tfd.TransformedDistribution(
            tfd.Sample(tfd.Normal(0.0, 1.0), 2),
            tfb.Chain([tfb.Shift(tf.Variable(ones)), tfb.ScaleMatvecDiag(tf.Variable(2 * ones))]),
        ),
    }


@functools.cache
def registered_square():
    import keras
    import tensorflow as tf

    return keras.saving.register_keras_serializable(package="test_saving", name="square")(
        tf.function(tf.square).python_function
    )


PRIORS = [
    *("fixed", "tf.Variable", "TransformedVariable", "DeferredTensor of a bijector", "DeferredTensor of a function"),
    *("function", "model", "mixture", "flow"),
]


@pytest.mark.filterwarnings("ignore:There is no closed-form KL")
@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("how", ["regularizer", "layer"])
def test_priors_and_their_variables_come_back(name, how, tfpl, tfd, functions, again, tmp_path):
    import keras

    priors = _priors(tfd, functions, tfpl)
    assert list(priors) == PRIORS
    points = {"test_points_fn": functions["mean_and_more"]} if name == "mixture" else {}
    if how == "regularizer":
        kl = tfpl.KLDivergenceRegularizer(priors[name], weight=0.5, **points)
        layers = [tfpl.MultivariateNormalDiag(2, "mean", activity_regularizer=kl)]
    else:
        layers = [tfpl.MultivariateNormalDiag(2, "mean"), tfpl.KLDivergenceAddLoss(priors[name], weight=0.5, **points)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model(X)
    for v in model.trainable_variables:  # As training would have moved them.
        v.assign(v + 0.1 * np.arange(1, 1 + np.prod(v.shape), dtype="f").reshape(v.shape))
    rv = model(X)
    (loss,) = model.losses
    loaded = again(model)
    plain_json(tmp_path / "model.keras")
    other = loaded(X)
    np.testing.assert_array_equal(other.mean(), rv.mean())
    np.testing.assert_allclose(loaded.losses, [loss], rtol=1e-6)
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    for v, w in zip(model.trainable_variables, loaded.trainable_variables, strict=True):
        assert v is not w
        np.testing.assert_array_equal(v, w)


@pytest.mark.parametrize("kind", ["number", "tf.Variable", "keras.Variable", "schedule", "keras schedule"])
def test_weights_and_options_come_back(kind, tfpl, tfd, again):
    import keras
    import tensorflow as tf

    from tfpvae.schedules import KLWarmUp

    weight = {
        "number": 0.3,
        "tf.Variable": tf.Variable(0.3),
        "keras.Variable": keras.Variable(0.3, trainable=False),
        "schedule": KLWarmUp(10, end=0.6),
        "keras schedule": keras.optimizers.schedules.PolynomialDecay(0.1, 10, 0.5),
    }[kind]
    prior = tfd.MultivariateNormalDiag(np.zeros(2, "f"))
    kl = tfpl.KLDivergenceRegularizer(prior, weight=weight, free_bits=0.25, use_exact_kl=True)
    model = keras.Sequential([keras.Input((4,)), tfpl.MultivariateNormalDiag(2, activity_regularizer=kl)])
    for _ in range(5):
        model(X, training=True)
    model(X)
    loaded = again(model)
    loaded(X)
    np.testing.assert_allclose(loaded.losses, model.losses, rtol=1e-6)
    other = loaded.layers[-1].distribution_regularizer
    assert (other.free_bits, other.use_exact_kl, other.test_points_reduce_axis) == (0.25, True, ())
    assert len(loaded.trainable_variables) == len(model.trainable_variables) == (kind == "tf.Variable")
    if "schedule" in kind:
        assert int(other.steps.numpy()) == 5


def test_a_side_variable_of_a_function_comes_back(tfpl, tfd, again, tmp_path):
    import keras
    import tensorflow as tf

    scale = tf.Variable(1.0)

    @keras.saving.register_keras_serializable(package="test_saving")
    def with_scale(t):
        return tfd.Normal(t, scale)

    model = keras.Sequential([keras.Input((4,)), tfpl.DistributionLambda(with_scale)])
    scale.assign(3.0)
    model.save_weights(tmp_path / "w.weights.h5")
    loaded = again(model)
    scale.assign(9.0)
    loaded.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(loaded(X).stddev(), np.full(X.shape, 3.0))


def test_the_decoder_is_loadable_alone(tfpl, again):
    import keras

    encoder = keras.Sequential([keras.Input((4,)), tfpl.MultivariateNormalDiag(2, "mean")])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6), tfpl.IndependentNormal(3)])
    whole = keras.Model(encoder.inputs[0], decoder(encoder.outputs[0]))
    loaded = again(decoder)
    z = encoder(X).mean()
    np.testing.assert_array_equal(loaded(z).mean(), whole(X).mean())


def test_variable_layer(tfpl, again):
    import keras
    import tensorflow as tf

    from tfpvae.errors import ModelError

    layer = tfpl.VariableLayer([2, 3], dtype=tf.float64, activation="softplus", initializer="ones")
    out = layer(0.0)
    assert out.dtype == tf.float64
    np.testing.assert_allclose(out, np.full((2, 3), np.log1p(np.e)))
    again_ = tfpl.VariableLayer.from_config(json.loads(json.dumps(layer.get_config())))
    np.testing.assert_array_equal(again_(None), out)
    regularized = tfpl.VariableLayer(
        3, initializer="ones", regularizer=keras.regularizers.L2(0.5), constraint="non_neg"
    )
    regularized(0.0)
    np.testing.assert_allclose(regularized.losses, [1.5])
    assert tfpl.VariableLayer(3).constant.shape == (3,)
    assert tfpl.VariableLayer([]).constant.shape == ()
    assert not tfpl.VariableLayer(3, trainable=False).trainable_variables
    with pytest.raises(ModelError, match="shape must be an integer of at least 1, or a sequence"):
        tfpl.VariableLayer([[2, 3]])
    with pytest.raises(ModelError, match="shape must be an integer of at least 1, or a sequence"):
        tfpl.VariableLayer(2.5)


def test_a_distribution_with_a_callable_inside_is_refused_by_name(tfd):
    from tfpvae.errors import ModelError
    from tfpvae.layers.distribution_config import deserialize_distribution, serialize_distribution

    joint = tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0), lambda a: tfd.Normal(a, 1.0)])
    with pytest.raises(ModelError, match="must have a JSON form to be saved"):
        serialize_distribution(joint)
    with pytest.raises(ModelError, match="must be one of TFP's classes"):
        deserialize_distribution({"distribution": "Nothing", "config": {}})


def test_a_trained_layer_exports(tfpl, tfd, tmp_path):
    import keras
    import tensorflow as tf

    # With a variable of a distribution, and a generator of seeds.
    loc = tf.Variable(np.zeros(2, "f"))
    kl = tfpl.KLDivergenceRegularizer(tfd.Independent(tfd.Normal(loc, 1.0), 1))
    model = keras.Sequential([keras.Input((4,)), tfpl.MultivariateNormalDiag(2, "mean", activity_regularizer=kl)])
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", lambda x: tf.convert_to_tensor(model(x)), [tf.TensorSpec([None, 4])])
    archive.write_out(str(tmp_path / "export"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    np.testing.assert_allclose(loaded.serve(X), model(X).mean(), rtol=1e-6)
