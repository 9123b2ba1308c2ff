"""The distribution layers of `tfp.layers`, for Keras 3.

A layer of this package, as the last of a model, makes the model return a TFP distribution, which Keras takes for a
tensor: models chain, and `compile(loss=lambda x, rv: -rv.log_prob(x))` works.
"""

from tfpvae.layers.autoregressive import AutoregressiveNetwork, AutoregressiveTransform
from tfpvae.layers.base import DistributionLayer
from tfpvae.layers.blockwise import BlockwiseInitializer
from tfpvae.layers.bounded import IndependentBeta, IndependentContinuousBernoulli, IndependentGamma
from tfpvae.layers.categorical import CategoricalMixtureOfOneHotCategorical, IndependentCategorical, OneHotCategorical
from tfpvae.layers.counts import IndependentNegativeBinomial, IndependentPoisson
from tfpvae.layers.discretized_logistic import (
    DiscretizedLogistic,
    IndependentDiscretizedLogistic,
    MixtureDiscretizedLogistic,
)
from tfpvae.layers.distribution_lambda import DistributionLambda
from tfpvae.layers.distribution_tensor import DistributionTensor
from tfpvae.layers.flows import MaskedAutoregressive, RealNVP
from tfpvae.layers.independent import (
    IndependentBernoulli,
    IndependentLogistic,
    IndependentNormal,
    IndependentNormalLogVariance,
    IndependentStudentT,
)
from tfpvae.layers.inverse_autoregressive_flow import InverseAutoregressiveFlow
from tfpvae.layers.mixture import MixtureLogistic, MixtureNormal, MixtureSameFamily
from tfpvae.layers.multivariate_normal import MultivariateNormalDiag, MultivariateNormalTriL
from tfpvae.layers.regularizers import KLDivergenceAddLoss, KLDivergenceRegularizer
from tfpvae.layers.spherical_normal import SphericalNormal
from tfpvae.layers.variable import VariableLayer

__all__ = [
    "AutoregressiveNetwork",
    "AutoregressiveTransform",
    "BlockwiseInitializer",
    "CategoricalMixtureOfOneHotCategorical",
    "DiscretizedLogistic",
    "DistributionLambda",
    "DistributionLayer",
    "DistributionTensor",
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
]
