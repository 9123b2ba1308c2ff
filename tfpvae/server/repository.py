"""A folder of models, and which versions of each are served."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

from tfpvae.errors import ServeError
from tfpvae.server.models_folder import check_models_folder, find_models
from tfpvae.server.servable import Servable
from tfpvae.server.status import Code, StatusError, invalid

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionPolicy:
    """Which versions of a model are loaded, and under which labels they can be asked for.

    Attributes:
        versions: the versions; where none are named, the highest number there is, as in TensorFlow Serving.
        labels: label -> version.
    """

    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)

    def wanted(self, present: set[int]) -> set[int]:
        """The versions that should be loaded, out of those that are on disk."""
        return present & set(self.versions) if self.versions else set(sorted(present)[-1:])


@dataclass(frozen=True)
class VersionState:
    """The state of a version: one entry of the answer to `GET /v1/models/<model>`.

    Attributes:
        state: "LOADING", "AVAILABLE" or "END".
        code: why a version could not be loaded.
        message: the same in words.
    """

    state: str
    code: Code = Code.OK
    message: str = ""


class _Model:
    """The versions of one model."""

    def __init__(self, name: str, policy: VersionPolicy) -> None:
        self.name = name
        self.policy = policy
        self.servables: dict[int, Servable] = {}
        self.states: dict[int, VersionState] = {}
        self._failed: dict[int, _Fingerprint] = {}

    def update(self, present: Mapping[int, Path]) -> None:
        """Loads the wanted versions that are missing, then drops the loaded ones that are not wanted.

        The old version stays until a new one is loaded. A version that failed is tried again when its files change.
        """
        wanted = self.policy.wanted(set(present))
        for version in sorted(wanted - self.servables.keys()):
            self._load(version, present[version])
        if not wanted or wanted & self.servables.keys():
            for version in self.servables.keys() - wanted:
                self._set(version, VersionState("END"))
            self.servables = {version: self.servables[version] for version in self.servables.keys() & wanted}

    def _load(self, version: int, path: Path) -> None:
        fingerprint = _fingerprint(path)
        if self._failed.get(version) == fingerprint:
            return
        self._set(version, VersionState("LOADING"))
        try:
            servable = Servable(version, path)
        except StatusError as error:
            _LOGGER.warning("Model %s: version %d cannot be loaded: %s", self.name, version, error.message)
            self._failed[version] = fingerprint
            self._set(version, VersionState("END", error.code, error.message))
        else:
            self._failed.pop(version, None)
            self.servables = {**self.servables, version: servable}
            self._set(version, VersionState("AVAILABLE"))

    def _set(self, version: int, state: VersionState) -> None:
        self.states = {**self.states, version: state}


class Repository:
    """The models of a folder.

    The folder holds one folder a model (`models/digits/1/saved_model.pb`), or is that of one model
    (`digits/1/saved_model.pb`), with the folder's name. Names of versions are numbers; other names are
    ignored, so that a version can be written under one and renamed when it is whole.

    Reading is safe from any thread at any time: `poll` replaces what it changes.

    Args:
        models_directory: the folder.
        policies: versions and labels, by model; a model without a policy serves its latest version.

    Raises:
        ServeError: the folder is missing or holds no model, or a model has no version that can be loaded,
            or a policy names a model or a version that is not there.
    """

    def __init__(self, models_directory: str | Path, policies: Mapping[str, VersionPolicy] | None = None) -> None:
        self.directory = check_models_folder(models_directory)
        self._policies = dict(policies or {})
        self._models: dict[str, _Model] = {}
        self._polling = Lock()
        self.poll()
        self._check_start()

    @property
    def models(self) -> dict[str, dict[int, Servable]]:
        """The versions that are served, by model and number."""
        return {name: dict(model.servables) for name, model in self._models.items()}

    def poll(self) -> None:
        """Looks at the folder, loads new versions and drops those that are gone."""
        with self._polling:
            on_disk = find_models(self.directory)
            for name in on_disk.keys() - self._models.keys():
                model = _Model(name, self._policies.get(name, VersionPolicy()))
                self._models = {**self._models, name: model}
            for name, model in self._models.items():
                model.update(on_disk.get(name, {}))

    def states(self, model: str) -> dict[int, VersionState]:
        """The state of each version of a model, the highest first; empty for an unknown model."""
        if model not in self._models:
            return {}
        return dict(sorted(self._models[model].states.items(), reverse=True))

    def find(self, model: str, version: int | None = None, label: str | None = None) -> Servable:
        """The servable of a request: of the version or the label that it names, or else the highest version.

        Raises:
            StatusError: no such version is served.
        """
        entry = self._models.get(model)
        if label is not None:
            if entry is None or label not in entry.policy.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = entry.policy.labels[label]
        servables = entry.servables if entry is not None else {}
        wanted = version if version is not None else max(servables, default=None)
        if wanted is None or wanted not in servables:
            asked = f"Latest({model})" if version is None else f"Specific({model}, {version})"
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {asked}")
        return servables[wanted]

    def _check_start(self) -> None:
        for name, policy in self._policies.items():
            if name not in self._models:
                raise ServeError(f"There is no model {name!r}. The models are: {', '.join(sorted(self._models))}.")
            for version in sorted({*policy.versions, *policy.labels.values()}):
                if version not in self._models[name].servables:
                    raise ServeError(f"Version {version} of model {name!r} is not loaded. {self._why(name, version)}")
        for name, model in self._models.items():
            if not model.servables:
                version = max(model.states)
                raise ServeError(f"Model {name!r} cannot be served. {self._why(name, version)}")

    def _why(self, model: str, version: int) -> str:
        state = self._models[model].states.get(version)
        if state is None:
            loaded = ", ".join(map(str, sorted(self._models[model].servables)))
            return f"The loaded versions are: {loaded}."
        return f"Version {version}: {state.message}"


_Fingerprint = frozenset[tuple[str, int, int]]


def _fingerprint(path: Path) -> _Fingerprint:
    """Name, size and time of every file of a version: it changes while the version is being written."""
    files = set()
    for file in path.rglob("*"):
        # Links may dangle, and files vanish while they are looked at.
        with suppress(OSError):
            stat = file.stat()
            files.add((str(file), stat.st_size, stat.st_mtime_ns))
    return frozenset(files)
