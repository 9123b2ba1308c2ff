"""What the data decides, when training ends, and which weights it keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfpvae.errors import RunError


@pytest.fixture(scope="module")
def images():
    """`images(shape, values)`: 40 training and 5 test images, of so many different values."""
    from tfpvae.data import ImageData

    def make(shape=(8, 8, 1), values=256):
        x = np.random.default_rng(0).integers(0, values, (45, *shape)) / (values - 1)
        return ImageData("x", x[:40].astype(np.float32), x[40:].astype(np.float32))

    return make


class TestChoices:
    @pytest.mark.parametrize(
        ("shape", "values", "chosen"),
        [
            ((8, 8, 1), 2, {"likelihood": "bernoulli", "binarize": "none", "model": "mlp", "latent": 16}),
            ((8, 8, 1), 17, {"likelihood": "normal", "binarize": "none", "model": "mlp", "learning_rate": 1e-3}),
            ((28, 30, 1), 2, {"likelihood": "bernoulli", "model": "conv", "latent": 32, "learning_rate": 2e-3}),
            ((48, 32, 3), 256, {"likelihood": "normal", "model": "conv", "batch_size": 64, "minutes": 10.0}),
        ],
    )
    def test_by_the_data(self, images, shape, values, chosen):
        from tfpvae.training import TrainConfig, choose

        config, lines = choose(TrainConfig(data="x"), images(shape, values))
        assert {key: getattr(config, key) for key in chosen} == chosen
        assert len(lines) == 4
        assert "36 training, 4 validation, 5 test images" in lines[0]

    def test_what_the_user_sets_stays(self, images):
        from tfpvae.training import TrainConfig, choose

        given = TrainConfig(
            data="x", binarize="static", model="conv", latent=3, likelihood="bernoulli", epochs=7, batch_size=5,
            learning_rate=0.5,
        )  # fmt: skip
        config, lines = choose(given, images())
        assert config == given
        assert "7 epochs" in lines[3]
        assert choose(config, images())[0] == config

    def test_grey_images_are_drawn_for_a_bernoulli_likelihood(self, images):
        from tfpvae.training import TrainConfig, choose

        config, lines = choose(TrainConfig(data="x", likelihood="bernoulli"), images())
        assert config.binarize == "dynamic"
        assert "drawn as 0 or 1 (dynamic)" in lines[1]

    def test_resuming_takes_what_the_run_has(self, images):
        from tfpvae.training import TrainConfig, choose

        run, _ = choose(TrainConfig(data="x", epochs=3), images())
        again = TrainConfig(data="x", minutes=2.0).resumes(run)
        assert again.latent == run.latent
        assert (again.epochs, again.minutes) == (None, 2.0)
        with pytest.raises(RunError, match="latent=16, not 3"):
            TrainConfig(data="x", latent=3).resumes(run)


class TestParts:
    def test_validation_images_are_a_random_tenth_that_is_not_trained_on(self, images):
        from tfpvae.training.parts import split

        train, validation = split(images(), seed=0)
        assert sorted([*train, *validation]) == list(range(40))
        assert len(validation) == 4
        assert list(validation) != list(range(36, 40))
        assert not np.array_equal(validation, split(images(), seed=1).validation)

    def test_one_image_is_in_both(self):
        from tfpvae.data import ImageData
        from tfpvae.training.parts import split

        one = np.zeros((1, 4, 4, 1), np.float32)
        assert [list(part) for part in split(ImageData("x", one, one), 0)] == [[0], [0]]


class _Optimizer:
    def __init__(self, rate):
        self.learning_rate = rate


class _Model:
    """As much of a model as the callbacks use: one weight."""

    def __init__(self, rate=1.0):
        import tensorflow as tf

        self.trainable_variables = [tf.Variable(0.0)]
        self.optimizer = _Optimizer(rate)
        self.stop_training = False


@pytest.fixture
def follow():
    """`follow(bounds, ...)`: the callbacks through epochs with these bounds; the weight is the epoch's number."""
    from tfpvae.training.stopping import AsLongAsItPays, BestWeights

    def follow(bounds, minutes=None, steps=1000, epochs=None):
        model, rates, seen = _Model(), [], 0
        best = BestWeights({})
        pays = AsLongAsItPays(best, minutes, steps, epochs)
        for callback in (best, pays):
            callback.set_model(model)
            callback.on_train_begin()
        for epoch, bound in enumerate(bounds):
            pays.on_epoch_begin(epoch)
            rates.append(float(model.optimizer.learning_rate))
            model.trainable_variables[0].assign(epoch + 1.0)
            pays.on_train_batch_end(0)
            for callback in (best, pays):
                callback.on_epoch_end(epoch, {"val_elbo": bound})
            seen += 1
            if model.stop_training:
                break
        best.on_train_end()
        return float(model.trainable_variables[0].numpy()), rates, seen, pays

    return follow


class TestEnd:
    def test_a_bound_that_falls_ends_training_and_the_best_weights_come_back(self, follow):
        bounds = [-100.0, -50.0, -40.0, *(-41.0 - k for k in range(60))]
        weight, rates, seen, pays = follow(bounds)
        assert weight == 3.0
        assert seen < 20
        assert sorted(set(rates), reverse=True) == pytest.approx([1.0, 0.3, 0.09])
        assert "stopped rising" in pays.reason
        assert not pays.still_rising
        assert "-100.00 -> -40.00" in pays.summary({"val_elbo": bounds[:seen]})

    def test_a_bound_that_rises_goes_on(self, follow):
        _, rates, seen, pays = follow([-100.0 / (k + 1) for k in range(40)])
        assert seen == 40
        assert set(rates[:20]) == {1.0}
        assert pays.reason == ""

    def test_a_rise_of_next_to_nothing_does_not_pay(self, follow):
        assert follow([0.0, 100.0, *(100.0 + 1e-4 * k for k in range(60))])[2] < 30

    def test_epochs_of_few_steps_are_given_more_of_them(self, follow):
        assert follow([0.0, 1.0] + [0.5] * 60, steps=60)[2] > follow([0.0, 1.0] + [0.5] * 60, steps=1000)[2]

    def test_the_time_allowed_ends_it_and_is_said(self, follow, monkeypatch):
        from tfpvae.training import stopping

        now = iter(range(0, 10_000, 6))
        monkeypatch.setattr(stopping.time, "monotonic", lambda: float(next(now)))
        _, rates, seen, pays = follow([float(k) for k in range(60)], minutes=2.0)
        assert seen == 20
        assert rates[0] == 1.0
        assert rates[-1] == pytest.approx(0.09)
        assert "2 minutes were over, and the bound was still rising: go on with --resume." in pays.summary(
            {"val_elbo": [0.0, 1.0]}
        )

    def test_so_many_epochs_follow_a_cosine_whatever_the_bound_does(self, follow):
        weight, rates, seen, _ = follow([0.0] + [-1.0] * 19, epochs=20)
        assert seen == 20
        assert weight == 1.0
        np.testing.assert_allclose(rates, [0.5 * (1 + math.cos(math.pi * k / 20)) for k in range(20)])


def test_a_run_keeps_its_best_weights_and_its_model_file_holds_them(tmp_path):
    import keras

    from tfpvae.training import TrainConfig, train
    from tfpvae.training.parts import split

    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.optimizer.learning_rate = 1.0

    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (60, 4, 4), np.uint8))
    said = []
    config = TrainConfig(data=str(tmp_path / "x.npy"), latent=2, epochs=4, batch_size=16)
    run = train(config, tmp_path / "run", callbacks=[Spoil()], say=said.append, refine_prior=False)
    bounds = run.history()["val_elbo"]
    assert max(bounds) == max(bounds[:2]) > bounds[-1]
    vae, data = run.model(), run.data()
    held_out = data.x_train[split(data, 0).validation]
    assert vae.evaluate(held_out, verbose=0, return_dict=True)["elbo"] == pytest.approx(max(bounds), abs=3.0)
    assert said[-1].startswith(f"4 epochs: validation ELBO {bounds[0]:.2f} -> {max(bounds):.2f} nats per image")
