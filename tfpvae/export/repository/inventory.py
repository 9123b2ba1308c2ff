"""The versions of a model: what each is, and which can go."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpvae.checks import positive_integer
from tfpvae.errors import ExportError, ManifestError
from tfpvae.export.repository.hashes import check_hashes
from tfpvae.export.repository.versions import remove, version_directories, versions
from tfpvae.files import local_path
from tfpvae.manifest import MANIFEST, read_manifest
from tfpvae.signatures import ONNX_DIRECTORY


@dataclass(frozen=True)
class VersionInfo:
    """What a version directory says of itself.

    Attributes:
        version: its number.
        path: the directory.
        size: bytes, of all files.
        created: when it was exported, ISO 8601; None, like what follows, where it has no manifest that can be read.
        likelihood: the class of p(x given z).
        prior: the class of p(z); None also where the model has none.
        signatures: their names.
        onnx: the names of the graphs, `decode`, `decode.int8`.
        damage: what `check_hashes` gives; None where the files were not compared, or there is no manifest.
    """

    version: int
    path: Path
    size: int
    created: str | None
    likelihood: str | None
    prior: str | None
    signatures: tuple[str, ...]
    onnx: tuple[str, ...]
    damage: dict[str, str] | None

    def to_json(self) -> dict[str, Any]:
        """The same as `json` can write it."""
        return dataclasses.asdict(self) | {"path": str(self.path)}


def describe(model_directory: str | Path, *, hashes: bool = False) -> list[VersionInfo]:
    """The versions of a model, ascending.

    Args:
        model_directory: `models/mnist`.
        hashes: whether to compare each file with the SHA-256 that the manifest lists; reads all files.

    Raises:
        ExportError: there is no such directory, or it holds no version.
    """
    directories = version_directories(local_path(model_directory, ExportError))
    if not directories:
        raise ExportError(f"There is no version in {model_directory}. Expected {model_directory}/<number>/.")
    return [_describe(number, path, hashes) for number, path in directories.items()]


def _describe(number: int, path: Path, hashes: bool) -> VersionInfo:
    damage = None
    if hashes and (path / MANIFEST).is_file():
        try:
            damage = check_hashes(path)
        except ExportError:
            damage = {MANIFEST: "cannot be read"}
    try:
        manifest = read_manifest(path)
    except ManifestError:
        manifest = None
    return VersionInfo(
        version=number,
        path=path,
        size=sum(file.lstat().st_size for file in path.rglob("*") if file.is_file()),
        created=None if manifest is None else manifest.created,
        likelihood=None if manifest is None else manifest.likelihood,
        prior=None if manifest is None else manifest.prior,
        signatures=() if manifest is None else tuple(manifest.signatures),
        onnx=tuple(sorted(file.name.removesuffix(".onnx") for file in (path / ONNX_DIRECTORY).glob("*.onnx"))),
        damage=damage,
    )


def prune(model_directory: str | Path, keep: int, protected: Collection[int] = ()) -> list[int]:
    """Removes all versions but the newest.

    Args:
        model_directory: `models/mnist`.
        keep: how many of the newest stay, 1 or more.
        protected: older versions that stay too.

    Returns:
        The versions that were removed.

    Raises:
        ExportError: `keep` is not 1 or more, or a version cannot be removed.
    """
    keep = positive_integer("keep", keep, ExportError)
    directory = local_path(model_directory, ExportError)
    old = [number for number in versions(directory)[:-keep] if number not in protected]
    for number in old:
        remove(directory, number)
    return old
