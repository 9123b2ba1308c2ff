"""Every distribution layer through one table, `cases.py`."""

import inspect
import itertools
import json

import numpy as np
import pytest

# tf2onnx still calls NumPy by names of version 1.
pytestmark = pytest.mark.filterwarnings("ignore:.*np.object.*:FutureWarning")

EXTREMES = (0.0, 100.0, -100.0, 1e4, -1e4)


def test_every_distribution_layer_has_a_row(case_names):
    from tfpvae import layers

    public = {name: getattr(layers, name) for name in layers.__all__}
    classes = {
        name
        for name, cls in public.items()
        if issubclass(cls, layers.DistributionLayer) and cls is not layers.DistributionLayer
    }
    assert classes == case_names


def test_every_layer_loads_without_its_module_imported(case_names):
    import keras

    from tfpvae import layers
    from tfpvae._registry import registered_classes

    registered = {name for name, module in registered_classes().items() if module.startswith("tfpvae.layers.")}
    serialisable = {
        name
        for name in layers.__all__
        if (keras.saving.get_registered_name(getattr(layers, name)) or "").startswith("tfpvae>")
    }
    assert case_names <= registered
    assert registered == serialisable


@pytest.mark.parametrize("batch", [(), (2, 7)])
def test_shapes(case, batch):
    rv = case.call(case.layer(), case.inputs(*batch))
    assert rv.batch_shape.as_list() == list(batch)
    assert rv.event_shape.as_list() == list(case.row.event_shape)
    assert rv.shape.as_list() == [*batch, *case.row.event_shape]
    assert rv.dtype == "float32"
    assert rv.tensor_distribution.dtype == "float32"
    assert rv.log_prob(case.values(*batch)).shape.as_list() == list(batch)
    assert rv.sample(3).shape.as_list() == [3, *batch, *case.row.event_shape]


def test_draws_have_a_log_prob(case):
    rv = case.call(case.layer(), case.inputs(64))
    # Not finite but a number: a beta draw that rounds to 1 has an infinite density.
    assert not np.isnan(rv.log_prob(rv.sample(seed=(1, 2)))).any()


def extreme_inputs(case):
    import tensorflow as tf

    size = case.row.size
    rows = [np.full(size, value) for value in EXTREMES]
    rows += [np.resize([a, b], size) for a, b in itertools.permutations(EXTREMES, 2)]
    rows += [case.rng.choice(EXTREMES, size) for _ in range(50)]
    inputs = np.stack(rows)
    inputs[:, case.row.tame] = 0.0
    return tf.constant(inputs, tf.float32)


def test_log_prob_and_its_gradient_are_finite_at_extreme_inputs(case):
    import tensorflow as tf

    inputs = extreme_inputs(case)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        rv = case.call(case.layer(), inputs)
        log_prob = rv.log_prob(case.values(len(inputs)))
    gradient = tape.gradient(log_prob, inputs)
    assert np.isfinite(log_prob).all()
    assert np.isfinite(gradient).all()


@pytest.mark.rows(named=True)
def test_parameters_and_mean_are_finite_at_extreme_inputs(case):
    layer = case.layer()
    parameters = layer.parameters(extreme_inputs(case))
    for name, value in parameters.items():
        assert np.isfinite(value).all(), name
    assert np.isfinite(layer.mean(parameters)).all()


def test_config_survives_json(case):
    layer = case.layer(convert_to_tensor_fn="mean", name="mine")
    config = layer.get_config()
    again = type(layer).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    assert again.name == "mine"


def test_config_has_every_argument(case):
    config = case.layer().get_config()
    arguments = set(inspect.signature(type(case.layer()).__init__).parameters) - {"self", "kwargs"}
    assert arguments <= set(config)


def parameters_of(rv, x):
    if rv.named_parameters is not None:
        return rv.named_parameters
    return {"log_prob": rv.log_prob(x)}


def test_keras_file_keeps_the_parameters(case, tmp_path):
    import keras

    model = case.model(convert_to_tensor_fn="sample")
    x, y = case.rng.normal(size=(4, 5)).astype(np.float32), case.values(4)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    expected, found = parameters_of(model(x), y), parameters_of(again(x), y)
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_has_float32_parameters(case, policy):
    model = case.model(dtype=policy)
    x = case.rng.normal(size=(4, 5)).astype(np.float32)
    rv = model(x)
    log_prob = rv.log_prob(case.values(4))
    assert np.isfinite(np.asarray(log_prob, np.float32)).all()
    if case.row.named:
        assert log_prob.dtype == "float32"
        assert {value.dtype.name for value in rv.named_parameters.values()} == {"float32"}


# XLA takes half a second for each.
@pytest.mark.slow_but_for("IndependentBernoulli", "MixtureDiscretizedLogistic", "MultivariateNormalTriL")
def test_xla_compiles_the_loss_and_its_gradient(case):
    # tests/layers/test_usage.py trains with jit_compile=True.
    import tensorflow as tf

    model = case.shared_model()
    x, y = case.rng.normal(size=(8, 5)).astype(np.float32), case.values(8)
    variables = model.trainable_variables

    @tf.function(jit_compile=True, autograph=False)
    def loss_and_gradients():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model(x).log_prob(y))
        return loss, tape.gradient(loss, [variable.value for variable in variables])

    loss, gradients = loss_and_gradients()
    assert np.isfinite(loss)
    assert all(np.isfinite(gradient).all() for gradient in gradients if gradient is not None)
    assert any(np.any(gradient) for gradient in gradients if gradient is not None)


def test_convert_to_tensor_fn(case):
    shape = [7, *case.row.event_shape]
    inputs = case.inputs(7)
    assert case.call(case.layer(convert_to_tensor_fn=lambda d: d.sample(3)), inputs).shape.as_list() == [3, *shape]
    for fn in ("mean", "mode"):
        rv = case.call(case.layer(convert_to_tensor_fn=fn), inputs) if getattr(case.row, fn) else None
        if rv is None:
            with pytest.raises(NotImplementedError, match=f"{fn}.* is not implemented"):
                getattr(case.call(case.layer(), inputs).tensor_distribution, fn)()
            continue
        assert rv.shape.as_list() == shape
        np.testing.assert_array_equal(rv, getattr(rv.tensor_distribution, fn)())
        assert fn == "mode" or np.isfinite(rv.numpy()).all()


@pytest.mark.rows(named=True)
def test_mean_is_the_distributions(case):
    layer = case.layer()
    inputs = np.concatenate([case.inputs(64), case.inputs(64, scale=5.0)])
    rv = layer(inputs)
    np.testing.assert_allclose(layer.mean(rv.named_parameters), rv.tensor_distribution.mean(), rtol=2e-5, atol=2e-6)


@pytest.mark.rows(named=True)
def test_new_is_the_layer(case):
    layer, inputs, x = case.layer(), case.inputs(7), case.values(7)
    new = type(layer).new(inputs, *case.row.args(case.layers))
    expected = layer(inputs).tensor_distribution
    assert type(new) is type(expected)
    np.testing.assert_array_equal(new.log_prob(x), expected.log_prob(x))


@pytest.mark.rows(named=True)
def test_params_size_is_what_parameters_takes(case):
    import tensorflow as tf

    from tfpvae.errors import ModelError

    layer = case.layer()
    args = case.row.params_size_args or case.row.args(case.layers)
    size = type(layer).params_size(*args)
    assert type(size) is int
    assert size == case.row.size
    layer.parameters(tf.zeros([2, size]))
    with pytest.raises(ModelError, match=rf"must have its params_size.*Received: inputs of shape \(2, {size + 1}\)"):
        layer.parameters(tf.zeros([2, size + 1]))


@pytest.mark.rows(named=True)
def test_draw_has_the_distributions_moments(case):
    import tensorflow as tf

    layer = case.layer()
    if layer.num_uniforms is None:
        with pytest.raises(NotImplementedError, match="cannot be drawn from a fixed number of uniforms"):
            layer.draw({}, np.zeros((1, 1), np.float32))
        return
    n = 40_000
    inputs = case.inputs(1, scale=0.5)
    # Uniforms as tfpvae makes them: multiples of 2^-24 below one.
    uniforms = case.rng.integers(0, 2**24, (n, layer.num_uniforms)).astype(np.float32) * np.float32(2**-24)
    parameters = layer.parameters(tf.repeat(inputs, n, axis=0))
    draws = layer.draw(parameters, uniforms).numpy().astype(np.float64)
    assert draws.shape == (n, *case.row.event_shape)
    if layer.discrete:
        assert np.isfinite(layer.distribution(**parameters).log_prob(draws.astype(np.float32))).all()
    rv = layer(inputs).tensor_distribution
    samples = rv.sample(n, seed=(3, 4)).numpy()[:, 0].astype(np.float64)
    mean = rv.mean().numpy()[0]
    error = draws.std(axis=0) / np.sqrt(n)
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * error + 1e-6).all()
    # Both routes draw from one distribution: means, squares, and products of neighbours, which tell whether a mixture
    # picks one component for the event or for each value.
    for statistic in (lambda x: x, np.square, lambda x: x * np.roll(x, 1, axis=-1)):
        a, b = statistic(draws), statistic(samples)
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / n)
        assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * error + 1e-6).all()


@pytest.mark.rows(named=True)
def test_draw_is_finite_at_the_ends_of_the_uniforms(case):
    import tensorflow as tf

    layer = case.layer()
    if layer.num_uniforms is None:
        return
    inputs = extreme_inputs(case)
    parameters = layer.parameters(inputs)
    for u in (0.0, 0.5, 1.0 - 2.0**-24):
        draws = layer.draw(parameters, tf.fill([len(inputs), layer.num_uniforms], u))
        assert np.isfinite(draws).all()


def outputs_of(case, model):
    """What is exported: parameters, mean and, where there is one, a draw."""
    layer = model.layers[-1]

    def outputs(x, uniforms):
        import tensorflow as tf

        rv = model(x)
        found = {name: tf.identity(value, name=name) for name, value in rv.named_parameters.items()}
        found["mean"] = tf.identity(layer.mean(rv.named_parameters), name="mean")
        if layer.num_uniforms is not None:
            found["draw"] = layer.draw(rv.named_parameters, uniforms)
        return found

    return outputs


def export_inputs(case, model, n=5):
    uniforms = case.rng.uniform(size=(n, model.layers[-1].num_uniforms or 1)).astype(np.float32)
    return case.rng.normal(size=(n, 5)).astype(np.float32), uniforms


def export_signature(model):
    import tensorflow as tf

    size = model.layers[-1].num_uniforms or 1
    return [tf.TensorSpec([None, 5], tf.float32, name="x"), tf.TensorSpec([None, size], tf.float32, name="uniforms")]


def assert_same_outputs(found, expected, discrete):
    for name in expected:
        # A draw that is one of a set of values is the same to the last bit, or it is another value.
        atol, rtol = (0.0, 0.0) if discrete and name == "draw" else (1e-5, 1e-5)
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.slow_but_for("IndependentBernoulli", "MixtureDiscretizedLogistic", "MultivariateNormalTriL")
@pytest.mark.rows(named=True)
def test_saved_model(case, tmp_path):
    import keras
    import tensorflow as tf

    model = case.shared_model()
    outputs = outputs_of(case, model)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("outputs", outputs, input_signature=export_signature(model))
    archive.write_out(tmp_path / "1", verbose=False)
    x, uniforms = export_inputs(case, model)
    loaded = tf.saved_model.load(tmp_path / "1")
    found = loaded.outputs(x, uniforms)
    expected = outputs(x, uniforms)
    assert set(found) == set(expected)
    assert_same_outputs(found, expected, discrete=model.layers[-1].discrete)


@pytest.mark.rows(named=True)
def test_onnx(case):
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    model = case.shared_model()
    outputs, signature = outputs_of(case, model), export_signature(model)
    x, uniforms = export_inputs(case, model)
    expected = outputs(tf.constant(x), tf.constant(uniforms))
    function = tf.function(outputs, input_signature=signature, autograph=False)
    graph, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=18)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": x, "uniforms": uniforms}
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {i.name: feeds[i.name] for i in session.get_inputs()}), strict=True))
    assert set(found) == set(expected)
    assert_same_outputs(found, expected, discrete=model.layers[-1].discrete)


@pytest.mark.rows(named=True, in_tfp=True)
def test_equals_tfp_layers(case):
    import tensorflow as tf
    import tensorflow_probability as tfp

    cls = getattr(tfp.layers, case.name)
    ours = type(case.layer())
    inputs = tf.constant(np.concatenate([case.inputs(7), case.inputs(7, scale=5.0)]))
    x = case.values(14)
    expected = cls.new(inputs, *case.row.args(tfp.layers))
    found = ours.new(inputs, *case.row.args(case.layers))
    np.testing.assert_allclose(found.log_prob(x), expected.log_prob(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.mean(), expected.mean(), rtol=1e-6, atol=1e-6)
    args = case.row.params_size_args or case.row.args(case.layers)
    assert ours.params_size(*args) == cls.params_size(*args)


@pytest.mark.rows(in_tfp=True)
def test_arguments_are_those_of_tfp_layers(case):
    import tensorflow_probability as tfp

    ours, theirs = type(case.layer()), getattr(tfp.layers, case.name)
    for function in ("__init__", "new", "params_size"):
        if hasattr(theirs, function):
            a, b = (
                [(p.name, p.default) for p in inspect.signature(getattr(cls, function)).parameters.values()]
                for cls in (ours, theirs)
            )
            names = [name for name, _ in b]
            assert [(name, default) for name, default in a if name in names] == b
