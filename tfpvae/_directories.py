"""Directories that a user names for a result."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tfpvae.errors import RunError

REPORT: Final = "report.md"
"""The file that tells an evaluation's report from other files."""


def check_free(directory: Path, marker: str, what: str, overwrite: bool, remedy: str) -> None:
    """Checks that a result may be written to a directory, and changes nothing.

    Args:
        directory: the directory, which need not exist.
        marker: the file that tells a result of this kind from other files.
        what: what kind of result it is: "run".
        overwrite: whether an older result may be replaced.
        remedy: what to do where there is an older one, as a sentence.

    Raises:
        RunError: it holds an older result and `overwrite` is False, or it holds something else.
    """
    if directory.exists() and not directory.is_dir():
        raise RunError(f"{directory} is a file. Choose a directory for the {what}.")
    if not directory.is_dir() or not any(directory.iterdir()):
        return
    if not (directory / marker).is_file():
        raise RunError(f"{directory} is not empty, and holds no {what}. Choose another directory.")
    if not overwrite:
        raise RunError(f"{directory} already holds a {what}. {remedy}")


def check_free_for_report(directory: Path, overwrite: bool) -> None:
    """Checks that a report may be written to a directory, and changes nothing.

    Raises:
        RunError: it holds a report and `overwrite` is False, or it holds something else.
    """
    check_free(directory, REPORT, "report", overwrite, "Choose another directory, or overwrite it.")
