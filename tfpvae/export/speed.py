"""Times calls, and picks the fastest runtime for each number of rows."""

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
SECONDS = 0.05
"""Seconds of timing per runtime and number of rows."""

_FEWEST_CALLS: Final = 3
_TURN: Final = 0.01
"""Seconds of one turn."""


K = TypeVar("K", bound=Hashable)


def medians(calls: Mapping[K, Callable[[], object]], seconds: float) -> dict[K, float]:
    """The median duration of each call, in seconds.

    The calls take turns, so that other load on the machine slows all of them equally. Each turn has many calls, so that
    the threads of one runtime are idle while another is timed.

    Args:
        calls: the functions to time, by any key.
        seconds: the total time per function. Each is called at least three times.
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


def time_runs(runs: Mapping[tuple[str, str], Run], signature: str, inputs: Mapping[str, np.ndarray]) -> list[Timing]:
    """Times a signature in several runtimes for each number of rows in `ROWS`.

    Args:
        runs: the functions that run it, by runtime and precision.
        signature: its name.
        inputs: its inputs by name, with at least `max(ROWS)` rows.
    """
    timings = []
    for rows in ROWS:
        first_rows = {name: value[:rows] for name, value in inputs.items()}
        calls = {key: _call(run, signature, first_rows) for key, run in runs.items()}
        for (runtime, precision), median in medians(calls, SECONDS).items():
            timings.append(Timing(signature, rows, runtime, precision, round(median * 1e6, 1)))
    return timings


def _call(run: Run, signature: str, inputs: dict[str, np.ndarray]) -> Callable[[], object]:
    return lambda: run(signature, inputs)


def recommend(
    timings: Iterable[Timing], differences: Mapping[tuple[str, str, str], float]
) -> tuple[Recommendation, ...]:
    """The fastest runtime and precision for each signature and number of rows.

    Args:
        timings: the timings of everything that was kept.
        differences: the differences from Keras, by signature, runtime and precision.
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
