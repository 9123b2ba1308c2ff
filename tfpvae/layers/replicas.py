"""Losses and metrics of distributions under `tf.distribute`."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfpvae._compat.keras import before_symbolic_build
from tfpvae.layers.distribution_tensor import DistributionTensor


def hand_distributions_to_losses() -> None:
    """Makes Keras build losses and metrics on the distributions that a model returns, under a distribution strategy.

    Without this, `loss=lambda y, rv: -rv.log_prob(y)` is called with a plain tensor and fails before training starts.
    A layer that is made in a strategy's scope calls this. A second call does nothing; other models are not affected.
    """
    before_symbolic_build(_build_on_distributions)


class _Step(keras.Operation):
    """The losses and metrics of a model that returns distributions, on one batch."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model

    def call(self, x: Any, y: Any, sample_weight: Any) -> tf.Tensor:
        y_pred = self.model(x, training=False)
        if any(isinstance(part, DistributionTensor) for part in keras.tree.flatten(y_pred)):
            self.model.compute_loss(x, y, y_pred, sample_weight, training=False)
            self.model.compute_metrics(x, y, y_pred, sample_weight)
        return tf.zeros([])


def _build_on_distributions(model: keras.Model, batch: Any) -> None:
    def symbolic(value: Any) -> Any:
        return None if value is None else keras.KerasTensor(value.shape, keras.backend.standardize_dtype(value.dtype))

    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(keras.tree.map_structure(symbolic, batch))
    if y is not None and getattr(model, "loss", None) is not None:
        _Step(model).compute_output_spec(x, y, sample_weight)
