"""Keras's loop of `predict` for other outputs than those of a model's own `predict_step`, and what else is kept."""

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
        with model.distribute_strategy.scope():
            super().__init__()
        self.model = model
        self.step = step
        self.built = True
        self.run_eagerly = model.run_eagerly
        self.jit_compile = model.jit_compile
        self.steps_per_execution = model.steps_per_execution

    def predict_step(self, data: Any) -> Any:
        return self.step(data)


class Kept:
    """What was made of a model, mostly traced functions, kept for the next call. Keras does not take it for layers.

    TensorFlow never gives back all of a traced function's memory: made anew in each call, they add up.
    """

    def __init__(self) -> None:
        self._by_name: dict[Hashable, tuple[Hashable, Any]] = {}

    def get(self, name: Hashable, made_for: Hashable, make: Callable[[], Any]) -> Any:
        """The thing of that name. It is made where there is none, or one that was made for something else.

        Of two threads that ask for the first at once, both get the same.
        """
        made = self._by_name.get(name)
        if made is None:
            made = self._by_name.setdefault(name, (made_for, make()))
        if made[0] != made_for:
            made = self._by_name[name] = (made_for, make())
        return made[1]

    def names(self) -> list[Hashable]:
        """The names of what is kept."""
        return list(self._by_name)

    def clear(self) -> None:
        """Forgets all: the model's settings have changed."""
        self._by_name.clear()
