"""Whether a version is still what was exported, and can be served."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpvae.errors import ExportError
from tfpvae.export.endpoints import Endpoint
from tfpvae.export.parity import BATCH_SIZES, Example, Gap, examples, examples_of, gap_of, shapes_of
from tfpvae.export.repository.hashes import check_hashes
from tfpvae.export.repository.versions import check_is_version
from tfpvae.export.targets.litert import LITERT, LITERT_ERRORS, run_litert
from tfpvae.export.targets.onnx import ONNX_ERRORS, open_graph, run_onnx
from tfpvae.savedmodel.lint import Finding, Severity, batching, lint
from tfpvae.savedmodel.session import Run, run_v1
from tfpvae.signatures import CONDITION, MANIFEST, MANIFEST_FORMAT, ONNX_DIRECTORY, SAVED_MODEL, Signature, graph_file


@dataclass(frozen=True)
class Verification:
    """What became of a version's checks.

    Attributes:
        path: the version directory.
        written_by: "tfpvae 0.1.0", or None where another tool wrote it.
        findings: what is wrong, errors first.
        batching: of each signature of the SavedModel, None where it survives TensorFlow Serving's batching, or why not.
        parity: the largest difference of each output between a runtime and the SavedModel, or ONNX Runtime where
            there is none.
        checked: what was looked at, and what was left out and why: a line each.
    """

    path: Path
    written_by: str | None
    findings: tuple[Finding, ...]
    batching: dict[str, str | None]
    parity: tuple[Gap, ...]
    checked: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether it must not be served."""
        return bool(self.errors)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings for which it is refused."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    def grouped(self) -> list[tuple[Finding, tuple[str, ...]]]:
        """Each finding once, with the signatures that have it."""
        signatures: dict[Finding, list[str]] = {}
        for finding in self.findings:
            found = signatures.setdefault(finding._replace(signature=None), [])
            found += [] if finding.signature is None else [finding.signature]
        return [(finding, tuple(found)) for finding, found in signatures.items()]

    def to_json(self) -> dict[str, Any]:
        """The same, of what `json` can write."""
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

    Of a version that tfpvae wrote: every file has the hash that the manifest lists, the SavedModel passes `lint`, and
    the SavedModel through both loaders and ONNX Runtime give the same outputs at batch sizes 1, 2 and 33, seeds at the
    ends of int64 included, graphs in float16 and int8 and LiteRT as well; where there is no SavedModel, ONNX Runtime in
    float32 stands for it. The model in Keras is not at hand: the export compared each runtime with it, so that two of
    them may differ by twice what the export allows. Nothing is run where the hashes or the lint find an error.

    Of a SavedModel that another tool wrote: `lint` alone. Nothing of it is run.

    Args:
        version_dir: `models/mnist/3`.
        progress: called with a line for each step.

    Returns:
        What was found.

    Raises:
        ExportError: there is no version in the directory.
    """
    directory = Path(version_dir)
    check_is_version(directory)
    has_saved_model, has_manifest = (directory / SAVED_MODEL).is_file(), (directory / MANIFEST).is_file()
    findings: list[Finding] = []
    checked: list[str] = []
    manifest: dict[str, Any] | None = None
    if has_manifest:
        progress("comparing the files with the manifest")
        findings += _hash_findings(directory)
        if not findings:
            checked.append(f"Files: each has the SHA-256 that {MANIFEST} lists.")
            manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
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
        try:
            findings += lint(directory)
            survivors = batching(directory)
        except ExportError as error:
            findings.append(_error("damaged", SAVED_MODEL, str(error), "Export or copy it again."))
        else:
            checked.append(f"Graph: {len(survivors)} signatures were read, and not run.")
    if manifest is not None and has_saved_model:
        for name in sorted(manifest["signatures"].keys() - survivors.keys()):
            text = f"The SavedModel lacks the signature, which {MANIFEST} has."
            findings.append(_error("damaged", SAVED_MODEL, text, "Export it again.", name))
    gaps: list[Gap] = []
    if manifest is not None and not any(finding.severity is Severity.ERROR for finding in findings):
        gaps, wrong, line = _compare(directory, manifest, has_saved_model, progress)
        findings += wrong
        checked.append(line)
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


def _written_by(manifest: dict[str, Any] | None) -> str:
    return f"tfpvae {manifest['versions']['tfpvae']}" if manifest else "tfpvae"


# The same numbers again.


def _compare(
    directory: Path, manifest: dict[str, Any], has_saved_model: bool, progress: Callable[[str], None]
) -> tuple[list[Gap], list[Finding], str]:
    if manifest["format"] != MANIFEST_FORMAT:
        raise ExportError(
            f"{directory / MANIFEST} must have format {MANIFEST_FORMAT}. Received: format={manifest['format']}. "
            "A newer tfpvae wrote it: verify it with that."
        )
    graphs = _graphs(manifest)
    # The profile's tolerance is each one's from Keras; of a graph that could not be written there is none.
    tolerance = 2 * manifest["tolerance"]
    kept = [each for each in manifest.get("reduced", []) if not each["dropped"]]
    tolerances = {_in_precision(each["precision"]): 2 * each["tolerance"] for each in kept}
    gaps: list[Gap] = []
    wrong: list[Finding] = []
    runs: list[tuple[str, Run, list[str]]] = []
    onnx = {precision: run_onnx(directory / ONNX_DIRECTORY, precision) for precision in graphs}
    with ExitStack() as stack:
        if has_saved_model:
            reference, opened = "SavedModel (v2)", list(manifest["signatures"])
            functions: Mapping[str, Callable[..., Any]] = tf.saved_model.load(str(directory)).signatures
            runs.append(("SavedModel (v1)", stack.enter_context(run_v1(directory)), opened))
        else:
            reference, run = "ONNX Runtime", onnx.pop("float32")
            progress("opening the ONNX graphs")
            wrong += _unopened(directory / ONNX_DIRECTORY, graphs["float32"])
            opened = [name for name in graphs["float32"] if name not in {finding.signature for finding in wrong}]
            functions = {name: _function(run, name) for name in opened}
        runs += [(_in_precision(precision), run, graphs[precision]) for precision, run in onnx.items()]
        in_litert = [name for name, signature in manifest["signatures"].items() if signature.get("litert")]
        if in_litert:
            runs.append(("LiteRT", run_litert(directory / LITERT), in_litert))
        progress(f"computing examples with {reference}")
        made = examples(_endpoints(manifest, functions, opened))
        for runtime, run, names in runs:
            progress(f"comparing {runtime} with {reference}")
            compared, allowed = examples_of(made, names), tolerances.get(runtime, tolerance)
            found, mistakes = _gaps(compared, reference, runtime, run, allowed)
            gaps += found
            wrong += mistakes
    sizes = f"batch sizes {', '.join(map(str, BATCH_SIZES[:-1]))} and {BATCH_SIZES[-1]}, edge seeds included"
    all_of_them = " and ".join(runtime for runtime, _, _ in runs)
    how = f"{all_of_them} against {reference}" if runs else f"not compared, for {reference} alone is there; it ran"
    return gaps, wrong, f"Numbers: {how}, {sizes}."


def _function(run: Run, name: str) -> Callable[..., Any]:
    """A runtime's signature of tensors, as a SavedModel's is."""

    def function(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {key: tf.constant(value) for key, value in run(name, {k: v.numpy() for k, v in inputs.items()}).items()}

    return function


def _endpoints(
    manifest: dict[str, Any], functions: Mapping[str, Callable[..., Any]], names: Iterable[str]
) -> Iterator[Endpoint]:
    """The signatures with these names as the manifest has them, computed by these functions."""
    for name in names:
        signature = manifest["signatures"][name]
        specs = tuple(
            tf.TensorSpec(spec["shape"], spec["dtype"], name=key) for key, spec in signature["inputs"].items()
        )
        yield Endpoint(
            Signature(name, tuple(key for key in signature["inputs"] if key != CONDITION), None, signature["meaning"]),
            functions[name],
            specs,
            discrete=signature["discrete"],
            num_classes=(manifest.get("condition") or {}).get("num_classes"),
            # Of a model without latents the support is that of y, and x may be anything.
            support=(manifest["support"] if manifest["latent_size"] else None) or "unit",
        )


def _gaps(
    made: Iterable[Example], reference: str, runtime: str, run: Run, tolerance: float
) -> tuple[list[Gap], list[Finding]]:
    """The largest gap of each output, and a finding for each signature that differs or does not run."""
    worst: dict[tuple[str, str], Gap] = {}
    wrong: dict[str, Finding] = {}
    for example in made:
        name = example.endpoint.signature.name
        if name in wrong:
            continue
        advice = f"Export it again; if it comes again, do not use {runtime} for it."
        try:
            got = run(name, example.inputs)
        except (tf.errors.OpError, KeyError, *ONNX_ERRORS, *LITERT_ERRORS) as error:
            text = f"{runtime} cannot run it: {str(error).partition(chr(10))[0]}"
            wrong[name] = _error("parity", runtime, text, advice, name)
            continue
        if shapes_of(got) != shapes_of(example.expected):
            text = f"{runtime} gives {shapes_of(got)} where {reference} gives {shapes_of(example.expected)}."
            wrong[name] = _error("parity", runtime, text, advice, name)
            continue
        for output, value in example.expected.items():
            rows = len(next(iter(example.inputs.values())))
            if len(value) != rows:
                text = f"Output {output!r} of {reference} has {len(value)} rows where its inputs have {rows}."
                wrong[name] = _error("parity", output, text, "Export it again.", name)
                break
            gap = gap_of(example.endpoint, runtime, output, value, got[output], tolerance)
            if (name, output) not in worst or not gap.difference <= worst[name, output].difference:
                worst[name, output] = gap
            if not gap.difference <= gap.allowed and name not in wrong:
                text = (
                    f"Output {output!r} in {runtime} differs from {reference} by {gap.difference:.1e} "
                    f"at batch {len(value)}; allowed {gap.allowed:.1e}."
                )
                wrong[name] = _error("parity", runtime, text, advice, name)
    return list(worst.values()), list(wrong.values())


def _unopened(directory: Path, names: Iterable[str]) -> Iterator[Finding]:
    for name in names:
        try:
            open_graph(directory / graph_file(name))
        except ONNX_ERRORS as error:
            text = f"ONNX Runtime cannot open it: {str(error).splitlines()[0]}"
            yield _error("parity", "ONNX Runtime", text, "Export it again.", name)


def _graphs(manifest: dict[str, Any]) -> dict[str, list[str]]:
    """The signatures that have a graph, by precision; float32 is always there."""
    graphs = {"float32": [name for name, signature in manifest["signatures"].items() if signature["onnx"]]}
    for each in manifest.get("reduced", []):
        if not each["dropped"]:
            graphs.setdefault(each["precision"], []).append(each["signature"])
    return graphs


def _in_precision(precision: str) -> str:
    return "ONNX Runtime" if precision == "float32" else f"ONNX Runtime {precision}"
