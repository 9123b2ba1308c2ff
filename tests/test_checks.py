"""Checks of arguments, and that every public constructor makes them."""

from __future__ import annotations

import importlib
import inspect
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tfpvae import checks
from tfpvae.errors import DataError, ModelError, TfpvaeError

NO_INTEGERS = (2.7, 2.0, True, np.True_, "3", None, [3], np.array([3]), np.float32(3))


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(3)])
def test_positive_integers_come_back_as_pythons(value):
    assert checks.positive_integer("n", value) == value
    assert type(checks.positive_integer("n", value)) is int


@pytest.mark.parametrize("value", [0, -1, *NO_INTEGERS], ids=repr)
def test_what_is_no_positive_integer_is_refused(value):
    with pytest.raises(DataError) as raised:
        checks.positive_integer("n", value, DataError)
    assert str(raised.value) == f"n must be an integer of at least 1. Received: n={value!r}"


@pytest.mark.parametrize("value", [-1, *NO_INTEGERS], ids=repr)
def test_what_is_no_integer_of_at_least_0_is_refused(value):
    assert checks.non_negative_integer("n", 0) == 0
    with pytest.raises(ModelError, match=r"n must be an integer of at least 0\. Received: n="):
        checks.non_negative_integer("n", value)


def test_an_integer_may_have_an_upper_bound():
    assert checks.integer("seed", 7, least=0, most=7) == 7
    with pytest.raises(ModelError, match=r"seed must be an integer from 0 to 7\. Received: seed=8"):
        checks.integer("seed", 8, least=0, most=7)


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (3, (3,)),
        ((), ()),
        ([], ()),
        ([28, np.int32(28), 1], (28, 28, 1)),
        (np.array([2, 3]), (2, 3)),
        (np.int64(5), (5,)),
    ],
)
def test_shapes_come_back_as_tuples(value, shape):
    got = checks.positive_integers("shape", value)
    assert got == shape
    assert all(type(size) is int for size in got)


@pytest.mark.parametrize(
    "value",
    [0, [2, 0], [2, -1], 2.7, [2.0], True, [2, True], "3", ["3"], None, [None, 3], [[2, 3]], [[2], [3, 4]]],
    ids=repr,
)
def test_what_is_no_shape_is_refused(value):
    with pytest.raises(ModelError, match=r"shape must be an integer of at least 1, or a sequence of such integers\. "):
        checks.positive_integers("shape", value)


@pytest.mark.parametrize(
    ("bounds", "allowed", "refused", "words"),
    [
        ({}, [0, -1.5, np.float32(2), Fraction(1, 2)], [], "a number"),
        ({"least": 0}, [0, 3], [-1e-9], "a number of at least 0"),
        ({"above": 0, "below": 1}, [0.5, np.float64(0.1)], [0, 1], "a number above 0 and below 1"),
        ({"least": 0.5, "most": 2}, [0.5, 2], [0.49, 2.01], "a number of at least 0.5 and of at most 2"),
    ],
)  # fmt: skip
def test_numbers_within_bounds(bounds, allowed, refused, words):
    for value in allowed:
        assert checks.number("beta", value, **bounds) == pytest.approx(float(value))
        assert type(checks.number("beta", value, **bounds)) is float
    for value in [*refused, float("nan"), float("inf"), -float("inf"), True, "1", None, [1.0], 1j]:
        with pytest.raises(ModelError) as raised:
            checks.number("beta", value, **bounds)
        assert str(raised.value) == f"beta must be {words}. Received: beta={value!r}"


def test_one_of_some_choices():
    assert checks.one_of("layout", "triton", {"triton": 1, "openvino": 2}) == "triton"
    assert checks.one_of("k", 2, (1, 2)) == 2
    with pytest.raises(DataError, match=r"layout must be one of a, b\. Received: layout='c'"):
        checks.one_of("layout", "c", ("a", "b"), DataError)
    with pytest.raises(ModelError):
        checks.one_of("k", True, (1, 2))


# Every public constructor, and what it must be given beside the argument that is tried.

VALID: dict[str, dict[str, Any]] = {
    "layers.AutoregressiveNetwork": {"params": 2, "hidden_units": [4]},
    "layers.BlockwiseInitializer": {"initializers": ["zeros"]},
    "layers.CategoricalMixtureOfOneHotCategorical": {"event_size": 2, "num_components": 2},
    "layers.IndependentCategorical": {"num_categories": 3},
    "layers.InverseAutoregressiveFlow": {"event_size": 2},
    "layers.MixtureDiscretizedLogistic": {"num_components": 2},
    "layers.MixtureLogistic": {"num_components": 2},
    "layers.MixtureNormal": {"num_components": 2},
    "layers.MixtureSameFamily": {"num_components": 2, "component_layer": repr},
    "layers.MixtureSameFamily.params_size": {"num_components": 2, "component_params_size": 2},
    "layers.InverseAutoregressiveFlow.params_size": {"event_size": 2},
    "layers.CategoricalMixtureOfOneHotCategorical.params_size": {"event_size": 2, "num_components": 2},
    "layers.IndependentCategorical.params_size": {"num_categories": 2},
    "layers.MixtureDiscretizedLogistic.params_size": {"num_components": 2},
    "layers.MixtureLogistic.params_size": {"num_components": 2},
    "layers.MixtureNormal.params_size": {"num_components": 2},
    "priors.FittedMixturePrior": {"event_size": 2, "components": 2},
    "priors.MixturePrior": {"event_size": 2, "components": 2},
    "training.CollapseAlarm": {"x": [0.0]},
    "training.LogMarginalEstimate": {"x": [0.0]},
    "training.SamplePictures": {"directory": "pictures"},
    "training.TrainConfig": {"data": "digits"},
    "client.Client": {"url": "http://localhost:8501", "model": "digits"},
    "edge.Decoder": {"path": "digits"},
}
MAY_BE_ZERO = {"context_size", "kl_warm_up", "start_from_epoch", "version"}
# Seeds are any integers; the others are no sizes, and what they may be is checked in the tests of their classes.
OTHER_INTEGERS = {"seed", "input_order", "hidden_degrees", "test_points_reduce_axis"}
# What functions of the package return; nobody else makes them.
RESULTS = {"training.Run", "evaluate.Comparison", "evaluate.LogMarginal", "evaluate.Measurements", "client.TensorSpec"}
PACKAGES = ("layers", "priors", "objectives", "schedules", "models", "training", "evaluate", "client", "edge", "export")


def integer_arguments() -> list[tuple[str, Any, str]]:
    """Name, function and argument of all arguments that public constructors and `params_size` take integers for."""
    arguments = []
    for package in PACKAGES:
        module = importlib.import_module(f"tfpvae.{package}")
        public = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
        classes = {
            f"{package}.{name}": getattr(module, name) for name in public if inspect.isclass(getattr(module, name))
        }
        functions = {name: cls for name, cls in classes.items() if cls.__module__.startswith(module.__name__)}
        functions |= {
            f"{name}.params_size": cls.params_size for name, cls in functions.items() if hasattr(cls, "params_size")
        }
        for name, function in functions.items():
            if name in RESULTS or inspect.isabstract(function):
                continue
            for argument in inspect.signature(function).parameters.values():
                takes_integers = re.search(r"\bint\b|EventShape", str(argument.annotation))
                if takes_integers and argument.name not in OTHER_INTEGERS:
                    arguments.append((name, function, argument.name))
    return arguments


def test_every_public_constructor_refuses_what_is_no_integer(build_conditional):
    messages = {}
    for name, function, argument in integer_arguments():
        for value in [2.7, -1, True, "3", *([] if argument in MAY_BE_ZERO else [0])]:
            given = {**VALID.get(name, {}), argument: [value] if argument in ("units", "hidden_units") else value}
            call = build_conditional if name == "models.ConditionalVAE" else function
            try:
                call(**given)
            except TfpvaeError as error:
                messages[f"{name}({argument}={value!r})"] = str(error)
            else:
                messages[f"{name}({argument}={value!r})"] = "accepted"
    assert len(messages) > 300
    wrong = {
        call: text for call, text in messages.items() if not re.match(r"\w+ must be an integer .*Received: ", text)
    }
    assert wrong == {}
