"""Writes a report on a trained model to a directory: figures, findings in words, and pictures."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tfpvae._directories import REPORT, check_free_for_report
from tfpvae.batch import Batch
from tfpvae.errors import ModelError, RunError
from tfpvae.evaluate import pictures
from tfpvae.evaluate.diagnosis import Diagnosis, Level, diagnose
from tfpvae.evaluate.measurements import Measurements, measure
from tfpvae.evaluate.rows import BATCH_SIZE, Mean, checked
from tfpvae.files import local_path
from tfpvae.images import save_png
from tfpvae.models import LatentVariableModel


class Report(NamedTuple):
    """The report of a model, as written to a directory."""

    path: Path
    """The directory with `report.md` and the pictures."""
    measurements: Measurements
    diagnosis: Diagnosis


def report(
    vae: LatentVariableModel,
    x: Any,
    directory: str | Path,
    *,
    y: Any = None,
    x_train: Any = None,
    y_train: Any = None,
    history: dict[str, list[float]] | None = None,
    labels: Any = None,
    samples: int = 0,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    title: str = "Report",
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Report:
    """Measures a model on test data and writes figures and pictures to a directory: all of them or none.

    Args:
        vae: the model.
        x: test data `[N, *event_shape]`.
        directory: the output directory. It must be new or empty, or with `overwrite` hold a report.
        y: the condition of a conditional model, one for each example or one for all.
        x_train: training data, to see whether the model overfits.
        y_train: the condition of the training data.
        history: the `history` that `fit` returns, for the course of training.
        labels: the labels of the test data, `[N]`, which colour the map of latents.
        samples: the number of draws per example to estimate log p(x); 0 skips it.
        seed: the seed of the first example, and of the first sample drawn.
        batch_size: the number of examples per batch.
        title: the title of the report.
        overwrite: whether to replace an existing report.
        progress: called with the current step, in words.

    Returns:
        The directory, the measurements and the diagnosis.

    Raises:
        DataError: the model cannot take the data.
        ModelError: the encoder's layer cannot be drawn by seed.
        RunError: the directory is not free or cannot be written.
    """
    directory = local_path(directory, RunError)
    check_free_for_report(directory, overwrite)
    data = checked(vae, x, y)
    measured = measure(
        vae,
        data,
        x_train,
        y_train=y_train,
        samples=samples,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    diagnosis = diagnose(measured)
    progress("pictures")
    drawn = _draw(vae, data, measured, history, labels, seed)
    progress("writing")
    text = _markdown(title, measured, diagnosis, drawn)
    unfinished = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    try:
        unfinished.mkdir(parents=True)
        for name, (_, picture) in drawn.items():
            save_png(picture, unfinished / name)
        (unfinished / REPORT).write_text(text, encoding="utf-8")
        _publish(unfinished, directory)
    except OSError as error:
        raise RunError(f"The report {directory} cannot be written: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Report(directory, measured, diagnosis)


def _publish(unfinished: Path, directory: Path) -> None:
    """Renames the finished report into place. An old report is moved aside first, then removed."""
    if not directory.is_dir():
        os.rename(unfinished, directory)
        return
    old = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    os.rename(directory, old)
    try:
        os.rename(unfinished, directory)
    except OSError:
        os.rename(old, directory)
        raise
    shutil.rmtree(old, ignore_errors=True)


_Pictures = dict[str, tuple[str, Image.Image]]
"""The caption and picture for each file name."""


def _draw(
    vae: LatentVariableModel,
    data: Batch,
    measured: Measurements,
    history: dict[str, list[float]] | None,
    labels: Any,
    seed: int,
) -> _Pictures:
    """Draws all pictures that are defined for this model."""
    x, y = data
    twelve, one = data.rows(slice(12)), data.rows(slice(1)).y
    of_samples = None if y is None else np.asarray(y)[np.arange(64) % len(x)]
    image, plane = pictures.is_image(vae.event_shape), vae.event_shape == (2,)
    kl, units = measured.kl_per_latent, measured.active_units
    wanted: dict[str, tuple[str, Callable[[], Image.Image] | None]] = {
        "reconstructions.png": (
            "Test examples and their reconstructions, E[x given z] at the posterior's mean",
            (lambda: pictures.reconstructions(vae, twelve.x, y=twelve.y))
            if image
            else (lambda: pictures.curves(vae, x, y=y)),
        ),
        "samples.png": (
            "E[x given z] for z from the prior",
            (lambda: pictures.samples(vae, 64, seed, y=of_samples)) if image else None,
        ),
        "points.png": (
            "Data, reconstructions and samples",
            (lambda: pictures.points(vae, x, seed, y=y)) if plane else None,
        ),
        "traversals.png": (
            "What each latent does",
            (lambda: pictures.latent_traversals(vae, x, y=y)) if image else None,
        ),
        "latent_map.png": (
            "Where the test examples lie in the space of z",
            (lambda: pictures.latent_map(vae, x, labels, y=y)) if vae.latent_size > 1 else None,
        ),
        "latent_grid.png": (
            "What lies where in the space of z",
            (lambda: pictures.latent_grid(vae, y=one)) if image and vae.latent_size == 2 else None,
        ),
        "interpolations.png": (
            "Between test images",
            (lambda: pictures.interpolations(vae, twelve.x, y=twelve.y)) if image and len(x) > 1 else None,
        ),
        "kl_per_unit.png": (
            "What each latent carries",
            None if kl is None else (lambda: pictures.kl_per_unit(kl)),
        ),
        "activity.png": (
            "Which latents move with x",
            None if units is None else (lambda: pictures.activity(units)),
        ),
        "history.png": ("The course of training", (lambda: pictures.history(history)) if history else None),
    }
    if plane:
        del wanted["reconstructions.png"]  # For two values, points show more than curves.
    drawn: _Pictures = {}
    for name, (caption, draw) in wanted.items():
        if draw is not None:
            with contextlib.suppress(ModelError):  # Not defined for every model: a flow's posterior has no mean.
                drawn[name] = (caption, draw())
    return drawn


def _markdown(title: str, measured: Measurements, diagnosis: Diagnosis, drawn: _Pictures) -> str:
    about = f"{measured.n} test examples of shape {list(measured.event_shape)}, {measured.latents} latents."
    lines = [f"# {title}", "", f"{about} Figures in nats per example, ± one standard error over the examples.", ""]
    lines += ["## Findings", ""]
    marks = {Level.OK: "", Level.NOTE: "Note: ", Level.ALARM: "**Alarm**: "}
    lines += [f"- *{finding.name}*: {marks[finding.level]}{finding.text}" for finding in diagnosis.findings]
    lines += ["", "## Figures", "", "| figure | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in figures(measured)]
    if measured.estimators is not None:
        lines += ["", "## log p(x) by importance sampling, and by naive Monte Carlo", ""]
        lines += ["| estimate | mean | standard error of one example | effective draws |", "|---|---|---|---|"]
        for name, result in (
            ("importance sampling", measured.estimators.importance),
            ("naive Monte Carlo", measured.estimators.monte_carlo),
        ):
            lines.append(
                f"| {name} | {result.log_marginal.mean():.3f} | {np.sqrt(np.mean(result.standard_error**2)):.3f} | "
                f"{np.median(result.effective_samples):.1f} of {result.samples} |"
            )
        first = f"Of the first {len(measured.estimators.monte_carlo.log_marginal)} examples. "
        lines += ["", first + measured.estimators.words]
    lines += ["", "## Pictures"]
    for name, (caption, _) in drawn.items():
        lines += ["", f"{caption}:", "", f"![{caption}]({name})"]
    return "\n".join(lines) + "\n"


def figures(measured: Measurements) -> list[tuple[str, str]]:
    """The names of the figures and their values as text, in the order of the report."""
    distortion = Mean(-measured.log_likelihood.value, measured.log_likelihood.standard_error)
    rows = [
        ("ELBO", str(measured.elbo)),
        ("rate, KL(q(z given x) to p(z))", str(measured.kl)),
        ("distortion, -log p(x given z)", str(distortion)),
    ]
    if measured.log_marginal is not None and measured.log_marginal_mean is not None:
        name = f"log p(x), {measured.log_marginal.samples} importance samples"
        rows.append((name, str(measured.log_marginal_mean)))
    if measured.explained is not None:
        of_pca = f"{measured.explained.pca:.3f} by {measured.explained.components} principal components"
        rows.append(("share of variance explained", f"{measured.explained.share}, {of_pca}"))
    if measured.train_elbo is not None:
        rows.append(("ELBO of training data", str(measured.train_elbo)))
    if measured.bits_per_dimension is not None:
        source = "the ELBO" if measured.log_marginal is None else "log p(x)"
        rows.append((f"bits per dimension, by {source}", f"{measured.bits_per_dimension:.4f}"))
    if measured.active_units is not None:
        rows.append(("active units", f"{measured.active_units.num_active} of {measured.latents}"))
    manifold = measured.manifold_dimension
    if manifold is not None and manifold.gamma is not None:
        low, high = manifold.gap
        rows.append(("variance of the likelihood, gamma", f"{manifold.gamma:.3g}"))
        rows.append(
            (
                "dimension of the manifold",
                f"{manifold.dimension} (posterior variances up to {low:.2g}, and from {high:.2g})",
            )
        )
    return rows
