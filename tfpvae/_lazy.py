"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tfpvae._extras import explain_missing


def lazy_names(
    package: str, modules: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions `__getattr__` and `__dir__` of a package that imports its modules when they are first used.

    Its modules can be reached as attributes as well, without importing them first. No public name may be that of a
    module: importing the module would put it in the place of the name.

    Args:
        package: the package's `__name__`.
        modules: the public names by the module that defines them: `{"tfpvae.training.run": ("Run", "open_run")}`.

    Returns:
        `__getattr__`, which raises `MissingExtraError` where a module needs a package that is not installed, and
        `__dir__`.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> Any:
        if name in module_of:
            with explain_missing(f"{package}.{name}"):
                value = getattr(importlib.import_module(module_of[name]), name)
            setattr(sys.modules[package], name, value)
            return value
        if not name.startswith("__") and importlib.util.find_spec(f"{package}.{name}") is not None:
            with explain_missing(f"{package}.{name}"):
                return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load, lambda: sorted(module_of)
