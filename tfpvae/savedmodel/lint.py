"""Finds problems that a SavedModel will have on a server, from its files and without running it.

The rules on REST requests, batching and restored variables follow recorded answers of TensorFlow Serving 2.20.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import numpy as np
import tensorflow as tf

from tfpvae._compat.tensorflow import tensorflow_has_operator
from tfpvae.errors import ExportError
from tfpvae.files import local_path
from tfpvae.savedmodel.graph import VARIABLES, Access, Place, SavedGraph


class Severity(StrEnum):
    """How serious a finding is."""

    ERROR = "error"
    """Requests fail, or something forbidden runs. The version is refused."""
    WARNING = "warning"
    """The version works, but not with every way to call a signature."""


class Finding(NamedTuple):
    """One problem."""

    severity: Severity
    rule: str
    """The name of the rule that is broken: "scalar-input", "xla", ..."""
    signature: str | None
    """The signature with the problem; None if it concerns the whole version."""
    op: str | None
    """The operator, input or output with the problem."""
    text: str
    """The problem in words."""
    advice: str
    """How to fix it."""


_BATCH_RULES: Final = ("scalar-input", "fixed-batch", "no-batch-axis", "unknown-rank", "no-inputs")
"""A signature that TensorFlow Serving can batch breaks none of these rules and has no error."""


def lint(saved_model_dir: str | Path) -> list[Finding]:
    """Checks the signatures, operators and variables of a SavedModel.

    The graph is never run, and nothing is unpickled. TensorFlow only opens the checkpoint, to check that every value
    can be read. Problems that the shapes do not show, such as a free first axis that is not the batch, are not found.

    Args:
        saved_model_dir: the directory that holds `saved_model.pb`.

    Returns:
        The findings, errors first; empty if every way to serve the SavedModel works.

    Raises:
        ExportError: there is no SavedModel, or it cannot be read.
    """
    directory = local_path(saved_model_dir, ExportError)
    return _lint(SavedGraph.read(directory), directory)


def _lint(graph: SavedGraph, directory: Path) -> list[Finding]:
    # Without a checkpoint nothing is restored.
    restore = graph.restore if _checkpoint_is_there(directory) else ()
    restored = graph.access([*restore, *graph.initialise]).written
    findings: list[Finding] = []
    for name, definition in graph.signatures.items():
        findings += _shapes(name, definition)
        findings += _lacks(graph, name, _tensors(definition))
        findings += _operators(name, graph, definition)
        findings += _variables(name, graph.access(_tensors(definition)), restored)
    findings += _at_load(graph)
    findings += _checkpoint(graph, directory)
    findings += _assets(graph, directory)
    findings += _elsewhere(graph, findings)
    return sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR)


def batching(saved_model_dir: str | Path) -> dict[str, str | None]:
    """For each signature, by name: None if TensorFlow Serving can batch it, else the reason why not.

    With `--enable_batching`, the server runs the rows of several requests as one batch and splits the outputs again. So
    the first axis of each input and output must be the rows.

    Args:
        saved_model_dir: the directory that holds `saved_model.pb`.

    Raises:
        ExportError: there is no SavedModel, or it cannot be read.
    """
    directory = local_path(saved_model_dir, ExportError)
    graph = SavedGraph.read(directory)
    reasons: dict[str, str | None] = dict.fromkeys(graph.signatures)
    for finding in _lint(graph, directory):
        breaks = finding.severity is Severity.ERROR or finding.rule in _BATCH_RULES
        if breaks and finding.signature in reasons and reasons[finding.signature] is None:
            reasons[finding.signature] = finding.text
    return reasons


# Shapes and dtypes.

_UNWRITABLE: Final = ("float16", "bfloat16", "complex64", "complex128")
"""Dtypes that TensorFlow Serving cannot write as JSON."""


def _shapes(signature: str, definition: Any) -> Iterator[Finding]:
    def warn(rule: str, op: str | None, text: str, advice: str) -> Finding:
        return Finding(Severity.WARNING, rule, signature, op, text, advice)

    rows = "Give it the shape [None, ...], one row for each example."
    if not definition.inputs:
        yield warn("no-inputs", None, "It has no inputs: every request over REST fails.", "Give it an input with rows.")
    for name, info in sorted(definition.inputs.items()):
        shape = info.tensor_shape
        if shape.unknown_rank:
            text = f"The shape of input {name!r} is unknown: whether it has rows cannot be told."
            yield warn("unknown-rank", name, text, rows)
        elif not shape.dim:
            text = f"Input {name!r} is a scalar: requests in row format and batched requests fail."
            yield warn("scalar-input", name, text, rows)
        elif shape.dim[0].size >= 0:
            text = f"Input {name!r} has {shape.dim[0].size} rows, always: other numbers of rows fail."
            yield warn("fixed-batch", name, text, rows)
    for name, info in sorted(definition.outputs.items()):
        shape = info.tensor_shape
        if shape.unknown_rank:
            text = f"The shape of output {name!r} is unknown: whether it has the inputs' rows cannot be told."
            yield warn("unknown-rank", name, text, "Set it with tf.ensure_shape: [None, ...].")
        elif not shape.dim:
            text = f"Output {name!r} is a scalar: requests in row format and batched requests fail."
            yield warn("no-batch-axis", name, text, "Answer one row for each row of the inputs.")
        elif shape.dim[0].size >= 0:
            text = f"Output {name!r} has {shape.dim[0].size} rows, always, and not those of the inputs."
            yield warn("no-batch-axis", name, text, "Answer one row for each row of the inputs.")
        dtype = _dtype_name(info.dtype)
        if dtype in _UNWRITABLE:
            text = f"Output {name!r} is {dtype}, which cannot be answered over REST."
            yield warn("output-dtype", name, text, "Cast it to float32 in the signature.")


def _dtype_name(dtype: int) -> str:
    try:
        return tf.as_dtype(dtype).name
    except TypeError:
        return f"dtype {dtype}"


# Operators.


@dataclass(frozen=True)
class _Kind:
    """A kind of operator that a signature must not have, in all versions."""

    rule: str
    severity: Severity
    names: re.Pattern[str]
    what: str
    advice: str


_PYTHON: Final = _Kind(
    "python",
    Severity.ERROR,
    re.compile(r"^(Eager)?PyFunc"),
    "calls Python, which no server has",
    "Write the function with TensorFlow's operators in place of tf.py_function and tf.numpy_function.",
)

_FILES: Final = _Kind(
    "files",
    Severity.ERROR,
    re.compile(
        r"(Read|Write|Whole|Text)File|FileSystem|MatchingFiles|TextLine|TFRecord|FixedLengthRecord|"
        r"RecordInput|CSVDataset|SqlDataset|LMDB|Snapshot.|DataService|RemapMatrix|VocabRemapping|"
        r"^(Save|Restore|MergeV2Checkpoints|DistributedSave|(Cache|Load)Dataset|ImmutableConst|DebugIdentity|"
        r"CreateSummary|ImportEvent)"
    ),
    "reads or writes files or connections of the server",
    "Take what it reads as an input of the signature, or as a constant; write nothing.",
)

_RANDOM: Final = _Kind(
    "stateful-random",
    Severity.WARNING,
    re.compile(
        r"^(Experimental)?Random(?!GammaGrad|IndexShuffle)|^(Parameterized)?TruncatedNormal|^Multinomial|"
        r"^NonDeterministicInts|^Rng|^Stateful(StandardNormal|TruncatedNormal|Uniform|RandomBinomial)|^SampleDistortedBoundingBox|"
        r"CandidateSampler$|^Shuffle(AndRepeat)?Dataset"
    ),
    "draws random numbers from a state of the server's: no request can be repeated, and no other runtime agrees",
    "Take a seed for each row as an input, and draw with tfpvae.random or tf.random.stateless_*.",
)

_XLA_MARKS: Final = ("_XlaMustCompile", "jit_compile")
_XLA_TEXT: Final = "is marked for XLA, which TensorFlow Serving refuses: every request fails"
_XLA_ADVICE: Final = "Export it without jit_compile=True."
_UNKNOWN_TEXT: Final = "is no operator of TensorFlow's: a server without the library that defines it cannot load this"
_UNKNOWN_ADVICE: Final = "Write it with TensorFlow's own operators, or build a server with that library."


def _operators(signature: str, graph: SavedGraph, definition: Any) -> Iterator[Finding]:
    places = graph.places(_tensors(definition))
    for kind in (_PYTHON, _FILES, _RANDOM):
        yield from _of_kind(signature, kind, places)
    yield from _grouped(Severity.ERROR, "xla", signature, _marked(graph, places), _XLA_TEXT, _XLA_ADVICE)
    yield from _unknown(signature, graph, places)


def _of_kind(signature: str | None, kind: _Kind, places: Iterable[Place]) -> Iterator[Finding]:
    having = [place for place in places if kind.names.search(place.node.op) or (kind is _FILES and _prints(place.node))]
    yield from _grouped(kind.severity, kind.rule, signature, having, kind.what, kind.advice)


def _prints(node: Any) -> bool:
    """Whether the node prints to a file."""
    return node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:")


def _marked(graph: SavedGraph, places: Iterable[Place]) -> list[Place]:
    def marked(attributes: Any) -> bool:
        return any(mark in attributes and attributes[mark].b for mark in _XLA_MARKS)

    functions = {name for name, function in graph.functions.items() if marked(function.attr)}
    return [place for place in places if marked(place.node.attr) or graph.called(place.node) & functions]


def _unknown(signature: str | None, graph: SavedGraph, places: Iterable[Place]) -> Iterator[Finding]:
    having = [p for p in places if p.node.op not in graph.functions and not tensorflow_has_operator(p.node.op)]
    yield from _grouped(Severity.ERROR, "unknown-op", signature, having, _UNKNOWN_TEXT, _UNKNOWN_ADVICE)


def _grouped(
    severity: Severity, rule: str, signature: str | None, places: Iterable[Place], what: str, advice: str
) -> Iterator[Finding]:
    """One finding per operator, with the first place where it occurs."""
    by_op: dict[str, list[Place]] = {}
    for place in places:
        by_op.setdefault(place.node.op, []).append(place)
    for op, having in by_op.items():
        more = f" and {len(having) - 1} more" if len(having) > 1 else ""
        yield Finding(severity, rule, signature, op, f"{op} {what} ({having[0]}{more}).", advice)


def _lacks(graph: SavedGraph, signature: str | None, tensors: Iterable[str]) -> Iterator[Finding]:
    if lacking := graph.lacks(tensors):
        text = f"The graph lacks what it is computed from: {_some(lacking)}."
        yield Finding(Severity.ERROR, "damaged", signature, None, text, "Export it again: the file is damaged.")


def _tensors(definition: Any) -> list[str]:
    return [info.name for info in definition.outputs.values()]


# Variables.

_RESTORE_ADVICE: Final = (
    "Export Keras 3 models with keras.export.ExportArchive, or track the variables themselves, "
    "[v.value for v in model.variables], as tfpvae.export_model does: a plain tf.saved_model.save restores copies of "
    "them."
)


def _variables(signature: str, access: Access, restored: frozenset[str | int]) -> Iterator[Finding]:
    if lost := sorted(str(name) for name in access.read - restored):
        text = (
            f"It reads variables that a server does not restore: {_some(lost)}. tf.saved_model.load in Python "
            "restores them another way; TensorFlow Serving answers every request with 'Could not find variable'."
        )
        yield Finding(Severity.ERROR, "not-restored", signature, "ReadVariableOp", text, _RESTORE_ADVICE)
    if written := sorted(str(name) for name in access.written):
        text = f"It changes variables, so that an answer depends on the requests before it: {_some(written)}."
        advice = "Export what is called with training=False, and draw random numbers from a seed that is an input."
        yield Finding(Severity.WARNING, "writes-state", signature, "AssignVariableOp", text, advice)


def _checkpoint_is_there(directory: Path) -> bool:
    return (directory / f"{VARIABLES}.index").is_file()


def _checkpoint(graph: SavedGraph, directory: Path) -> Iterator[Finding]:
    if not _checkpoint_is_there(directory):
        return  # Nothing is restored then; signatures that read variables already have a finding.

    def damaged(text: str) -> Finding:
        return Finding(Severity.ERROR, "checkpoint", None, "RestoreV2", text, "Export or copy it again.")

    wanted: list[str] = []
    for place in graph.places(graph.restore):
        if place.node.op == "RestoreV2" and len(place.node.input) > 1:
            wanted += graph.strings(place.function, place.node.input[1]) or []
    try:
        reader = tf.train.load_checkpoint(str(directory / VARIABLES))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        stored = sum(file.stat().st_size for file in (directory / VARIABLES).parent.glob("variables.data-*"))
        if stored < sum(int(np.prod(shapes[name], dtype=object)) * (dtypes[name].size or 0) for name in shapes):
            yield damaged("The files of the variables' values are shorter than what they must hold.")
            return
        for name in shapes:
            reader.get_tensor(name)  # Compares the value with its checksum.
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        yield damaged(f"The variables' values cannot be read: {str(error).splitlines()[0]}")
        return
    if lacking := sorted(set(wanted) - shapes.keys()):
        yield damaged(f"The variables' files lack values that are restored at load: {_some(lacking)}.")


# Nodes that run at load, and nodes that nothing runs.

_RESTORING: Final = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
_SAVING: Final = frozenset({"Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints"}) | _RESTORING
_TABLES: Final = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})


def _at_load(graph: SavedGraph) -> Iterator[Finding]:
    tensors = [*graph.restore, *graph.initialise]
    yield from _lacks(graph, None, tensors)
    places = graph.places(tensors)
    # Loading may read a vocabulary that is an asset of the SavedModel.
    allowed = _RESTORING | (_TABLES if graph.assets else frozenset())
    for kind in (_PYTHON, _FILES):
        for finding in _of_kind(None, kind, [place for place in places if place.node.op not in allowed]):
            yield finding._replace(text=f"At load, {finding.text}")
    yield from _unknown(None, graph, places)


def _elsewhere(graph: SavedGraph, findings: list[Finding]) -> Iterator[Finding]:
    """Finds Python and file operators that neither signatures nor loading run, but a Python program could."""
    known = {finding.op for finding in findings if finding.rule in (_PYTHON.rule, _FILES.rule)}
    saving = {str(place) for place in graph.places([*graph.save, *graph.restore]) if place.node.op in _SAVING}
    loading = {str(place) for place in graph.places(graph.initialise) if place.node.op in _TABLES}
    places = [
        place
        for place in graph.every_place()
        if place.node.op not in known and str(place) not in saving and str(place) not in loading
    ]
    for kind in (_PYTHON, _FILES):
        for finding in _of_kind(None, kind, places):
            yield finding._replace(severity=Severity.WARNING, text=f"In a part that no signature calls, {finding.text}")


def _assets(graph: SavedGraph, directory: Path) -> Iterator[Finding]:
    for name in graph.assets:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            text, advice = "is a file outside the version.", "Do not load it: nothing that exports names such a file."
        elif not (directory / "assets" / name).is_file():
            text, advice = "is not there, so that it cannot be loaded.", "Copy the whole version, assets included."
        else:
            continue
        yield Finding(Severity.ERROR, "assets", None, None, f"The asset {name!r} {text}", advice)


def _some(names: list[str]) -> str:
    """The first three names of a list, and the number of the others."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more
