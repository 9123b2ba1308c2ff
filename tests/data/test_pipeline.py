import numpy as np
import pytest

from tfpvae import data
from tfpvae.data import Binarize
from tfpvae.data.binarize import draw_bernoulli
from tfpvae.errors import DataError

N, CODE = 50, 6


def coded_images():
    """`[N, 4, 4, 1]`: the first pixels, 0 or 1, tell the image's number; the others are probabilities."""
    x = np.random.default_rng(0).random((N, 16), dtype=np.float32)
    x[:, :CODE] = np.arange(N)[:, np.newaxis] >> np.arange(CODE) & 1
    return x.reshape(N, 4, 4, 1)


X = coded_images()


def numbers(batches):
    """The numbers of coded images, which binarisation of any kind leaves as they are."""
    return (batches.reshape(-1, 16)[:, :CODE] @ 2 ** np.arange(CODE)).astype(int)


def make_train(x=X, *, batch_size=8, binarize=Binarize.NONE, seed=1, **kwargs):
    return data.train_dataset(x, batch_size=batch_size, binarize=binarize, seed=seed, **kwargs)


def make_test(x=X, *, batch_size=8, binarize=Binarize.NONE, seed=1):
    return data.test_dataset(x, batch_size=batch_size, binarize=binarize, seed=seed)


def epoch(dataset):
    return np.concatenate(list(dataset.as_numpy_iterator()))


@pytest.mark.parametrize("binarize", Binarize)
@pytest.mark.parametrize("make", [make_train, make_test])
def test_batches_have_a_known_shape_and_number(make, binarize):
    dataset = make(binarize=binarize)
    assert dataset.element_spec.shape.as_list() == [None, 4, 4, 1]
    assert dataset.element_spec.dtype.name == "float32"
    assert int(dataset.cardinality()) == 7
    assert [len(batch) for batch in dataset] == [8] * 6 + [2]


@pytest.mark.parametrize("binarize", Binarize)
def test_drop_remainder_fixes_the_batch_size(binarize):
    dataset = make_train(binarize=binarize, drop_remainder=True)
    assert dataset.element_spec.shape.as_list() == [8, 4, 4, 1]
    assert int(dataset.cardinality()) == 6
    assert [len(batch) for batch in dataset] == [8] * 6


@pytest.mark.parametrize("binarize", Binarize)
def test_each_epoch_of_training_has_every_image_once_in_another_order(binarize):
    dataset = make_train(binarize=binarize)
    orders = [numbers(epoch(dataset)) for _ in range(3)]
    for order in orders:
        assert sorted(order) == list(range(N))
    assert len({tuple(order) for order in [range(N), *orders]}) == 4


def test_unbinarised_images_are_passed_on_as_they_are():
    batches = epoch(make_train())
    np.testing.assert_array_equal(batches, X[numbers(batches)])
    np.testing.assert_array_equal(epoch(make_test()), X)


def test_static_binarisation_is_the_threshold():
    batches = epoch(make_train(binarize=Binarize.STATIC))
    np.testing.assert_array_equal(batches, X[numbers(batches)] > 0.5)
    np.testing.assert_array_equal(epoch(make_test(binarize=Binarize.STATIC)), X > 0.5)


@pytest.mark.parametrize("binarize", Binarize)
@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_two_training_sets_with_the_same_seed_give_the_same_epochs(binarize, seed):
    first, second = (make_train(binarize=binarize, seed=seed) for _ in range(2))
    for _ in range(3):
        np.testing.assert_array_equal(epoch(first), epoch(second))


@pytest.mark.parametrize("binarize", Binarize)
def test_training_sets_with_different_seeds_differ(binarize):
    assert not np.array_equal(epoch(make_train(binarize=binarize)), epoch(make_train(binarize=binarize, seed=2)))


def test_dynamic_draws_are_fresh_in_each_epoch_and_have_the_probability_of_the_pixel():
    epochs = 150
    dataset = make_train(binarize=Binarize.DYNAMIC, batch_size=25)
    draws = np.empty((epochs, *X.shape), np.float32)
    for i in range(epochs):
        batches = epoch(dataset)
        draws[i, numbers(batches)] = batches
    assert data.is_binary(draws)
    np.testing.assert_allclose(draws.mean(axis=0), X, atol=5.5 * 0.5 / np.sqrt(epochs))
    # Independent draws of one pixel in two epochs agree with probability p^2 + (1 - p)^2.
    agree = (draws[1:] == draws[:-1]).mean()
    assert agree == pytest.approx((X**2 + (1 - X) ** 2).mean(), abs=0.01)


def test_dynamic_draws_differ_between_the_batches_of_an_epoch():
    x = np.full((64, 8, 8, 1), 0.5, np.float32)
    batches = list(make_train(x, binarize=Binarize.DYNAMIC).as_numpy_iterator())
    assert len({batch.tobytes() for batch in batches}) == len(batches)


def test_a_dynamic_test_set_is_drawn_once_from_the_seed():
    dataset = make_test(binarize=Binarize.DYNAMIC, seed=3)
    first = epoch(dataset)
    assert data.is_binary(first)
    np.testing.assert_array_equal(numbers(first), np.arange(N))
    np.testing.assert_array_equal(first, draw_bernoulli(X, seed=3))
    for again in (dataset, make_test(binarize=Binarize.DYNAMIC, seed=3, batch_size=50)):
        np.testing.assert_array_equal(epoch(again), first)
    assert not np.array_equal(epoch(make_test(binarize=Binarize.DYNAMIC, seed=4)), first)


@pytest.mark.parametrize("make", [make_train, make_test])
def test_the_ways_to_binarise_may_be_spelled_as_strings(make):
    np.testing.assert_array_equal(epoch(make(binarize="dynamic")), epoch(make(binarize=Binarize.DYNAMIC)))


@pytest.mark.parametrize("make", [make_train, make_test])
def test_uint8_images_are_taken_by_the_pixel_rule(make):
    assert epoch(make(np.full((9, 2, 2), 255, np.uint8))).tolist() == np.ones((9, 2, 2, 1)).tolist()


@pytest.mark.parametrize("make", [make_train, make_test])
def test_a_later_change_of_the_array_does_not_reach_the_batches(make):
    x = X.copy()
    dataset = make(x)
    x[:] = 0
    assert epoch(dataset).sum() == pytest.approx(X.sum(), rel=1e-5)


@pytest.mark.parametrize("make", [make_train, make_test])
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 0}, r"batch_size must be an integer of at least 1\. Received: batch_size=0"),
        ({"batch_size": -8}, r"batch_size must be an integer of at least 1\. Received: batch_size=-8"),
        ({"binarize": "fuzzy"}, "binarize must be one of none, static, dynamic. Received: 'fuzzy'"),
        ({"x": X * 3}, r"must lie in \[0, 1\]. Received: x with"),
    ],
)
def test_bad_arguments_are_refused(make, kwargs, message):
    with pytest.raises(DataError, match=message):
        make(**kwargs)


def test_a_batch_that_never_fills_is_refused():
    with pytest.raises(DataError, match=r"at most 50, the number of images, with drop_remainder\. Received: 51"):
        make_train(batch_size=51, drop_remainder=True)
    assert int(make_train(batch_size=51).cardinality()) == 1


def test_a_model_takes_the_batches_in_fit():
    import keras

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(loss=lambda y, y_pred: keras.ops.mean(y_pred))
    dataset = make_train(binarize=Binarize.DYNAMIC).map(lambda x: (x, x[:, 0, 0]))
    history = model.fit(dataset, epochs=2, verbose=0, shuffle=False)
    assert len(history.history["loss"]) == 2
