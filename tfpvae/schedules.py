"""Schedules of the weight of the KL divergence."""

from __future__ import annotations

from typing import Any

import keras

from tfpvae._registry import register
from tfpvae.checks import number, positive_integer


@register
class KLWarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """The weight of the KL, raised in a straight line from `start` to `end` over the first `steps` batches.

    Early on the KL is cheaper to lower than the likelihood is to raise, and latents collapse onto the prior that would
    have been of use later; the warm-up lets them settle first [BVV+16, SRM+16].

    One of Keras's schedules, as are `keras.optimizers.schedules.CosineDecay` and the like: a function of the step, with
    no state of its own. Whoever owns it counts the steps.

    Args:
        steps: the number of training batches until `end` is reached.
        start: the weight at step 0.
        end: the weight from step `steps` on.

    Raises:
        ModelError: `steps` is not an integer of at least 1, or a weight is not a number of at least 0.
    """

    def __init__(self, steps: int, start: float = 0.0, end: float = 1.0) -> None:
        super().__init__()
        self.steps = positive_integer("steps", steps)
        self.start = number("start", start, least=0)
        self.end = number("end", end, least=0)

    def __call__(self, step: Any) -> Any:
        """The weight at a step: float32 `[]`."""
        done = keras.ops.minimum(keras.ops.cast(step, "float32") / self.steps, 1.0)
        return self.start + (self.end - self.start) * done

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "start": self.start, "end": self.end}
