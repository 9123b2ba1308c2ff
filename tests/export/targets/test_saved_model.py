"""The SavedModel holds what its functions use beside variables."""

from __future__ import annotations

import numpy as np


def test_a_lookup_table_deep_in_a_network_is_written_and_no_weight_twice(build_vae, tmp_path):
    import keras
    import tensorflow as tf

    from tfpvae import layers
    from tfpvae.export.endpoints import endpoints
    from tfpvae.export.targets.saved_model import write_saved_model
    from tfpvae.savedmodel.session import run_v1

    class Table(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            by_sign = tf.lookup.KeyValueTensorInitializer(tf.constant([-1, 0, 1], tf.int64), [5.0, 6.0, 7.0])
            self.table = tf.lookup.StaticHashTable(by_sign, default_value=0.0)

        def call(self, z):
            return self.table.lookup(tf.cast(tf.sign(z), tf.int64))

    class Outer(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Table()

        def call(self, z):
            return self.inner(z)

    decoder = [keras.Input((4,)), Outer(), keras.layers.Dense(64), layers.IndependentBernoulli((8, 8, 1))]
    vae = build_vae(decoder=keras.Sequential(decoder))
    write_saved_model(vae, {"decode": endpoints(vae)[0]["decode"]}, tmp_path / "1")
    z = np.random.default_rng(0).standard_normal((3, 4), np.float32)
    with run_v1(tmp_path / "1") as run:
        np.testing.assert_allclose(run("decode", {"z": z})["mean"], vae.decode(z).mean(), atol=1e-6)
    names = [name for name, _ in tf.train.list_variables(str(tmp_path / "1" / "variables" / "variables"))]
    assert sum("VARIABLE_VALUE" in name for name in names) == len(vae.decoder.weights)
