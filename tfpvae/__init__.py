"""Variational autoencoders from a Keras notebook to production.

Importing this package loads neither TensorFlow nor Keras: each public name loads what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfpvae._registry import register_with_keras

if TYPE_CHECKING:
    from tfpvae import client, data, edge, evaluate, layers, objectives, priors, schedules, training
    from tfpvae.export import export_model
    from tfpvae.models import (
        VAE,
        ConditionalDensity,
        ConditionalVAE,
        HierarchicalVAE,
        LatentVariableModel,
        TwoStageVAE,
    )

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "ConditionalDensity",
    "ConditionalVAE",
    "HierarchicalVAE",
    "LatentVariableModel",
    "TwoStageVAE",
    "__version__",
    "client",
    "data",
    "edge",
    "evaluate",
    "export_model",
    "layers",
    "objectives",
    "priors",
    "schedules",
    "supports",
    "training",
]

# Public name -> (module, attribute); no attribute where the name is the module itself.
_NAMES: dict[str, tuple[str, str | None]] = {
    "ConditionalDensity": ("tfpvae.models", "ConditionalDensity"),
    "ConditionalVAE": ("tfpvae.models", "ConditionalVAE"),
    "HierarchicalVAE": ("tfpvae.models", "HierarchicalVAE"),
    "LatentVariableModel": ("tfpvae.models", "LatentVariableModel"),
    "TwoStageVAE": ("tfpvae.models", "TwoStageVAE"),
    "VAE": ("tfpvae.models", "VAE"),
    "export_model": ("tfpvae.export", "export_model"),
    "client": ("tfpvae.client", None),
    "data": ("tfpvae.data", None),
    "edge": ("tfpvae.edge", None),
    "evaluate": ("tfpvae.evaluate", None),
    "layers": ("tfpvae.layers", None),
    "objectives": ("tfpvae.objectives", None),
    "priors": ("tfpvae.priors", None),
    "schedules": ("tfpvae.schedules", None),
    "supports": ("tfpvae.supports", None),
    "training": ("tfpvae.training", None),
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tfpvae._extras import explain_missing

    module, attribute = _NAMES[name]
    with explain_missing(f"tfpvae.{name}"):
        loaded = importlib.import_module(module)
    value = loaded if attribute is None else getattr(loaded, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


register_with_keras()
