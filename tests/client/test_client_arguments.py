from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpvae.client.arguments import as_condition, as_rows, as_seeds, count_of
from tfpvae.errors import RequestError

INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**63 - 1, 2**63 - 2, -(2**63), -1, 0])


def wrapped(value: int) -> int:
    """`value` as int64 in Python's integers, which never wrap."""
    return (value + 2**63) % 2**64 - 2**63


@settings(derandomize=True)
@given(seed=INT64, n=st.integers(1, 40))
def test_seeds_count_up_and_wrap(seed: int, n: int) -> None:
    seeds = as_seeds(n, seed)
    assert seeds.dtype == np.int64
    assert seeds.tolist() == [wrapped(seed + i) for i in range(n)]


@settings(derandomize=True)
@given(seed=INT64, start=st.integers(0, 40), n=st.integers(1, 40))
def test_a_part_of_the_rows_is_a_later_seed(seed: int, start: int, n: int) -> None:
    np.testing.assert_array_equal(as_seeds(start + n, seed)[start:], as_seeds(n, wrapped(seed + start)))


@settings(derandomize=True)
@given(seeds=st.lists(INT64, min_size=1, max_size=20))
def test_seeds_are_taken_as_they_are(seeds: list[int]) -> None:
    for form in (seeds, tuple(seeds), np.array(seeds, dtype=np.int64)):
        assert as_seeds(None, form).tolist() == seeds
        assert as_seeds(len(seeds), form).tolist() == seeds


def test_other_integers() -> None:
    assert as_seeds(np.int32(2), np.uint8(255)).tolist() == [255, 256]
    assert as_seeds(None, np.array([255], dtype=np.uint8)).tolist() == [255]
    assert as_seeds(None, -5).tolist() == [-5]


def test_fresh_seeds_use_all_of_int64() -> None:
    drawn = np.array([as_seeds(1, None)[0] for _ in range(100)])
    assert len(set(drawn.tolist())) == 100
    assert drawn.min() < -(2**60)
    assert drawn.max() > 2**60
    first, second = as_seeds(2, None).tolist()
    assert second == wrapped(first + 1)


@pytest.mark.parametrize("value", [np.zeros((2, 3), bool), [[0, 1]], np.zeros((1, 2, 2, 1), np.float64)])
def test_rows_are_float32(value: Any) -> None:
    rows = as_rows("x", value)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, value)


@pytest.mark.parametrize("value", [None, [[None]], [[1j]], [["1"]]])
def test_rows_are_numbers(value: Any) -> None:
    with pytest.raises(RequestError, match="x must be numbers"):
        as_rows("x", value)


@pytest.mark.parametrize(
    ("y", "rows", "expected"),
    [
        (3, 2, np.array([3, 3], np.int64)),
        ([3], 2, np.array([3, 3], np.int64)),
        (np.array([1, 255], np.uint8), 2, np.array([1, 255], np.int64)),
        ([0.5, 1], 2, np.array([0.5, 1], np.float32)),
        (0.5, 2, np.array([0.5, 0.5], np.float32)),
        ([[1, 0]], 3, np.array([[1, 0]] * 3, np.float32)),
        (np.ones((2, 4, 3)), 2, np.ones((2, 4, 3), np.float32)),
    ],
    ids=["a label", "a row of one", "labels", "floats", "a float", "one-hot integers", "images"],
)
def test_conditions(y: Any, rows: int, expected: np.ndarray) -> None:
    got = as_condition(y, rows)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("y", ["3", True, [None], [], [1, 2, 3], [np.inf, 0.0], [[1.0], [1.0, 2.0]]])
def test_bad_conditions(y: Any) -> None:
    with pytest.raises(RequestError, match=r"^y must be "):
        as_condition(y, 2)


def test_how_many_rows_a_condition_is_for() -> None:
    assert [count_of(y) for y in (None, 3, [3], [1, 2], np.ones((4, 2)))] == [None, None, 1, 2, 4]
