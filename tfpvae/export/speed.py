"""How long calls take, and which runtime is the fastest for a number of rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final, TypeVar

import numpy as np

from tfpvae.manifest import Recommendation, Timing
from tfpvae.signatures import Run

ROWS: Final = (1, 16, 256)
"""The numbers of rows that are timed."""
SECONDS: Final = 0.05
"""How long each is timed."""

_FEWEST_CALLS: Final = 3
_TURN: Final = 0.01
"""Seconds of one turn."""


K = TypeVar("K", bound=Hashable)


def medians(calls: Mapping[K, Callable[[], object]], seconds: float) -> dict[K, float]:
    """The median seconds of one call of each.

    They take turns, so that other work of the machine slows all of them equally. Each turn is many calls, so that the
    threads of one runtime have come to rest while another is timed.

    Args:
        calls: by any key.
        seconds: how long each is timed, in all; each is called three times at least.
    """
    times: dict[K, list[float]] = {key: [] for key in calls}
    for call in calls.values():
        call()
    while waiting := [key for key, taken in times.items() if len(taken) < _FEWEST_CALLS or sum(taken) < seconds]:
        for key in waiting:
            turn = 0.0
            while turn < _TURN:
                start = time.perf_counter()
                calls[key]()
                times[key].append(time.perf_counter() - start)
                turn += times[key][-1]
    return {key: statistics.median(taken) for key, taken in times.items()}


def time_runs(
    runs: Mapping[tuple[str, str], Run], signature: str, inputs: Mapping[str, np.ndarray], seconds: float = SECONDS
) -> list[Timing]:
    """How long a signature takes in several runtimes, for each of `ROWS`.

    Args:
        runs: by runtime and precision.
        signature: its name.
        inputs: by name, with as many rows as the largest of `ROWS` at least.
        seconds: how long each is timed.
    """
    timings = []
    for rows in ROWS:
        first_rows = {name: value[:rows] for name, value in inputs.items()}
        calls = {key: _call(run, signature, first_rows) for key, run in runs.items()}
        for (runtime, precision), median in medians(calls, seconds).items():
            timings.append(Timing(signature, rows, runtime, precision, round(median * 1e6, 1)))
    return timings


def _call(run: Run, signature: str, inputs: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: run(signature, inputs)


def recommend(
    timings: Iterable[Timing], differences: Mapping[tuple[str, str, str], float]
) -> tuple[Recommendation, ...]:
    """The fastest for each signature and number of rows.

    Args:
        timings: of what was kept.
        differences: from Keras, by signature, runtime and precision.
    """
    fastest: dict[tuple[str, int], Timing] = {}
    for timing in timings:
        key = timing.signature, timing.rows
        if key not in fastest or timing.microseconds < fastest[key].microseconds:
            fastest[key] = timing
    return tuple(
        Recommendation(**vars(timing), difference=differences[timing.signature, timing.runtime, timing.precision])
        for timing in fastest.values()
    )
