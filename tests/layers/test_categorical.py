import numpy as np
import pytest


def test_log_mean_of_the_mixture_is_tfps():
    import tensorflow as tf
    import tensorflow_probability as tfp

    from tfpvae import layers

    params = tf.random.stateless_normal([2, 5, 15], seed=(1, 2))
    found = layers.CategoricalMixtureOfOneHotCategorical.new(params, 4, 3)
    expected = tfp.layers.CategoricalMixtureOfOneHotCategorical.new(params, 4, 3)
    np.testing.assert_allclose(found.log_mean(), expected.log_mean(), rtol=1e-5)
    rv = layers.CategoricalMixtureOfOneHotCategorical(4, 3, lambda d: d.log_mean())(params)
    np.testing.assert_array_equal(rv, found.log_mean())


def test_mode_of_the_mixture_is_its_likeliest_category():
    import tensorflow as tf

    from tfpvae import layers

    params = tf.random.stateless_normal([20, 15], seed=(1, 2))
    mixture = layers.CategoricalMixtureOfOneHotCategorical.new(params, 4, 3)
    log_probs = np.stack([mixture.log_prob(row) for row in np.eye(4, dtype=np.float32)], axis=-1)
    np.testing.assert_array_equal(mixture.mode(), np.eye(4)[log_probs.argmax(axis=-1)])


def test_quantile_is_the_category_that_holds_u():
    import tensorflow as tf

    from tfpvae.layers.quantiles import categorical_quantile

    logits = tf.math.log(tf.constant([0.0, 0.25, 0.5, 0.0, 0.25, 0.0]))
    u = tf.constant([0.0, 0.2, 0.25, 0.7, 0.75, 1 - 2.0**-24])
    assert categorical_quantile(tf.tile(logits[None], [6, 1]), u).numpy().tolist() == [1, 1, 2, 2, 4, 4]


def test_categories_are_side_by_side():
    from tfpvae import layers

    logits = np.log([[0.1, 0.9], [0.8, 0.2]]).astype(np.float32)
    rv = layers.IndependentCategorical(2, [2])(logits.reshape(1, 4))
    np.testing.assert_allclose(rv.mean(), [[0.9, 0.2]], rtol=1e-6)
    assert rv.prob([[1.0, 0.0]]).numpy() == pytest.approx([0.72])


@pytest.mark.parametrize("name", ["OneHotCategorical", "CategoricalMixtureOfOneHotCategorical"])
def test_draws_have_the_dtype_that_was_asked_for(name):
    from tfpvae import layers

    args = (4,) if name == "OneHotCategorical" else (4, 3)
    params = np.zeros((2, getattr(layers, name).params_size(*args)), np.float32)
    assert getattr(layers, name)(*args)(params).sample().dtype == "float32"
    assert getattr(layers, name)(*args, sample_dtype="float64").get_config()["sample_dtype"] == "float64"
    assert getattr(layers, name).new(params, *args, dtype="int32").sample().dtype == "int32"


def test_labels_of_a_float_dtype_are_checked():
    import tensorflow as tf

    from tfpvae import layers

    rv = layers.IndependentCategorical(4, [2], validate_args=True)(tf.zeros([3, 8]))
    np.testing.assert_allclose(rv.log_prob(rv.sample()), 2 * np.log([0.25] * 3), rtol=1e-6)
    for wrong in (0.5, -1.0, 5.0):
        with pytest.raises(tf.errors.InvalidArgumentError):
            rv.log_prob(tf.fill([3, 2], wrong))
