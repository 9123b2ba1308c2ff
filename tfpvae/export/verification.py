"""Checks that a version is unchanged since its export and can be served."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpvae.errors import ExportError
from tfpvae.export.endpoints import Endpoint
from tfpvae.export.parity import BATCH_SIZES, Example, compare, examples, examples_of, first_line
from tfpvae.export.repository.hashes import check_hashes
from tfpvae.export.repository.versions import check_is_version
from tfpvae.export.targets.base import Target, targets
from tfpvae.files import local_path
from tfpvae.manifest import MANIFEST, Gap, Manifest, read_manifest
from tfpvae.savedmodel.lint import Finding, Severity, batching, lint
from tfpvae.signatures import CONDITION, ONNX_DIRECTORY, SAVED_MODEL, Run, Signature
from tfpvae.supports import UnitInterval


@dataclass(frozen=True)
class Verification:
    """The outcome of a version's checks.

    Attributes:
        path: the version directory.
        written_by: "tfpvae 0.1.0", or None where another tool wrote it.
        findings: what is wrong, errors first.
        batching: of each signature of the SavedModel, None where it survives TensorFlow Serving's batching, or why not.
        parity: the largest difference of each output between a runtime and the first one there is, the SavedModel
            where the version has one.
        checked: what was compared, and what was not and why: a line each.
    """

    path: Path
    written_by: str | None
    findings: tuple[Finding, ...]
    batching: dict[str, str | None]
    parity: tuple[Gap, ...]
    checked: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether the version must not be served."""
        return bool(self.errors)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make the version refused."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    def grouped(self) -> list[tuple[Finding, tuple[str, ...]]]:
        """Each finding once, with the signatures that have it."""
        signatures: dict[Finding, list[str]] = {}
        for finding in self.findings:
            names = signatures.setdefault(finding._replace(signature=None), [])
            names += [] if finding.signature is None else [finding.signature]
        return [(finding, tuple(names)) for finding, names in signatures.items()]

    def to_json(self) -> dict[str, Any]:
        """The outcome in a form that `json` can write."""
        return {
            "path": str(self.path),
            "written_by": self.written_by,
            "refused": self.refused,
            "findings": [finding._asdict() for finding in self.findings],
            "batching": self.batching,
            "parity": [vars(gap) for gap in self.parity],
            "checked": list(self.checked),
        }


def verify(version_dir: str | Path, progress: Callable[[str], None] = lambda step: None) -> Verification:
    """Checks a version directory: its files, its graphs, and that its runtimes give the same numbers.

    A version that tfpvae wrote passes if every file has the hash that the manifest lists, the SavedModel passes `lint`,
    and all its targets give the same outputs at batch sizes 1, 2 and 33, with seeds at the ends of int64 among them.
    They are compared with the first of them, the SavedModel where there is one; graphs in float16 and int8 too. The
    model in Keras is not at hand: the export compared each target with it, so that two of them may differ by twice what
    the export allows. Nothing is run where the hashes or the lint find an error.

    A SavedModel that another tool wrote is linted alone. Nothing of it is run.

    Args:
        version_dir: `models/mnist/3`.
        progress: called with a line for each step.

    Returns:
        The outcome.

    Raises:
        ExportError: there is no version in the directory.
    """
    directory = local_path(version_dir, ExportError)
    check_is_version(directory)
    has_saved_model, has_manifest = (directory / SAVED_MODEL).is_file(), (directory / MANIFEST).is_file()
    findings: list[Finding] = []
    checked: list[str] = []
    manifest: Manifest | None = None
    if has_manifest:
        progress("comparing the files with the manifest")
        findings += _hash_findings(directory)
        if not findings:
            checked.append(f"Files: each has the SHA-256 that {MANIFEST} lists.")
            manifest = read_manifest(directory)
            if manifest.missing:
                checked.append(
                    f"Manifest: format {manifest.format}, which does not hold {', '.join(manifest.missing)}."
                )
    else:
        checked.append(
            f"Files: not compared. There is no {MANIFEST}: another tool wrote this SavedModel, and it is read alone."
        )
        if (directory / ONNX_DIRECTORY).is_dir():
            findings.append(
                _error("files", MANIFEST, f"{MANIFEST} is missing beside {ONNX_DIRECTORY}/.", "Copy the whole version.")
            )
    survivors: dict[str, str | None] = {}
    if has_saved_model:
        progress("reading the SavedModel")
        linted, survivors = _lint(directory)
        findings += linted
        if survivors:
            checked.append(f"Graph: {len(survivors)} signatures were read, and not run.")
    if manifest is not None and has_saved_model:
        for name in sorted(manifest.signatures.keys() - survivors.keys()):
            text = f"The SavedModel lacks the signature, which {MANIFEST} has."
            findings.append(_error("damaged", SAVED_MODEL, text, "Export it again.", name))
    gaps: list[Gap] = []
    if manifest is not None and not any(finding.severity is Severity.ERROR for finding in findings):
        gaps, wrong, lines = _compare(directory, manifest, progress)
        findings += wrong
        checked += lines
    else:
        reason = "nothing of another tool's is run" if not has_manifest else "nothing is run before the errors are gone"
        checked.append(f"Numbers: not compared; {reason}.")
    return Verification(
        path=directory,
        written_by=_written_by(manifest) if has_manifest else None,
        findings=tuple(sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR)),
        batching=survivors,
        parity=tuple(gaps),
        checked=tuple(checked),
    )


def _lint(directory: Path) -> tuple[list[Finding], dict[str, str | None]]:
    """What is wrong with the SavedModel, and which signatures survive batching."""
    try:
        return lint(directory), batching(directory)
    except ExportError as error:
        return [_error("damaged", SAVED_MODEL, str(error), "Export or copy it again.")], {}


def _error(rule: str, op: str | None, text: str, advice: str, signature: str | None = None) -> Finding:
    return Finding(Severity.ERROR, rule, signature, op, text, advice)


def _hash_findings(directory: Path) -> list[Finding]:
    advice = {
        "was changed": "Copy it again from where it was exported, or export again: nothing in a version may be edited.",
        "is missing": "Copy it again from where it was exported: a version is copied whole.",
        "is not listed": "Move it out of the version.",
    }
    try:
        return [
            _error("files", path, f"{path} {what}.", advice[what]) for path, what in check_hashes(directory).items()
        ]
    except ExportError as error:
        return [_error("files", MANIFEST, str(error), advice["was changed"])]


def _written_by(manifest: Manifest | None) -> str:
    version = None if manifest is None else manifest.versions.get("tfpvae")
    return "tfpvae" if version is None else f"tfpvae {version}"


# The same numbers again.


@dataclass(frozen=True)
class _Opened:
    """A way to run some signatures of the version.

    Attributes:
        runtime: its name.
        run: runs a signature.
        signatures: the names of those that it holds.
        tolerance: the largest difference that passes, relative to the larger of 1 and the largest output.
        errors: what it raises where it cannot run a signature.
    """

    runtime: str
    run: Run
    signatures: Sequence[str]
    tolerance: float
    errors: tuple[type[Exception], ...]


def _compare(
    directory: Path, manifest: Manifest, progress: Callable[[str], None]
) -> tuple[list[Gap], list[Finding], list[str]]:
    """Compares every way to run the version with the first: the gaps, the findings, and what was done, in words."""
    gaps: list[Gap] = []
    findings: list[Finding] = []
    with ExitStack() as stack:
        opened = [each for target in targets() for each in _open(target, directory, manifest, stack)]
        unknown = sorted(manifest.targets.keys() - {target.name for target in targets()})
        lines = [f"Not compared: {name}, for no target of this name is registered." for name in unknown]
        if not opened:
            return [], [], [*lines, "Numbers: not compared, for nothing can be run."]
        reference, *others = opened
        progress(f"computing examples with {reference.runtime}")
        answered: list[Example] = []
        for endpoint in _endpoints(manifest, reference):
            try:
                answered += examples([endpoint])
            except reference.errors as error:
                text = f"{reference.runtime} cannot run it: {first_line(error)}"
                name = endpoint.signature.name
                findings.append(_error("parity", reference.runtime, text, "Export it again.", name))
        for other in others:
            progress(f"comparing {other.runtime} with {reference.runtime}")
            compared = examples_of(answered, other.signatures)
            worst, wrong = compare(
                compared, other.runtime, other.run, other.tolerance, other.errors, reference=reference.runtime
            )
            gaps += worst
            advice = f"Export it again; if it comes again, do not use {other.runtime} for it."
            findings += [_error("parity", other.runtime, text, advice, name) for name, text in wrong.items()]
    sizes = f"batch sizes {', '.join(map(str, BATCH_SIZES[:-1]))} and {BATCH_SIZES[-1]}, edge seeds included"
    all_of_them = " and ".join(other.runtime for other in others)
    how = (
        f"{all_of_them} against {reference.runtime}"
        if others
        else f"not compared, for {reference.runtime} alone is there; it ran"
    )
    return gaps, findings, [*lines, f"Numbers: {how}, {sizes}."]


def _open(target: Target, directory: Path, manifest: Manifest, stack: ExitStack) -> Iterator[_Opened]:
    """Every way to run what a target holds, those of lower precision last."""
    held = manifest.held(target.name)
    if not held or not (directory / target.files).exists():
        return
    # The export compared each runtime with Keras, so that two of them may differ by twice what it allows.
    for opened in (target.open, target.open_otherwise):
        for runtime, run in stack.enter_context(opened(directory, held)).items():
            yield _Opened(runtime, run, held, 2 * manifest.tolerance, target.errors)
    for precision, names in manifest.kept(target.name).items():
        allowed = max(
            each.tolerance or manifest.tolerance
            for each in manifest.reduced
            if (each.target, each.precision) == (target.name, precision) and each.dropped is None
        )
        run = target.open_reduced(directory, precision)
        names = [name for name in names if name in held]
        yield _Opened(f"{target.runtime} {precision}", run, names, 2 * allowed, target.errors)


def _endpoints(manifest: Manifest, opened: _Opened) -> Iterator[Endpoint]:
    """The signatures that a runtime holds, as the manifest has them, computed by that runtime."""
    for name in opened.signatures:
        signature = manifest.signatures[name]
        yield Endpoint(
            Signature(name, tuple(key for key in signature.inputs if key != CONDITION), None, signature.meaning),
            _function(opened.run, name),
            tuple(tf.TensorSpec(spec.shape, spec.dtype, name=key) for key, spec in signature.inputs.items()),
            discrete=signature.discrete,
            num_classes=None if manifest.condition is None else manifest.condition.num_classes,
            # The support of a model without latents is that of y, and x may be anything.
            support=(None if manifest.observed else manifest.data_support) or UnitInterval(),
        )


def _function(run: Run, name: str) -> Callable[..., Any]:
    """A runtime's signature as a function of tensors."""

    def function(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = run(name, {key: tensor.numpy() for key, tensor in inputs.items()})
        return {key: tf.constant(value) for key, value in outputs.items()}

    return function
