"""Private parts of TensorFlow Probability.

Subclasses of `tfd.Distribution` and `tfb.Bijector` define `_log_prob`, `_sample_n`, `_forward` and so on: that is TFP's
documented way to write one, and stands where the class stands. Here is what is done to distributions of TFP's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tensorflow_probability import distributions as tfd

METHODS_BEHIND_THE_PUBLIC_ONES: Final = (
    "_batch_shape",
    "_batch_shape_tensor",
    "_covariance",
    "_default_event_space_bijector",
    "_entropy",
    "_event_shape",
    "_event_shape_tensor",
    "_log_prob",
    "_mean",
    "_mode",
    "_parameter_control_dependencies",
    "_prob",
    "_quantile",
    "_sample_n",
    "_stddev",
    "_variance",
)
"""What `tfd.Distribution.mean(d)` and the like call on `d`. A wrapper that does not pass these on works as `d.mean()`
and fails as `tfd.Distribution.mean(d)`, which is how `convert_to_tensor_fn` calls it."""


def with_sampler(distribution: tfd.Distribution, sample_n: Callable[..., Any]) -> tfd.Distribution:
    """The distribution, drawn by `sample_n(n, seed=None)`, which returns `[n, *batch_shape, *event_shape]`.

    A subclass would do the same in public, and TFP would no longer know the distribution by its class: KL divergences
    and saved configurations go by that.
    """
    distribution._sample_n = sample_n
    return distribution


def with_mode(distribution: tfd.Distribution, mode: Callable[[], Any]) -> tfd.Distribution:
    """The distribution with this mode, where TFP has none. As `with_sampler`, without a subclass."""
    distribution._mode = mode
    return distribution
