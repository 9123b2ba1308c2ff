"""TFP's tutorials, as written but for `tfpl`, `keras` and the data: "Probabilistic Layers VAE" and "... Regression"."""

from __future__ import annotations

import numpy as np
import pytest


# Keras 3.15 says so of every tf.data.Dataset.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed, but will be ignored")
@pytest.mark.slow
def test_probabilistic_layers_vae(tf, tfd):
    import keras as tfk
    from sklearn.datasets import load_digits

    from tfpvae import layers as tfpl

    tfk.utils.set_random_seed(0)
    tfkl = tfk.layers
    # The digits of scikit-learn, enlarged to the 28 by 28 of the tutorial's MNIST; 20 batches of them.
    images = np.kron(load_digits().images[:320] / 16, np.ones((3, 3)))
    images = np.pad(images, [(0, 0), (2, 2), (2, 2)])[..., None]
    datasets = {"train": images[:288], "test": images[288:]}

    def _preprocess(image):
        image = tf.cast(image, tf.float32)
        image = image < tf.random.uniform(tf.shape(image))  # Randomly binarize.
        return image, image

    def dataset(split):
        return tf.data.Dataset.from_tensor_slices(datasets[split]).map(_preprocess).batch(32).prefetch(2)

    train_dataset, eval_dataset = dataset("train").shuffle(100), dataset("test")

    input_shape = (28, 28, 1)
    encoded_size = 16
    base_depth = 4  # 32 in the tutorial, which has a GPU.

    prior = tfd.Independent(tfd.Normal(loc=tf.zeros(encoded_size), scale=1), reinterpreted_batch_ndims=1)

    encoder = tfk.Sequential([
        tfkl.InputLayer(shape=input_shape),
        tfkl.Lambda(lambda x: tf.cast(x, tf.float32) - 0.5),
        tfkl.Conv2D(base_depth, 5, strides=1, padding="same", activation=tf.nn.leaky_relu),
        tfkl.Conv2D(base_depth, 5, strides=2, padding="same", activation=tf.nn.leaky_relu),
        tfkl.Conv2D(2 * base_depth, 5, strides=1, padding="same", activation=tf.nn.leaky_relu),
        tfkl.Conv2D(2 * base_depth, 5, strides=2, padding="same", activation=tf.nn.leaky_relu),
        tfkl.Conv2D(4 * encoded_size, 7, strides=1, padding="valid", activation=tf.nn.leaky_relu),
        tfkl.Flatten(),
        tfkl.Dense(tfpl.MultivariateNormalTriL.params_size(encoded_size), activation=None),
        tfpl.MultivariateNormalTriL(encoded_size, activity_regularizer=tfpl.KLDivergenceRegularizer(prior)),
    ])  # fmt: skip

    decoder = tfk.Sequential([
        tfkl.InputLayer(shape=[encoded_size]),
        tfkl.Reshape([1, 1, encoded_size]),
        tfkl.Conv2DTranspose(2 * base_depth, 7, strides=1, padding="valid", activation=tf.nn.leaky_relu),
        tfkl.Conv2DTranspose(2 * base_depth, 5, strides=1, padding="same", activation=tf.nn.leaky_relu),
        tfkl.Conv2DTranspose(2 * base_depth, 5, strides=2, padding="same", activation=tf.nn.leaky_relu),
        tfkl.Conv2DTranspose(base_depth, 5, strides=1, padding="same", activation=tf.nn.leaky_relu),
        tfkl.Conv2DTranspose(base_depth, 5, strides=2, padding="same", activation=tf.nn.leaky_relu),
        tfkl.Conv2DTranspose(base_depth, 5, strides=1, padding="same", activation=tf.nn.leaky_relu),
        tfkl.Conv2D(filters=1, kernel_size=5, strides=1, padding="same", activation=None),
        tfkl.Flatten(),
        tfpl.IndependentBernoulli(input_shape, tfd.Bernoulli.logits),
    ])  # fmt: skip

    vae = tfk.Model(inputs=encoder.inputs, outputs=decoder(encoder.outputs[0]))

    def negloglik(x, rv_x):
        return -rv_x.log_prob(x)

    vae.compile(optimizer=tfk.optimizers.Adam(learning_rate=1e-3), loss=negloglik, jit_compile=False)
    history = vae.fit(train_dataset, epochs=2, validation_data=eval_dataset, verbose=0).history
    # 784 pixels at one bit each are 543 nats: it starts there, and learns that most pixels are of one colour.
    assert history["loss"][-1] < min(history["loss"][0], 530)
    assert np.isfinite(history["val_loss"]).all()

    x = next(iter(eval_dataset))[0][:10]
    xhat = vae(x)
    assert isinstance(xhat, tfd.Distribution)
    for images in (xhat.sample(), xhat.mode(), xhat.mean()):
        assert images.shape == (10, 28, 28, 1)

    z = prior.sample(10)
    xtilde = decoder(z)
    assert isinstance(xtilde, tfd.Distribution)
    assert xtilde.sample().shape == (10, 28, 28, 1)
    assert np.array(xtilde.mean()).max() <= 1


W0, B0, X_RANGE = 0.125, 5.0, [-20, 60]


def load_dataset(n=150, n_tst=150):
    np.random.seed(43)

    def s(x):
        g = (x - X_RANGE[0]) / (X_RANGE[1] - X_RANGE[0])
        return 3 * (0.25 + g**2.0)

    x = (X_RANGE[1] - X_RANGE[0]) * np.random.rand(n) + X_RANGE[0]
    eps = np.random.randn(n) * s(x)
    y = (W0 * x * (1.0 + np.sin(x)) + B0) + eps
    x = x[..., np.newaxis]
    x_tst = np.linspace(*X_RANGE, num=n_tst).astype(np.float32)
    return y, x, x_tst[..., np.newaxis]


def negloglik(y, rv_y):
    return -rv_y.log_prob(y)


@pytest.mark.slow
def test_regression_case_1_no_uncertainty(tf, tfd):
    import keras

    from tfpvae import layers as tfpl

    keras.utils.set_random_seed(0)
    y, x, x_tst = load_dataset()  # y is [150], and the model's distribution [150, 1].
    model = keras.Sequential([
        keras.layers.Dense(1),
        tfpl.DistributionLambda(lambda t: tfd.Normal(loc=t, scale=1)),
    ])  # fmt: skip
    # A larger rate for fewer epochs: the tutorial's 1000 at 0.01 lead to the same place.
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.2), loss=negloglik, jit_compile=False)
    history = model.fit(x, y, epochs=50, verbose=False).history["loss"]
    slope, intercept = np.polyfit(x[:, 0], y, 1)
    np.testing.assert_allclose(np.squeeze(model.weights[0]), slope, atol=0.03)
    np.testing.assert_allclose(np.squeeze(model.weights[1]), intercept, atol=0.5)
    # The loss at the least-squares fit, where [B] has not been broadcast against [B, 1].
    best = np.mean(0.5 * (y - slope * x[:, 0] - intercept) ** 2) + 0.5 * np.log(2 * np.pi)
    assert history[-1] == pytest.approx(best, rel=0.05)
    yhat = model(x_tst)
    assert isinstance(yhat, tfd.Distribution)
    assert yhat.mean().shape == (150, 1)


@pytest.mark.slow
def test_regression_case_2_aleatoric_uncertainty(tf, tfd):
    import keras

    from tfpvae import layers as tfpl

    keras.utils.set_random_seed(0)
    y, x, x_tst = load_dataset()
    model = keras.Sequential([
        keras.layers.Dense(1 + 1),
        tfpl.DistributionLambda(
            lambda t: tfd.Normal(loc=t[..., :1], scale=1e-3 + tf.math.softplus(0.05 * t[..., 1:]))
        ),
    ])  # fmt: skip
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.1), loss=negloglik, jit_compile=False)
    losses = model.fit(x, y, epochs=50, verbose=False).history["loss"]
    yhat = model(x_tst)
    assert isinstance(yhat, tfd.Distribution)
    # The noise grows with x, and the fit finds that; with it, the likelihood is better than with a scale of one.
    scale = np.squeeze(yhat.stddev())
    assert scale[-1] > scale[0] > 0
    assert losses[-1] < losses[0]
    assert losses[-1] < 4
