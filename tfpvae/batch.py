"""What models compute on: rows of data and rows of latents, each with the condition of its row."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class Batch(NamedTuple):
    """Rows of data.

    `y` is what `fit` takes beside x: the condition of a model of p(x given y), as labels `[B]` or as a tensor
    `[B, *y_shape]`; the target of a model of p(y given x). It is None for a model of p(x).
    """

    x: Any
    """`[B, *event_shape]`."""
    y: Any = None

    @classmethod
    def of(cls, value: Any) -> Batch:
        """A batch as it is; anything else is x without y."""
        return value if isinstance(value, cls) else cls(value)

    def inputs(self) -> dict[str, Any]:
        """The batch as inputs of a signature, by name: `{"x": x}`, or `{"x": x, "y": y}`."""
        return {"x": self.x} if self.y is None else {"x": self.x, "y": self.y}

    def repeat(self, k: Any) -> Batch:
        """k copies of the rows, one after the other: `[k B, ...]`."""
        return Batch(repeat_rows(self.x, k), repeat_rows(self.y, k))

    def rows(self, rows: slice) -> Batch:
        """Some of the rows."""
        return Batch(self.x[rows], None if self.y is None else self.y[rows])


class Latents(NamedTuple):
    """Rows of latents, with the condition of each row."""

    z: Any
    """`[B, D]`."""
    y: Any = None
    """The condition, as in `Batch`; None for a model of p(x)."""

    @classmethod
    def of(cls, value: Any) -> Latents:
        """Latents as they are; anything else is z without y."""
        return value if isinstance(value, cls) else cls(value)

    def repeat(self, k: Any) -> Latents:
        """k copies of the rows, one after the other: `[k B, ...]`."""
        return Latents(repeat_rows(self.z, k), repeat_rows(self.y, k))


def repeat_rows(value: Any, k: Any) -> Any:
    """k copies of a tensor's rows, one after the other: `[B, ...]` to `[k B, ...]`; None stays None."""
    if value is None:
        return None
    value = tf.convert_to_tensor(value)
    return tf.tile(value, tf.concat([[k], tf.ones(value.shape.rank - 1, tf.int32)], axis=0))
