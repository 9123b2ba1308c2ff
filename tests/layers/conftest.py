import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("tests_layers_cases", Path(__file__).with_name("cases.py"))
cases = importlib.util.module_from_spec(_spec)
# A dataclass looks its module up by name.
sys.modules[_spec.name] = cases
_spec.loader.exec_module(cases)


def pytest_configure(config):
    config.addinivalue_line("markers", "rows(**attributes): the rows of cases.py that a test of `case` runs for")
    config.addinivalue_line("markers", "slow_but_for(*names): all other rows are slow")


def pytest_generate_tests(metafunc):
    """A test that asks for `case` runs for every row of the table, or for the rows that its marker names."""
    if "case" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("rows")
        names = rows(**(marker.kwargs if marker else {}))
        quick = metafunc.definition.get_closest_marker("slow_but_for")
        slow = set(names) - set(quick.args) if quick else set()
        assert not quick or set(quick.args) <= set(names)
        parameters = [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]
        metafunc.parametrize("case", parameters, indirect=True)


def rows(**wanted):
    return [name for name, row in cases.CASES.items() if all(getattr(row, k) == v for k, v in wanted.items())]


@pytest.fixture
def case(request):
    return cases.LayerCase(request.param)


@pytest.fixture
def case_names():
    return set(cases.CASES)


@pytest.fixture
def named_case_names():
    return set(rows(named=True))


# TensorFlow is loaded when a test asks for it, and not when the tests are collected.


@pytest.fixture(scope="session")
def tf():
    import tensorflow as tf

    return tf


@pytest.fixture(scope="session")
def tfp():
    import tensorflow_probability as tfp

    return tfp


@pytest.fixture(scope="session")
def tfd(tfp):
    return tfp.distributions


@pytest.fixture(scope="session")
def tfpl():
    from tfpvae import layers

    return layers
