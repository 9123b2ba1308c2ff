import numpy as np
import pytest


def components(x):
    """Four inputs a component: a Gaussian of two dimensions."""
    import tensorflow as tf
    import tensorflow_probability as tfp

    return tfp.distributions.MultivariateNormalDiag(x[..., :2], tf.nn.softplus(x[..., 2:]))


@pytest.fixture
def inputs():
    return np.random.default_rng(0).normal(size=(5, 15)).astype(np.float32)


def test_a_function_can_make_the_components(inputs):
    from tfpvae import layers

    layer = layers.MixtureSameFamily(3, components)
    rv, expected = layer(inputs), layers.MixtureNormal(3, [2])(inputs)
    x = np.zeros((5, 2), np.float32)
    np.testing.assert_allclose(rv.log_prob(x), expected.log_prob(x), rtol=1e-6)
    assert rv.named_parameters is None
    assert layer.num_uniforms is None
    new = layers.MixtureSameFamily.new(inputs, 3, components)
    np.testing.assert_array_equal(new.log_prob(x), rv.log_prob(x))


def test_a_mixture_of_registered_components_is_saved(inputs, tmp_path):
    import keras

    from tfpvae import layers

    keras.saving.register_keras_serializable("tests", "mixture_components")(components)
    model = keras.Sequential([keras.Input((15,)), layers.MixtureSameFamily(3, components)])
    model.save(tmp_path / "mixture.keras")
    again = keras.models.load_model(tmp_path / "mixture.keras")
    x = np.zeros((5, 2), np.float32)
    np.testing.assert_array_equal(again(inputs).log_prob(x), model(inputs).log_prob(x))


def test_components_may_be_a_model_with_weights_of_its_own(inputs):
    import keras

    from tfpvae import layers

    component = keras.Sequential([keras.layers.Dense(4), layers.IndependentNormal([2])])
    model = keras.Sequential([keras.Input((15,)), layers.MixtureSameFamily(3, component)])
    assert len(model.trainable_variables) == 2
    model.compile("sgd", loss=lambda y, rv: -rv.log_prob(y))
    before = component.get_weights()[0]
    model.train_on_batch(inputs, np.zeros((5, 2)))
    assert (component.get_weights()[0] != before).any()


def test_mixtures_nest_without_losing_a_name():
    from tfpvae import layers

    layer = layers.MixtureSameFamily(2, layers.MixtureNormal(3, [2]))
    size = layers.MixtureSameFamily.params_size(2, layers.MixtureNormal.params_size(3, [2]))
    rv = layer(np.random.default_rng(0).normal(size=(5, size)).astype(np.float32))
    assert {name: tuple(value.shape) for name, value in rv.named_parameters.items()} == {
        "mixture_logits": (5, 2),
        "component_mixture_logits": (5, 2, 3),
        "component_component_loc": (5, 2, 3, 2),
        "component_component_scale": (5, 2, 3, 2),
    }
    assert rv.sample(7).shape == (7, 5, 2)
    assert layer.num_uniforms == 1 + 1 + 2


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_draws_have_the_mixtures_moments(batch):
    from tfpvae import layers

    rng = np.random.default_rng(0)
    mixture = layers.MixtureNormal.new(rng.normal(size=(*batch, 15)).astype(np.float32), 3, [2])
    n = 40_000
    draws = mixture.sample(n, seed=(1, 2)).numpy().astype(np.float64)
    assert draws.shape == (n, *batch, 2)
    error = draws.std(axis=0) / np.sqrt(n)
    assert (np.abs(draws.mean(axis=0) - mixture.mean()) < 5 * error).all()
    squares = (draws - draws.mean(axis=0)) ** 2
    assert (np.abs(squares.mean(axis=0) - mixture.variance()) < 5 * squares.std(axis=0) / np.sqrt(n)).all()


def test_draws_make_no_tensor_of_the_size_of_all_components():
    import tensorflow as tf

    from tfpvae import layers

    n, K, D = 1000, 50, 10

    @tf.function
    def draw(params):
        return layers.mixture.mixture_distribution(
            params["logits"],
            lambda loc: layers.mixture.tfd.MultivariateNormalDiag(loc, tf.ones_like(loc)),
            {"loc": params["loc"]},
        ).sample(n)

    graph = draw.get_concrete_function({"logits": tf.zeros([1, K]), "loc": tf.zeros([1, K, D])}).graph
    sizes = [t.shape.num_elements() for op in graph.get_operations() for t in op.outputs if t.shape.is_fully_defined()]
    assert max(sizes) < n * K * D / 10


def test_a_mixture_is_discrete_where_its_components_are():
    from tfpvae import layers

    assert layers.MixtureSameFamily(2, layers.IndependentBernoulli([2])).discrete
    assert not layers.MixtureNormal(2, [2]).discrete
    assert not layers.MixtureSameFamily(2, components).discrete


def test_wrong_arguments_are_named():
    from tfpvae import layers
    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=r"num_components must be an integer of at least 1\. Received: .*=0"):
        layers.MixtureNormal(0)
    with pytest.raises(ModelError, match="component_layer must be a distribution layer or a function"):
        layers.MixtureSameFamily(2, 3)
    with pytest.raises(ModelError, match="must have no activity_regularizer"):
        layers.MixtureSameFamily(2, layers.IndependentNormal(2, activity_regularizer=lambda d: 0.0))
    with pytest.raises(ModelError, match=r"Received: inputs of shape \(2, 7\) for num_components=3"):
        layers.MixtureSameFamily(3, components)(np.zeros((2, 7), np.float32))
    with pytest.raises(ModelError, match=r"component_layer must return a tfd\.Distribution"):
        layers.MixtureSameFamily(3, lambda x: x)(np.zeros((2, 15), np.float32))
