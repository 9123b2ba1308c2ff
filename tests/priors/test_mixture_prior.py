"""The learned mixture of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats


@pytest.fixture
def prior():
    """Three components over two latents, with weights as after training."""
    import keras

    from tfpvae.priors import MixturePrior

    keras.utils.set_random_seed(1)
    made = MixturePrior(2, 3)
    rng = np.random.default_rng(0)
    for weight in made.weights:
        weight.assign(weight + rng.normal(size=weight.shape))
    return made


def weights(prior):
    return special.softmax(np.float64(prior.logits))


def test_log_prob_is_scipys(prior):
    z = np.random.default_rng(1).normal(scale=2, size=(50, 2)).astype(np.float32)
    scale = np.log1p(np.exp(np.float64(prior.raw_scale))) + 1e-5
    by_component = stats.norm(np.float64(prior.loc), scale).logpdf(z[:, None]).sum(axis=-1)
    expected = special.logsumexp(by_component, b=weights(prior), axis=-1)
    np.testing.assert_allclose(prior.distribution().log_prob(z), expected, rtol=1e-5, atol=1e-5)


def test_the_density_integrates_to_one(prior):
    axis = np.linspace(-15, 15, 601, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    total = np.exp(np.float64(prior.distribution().log_prob(grid))).sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1.0, abs=1e-4)


def test_components_are_picked_by_their_weights(prior):
    n = 50_000
    u = np.random.default_rng(0).integers(0, 2**24, (n, prior.num_uniforms)).astype(np.float32) * np.float32(2**-24)
    u[:, 1:] = 0.0  # Without noise the draw is the location.
    z = prior.draw(u).numpy()
    loc = np.array(prior.loc)
    picked = np.abs(z[:, None] - loc).max(axis=-1).argmin(axis=-1)
    np.testing.assert_allclose(z, loc[picked], atol=1e-6)
    share = np.bincount(picked, minlength=3) / n
    error = np.sqrt(weights(prior) * (1 - weights(prior)) / n)
    assert (np.abs(share - weights(prior)) < 4 * error).all()


@pytest.mark.parametrize("components", [1, 2, 3, 4, 7, 500])
def test_equal_weights_are_picked_exactly(components):
    import tensorflow as tf

    from tfpvae.priors.mixture import pick_component

    # Next to every threshold k / K, and at the ends: the component of u is that of the middle of its step.
    steps = np.unique(np.concatenate([np.floor(np.arange(components) * 2**24 / components) + d for d in (-1, 0, 1)]))
    steps = steps[(steps >= 0) & (steps < 2**24)].astype(np.int64)
    u = steps.astype(np.float32) * np.float32(2**-24)
    expected = (2 * steps + 1) * components // 2**25  # Whole numbers: exact.
    np.testing.assert_array_equal(pick_component(tf.zeros(components), u), expected)


def test_extreme_weights_are_picked():
    import tensorflow as tf

    from tfpvae.priors.mixture import pick_component

    u = np.float32([0.0, 0.5, 1 - 2.0**-24])
    for k in range(3):
        logits = tf.constant(1e4 * np.eye(3)[k], tf.float32)
        np.testing.assert_array_equal(pick_component(logits, u), [k, k, k])


def test_at_first():
    from tfpvae.priors import MixturePrior

    prior = MixturePrior(4, 200, seed=3)
    np.testing.assert_array_equal(prior.logits, np.zeros(200))
    np.testing.assert_allclose(prior.scale, np.ones((200, 4)), atol=2e-5)
    assert stats.kstest(np.ravel(prior.loc), "norm").pvalue > 1e-3
    np.testing.assert_array_equal(prior.loc, MixturePrior(4, 200, seed=3).loc)
    assert (np.array(prior.loc) != np.array(MixturePrior(4, 200, seed=4).loc)).all()


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, None])
def test_wrong_sizes_are_named(wrong):
    from tfpvae.errors import ModelError
    from tfpvae.priors import MixturePrior

    with pytest.raises(ModelError, match=r"event_size must be an integer of at least 1\. Received: event_size="):
        MixturePrior(wrong, 3)
    with pytest.raises(ModelError, match=r"components must be an integer of at least 1\. Received: components="):
        MixturePrior(3, wrong)


def test_it_learns_clusters(prior):
    """Maximum likelihood on three clusters reaches the entropy of what made them."""
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(0)
    centres = np.float32([[3, 0], [-3, 1], [0, -3]])
    z = tf.constant(centres[rng.integers(0, 3, 600)] + rng.normal(scale=0.5, size=(600, 2)), tf.float32)
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(prior.trainable_weights)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(prior.distribution().log_prob(z))
        optimizer.apply(tape.gradient(loss, prior.trainable_weights), prior.trainable_weights)
        return loss

    for _ in range(200):
        loss = step()
    entropy = np.log(3) + np.log(2 * np.pi * np.e * 0.25)
    assert float(loss) == pytest.approx(entropy, abs=0.15)
