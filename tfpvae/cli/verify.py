"""`tfpvae verify`: checks a version: its files, its graphs, and that its runtimes agree."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tfpvae.cli.parsing import Commands, add_command, add_json
from tfpvae.cli.terminal import Steps, load_tensorflow, no_steps, wrapped
from tfpvae.errors import ExportError
from tfpvae.export.repository.hashes import check_hashes
from tfpvae.export.repository.versions import check_is_version
from tfpvae.files import local_path
from tfpvae.manifest import MANIFEST

if TYPE_CHECKING:
    from tfpvae.export.verification import Verification


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(commands, "verify", "check a version: its files, its graphs, and that its runtimes agree")
    parser.add_argument("version_dir", metavar="MODELS/NAME/N", help="a version's directory, or any SavedModel's")
    parser.add_argument(
        "--hashes",
        action="store_true",
        help="only compare each file with the manifest's SHA-256: needs no TensorFlow, and runs nothing",
    )
    add_json(parser)
    return parser


def run(options: argparse.Namespace) -> None:
    """Checks that there is a version, then its files, and without `--hashes` its graphs and numbers.

    Raises:
        ExportError: there is no version, or it must not be served.
    """
    directory = local_path(options.version_dir, ExportError)
    check_is_version(directory)
    if options.hashes:
        _run_hashes(directory, options.json)
        return

    load_tensorflow("tfpvae verify")
    from tfpvae.export.verification import verify

    with Steps(live_only=True) as steps:
        verification = verify(directory, no_steps if options.json else steps)
    if options.json:
        print(json.dumps(verification.to_json()))
    else:
        _print_verification(verification)
    if verification.refused:
        raise ExportError(f"{verification.path} is refused: {verification.errors[0].text}")


def _run_hashes(directory: Path, as_json: bool) -> None:
    damage = check_hashes(directory)
    if as_json:
        print(json.dumps({"path": str(directory), "refused": bool(damage), "damage": damage}))
    elif not damage:
        print(f"{directory}: each file has the SHA-256 that {MANIFEST} lists. Nothing was run.")
    for path, what in damage.items():
        if not as_json:
            print(f"{path} {what}")
    if damage:
        path, what = next(iter(damage.items()))
        raise ExportError(f"{directory} is refused: {path} {what}.")


def _print_verification(verification: Verification) -> None:
    print(f"{verification.path}: written by {verification.written_by or 'another tool'}")
    for line in verification.checked:
        print(f"  {line}")
    if verification.parity:
        print(f"\n  {'signature':<15}{'output':<16}{'runtime':<22}{'difference':>10}{'allowed':>10}")
        for gap in verification.parity:
            print(f"  {gap.signature:<15}{gap.output:<16}{gap.runtime:<22}{gap.difference:>10.1e}{gap.allowed:>10.1e}")
    if verification.batching:
        print()
    for survives, label in ((True, "Batches"), (False, "Does not batch")):
        names = [name for name, reason in verification.batching.items() if (reason is None) is survives]
        if names:
            print(wrapped(f"  {label} in TensorFlow Serving: ", ", ".join(names)))
    print(f"\nFindings: {len(verification.findings) or 'none'}")
    for finding, signatures in verification.grouped():
        where = f"{', '.join(signatures)}: " if signatures else ""
        print(wrapped(f"  {finding.severity.upper():<8} {finding.rule:<16} ", f"{where}{finding.text}"))
        print(wrapped(" " * 28, f"What to do: {finding.advice}"))
    print(f"\n{'Refused' if verification.refused else 'Passed'}.")
