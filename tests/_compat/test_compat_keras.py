"""Each part of Keras that `tfpvae._compat.keras` uses is still as it was."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpvae._compat import keras as compat


def test_layers_within_finds_those_that_a_plain_layer_holds():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(2)

        def call(self, x):
            return self.inner(x)

    block = Block()
    model = keras.Sequential([keras.Input((3,)), block])
    assert {id(block), id(block.inner)} <= {id(layer) for layer in compat.layers_within(model)}
    assert block.inner not in model.layers


def test_a_place_leads_from_an_output_back_to_the_inputs():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    total = keras.layers.Add()([a, b])
    place = compat.Place(total)
    assert not place.is_input
    assert [tensor.name for tensor in place.input_tensors] == ["a", "b"]
    assert compat.Place(a).is_input
    assert isinstance(place.operation, keras.layers.Add)
    assert compat.has_place(total)
    assert not compat.has_place(keras.KerasTensor((None, 2)))


def test_a_model_of_a_part_leaves_the_whole_graph_as_it_is(tmp_path):
    x, z = keras.Input((2,), name="x"), keras.Input((2,), name="z")
    hidden = keras.layers.Dense(3)(x)
    whole = keras.Model([x, z], keras.layers.Concatenate()([hidden, z]))
    before = z._keras_history
    part = compat.model_of_part([hidden, z], whole.output)
    assert z._keras_history is before
    values = [tf.ones((1, 2)), tf.ones((1, 2))]
    expected = whole(values).numpy()
    np.testing.assert_array_equal(part([keras.Model(x, hidden)(values[0]), values[1]]).numpy(), expected)
    whole.save(tmp_path / "whole.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "whole.keras")(values).numpy(), expected)


def test_keras_moves_the_inputs_of_a_part():
    """The reason for `model_of_part`. Should this fail, `keras.Model` can take its place."""
    x, z = keras.Input((2,), name="x"), keras.Input((2,), name="z")
    hidden = keras.layers.Dense(3)(x)
    whole = keras.Model([x, z], keras.layers.Concatenate()([hidden, z]))
    before = z._keras_history
    keras.Model([hidden, z], whole.output)
    assert z._keras_history is not before


def test_keras_builds_symbolically_under_a_strategy(monkeypatch):
    built = []
    monkeypatch.setattr(keras.Model, "_symbolic_build", original := getattr(
        keras.Model._symbolic_build, "__wrapped__", keras.Model._symbolic_build
    ))  # fmt: skip
    compat.before_symbolic_build(lambda model, batch: built.append(model))
    assert keras.Model._symbolic_build.__wrapped__ is original
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    assert built == [model]
    wrapped = keras.Model._symbolic_build
    compat.before_symbolic_build(lambda model, batch: built.append(model))
    assert keras.Model._symbolic_build is wrapped


def test_the_moments_are_those_of_the_variable():
    first, second = keras.Variable(tf.zeros(2)), keras.Variable(tf.zeros(3))
    adam = keras.optimizers.Adam()
    adam.build([first, second])
    adam.apply([tf.zeros(2), tf.constant([1.0, 2.0, 3.0])])
    mean, mean_of_square = compat.adam_moments(adam, second)
    np.testing.assert_allclose(mean, 0.1 * np.array([1, 2, 3]), rtol=1e-6)
    np.testing.assert_allclose(mean_of_square, 0.001 * np.array([1, 4, 9]), rtol=1e-6)


def test_fit_marks_its_own_call_of_evaluate():
    calls = []

    class Watched(keras.Sequential):
        def evaluate(self, *args, **options):
            calls.append(compat.evaluates_during_fit(options))
            return super().evaluate(*args, **options)

    model = Watched([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = np.ones((4, 2)), np.ones((4, 1))
    model.fit(*data, validation_data=data, verbose=0)
    model.evaluate(*data, verbose=0)
    assert calls == [True, False]


def test_a_shared_variable_has_the_storage_of_the_variable():
    variable = tf.Variable([1.0, 2.0], name="loc")
    shared = compat.SharedVariable(variable)
    assert shared.value is variable
    shared.assign([3.0, 4.0])
    assert variable.numpy().tolist() == [3.0, 4.0]
    assert (shared.name, shared.trainable, tuple(shared.shape)) == ("loc", True, (2,))


@pytest.mark.parametrize("name", ["_flatten_layers", "_symbolic_build"])
def test_the_private_methods_are_there(name):
    assert callable(getattr(keras.Model, name))


def test_keras_learns_what_a_layer_returns_by_one_function(monkeypatch):
    from keras.src import backend

    original = getattr(backend.compute_output_spec, "__wrapped__", backend.compute_output_spec)
    monkeypatch.setattr(backend, "compute_output_spec", original)
    monkeypatch.setattr(keras.layers.Lambda, "compute_output_spec", keras.Layer.compute_output_spec)
    functions = []

    def around(compute, function, *args, **kwargs):
        functions.append(function)
        return compute(function, *args, **kwargs)

    class Twice(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    known = keras.Input((3,))
    compat.around_output_spec(around, lambda tensor: tensor is known)
    wrapped = backend.compute_output_spec
    compat.around_output_spec(around, lambda tensor: False)
    assert backend.compute_output_spec is wrapped
    twice = Twice()
    assert twice(keras.Input((3,))).shape == (None, 3)
    assert functions == [twice.call]
    lambda_layer = keras.layers.Lambda(lambda x: x[:, :1])
    assert lambda_layer(known).shape == (None, 1)
    assert functions[-1] == lambda_layer.call


def test_a_place_has_the_arguments_of_its_call():
    class Two(keras.layers.Layer):
        def call(self, x, scale=None):
            return x, x + scale

    x = keras.Input((2,))
    scale = keras.Input((2,))
    _, second = Two()(x, scale=scale)
    place = compat.Place(second)
    assert place.index == 1
    assert place.args == (x,)
    assert place.kwargs["scale"] is scale


def test_a_stateless_scope_is_known():
    assert not compat.in_stateless_scope()
    with keras.StatelessScope():
        assert compat.in_stateless_scope()
