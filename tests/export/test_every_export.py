"""Every likelihood, posterior, prior and model, exported: what each can have is there and the same everywhere."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tfpvae.manifest import MANIFEST
from tfpvae.signatures import OBSERVED_SIGNATURES, SIGNATURES

_spec = importlib.util.spec_from_file_location(
    "tests_export_layer_cases", Path(__file__).parents[1] / "layers" / "cases.py"
)
layer_cases = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = layer_cases
_spec.loader.exec_module(layer_cases)

pytestmark = [
    # tf2onnx still calls NumPy by names of version 1.
    pytest.mark.filterwarnings("ignore:.*np.object.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:There is no closed-form KL:UserWarning"),
]

LATENT, EVENT = 3, (6,)
NO_IMAGE = "the event is no image [H, W, C] of 1, 3 or 4 channels"
NO_MEAN = "has no finite mean in closed form"
NO_PARAMETERS = "the distribution has no named parameters"
NO_UNIFORMS = "cannot be drawn from a fixed number of uniforms"
OF_MEAN = ("decode", "sample_mean", "reconstruct")
OF_DRAW = ("sample_latent", "sample_mean", "sample")

# Beside `sample_png`, for no event here but one is an image: what is absent, and why.
UNDRAWABLE = {"sample": f"p(x given z) {NO_UNIFORMS}"}
MEANLESS = dict.fromkeys(OF_MEAN, f"p(x given z) {NO_MEAN}")
UNNAMED = {"likelihood": NO_PARAMETERS}


def _vae(posterior=None, likelihood=None, prior=None, params=None, size=None, before=(), event=EVENT):
    import keras

    import tfpvae
    from tfpvae import layers

    posterior = posterior or layers.MultivariateNormalDiag(LATENT)
    likelihood = likelihood or layers.IndependentBernoulli(event)
    params = params or posterior.params_size(LATENT)
    size = size or likelihood.params_size(event)
    encoder = [keras.Input(event), keras.layers.Flatten(), keras.layers.Dense(params), posterior]
    decoder = [keras.Input((LATENT,)), keras.layers.Dense(size), *before, likelihood]
    return tfpvae.VAE(keras.Sequential(encoder), keras.Sequential(decoder), prior)


def _layer_case(name):
    def build():
        from tfpvae import layers

        row = layer_cases.CASES[name]
        before = () if row.before is None else (row.before(layers),)
        return _vae(
            likelihood=getattr(layers, name)(*row.args(layers)), size=row.size, before=before, event=row.event_shape
        )

    return build


def _components(params):
    import tensorflow as tf
    from tensorflow_probability import distributions as tfd

    return tfd.MultivariateNormalDiag(params, tf.ones_like(params))


def _cauchy(loc):
    from tensorflow_probability import distributions as tfd

    return tfd.Independent(tfd.Cauchy(loc, 1.0), 1)


def _of_function(name):
    def build():
        from tfpvae import layers

        likelihood = {
            "MixtureSameFamily": lambda: layers.MixtureSameFamily(2, _components),
            "DistributionLambda": lambda: layers.DistributionLambda(_cauchy),
        }[name]()
        return _vae(likelihood=likelihood, size={"MixtureSameFamily": 14, "DistributionLambda": 6}[name])

    return build


LIKELIHOODS = {name: (_layer_case(name), {}) for name in layer_cases.CASES} | {
    "MixtureSameFamily, of a function": (_of_function("MixtureSameFamily"), UNNAMED | UNDRAWABLE),
    "DistributionLambda, of no mean": (_of_function("DistributionLambda"), UNNAMED | UNDRAWABLE | MEANLESS),
    "IndependentBernoulli, of an image": (lambda: _vae(event=(2, 3, 1)), {}),
}
for _name, _absent in {
    "AutoregressiveTransform": UNNAMED | UNDRAWABLE | MEANLESS,
    "DistributionLambda": UNNAMED | UNDRAWABLE,
    "IndependentBeta": UNDRAWABLE,
    "IndependentGamma": UNDRAWABLE,
    "IndependentNegativeBinomial": UNDRAWABLE,
    "IndependentPoisson": UNDRAWABLE,
    "IndependentStudentT": UNDRAWABLE,
    "InverseAutoregressiveFlow": MEANLESS,
}.items():
    LIKELIHOODS[_name] = (LIKELIHOODS[_name][0], _absent)


def _posterior(make, params=None):
    def build():
        from tfpvae import layers

        return _vae(posterior=make(layers), params=params)

    return build


POSTERIORS = {
    "IndependentLogistic": (_posterior(lambda L: L.IndependentLogistic([LATENT])), {}),
    "IndependentNormal": (_posterior(lambda L: L.IndependentNormal([LATENT])), {}),
    "IndependentNormalLogVariance": (_posterior(lambda L: L.IndependentNormalLogVariance([LATENT])), {}),
    "IndependentStudentT": (
        _posterior(lambda L: L.IndependentStudentT([LATENT])),
        {"score": f"q(z given x) {NO_UNIFORMS}"},
    ),
    "InverseAutoregressiveFlow": (_posterior(lambda L: L.InverseAutoregressiveFlow(LATENT, units=(4,))), {}),
    "MultivariateNormalTriL": (_posterior(lambda L: L.MultivariateNormalTriL(LATENT)), {}),
    "SphericalNormal": (_posterior(lambda L: L.SphericalNormal([LATENT], 0.5, learn_scale=True)), {}),
    "DistributionLambda": (
        _posterior(lambda L: L.DistributionLambda(_components), LATENT),
        {"encode": NO_PARAMETERS, "score": f"q(z given x) {NO_UNIFORMS}"},
    ),
    "DistributionLambda, of no mean": (
        _posterior(lambda L: L.DistributionLambda(_cauchy), LATENT),
        {
            "encode": NO_PARAMETERS,
            "score": f"q(z given x) {NO_UNIFORMS}",
            "reconstruct": f"q(z given x) {NO_MEAN}",
        },
    ),
}


def _prior(make):
    def build():
        from tensorflow_probability import distributions as tfd

        from tfpvae import layers, priors

        return _vae(prior=make(priors, layers, tfd))

    return build


_SCALE = np.float32([[1, 0, 0], [0.5, 2, 0], [-0.5, 0.3, 0.7]])
PRIORS = {
    "ConditionalPrior": (lambda: _conditional(4, prior_of_labels=True), {}),
    "DistributionPrior": (_prior(lambda P, L, D: D.MultivariateNormalDiag(np.float32([1, 2, 3]))), {}),
    "DistributionPrior, triangular": (
        _prior(lambda P, L, D: D.MultivariateNormalTriL(np.float32([1] * 3), _SCALE)),
        {},
    ),
    "DistributionPrior, no Gaussian": (
        _prior(lambda P, L, D: D.Independent(D.Laplace(np.zeros(3, np.float32), 1.0), 1)),
        dict.fromkeys(OF_DRAW, f"the prior {NO_UNIFORMS}"),
    ),
    "FittedMixturePrior": (_prior(lambda P, L, D: _fitted(P.FittedMixturePrior(LATENT, 4))), {}),
    "FlowPrior": (_prior(lambda P, L, D: P.FlowPrior(LATENT, L.RealNVP(3, (4,)))), {}),
    "FlowPrior, masked autoregressive": (
        _prior(lambda P, L, D: P.FlowPrior(LATENT, L.MaskedAutoregressive(2, (4,)))),
        {},
    ),
    "MixturePrior": (_prior(lambda P, L, D: P.MixturePrior(LATENT, 4)), {}),
    "StandardNormal": (_prior(lambda P, L, D: P.StandardNormal(LATENT)), {}),
    "VampPrior": (_prior(lambda P, L, D: P.VampPrior(4, mean=0.5, stddev=0.5)), {}),
}


def _fitted(prior):
    rng = np.random.default_rng(3)
    prior.fit(rng.standard_normal((200, LATENT)) + rng.integers(0, 2, (200, 1)) * 4)
    return prior


def _network(inputs, last, size):
    import keras

    joined = keras.layers.Concatenate()(list(inputs)) if isinstance(inputs, tuple) else inputs
    given = list(inputs) if isinstance(inputs, tuple) else inputs
    return keras.Model(given, last(keras.layers.Dense(size)(joined)))


def _conditional(num_classes, prior_of_labels=False):
    import keras

    import tfpvae
    from tfpvae import layers, priors

    x, y, z = keras.Input(EVENT), keras.Input((num_classes or 2,)), keras.Input((LATENT,))
    encoder = _network((x, y), layers.MultivariateNormalDiag(LATENT), 2 * LATENT)
    decoder = _network((z, y), layers.IndependentBernoulli(EVENT), 6)
    prior = None
    if prior_of_labels:
        labels = keras.Input((num_classes,))
        prior = priors.ConditionalPrior(_network(labels, layers.MultivariateNormalDiag(LATENT), 2 * LATENT))
    return tfpvae.ConditionalVAE(encoder, decoder, prior, num_classes=num_classes)


def _hierarchical(last=None):
    import keras

    import tfpvae
    from tfpvae import layers

    last = last or layers.MultivariateNormalDiag(2)
    x, z1, z2 = keras.Input(EVENT, name="x"), keras.Input((LATENT,), name="z1"), keras.Input((2,), name="z2")
    return tfpvae.HierarchicalVAE(
        posteriors={
            "z1": _network(x, layers.MultivariateNormalDiag(LATENT), 2 * LATENT),
            "z2": _network(z1, last, last.params_size(2)),
        },
        conditionals={"z1": _network(z2, layers.MultivariateNormalDiag(LATENT), 2 * LATENT)},
        decoder=_network(z1, layers.IndependentDiscretizedLogistic(EVENT), 12),
    )


def _hierarchical_of_flows():
    from tfpvae import layers

    return _hierarchical(layers.InverseAutoregressiveFlow(2, units=(4,)))


def _two_stage():
    import keras

    import tfpvae
    from tfpvae import layers

    z, u = keras.Input((LATENT,)), keras.Input((2,))
    second = tfpvae.VAE(
        _network(z, layers.MultivariateNormalDiag(2), 4),
        _network(u, layers.SphericalNormal(LATENT, learn_scale=True), LATENT),
    )
    return tfpvae.TwoStageVAE(_vae(), second)


def _density(make, size):
    def build():
        import keras

        import tfpvae
        from tfpvae import layers

        return tfpvae.ConditionalDensity(keras.Sequential([keras.Input((4,)), keras.layers.Dense(size), make(layers)]))

    return build


NO_LATENTS = dict.fromkeys(SIGNATURES.keys() - OBSERVED_SIGNATURES.keys(), "the model has no latents")
MODELS = {
    "ConditionalDensity": (_density(lambda L: L.MixtureNormal(2, EVENT), 26), NO_LATENTS),
    "ConditionalDensity, of a flow": (
        _density(lambda L: L.InverseAutoregressiveFlow(2, units=(4,)), 6),
        NO_LATENTS | {"decode": f"p(y given x) {NO_MEAN}"},
    ),
    "ConditionalDensity, of a Poisson": (
        _density(lambda L: L.IndependentPoisson(EVENT), 6),
        NO_LATENTS | {"sample": f"p(y given x) {NO_UNIFORMS}"},
    ),
    "ConditionalVAE": (lambda: _conditional(4), {}),
    "ConditionalVAE, of vectors": (lambda: _conditional(None), {}),
    "HierarchicalVAE": (_hierarchical, {}),
    "HierarchicalVAE, of flows": (_hierarchical_of_flows, {"reconstruct": f"q(z given x) {NO_MEAN}"}),
    "TwoStageVAE": (_two_stage, {}),
    "VAE": (_vae, {}),
}

CASES = {
    f"{kind}-{name}": case
    for kind, cases in (
        ("likelihood", LIKELIHOODS),
        ("posterior", POSTERIORS),
        ("prior", PRIORS),
        ("model", MODELS),
    )
    for name, case in cases.items()
}
"""By name: how the model is built, and what its export lacks and why."""

FAST = {
    "likelihood-DistributionLambda, of no mean": (),
    "likelihood-IndependentBeta": ("likelihood", "score"),
    "likelihood-MixtureDiscretizedLogistic": ("sample", "score"),
    "likelihood-MultivariateNormalTriL": ("sample", "score"),
    "posterior-InverseAutoregressiveFlow": ("reconstruct", "score"),
    "prior-DistributionPrior, triangular": ("score",),
    "prior-VampPrior": ("score",),
    "model-HierarchicalVAE": ("sample", "score"),
    "model-TwoStageVAE": ("sample_mean", "score"),
}
"""Those that are exported in every run, with these signatures, () for all: a version with all of them takes long."""


@pytest.fixture(autouse=True)
def seeded():
    import keras

    keras.utils.set_random_seed(1)


def built(name):
    """The model of a case, with weights as of long training as far as anyone can tell, and what it must lack."""
    build, absent = CASES[name]
    model = build()
    rng = np.random.default_rng(2)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(scale=0.2, size=weight.shape))
    if not name.endswith("image") and "sample_png" not in absent:
        absent = absent | {"sample_png": NO_IMAGE}
    return model, absent


def check_export(model, absent, left_out, directory):
    """Exports a model, compares what is there with what can be, and verifies it."""
    import tfpvae
    from tfpvae.export import Profile
    from tfpvae.export.verification import verify

    export = tfpvae.export_model(model, directory, profile=Profile(litert=True))
    manifest = json.loads((export.path / MANIFEST).read_text(encoding="utf-8"))
    present = tuple(name for name in SIGNATURES if name not in absent and name not in left_out)
    assert export.signatures == tuple(manifest["signatures"]) == present
    assert manifest["absent"] == absent
    # ONNX has no PNG encoder, and lacks nothing else.
    assert export.onnx == tuple(name for name in present if name != "sample_png")
    assert set(manifest["targets"]["onnx"]["left_out"]) == {"sample_png"} & set(present)
    assert manifest["tolerance"] == 1e-5
    # LiteRT lacks some operators, most of them of densities and of mixtures.
    assert set(export.litert) == set(present) - set(manifest["targets"]["litert"]["left_out"])
    assert {"decode", "likelihood", "encode", "reconstruct"} & set(present) <= set(export.litert)
    for signature in export.onnx:
        runtimes = {"SavedModel", "SavedModel (v1)", "ONNX Runtime"} | (
            {"LiteRT"} if signature in export.litert else set()
        )
        assert {gap.runtime for gap in export.parity if gap.signature == signature} == runtimes
    assert all(np.isfinite(gap.allowed) and gap.difference <= gap.allowed for gap in export.parity)
    assert verify(export.path).findings == ()


def test_every_class_has_a_case():
    import keras

    import tfpvae
    from tfpvae import layers, priors
    from tfpvae.layers import DistributionLayer
    from tfpvae.models import ConditionalDensity

    def classes(cases):
        return {name.partition(",")[0] for name in cases}

    def concrete(module, base):
        found = (getattr(module, name) for name in module.__all__)
        return {c.__name__ for c in found if isinstance(c, type) and issubclass(c, base) and c is not base}

    assert classes(LIKELIHOODS) == concrete(layers, DistributionLayer)
    assert classes(PRIORS) == concrete(priors, priors.Prior)
    assert classes(MODELS) == {
        name for name in tfpvae.__all__ if isinstance(c := getattr(tfpvae, name), type) and issubclass(c, keras.Model)
    } - {"LatentVariableModel"}
    assert ConditionalDensity.__name__ in classes(MODELS)
    assert FAST.keys() <= CASES.keys()


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in CASES])
@pytest.mark.slow
def test_what_it_cannot_have_is_absent_for_a_reason_and_the_rest_is_finite(name):
    from tfpvae.export.endpoints import endpoints, example_inputs

    model, lacks = built(name)
    present, absent = endpoints(model)
    assert absent == lacks
    assert list(absent) == [signature for signature in SIGNATURES if signature in absent]
    assert tuple(present) == tuple(signature for signature in SIGNATURES if signature not in absent)
    for signature, endpoint in present.items():
        for output, value in endpoint.function(**example_inputs(endpoint, 5)).items():
            assert len(value) == 5
            if signature != "sample_png":
                assert np.isfinite(value).all(), (signature, output)


def test_a_model_of_no_signature_is_refused():
    from tfpvae.errors import ExportError
    from tfpvae.export.endpoints import endpoints

    model = _density(lambda L: L.DistributionLambda(_cauchy), 6)()
    with pytest.raises(ExportError, match=r"must have a signature .* no decode, for p\(y given x\) has no finite mean"):
        endpoints(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAST)
def test_its_export_is_the_same_everywhere(name, tmp_path, only):
    model, absent = built(name)
    kept = FAST[name] or tuple(SIGNATURES)
    left_out = set(SIGNATURES) - set(kept) - set(absent)
    only(*kept)
    check_export(model, absent, left_out, tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_its_whole_export_is_the_same_everywhere(name, tmp_path):
    model, absent = built(name)
    check_export(model, absent, (), tmp_path / "model")
