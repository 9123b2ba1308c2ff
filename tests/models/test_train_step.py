"""What one step of training does: the networks run in training mode, and replicas together take the step of one."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

B, STEPS = 10, 3
X = np.random.default_rng(0).integers(0, 2, (B * STEPS, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 2, (B * STEPS, 2)).astype(np.float32)

MODELS = {
    # How the model is built, and what it is trained on and predicts from.
    "VAE": (lambda network: _vae(network), (X,), (X,)),
    "ConditionalVAE": (lambda network: _conditional(network), (X, Y), (X, Y)),
    "HierarchicalVAE": (lambda network: _hierarchical(network), (X,), (X,)),
    "ConditionalDensity": (lambda network: _density(network), (X, Y), (X,)),
}


def _vae(network, objective=None):
    import tfpvae
    from tfpvae import layers

    encoder = network([6], 4, layers.MultivariateNormalDiag(2))
    return tfpvae.VAE(encoder, network([2], 6, layers.IndependentBernoulli([6])), objective=objective)


def _conditional(network):
    import tfpvae
    from tfpvae import layers

    encoder = network([6, 2], 4, layers.MultivariateNormalDiag(2))
    decoder = network([2, 2], 6, layers.IndependentBernoulli([6]))
    return tfpvae.ConditionalVAE(encoder, decoder)


def _hierarchical(network):
    import keras

    import tfpvae
    from tfpvae import layers

    def named(inputs, size, last, name):
        inner = network(inputs, size, last)
        given = keras.Input((inputs[0],), name=name)
        return keras.Model(given, inner(given))

    return tfpvae.HierarchicalVAE(
        posteriors={
            "z1": named([6], 6, layers.MultivariateNormalDiag(3), "x"),
            "z2": named([3], 4, layers.MultivariateNormalDiag(2), "z1"),
        },
        conditionals={"z1": named([2], 6, layers.MultivariateNormalDiag(3), "z2")},
        decoder=named([3], 6, layers.IndependentBernoulli([6]), "z1"),
    )


def _density(network):
    import tfpvae
    from tfpvae import layers

    return tfpvae.ConditionalDensity(network([6], 4, layers.IndependentNormal([2])))


@pytest.fixture(scope="module")
def counting():
    """`counting(inputs, size, last)`: a network that counts its runs in training mode, in a weight named `runs`."""
    import keras

    class Count(keras.layers.Layer):
        def build(self, shape):
            self.runs = self.add_weight(shape=(), initializer="zeros", trainable=False, name="runs")

        def call(self, inputs, training=False):
            if training:
                self.runs.assign_add(1.0)
            return inputs

    def network(inputs, size, last):
        given = [keras.Input((n,)) for n in inputs]
        joined = keras.layers.Concatenate()(given) if len(given) > 1 else given[0]
        outputs = last(keras.layers.Dense(size)(Count()(joined)))
        return keras.Model(given if len(given) > 1 else given[0], outputs)

    return network


def runs_in_training(model) -> list[float]:
    return [float(weight.numpy()) for weight in model.weights if weight.name == "runs"]


@pytest.mark.parametrize("name", MODELS)
def test_fit_runs_every_network_in_training_mode_and_nothing_else_does(name, counting):
    build, data, inputs = MODELS[name]
    model = build(counting)
    model.compile("sgd")
    model.evaluate(*data, batch_size=B, verbose=0)
    model.predict(*inputs, batch_size=B, verbose=0)
    assert runs_in_training(model) == [0] * len(runs_in_training(model)) != []
    model.fit(*data, batch_size=B, verbose=0)
    assert runs_in_training(model) == [STEPS] * len(runs_in_training(model))
    model.fit(*data, batch_size=B, validation_data=data, verbose=0)
    assert runs_in_training(model) == [2 * STEPS] * len(runs_in_training(model))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["FreeBits", "Iwae", "DReG"])
def test_every_objective_runs_the_networks_in_training_mode(objective, counting):
    from tfpvae import objectives

    model = _vae(counting, getattr(objectives, objective)(2))
    model.compile("sgd")
    model.evaluate(X, batch_size=B, verbose=0)
    assert runs_in_training(model) == [0, 0]
    model.fit(X, batch_size=B, verbose=0)
    assert min(runs_in_training(model)) >= STEPS


REPLICAS = """
    import keras, numpy as np, tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import tfpvae
    from tfpvae import layers

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype("f"), rng.normal(size=(8, 2)).astype("f")

    def network(inputs, size, last):
        return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(size), last])

    def vae():
        # So narrow a posterior that the replicas' own draws of z make no difference.
        encoder = network(3, 2, layers.SphericalNormal(2, 1e-6))
        return tfpvae.VAE(encoder, network(2, 3, layers.SphericalNormal(3, 1.0)))

    def density():
        return tfpvae.ConditionalDensity(network(3, 2, layers.SphericalNormal(2, 1.0)))

    def step(build, data, strategy):
        keras.utils.set_random_seed(1)
        with strategy.scope():
            model = build()
            model.compile(keras.optimizers.SGD(0.5))
        before = [np.array(weight) for weight in model.trainable_variables]
        model.fit(*data, batch_size=8, shuffle=False, verbose=0)
        return [np.array(weight) - old for weight, old in zip(model.trainable_variables, before, strict=True)]

    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert two.num_replicas_in_sync == 2
    for build, data in ((vae, (x,)), (density, (x, y))):
        alone = step(build, data, tf.distribute.get_strategy())
        assert min(np.abs(change).max() for change in alone) > 1e-3, alone
        for one, both in zip(alone, step(build, data, two), strict=True):
            np.testing.assert_allclose(both, one, rtol=1e-3, atol=1e-5, err_msg=build.__name__)
"""


def test_two_replicas_together_take_the_step_of_one_device():
    """One step of SGD on the same batch, whole and in halves. A process of its own, with two logical devices."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REPLICAS)], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
