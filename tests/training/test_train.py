"""Runs: what they leave behind, how they go on, what they refuse."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tfpvae.errors import DataError, ModelError, RunError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from tfpvae.training import TrainConfig, train

    path = tmp_path_factory.mktemp("runs") / "digits"
    return train(TrainConfig(data="digits", latent=4, epochs=2), path, refine_prior=False)


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run, to change."""
    from tfpvae.training import open_run

    return open_run(shutil.copytree(run.path, tmp_path / "run"))


def test_run_holds_everything(run):
    from PIL import Image

    assert sorted(path.name for path in run.path.iterdir()) == [
        "config.json",
        "history.json",
        "history.png",
        "model.keras",
        "reconstructions.png",
        "samples.png",
    ]
    config = json.loads((run.path / "config.json").read_text())
    assert config["train"] == {
        "data": "digits",
        "binarize": "none",
        "model": "mlp",
        "latent": 4,
        "likelihood": "normal",
        "prior": "standard",
        "k": 1,
        "beta": 1.0,
        "kl_warm_up": 0,
        "epochs": 2,
        "minutes": None,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "seed": 0,
    }
    assert config["data"] == {"image_shape": [8, 8, 1], "train": 1455, "validation": 162, "test": 180}
    assert "keras" in config["versions"]
    for picture in run.path.glob("*.png"):
        assert np.asarray(Image.open(picture)).std() > 10


def test_a_run_that_diverges_keeps_the_last_finite_model(tmp_path):
    import keras

    from tfpvae.errors import DivergedError
    from tfpvae.training import TrainConfig, open_run, train

    class Faster(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.optimizer.learning_rate.assign(1e20)

    config = TrainConfig(data="digits", latent=2, epochs=5, batch_size=500, likelihood="normal")
    with pytest.raises(DivergedError, match="smaller learning rate"):
        train(config, tmp_path / "run", callbacks=[Faster()])
    run = open_run(tmp_path / "run")
    assert all(len(values) == 2 and np.isfinite(values).all() for values in run.history().values())
    model = run.model()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())

    model.decoder.set_weights([weight * np.nan for weight in model.decoder.get_weights()])
    model.save(run.model_path)
    with pytest.raises(ModelError, match="not finite"):
        run.model()


def test_elbo_rises(run):
    elbo = run.history()["val_elbo"]
    assert len(elbo) == 2
    assert elbo[1] > elbo[0]


@pytest.mark.slow
def test_prior_bound_and_warm_up_are_the_configurations(tmp_path):
    from tfpvae.objectives import Elbo, Iwae
    from tfpvae.priors import MixturePrior
    from tfpvae.schedules import KLWarmUp
    from tfpvae.training import TrainConfig, train

    config = TrainConfig(data="digits", latent=3, epochs=1, prior="mixture", k=3, beta=0.5, kl_warm_up=40)
    model = train(config, tmp_path / "run").model()
    assert isinstance(model.prior, MixturePrior)
    assert type(model.objective) is Iwae
    assert model.objective.k == 3
    assert isinstance(model.objective.beta, KLWarmUp)
    assert model.objective.beta.get_config() == {"steps": 40, "start": 0.0, "end": 0.5}
    assert type(TrainConfig(data="digits").objective()) is Elbo
    assert TrainConfig(data="digits", beta=4.0).objective().beta == 4.0


@pytest.mark.parametrize("prior", ["mixture", "vamp", "flow"])
def test_every_prior_has_the_latents(prior):
    from tfpvae.training.networks import build

    vae = build((4, 4, 1), "mlp", 5, "bernoulli", prior)
    assert vae.prior.event_size == 5
    assert type(vae.prior).__name__.lower().startswith(prior)


@pytest.mark.slow
def test_same_settings_give_the_same_run(run, tmp_path):
    from tfpvae.training import train

    again = train(run.config, tmp_path / "again")
    assert again.history() == run.history()


def test_evaluate_repeats_and_is_the_bound(run):
    from tfpvae.training import evaluate

    metrics = evaluate(run)
    assert metrics == evaluate(run)
    assert metrics["n"] == len(run.data().x_test)
    assert metrics["elbo"] == pytest.approx(metrics["log_likelihood"] - metrics["kl"], abs=1e-4)
    assert metrics["elbo"] == pytest.approx(max(run.history()["val_elbo"]), abs=5.0)


def test_existing_run_is_kept(run):
    from tfpvae.training import train

    before = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()}
    with pytest.raises(RunError, match=r"--resume.*--overwrite"):
        train(run.config, run.path)
    assert {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()} == before


def test_resume_goes_on(copied):
    from tfpvae.training import train

    weights, elbo = copied.model().get_weights(), copied.history()["elbo"]
    assert int(copied.model().optimizer.iterations) == 2 * 23
    more = train(dataclasses.replace(copied.config, epochs=3), copied.path, resume=True)
    assert more.history()["elbo"][:2] == elbo
    assert {len(values) for values in more.history().values()} == {3}
    assert int(more.model().optimizer.iterations) == 3 * 23
    assert not np.array_equal(more.model().get_weights()[0], weights[0])


@pytest.mark.slow
def test_resume_after_a_crash_between_history_and_model(copied):
    from tfpvae.training import train
    from tfpvae.training.run import HISTORY, write_json

    write_json(copied.path / HISTORY, {name: [*values, 0.0] for name, values in copied.history().items()})
    resumed = train(dataclasses.replace(copied.config, epochs=3), copied.path, resume=True)
    assert [elbo == 0.0 for elbo in resumed.history()["elbo"]] == [False, False, False]


def test_resume_with_other_settings_is_refused(run):
    from tfpvae.training import TrainConfig, train

    with pytest.raises(RunError, match="latent=4, not 5"):
        train(TrainConfig(data="digits", latent=5, epochs=2), run.path, resume=True)


@pytest.mark.slow
def test_overwrite_replaces(copied):
    from tfpvae.training import TrainConfig, train

    replaced = train(TrainConfig(data="digits", latent=2, epochs=1), copied.path, overwrite=True)
    assert replaced.model().latent_size == 2
    assert len(replaced.history()["elbo"]) == 1


def test_overwrite_spares_what_is_no_run(tmp_path):
    from tfpvae.training import TrainConfig, train

    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="holds no run"):
        train(TrainConfig(data="digits"), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_bad_data_leaves_the_run_that_is_there(run, tmp_path):
    from tfpvae.training import TrainConfig, train

    images = np.zeros((10, 8, 8, 1), np.float32)
    images[3, 2, 1, 0] = np.nan
    np.save(tmp_path / "bad.npy", images)
    before = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()}
    with pytest.raises(DataError, match="nan first at index"):
        train(TrainConfig(data=str(tmp_path / "bad.npy")), run.path, overwrite=True)
    assert {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()} == before


def test_bernoulli_on_grey_values_warns(tmp_path):
    from tfpvae.training import TrainConfig, train

    with pytest.warns(UserWarning, match="grey"):
        train(TrainConfig(data="digits", likelihood="bernoulli", binarize="none", latent=2, epochs=1), tmp_path / "run")


@pytest.mark.parametrize("model", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "normal", "logistic"])
def test_networks_fit_any_image(model, likelihood):
    from tfpvae.training.networks import build

    vae = build((4, 7, 3), model, 3, likelihood, "standard")
    assert vae.event_shape == (4, 7, 3)
    assert vae.sample(2, seed=0).shape == (2, 4, 7, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "gan"}, "model must be one of auto, mlp, conv"),
        ({"likelihood": "poisson"}, "likelihood must be one of auto, bernoulli, normal, logistic"),
        ({"latent": 0}, "latent must be an integer of at least 1"),
        ({"epochs": 0}, "epochs"),
        ({"minutes": 0}, "minutes must be a number above 0"),
        ({"batch_size": -1}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate must be a number above 0"),
        ({"seed": -1}, "seed"),
        ({"binarize": "fuzzy"}, "fuzzy"),
    ],
)
def test_bad_settings_are_named(settings, message):
    from tfpvae.training import TrainConfig

    with pytest.raises((RunError, DataError), match=message):
        TrainConfig(data="digits", **settings)


def test_the_settings_name_every_network_likelihood_and_prior():
    from tfpvae.training import config, networks

    assert tuple(networks.MODELS) == config.MODELS
    assert tuple(networks.LIKELIHOODS) == config.LIKELIHOODS
    assert tuple(networks.PRIORS) == config.PRIORS


def test_open_run_says_what_is_missing(tmp_path):
    from tfpvae.training import open_run

    with pytest.raises(RunError, match="is no run"):
        open_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        open_run(tmp_path)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A directory with a file of 4x4 images and a run on it."""
    from tfpvae.training import TrainConfig, train

    directory = tmp_path_factory.mktemp("small")
    file = directory / "images.npy"
    np.save(file, np.random.default_rng(0).integers(0, 2, (30, 4, 4)).astype(bool))
    train(TrainConfig(data=str(file), latent=2, epochs=2), directory / "run")
    return directory, shutil.copytree(directory, tmp_path_factory.mktemp("kept") / "small")


class TestMovedAndDamaged:
    @pytest.fixture
    def small(self, small_run):
        """The run and the file, as they were after training and in the same place."""
        from tfpvae.training import open_run

        directory, kept = small_run
        shutil.rmtree(directory)
        shutil.copytree(kept, directory)
        return open_run(directory / "run"), directory / "images.npy"

    def test_data_is_found_from_elsewhere(self, small, monkeypatch):
        from tfpvae.training import TrainConfig

        monkeypatch.chdir(small[1].parent)
        assert TrainConfig(data="images.npy").data == str(small[1])

    def test_other_images_in_the_same_place_are_refused(self, small):
        from tfpvae.training import evaluate, open_run, train

        run, file = small
        np.save(file, np.zeros((30, 5, 5), bool))
        config = (run.path / "config.json").read_text()
        with pytest.raises(RunError, match=r"must have shape \[4, 4, 1\]"):
            evaluate(open_run(run.path))
        with pytest.raises(RunError, match=r"must have shape \[4, 4, 1\]"):
            train(run.config, run.path, resume=True)
        assert (run.path / "config.json").read_text() == config

    def test_fewer_epochs_than_there_are(self, small):
        from tfpvae.training import train

        run, _ = small
        with pytest.raises(RunError, match="epochs must be at least 2"):
            train(dataclasses.replace(run.config, epochs=1), run.path, resume=True)

    @pytest.mark.parametrize("text", ["{", "[1]", '{"elbo": 3}'])
    def test_damaged_history(self, small, text):
        run, _ = small
        (run.path / "history.json").write_text(text)
        with pytest.raises(RunError, match=r"history\.json cannot be read"):
            run.history()

    def test_damaged_model(self, small):
        run, _ = small
        run.model_path.write_bytes(b"no zip")
        with pytest.raises(RunError, match="is damaged"):
            run.model()
