"""Keras's loop of `predict` over batches, for other outputs than a model's own `predict_step`."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import keras


class Predictor(keras.Model):
    """Predicts with another model's networks and settings, by a step of its own.

    Keras keeps the traced function of `predict` on the model: with another step on the same model, the outputs of one
    call would be those of the next, and of other threads' calls.

    Args:
        model: the other model.
        step: takes what `predict_step` takes, and returns tensors `[B, ...]`.
    """

    def __init__(self, model: keras.Model, step: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model = model
        self.step = step
        self.built = True
        self.run_eagerly = model.run_eagerly
        self.jit_compile = model.jit_compile
        self.steps_per_execution = model.steps_per_execution

    def predict_step(self, data: Any) -> Any:
        return self.step(data)


class Predictors:
    """The predictors of one model, each made when it is first asked for. Keras does not take them for its layers."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Predictor] = {}

    def get(self, key: Hashable, model: keras.Model, step: Callable[[Any], Any]) -> Predictor:
        """The predictor under this key. Of two threads that ask at once, both get the first one's."""
        if key not in self._by_key:
            with model.distribute_strategy.scope():
                self._by_key.setdefault(key, Predictor(model, step))
        return self._by_key[key]

    def clear(self) -> None:
        """Forgets them: the model's settings have changed."""
        self._by_key.clear()
