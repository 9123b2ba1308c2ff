"""Makes `keras.models.load_model` find tfpvae's classes after a bare `import tfpvae`.

Keras knows a class once its module has been imported, and tfpvae imports its modules when they are first used. So Keras
gets a stand-in for each class, which imports the class when Keras first asks for one of its attributes.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

PACKAGE: Final = "tfpvae"
"""The name that precedes `>` in the registered names: `tfpvae>VAE`."""

_REGISTERED_CLASS: Final = re.compile(r"^@register\n(?:@.*\n)*class (\w+)", re.MULTILINE)

Class = TypeVar("Class", bound=type)


def register(cls: Class) -> Class:
    """Registers a class with Keras, so that saved models which hold it can be loaded.

    Write it as the first decorator, `@register`: `registered_classes` reads that line.
    """
    import keras

    registered: Class = keras.saving.register_keras_serializable(package=PACKAGE)(cls)
    return registered


@functools.cache
def registered_classes() -> dict[str, str]:
    """By class name, the module that defines it: every class that `register` decorates, read from the sources."""
    root = Path(__file__).parent
    return {
        name: ".".join(path.relative_to(root.parent).with_suffix("").parts)
        for path in sorted(root.rglob("*.py"))
        for name in _REGISTERED_CLASS.findall(path.read_text(encoding="utf-8"))
    }


class _StandIn:
    """A class that is imported when one of its attributes is first asked for."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(getattr(importlib.import_module(self._module), self._name), attribute)


def _register_stand_ins(keras: ModuleType) -> None:
    known = keras.saving.get_custom_objects()
    for name, module in registered_classes().items():
        known.setdefault(f"{PACKAGE}>{name}", _StandIn(module, name))


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers the stand-ins right after Keras has been imported, and stays in `sys.meta_path` until then."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "keras":
            return None
        spec = self._spec_of_others(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register_stand_ins(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec

    def _spec_of_others(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> importlib.machinery.ModuleSpec | None:
        """What the other finders of `sys.meta_path` find, the first that does."""
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                return spec
        return None


def register_with_keras() -> None:
    """Registers the stand-ins: now if Keras has been imported, else as soon as it is."""
    if "keras" in sys.modules:
        _register_stand_ins(sys.modules["keras"])
    elif not any(isinstance(finder, _AfterKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterKeras())
