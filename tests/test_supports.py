"""What each support contains, for arrays and in graphs alike; its examples, its words and its JSON."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tfpvae import supports

EACH = [
    supports.Real(),
    supports.Positive(),
    supports.UnitInterval(),
    supports.UnitInterval(open=True),
    supports.Binary(),
    supports.Pixels(),
    supports.Counts(),
    supports.Categories(4),
    supports.OneHot(3),
    supports.Interval(-2.0, 2.0, advice="Wrap it."),
    supports.Interval(low=0.0, step=0.5),
    supports.Interval(high=-1.0, open=True, step=2.0),
    supports.Interval(high=3.0),
]
VALUES = np.array([-2.0, -0.5, 0.0, 1e-3, 0.25, 0.5, 128 / 255, 1.0, 1.5, 2.0, 3.0, 4.0, 255.0], np.float32)

INSIDE = {
    supports.Real(): VALUES,
    supports.Positive(): VALUES[3:],
    supports.UnitInterval(): VALUES[2:8],
    supports.UnitInterval(open=True): VALUES[3:7],
    supports.Binary(): VALUES[2:8],
    supports.Pixels(): [0.0, 128 / 255, 1.0],
    supports.Counts(): [0, 1, 2, 3, 4, 255],
    supports.Categories(4): [0, 1, 2, 3],
    supports.Interval(-2.0, 2.0, advice="Wrap it."): VALUES[:10],
    supports.Interval(low=0.0, step=0.5): [0, 0.5, 1, 1.5, 2, 3, 4, 255],
    supports.Interval(high=-1.0, open=True, step=2.0): [-2.0],
    supports.Interval(high=3.0): VALUES[:11],
}


def test_every_support_is_tried():
    kinds = {
        value for value in vars(supports).values() if isinstance(value, type) and value.__module__ == supports.__name__
    }
    assert {type(support) for support in EACH} == kinds - {supports.Support}
    assert set(EACH) - set(INSIDE) == {supports.OneHot(3)}


@pytest.mark.parametrize("support", INSIDE, ids=repr)
def test_what_is_inside(support):
    np.testing.assert_array_equal(VALUES[support.contains(VALUES)], np.asarray(INSIDE[support], np.float32))


def test_a_one_hot_row_is_inside_as_a_whole():
    rows = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0], [0.5, 0.5, 0], [2 / 3, 2 / 3, -1 / 3], [0, 0, 1]], np.float32)
    np.testing.assert_array_equal(supports.OneHot(3).contains(rows), [True, False, False, False, False, True])


@pytest.mark.parametrize("support", EACH, ids=repr)
def test_a_graph_says_the_same(support):
    import tensorflow as tf

    x = (
        np.stack([VALUES, VALUES[::-1], np.eye(13, dtype=np.float32)[4]])[:, :3]
        if support.name == "one_hot"
        else VALUES
    )
    for name in ("contains", "possible"):
        method = getattr(support, name)
        in_graph = tf.function(lambda t, method=method: method(t))(tf.constant(x))
        np.testing.assert_array_equal(in_graph.numpy(), method(x))


@pytest.mark.parametrize("support", EACH, ids=repr)
def test_examples_are_possible(support):
    x = support.examples(np.random.default_rng(0), (200, 4, 3)).astype(np.float32)
    assert x.shape == (200, 4, 3)
    assert support.possible(x).all()
    assert len(np.unique(x)) > 1


def test_a_bernoulli_takes_grey_values_that_it_cannot_draw():
    x = np.array([0.0, 0.5, 1.0])
    assert supports.Binary().contains(x).all()
    np.testing.assert_array_equal(supports.Binary().possible(x), [True, False, True])


@pytest.mark.parametrize("support", EACH, ids=repr)
def test_json_and_back(support):
    written = json.loads(json.dumps(support.to_json()))
    assert supports.from_json(written) == support


@pytest.mark.parametrize("support", EACH[:9], ids=repr)
def test_a_manifest_of_format_1_has_the_name_alone(support):
    read = supports.from_json(support.name)
    assert read.name == support.name
    x = read.examples(np.random.default_rng(0), (50, 3))
    assert support.contains(x).all()


def test_a_support_of_unknown_class_is_read_by_its_bounds():
    @dataclasses.dataclass(frozen=True)
    class Angle(supports.Support):
        name = "angle"
        low = -3.0
        high = 3.0
        turns: int = 2

    assert supports.from_json(Angle(5).to_json()) == supports.Interval(-3.0, 3.0)
    assert Angle(5).to_json()["turns"] == 5


@pytest.mark.parametrize(
    ("support", "words"),
    [
        (supports.Real(), "finite numbers"),
        (supports.Positive(), "values above 0"),
        (supports.UnitInterval(), "values in [0, 1]"),
        (supports.UnitInterval(open=True), "values strictly between 0 and 1"),
        (supports.Categories(10), "labels from 0 to 9"),
        (supports.OneHot(3), "one-hot rows of 3 values"),
        (supports.Interval(low=0.0), "values of 0 or more"),
        (supports.Interval(high=2.0, open=True), "values below 2"),
        (supports.Interval(high=2.0, step=1.0), "whole numbers of 2 or less"),
    ],
    ids=repr,
)
def test_words(support, words):
    assert str(support) == words
