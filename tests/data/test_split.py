import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpvae.data.split import HoldOut
from tfpvae.errors import DataError


def numbered(n):
    """n images of one pixel, whose value is their number over n; and that number as their label."""
    return (np.arange(n) / n).reshape(n, 1, 1).astype(np.float32), np.arange(n)


@given(st.integers(2, 60), st.floats(0.001, 0.999), st.integers(-(2**63), 2**63 - 1))
def test_every_image_lands_in_one_part_beside_its_label(n, fraction, seed):
    x, y = numbered(n)
    data = HoldOut(fraction, seed).split("numbers", x, y, what="numbers")
    assert len(data.y_test) == np.clip(round(n * fraction), 1, n - 1)
    assert sorted([*data.y_train, *data.y_test]) == list(range(n))
    for part_x, part_y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert (np.diff(part_y) > 0).all(), "the order is kept"
        np.testing.assert_array_equal(part_x.ravel(), x.ravel()[part_y])


def test_the_seed_chooses_the_images():
    x, y = numbered(100)
    chosen = [tuple(HoldOut(0.1, seed).split("numbers", x, y, what="numbers").y_test) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_the_split_stays_the_same_between_releases():
    x, y = numbered(50)
    assert HoldOut(0.1, 0).split("numbers", x, y, what="numbers").y_test.tolist() == GOLDEN


def test_without_labels_there_are_none():
    data = HoldOut(0.5, 0).split("numbers", numbered(4)[0], what="numbers")
    assert data.y_train is None
    assert data.y_test is None


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction):
    with pytest.raises(
        DataError, match=rf"test_fraction must be a number above 0 and below 1\. Received: .*={fraction}"
    ):
        HoldOut(fraction, 0)


def test_a_single_image_is_refused():
    with pytest.raises(DataError, match=r"must be 2 or more\. Received: faces with 1"):
        HoldOut(0.1, 0).split("faces", np.zeros((1, 2, 2)), what="faces")


def test_a_bad_pixel_is_located_in_the_whole_array():
    x = np.zeros((50, 2, 2))
    x[41, 1, 1] = np.nan
    with pytest.raises(DataError, match=r"faces with nan first at index \[41, 1, 1, 0\]"):
        HoldOut(0.1, 0).split("faces", x, what="faces")


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"each of the 4 images\. Received: labels for faces"):
        HoldOut(0.5, 0).split("faces", np.zeros((4, 2, 2)), np.zeros(3, int), what="faces")


GOLDEN = [0, 20, 31, 38, 40]
