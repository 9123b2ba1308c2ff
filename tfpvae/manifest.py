"""`manifest.json`: what a version holds, as dataclasses, with the one writer and the one reader.

Format 2 lists the targets of a version, each with the signatures that it holds. Format 1, of tfpvae 0.1 before it, knew
three of them by keys of their own (`saved_model`, `onnx`, `litert`); it is read too.

Nothing here imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tfpvae.errors import ManifestError
from tfpvae.records import RecordError, decode, encode, json_fields, json_key, short
from tfpvae.supports import Support, from_json

MANIFEST: Final = "manifest.json"
"""The file of a version directory that says what is in it."""

MANIFEST_FORMAT: Final = 2
"""The form of that file: raised when a reader of an older one could misread it."""

FILES: Final = "files"
"""The entry with the hash of each file, which `tfpvae.export.repository.hashes` adds last."""


@dataclass(frozen=True)
class Spec:
    """The type and the shape of one input or output.

    Attributes:
        dtype: NumPy's name for its type, "float32", "int64"; or "string".
        shape: its sizes, None where a size is free; the first is the batch.
    """

    dtype: str
    shape: tuple[int | None, ...]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(size or 0 for size in self.shape[1:])


@dataclass(frozen=True)
class SignatureEntry:
    """One signature of the model.

    Attributes:
        inputs, outputs: their specs by name, in their order.
        meaning: what it computes, in one line.
        discrete: whether its outputs are draws of whole numbers.
    """

    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    meaning: str
    discrete: bool = False


@dataclass(frozen=True)
class TargetEntry:
    """What one target of the version holds.

    Attributes:
        signatures: the names of the signatures that it holds.
        left_out: why it does not hold the others, by name.
        shared: the files that all of them need, relative to the version.
    """

    signatures: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = field(default=(), metadata={"if_any": True})


@dataclass(frozen=True)
class Condition(Spec):
    """What every call of a conditional model takes beside its other inputs.

    Attributes:
        num_classes: how many labels there are; None where it is no label.
    """

    num_classes: int | None = None


@dataclass(frozen=True)
class LatentPart:
    """One of several latents of a model, in their order within z."""

    name: str
    size: int


@dataclass(frozen=True)
class Samples:
    """What `samples.png` shows: the first and the last seed, and in words which y."""

    seeds: tuple[int, int]
    y: str | None


@dataclass(frozen=True)
class Gap:
    """The largest difference between a runtime and the reference in one output, over all batch sizes.

    Attributes:
        runtime: "SavedModel", "SavedModel (v1)", "LiteRT", "ONNX Runtime", or that of another target.
        signature: its name.
        output: its name.
        difference: the largest absolute difference; of discrete draws the share that differs.
        allowed: the largest difference that passes.
    """

    runtime: str
    signature: str
    output: str
    difference: float
    allowed: float


@dataclass(frozen=True)
class Reduced:
    """A signature in lower precision, kept or dropped.

    What was not measured is None; where the file could not be written, that is all of it.

    Attributes:
        signature: its name.
        precision: "float16" or "int8".
        method: how int8 was made: "dynamic", the range of activations measured in each call, or "static", beforehand.
            Of float16 "weights and activations".
        difference: the largest difference from Keras, over 256 rows of the prior and the examples of the parity check.
        mean_difference: the mean one, over the 256 rows.
        tolerance: the profile's, relative to the larger of 1 and the largest output.
        kilobytes: the size of the file.
        speed: how many times faster than float32, at best.
        speed_rows: the number of rows for which it is so.
        dropped: why it was not kept; None where it was.
        target: the name of the target.
    """

    signature: str
    precision: str
    method: str | None = None
    difference: float | None = None
    mean_difference: float | None = None
    tolerance: float | None = None
    kilobytes: int | None = None
    speed: float | None = None
    speed_rows: int | None = None
    dropped: str | None = None
    target: str = "onnx"


@dataclass(frozen=True)
class Timing:
    """How long one call takes.

    Attributes:
        signature: its name.
        rows: how many rows were asked for at once.
        runtime: "SavedModel", "LiteRT", "ONNX Runtime" or that of another target, called in process.
        precision: one of `tfpvae.signatures.PRECISIONS`.
        microseconds: the median.
    """

    signature: str
    rows: int
    runtime: str
    precision: str
    microseconds: float


@dataclass(frozen=True)
class Recommendation:
    """The fastest runtime and precision for a number of rows.

    Attributes:
        signature, rows, runtime, precision, microseconds: as of its `Timing`.
        difference: the largest difference from Keras that was seen in it.
    """

    signature: str
    rows: int
    runtime: str
    precision: str
    microseconds: float
    difference: float


@dataclass(frozen=True)
class Manifest:
    """What a version holds, and how it was made.

    Attributes:
        name: the model's name in Keras.
        class_name: the class of the model.
        parameters: how many weights it has.
        objective: what was maximised: its class and settings, by name.
        created: when it was exported, ISO 8601.
        latent_size: D; None for a model p(y given x) without latents.
        latent_parts: what z is made of where it is several latents, else None.
        event_shape: the shape of one x, or of one y where there are no latents.
        data_range: the lowest and the highest value of the data; None in place of one, or of both, for any.
        support: the name of the data's support; None where it is not known.
        support_parameters: what `Support.to_json` wrote of it.
        likelihood: the class of p(x given z).
        prior: the class of p(z); None where there is none.
        prior_of_top: the class of the top latent's prior in a model of several.
        condition: what the calls of a conditional model take beside; else None.
        random: the algorithm that turns seeds into uniforms.
        signatures: by name.
        absent: why the model does not have the other signatures, by name.
        targets: what each target holds, by the target's name.
        tolerance: the profile's, relative to the larger of 1 and the largest output.
        parity: the differences between the runtimes and Keras.
        reduced: what was tried in lower precision.
        machine: the machine that was timed, in words.
        speed: the times.
        recommended: the fastest for each signature and number of rows.
        about: how it was trained, as the caller of the export said.
        metrics: how it does on data, as the caller said; None for a number that is not finite.
        samples: what `samples.png` shows; None where there is none.
        versions: of tfpvae and of the packages that it was made with.
        files: the SHA-256 of each file by path.
        format: of the file that it was read from.
        missing: what the file does not say, because a tfpvae of an older format wrote it; the entries have defaults.
    """

    name: str
    class_name: str = field(metadata={"key": "class"})
    parameters: int
    objective: Any
    created: str
    latent_size: int | None
    latent_parts: tuple[LatentPart, ...] | None
    event_shape: tuple[int, ...]
    data_range: tuple[float | None, float | None] | None
    support: str | None
    likelihood: str
    prior: str | None
    prior_of_top: str | None
    condition: Condition | None
    random: str
    signatures: Mapping[str, SignatureEntry]
    absent: Mapping[str, str]
    targets: Mapping[str, TargetEntry]
    tolerance: float
    parity: tuple[Gap, ...]
    versions: Mapping[str, str]
    reduced: tuple[Reduced, ...] = ()
    machine: str = ""
    speed: tuple[Timing, ...] = ()
    recommended: tuple[Recommendation, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    samples: Samples | None = None
    support_parameters: Mapping[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = MANIFEST_FORMAT
    missing: tuple[str, ...] = field(default=(), metadata={"key": None})

    @property
    def observed(self) -> bool:
        """Whether the model is p(y given x), without latents."""
        return self.latent_size is None

    @property
    def data_support(self) -> Support | None:
        """The support of the data; None where it is not known."""
        content = self.support_parameters or self.support
        return None if content is None else from_json(content)

    def held(self, target: str) -> tuple[str, ...]:
        """The names of the model's signatures that a target holds."""
        entry = self.targets.get(target)
        return () if entry is None else tuple(name for name in entry.signatures if name in self.signatures)

    def holds(self, target: str, signature: str | None = None) -> bool:
        """Whether the version has a target; or whether that holds a signature."""
        return target in self.targets if signature is None else signature in self.held(target)

    def kept(self, target: str) -> dict[str, list[str]]:
        """The signatures that a target holds in lower precision, by precision."""
        found: dict[str, list[str]] = {}
        for each in self.reduced:
            if each.target == target and each.dropped is None:
                found.setdefault(each.precision, []).append(each.signature)
        return found

    def to_json(self) -> dict[str, Any]:
        """The same as `json` writes it."""
        return encode(self)


def write_manifest(manifest: Manifest, version_dir: Path) -> None:
    """Writes `manifest.json` in this format, also where the manifest was read from a file of an older one.

    It has no hashes unless the manifest has them.
    """
    current = dataclasses.replace(manifest, format=MANIFEST_FORMAT)
    (version_dir / MANIFEST).write_text(to_text(current.to_json()), encoding="utf-8")


def to_text(content: Mapping[str, Any]) -> str:
    """The text of a manifest's JSON."""
    return json.dumps(content, indent=2) + "\n"


def read_manifest(version_dir: Path) -> Manifest:
    """Reads a version's `manifest.json`, of this format or an older one.

    Raises:
        ManifestError: it cannot be read, is of a newer format, or lacks something or holds it in a wrong type.
    """
    path = version_dir / MANIFEST
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    return parse_manifest(content, path)


def parse_manifest(content: Any, path: Path | str = MANIFEST) -> Manifest:
    """A manifest from its JSON.

    Args:
        content: what `json` read.
        path: the file, for messages.

    Raises:
        ManifestError: as `read_manifest`.
    """
    if not isinstance(content, dict):
        raise ManifestError(f"{path} must hold a JSON object. Received: {short(content)}")
    form = content.get("format")
    if isinstance(form, bool) or not isinstance(form, int) or form < 1:
        raise ManifestError(f"{path} must have a format, 1 to {MANIFEST_FORMAT}. Received: format={short(form)}")
    if form > MANIFEST_FORMAT:
        raise ManifestError(
            f"{path} must have a format of 1 to {MANIFEST_FORMAT}. Received: format={form}. A newer tfpvae wrote it: "
            "use that one."
        )
    try:
        if form == 1:
            content = _from_format_1(content)
        keys = [str(json_key(each)) for each in json_fields(Manifest)]
        missing = tuple(key for key in keys if key not in {FILES, *content})
        return dataclasses.replace(decode(Manifest, content, ""), missing=missing)
    except RecordError as error:
        raise ManifestError(f"{path}: {error}") from error


def _from_format_1(content: dict[str, Any]) -> dict[str, Any]:
    """The content of format 1 as format 2 holds it. `onnx`, `litert` and `saved_model` became `targets`."""
    content = dict(content)
    signatures = decode(Mapping[str, dict[str, Any]], content.get("signatures"), "signatures")
    content["signatures"] = {
        name: {key: value for key, value in entry.items() if key not in ("onnx", "litert")}
        for name, entry in signatures.items()
    }
    held = {"saved_model": list(signatures) if content.pop("saved_model", True) else []}
    for target in ("onnx", "litert"):
        held[target] = [name for name, entry in signatures.items() if entry.get(target)]
    content["targets"] = {
        target: {"signatures": names, "left_out": content.get(f"no_{target}", {})}
        for target, names in held.items()
        if names
    }
    return {key: value for key, value in content.items() if key not in ("no_onnx", "no_litert")}
