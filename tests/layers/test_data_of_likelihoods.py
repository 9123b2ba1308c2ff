"""One row for each likelihood: data that it is over, and data that `fit` refuses, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

ROWS = 8

Wrong = tuple[Callable[[np.ndarray], np.ndarray], str]
"""Makes wrong data of good, and a pattern for the error."""


def put(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Puts one value into the last row."""

    def change(data: np.ndarray) -> np.ndarray:
        data = data.astype(np.float64)
        data[(-1,) * data.ndim] = value
        return data

    return change


def relabelled(data: np.ndarray) -> np.ndarray:
    data = data + 1
    data[0], data[-1] = 1, 4
    return data


NOT_FINITE: Wrong = (put(1e300), r"finite\. Received: 1e\+300 at .* inf in float32")
PIXELS: Wrong = (lambda x: np.full_like(x, 200), "Divide pixels of 0 to 255 by 255")
IN_UNIT: list[Wrong] = [PIXELS, (put(-0.5), r"x / 2 \+ 0\.5"), (put(1000.0), "Rescale the data into"), NOT_FINITE]
GRID: list[Wrong] = [
    PIXELS,
    (put(0.5), r"8-bit pixels.*Received: 0\.5 at .* np\.round\(np\.float32\(x\) \* 255\) / 255"),
    (put(-1.0), r"x / 2 \+ 0\.5"),
    NOT_FINITE,
]
COUNTED: list[Wrong] = [
    (put(-1.0), "counts.*Received: -1.0 .* not centred"),
    (put(2.5), "counts.*Received: 2.5 .* no means, rates or logarithms"),
    NOT_FINITE,
]
ONE_HOT: list[Wrong] = [
    (put(1.0), r"one-hot rows of 4 values.* at index \[7\], and 1 such rows .*to_categorical\(labels, 4\)"),
    (np.zeros_like, "and 8 such rows in all.*to_categorical"),
    (lambda x: x * 0.5 + 0.125, "to_categorical"),
    NOT_FINITE,
]

LIKELIHOODS: dict[str, list[Wrong]] = {
    "AutoregressiveTransform": [NOT_FINITE],
    "CategoricalMixtureOfOneHotCategorical": ONE_HOT,
    "DistributionLambda": [NOT_FINITE],
    "IndependentBernoulli": IN_UNIT,
    "IndependentBeta": [
        (put(0.0), r"strictly between 0 and 1\. Received: 0\.0 .*rescale into \(0, 1\).*\(x \* 255 \+ 0\.5\) / 256"),
        (put(1.0), r"rescale into \(0, 1\)"),
        (put(1.0 - 1e-12), r"0\.999999999999 at .* 1\.0 in float32"),
        (lambda x: np.full_like(x, 200), r"\(x \+ 0\.5\) / 256"),
        (put(-3.0), "Rescale"),
        NOT_FINITE,
    ],
    "IndependentCategorical": [
        (put(4), r"labels from 0 to 3\. Received: 4.* There are 4 categories"),
        (put(-1), "labels from 0 to 3"),
        (put(0.5), "number of each value's category"),
        (relabelled, "Subtract 1: labels are counted from 0"),
        NOT_FINITE,
    ],
    "IndependentContinuousBernoulli": IN_UNIT,
    "IndependentDiscretizedLogistic": GRID,
    "IndependentGamma": [
        (put(0.0), r"values above 0\. Received: 0\.0 .*add a small number"),
        (put(-1.0), "values above 0.*IndependentNormal"),
        (put(1e-60), r"1e-60 at .* which is 0\.0 in float32.*add a small number"),
        NOT_FINITE,
    ],
    "IndependentLogistic": [NOT_FINITE],
    "IndependentNegativeBinomial": COUNTED,
    "IndependentNormal": [NOT_FINITE],
    "IndependentNormalLogVariance": [NOT_FINITE],
    "IndependentPoisson": COUNTED,
    "IndependentStudentT": [NOT_FINITE],
    "InverseAutoregressiveFlow": [NOT_FINITE],
    "MixtureDiscretizedLogistic": GRID,
    "MixtureLogistic": [NOT_FINITE],
    "MixtureNormal": [NOT_FINITE],
    "MixtureSameFamily": IN_UNIT,
    "MultivariateNormalDiag": [NOT_FINITE],
    "MultivariateNormalTriL": [NOT_FINITE],
    "OneHotCategorical": ONE_HOT,
    "SphericalNormal": [NOT_FINITE],
}


def as_dataset(x: np.ndarray, y: np.ndarray) -> object:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(ROWS // 2)


def as_py_dataset(x: np.ndarray, y: np.ndarray) -> object:
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            rows = slice(i * ROWS // 2, (i + 1) * ROWS // 2)
            return x[rows], y[rows]

    return Batches()


def as_generator(x: np.ndarray, y: np.ndarray) -> object:
    return ((x[rows], y[rows]) for rows in (slice(0, ROWS // 2), slice(ROWS // 2, ROWS)))


STREAMS = {"tf.data": as_dataset, "PyDataset": as_py_dataset, "generator": as_generator}


class Trial:
    """A model of one likelihood, p(y given x), and data for it."""

    def __init__(self, case) -> None:
        import keras

        import tfpvae

        self.model = tfpvae.ConditionalDensity(case.model())
        self.model.compile(keras.optimizers.SGD(1e-6), run_eagerly=True)
        self.x = np.random.default_rng(1).normal(size=(ROWS, 5)).astype(np.float32)
        self.y = case.values(ROWS)


def test_every_likelihood_has_a_row(case_names):
    from tfpvae import layers

    exported = [getattr(layers, name) for name in layers.__all__]
    likelihoods = {
        each.__name__ for each in exported if isinstance(each, type) and issubclass(each, layers.DistributionLayer)
    }
    assert set(LIKELIHOODS) == likelihoods - {"DistributionLayer"} == case_names


def test_good_data_is_taken_and_wrong_data_refused_before_training(case):
    from tfpvae.errors import DataError

    trial = Trial(case)
    before = trial.model.get_weights()
    for change, message in LIKELIHOODS[case.name]:
        for wrong in (change(trial.y), change(trial.y).astype(np.float64)):
            with pytest.raises(DataError, match=re.compile(f"^y must be .*{message}", re.DOTALL)):
                trial.model.fit(trial.x, wrong, verbose=0)
            with pytest.raises(DataError, match=r"^y must be "):
                trial.model.evaluate(trial.x, wrong, verbose=0)
    for old, new in zip(before, trial.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(trial.model.fit(trial.x, trial.y, verbose=0).history["loss"][0])


# A stream's kind and a likelihood's support have nothing to do with each other: every likelihood sees one kind, and
# every kind sees every support.
OF_EVERY_SUPPORT = (
    "IndependentBernoulli", "IndependentBeta", "IndependentCategorical", "IndependentDiscretizedLogistic",
    "IndependentGamma", "IndependentNormal", "IndependentPoisson", "OneHotCategorical",
)  # fmt: skip


@pytest.mark.parametrize("stream", STREAMS)
def test_wrong_data_is_refused_in_whichever_batch_it_comes(case, stream):
    if stream != "tf.data" and case.name not in OF_EVERY_SUPPORT:
        return
    from tfpvae.errors import DataError

    trial = Trial(case)
    change, _ = LIKELIHOODS[case.name][0]
    wrong = change(trial.y)
    swapped = np.roll(wrong, ROWS // 2, axis=0)
    as_stream = STREAMS[stream]
    assert np.isfinite(trial.model.evaluate(as_stream(trial.x, trial.y), steps=2, verbose=0)).all()
    before = trial.model.get_weights()
    with pytest.raises(DataError, match=r"^y must be "):
        trial.model.fit(as_stream(trial.x, swapped), steps_per_epoch=2, verbose=0)
    for old, new in zip(before, trial.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    half = np.concatenate([trial.y[: ROWS // 2], wrong[ROWS // 2 :]])
    with pytest.raises(DataError, match=r"^A batch of y must be .*Received: .* at index "):
        trial.model.evaluate(as_stream(trial.x, half), steps=2, verbose=0)
