"""The settings of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tfpvae.checks import integer, number, one_of
from tfpvae.data import DATA_SETS, Binarize
from tfpvae.errors import DataError, RunError
from tfpvae.files import local_path

if TYPE_CHECKING:
    from tfpvae.objectives import Objective

# The keys of the tables in tfpvae.training.networks, which needs TensorFlow. Settings are checked without it.
AUTO: Final = "auto"
MODELS: Final = ("mlp", "conv")
LIKELIHOODS: Final = ("bernoulli", "normal", "logistic")
PRIORS: Final = ("standard", "mixture", "vamp", "flow")
BINARIZE: Final = (AUTO, *Binarize)


@dataclass(frozen=True)
class TrainConfig:
    """All settings that decide what a run computes.

    What is "auto" or None is chosen by the data: see `tfpvae.training.choose`.

    Attributes:
        data: a data set's name, or the path of an array file or a folder of images; see `tfpvae.data.load`.
        binarize: "none", "static" or "dynamic"; "auto" means dynamic for grey images and a Bernoulli likelihood, else
            none.
        model: "mlp" (residual dense layers) or "conv" (residual convolutions); see `tfpvae.networks`.
        latent: D, the number of latent dimensions.
        likelihood: "bernoulli", "normal" (a Gaussian of one learned variance) or "logistic" (discretised).
        prior: "standard", "mixture", "vamp" or "flow".
        k: draws of the bound: 1 is the ELBO, more are the importance-weighted bound.
        beta: the weight of the KL once `kl_warm_up` is over.
        kl_warm_up: training steps over which that weight rises from 0.
        epochs: passes over the training data. None trains until the bound of the validation images stops rising.
        minutes: how long training may take; None is ten where `epochs` is None too, and else has no limit.
        batch_size: examples per step.
        learning_rate: Adam's learning rate at the start; it falls to zero along a cosine over `epochs`, or drops where
            the bound stops rising.
        seed: the seed of the weights, of the validation images, the order of the data and every draw.
    """

    data: str
    binarize: str = AUTO
    model: str = AUTO
    latent: int | None = None
    likelihood: str = AUTO
    prior: str = "standard"
    k: int = 1
    beta: float = 1.0
    kl_warm_up: int = 0
    epochs: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for key, choices in (("model", (AUTO, *MODELS)), ("likelihood", (AUTO, *LIKELIHOODS)), ("prior", PRIORS)):
            one_of(key, getattr(self, key), choices, RunError)
        for key, least in (("latent", 1), ("k", 1), ("kl_warm_up", 0), ("epochs", 1), ("batch_size", 1)):
            if (value := getattr(self, key)) is not None:
                object.__setattr__(self, key, integer(key, value, RunError, least=least))
        for key in ("minutes", "learning_rate"):
            if (value := getattr(self, key)) is not None:
                object.__setattr__(self, key, number(key, value, RunError, above=0))
        object.__setattr__(self, "beta", number("beta", self.beta, RunError, least=0))
        object.__setattr__(self, "seed", integer("seed", self.seed, RunError, least=0, most=2**32 - 1))
        if self.binarize != AUTO:
            object.__setattr__(self, "binarize", Binarize(self.binarize).value)
        if self.data not in DATA_SETS and (path := local_path(self.data, DataError)).exists():
            # A run must find its data again from wherever it is opened.
            object.__setattr__(self, "data", str(path.resolve()))

    def objective(self) -> Objective:
        """The bound that the run maximises."""
        from tfpvae.objectives import Elbo, Iwae
        from tfpvae.schedules import KLWarmUp

        beta = KLWarmUp(self.kl_warm_up, end=self.beta) if self.kl_warm_up else self.beta
        return Elbo(beta) if self.k == 1 else Iwae(self.k, beta)

    def resumes(self, previous: TrainConfig) -> TrainConfig:
        """The settings with which a run that has the settings `previous` goes on: only its end may differ.

        Raises:
            RunError: another setting differs.
        """
        for field in dataclasses.fields(self):
            before, now = getattr(previous, field.name), getattr(self, field.name)
            if field.name not in ("epochs", "minutes") and now not in (before, AUTO, None):
                raise RunError(
                    f"A run is resumed with the settings it began with. It has {field.name}={before!r}, not {now!r}."
                )
        return dataclasses.replace(previous, epochs=self.epochs, minutes=self.minutes)

    def to_json(self) -> dict[str, Any]:
        """The settings by name, as `json` can write them."""
        return dataclasses.asdict(self)


def decided(value: int | None) -> int:
    """A setting of a run, whose settings are complete."""
    assert value is not None
    return value
