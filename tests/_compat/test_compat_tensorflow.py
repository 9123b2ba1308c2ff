"""Each part of TensorFlow that `tfpvae._compat.tensorflow` uses is still as it was."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpvae._compat import tensorflow as compat


def test_a_class_derived_from_tensor_like_is_a_tensor():
    class Own(compat.TensorLike):
        pass

    assert tf.is_tensor(Own())
    assert not tf.is_tensor(object())


def test_a_registered_class_is_dispatched():
    @compat.register_dispatchable_type
    class Own:
        pass

    @tf.experimental.dispatch_for_api(tf.square, {"x": Own})
    def square(x, name=None):
        return "dispatched"

    assert tf.square(Own()) == "dispatched"


def test_the_saved_model_message_reads_a_saved_model(tmp_path):
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(tmp_path), signatures={"double": module.double})
    message = compat.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    (graph,) = message.meta_graphs
    assert compat.dtype_name(graph.signature_def["double"].inputs["x"].dtype) == "DT_FLOAT"


def test_the_tensor_file_defines_tensor_proto():
    assert compat.tensor_file.message_types_by_name["TensorProto"].full_name == "tensorflow.TensorProto"


@pytest.mark.parametrize(("name", "known"), [("MatMul", True), ("VarHandleOp", True), ("NoSuchOp", False)])
def test_operators_are_known(name, known):
    assert compat.tensorflow_has_operator(name) is known


def test_a_callable_runs_part_of_a_graph_and_leaves_checks_to_the_graph():
    with tf.Graph().as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
        y = tf.identity(2 * x, name="y")
        session = tf.compat.v1.Session()
    with session:
        call = compat.make_callable(session, [x.name], [y.name])
        np.testing.assert_array_equal(call(np.ones((1, 2), np.float32))[0], [[2.0, 2.0]])
        # `Session.run` refuses this before the graph is run. TensorFlow Serving runs it.
        np.testing.assert_array_equal(call(np.ones((1, 3), np.float32))[0], [[2.0, 2.0, 2.0]])
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            session.run(y, {x: np.ones((1, 3), np.float32)})


def test_tfp_s_distributions_can_be_taken_apart():
    from tensorflow_probability import distributions as tfd

    distribution = tfd.Independent(tfd.Normal(tf.zeros(3), 1.0), 1)
    assert isinstance(distribution, compat.CompositeTensor)
    assert not isinstance([distribution], compat.CompositeTensor)
