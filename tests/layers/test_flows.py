"""Flows: both directions, their log-determinants, and what they are at first."""

import json

import numpy as np
import pytest

# Name -> how it is made of tfpvae's layers.
FLOWS = {
    "RealNVP": lambda L: L.RealNVP(5, (8,), activation="tanh"),
    "RealNVP, linear": lambda L: L.RealNVP(2, ()),
    "MaskedAutoregressive": lambda L: L.MaskedAutoregressive(3, (8, 8), activation="tanh"),
    "MaskedAutoregressive, one step": lambda L: L.MaskedAutoregressive(1, [6]),
}


@pytest.fixture
def make():
    """`make(name, size)`: a flow of vectors of this size, as it is after training or, with `new=True`, before."""
    import keras

    from tfpvae import layers

    def build(name, size=3, new=False):
        keras.utils.set_random_seed(2)
        flow = FLOWS[name](layers)
        flow.build((None, size))
        rng = np.random.default_rng(0)
        for weight in [] if new else flow.weights:
            weight.assign(weight + rng.normal(scale=0.7, size=weight.shape))
        return flow

    return build


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_log_determinant_is_that_of_the_jacobian(name, direction, make):
    import tensorflow as tf

    flow = make(name, 4)
    x = tf.constant(np.random.default_rng(1).normal(size=(5, 4)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, log_det = getattr(flow, direction)(x)
    jacobian = tape.batch_jacobian(y, x).numpy().astype(np.float64)
    sign = {"forward": 1, "inverse": -1}[direction]
    assert np.abs(log_det).max() > 0.05
    np.testing.assert_allclose(sign * log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("batch", [(), (7,), (2, 3)])
def test_the_directions_undo_each_other(name, batch, make):
    flow = make(name)
    u = np.random.default_rng(3).normal(size=(*batch, 3)).astype(np.float32)
    z, log_det = flow.forward(u)
    again, back = flow.inverse(z)
    assert z.shape == (*batch, 3)
    assert log_det.shape == back.shape == batch
    assert np.abs(z - u).max() > 0.1
    np.testing.assert_allclose(again, u, atol=2e-4)
    np.testing.assert_allclose(back, log_det, atol=2e-4)


@pytest.mark.parametrize("name", FLOWS)
def test_at_first_it_is_the_identity_and_every_weight_can_move(name, make):
    import keras
    import tensorflow as tf

    flow = make(name, new=True)
    x = tf.constant(np.random.default_rng(1).normal(loc=1.0, size=(16, 3)), tf.float32)
    for direction in (flow.forward, flow.inverse):
        y, log_det = direction(x)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(log_det, np.zeros(16))
    before = flow.get_weights()
    optimizer = keras.optimizers.Adam(1e-2)
    for _ in range(2):
        with tf.GradientTape() as tape:
            u, log_det = flow.inverse(x)
            loss = tf.reduce_mean(0.5 * tf.reduce_sum(u**2, axis=-1) + log_det)
        optimizer.apply(tape.gradient(loss, flow.trainable_variables), flow.trainable_variables)
    assert all((a != b).any() for a, b in zip(before, flow.get_weights(), strict=True))


@pytest.mark.parametrize("name", FLOWS)
def test_it_is_finite_however_large_its_weights_and_inputs(name, make):
    import tensorflow as tf

    flow = make(name)
    for weight in flow.weights:
        weight.assign(100.0 * weight)
    x = tf.constant([[1e3, -1e3, 1e3], [0.0, 0.0, 0.0], [-1.0, 1e4, 0.0]])
    for direction in (flow.forward, flow.inverse):
        y, log_det = direction(x)
        assert np.isfinite(y).all()
        assert np.isfinite(log_det).all()


def test_every_dimension_moves(make):
    for size in (2, 3, 8):
        flow = make("RealNVP", size)
        x = np.random.default_rng(1).normal(size=(4, size)).astype(np.float32)
        assert (np.abs(flow.forward(x)[0] - x) > 1e-4).any(axis=0).all()


@pytest.mark.parametrize("name", FLOWS)
def test_config_survives_json_and_weights_are_saved(name, make, tmp_path):
    import keras

    flow = make(name)
    model = keras.Sequential([keras.Input((3,)), flow])
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(x), flow.forward(x)[0])
    model.save(tmp_path / "flow.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "flow.keras")(x), model(x))
    config = json.loads(json.dumps(flow.get_config()))
    assert type(flow).from_config(config).get_config() == flow.get_config()


def test_half_precision_does_not_reach_a_flow(make):
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        flows = [make(name) for name in FLOWS]
    finally:
        keras.config.set_dtype_policy("float32")
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    for flow, name in zip(flows, FLOWS, strict=True):
        np.testing.assert_array_equal(flow.forward(x)[0], make(name).forward(x)[0])


def test_a_bijector_is_equal_to_itself_alone(make):
    flow = make("RealNVP")
    a, b = flow.bijector(), flow.bijector()
    assert [a] == [a]
    assert a != b
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    z = a.forward(x)
    before = b.inverse(z)
    for weight in flow.weights:
        weight.assign(weight + 0.1)
    # What another bijector remembers of this z would be what the weights were.
    assert np.abs(flow.bijector().inverse(z) - before).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, r"steps must be an integer of at least 1\. Received: steps=0"),
        ({"steps": 1.5}, r"steps must be an integer of at least 1\. Received: steps=1\.5"),
        ({"units": 64}, r"units must be the number of units of each hidden layer\. Received: units=64"),
        ({"units": (64, 0)}, r"units must be an integer of at least 1\. Received: units=0"),
    ],
)
@pytest.mark.parametrize("name", ["RealNVP", "MaskedAutoregressive"])
def test_wrong_arguments_are_named(name, arguments, message):
    from tfpvae import layers
    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=message):
        getattr(layers, name)(**arguments)


def test_a_coupling_needs_two_parts_and_two_steps(make):
    from tfpvae import layers
    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=r"2 dimensions or more.*Use MaskedAutoregressive\. Received: event_size=1"):
        make("RealNVP", 1)
    with pytest.raises(ModelError, match=r"steps must be 2 or more, or some dimensions never move\. Received: steps=1"):
        layers.RealNVP(1)
    assert make("MaskedAutoregressive", 1).forward(np.float32([[0.3]]))[0].shape == (1, 1)
