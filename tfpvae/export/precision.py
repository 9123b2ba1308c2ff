"""Times signatures, and also writes them in float16 and int8 if that is worthwhile."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
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
"""Signatures to time and write in float16 and int8. They return means: rounding a draw could give another sample."""

WORTH: Final = 1.1
"""The least speed-up over float32, for some number of rows, at which a lower precision is kept."""


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
    holders: Sequence[Target],
) -> tuple[list[Reduced], list[Timing]]:
    """Times a signature in every target, writes it in lower precisions, and drops those that are not worthwhile.

    Args:
        task: the export.
        name: the signature.
        latents: the signature that draws latents; None if the model has none.
        examples: inputs with the model's own outputs, as in the parity check.
        holders: the targets that contain the signature.

    Returns:
        Every precision that was tried, kept or dropped, and the timings of those that were kept.

    Raises:
        ExportError: a precision that the profile sets to "always" cannot be written, or differs from Keras by more than
            the tolerance.
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
    timings: list[Timing] = []
    if len(holders) + len(attempts) > 1:
        progress(f"timing {name}")
        with ExitStack() as stack:
            opened = {target.runtime: stack.enter_context(target.open(directory, (name,))) for target in holders}
            timed = {(runtime, "float32"): runs[runtime] for runtime, runs in opened.items()}
            timed |= {(attempt.target.runtime, attempt.precision): attempt.run for attempt in attempts}
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
    """What was written, or why writing failed; None if there is nothing to reduce."""
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
    for result in reduced:
        if result.dropped is None:
            continue
        file = by_name[result.target].reduced_file(task.directory, result.signature, result.precision).name
        if getattr(task.profile, result.precision) == "always":
            raise ExportError(f"{file} was asked for, and cannot be kept: {result.dropped}. Nothing was published.")
        task.progress(f"dropped {file}: {result.dropped}")


def _judged(
    attempt: _Attempt, examples: list[Example], timings: list[Timing], directory: Path, profile: Profile
) -> Reduced:
    name, precision, runtime = examples[0].endpoint.signature.name, attempt.precision, attempt.target.runtime
    tolerance: float = getattr(profile, f"{precision}_tolerance")
    gaps: list[Gap] = []
    for case in examples:
        (output, expected), (got,) = *case.expected.items(), attempt.run(name, case.inputs).values()
        gaps.append(gap_of(case.endpoint, runtime, output, expected, got, tolerance))
        mean = float(np.abs(expected.astype(np.float64) - got).mean())  # The last example is of draws of the prior.
    finite = all(math.isfinite(gap.difference) for gap in gaps)
    worst = max(gaps, key=lambda gap: gap.difference / gap.allowed if math.isfinite(gap.difference) else math.inf)
    times = {(t.rows, t.precision): t.microseconds for t in timings if t.runtime == runtime}
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
        difference=max(gap.difference for gap in gaps) if finite else None,  # JSON has finite numbers only.
        mean_difference=mean if finite else None,
        tolerance=tolerance,
        kilobytes=attempt.target.reduced_file(directory, name, precision).stat().st_size // 1000,
        speed=round(speeds[rows], 2),
        speed_rows=rows,
        dropped=dropped,
        target=attempt.target.name,
    )


def _prior_inputs(endpoint: Endpoint, latents: Endpoint | None, first: int) -> dict[str, np.ndarray]:
    """Inputs with `max(ROWS)` rows: seeds from `first` on, the latents that they draw, and all labels in turn."""
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
