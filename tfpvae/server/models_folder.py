"""A folder of models on disk: which models it holds, and where their versions are. No TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

from tfpvae.errors import ServeError
from tfpvae.files import local_path


def check_models_folder(folder: str | Path) -> Path:
    """The folder's absolute path, once it is known to hold a model. A link keeps its own name.

    Raises:
        ServeError: the folder is missing, or it holds no model.
    """
    directory = Path(os.path.abspath(local_path(folder, ServeError)))  # noqa: PTH100  Path.resolve would follow links
    if not directory.is_dir():
        raise ServeError(f"The models directory must be a folder. Received: {folder}")
    if not find_models(directory):
        raise ServeError(
            f"There is no model in {directory}. Expected <version>/saved_model.pb or "
            f"<model>/<version>/saved_model.pb inside it, where <version> is a number."
        )
    return directory


def find_models(directory: Path) -> dict[str, dict[int, Path]]:
    """The models of a folder: for each the directories of its versions, by number."""
    versions = _find_versions(directory)
    if versions:
        return {directory.name: versions}
    folders = sorted(folder for folder in directory.iterdir() if folder.is_dir()) if directory.is_dir() else []
    return {folder.name: versions for folder in folders if (versions := _find_versions(folder))}


def _find_versions(directory: Path) -> dict[int, Path]:
    if not directory.is_dir():
        return {}
    return {
        int(path.name): path
        for path in directory.iterdir()
        if path.name.isascii() and path.name.isdecimal() and path.is_dir()
    }
