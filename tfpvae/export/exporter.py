"""Exporting a model as one version directory."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

import tfpvae
from tfpvae.errors import ExportError
from tfpvae.export.card import MODEL_CARD, SAMPLES, model_card
from tfpvae.export.endpoints import Endpoint, endpoints, likelihood_of_one
from tfpvae.export.parity import Example, Gap, check_parity, examples, examples_of
from tfpvae.export.precision import REDUCIBLE, Reduced, reduce
from tfpvae.export.profile import Profile
from tfpvae.export.repository.hashes import write_hashes
from tfpvae.export.repository.versions import publishing
from tfpvae.export.speed import Recommendation, Timing, recommend
from tfpvae.export.targets.litert import LITERT, run_litert, write_litert
from tfpvae.export.targets.onnx import NoOnnxFormError, run_onnx, write_onnx
from tfpvae.export.targets.saved_model import write_saved_model
from tfpvae.export.targets.warmup import write_warmup
from tfpvae.images import grid, save_png
from tfpvae.layers import IndependentCategorical
from tfpvae.models import VAE, ConditionalDensity, HierarchicalVAE, TwoStageVAE
from tfpvae.models.ancestral import AncestralPrior
from tfpvae.models.sampling import PNG_CHANNELS
from tfpvae.random import ALGORITHM
from tfpvae.savedmodel.session import Run, run_v1, run_v2
from tfpvae.signatures import CONDITION, MANIFEST, MANIFEST_FORMAT, ONNX_DIRECTORY, graph_file

_PACKAGES = ("tensorflow", "tensorflow-probability", "keras", "numpy", "onnx", "tf2onnx", "onnxruntime")

_SAMPLES: Final = 64
_MOST_COLUMNS: Final = 16
"""Of a grid with a label in each column."""

_RANGES: Final[dict[str, tuple[float, float | None]]] = {
    "unit": (0.0, 1.0),
    "pixel": (0.0, 1.0),
    "binary": (0.0, 1.0),
    "one_hot": (0.0, 1.0),
    "positive": (0.0, None),
    "count": (0.0, None),
}
"""The lowest and the highest value of data, None for any, by `DistributionLayer.support`."""


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Attributes:
        path: the version directory.
        signatures: the names of the SavedModel's signatures.
        onnx: the names of the signatures that have an ONNX graph.
        litert: the names of the signatures that `decoder.tflite` holds.
        parity: the largest difference from Keras, by runtime, signature and output.
        reduced: the graphs of lower precision, kept or dropped.
        recommended: the fastest runtime and precision, by signature and number of rows.
    """

    path: Path
    signatures: tuple[str, ...]
    onnx: tuple[str, ...]
    litert: tuple[str, ...]
    parity: tuple[Gap, ...]
    reduced: tuple[Reduced, ...]
    recommended: tuple[Recommendation, ...]


def export_model(
    model: VAE | ConditionalDensity,
    directory: str | Path,
    *,
    version: int | None = None,
    profile: Profile | None = None,
    about: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Export:
    """Writes a model as a version directory, and publishes it only if all of it computes what the model computes.

    Args:
        model: a trained model.
        directory: the model's directory, `models/mnist`; the version becomes a numbered folder in it.
        version: its number; None is the next free one. An existing version is never overwritten.
        profile: what to write; None is `Profile()`.
        about: how it was trained, for the manifest and the model card: settings by name, of what JSON can hold.
        metrics: how it does on data, for the same: numbers by name, such as what `vae.evaluate` returns.
        progress: called with a line for each step.

    Returns:
        What was written, with the parity report.

    Raises:
        ExportError: the model has not been built, an output differs from Keras by more than the profile allows, or the
            version exists; or `about` and `metrics` are not as said. Nothing is published then.
    """
    if not isinstance(model, VAE | ConditionalDensity):
        raise ExportError(f"model must be one of tfpvae.models, such as tfpvae.VAE. Received: {type(model).__name__}")
    if not model.built:
        raise ExportError("The model must be built before it is exported: train it, or call it on some data.")
    profile = profile or Profile()
    said = {"about": _json_of_about(about), "metrics": _json_of_metrics(metrics)}
    served_as = Path(os.path.abspath(directory)).name  # noqa: PTH100  a link keeps its own name
    present, absent = endpoints(model)
    expected = examples(present.values())
    gaps: list[Gap] = []
    reduced: list[Reduced] = []
    timings: list[Timing] = []
    beside: dict[str, Run] = {}
    with publishing(Path(directory), version) as publication:
        building = publication.building
        if profile.saved_model:
            progress("writing the SavedModel")
            write_saved_model(model, present, building)
            progress("comparing the SavedModel with Keras")
            beside["SavedModel"] = run_v2(building)
            gaps += check_parity(expected, "SavedModel", beside["SavedModel"], profile.tolerance)
            with run_v1(building) as run:
                gaps += check_parity(expected, "SavedModel (v1)", run, profile.tolerance)
            if profile.warmup:
                write_warmup(present, served_as, building)
        in_litert: list[str] = []
        no_litert: dict[str, str] = {}
        if profile.litert:
            progress(f"writing {LITERT} and comparing it with Keras")
            tried = {name: endpoint for name, endpoint in present.items() if name != "sample_png"}
            found_gaps, no_litert = write_litert(model, tried, expected, profile.tolerance, building / LITERT)
            gaps += found_gaps
            in_litert = [name for name in tried if name not in no_litert]
            beside["LiteRT"] = run_litert(building / LITERT)
            for left_out, why in no_litert.items():
                progress(f"left out {left_out} of {LITERT}: {why}")
            no_litert |= dict.fromkeys(present.keys() - tried.keys(), "PNG has no LiteRT form")
        graphs: list[str] = []
        no_graph: dict[str, str] = {}
        if profile.onnx:
            graphs, no_graph = _write_onnx_graphs(present, building / ONNX_DIRECTORY, progress)
            progress("comparing ONNX Runtime with Keras")
            onnx = building / ONNX_DIRECTORY
            gaps += check_parity(examples_of(expected, graphs), "ONNX Runtime", run_onnx(onnx), profile.tolerance)
            for name in (name for name in REDUCIBLE if name in graphs):
                own = examples_of(expected, [name])
                others = {key: run for key, run in beside.items() if key != "LiteRT" or name in in_litert}
                found, times = reduce(present[name], present.get("sample_latent"), own, others, onnx, profile, progress)
                reduced += found
                timings += times
        samples = _write_samples(model, present, building / SAMPLES) if profile.samples else None
        manifest = _manifest(model, present, absent, graphs, in_litert, gaps, profile, _outputs(expected))
        recommended = recommend(timings, _differences(gaps, reduced))
        manifest |= {
            "no_onnx": no_graph,
            "no_litert": no_litert,
            "reduced": [dataclasses.asdict(each) for each in reduced],
            "machine": f"{os.cpu_count()} cores, {platform.machine()}",
            "speed": [dataclasses.asdict(timing) for timing in timings],
            "recommended": [dataclasses.asdict(each) for each in recommended],
            **said,
            "samples": samples,
        }
        (building / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if profile.model_card:
            (building / MODEL_CARD).write_text(model_card(manifest, served_as), encoding="utf-8")
        write_hashes(building)
    assert publication.path is not None
    return Export(
        publication.path,
        tuple(present) if profile.saved_model else (),
        tuple(graphs),
        tuple(in_litert),
        tuple(gaps),
        tuple(reduced),
        recommended,
    )


def _differences(gaps: list[Gap], reduced: list[Reduced]) -> dict[tuple[str, str, str], float]:
    """How far what was timed is from Keras, by signature, runtime and precision."""
    found = {(gap.signature, gap.runtime, "float32"): gap.difference for gap in gaps}
    for each in reduced:
        if each.difference is not None:
            found[each.signature, "ONNX Runtime", each.precision] = each.difference
    return found


def _write_onnx_graphs(
    present: dict[str, Endpoint], directory: Path, progress: Callable[[str], None]
) -> tuple[list[str], dict[str, str]]:
    directory.mkdir()
    graphs: list[str] = []
    no_graph: dict[str, str] = {}
    for name, endpoint in present.items():
        if name == "sample_png":
            no_graph[name] = "PNG has no ONNX form; tfpvae.edge makes it of sample_mean"
            continue
        progress(f"writing {graph_file(name)}")
        try:
            write_onnx(endpoint, directory / graph_file(name))
        except NoOnnxFormError as error:
            no_graph[name] = str(error)
        else:
            graphs.append(name)
    return graphs, no_graph


def _manifest(
    model: VAE | ConditionalDensity,
    present: dict[str, Endpoint],
    absent: dict[str, str],
    graphs: list[str],
    in_litert: list[str],
    gaps: list[Gap],
    profile: Profile,
    outputs: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    p_x = likelihood_of_one(model)
    condition = getattr(model, "condition", None)
    prior = model.prior if isinstance(model, VAE) else None
    likelihood = type(p_x.layer).__name__ if p_x.layer is not None else p_x.tensor_distribution.name
    return {
        "format": MANIFEST_FORMAT,
        "name": model.name,
        "class": type(model).__name__,
        "parameters": model.count_params(),
        "objective": _objective(model),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "latent_size": getattr(model, "latent_size", None),
        "latent_parts": _latent_parts(model),
        "event_shape": list(model.event_shape),
        "data_range": _data_range(model, p_x.layer),
        "support": None if p_x.layer is None else p_x.layer.support,
        "likelihood": likelihood,
        "prior": None if prior is None else type(prior).__name__,
        "prior_of_top": type(prior.top).__name__ if isinstance(prior, AncestralPrior) else None,
        "condition": None
        if condition is None
        else {**_spec(condition), "num_classes": getattr(model, "num_classes", None)},
        "random": ALGORITHM,
        "saved_model": profile.saved_model,
        "signatures": {
            name: {
                "inputs": {spec.name: _spec(spec) for spec in endpoint.input_signature},
                "outputs": outputs[name],
                "meaning": endpoint.signature.meaning,
                "onnx": name in graphs,
                "litert": name in in_litert,
                "discrete": endpoint.discrete,
            }
            for name, endpoint in present.items()
        },
        "absent": absent,
        "tolerance": profile.tolerance,
        "parity": [dataclasses.asdict(gap) for gap in gaps],
        "versions": {"tfpvae": tfpvae.__version__} | {p: importlib.metadata.version(p) for p in _PACKAGES},
    }


def _spec(spec: tf.TensorSpec) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}


def _outputs(made: list[Example]) -> dict[str, dict[str, Any]]:
    """Of each signature the outputs' types and shapes, as the model answered."""
    return {
        example.endpoint.signature.name: {
            name: {
                "dtype": "string" if value.dtype == object else value.dtype.name,
                "shape": [None, *value.shape[1:]],
            }
            for name, value in example.expected.items()
        }
        for example in made
    }


def _objective(model: VAE | ConditionalDensity) -> dict[str, Any]:
    """What was maximised: its class and settings, by name."""
    if isinstance(model, ConditionalDensity):
        return {"class": "log_likelihood"}
    if isinstance(model, TwoStageVAE):
        return {"first": _objective(model.first), "second": _objective(model.second)}
    return _settings(keras.saving.serialize_keras_object(model.objective))


def _settings(serialized: Any) -> Any:
    """What Keras wrote of an object, without where its class is."""
    if isinstance(serialized, Mapping) and "class_name" in serialized:
        return {"class": serialized["class_name"]} | {k: _settings(v) for k, v in serialized["config"].items()}
    return serialized


def _latent_parts(model: VAE | ConditionalDensity) -> list[dict[str, Any]] | None:
    """What z is made of, where it is several latents: their names and sizes, in their order within it."""
    if isinstance(model, HierarchicalVAE):
        return [{"name": name, "size": size} for name, size in model.layer_sizes.items()]
    if isinstance(model, TwoStageVAE):
        return [{"name": "u", "size": model.second.latent_size}, {"name": "z", "size": model.first.latent_size}]
    return None


def _is_image(model: VAE | ConditionalDensity) -> bool:
    return len(model.event_shape) == 3 and model.event_shape[-1] in PNG_CHANNELS


def _data_range(model: VAE | ConditionalDensity, layer: Any) -> tuple[float, float | None] | None:
    """The lowest and the highest value of the data; None in place of one, or of both, for any.

    Images are in [0, 1] throughout tfpvae, also where the likelihood, such as a Gaussian, is of any numbers.

    Args:
        model: the model.
        layer: its likelihood's; None where it is none of tfpvae's.
    """
    if model.bernoulli:
        return (0.0, 1.0)
    of_one = getattr(layer, "component_layer", layer)
    if isinstance(of_one, IndependentCategorical):
        return (0.0, of_one.num_categories - 1.0)
    return _RANGES.get(getattr(layer, "support", "real"), (0.0, 1.0) if _is_image(model) else None)


def _write_samples(model: VAE | ConditionalDensity, present: dict[str, Endpoint], path: Path) -> dict[str, Any] | None:
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
    return {"seeds": [0, _SAMPLES - 1], "y": y}


def _json_of_about(about: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(about or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ExportError(f"about must be settings by name that JSON can hold: {error}. Received: {about!r}") from error


def _json_of_metrics(metrics: Mapping[str, float] | None) -> dict[str, float | None]:
    """The numbers by name; None for those that are not finite, which JSON does not have."""
    try:
        numbers = {str(name): float(value) for name, value in dict(metrics or {}).items()}
    except (TypeError, ValueError) as error:
        raise ExportError(f"metrics must be numbers by name: {error}. Received: {metrics!r}") from error
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
