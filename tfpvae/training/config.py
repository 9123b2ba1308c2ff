"""The settings of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tfpvae.checks import integer, number, one_of
from tfpvae.data import DATA_SETS, Binarize, default_binarize
from tfpvae.errors import DataError, RunError
from tfpvae.files import local_path

if TYPE_CHECKING:
    from tfpvae.objectives import Objective

# The keys of the tables in tfpvae.training.networks, which needs TensorFlow. Settings are checked without it.
MODELS: Final = ("mlp", "conv")
LIKELIHOODS: Final = ("bernoulli", "normal")
PRIORS: Final = ("standard", "mixture", "vamp", "flow")
BINARIZE: Final = ("auto", *Binarize)


@dataclass(frozen=True)
class TrainConfig:
    """All settings that decide what a run computes.

    Attributes:
        data: a data set's name, or the path of an array file or a folder of images; see `tfpvae.data.load`.
        binarize: "none", "static" or "dynamic"; "auto" means dynamic for a Bernoulli likelihood, none for others.
        model: "mlp" (dense layers) or "conv" (convolutions).
        latent: D, the number of latent dimensions.
        likelihood: "bernoulli" or "normal".
        prior: "standard", "mixture", "vamp" or "flow".
        k: draws of the bound: 1 is the ELBO, more are the importance-weighted bound.
        beta: the weight of the KL once `kl_warm_up` is over.
        kl_warm_up: training steps over which that weight rises from 0.
        epochs: passes over the training data.
        batch_size: examples per step.
        learning_rate: Adam's learning rate at the start; it falls to zero along a cosine.
        seed: the seed of the weights, the order of the data and every draw.
    """

    data: str
    binarize: str = "auto"
    model: str = "mlp"
    latent: int = 16
    likelihood: str = "bernoulli"
    prior: str = "standard"
    k: int = 1
    beta: float = 1.0
    kl_warm_up: int = 0
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for key, choices in (("model", MODELS), ("likelihood", LIKELIHOODS), ("prior", PRIORS)):
            one_of(key, getattr(self, key), choices, RunError)
        for key, least in (("latent", 1), ("k", 1), ("kl_warm_up", 0), ("epochs", 1), ("batch_size", 1)):
            object.__setattr__(self, key, integer(key, getattr(self, key), RunError, least=least))
        object.__setattr__(self, "beta", number("beta", self.beta, RunError, least=0))
        object.__setattr__(self, "learning_rate", number("learning_rate", self.learning_rate, RunError, above=0))
        object.__setattr__(self, "seed", integer("seed", self.seed, RunError, least=0, most=2**32 - 1))
        binarize = default_binarize(self.likelihood) if self.binarize == "auto" else Binarize(self.binarize)
        object.__setattr__(self, "binarize", binarize.value)
        if self.data not in DATA_SETS and (path := local_path(self.data, DataError)).exists():
            # A run must find its data again from wherever it is opened.
            object.__setattr__(self, "data", str(path.resolve()))

    def objective(self) -> Objective:
        """The bound that the run maximises."""
        from tfpvae.objectives import Elbo, Iwae
        from tfpvae.schedules import KLWarmUp

        beta = KLWarmUp(self.kl_warm_up, end=self.beta) if self.kl_warm_up else self.beta
        return Elbo(beta) if self.k == 1 else Iwae(self.k, beta)

    def check_resumes(self, previous: TrainConfig) -> None:
        """Checks that a run with the settings `previous` can go on with these: only `epochs` may differ.

        Raises:
            RunError: another setting differs.
        """
        for field in dataclasses.fields(self):
            before, now = getattr(previous, field.name), getattr(self, field.name)
            if field.name != "epochs" and before != now:
                raise RunError(
                    f"A run is resumed with the settings it began with. It has {field.name}={before!r}, not {now!r}."
                )

    def to_json(self) -> dict[str, Any]:
        """The settings by name, as `json` can write them."""
        return dataclasses.asdict(self)
