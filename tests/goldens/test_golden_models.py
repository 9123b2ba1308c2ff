"""`.keras` files of an earlier release: they load, answer as they did and train on (see `make_models.py`)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

GOLDENS = Path(__file__).parent


@pytest.mark.parametrize(
    ("name", "kind"),
    [("hierarchical", "HierarchicalVAE"), ("two_stage", "TwoStageVAE"), ("density", "ConditionalDensity")],
)
def test_a_keras_file_answers_as_it_did_and_trains_on(name, kind, load_keras_file):
    spec = importlib.util.spec_from_file_location("make_golden_models", GOLDENS / "make_models.py")
    make_models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_models)
    model = load_keras_file(GOLDENS / f"{name}.keras")
    assert type(model).__name__ == kind
    with np.load(GOLDENS / f"{name}.npz") as file:
        recorded = dict(file)
    x, y = recorded.pop("x"), recorded.pop("y")
    assert int(model.optimizer.iterations) == recorded.pop("iterations")
    for answer, value in make_models.answers(model, x, y).items():
        np.testing.assert_allclose(value, recorded[answer], rtol=1e-5, atol=1e-5, err_msg=answer)
    before = model.get_weights()
    model.fit(x, y if name == "density" else None, verbose=0)
    assert any((a != b).any() for a, b in zip(model.get_weights(), before, strict=True))
