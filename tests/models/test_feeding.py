"""What a VAE can be fed with, and what it says to the rest."""

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


def test_image_data_says_what_to_give(build_vae):
    from tfpvae.data import ImageData

    with pytest.raises(DataError, match="give its x_train"):
        build_vae().fit(ImageData("x", X, X), verbose=0)


@pytest.mark.parametrize("call", ["encode", "reconstruct", "score"])
def test_wrong_shapes_are_named(vae, call):
    for x in (X[0], X[:, :3], X[:0]):
        with pytest.raises(DataError, match=r"x must have shape \[None, 8, 8, 1\]"):
            getattr(vae, call)(x)


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
