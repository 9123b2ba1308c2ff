"""The interface of export targets. A target is a file format for a model's signatures and a runtime for it.

Each target is one class in one file. If the profile asks for a registered target, `tfpvae.export_model` writes it,
compares it with Keras, lists it in the manifest, verifies it, describes it in the model card, and times it.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from tfpvae._extras import explain_missing
from tfpvae.errors import ExportError
from tfpvae.export.markdown import table
from tfpvae.signatures import Run, Signature

if TYPE_CHECKING:
    from tfpvae.export.endpoints import Endpoint
    from tfpvae.export.profile import Profile
    from tfpvae.manifest import Manifest


@dataclass(frozen=True)
class Task:
    """The inputs of a target's `write`.

    Attributes:
        model: the model, whose weights the endpoints use.
        endpoints: the signatures by name.
        directory: the version directory.
        served_as: the model's name on a server.
        profile: the profile of the export.
        progress: called with a line for each step.
    """

    model: Any
    endpoints: Mapping[str, Endpoint]
    directory: Path
    served_as: str
    profile: Profile
    progress: Callable[[str], None]


class Target(ABC):
    """A format for the signatures of a version. Abstract: a target defines `write` and `open`.

    Attributes:
        name: its name in profiles and in the manifest.
        runtime: the name of its runtime: "ONNX Runtime".
        files: the file or folder that it writes in the version directory: "decoder.tflite" or "onnx/".
        errors: the exceptions of the runtime when it cannot open or run something.
        drops_differing: whether a signature that differs from Keras or cannot run is left out. If False, such a
            signature stops the export.
        own_section: whether `about` writes a section of the model card for it. If False, the card's examples of each
            signature show the target and say which signatures it lacks.
        precisions: the precisions below float32 that `write_reduced` can write.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]
    files: ClassVar[str]
    errors: ClassVar[tuple[type[Exception], ...]] = ()
    drops_differing: ClassVar[bool] = False
    own_section: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ()

    def lacks(self, signature: Signature) -> str | None:
        """The reason why this target cannot hold a signature; None if it may."""
        return f"{signature.name} gives files, which {self.runtime} cannot write" if signature.gives_files else None

    @abstractmethod
    def write(self, task: Task) -> dict[str, str]:
        """Writes the signatures.

        Returns:
            The reason for each signature that could not be written, by name. All others have been written.
        """

    @abstractmethod
    def open(self, directory: Path, signatures: tuple[str, ...]) -> AbstractContextManager[Mapping[str, Run]]:
        """Opens what was written.

        Args:
            directory: the version directory.
            signatures: the names of the signatures that it holds.

        Returns:
            A context manager that yields functions to run it, by name. The first is `runtime`; it is the one timed.
        """

    def open_otherwise(self, directory: Path, signatures: tuple[str, ...]) -> AbstractContextManager[Mapping[str, Run]]:
        """As `open`, by other loaders than that of `runtime`: they are compared too, and closed at once."""
        del directory, signatures
        return contextlib.nullcontext({})

    def shared_files(self, directory: Path) -> tuple[str, ...]:
        """The files that all its signatures need, relative to the version directory."""
        del directory
        return ()

    def discard(self, directory: Path) -> None:
        """Removes `files`, before they are written again with fewer signatures."""
        path = directory / self.files
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def about(self, manifest: Manifest) -> Iterator[str]:
        """The lines of its section in the model card, with an empty line after each paragraph."""
        entry = manifest.targets[self.name]
        yield from (f"## {self.runtime}", "", *self.usage(manifest))
        if entry.left_out:
            rows = [(f"`{name}`", reason) for name, reason in entry.left_out.items()]
            yield from (*table(("not in it", "because"), rows), "")

    def usage(self, manifest: Manifest) -> Iterator[str]:
        """The lines of that section on how to use it, formatted as in `about`."""
        held = ", ".join(f"`{name}`" for name in manifest.held(self.name))
        yield from (f"`{self.files}` holds {held}.", "")

    # Precisions below float32. A target without `precisions` needs none of these.

    def open_reduced(self, directory: Path, precision: str) -> Run:
        """Opens the signatures of a lower precision."""
        raise NotImplementedError

    def write_reduced(
        self, directory: Path, signature: str, precision: str, inputs: Mapping[str, np.ndarray]
    ) -> str | None:
        """Writes a signature that was written before in a lower precision.

        Args:
            directory: the version directory.
            signature: its name.
            precision: one of `precisions`.
            inputs: typical rows of its inputs, by name.

        Returns:
            The method, in a word; None if a lower precision would change nothing.
        """
        raise NotImplementedError

    def reduced_file(self, directory: Path, signature: str, precision: str) -> Path:
        """The file that `write_reduced` writes."""
        raise NotImplementedError


BUILT_IN: Final = ("saved_model", "onnx", "litert")
"""The targets of tfpvae, each in the module of its name."""

_REGISTERED: Final[dict[str, Target]] = {}


def register_target(target: Target) -> Target:
    """Makes a target known. A profile names it: `Profile(targets=("mine",))`.

    Args:
        target: the target. It replaces a registered target of the same name.

    Raises:
        ExportError: it is not a target, or has the name of a built-in one.
    """
    if not isinstance(target, Target):
        raise ExportError(f"target must be a tfpvae.export.Target. Received: {target!r}")
    if target.name in BUILT_IN:
        raise ExportError(f"A target must not be named {', '.join(BUILT_IN)}. Received: name={target.name!r}")
    _REGISTERED[target.name] = target
    return target


def targets() -> tuple[Target, ...]:
    """All targets: the built-in ones, then the registered ones.

    Raises:
        MissingExtraError: a package that a built-in target needs is not installed.
    """
    with explain_missing("tfpvae.export_model"):
        own = [importlib.import_module(f"tfpvae.export.targets.{name}").TARGET for name in BUILT_IN]
    return (*own, *_REGISTERED.values())


def target_names() -> tuple[str, ...]:
    """The names of `targets()`, without loading them."""
    return (*BUILT_IN, *_REGISTERED)
