"""A user's own model, objective and prior go the whole road: trained, saved, loaded, evaluated, exported."""

from __future__ import annotations

import numpy as np
import pytest

from tfpvae.errors import ModelError
from tfpvae.signatures import ONNX_DIRECTORY

SIGNATURES = ("decode", "likelihood", "sample_latent", "sample_mean", "sample", "encode", "reconstruct", "score")


def answers(model, x, y) -> dict[str, dict]:
    """What the model's own methods say, by signature and output; y is a dict of the condition, or empty."""
    z = model.sample_latent(len(x), seed=5)
    by_seed = {"seed": 5, **y}
    return {
        "decode": {"mean": model.decode(z, *y.values()).mean()},
        "likelihood": dict(model.decode(z, *y.values()).named_parameters),
        "sample_latent": {"z": z},
        "sample_mean": {"mean": model.sample_mean(len(x), **by_seed)},
        "sample": {"sample": model.sample(len(x), **by_seed)},
        "encode": dict(model.encode(x, *y.values()).named_parameters),
        "reconstruct": {"mean": model.reconstruct(x, *y.values())},
        "score": model.score(x, *y.values(), seed=5),
    }


def inputs_of(signature, x, y, z) -> dict[str, np.ndarray]:
    from tfpvae.signatures import SIGNATURES

    every = {"x": x, "z": z, "seed": np.arange(5, 5 + len(x))}
    return {name: every[name] for name in SIGNATURES[signature].inputs} | y


@pytest.mark.parametrize("kind", ["ResidualVAE", pytest.param("ConditionalResidualVAE", marks=pytest.mark.slow)])
def test_goes_the_whole_road(kind, own, digits, labels, only, tmp_path):
    import keras

    import tfpvae
    from tfpvae.evaluate import diagnose, importance_log_marginal, measure
    from tfpvae.export import Profile
    from tfpvae.export.targets.onnx import run_onnx
    from tfpvae.savedmodel.session import run_v1

    keras.utils.set_random_seed(0)
    model = getattr(own("own_model"), kind)(objective=own("own_objective").TwoDraws())
    assert (model.latent_size, model.event_shape, model.takes_condition) == (3, (8, 8, 1), kind != "ResidualVAE")
    model.compile(keras.optimizers.Adam(1e-2))
    train = (digits.train, labels.train) if model.takes_condition else (digits.train,)
    losses = model.fit(*train, epochs=3, batch_size=50, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 5

    x, y = digits.test[:6], {"y": labels.test[:6]} if model.takes_condition else {}
    expected = answers(model, x, y)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.objective) is own("own_objective").TwoDraws
    for signature, outputs in answers(loaded, x, y).items():
        for name, value in outputs.items():
            np.testing.assert_allclose(value, expected[signature][name], atol=1e-6)

    estimate = importance_log_marginal(model, digits.test[:32], samples=50, **dict.fromkeys(y, labels.test[:32]))
    assert np.isfinite(estimate.log_marginal).all()
    measured = measure(model, digits.test[:64], **dict.fromkeys(y, labels.test[:64]))
    assert estimate.log_marginal.mean() > measured.elbo.value - 5
    assert "The decoder uses z" in str(diagnose(measured))

    kept = ("decode", "sample", "encode", "score")
    only(*kept)
    expected = {signature: outputs for signature, outputs in expected.items() if signature in kept}
    profile = Profile(float16="never", int8="never", litert=False)
    path = tfpvae.export_model(model, tmp_path / "versions", profile=profile).path
    z = np.asarray(model.sample_latent(len(x), seed=5))
    with run_v1(path) as saved_model:
        for run in (saved_model, run_onnx(path / ONNX_DIRECTORY)):
            for signature, outputs in expected.items():
                got = run(signature, inputs_of(signature, x, y, z))
                assert got.keys() == outputs.keys()
                for name, value in outputs.items():
                    if signature == "sample":
                        assert (got[name] != np.asarray(value)).mean() < 0.01
                    else:
                        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-4)


def test_a_prior_is_trained_saved_and_drawn_from(own, build_vae, digits, tmp_path):
    import keras

    prior = own("own_prior").LearnedMean(4)
    vae = build_vae(prior=prior)
    vae.fit(digits.train, epochs=1, verbose=0)
    assert np.abs(prior.loc).max() > 0
    vae.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.prior.loc, prior.loc)
    np.testing.assert_array_equal(loaded.sample(3, seed=1), vae.sample(3, seed=1))
    z = vae.sample_latent(4000, seed=0).numpy()
    np.testing.assert_allclose(z.mean(axis=0), prior.loc, atol=0.08)


def test_the_abstract_model_says_what_is_missing():
    import tfpvae

    class Empty(tfpvae.LatentVariableModel):
        pass

    with pytest.raises(NotImplementedError):
        Empty().build((None, 3))


@pytest.mark.parametrize("name", ["decode", "encode", "sample", "score", "predict_step"])
def test_what_only_calls_the_protocol_cannot_be_overridden(name):
    import tfpvae

    with pytest.raises(ModelError, match=f"must not override {name}.*Override posterior or likelihood"):
        type("Wrong", (tfpvae.VAE,), {name: lambda self, *args: None})
