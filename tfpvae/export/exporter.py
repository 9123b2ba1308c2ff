"""Exporting a model as one version directory."""

from __future__ import annotations

import dataclasses
import datetime
import gc
import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

import tfpvae
from tfpvae._compat.keras import layers_within
from tfpvae.checks import url_name
from tfpvae.errors import ExportError
from tfpvae.export.about import json_of_about, json_of_metrics
from tfpvae.export.card import MODEL_CARD, SAMPLES, model_card
from tfpvae.export.endpoints import Endpoint, endpoints, likelihood_of_one
from tfpvae.export.parity import Example, check_parity, compare, examples, examples_of
from tfpvae.export.precision import REDUCIBLE, reduce
from tfpvae.export.profile import Profile
from tfpvae.export.repository.hashes import write_hashes
from tfpvae.export.repository.versions import publishing
from tfpvae.export.speed import recommend
from tfpvae.export.targets.base import Target, Task, targets
from tfpvae.files import local_path
from tfpvae.images import grid, save_png
from tfpvae.manifest import (
    Condition,
    Gap,
    LatentPart,
    Manifest,
    Recommendation,
    Reduced,
    Samples,
    SignatureEntry,
    Spec,
    TargetEntry,
    Timing,
    write_manifest,
)
from tfpvae.models import DistributionModel, LatentVariableModel, TwoStageVAE
from tfpvae.models.divergence import has_finite_weights
from tfpvae.models.latent_graph import AncestralPrior
from tfpvae.models.sampling import PNG_CHANNELS
from tfpvae.random import ALGORITHM
from tfpvae.signatures import CONDITION, Run
from tfpvae.supports import Support

_LARGE: Final = 4_000_000  # Parameters: of such a model no copy is kept longer than it is needed.
_PACKAGES = ("tensorflow", "tensorflow-probability", "keras", "numpy", "onnx", "tf2onnx", "onnxruntime")

_SAMPLES: Final = 64
_MOST_COLUMNS: Final = 16
"""The most columns of a grid that has one for each label."""


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Attributes:
        path: the version directory.
        targets: the names of the signatures that each target holds, by the target's name.
        parity: the largest difference from Keras, by runtime, signature and output.
        reduced: what was tried in lower precision, kept or dropped.
        recommended: the fastest runtime and precision, by signature and number of rows.
    """

    path: Path
    targets: Mapping[str, tuple[str, ...]]
    parity: tuple[Gap, ...]
    reduced: tuple[Reduced, ...]
    recommended: tuple[Recommendation, ...]

    @property
    def signatures(self) -> tuple[str, ...]:
        """The names of the SavedModel's signatures."""
        return self.targets.get("saved_model", ())

    @property
    def onnx(self) -> tuple[str, ...]:
        """The names of the signatures that have an ONNX graph."""
        return self.targets.get("onnx", ())

    @property
    def litert(self) -> tuple[str, ...]:
        """The names of the signatures that `decoder.tflite` holds."""
        return self.targets.get("litert", ())


def export_model(
    model: DistributionModel,
    directory: str | Path,
    *,
    version: int | None = None,
    profile: Profile | None = None,
    about: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Export:
    """Writes a model as a version directory, and publishes it only if all outputs agree with the model's.

    Args:
        model: a trained model.
        directory: the model's directory, `models/mnist`; the version becomes a numbered folder in it.
        version: its number; None is the next free one. An existing version is never overwritten.
        profile: what to write; None is `Profile()`.
        about: how it was trained, for the manifest and the model card: settings by name, which JSON can hold.
        metrics: how it does on data, for the same: numbers by name, such as what `vae.evaluate` returns.
        progress: called with a line for each step.

    Returns:
        What was written, with the parity report.

    Raises:
        ExportError: the model has not been built, its weights are not finite, an output differs from Keras by more than
            the profile allows, or the version exists; or `about` or `metrics` hold something else than they may.
            Nothing is published then.
    """
    if not isinstance(model, DistributionModel):
        raise ExportError(f"model must be one of tfpvae.models, such as tfpvae.VAE. Received: {type(model).__name__}")
    if not model.built:
        raise ExportError("The model must be built before it is exported: train it, or call it on some data.")
    if not has_finite_weights(model):
        raise ExportError("The model's weights are not finite: its training diverged. Train it again.")
    profile = _fitting(profile or Profile(), model)
    about, metrics_of_json = json_of_about(about), json_of_metrics(metrics)
    directory = local_path(directory, ExportError)
    served_as = Path(os.path.abspath(directory)).name  # noqa: PTH100  a link keeps its own name
    if profile.saved_model:
        url_name("The model's folder, its name on a server,", served_as, ExportError)
    present, absent = endpoints(model)
    expected = examples(present.values())
    with publishing(directory, version) as publication:
        task = Task(model, present, publication.building, served_as, profile, progress)
        written = [write_target(target, task, expected) for target in targets() if profile.writes(target.name)]
        gaps = [gap for each in written for gap in each.gaps]
        reduced, timings = _reduced(task, written, expected)
        recommended = recommend(timings, _differences(written, reduced))
        manifest = dataclasses.replace(
            _manifest(model, present, absent, profile, expected),
            targets={each.target.name: each.entry for each in written},
            parity=tuple(gaps),
            reduced=tuple(reduced),
            speed=tuple(timings),
            recommended=recommended,
            samples=_write_samples(model, present, task.directory / SAMPLES) if profile.samples else None,
            about=about,
            metrics=metrics_of_json,
        )
        write_manifest(manifest, task.directory)
        if profile.model_card:
            (task.directory / MODEL_CARD).write_text(model_card(manifest, served_as), encoding="utf-8")
        write_hashes(task.directory)
    assert publication.path is not None
    held = {each.target.name: each.entry.signatures for each in written}
    return Export(publication.path, held, tuple(gaps), tuple(reduced), recommended)


def _fitting(profile: Profile, model: DistributionModel) -> Profile:
    """The profile, with a tolerance for models that compute in half precision: runtimes round it differently."""
    if not any(layer.compute_dtype in ("float16", "bfloat16") for layer in layers_within(model)):
        return profile
    return dataclasses.replace(profile, tolerance=max(profile.tolerance, profile.float16_tolerance))


@dataclass(frozen=True)
class Written:
    """What a target wrote: what it holds, and how far that is from Keras."""

    target: Target
    entry: TargetEntry
    gaps: list[Gap]


def write_target(target: Target, task: Task, expected: list[Example]) -> Written:
    """Writes a target, and compares it with Keras until all that it holds agrees.

    Raises:
        ExportError: a signature differs, and the target does not leave out signatures that differ.
    """
    left_out: dict[str, str] = {}
    for name, endpoint in task.endpoints.items():
        why = target.lacks(endpoint.signature)
        if why is not None:
            left_out[name] = why
    from_the_start = set(left_out)
    gaps: list[Gap] = []
    held: tuple[str, ...] = ()
    while wanted := {name: endpoint for name, endpoint in task.endpoints.items() if name not in left_out}:
        left_out |= target.write(dataclasses.replace(task, endpoints=wanted))
        held = tuple(name for name in wanted if name not in left_out)
        if not held:
            break
        task.progress(f"comparing {target.runtime} with Keras")
        gaps, wrong = _compared(target, task, held, examples_of(expected, held))
        if not wrong:
            break
        left_out |= wrong
        target.discard(task.directory)
        held = ()
    for name, why in left_out.items():
        if name not in from_the_start:
            task.progress(f"left out {name} of {target.files}: {why}")
    in_order = {name: left_out[name] for name in task.endpoints if name in left_out}
    return Written(
        target, TargetEntry(held, in_order, target.shared_files(task.directory) if held else ()), gaps if held else []
    )


def _compared(
    target: Target, task: Task, held: tuple[str, ...], expected: list[Example]
) -> tuple[list[Gap], dict[str, str]]:
    # One loader after the other, for each holds the weights in memory; TensorFlow's second frees its own much later.
    tolerance = task.profile.tolerance
    others, wrong_there = _compared_by(target.open_otherwise(task.directory, held), target, expected, tolerance)
    gaps, wrong = _compared_by(target.open(task.directory, held), target, expected, tolerance)
    if task.model.count_params() > _LARGE:
        gc.collect()  # A SavedModel that TensorFlow has loaded refers to itself, and keeps its weights until then.
    return gaps + others, wrong | wrong_there


def _compared_by(
    opened: AbstractContextManager[Mapping[str, Run]], target: Target, expected: list[Example], tolerance: float
) -> tuple[list[Gap], dict[str, str]]:
    gaps: list[Gap] = []
    left_out: dict[str, str] = {}
    with opened as runs:
        for runtime, run in runs.items():
            if target.drops_differing:
                compared, wrong = compare(expected, runtime, run, tolerance, target.errors)
                left_out = wrong | left_out
            else:
                compared = check_parity(expected, runtime, run, tolerance)
            gaps += compared
    return gaps, left_out


def _reduced(task: Task, written: list[Written], expected: list[Example]) -> tuple[list[Reduced], list[Timing]]:
    """Lower precisions, and the times of all targets."""
    reduced: list[Reduced] = []
    timings: list[Timing] = []
    for name in (name for name in REDUCIBLE if name in task.endpoints):
        holders = [each for each in written if name in each.entry.signatures]
        latents, own = task.endpoints.get("sample_latent"), examples_of(expected, [name])
        tried, times = reduce(task, name, latents, own, [each.target for each in holders])
        reduced += tried
        timings += times
    return reduced, timings


def _differences(written: list[Written], reduced: list[Reduced]) -> dict[tuple[str, str, str], float]:
    """How far what was timed is from Keras, by signature, runtime and precision."""
    runtimes = {each.target.name: each.target.runtime for each in written}
    far = {(gap.signature, gap.runtime, "float32"): gap.difference for each in written for gap in each.gaps}
    for each in reduced:
        if each.difference is not None:
            far[each.signature, runtimes[each.target], each.precision] = each.difference
    return far


def _manifest(
    model: DistributionModel,
    present: dict[str, Endpoint],
    absent: dict[str, str],
    profile: Profile,
    expected: list[Example],
) -> Manifest:
    """The manifest without what is only known once the targets are written."""
    p_x = likelihood_of_one(model)
    condition = model.condition
    prior = model.prior if isinstance(model, LatentVariableModel) else None
    outputs = _outputs(expected)
    return Manifest(
        name=model.name,
        class_name=type(model).__name__,
        parameters=model.count_params(),
        objective=_objective(model),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        latent_size=getattr(model, "latent_size", None),
        latent_parts=_latent_parts(model),
        event_shape=tuple(model.event_shape),
        data_range=_data_range(model, p_x.support),
        support=None if p_x.support is None else p_x.support.name,
        support_parameters=None if p_x.support is None else p_x.support.to_json(),
        likelihood=type(p_x.layer).__name__ if p_x.layer is not None else p_x.tensor_distribution.name,
        prior=None if prior is None else type(prior).__name__,
        prior_of_top=type(prior.top).__name__ if isinstance(prior, AncestralPrior) else None,
        condition=None
        if condition is None
        else Condition(condition.dtype.name, tuple(condition.shape), model.num_classes),
        random=ALGORITHM,
        signatures={
            name: SignatureEntry(
                inputs={spec.name: Spec(spec.dtype.name, tuple(spec.shape)) for spec in endpoint.input_signature},
                outputs=outputs[name],
                meaning=endpoint.signature.meaning,
                discrete=endpoint.discrete,
            )
            for name, endpoint in present.items()
        },
        absent=absent,
        targets={},
        tolerance=profile.tolerance,
        parity=(),
        versions={"tfpvae": tfpvae.__version__} | {p: importlib.metadata.version(p) for p in _PACKAGES},
        machine=f"{os.cpu_count()} cores, {platform.machine()}",
    )


def _outputs(expected: list[Example]) -> dict[str, dict[str, Spec]]:
    """The specs of each signature's outputs, as the model answered."""
    return {
        example.endpoint.signature.name: {
            name: Spec("string" if value.dtype == object else value.dtype.name, (None, *value.shape[1:]))
            for name, value in example.expected.items()
        }
        for example in expected
    }


def _objective(model: DistributionModel) -> dict[str, Any]:
    """What was maximised: its class and settings, by name."""
    if not isinstance(model, LatentVariableModel):
        return {"class": "log_likelihood"}
    if isinstance(model, TwoStageVAE):
        return {"first": _objective(model.first), "second": _objective(model.second)}
    return _settings(keras.saving.serialize_keras_object(model.objective))


def _settings(serialized: Any) -> Any:
    """What Keras wrote of an object, without where its class is."""
    if isinstance(serialized, Mapping) and "class_name" in serialized:
        return {"class": serialized["class_name"]} | {k: _settings(v) for k, v in serialized["config"].items()}
    return serialized


def _latent_parts(model: DistributionModel) -> tuple[LatentPart, ...] | None:
    """The latents that z joins, in their order, with their sizes; None where it is one latent."""
    parts = getattr(model, "latent_parts", None)
    return None if parts is None else tuple(LatentPart(name, size) for name, size in parts.items())


def _is_image(model: DistributionModel) -> bool:
    return len(model.event_shape) == 3 and model.event_shape[-1] in PNG_CHANNELS


def _data_range(model: DistributionModel, support: Support | None) -> tuple[float | None, float | None] | None:
    """The lowest and the highest value of the data; None in place of one, or of both, for any.

    Images are in [0, 1] throughout tfpvae, also where the likelihood, such as a Gaussian, is over all numbers.

    Args:
        model: the model.
        support: that of its likelihood; None where it is not known.
    """
    if support is not None and (support.low is not None or support.high is not None):
        return support.low, support.high
    return (0.0, 1.0) if _is_image(model) else None


def _write_samples(model: DistributionModel, present: dict[str, Endpoint], path: Path) -> Samples | None:
    """Draws the means of the first seeds, where they are images.

    Returns:
        What they are; None where nothing was drawn.
    """
    if "sample_mean" not in present or not _is_image(model):
        return None
    inputs = {"seed": np.arange(_SAMPLES)}
    y, columns = None, None
    (condition,) = [spec for spec in present["sample_mean"].input_signature if spec.name == CONDITION] or [None]
    if condition is not None:
        classes = present["sample_mean"].num_classes
        if classes is None:
            y = "y all zeros"
            inputs[CONDITION] = np.zeros([_SAMPLES, *condition.shape[1:]], condition.dtype.as_numpy_dtype)
        else:
            y = f"y = seed mod {classes}"
            inputs[CONDITION] = inputs["seed"] % classes
            columns = classes if classes <= _MOST_COLUMNS else None
    (means,) = present["sample_mean"].function(**{key: tf.constant(value) for key, value in inputs.items()}).values()
    save_png(grid(means.numpy(), columns), path)
    return Samples((0, _SAMPLES - 1), y)
