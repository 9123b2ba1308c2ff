"""One table of log p(x) for several models, where the values can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np

from tfpvae.errors import ModelError
from tfpvae.evaluate.log_marginal import importance_log_marginal
from tfpvae.evaluate.rates import is_probability_mass
from tfpvae.evaluate.rows import Mean, mean_of
from tfpvae.models import LatentVariableModel
from tfpvae.random.seeds import Seeds


class LogProbModel(Protocol):
    """What `compare` needs of a model."""

    name: str

    @property
    def discrete(self) -> bool:
        """Whether `log_prob` is the log of a probability mass."""

    def log_prob(self, x: Any) -> np.ndarray:
        """log p(x), `[N]`, in nats."""


class Entry(NamedTuple):
    """One row of the table."""

    name: str
    log_prob: Mean
    """The mean of log p(x), in nats per example."""
    behind: Mean
    """How far it lies below the best, with the standard error of the paired difference on the same examples."""


class Comparison(NamedTuple):
    """log p(x) of several models on the same examples, the best first."""

    entries: tuple[Entry, ...]
    discrete: bool
    """True if all models give probability masses, False if all give densities."""
    n: int
    """The number of examples."""

    @property
    def kind(self) -> str:
        """What `log_prob` is the logarithm of."""
        return "probability mass" if self.discrete else "density"

    def __str__(self) -> str:
        width = max(len(entry.name) for entry in self.entries)
        lines = [f"log p(x), a {self.kind}, of {self.n} examples, nats per example:"]
        for name, log_prob, behind in self.entries:
            line = f"  {name:<{width}}  {log_prob.value:10.2f} ± {log_prob.standard_error:.2f}"
            rest = f"   behind the best by {behind.value:.2f} ± {behind.standard_error:.2f}"
            lines.append(line if behind.value == 0 else line + rest)
        return "\n".join(lines)

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [f"| model | log p(x), a {self.kind} (nats) | behind the best |", "|---|---|---|"]
        for name, log_prob, behind in self.entries:
            rest = "" if behind.value == 0 else f"{behind.value:.2f} ± {behind.standard_error:.2f}"
            lines.append(f"| {name} | {log_prob.value:.2f} ± {log_prob.standard_error:.2f} | {rest} |")
        return "\n".join(lines)


def compare(
    models: Sequence[LatentVariableModel | LogProbModel],
    x: Any,
    samples: int = 1000,
    seed: Seeds = 0,
    *,
    y: Any = None,
) -> Comparison:
    """log p(x) of VAEs and baselines on the same test data.

    For a VAE, importance sampling estimates log p(x); the estimate is low by about half its squared standard error.
    Densities and probability masses cannot be compared, so a mixture of both is an error. For binary data, compare a
    Bernoulli VAE with `FactorizedBernoulli` and `BernoulliKernel`.

    Args:
        models: trained VAEs, fitted baselines, and any other objects with `name`, `discrete` and `log_prob`.
        x: test data `[N, *event_shape]`.
        samples: the number of importance samples per example, for VAEs.
        seed: the seed of these draws.
        y: the condition of conditional VAEs, one for each row or one for all. Their p(x given y) is compared with the
            p(x) of the other models.

    Returns:
        The table; `str` formats it for printing.

    Raises:
        DataError: a model cannot take x, such as grey values for a Bernoulli likelihood.
        ModelError: `models` is empty, or mixes densities and probability masses.
    """
    if not models:
        raise ModelError("models must hold at least one model. Received: none")
    kinds = [
        (model.name, is_probability_mass(model, x, y=_condition(model, y)) if _is_vae(model) else model.discrete)
        for model in models
    ]
    if len({discrete for _, discrete in kinds}) > 1:
        listed = ", ".join(f"{name}: {'probability mass' if discrete else 'density'}" for name, discrete in kinds)
        raise ModelError(
            "A density and a probability mass cannot stand in one table: the one has the unit of 1/x and no bound, the "
            "other is at most 1, and neither is above or below the other for being larger. For binary data use "
            f"FactorizedBernoulli and BernoulliKernel. Received: {listed}"
        )
    values = [
        importance_log_marginal(model, x, samples, seed, y=_condition(model, y)).log_marginal
        if _is_vae(model)
        else model.log_prob(x)
        for model in models
    ]
    best = max(values, key=np.mean)
    entries = [
        Entry(name, mean_of(value), mean_of(best - value)) for (name, _), value in zip(kinds, values, strict=True)
    ]
    entries.sort(key=lambda entry: -entry.log_prob.value)
    return Comparison(tuple(entries), kinds[0][1], len(values[0]))


def _is_vae(model: LatentVariableModel | LogProbModel) -> TypeGuard[LatentVariableModel]:
    return isinstance(model, LatentVariableModel)


def _condition(model: LatentVariableModel, y: Any) -> Any:
    return y if model.takes_condition else None
