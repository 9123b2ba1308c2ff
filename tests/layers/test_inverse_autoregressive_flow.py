"""The posterior that a flow makes [KSJ+16]."""

import numpy as np
import pytest

D, C = 3, 2
SIZE = 2 * D + C


@pytest.fixture
def layer():
    """Three steps, with weights as after training."""
    import keras

    from tfpvae.layers import InverseAutoregressiveFlow

    keras.utils.set_random_seed(4)
    made = InverseAutoregressiveFlow(D, C, steps=3, units=(8,))
    made.build((None, SIZE))
    rng = np.random.default_rng(0)
    for weight in made.trainable_weights:
        weight.assign(weight + rng.normal(scale=0.5, size=weight.shape))
    return made


@pytest.fixture
def inputs():
    return np.random.default_rng(1).normal(size=(5, SIZE)).astype(np.float32)


@pytest.fixture
def passes(layer, monkeypatch):
    """A list that grows by one for each pass through a network."""
    from tfpvae.layers import AutoregressiveNetwork

    counted = []
    call = AutoregressiveNetwork.call

    def counting(self, *args, **kwargs):
        counted.append(self)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(AutoregressiveNetwork, "call", counting)
    return counted


def gaussian_log_prob(u, loc, scale):
    from scipy import stats

    return stats.norm(np.float64(loc), np.float64(scale)).logpdf(np.float64(u)).sum(axis=-1)


def test_the_density_is_the_gaussians_less_the_log_determinant_of_the_jacobian(layer, inputs):
    import tensorflow as tf

    named = layer.parameters(tf.constant(inputs))
    assert list(named) == ["loc", "scale", "context"]
    u = tf.constant(np.random.default_rng(2).normal(size=(5, D)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(u)
        z = layer.flow.forward(u, named["context"])[0]
    log_det = np.linalg.slogdet(tape.batch_jacobian(z, u).numpy().astype(np.float64))[1]
    assert np.abs(log_det).min() > 0.05
    expected = gaussian_log_prob(u, named["loc"], named["scale"]) - log_det
    # A distribution that has not drawn this z: the way back, dimension after dimension.
    np.testing.assert_allclose(layer.distribution(**named).log_prob(z), expected, rtol=1e-4, atol=1e-4)


def test_one_step_is_equation_14(inputs):
    import tensorflow as tf

    from tfpvae.layers import InverseAutoregressiveFlow

    layer = InverseAutoregressiveFlow(D, C, steps=1, units=(4,))
    layer.build((None, SIZE))
    context = tf.constant(inputs[:, -C:])
    u = tf.constant(inputs[:, :D])
    raw = layer.flow.chain[0].network(u, conditional_input=context).numpy().astype(np.float64)
    gate = 1 / (1 + np.exp(-2 - 4 * np.tanh(raw[..., 1] / 4)))
    z, log_det = layer.flow.forward(u, context)
    np.testing.assert_allclose(z, gate * inputs[:, :D] + (1 - gate) * raw[..., 0], atol=1e-5)
    np.testing.assert_allclose(log_det, np.log(gate).sum(axis=-1), atol=1e-5)


@pytest.mark.parametrize("sample_shape", [(), (4,), (2, 3)])
def test_the_density_of_a_draw_is_known_with_it(layer, inputs, passes, sample_shape):
    import tensorflow as tf

    q = layer(inputs)
    z = q.sample(sample_shape, seed=(1, 2))
    assert len(passes) == 3
    log_prob = q.log_prob(z)
    assert len(passes) == 3
    other = layer(inputs).log_prob(tf.identity(z))
    assert len(passes) == 3 + 3 * (D + 1)
    assert log_prob.shape == (*sample_shape, 5)
    np.testing.assert_allclose(log_prob, other, rtol=1e-4, atol=1e-4)


def test_inside_a_function_too_and_its_gradient_is_that_of_the_way_back(layer, inputs, passes):
    import tensorflow as tf

    variables = layer.trainable_variables

    @tf.function
    def entropy(x, known):
        with tf.GradientTape() as tape:
            tape.watch(x)
            q = layer(x)
            z = q.sample(3, seed=(1, 2))
            log_prob = q.log_prob(z if known else tf.identity(z))
            loss = -tf.reduce_mean(log_prob)
        return loss, tape.gradient(loss, [x, *variables])

    loss, gradients = entropy(tf.constant(inputs), True)
    assert len(passes) == 3
    expected, wanted = entropy(tf.constant(inputs), False)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    for found, other in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(found, other, atol=2e-4)
    assert all(np.abs(g).max() > 0 for g in gradients[1:])


def test_the_density_integrates_to_one(inputs):
    import keras
    import tensorflow as tf

    from tfpvae.layers import InverseAutoregressiveFlow

    keras.utils.set_random_seed(5)
    layer = InverseAutoregressiveFlow(2, 1, steps=2, units=(8,), activation="tanh")
    q = layer(tf.constant(inputs[:1, :5]))
    axis = np.linspace(-8, 8, 201, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2)
    total = np.exp(q.log_prob(grid).numpy().astype(np.float64)).sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1.0, abs=1e-3)


def test_draws_by_uniforms_are_draws_of_the_distribution(layer, inputs):
    import tensorflow as tf

    n = 20_000
    assert layer.num_uniforms == 4
    named = layer.parameters(tf.repeat(tf.constant(inputs[:1]), n, axis=0))
    uniforms = np.random.default_rng(0).integers(0, 2**24, (n, 4)).astype(np.float32) * np.float32(2**-24)
    draws = layer.draw(named, uniforms).numpy().astype(np.float64)
    samples = layer(inputs[:1]).sample(n, seed=(3, 4)).numpy()[:, 0].astype(np.float64)
    for statistic in (lambda z: z, np.square, lambda z: z * np.roll(z, 1, axis=-1)):
        a, b = statistic(draws), statistic(samples)
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / n)
        assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 4 * error).all()
    # The dimensions depend on each other, which no diagonal Gaussian can say.
    assert np.abs(np.corrcoef(draws.T)[np.triu_indices(D, 1)]).max() > 10 / np.sqrt(n)


def test_a_draw_depends_on_its_own_row_alone(layer, inputs):
    import tensorflow as tf

    uniforms = np.random.default_rng(0).uniform(size=(5, 4)).astype(np.float32)
    together = layer.draw(layer.parameters(tf.constant(inputs)), uniforms)
    for i in range(5):
        alone = layer.draw(layer.parameters(tf.constant(inputs[i : i + 1])), uniforms[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], atol=1e-6)


def test_mean_has_no_closed_form_and_center_is_the_draw_without_noise(layer, inputs):
    import tensorflow as tf

    named = layer.parameters(tf.constant(inputs))
    with pytest.raises(NotImplementedError, match="mean"):
        layer.mean(named)
    still = {**named, "scale": 1e-6 * named["scale"]}
    draws = layer.distribution(**still).sample(seed=(1, 2))
    np.testing.assert_allclose(layer.center(named), draws, atol=1e-4)


def test_without_a_context(inputs):
    import tensorflow as tf

    from tfpvae.layers import InverseAutoregressiveFlow

    layer = InverseAutoregressiveFlow(D, 0)
    q = layer(inputs[:, : 2 * D])
    assert list(q.named_parameters) == ["loc", "scale"]
    z = q.sample(seed=(1, 2))
    expected = layer(inputs[:, : 2 * D]).log_prob(tf.identity(z))
    np.testing.assert_allclose(q.log_prob(z), expected, atol=1e-4)


def test_sizes():
    from tfpvae.layers import InverseAutoregressiveFlow

    assert InverseAutoregressiveFlow.params_size(4) == 12
    assert InverseAutoregressiveFlow.params_size(4, 0) == 8
    assert InverseAutoregressiveFlow(4).context_size == 4


# tf2onnx still calls NumPy by names of version 1.
@pytest.mark.filterwarnings("ignore:.*np.object.*:FutureWarning")
def test_onnx(layer, inputs):
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    def outputs(x, uniforms):
        named = layer.parameters(x)
        z = layer.draw(named, uniforms)
        return {
            **{name: tf.identity(value, name=name) for name, value in named.items()},
            "center": layer.center(named),
            "draw": z,
            "back": layer.flow.inverse(z, named["context"])[0],
        }

    signature = [tf.TensorSpec([None, SIZE], name="x"), tf.TensorSpec([None, 4], name="uniforms")]
    function = tf.function(outputs, input_signature=signature, autograph=False)
    graph, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=18)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    uniforms = np.random.default_rng(0).uniform(size=(5, 4)).astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"x": inputs, "uniforms": uniforms}), strict=True))
    expected = outputs(tf.constant(inputs), tf.constant(uniforms))
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5 if name != "back" else 1e-4, err_msg=name)


@pytest.mark.slow
def test_it_learns_a_dependence_that_no_diagonal_gaussian_has_without_a_warning():
    """A posterior N(0, S) with correlation 0.95: the best diagonal Gaussian's KL is -ln(1 - 0.95^2) / 2 = 1.16 nats."""
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    from tfpvae.layers import InverseAutoregressiveFlow
    from tfpvae.layers.kl import kl_divergence

    keras.utils.set_random_seed(0)
    target = tfp.distributions.MultivariateNormalTriL(scale_tril=np.float32([[1.0, 0.0], [0.95, 0.3122]]))
    layer = InverseAutoregressiveFlow(2, 0, steps=2, units=(16,))
    bias = tf.Variable(tf.zeros([1, 4]))
    layer.build((None, 4))
    variables = [bias, *layer.trainable_variables]
    optimizer = keras.optimizers.Adam(2e-2)

    @tf.function
    def step(seed):
        with tf.GradientTape() as tape:
            q = layer(bias)
            kl = tf.reduce_mean(kl_divergence(q, target, q.sample(256, seed=seed)))
        optimizer.apply(tape.gradient(kl, variables), variables)

    optimizer.build(variables)
    for i in range(150):
        step(tf.constant([7, i]))
    q = layer(bias)
    z = q.sample(4000, seed=(1, 2))
    assert float(tf.reduce_mean(q.log_prob(z) - target.log_prob(z))) < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event_size": 0}, r"event_size must be an integer of at least 1\. Received: event_size=0"),
        ({"context_size": -1}, r"context_size must be an integer of at least 0\. Received: context_size=-1"),
        ({"context_size": 1.5}, r"context_size must be an integer of at least 0\. Received: context_size=1\.5"),
        ({"steps": 0}, r"steps must be an integer of at least 1\. Received: steps=0"),
        ({"units": (0,)}, r"units must be an integer of at least 1\. Received: units=0"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    from tfpvae.errors import ModelError
    from tfpvae.layers import InverseAutoregressiveFlow

    with pytest.raises(ModelError, match=message):
        InverseAutoregressiveFlow(**{"event_size": 3, **arguments})


def test_wrong_inputs_are_named(layer):
    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=r"must have its params_size, 8, as their last axis"):
        layer(np.zeros((2, 7), np.float32))
