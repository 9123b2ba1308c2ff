"""A prior that is fitted after training."""

from __future__ import annotations

import numpy as np
import pytest

from tfpvae.errors import ModelError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a run whose posterior means are spread far beyond N(0, I)."""
    from tfpvae.training import TrainConfig, train
    from tfpvae.training.run import save_model

    folder = tmp_path_factory.mktemp("spread")
    np.save(folder / "x.npy", np.random.default_rng(0).random((200, 6, 6), np.float32))
    config = TrainConfig(data=str(folder / "x.npy"), latent=2, epochs=1, batch_size=20)
    run = train(config, folder / "run", refine_prior=False)
    vae = run.model()
    last = vae.encoder.layers[-2]
    kernel, bias = last.get_weights()
    kernel[:, :2] *= 3.0 / np.asarray(vae.encode(run.data().x_train).mean()).std(axis=0)
    last.set_weights([kernel, bias])
    save_model(vae, run.model_path)
    return folder


def test_it_is_kept_where_the_latents_are_not_the_prior_and_samples_then_come_from_it(folder):
    from tfpvae.priors import FittedMixturePrior
    from tfpvae.training import open_run, refine

    run, said = open_run(folder / "run"), []
    before = run.model()
    found = refine(run, said.append)
    assert found.kept
    assert found.gain > 3 * found.error > 0
    assert "samples come from it" in said[0]
    after = open_run(folder / "run").model()
    assert isinstance(after.prior, FittedMixturePrior)
    np.testing.assert_array_equal(after.decode(np.ones((1, 2), "f")).mean(), before.decode(np.ones((1, 2), "f")).mean())
    x = run.data().x_test
    bounds = [np.mean([model.score(x, seed=s)["elbo"] for s in range(20)]) for model in (before, after)]
    assert bounds[1] - bounds[0] == pytest.approx(found.gain, rel=0.3)

    # The trained model is there still, for more training.
    trained = run.model(refined=False)
    assert type(trained.prior).__name__ == "StandardNormal"
    assert int(trained.optimizer.iterations) > 0


def test_more_training_removes_it(folder, tmp_path):
    import dataclasses
    import shutil

    from tfpvae.training import open_run, refine, train

    run = open_run(shutil.copytree(folder / "run", tmp_path / "run"))
    refine(run)
    assert run.refined_path.is_file()
    train(dataclasses.replace(run.config, epochs=2), run.path, resume=True, refine_prior=False)
    assert not run.refined_path.exists()


def test_where_the_latents_are_the_prior_it_is_not_kept(folder, monkeypatch):
    from tfpvae.training import open_run, refine, refining

    run = open_run(folder / "run")
    rng = np.random.default_rng(1)

    def normal(vae, run, x, times, rng_):
        return rng.standard_normal((times, len(x), 2)).astype(np.float32)

    refine(run)
    monkeypatch.setattr(refining, "_draws", normal)
    said = []
    found = refine(run, said.append)
    assert not found.kept
    assert "N(0, I) stays the prior" in said[0]
    assert not run.refined_path.exists()


def test_one_validation_image_decides_nothing(folder, monkeypatch):
    from tfpvae.training import open_run, refine, refining
    from tfpvae.training.parts import Parts

    monkeypatch.setattr(refining, "split", lambda images, seed: Parts(np.arange(150), np.array([150])))
    found = refine(open_run(folder / "run"))
    assert found.gain > 0
    assert not found.kept


@pytest.mark.slow
def test_a_learned_prior_is_left_alone(tmp_path):
    from tfpvae.training import TrainConfig, train

    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8))
    said = []
    config = TrainConfig(data=str(tmp_path / "x.npy"), latent=2, epochs=1, prior="mixture")
    run = train(config, tmp_path / "run", say=said.append)
    assert "nothing to refine" in said[-1]
    assert not run.refined_path.exists()


class TestFittedMixturePrior:
    def test_it_finds_clusters_of_any_covariance(self):
        from tfpvae.priors import FittedMixturePrior

        rng = np.random.default_rng(0)
        factor = np.array([[1.0, 0.0], [0.9, 0.2]])
        z = rng.standard_normal((3000, 2)) @ factor.T
        z[:1000] += [8.0, -3.0]
        prior = FittedMixturePrior(2, 2)
        prior.fit(z)
        near = int(np.argmin(np.asarray(prior.loc)[:, 0]))
        tril = np.asarray(prior.scale_tril)[near]
        np.testing.assert_allclose(tril @ tril.T, factor @ factor.T, atol=0.08)
        weights = np.exp(np.asarray(prior.logits))
        assert weights[near] / weights.sum() == pytest.approx(2 / 3, abs=0.02)
        np.testing.assert_allclose(
            np.asarray(prior.inverse_scale_tril) @ np.asarray(prior.scale_tril), [np.eye(2)] * 2, atol=1e-4
        )

    def test_the_uniforms_end_where_the_weights_do(self):
        from tfpvae.priors import FittedMixturePrior

        prior = FittedMixturePrior(1, 2)
        prior.fit(np.array([[0.0], [0.1], [-0.1], [5.0], [5.1], [4.9], [5.0], [5.05]]))
        ends = float(prior.thresholds[0])
        assert ends * 2**24 == round(ends * 2**24)
        assert ends == pytest.approx(np.exp(float(prior.logits[0])), abs=2**-23)
        uniforms = np.float32([[ends - 2**-24, 0.3, 0.25], [ends, 0.3, 0.25]])
        first, second = np.asarray(prior.draw(uniforms))[:, 0]
        assert abs(first - second) > 3

    @pytest.mark.parametrize("z", [np.zeros((5, 2)), np.zeros((50, 3)), np.full((50, 2), np.nan), np.zeros(50)])
    def test_other_latents_are_refused(self, z):
        from tfpvae.priors import FittedMixturePrior

        with pytest.raises(ModelError, match=r"z must be finite latents \[N, 2\] with N at least 6"):
            FittedMixturePrior(2, 3).fit(z)
