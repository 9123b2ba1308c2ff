import json

import numpy as np
import pytest


@pytest.fixture
def made():
    """`made(...)`: an `AutoregressiveNetwork`; whatever is random is drawn from the same seed."""
    import keras

    from tfpvae.layers import AutoregressiveNetwork

    def make(params=2, **kwargs):
        keras.utils.set_random_seed(3)
        return AutoregressiveNetwork(
            params, **{"hidden_units": [16, 16], "activation": "tanh", "bias_initializer": "normal", **kwargs}
        )

    return make


def jacobian(network, x, **kwargs):
    """`[D, params, D]`, absolute."""
    import tensorflow as tf

    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = network(x, **kwargs)
    return np.abs(tape.jacobian(y, x))


@pytest.mark.parametrize("hidden_units", [None, [3], [16, 16]])
@pytest.mark.parametrize("hidden_degrees", ["equal", "random"])
@pytest.mark.parametrize(
    ("input_order", "places"),
    [
        ("left-to-right", [1, 2, 3, 4]),
        ("right-to-left", [4, 3, 2, 1]),
        ([2, 4, 1, 3], [2, 4, 1, 3]),
        ("random", None),
    ],
)
def test_an_output_sees_earlier_inputs_only(made, hidden_units, hidden_degrees, input_order, places):
    network = made(3, hidden_units=hidden_units, hidden_degrees=hidden_degrees, input_order=input_order)
    seen = jacobian(network, [0.1, 0.2, -0.3, 0.4]).max(axis=1) > 0
    places = np.array(network.input_order if places is None else places)
    earlier = places[None, :] < places[:, None]
    assert sorted(places) == [1, 2, 3, 4]
    assert not (seen & ~earlier).any()
    if hidden_degrees == "equal" and hidden_units != [3]:
        np.testing.assert_array_equal(seen, earlier)


@pytest.mark.parametrize("conditional_input_layers", ["all_layers", "first_layer"])
def test_every_output_sees_the_conditional_input(made, conditional_input_layers):
    import tensorflow as tf

    network = made(
        event_shape=3,
        conditional=True,
        conditional_event_shape=[2],
        conditional_input_layers=conditional_input_layers,
    )
    assert network(tf.zeros([5, 3]), conditional_input=tf.zeros([7, 5, 2])).shape == (7, 5, 3, 2)
    assert network(tf.zeros([3]), conditional_input=tf.zeros([2])).shape == (3, 2)
    c = tf.constant([0.3, -0.2])
    with tf.GradientTape() as tape:
        tape.watch(c)
        y = network(tf.zeros([3]), conditional_input=c)
    seen = np.abs(tape.jacobian(y, c)).max(axis=(1, 2)) > 0
    # The first output has no inputs, so by way of the first layer alone nothing reaches it.
    assert seen.tolist() == [conditional_input_layers == "all_layers", True, True]
    assert len(network.weights) == (9 if conditional_input_layers == "all_layers" else 7)
    assert (jacobian(network, [0.1, 0.2, -0.3], conditional_input=c).max(axis=1) > 0).tolist() == [
        [False, False, False],
        [True, False, False],
        [True, True, False],
    ]


@pytest.mark.parametrize("hidden_units", [[], [5], [7, 6]])
@pytest.mark.parametrize("input_order", ["left-to-right", "right-to-left", [3, 1, 2]])
def test_equals_tfps_network_with_its_weights(made, hidden_units, input_order):
    import tensorflow_probability as tfp

    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    theirs = tfp.bijectors.AutoregressiveNetwork(
        2, hidden_units=hidden_units, input_order=input_order, activation="tanh", bias_initializer="normal"
    )
    expected = theirs(x)
    ours = made(hidden_units=hidden_units, input_order=input_order)
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours(x), expected, atol=1e-6)


def test_kernels_start_with_zeros_where_they_are_masked_and_differ_from_each_other(made):
    network = made(hidden_units=[16, 16, 16])
    network.build((None, 3))
    kernels = [w.numpy() for w in network.weights if "kernel" in w.name]
    for kernel, mask in zip(kernels, network._masks, strict=True):
        np.testing.assert_array_equal(kernel == 0, mask == 0)
    both = (kernels[1] != 0) & (kernels[2] != 0)
    assert (kernels[1] != kernels[2])[both].all()


def test_random_masks_survive_saving(made, tmp_path):
    import keras

    network = made(input_order="random", hidden_degrees="random")
    assert network.get_config()["input_order"] == "random"
    model = keras.Sequential([keras.Input((6,)), network])
    model.save(tmp_path / "made.keras")
    keras.utils.set_random_seed(99)
    again = keras.models.load_model(tmp_path / "made.keras")
    x = np.random.default_rng(0).normal(size=(4, 6))
    np.testing.assert_array_equal(model(x), again(x))
    config = network.get_config()
    assert sorted(config["input_order"]) == [1, 2, 3, 4, 5, 6]
    assert type(network).from_config(json.loads(json.dumps(config))).get_config() == config


def test_a_bijector_finds_the_networks_variables(made):
    import tensorflow as tf
    import tensorflow_probability as tfp

    network = made()
    flow = tfp.bijectors.MaskedAutoregressiveFlow(network)
    distribution = tfp.distributions.TransformedDistribution(
        tfp.distributions.Sample(tfp.distributions.Normal(0.0, 1.0), [3]), flow
    )
    x = distribution.sample(5, seed=(1, 2))
    shift, log_scale = tf.unstack(network(x), axis=-1)
    z = (x - shift) * tf.exp(-log_scale)
    expected = tf.reduce_sum(tfp.distributions.Normal(0.0, 1.0).log_prob(z) - log_scale, axis=-1)
    np.testing.assert_allclose(distribution.log_prob(x), expected, rtol=1e-5)
    np.testing.assert_allclose(flow.forward(z), x, atol=1e-5)
    assert {id(v) for v in distribution.trainable_variables} == {id(v.value) for v in network.trainable_variables}
    data = tf.constant(x.numpy())  # Of a draw of its own the bijector remembers the inverse, and has no gradient.
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(distribution.log_prob(data))
    assert all(g is not None for g in tape.gradient(loss, distribution.trainable_variables))


def test_a_prior_that_is_a_flow_is_trained_once(made):
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    from tfpvae import layers

    network = made()
    prior = tfp.distributions.TransformedDistribution(
        tfp.distributions.MultivariateNormalDiag(tf.zeros([3])), tfp.bijectors.MaskedAutoregressiveFlow(network)
    )
    prior.log_prob(tf.zeros([1, 3]))  # Builds the network.
    regularizer = layers.KLDivergenceRegularizer(prior, use_exact_kl=False)
    model = keras.Sequential([keras.Input((6,)), layers.MultivariateNormalDiag(3, activity_regularizer=regularizer)])
    assert [id(v) for v in model.trainable_variables] == [id(v) for v in network.trainable_variables]
    before = network.get_weights()
    model.compile(keras.optimizers.SGD(0.1), loss=lambda y, rv: 0.0 * rv.log_prob(y))
    model.fit(np.zeros((4, 6)), np.zeros((4, 3)), verbose=0)
    assert all((a != b).any() for a, b in zip(before, network.get_weights(), strict=True))


def test_computes_in_the_dtype_of_its_inputs_under_any_policy(made):
    import tensorflow as tf

    network = made(dtype="mixed_bfloat16")
    assert network(tf.zeros([2, 3])).dtype == "float32"
    assert network(tf.zeros([2, 3], tf.bfloat16)).dtype == "bfloat16"
    assert {w.dtype for w in network.weights} == {"float32"}


@pytest.mark.slow
def test_a_flow_learns_a_density_that_no_gaussian_has(made):
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    from tfpvae import layers

    rng = np.random.default_rng(0)
    x2 = 2 * rng.normal(size=1000)
    x = np.stack([rng.normal(size=1000) + x2**2 / 4, x2], axis=-1).astype(np.float32)
    network = made(hidden_units=[16], activation="relu", input_order="right-to-left", kernel_regularizer="l2")
    model = keras.Sequential(
        [
            keras.Input((0,)),
            layers.DistributionLambda(
                lambda t: tfp.distributions.MultivariateNormalDiag(tf.zeros([tf.shape(t)[0], 2]), [1.0, 1.0])
            ),
            layers.AutoregressiveTransform(network),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), loss=lambda y, rv: -rv.log_prob(y))
    model.fit(np.zeros((1000, 0)), x, batch_size=100, epochs=15, verbose=0)
    assert len(model.losses) == 2
    assert len(model.trainable_variables) == 4
    found = -np.mean(model(np.zeros((1000, 0))).log_prob(x))
    gaussian = tfp.distributions.MultivariateNormalTriL(x.mean(axis=0), np.linalg.cholesky(np.cov(x.T)).astype("f"))
    assert found < -np.mean(gaussian.log_prob(x)) - 0.2
    assert model(np.zeros((1, 0))).sample(4).shape == (4, 1, 2)


@pytest.mark.parametrize("draws", [None, 3])
def test_transform_shows_keras_the_shape_of_its_tensor(made, draws):
    import keras

    from tfpvae import layers

    fn = {} if draws is None else {"convert_to_tensor_fn": lambda d: d.sample(draws)}
    x = keras.Input((6,))
    y = layers.AutoregressiveTransform(made(), **fn)(layers.MultivariateNormalDiag(3)(x))
    assert tuple(y.shape) == ((None, 3) if draws is None else (3, None, 3))
    assert keras.Model(x, y).predict(np.zeros((2, 6)), verbose=0).shape[-2:] == (2, 3)


def test_a_density_costs_no_draw(made):
    """Keras asks the distribution before the transform for its dtype: a draw would write the generator's state."""
    import keras
    import tensorflow as tf

    from tfpvae import layers

    transform = layers.AutoregressiveTransform(made())
    model = keras.Sequential([keras.Input((6,)), layers.MultivariateNormalDiag(3), transform])
    density = tf.function(lambda x: model(x).log_prob(x[:, :3]))
    graph = density.get_concrete_function(tf.TensorSpec([None, 6])).graph
    assert not [operation.name for operation in graph.get_operations() if operation.type.startswith("Assign")]


def test_transform_takes_distributions_only(made):
    from tfpvae.errors import ModelError
    from tfpvae.layers import AutoregressiveTransform

    with pytest.raises(ModelError, match=r"made must have two parameters.*Received: params=3"):
        AutoregressiveTransform(made(3))
    with pytest.raises(ModelError, match="input of AutoregressiveTransform must be a distribution"):
        AutoregressiveTransform(made())(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"event_shape": [2, 3]}, r"event_shape must be one number"),
        ({"conditional": True, "event_shape": 3}, r"must be given where conditional=True"),
        ({"conditional_event_shape": 3}, r"must be None where conditional=False"),
        ({"conditional_input_layers": "last"}, r"one of all_layers, first_layer\. Received: .*'last'"),
        ({"hidden_degrees": "same"}, r"one of equal, random, or .*Received: hidden_degrees='same'"),
        ({"hidden_degrees": [[1, 2]]}, r"a degree for each unit of each hidden layer"),
        ({"input_order": "down"}, r"one of left-to-right, right-to-left, random, or .*Received: input_order='down'"),
    ],
)
def test_wrong_arguments_are_named(made, arguments, message):
    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=message):
        made(**arguments)


def test_wrong_inputs_are_named(made):
    import tensorflow as tf

    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=r"must be the event size, 3\. Received: shape \(2, 4\)"):
        made(event_shape=3)(tf.zeros([2, 4]))
    with pytest.raises(ModelError, match="permutation of 1 to 2"):
        made(input_order=[1, 3])(tf.zeros([2, 2]))
    with pytest.raises(ModelError, match="conditional_input must be given"):
        made(event_shape=3, conditional=True, conditional_event_shape=1)(tf.zeros([2, 3]))
