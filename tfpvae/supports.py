"""What data a likelihood is over: the bounds and the grid of its values, the words for them, and examples.

Every distribution layer has a `support`. `fit`, `evaluate` and the measurements refuse data outside it, an export
compares its runtimes on examples of it, and the manifest and the model card name it. A layer of your own says its own:

```python
class IndependentAngles(tfpvae.layers.DistributionLayer):
    support = tfpvae.supports.Interval(-math.pi, math.pi, advice="Wrap the angles into [-pi, pi].")
```

A support that depends on the layer's arguments is set in `__init__`: `self.support = Categories(num_categories)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np


class Support:
    """What data a likelihood is over: abstract.

    A subclass is a frozen dataclass. It sets the bounds and the step, or it overrides `contains` and `examples`. Its
    fields are saved in the manifest, so they must be JSON. `str(support)` is the noun for its data, as in "x must be
    values in [0, 1]".
    """

    name: ClassVar[str]
    """The manifest's word for it."""

    discrete: ClassVar[bool] = False
    """Whether a likelihood over it gives probability masses, and no densities."""

    low: float | None = None
    """The lower bound; None for no bound."""

    high: float | None = None
    """The upper bound; None for no bound."""

    open: bool = False
    """Whether the bounds themselves are outside."""

    step: float | None = None
    """The distance of two neighbouring values, which are multiples of it; None where values lie anywhere."""

    tolerance: ClassVar[float] = 0.0
    """How far off the grid a value may be, in steps."""

    caution: ClassVar[str | None] = None
    """What to warn of where data is inside, but not `possible`."""

    detail: ClassVar[str] = ""
    """What to add to the bounds to describe the data."""

    filler: ClassVar[float] = 0.0
    """A number to fill an example in the documentation with."""

    def contains(self, x: Any) -> Any:
        """Which values are inside.

        Args:
            x: a floating NumPy array or a TensorFlow tensor `[..., *event_shape]`, also inside a graph. Operators
                (`x >= 0`, `x % 1 == 0`, `a & b`) serve both.

        Returns:
            Booleans in the shape of x, or one for each vector along its last axis.
        """
        inside = x == x
        if self.low is not None:
            inside = inside & (x > self.low if self.open else x >= self.low)
        if self.high is not None:
            inside = inside & (x < self.high if self.open else x <= self.high)
        if self.step is not None:
            off = (x / self.step) % 1.0
            inside = inside & ((off <= self.tolerance) | (off >= 1.0 - self.tolerance))
        return inside

    def possible(self, x: Any) -> Any:
        """Which values the likelihood can draw; `contains` may take more of them as data."""
        return self.contains(x)

    def examples(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Data `[*shape]` inside the support, for comparing two ways to compute the same figure."""
        low, high = self.low, self.high
        if low is not None and high is not None:
            x = rng.uniform(low, high, shape)
        elif low is not None:
            x = low + rng.gamma(2.0, size=shape)
        elif high is not None:
            x = high - rng.gamma(2.0, size=shape)
        else:
            x = rng.standard_normal(shape)
        if self.step is not None:
            x = np.round(x / self.step) * self.step
            x = np.where(self.contains(x), x, np.floor(x / self.step + 1.0) * self.step)
        return x

    def remedy(self, value: float, low: float, high: float) -> str:
        """What to do about data outside, in a sentence; empty where nothing is known.

        Args:
            value: the first value outside.
            low: the lowest value of the data.
            high: the highest value of the data.
        """
        del value, low, high
        return ""

    def __str__(self) -> str:
        whole = "whole numbers" if self.step == 1 else "values"
        return whole + bounds_in_words(self.low, self.high, self.open)

    def to_json(self) -> dict[str, Any]:
        """The name, the bounds, the step and the fields of the class."""
        bounds = {"low": self.low, "high": self.high, "open": self.open, "step": self.step}
        return {"name": self.name, **bounds, **self.get_config()}

    def get_config(self) -> dict[str, Any]:
        """The fields, as Keras asks for them."""
        return dataclasses.asdict(self) if dataclasses.is_dataclass(self) else {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Support:
        return cls(**config)


def bounds_in_words(low: float | None, high: float | None, open: bool = False) -> str:
    """ " in [0, 1]", " above 0" and so on; empty without bounds."""
    if low is not None and high is not None:
        return f" strictly between {low:g} and {high:g}" if open else f" in [{low:g}, {high:g}]"
    if low is not None:
        return f" above {low:g}" if open else f" of {low:g} or more"
    if high is not None:
        return f" below {high:g}" if open else f" of {high:g} or less"
    return ""


@dataclasses.dataclass(frozen=True)
class Interval(Support):
    """Values between bounds: what a layer of your own needs where none of the other supports says it.

    Args:
        low: the lower bound; None for no bound.
        high: the upper bound; None for no bound.
        open: whether the bounds themselves are outside.
        step: the distance of two neighbouring values, which are multiples of it; None where values lie anywhere.
        advice: the sentence that tells what to do about data outside.
    """

    name: ClassVar[str] = "interval"
    low: float | None = None
    high: float | None = None
    open: bool = False
    step: float | None = None
    advice: str = ""

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        return self.step is not None

    def remedy(self, value: float, low: float, high: float) -> str:
        del value, low, high
        return self.advice


@dataclasses.dataclass(frozen=True)
class Real(Support):
    """Any finite number."""

    name: ClassVar[str] = "real"

    def __str__(self) -> str:
        return "finite numbers"


@dataclasses.dataclass(frozen=True)
class Positive(Support):
    """Numbers above 0. At 0 a gamma density is zero or infinite."""

    name: ClassVar[str] = "positive"
    low = 0.0
    open = True
    filler = 0.5

    def remedy(self, value: float, low: float, high: float) -> str:
        if low < 0:
            return "Shift the data, or use a likelihood over all numbers, such as IndependentNormal."
        return "The density at zero is zero or infinite: drop zeros, or add a small number to the data."


@dataclasses.dataclass(frozen=True)
class UnitInterval(Support):
    """Numbers from 0 to 1.

    Args:
        open: whether 0 and 1 are outside, as for a beta density, which there is zero or infinite.
    """

    name: ClassVar[str] = "unit"
    low = 0.0
    high = 1.0
    filler = 0.5
    open: bool = False

    def examples(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return (rng.integers(0, 256, shape) + 0.5) / 256

    def remedy(self, value: float, low: float, high: float) -> str:
        if not self.open:
            return _to_unit_interval(low, high)
        if low >= 0 and high <= 1:
            return "The density at 0 and 1 is zero or infinite: rescale into (0, 1), such as by (x * 255 + 0.5) / 256."
        if low >= 0 and high <= 255:
            return "Rescale pixels of 0 to 255 into (0, 1) by (x + 0.5) / 256."
        return "Rescale the data into (0, 1)."


@dataclasses.dataclass(frozen=True)
class Binary(Support):
    """0 and 1. Grey values between them are taken as data too: a Bernoulli log_prob is then a cross-entropy."""

    name: ClassVar[str] = "binary"
    discrete = True
    low = 0.0
    high = 1.0
    caution = (
        "holds grey values, and the likelihood is Bernoulli: log p(x|z) is then a cross-entropy, not the likelihood of "
        "any data, and no ELBO to compare. Binarise the data (tfpvae.data.Binarize), or use another likelihood."
    )

    def possible(self, x: Any) -> Any:
        return (x == 0) | (x == 1)

    def examples(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(0, 2, shape)

    def remedy(self, value: float, low: float, high: float) -> str:
        return _to_unit_interval(low, high)


@dataclasses.dataclass(frozen=True)
class Pixels(Support):
    """8-bit pixels as floats: k/255, k from 0 to 255."""

    name: ClassVar[str] = "pixel"
    discrete = True
    low = 0.0
    high = 1.0
    step = 1 / 255
    detail = ", multiples of 1/255"
    tolerance = 1e-3

    def examples(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(0, 256, shape) / 255

    def remedy(self, value: float, low: float, high: float) -> str:
        if low >= 0 and high <= 1:
            return "Bring the images to the grid: np.round(np.float32(x) * 255) / 255."
        return _to_unit_interval(low, high)

    def __str__(self) -> str:
        return "8-bit pixels k/255 in [0, 1]"


@dataclasses.dataclass(frozen=True)
class Counts(Support):
    """0, 1, 2, ..."""

    name: ClassVar[str] = "count"
    discrete = True
    low = 0.0
    step = 1.0
    detail = ", whole"

    def examples(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.poisson(3.0, shape)

    def remedy(self, value: float, low: float, high: float) -> str:
        if low < 0:
            return "Give the counts as they were counted, not centred."
        return "Give the counts as they were counted: no means, rates or logarithms."

    def __str__(self) -> str:
        return "counts, whole numbers of 0 or more"


@dataclasses.dataclass(frozen=True)
class Categories(Support):
    """The numbers of categories: 0, 1, ..., `num_categories` - 1."""

    name: ClassVar[str] = "category"
    discrete = True
    low = 0.0
    step = 1.0
    detail = ", whole"
    num_categories: int

    @property
    def high(self) -> float:  # type: ignore[override]
        return self.num_categories - 1.0

    def examples(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(0, self.num_categories, shape)

    def remedy(self, value: float, low: float, high: float) -> str:
        if value % 1:
            return "Give the number of each value's category, not a probability or a level between two of them."
        if low == 1 and high == self.num_categories:
            return "Subtract 1: labels are counted from 0."
        return f"There are {self.num_categories} categories: change the labels, or the number of categories."

    def __str__(self) -> str:
        return f"labels from 0 to {self.num_categories - 1}"


@dataclasses.dataclass(frozen=True)
class OneHot(Support):
    """Vectors of `size` values, one of them 1 and the others 0."""

    name: ClassVar[str] = "one_hot"
    discrete = True
    low = 0.0
    high = 1.0
    step = 1.0
    detail = ", one of them 1"
    size: int

    def contains(self, x: Any) -> Any:
        """One boolean for each vector: `[..., size]` -> `[...]`."""
        # The sum is 1, that of the sizes is 1, and that of the squares: no value is negative, and none a fraction.
        ones = [[1.0]] * self.size
        inside = (x @ ones == 1.0) & (abs(x) @ ones == 1.0) & ((x * x) @ ones == 1.0)
        return inside[..., 0]

    def examples(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]

    def remedy(self, value: float, low: float, high: float) -> str:
        return f"Make one-hot rows of labels by keras.utils.to_categorical(labels, {self.size})."

    def __str__(self) -> str:
        return f"one-hot rows of {self.size} values"


def _to_unit_interval(low: float, high: float) -> str:
    if low >= 0 and high <= 255:
        return "Divide pixels of 0 to 255 by 255."
    if low >= -1 and high <= 1:
        return "Bring pixels of -1 to 1 into [0, 1] by x / 2 + 0.5."
    return "Rescale the data into [0, 1], or use a likelihood over all numbers, such as IndependentNormal."


_KINDS: Final[dict[str, type[Support]]] = {
    kind.name: kind for kind in (Real, Positive, UnitInterval, Binary, Pixels, Counts, Categories, OneHot)
}


def from_json(content: Mapping[str, Any] | str) -> Support:
    """The inverse of `Support.to_json`.

    A support whose name is not one of this module's comes back as an `Interval` with its bounds and step: its class is
    in the code of whoever wrote it.

    Args:
        content: what `to_json` gave; or the name alone, as manifests of format 1 have it. Categories are then taken to
            be two, which every likelihood of categories has.
    """
    if isinstance(content, str):
        content = {"name": content, "num_categories": 2, "size": 1, "open": content == "unit"}
    kind = _KINDS.get(content["name"], Interval)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: content[name] for name in names if name in content})


__all__ = [
    "Binary",
    "Categories",
    "Counts",
    "Interval",
    "OneHot",
    "Pixels",
    "Positive",
    "Real",
    "Support",
    "UnitInterval",
    "from_json",
]
