"""Times the signatures, and writes them in float16 and int8 too where that is worth it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tfpvae.errors import ExportError
from tfpvae.export.endpoints import Endpoint, example_inputs
from tfpvae.export.parity import Example, example, first_line, gap_of
from tfpvae.export.profile import Profile
from tfpvae.export.speed import ROWS, time_runs
from tfpvae.export.targets.base import Target, Task
from tfpvae.manifest import Gap, Reduced, Timing
from tfpvae.signatures import CONDITION, Run

REDUCIBLE: Final = ("decode", "sample_mean")
"""The signatures that are timed and written in float16 and int8: means, of which a rounding is no other sample."""

WORTH: Final = 1.1
"""How many times faster than float32 a lower precision is, for some number of rows, to be kept."""


@dataclass(frozen=True)
class _Attempt:
    """A signature that a target wrote in a lower precision."""

    target: Target
    precision: str
    method: str
    run: Run


def reduce(
    task: Task,
    name: str,
    latents: Endpoint | None,
    examples: list[Example],
    runs: Mapping[str, Run],
    holders: Sequence[Target],
) -> tuple[list[Reduced], list[Timing]]:
    """Times a signature in every target, writes it in lower precision, and drops what is not worth it.

    Args:
        task: the export.
        name: the signature.
        latents: the signature that draws latents, where the model has one.
        examples: what the model itself answers, as in the parity check.
        runs: what runs the signature in float32, by its name.
        holders: the targets that hold it.

    Returns:
        Each precision that was tried, kept or dropped, and the times of all that was kept.

    Raises:
        ExportError: what the profile asks for "always" cannot be written, or is further from Keras than it allows.
    """
    endpoint, directory, profile, progress = task.endpoints[name], task.directory, task.profile, task.progress
    calibration, held_out = (_prior_inputs(endpoint, latents, first) for first in (0, max(ROWS)))
    examples = [*examples, example(endpoint, held_out)]
    attempts: list[_Attempt] = []
    reduced: list[Reduced] = []
    for target in holders:
        for precision in target.precisions:
            if getattr(profile, precision) == "never":
                continue
            written = _write(target, directory, name, precision, calibration, progress)
            if isinstance(written, Reduced):
                reduced.append(written)
            elif written is not None:
                attempts.append(written)
    timed = {(runtime, "float32"): run for runtime, run in runs.items()}
    timed |= {(each.target.runtime, each.precision): each.run for each in attempts}
    timings: list[Timing] = []
    if len(timed) > 1:
        progress(f"timing {name}")
        timings = time_runs(timed, name, held_out)
    for attempt in attempts:
        judged = _judged(attempt, examples, timings, directory, profile)
        reduced.append(judged)
        if judged.dropped:
            attempt.target.reduced_file(directory, name, attempt.precision).unlink()
            gone = (attempt.target.runtime, attempt.precision)
            timings = [timing for timing in timings if (timing.runtime, timing.precision) != gone]
    _report_dropped(reduced, holders, task)
    return reduced, timings


def _write(
    target: Target,
    directory: Path,
    name: str,
    precision: str,
    inputs: Mapping[str, np.ndarray],
    progress: Callable[[str], None],
) -> _Attempt | Reduced | None:
    """What was written, or why it could not be; None where there is nothing to reduce."""
    path = target.reduced_file(directory, name, precision)
    try:
        method = target.write_reduced(directory, name, precision, inputs)
    except Exception as error:  # noqa: BLE001  Quantisers raise errors of every class. The reason is kept.
        path.unlink(missing_ok=True)
        why = f"{target.runtime}'s tools could not write it: {first_line(error)}"
        return Reduced(name, precision, dropped=why, target=target.name)
    if method is None:
        return None
    progress(f"wrote {path.name}")
    return _Attempt(target, precision, method, target.open_reduced(directory, precision))


def _report_dropped(reduced: list[Reduced], holders: Sequence[Target], task: Task) -> None:
    by_name = {target.name: target for target in holders}
    for each in reduced:
        if each.dropped is None:
            continue
        file = by_name[each.target].reduced_file(task.directory, each.signature, each.precision).name
        if getattr(task.profile, each.precision) == "always":
            raise ExportError(f"{file} was asked for, and cannot be kept: {each.dropped}. Nothing was published.")
        task.progress(f"dropped {file}: {each.dropped}")


def _judged(
    attempt: _Attempt, examples: list[Example], timings: list[Timing], directory: Path, profile: Profile
) -> Reduced:
    name, precision, runtime = examples[0].endpoint.signature.name, attempt.precision, attempt.target.runtime
    tolerance: float = getattr(profile, f"{precision}_tolerance")
    gaps: list[Gap] = []
    for each in examples:
        (output, expected), (got,) = *each.expected.items(), attempt.run(name, each.inputs).values()
        gaps.append(gap_of(each.endpoint, runtime, output, expected, got, tolerance))
        mean = float(np.abs(expected.astype(np.float64) - got).mean())  # The last example is the prior's.
    finite = all(math.isfinite(gap.difference) for gap in gaps)
    worst = max(gaps, key=lambda gap: gap.difference / gap.allowed if math.isfinite(gap.difference) else math.inf)
    times = {(each.rows, each.precision): each.microseconds for each in timings if each.runtime == runtime}
    speeds = {rows: times[rows, "float32"] / times[rows, precision] for rows in ROWS}
    rows = max(speeds, key=lambda rows: speeds[rows])
    dropped = None
    if not worst.difference <= worst.allowed:
        dropped = (
            f"it differs from Keras by {worst.difference:.2g}, where {precision}_tolerance = {tolerance:g} allows "
            f"{worst.allowed:.2g}"
        )
    elif speeds[rows] < WORTH and getattr(profile, precision) == "if-faster":
        at_best = f"at best {speeds[rows]:.2f} times as fast as float32, with {rows} row{'s' if rows > 1 else ''}"
        dropped = f'{at_best}, where {WORTH} would be worth it; {precision} = "always" in the profile keeps it'
    return Reduced(
        name,
        precision,
        attempt.method,
        difference=max(gap.difference for gap in gaps) if finite else None,  # JSON has no other numbers.
        mean_difference=mean if finite else None,
        tolerance=tolerance,
        kilobytes=attempt.target.reduced_file(directory, name, precision).stat().st_size // 1000,
        speed=round(speeds[rows], 2),
        speed_rows=rows,
        dropped=dropped,
        target=attempt.target.name,
    )


def _prior_inputs(endpoint: Endpoint, latents: Endpoint | None, first: int) -> dict[str, np.ndarray]:
    """As many rows as are timed at most: seeds from `first` on, their latents, labels in turn."""
    rows = max(ROWS)
    inputs = example_inputs(endpoint, rows, seed=first)
    seeds = np.arange(first, first + rows)
    if CONDITION in inputs and endpoint.num_classes is not None:
        inputs[CONDITION] = seeds % endpoint.num_classes
    if "seed" in inputs:
        inputs["seed"] = seeds
    if "z" in inputs and latents is not None:
        given = {CONDITION: inputs[CONDITION]} if CONDITION in inputs else {}
        inputs["z"] = example(latents, {"seed": seeds, **given}).expected["z"]
    return inputs
