"""Compares the two estimates of log p(x) and explains their difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tfpvae.evaluate.log_marginal import LogMarginal, importance_log_marginal, monte_carlo_log_marginal
from tfpvae.evaluate.rows import Mean, mean_of
from tfpvae.models import LatentVariableModel
from tfpvae.random.seeds import Seeds


class EstimatorComparison(NamedTuple):
    """log p(x) by importance sampling and by naive Monte Carlo: same examples, same number of draws."""

    importance: LogMarginal
    monte_carlo: LogMarginal

    @property
    def gap(self) -> Mean:
        """Importance sampling minus naive Monte Carlo, in nats per example."""
        return mean_of(self.importance.log_marginal - self.monte_carlo.log_marginal)

    @property
    def shown_error(self) -> float:
        """The largest gap between the two means that the standard errors e explain, in nats.

        It is three standard errors of the difference plus e^2 / 2, the bias of the log of a mean.
        """
        square = self.importance.standard_error**2 + self.monte_carlo.standard_error**2
        return float(3 * np.sqrt(square.sum()) / len(square) + square.mean() / 2)

    @property
    def agree(self) -> bool:
        """Whether the standard errors explain the gap."""
        return bool(abs(self.gap.value) <= self.shown_error)

    def __str__(self) -> str:
        lines = [
            f"log p(x) by {self.importance.samples} draws for each of {len(self.importance.log_marginal)} examples:"
        ]
        for name, result in (("importance sampling", self.importance), ("naive Monte Carlo", self.monte_carlo)):
            error = np.sqrt(np.mean(result.standard_error**2))
            lines.append(
                f"  {name:<20} {result.log_marginal.mean():10.3f} nats   standard error of one example {error:6.3f}   "
                f"effective draws {np.median(result.effective_samples):8.1f}"
            )
        return "\n".join([*lines, self.words])

    @property
    def words(self) -> str:
        """The conclusion in words."""
        share = np.median(self.monte_carlo.effective_samples)
        if self.agree:
            return (
                f"They agree within their errors ({self.gap.value:.2f} nats apart): draws of the prior still find the "
                f"posterior, {share:.0f} of {self.monte_carlo.samples} as it were."
            )
        return (
            f"Naive Monte Carlo is {self.gap.value:.3g} nats too low, and its standard error does not show it. Nearly "
            "all of p(x) comes from where the posterior lies, which a draw of the prior hits with a chance of about "
            f"exp(-KL): of its {self.monte_carlo.samples} draws only {share:.1f} count. Importance sampling draws "
            "where the posterior is."
        )


def compare_estimators(
    vae: LatentVariableModel,
    x: Any,
    samples: int = 1000,
    seed: Seeds = 0,
    *,
    y: Any = None,
    progress: Callable[[int], None] = lambda done: None,
) -> EstimatorComparison:
    """Compares `importance_log_marginal` with `monte_carlo_log_marginal`, which fails with many latents.

    Args:
        vae: the model.
        x: `[N, *event_shape]`.
        samples: the number of draws per row, for each estimate.
        seed: row i uses `seed + i`, or `seed[i]`.
        y: the condition of a conditional model, one for each row or one for all.
        progress: called with the number of rows done after each batch; it counts to N twice, once per estimate.

    Returns:
        Both estimates; `str` gives a small table and the conclusion.

    Raises:
        DataError: the model cannot take x.
        ModelError: the posterior or the prior cannot be drawn by seed.
    """
    return EstimatorComparison(
        importance=importance_log_marginal(vae, x, samples, seed, y=y, progress=progress),
        monte_carlo=monte_carlo_log_marginal(vae, x, samples, seed, y=y, progress=progress),
    )
