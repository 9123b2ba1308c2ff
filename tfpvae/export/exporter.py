"""Exporting a model as one version directory."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

import tfpvae
from tfpvae.errors import ExportError
from tfpvae.export.endpoints import Endpoint, endpoints, likelihood_of_one
from tfpvae.export.hashes import write_hashes
from tfpvae.export.onnx import NoOnnxFormError, run_onnx, write_onnx
from tfpvae.export.parity import Gap, check_parity, examples
from tfpvae.export.profile import Profile
from tfpvae.export.saved_model import run_v1, run_v2, write_saved_model
from tfpvae.export.versions import publishing
from tfpvae.models import VAE, ConditionalDensity
from tfpvae.random import ALGORITHM
from tfpvae.signatures import MANIFEST, ONNX_DIRECTORY

_PACKAGES = ("tensorflow", "tensorflow-probability", "keras", "numpy", "onnx", "tf2onnx", "onnxruntime")


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Attributes:
        path: the version directory.
        signatures: the names of the SavedModel's signatures.
        onnx: the names of the signatures that have an ONNX graph.
        parity: the largest difference from Keras, by runtime, signature and output.
    """

    path: Path
    signatures: tuple[str, ...]
    onnx: tuple[str, ...]
    parity: tuple[Gap, ...]


def export_model(
    model: VAE | ConditionalDensity,
    directory: str | Path,
    *,
    version: int | None = None,
    profile: Profile | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Export:
    """Writes a model as a version directory, and publishes it only if all of it computes what the model computes.

    Args:
        model: a trained model.
        directory: the model's directory, `models/mnist`; the version becomes a numbered folder in it.
        version: its number; None is the next free one. An existing version is never overwritten.
        profile: what to write; None is everything.
        progress: called with a line for each step.

    Returns:
        What was written, with the parity report.

    Raises:
        ExportError: the model has not been built, an output differs from Keras by more than the profile allows, or the
            version exists. Nothing is published then.
    """
    if not isinstance(model, VAE | ConditionalDensity):
        raise ExportError(f"model must be one of tfpvae.models, such as tfpvae.VAE. Received: {type(model).__name__}")
    if not model.built:
        raise ExportError("The model must be built before it is exported: train it, or call it on some data.")
    profile = profile or Profile()
    present, absent = endpoints(model)
    expected = examples(present.values())
    gaps: list[Gap] = []
    with publishing(Path(directory), version) as publication:
        building = publication.building
        if profile.saved_model:
            progress("writing the SavedModel")
            write_saved_model(model, present, building)
            progress("comparing the SavedModel with Keras")
            gaps += check_parity(expected, "SavedModel", run_v2(building), profile.tolerance)
            with run_v1(building) as run:
                gaps += check_parity(expected, "SavedModel (v1)", run, profile.tolerance)
        graphs: list[str] = []
        no_graph: dict[str, str] = {}
        if profile.onnx:
            graphs, no_graph = _write_onnx_graphs(present, building / ONNX_DIRECTORY, progress)
            progress("comparing ONNX Runtime with Keras")
            kept = [example for example in expected if example.endpoint.signature.name in graphs]
            gaps += check_parity(kept, "ONNX Runtime", run_onnx(building / ONNX_DIRECTORY), profile.tolerance)
        manifest = _manifest(model, present, absent, graphs, no_graph, gaps, profile)
        (building / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        write_hashes(building)
    assert publication.path is not None
    return Export(publication.path, tuple(present) if profile.saved_model else (), tuple(graphs), tuple(gaps))


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
        progress(f"writing {name}.onnx")
        try:
            write_onnx(endpoint, directory / f"{name}.onnx")
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
    no_graph: dict[str, str],
    gaps: list[Gap],
    profile: Profile,
) -> dict[str, Any]:
    p_x = likelihood_of_one(model)
    condition = getattr(model, "condition", None)
    return {
        "format": 1,
        "name": model.name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "latent_size": getattr(model, "latent_size", None),
        "event_shape": list(model.event_shape),
        "likelihood": type(p_x.layer).__name__ if p_x.layer is not None else p_x.tensor_distribution.name,
        "prior": type(model.prior).__name__ if isinstance(model, VAE) else None,
        "condition": None
        if condition is None
        else {**_spec(condition), "num_classes": getattr(model, "num_classes", None)},
        "random": ALGORITHM,
        "signatures": {
            name: {
                "inputs": {spec.name: _spec(spec) for spec in endpoint.input_signature},
                "meaning": endpoint.signature.meaning,
                "onnx": name in graphs,
                "discrete": endpoint.discrete,
            }
            for name, endpoint in present.items()
        },
        "absent": absent,
        "no_onnx": no_graph,
        "tolerance": profile.tolerance,
        "parity": [dataclasses.asdict(gap) for gap in gaps],
        "versions": {"tfpvae": tfpvae.__version__} | {p: importlib.metadata.version(p) for p in _PACKAGES},
    }


def _spec(spec: tf.TensorSpec) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
