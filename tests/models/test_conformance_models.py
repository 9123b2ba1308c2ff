"""Every model through one table, `model_cases.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from tfpvae.errors import DataError, ModelError
from tfpvae.signatures import ONNX_DIRECTORY

_spec = importlib.util.spec_from_file_location("tests_model_cases", Path(__file__).with_name("model_cases.py"))
model_cases = importlib.util.module_from_spec(_spec)
# A dataclass looks its module up by name.
sys.modules[_spec.name] = model_cases
_spec.loader.exec_module(model_cases)
CASES = model_cases.CASES


def test_every_model_has_a_row():
    import keras

    from tfpvae import models

    abstract = {"DistributionModel", "LatentVariableModel"}
    classes = {name for name in models.__all__ if issubclass(getattr(models, name), keras.Model)} - abstract
    assert classes == set(CASES)


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture
def new(case, build_vae, build_conditional):
    return case.build({"vae": build_vae, "conditional": build_conditional})


@pytest.fixture(scope="module")
def history():
    return {}


@pytest.fixture(scope="module")
def trained(case, build_vae, build_conditional, digits, labels, history):
    """The row's model after some epochs, and its loss on test data before and after in `history`."""
    import keras

    keras.utils.set_random_seed(0)
    model = case.build({"vae": build_vae, "conditional": build_conditional})
    test = case.fit(digits.test, labels.test)
    before = model.evaluate(*test, verbose=0, return_dict=True)["loss"]
    fitted = model.fit(*case.fit(digits.train, labels.train), epochs=3, batch_size=50, verbose=0).history
    after = model.evaluate(*test, verbose=0, return_dict=True)["loss"]
    history |= {"before": before, "fitted": fitted["loss"], "after": after}
    return model


def test_fit_lowers_the_loss(trained, history):
    assert history["fitted"][-1] < history["fitted"][0]
    assert history["after"] < history["before"]


def test_saved_and_loaded_it_answers_the_same(case, trained, digits, labels, tmp_path):
    import keras

    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(trained)
    for mine, its in zip(trained.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, its)
    x, y = digits.test[:6], labels.test[:6]
    mine, its = case.answers(trained, x, y), case.answers(loaded, x, y)
    for name, outputs in mine.items():
        for key, value in outputs.items():
            np.testing.assert_allclose(its[name][key], value, atol=1e-6)
    assert int(loaded.optimizer.iterations) == int(trained.optimizer.iterations)
    loaded.fit(*case.fit(x, y), verbose=0)


def test_exported_it_answers_the_same_on_every_runtime(case, trained, digits, labels, tmp_path, only):
    import tfpvae
    from tfpvae.export import Profile
    from tfpvae.export.targets.onnx import run_onnx
    from tfpvae.savedmodel.session import run_v1

    # tests/export/test_every_export.py has all of them.
    kept = {name: outputs for name, outputs in case.inputs.items() if name in ("decode", "sample", "score")}
    only(*kept)
    profile = Profile(float16="never", int8="never")
    path = tfpvae.export_model(trained, tmp_path / "model", profile=profile).path
    x, y = digits.test[:6], labels.test[:6]
    given = {"x": x, "y": y, "seed": np.arange(5, 11)}
    if any("z" in inputs for inputs in case.inputs.values()):
        given["z"] = np.asarray(trained.sample_latent(6, seed=5))
    expected = {name: outputs for name, outputs in case.answers(trained, x, y).items() if name in kept}
    assert expected
    with run_v1(path) as v1:
        for run in (v1, run_onnx(path / ONNX_DIRECTORY)):
            for name, outputs in expected.items():
                seed = ("seed",) if name == "sample" else ()
                got = run(name, {key: given[key] for key in (*case.inputs[name], *seed)})
                assert got.keys() == outputs.keys()
                for key, value in outputs.items():
                    value = np.asarray(value)
                    if name == "sample":
                        assert (got[key] != value).mean() < 0.01  # A probability in its last digit next to a uniform.
                    else:
                        np.testing.assert_allclose(got[key], value, atol=1e-5 * max(1, np.abs(value).max()))


def test_the_bound_is_below_log_p(case, trained, digits, labels):
    from tfpvae.evaluate import importance_log_marginal

    if case.score is None:
        pytest.skip("has no bound: its likelihood is exact")
    x, y = digits.test[:64], labels.test[:64]
    scores = [case.score(trained, x, y, 1000 * draw) for draw in range(5)]
    for score in scores:
        np.testing.assert_allclose(score["elbo"], score["log_likelihood"] - score["kl"], rtol=1e-5)
    bounds = np.mean([score["elbo"] for score in scores], axis=0)
    estimate = importance_log_marginal(trained, x, samples=200, **case.log_marginal(y))
    gap = estimate.log_marginal - bounds
    assert gap.mean() > 0
    assert gap.mean() < 20  # Nats: they are of the same quantity.
    assert np.mean([score["kl"] for score in scores]) > 0


def test_mistakes_are_told(case, new, digits, labels):
    for call, message in case.mistakes:
        with pytest.raises((DataError, ModelError), match=message):
            call(new, digits.train[:20], labels.train[:20])
