"""FusedAdam is Keras's Adam."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def problem():
    """A function of two variables' gradients by step, and the variables' starts."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in [(5, 3), (3,)]], [
        [rng.normal(size=shape).astype(np.float32) for shape in [(5, 3), (3,)]] for _ in range(20)
    ]


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.01}, {"clipnorm": 0.5}, {"epsilon": 1e-4, "beta_1": 0.8}])
def test_it_makes_the_steps_of_keras(problem, options):
    import keras
    import tensorflow as tf

    from tfpvae.training import FusedAdam

    starts, gradients = problem

    def run(kind, in_graph):
        schedule = keras.optimizers.schedules.CosineDecay(0.1, 30)
        optimizer, variables = kind(schedule, **options), [keras.Variable(start) for start in starts]
        optimizer.build(variables)
        step = tf.function(lambda *g: optimizer.apply(list(g), variables)) if in_graph else None
        for gradient in gradients:
            tensors = [tf.constant(g) for g in gradient]
            step(*tensors) if step else optimizer.apply(tensors, variables)
        return [variable.numpy() for variable in variables]

    expected = run(keras.optimizers.Adam, False)
    assert all(np.abs(value - start).max() > 0.1 for value, start in zip(expected, starts, strict=True))
    for in_graph in (False, True):
        for value, reference in zip(run(FusedAdam, in_graph), expected, strict=True):
            np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-5)


def test_its_state_is_saved_with_a_model(build_vae, digits, tmp_path):
    import keras

    from tfpvae.training import FusedAdam

    vae = build_vae(optimizer=FusedAdam(1e-3))
    vae.fit(digits.train[:64], verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert isinstance(loaded.optimizer, FusedAdam)
    for one, other in zip(vae.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    states = []
    for model in (vae, loaded):
        model.fit(digits.train[:64], verbose=0, shuffle=False)
        states.append([v.numpy() for v in model.trainable_variables])
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


def test_amsgrad_is_refused():
    from tfpvae.errors import ModelError
    from tfpvae.training import FusedAdam

    with pytest.raises(ModelError, match=r"keras\.optimizers\.Adam"):
        FusedAdam(amsgrad=True)
