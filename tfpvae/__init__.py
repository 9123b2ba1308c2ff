"""Variational autoencoders from a Keras notebook to production.

Importing this package loads neither TensorFlow nor Keras: each public name, and each module below this one,
loads what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfpvae._lazy import lazy_names
from tfpvae._registry import register_with_keras

if TYPE_CHECKING:
    from tfpvae import (
        client,
        data,
        edge,
        errors,
        evaluate,
        export,
        layers,
        models,
        objectives,
        priors,
        random,
        schedules,
        server,
        signatures,
        supports,
        training,
    )
    from tfpvae.architectures import networks
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
    "errors",
    "evaluate",
    "export",
    "export_model",
    "layers",
    "models",
    "networks",
    "objectives",
    "priors",
    "random",
    "schedules",
    "server",
    "signatures",
    "supports",
    "training",
]

__getattr__, _ = lazy_names(
    __name__,
    {
        "tfpvae.architectures": ("networks",),
        "tfpvae.export": ("export_model",),
        "tfpvae.models": (
            "VAE",
            "ConditionalDensity",
            "ConditionalVAE",
            "HierarchicalVAE",
            "LatentVariableModel",
            "TwoStageVAE",
        ),
    },
)


def __dir__() -> list[str]:
    return __all__


register_with_keras()
