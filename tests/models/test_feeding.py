"""What a VAE can be fed with, and what it says to the rest."""

import warnings

import numpy as np
import pytest

from tfpvae.errors import DataError, ModelError

X = np.random.default_rng(0).integers(0, 2, (40, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def py_dataset():
    """`py_dataset(x)`: batches of ten."""
    import keras

    class Batches(keras.utils.PyDataset):
        def __init__(self, x):
            super().__init__()
            self.x = x

        def __len__(self):
            return len(self.x) // 10

        def __getitem__(self, i):
            return (self.x[10 * i : 10 * i + 10],)

    return Batches


@pytest.fixture(scope="module")
def unbuilt(build_vae):
    """`unbuilt(prior=None)`: a VAE that does not know the shape of its data yet."""

    def build(prior=None):
        import keras

        from tfpvae import layers as tfpl

        encoder = keras.Sequential(
            [keras.layers.Flatten(), keras.layers.Dense(8), tfpl.MultivariateNormalDiag(4)], name="encoder"
        )
        return build_vae(encoder=encoder, prior=prior)

    return build


def dataset(*arrays):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(10)


class TestSampleWeight:
    def test_zero_weights_are_no_loss(self, build_vae):
        vae = build_vae()
        before = vae.get_weights()
        assert vae.fit(X, sample_weight=np.zeros(40), verbose=0).history["loss"] == [0.0]
        for old, new in zip(before, vae.get_weights(), strict=True):
            np.testing.assert_allclose(old, new, atol=1e-6)

    def test_arrays_and_data_sets_agree(self, build_vae):
        import keras

        weight = np.random.default_rng(1).uniform(0, 2, 40).astype(np.float32)
        losses = []
        for arguments in ({"x": X, "sample_weight": weight, "batch_size": 10}, {"x": dataset(X, X, weight)}):
            keras.utils.set_random_seed(0)
            losses.append(build_vae().evaluate(**arguments, verbose=0, return_dict=True)["loss"])
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)

    def test_validation_weights_count(self, build_vae):
        history = build_vae().fit(X, validation_data=(X, None, np.zeros(40)), verbose=0).history
        assert history["val_loss"] == [0.0]

    @pytest.mark.parametrize("weight", [np.ones(3), np.ones((40, 2)), np.full(40, np.nan), -np.ones(40)])
    def test_wrong_weights_are_refused(self, build_vae, weight):
        with pytest.raises(DataError, match="sample_weight must be 40 finite numbers"):
            build_vae().fit(X, sample_weight=weight, verbose=0)

    def test_class_weight_is_refused(self, build_vae):
        with pytest.raises(ModelError, match="sample_weight, not class_weight"):
            build_vae().fit(X, class_weight={0: 1.0}, verbose=0)


class TestBadValuesInDataSets:
    BAD = X.copy()
    BAD[25, 0, 0, 0] = np.nan

    def test_nan_after_the_first_batch(self, build_vae):
        with pytest.raises(DataError, match="A batch of x must be finite"):
            build_vae().fit(dataset(self.BAD), verbose=0)

    def test_nan_in_validation_data(self, build_vae):
        with pytest.raises(DataError, match="A batch of validation_data must be finite"):
            build_vae().fit(X, validation_data=dataset(self.BAD), verbose=0)

    def test_range_after_the_first_batch(self, build_vae):
        with pytest.raises(DataError, match=r"A batch of x must be values in \[0, 1\]\. Received: 255"):
            build_vae().evaluate(dataset(np.concatenate([X, 255 * X])), verbose=0)

    def test_gaussian_values_have_no_range(self, build_vae):
        from tfpvae import layers as tfpl

        vae = build_vae(likelihood=tfpl.IndependentNormal((8, 8, 1)))
        assert np.isfinite(vae.evaluate(dataset(5 * X), verbose=0, return_dict=True)["elbo"])

    def test_a_py_dataset_is_looked_at(self, build_vae, py_dataset):
        with pytest.raises(DataError, match="x must be values in"):
            build_vae().fit(py_dataset(255 * X), verbose=0)

    def test_whole_numbers_and_bools_pass(self, build_vae):
        for dtype in (np.uint8, bool):
            assert np.isfinite(build_vae().evaluate(dataset(X.astype(dtype)), verbose=0, return_dict=True)["elbo"])


class TestUnbuilt:
    def test_it_is_built_by_what_it_is_fed(self, unbuilt, py_dataset):
        for data in (X, dataset(X), py_dataset(X)):
            vae = unbuilt()
            vae.fit(data, verbose=0)
            assert vae.event_shape == (8, 8, 1)

    def test_it_is_built_by_what_it_encodes(self, unbuilt):
        assert unbuilt().encode(X).event_shape == (4,)
        assert unbuilt().reconstruct(X).shape == X.shape

    def test_it_cannot_be_sampled(self, unbuilt):
        with pytest.raises(ModelError, match="has not been built"):
            unbuilt().sample(2)

    def test_its_prior_is_saved(self, unbuilt):
        from tensorflow_probability import distributions as tfd

        from tfpvae import VAE

        prior = tfd.MultivariateNormalDiag(np.ones(4, np.float32), np.ones(4, np.float32))
        again = VAE.from_config(unbuilt(prior).get_config())
        np.testing.assert_array_equal(again.prior.distribution().mean(), np.ones(4))


@pytest.mark.parametrize(
    "data",
    [None, "digits", 3.0, [X], (X,), {"x": X}, X.tolist()],
    ids=["None", "str", "float", "list", "tuple", "dict", "nested list"],
)
def test_what_is_no_data_is_named(build_vae, data):
    vae = build_vae()
    for call in (vae.fit, vae.evaluate, vae.predict):
        with pytest.raises(DataError, match="must be an array"):
            call(data, verbose=0)


class Convertible:
    """What NumPy converts, as a pandas data frame is."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


class TestWhatNumPyConverts:
    def test_is_trained_on(self, build_vae, build_conditional):
        assert np.isfinite(build_vae().fit(Convertible(X), validation_data=Convertible(X), verbose=0).history["loss"])
        y = np.arange(40) % 10
        build_conditional().fit(Convertible(X), Convertible(y), verbose=0)
        assert build_vae().predict(Convertible(X), verbose=0).shape == X.shape

    def test_is_checked(self, build_vae):
        bad = X.astype(np.float64)
        bad[30, 0, 0, 0] = np.nan
        with pytest.raises(DataError, match=r"x must be finite\. Received: nan at index \[30, 0, 0, 0\]"):
            build_vae().fit(Convertible(bad), verbose=0)
        with pytest.raises(DataError, match=r"x must hold numbers\. Received: dtype object"):
            build_vae().fit(Convertible(X.astype(object)), verbose=0)

    def test_an_hdf5_data_set_is_checked(self, build_vae, tmp_path):
        import h5py

        with h5py.File(tmp_path / "x.h5", "w") as file:
            good, bad = file.create_dataset("good", data=X), file.create_dataset("bad", data=255 * X)
            build_vae().fit(good, verbose=0)
            with pytest.raises(DataError, match="Divide pixels of 0 to 255 by 255"):
                build_vae().fit(bad, verbose=0)


@pytest.mark.parametrize("kind", ["sparse matrix", "sparse tensor", "ragged tensor", "iterable", "list"])
def test_what_cannot_be_checked_is_refused_with_the_way_to_convert_it(kind, build_vae):
    import scipy.sparse
    import tensorflow as tf

    class Batches:
        def __iter__(self):
            return iter([X])

    data, advice = {
        "sparse matrix": (lambda: scipy.sparse.csr_matrix(X[:, :, 0, 0]), r"\.toarray\(\)"),
        "sparse tensor": (lambda: tf.sparse.from_dense(X), r"tf\.sparse\.to_dense"),
        "ragged tensor": (lambda: tf.ragged.constant([[1.0], [1.0, 0.0]]), r"\.to_tensor\(\)"),
        "iterable": (Batches, r"keras\.utils\.PyDataset, or in a generator"),
        "list": (X.tolist, r"np\.asarray"),
    }[kind]
    with pytest.raises(DataError, match=f"must be an array.*Received: .*{advice}"):
        build_vae().fit(data(), verbose=0)


class TestGenerators:
    def test_build_a_model_and_lose_no_batch(self, unbuilt):
        rows = []

        def batches():
            for start in (0, 20):
                rows.append(start)
                yield (X[start : start + 20],)

        vae = unbuilt()
        vae.fit(batches(), steps_per_epoch=2, verbose=0)
        assert vae.event_shape == (8, 8, 1)
        assert rows == [0, 20]
        assert int(vae.optimizer.iterations) == 2

    def test_an_empty_one_is_refused(self, build_vae):
        with pytest.raises(DataError, match="a generator without a batch"):
            build_vae().fit((x for x in ()), verbose=0)


def test_a_py_dataset_keeps_what_keras_asks_of_it(build_vae):
    import keras

    class Endless(keras.utils.PyDataset):
        epochs = 0

        @property
        def num_batches(self):
            return None

        def __getitem__(self, index):
            return (X[:10],)

        def on_epoch_end(self):
            self.epochs += 1

    data = Endless(workers=2, max_queue_size=3)
    build_vae().fit(data, steps_per_epoch=2, epochs=2, shuffle=False, verbose=0)
    assert data.epochs >= 2  # Keras calls it once more than there are epochs.


def test_the_index_of_a_wrong_value_counts_from_the_start_of_large_data():
    from tfpvae.models.feeding import check_array
    from tfpvae.supports import UnitInterval

    x = np.zeros((6_000_000, 1), np.uint8)
    x[5_000_000] = 2
    with pytest.raises(DataError, match=r"Received: 2 at index \[5000000, 0\], and 1 such values in all"):
        check_array(x, (1,), UnitInterval(), "x")


@pytest.mark.parametrize(
    ("kind", "scale", "shift", "warned"),
    [("array", 255, 0, True), ("data set", 2, -1, True), ("array", 1, 0, False), ("data set", 1, 0, False)],
)
def test_images_that_a_gaussian_takes_and_no_picture_can_show_are_warned_of(
    kind, scale, shift, warned, build_vae, digits
):
    import tensorflow as tf

    from tfpvae import layers

    vae = build_vae(likelihood=layers.SphericalNormal((8, 8, 1), 1.0))
    x = digits.train[:20] * scale + shift
    data = x if kind == "array" else tf.data.Dataset.from_tensor_slices(x).batch(10)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vae.fit(data, verbose=0)
    told = [str(each.message) for each in caught if "images with values" in str(each.message)]
    assert len(told) == warned
    if warned:
        assert f"x holds images with values from {shift:g} to {scale + shift:g}." in told[0]


def test_y_that_is_missing_is_told_as_fit_takes_it(build_conditional, digits):
    import tensorflow as tf

    with pytest.raises(ModelError, match="y must be given beside x, as in fit"):
        build_conditional().fit(digits.train[:20], verbose=0)
    with pytest.raises(ModelError, match=r"x must be batches of pairs \(x, y\) of arrays"):
        build_conditional().fit(tf.data.Dataset.from_tensor_slices(digits.train[:20]).batch(10), verbose=0)


def test_image_data_says_what_to_give(build_vae):
    from tfpvae.data import ImageData

    with pytest.raises(DataError, match="give its x_train"):
        build_vae().fit(ImageData("x", X, X), verbose=0)


@pytest.mark.parametrize("call", ["encode", "reconstruct", "score"])
def test_wrong_shapes_are_named(vae, call):
    for x in (X[0], X[:, :3], X[:0]):
        with pytest.raises(DataError, match=r"x must have shape \[None, 8, 8, 1\]"):
            getattr(vae, call)(x)


def test_score_refuses_what_the_likelihood_is_not_over(vae):
    import tensorflow as tf

    with pytest.raises(DataError, match=r"x must be values in \[0, 1\]\. Received: 255\.0 .*Divide pixels"):
        vae.score(255 * X)
    assert tf.function(vae.score)(tf.constant(X[:2]), seed=1)["elbo"].shape == (2,)


def test_decode_names_a_wrong_shape(vae):
    with pytest.raises(DataError, match=r"z must have shape \[None, 4\]"):
        vae.decode(np.zeros((3, 3)))


def test_lists_are_taken_by_encode_and_decode(vae):
    np.testing.assert_array_equal(vae.encode(X[:2].tolist()).mean(), vae.encode(X[:2]).mean())
    np.testing.assert_array_equal(vae.decode([[0.0] * 4]).mean(), vae.decode(np.zeros((1, 4))).mean())


def test_sample_png_is_the_picture_of_the_mean(vae):
    import io

    from PIL import Image

    png = vae.sample_png(2, seed=3)[1]
    expected = np.rint(255 * np.asarray(vae.sample_mean(1, seed=4))[0, :, :, 0])
    assert np.abs(np.asarray(Image.open(io.BytesIO(png)), float) - expected).max() <= 1


def test_a_prior_of_another_dtype_is_refused(build_vae):
    from tensorflow_probability import distributions as tfd

    with pytest.raises(ModelError, match="float type, float32"):
        build_vae(prior=tfd.MultivariateNormalDiag(np.zeros(4), np.ones(4)))


def test_training_from_a_file_draws_what_it_would_have_drawn(build_vae, tmp_path):
    import keras

    vae = build_vae()
    vae.fit(X, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = [keras.models.load_model(tmp_path / "vae.keras") for _ in range(2)]
    assert len({model.evaluate(X, verbose=0, return_dict=True)["elbo"] for model in (vae, *loaded)}) == 1


@pytest.mark.parametrize("how", ["KLDivergenceAddLoss", "a function"])
def test_the_kl_counts_once(build_vae, how):
    import keras
    import tensorflow as tf
    from tensorflow_probability import distributions as tfd

    from tfpvae import layers as tfpl

    prior = tfd.MultivariateNormalDiag(tf.zeros(4))
    if how == "KLDivergenceAddLoss":
        end = [tfpl.MultivariateNormalDiag(4), tfpl.KLDivergenceAddLoss(prior)]
    else:
        regularizer = lambda q: tf.reduce_mean(tfd.kl_divergence(q, prior))  # noqa: E731
        end = [tfpl.MultivariateNormalDiag(4, activity_regularizer=regularizer)]
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(8), *end])
    with pytest.raises(ModelError, match="count twice"):
        build_vae(encoder=encoder)
