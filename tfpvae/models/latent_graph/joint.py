"""The joint distribution of several latents, as a distribution over one vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfpvae.batch import repeat_rows
from tfpvae.models.latent_graph.parts import Conditional, Part, Values

Factor: TypeAlias = tfd.Distribution | Callable[[Values], tfd.Distribution]
"""A part's distribution, batch `[B]` or `[]`, or a function from the earlier parts' rows to it, batch `[R]`."""


class Ancestral(tfd.Distribution):
    """The joint distribution p(a) p(b given a) p(c given a, b) ... of parts, over the vector z of all parts.

    `log_prob` of the same tensor that `sample` returned reuses the distributions of that draw, so no network runs
    twice. To differentiate with respect to such a z alone, pass `tf.identity(z)`.

    The true mean has no closed form. `mean` returns the mean of each part at the means of the parts before it.

    Args:
        parts: in their order within z.
        factors: the factors by part name. Each part comes after the parts that it depends on.
        batch: a tensor `[B, ...]` that gives the batch size; None means a batch shape of `[]`.
        data: further tensors `[B, ...]` by name that factors take.
        reparameterized: whether all factors are reparameterised.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        factors: Mapping[str, Factor],
        batch: tf.Tensor | None = None,
        data: Mapping[str, tf.Tensor] | None = None,
        reparameterized: bool = True,
    ) -> None:
        self._parts = tuple(parts)
        self._factors = dict(factors)
        self._batch = batch
        self._data = dict(data or {})
        self._drawn: tuple[tf.Tensor, list[tuple[tfd.Distribution, tf.Tensor]]] | None = None
        first = next(factor for factor in self._factors.values() if isinstance(factor, tfd.Distribution))
        super().__init__(
            dtype=first.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED if reparameterized else tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={},
            name="Ancestral",
        )

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([]) if self._batch is None else self._batch.shape[:1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32) if self._batch is None else tf.shape(self._batch)[:1]

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([sum(part.size for part in self._parts)])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self._event_shape().as_list(), tf.int32)

    def sample(self, sample_shape: Any = (), seed: Any = None, name: str = "sample", **kwargs: Any) -> tf.Tensor:
        """As `tfd.Distribution.sample`."""
        z = super().sample(sample_shape, seed=seed, name=name, **kwargs)
        assert self._drawn is not None
        self._drawn = (z, self._drawn[1])
        return z

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        seeds = iter(tf.unstack(tfp.random.split_seed(seed, n=len(self._factors))))

        def draw(name: str, distribution: tfd.Distribution, is_root: bool) -> tf.Tensor:
            del name
            return distribution.sample(n, seed=next(seeds)) if is_root else distribution.sample(seed=next(seeds))

        leading = tf.concat([[n], self.batch_shape_tensor()], axis=0)
        z, walked = self._walk(leading, draw)
        self._drawn = (z, walked)
        return z

    def _mean(self) -> tf.Tensor:
        return self._walk(self.batch_shape_tensor(), lambda name, distribution, is_root: distribution.mean())[0]

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        if self._drawn is not None and value is self._drawn[0]:
            leading, walked = tf.shape(value)[:-1], self._drawn[1]
        else:
            if self._batch is not None:
                # Broadcasts with operations that can be exported.
                value += tf.zeros(tf.concat([tf.shape(self._batch)[:1], [1]], axis=0), value.dtype)
            leading = tf.shape(value)[:-1]
            sizes = [part.size for part in self._parts]
            flat = dict(zip((part.name for part in self._parts), tf.split(value, sizes, axis=-1), strict=True))

            def look_up(name: str, distribution: tfd.Distribution, is_root: bool) -> tf.Tensor:
                shape = leading if is_root else [-1]
                return tf.reshape(flat[name], tf.concat([shape, distribution.event_shape], axis=0))

            _, walked = self._walk(leading, look_up)
        # Log probs of roots are [*leading], the others [R]: the same number of values in the same order.
        return tf.add_n([tf.reshape(distribution.log_prob(value), leading) for distribution, value in walked])

    def _walk(
        self, leading: tf.Tensor, value_of: Callable[[str, tfd.Distribution, bool], tf.Tensor]
    ) -> tuple[tf.Tensor, list[tuple[tfd.Distribution, tf.Tensor]]]:
        """Computes the value of each part in order.

        Args:
            leading: the shape of z without its last axis.
            value_of: a function from a part's name, its distribution, and whether the part is a root (depends on no
                other part) to its value. The value is `[*leading, *event_shape]` for a root, else
                `[R, *event_shape]`, where R is the product of `leading`.

        Returns:
            z `[*leading, D]`, and the distribution and value of each part.
        """
        rows = {name: _repeated(value, tf.reduce_prod(leading)) for name, value in self._data.items()}
        walked = []
        shapes = {part.name: part.event_shape for part in self._parts}
        for name, factor in self._factors.items():
            is_root = isinstance(factor, tfd.Distribution)
            distribution = factor if is_root else factor(rows)
            value = value_of(name, distribution, is_root)
            walked.append((distribution, value))
            rows[name] = tf.reshape(value, [-1, *shapes[name]])
        flat = [tf.reshape(rows[part.name], tf.concat([leading, [part.size]], axis=0)) for part in self._parts]
        return tf.concat(flat, axis=-1), walked


def factor(conditional: Conditional, training: bool = False) -> Callable[[Values], tfd.Distribution]:
    """A conditional as a factor of `Ancestral`."""
    return lambda values: conditional(values, training).tensor_distribution


def _repeated(value: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Repeats the whole batch: `[B, ...]` to `[rows, ...]`."""
    return repeat_rows(value, rows // tf.shape(value)[0])
