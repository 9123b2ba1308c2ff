"""`tfpvae versions`: lists a model's versions, removes old ones, labels them for TensorFlow Serving.

No TensorFlow: it runs on a host that only serves.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpvae.cli.parsing import Commands, add_command, add_json
from tfpvae.errors import ExportError
from tfpvae.export.repository.inventory import VersionInfo, describe, prune
from tfpvae.export.repository.model_config import Entry, read_entry, write_labels
from tfpvae.export.repository.versions import remove_leftovers
from tfpvae.export.repository.versions import versions as version_numbers
from tfpvae.files import local_path


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(
        commands, "versions", "list a model's versions, remove old ones, label them for TensorFlow Serving"
    )
    parser.add_argument("model_dir", metavar="MODELS/NAME", help="the model's directory")
    parser.add_argument("--hashes", action="store_true", help="compare every file with the manifest, which reads them")
    parser.add_argument(
        "--label",
        action="append",
        metavar="NAME=N",
        help="have TensorFlow Serving know version N by a name too, such as stable=2; NAME= removes the name",
    )
    parser.add_argument("--keep", type=int, metavar="N", help="remove all but the newest N and what CONFIG names")
    parser.add_argument(
        "--config", metavar="CONFIG", help="TensorFlow Serving's models.config; by default MODELS/models.config"
    )
    parser.add_argument(
        "--base-path", metavar="PATH", help="where the server finds MODELS/NAME, if CONFIG does not have it yet"
    )
    add_json(parser)
    return parser


@dataclass(frozen=True)
class _Outcome:
    """What the command changed and what there is now.

    Attributes:
        versions: the versions that there are.
        config: the models.config that was read or written.
        entry: what it says of the model, if anything.
        labelled: whether labels were changed.
        pending: the labels that were not moved yet, with the versions that they are to move to.
        removed: the versions that were removed.
        leftovers_removed: what interrupted exports and removals left, and is gone now.
        leftovers_kept: what they left and is still there, with the reason.
    """

    versions: Sequence[VersionInfo]
    config: Path
    entry: Entry | None
    labelled: bool
    pending: Mapping[str, int]
    removed: Sequence[int]
    leftovers_removed: Sequence[str]
    leftovers_kept: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The same as `json` can write it."""
        return {
            "versions": [version.to_json() for version in self.versions],
            "removed": list(self.removed),
            "leftovers_removed": list(self.leftovers_removed),
            "leftovers_kept": dict(self.leftovers_kept),
            "config": str(self.config) if self.entry else None,
            "labels": dict(self.entry.labels) if self.entry else {},
            "labels_pending": dict(self.pending),
            "loaded": list(self.entry.versions) if self.entry else [],
        }


def run(options: argparse.Namespace) -> None:
    """Changes the labels, removes old versions and leftovers, then lists what there is.

    Raises:
        ExportError: an argument is wrong, or a file cannot be read or written.
    """
    outcome = _apply(options)
    if options.json:
        print(json.dumps(outcome.to_json()))
    else:
        _print_outcome(outcome, Path(options.model_dir).resolve().name)


def _apply(options: argparse.Namespace) -> _Outcome:
    if options.keep is not None and options.keep < 1:
        raise ExportError(f"--keep must be 1 or more. Received: {options.keep}")
    directory = local_path(options.model_dir, ExportError).resolve()
    config = local_path(options.config, ExportError) if options.config else directory.parent / "models.config"
    if options.config and not options.label and not config.is_file():
        raise ExportError(f"There is no {config}.")
    describe(directory)  # An error where there is no version.
    changes = dict(_label(text) for text in options.label or [])
    pending: dict[str, int] = {}
    if changes:
        base_path = options.base_path or directory.as_posix()
        pending = write_labels(config, directory.name, changes, version_numbers(directory), base_path).pending
    entry = read_entry(config, directory.name)
    removed = []
    if options.keep is not None:
        protected = {*entry.versions, *entry.labels.values()} if entry else set()
        removed = prune(directory, options.keep, protected)
    leftovers_removed, leftovers_kept = remove_leftovers(directory)
    return _Outcome(
        versions=describe(directory, hashes=options.hashes),
        config=config,
        entry=entry,
        labelled=bool(changes),
        pending=pending,
        removed=removed,
        leftovers_removed=leftovers_removed,
        leftovers_kept=leftovers_kept,
    )


def _label(text: str) -> tuple[str, int | None]:
    name, equals, version = text.partition("=")
    if not equals or not (version == "" or version.isdecimal()):
        raise ExportError(f"--label must be NAME=N, or NAME= to remove it. Received: {text!r}")
    return name, int(version) if version else None


def _print_outcome(outcome: _Outcome, model: str) -> None:
    _print_versions(outcome.versions, outcome.entry.labels if outcome.entry else {})
    if outcome.removed:
        print(f"\nRemoved: {', '.join(map(str, outcome.removed))}")
        if not outcome.entry:
            print(f"No label was looked at: {outcome.config} does not name {model}.")
    for name in outcome.leftovers_removed:
        print(f"Removed {name}, left by an export or a removal that was interrupted")
    for name, reason in outcome.leftovers_kept.items():
        print(f"Left {name}: {reason}")
    if outcome.entry:
        _print_entry(outcome.entry, outcome.config, outcome.labelled)
    for label, version in outcome.pending.items():
        print(
            f"Not moved yet: {label}, to {version}. TensorFlow Serving moves a label only to a version that it has "
            f"loaded, and refuses the whole file otherwise. It loads {version} now: give the same command again in a "
            f"minute, when /v1/models/{model}/versions/{version} says AVAILABLE."
        )


def _print_versions(versions: Sequence[VersionInfo], labels: Mapping[str, int]) -> None:
    rows = [("version", "created", "MB", "signatures", "ONNX", "likelihood", "prior", "files", "labels")]
    for info in versions:
        files = "not compared" if info.damage is None else f"{len(info.damage)} differ" if info.damage else "hold"
        names = ", ".join(label for label, version in labels.items() if version == info.version)
        rows.append(
            (
                str(info.version),
                info.created or "-",
                f"{info.size / 1e6:.1f}",
                str(len(info.signatures)),
                str(len(info.onnx)),
                info.likelihood or "-",
                info.prior or "-",
                files,
                names or "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for info in versions:
        for path, what in (info.damage or {}).items():
            print(f"Version {info.version}: {path} {what}")


def _print_entry(entry: Entry, config: Path, changed: bool) -> None:
    loaded = f"versions {', '.join(map(str, entry.versions))}" if entry.versions else "the highest version"
    print(f"\nBy {config} TensorFlow Serving loads {loaded} from {entry.base_path}.")
    if entry.labels:
        print(
            "A request that names neither a version nor a label gets the highest that is loaded; to roll back, ask for "
            "a label (/labels/stable:predict) and move it.\n"
            "A version that is exported from now on is not loaded before --label is given again."
        )
    if entry.labels and changed:
        print(
            "The server must run with --allow_version_labels_for_unavailable_models, or it does not start with labels, "
            "and with --model_config_file_poll_wait_seconds, to see a change."
        )
