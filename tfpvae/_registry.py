"""Makes `keras.models.load_model` find tfpvae's classes after a bare `import tfpvae`.

Keras knows a class when its module has been imported; tfpvae imports its modules when they are first used. So stand-ins
are registered that import the class when Keras first asks something of it. Nothing is imported before that.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

_CLASSES: Final = {
    "tfpvae.models": ("ConditionalDensity", "ConditionalVAE", "HierarchicalVAE", "TwoStageVAE", "VAE"),
    "tfpvae.priors": ("DistributionPrior", "FlowPrior", "MixturePrior", "StandardNormal", "VampPrior"),
    "tfpvae.layers": (
        "AutoregressiveNetwork",
        "AutoregressiveTransform",
        "CategoricalMixtureOfOneHotCategorical",
        "DistributionLambda",
        "IndependentBernoulli",
        "IndependentBeta",
        "IndependentCategorical",
        "IndependentContinuousBernoulli",
        "IndependentDiscretizedLogistic",
        "IndependentGamma",
        "IndependentLogistic",
        "IndependentNegativeBinomial",
        "IndependentNormal",
        "IndependentNormalLogVariance",
        "IndependentPoisson",
        "IndependentStudentT",
        "InverseAutoregressiveFlow",
        "KLDivergenceAddLoss",
        "KLDivergenceRegularizer",
        "MaskedAutoregressive",
        "MixtureDiscretizedLogistic",
        "MixtureLogistic",
        "MixtureNormal",
        "MixtureSameFamily",
        "MultivariateNormalDiag",
        "MultivariateNormalTriL",
        "OneHotCategorical",
        "RealNVP",
        "SphericalNormal",
        "VariableLayer",
    ),
    "tfpvae.objectives": ("DReG", "Elbo", "FreeBits", "Iwae"),
    "tfpvae.schedules": ("KLWarmUp",),
    "tfpvae.training": ("FusedAdam",),
}


class _StandIn:
    """A class that is imported when an attribute of it is first asked for."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(getattr(importlib.import_module(self._module), self._name), attribute)


def _register(keras: ModuleType) -> None:
    registered = keras.saving.get_custom_objects()
    for module, names in _CLASSES.items():
        for name in names:
            registered.setdefault(f"tfpvae>{name}", _StandIn(module, name))


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers the stand-ins right after Keras has been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("keras")
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register(module)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register_with_keras() -> None:
    """Registers the stand-ins: now if Keras has been imported, else as soon as it is."""
    if "keras" in sys.modules:
        _register(sys.modules["keras"])
    else:
        sys.meta_path.insert(0, _AfterKeras())
