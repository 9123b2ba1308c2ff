"""A report is written whole, or not at all, and what it says is what was measured."""

import re

import numpy as np
import pytest

from tfpvae.errors import DataError, RunError


@pytest.fixture(scope="module")
def written(vae, digits, tmp_path_factory):
    from tfpvae.evaluate import report

    directory = tmp_path_factory.mktemp("reports") / "digits"
    history = {name: [-30.0, -25.0] for name in ("elbo", "val_elbo", "log_likelihood", "kl")}
    return report(
        vae,
        digits.test[:100],
        directory,
        x_train=digits.train[:100],
        history=history,
        labels=np.arange(100) % 10,
        samples=20,
        title="Four latents",
    )


PICTURES = {
    "reconstructions.png", "samples.png", "traversals.png", "latent_map.png", "interpolations.png",
    "kl_per_unit.png", "activity.png", "history.png",
}  # fmt: skip


def test_what_is_in_it(written):
    from PIL import Image

    assert {path.name for path in written.path.iterdir()} == PICTURES | {"report.md"}
    text = (written.path / "report.md").read_text()
    assert text.startswith("# Four latents\n\n100 test examples of shape [8, 8, 1], 4 latents.")
    assert set(re.findall(r"\]\((\S+\.png)\)", text)) == PICTURES
    for name in PICTURES:
        assert np.asarray(Image.open(written.path / name)).std() > 5
    measured = written.measurements
    assert f"| ELBO | {measured.elbo.value:.3f} ± {measured.elbo.standard_error:.3f} |" in text
    assert f"| log p(x), 20 importance samples | {measured.log_marginal.log_marginal.mean():.3f} ±" in text
    assert f"| {measured.bits_per_dimension:.4f} |" in text
    assert measured.estimators.words in text
    for finding in written.diagnosis.findings:
        assert finding.text in text


def test_vectors_have_the_pictures_that_they_have(linear_gaussian, tmp_path):
    from tfpvae.evaluate import report

    found = report(linear_gaussian.vae, linear_gaussian.x, tmp_path / "r")
    names = {path.name for path in found.path.iterdir()}
    assert names == {"report.md", "reconstructions.png", "latent_map.png", "kl_per_unit.png", "activity.png"}
    text = (found.path / "report.md").read_text()
    assert "| dimension of the manifold | 2 (posterior variances up to 0.2, and from 1) |" in text
    assert "bits per dimension" not in text


@pytest.fixture
def write(written, vae, digits, monkeypatch):
    """`report`, with one picture and with figures that are there already."""
    import importlib

    from PIL import Image

    module = importlib.import_module("tfpvae.evaluate.reporting")
    monkeypatch.setattr(module, "measure", lambda *args, **options: written.measurements)
    monkeypatch.setattr(module, "_draw", lambda *args: {"a.png": ("A picture", Image.new("L", (4, 4)))})
    return lambda directory, **options: module.report(vae, digits.test[:4], directory, **options)


def test_an_old_one_is_kept_unless_asked(write, tmp_path):
    directory = tmp_path / "r"
    write(directory, title="first")
    with pytest.raises(RunError, match="already holds a report"):
        write(directory, title="second")
    assert (directory / "report.md").read_text().startswith("# first")
    (directory / "stale.png").touch()
    write(directory, title="second", overwrite=True)
    assert (directory / "report.md").read_text().startswith("# second")
    assert {path.name for path in directory.iterdir()} == {"report.md", "a.png"}
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_an_empty_directory_will_do(write, tmp_path):
    directory = tmp_path / "r"
    directory.mkdir()
    write(directory)
    assert (directory / "report.md").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_what_is_no_report_is_never_replaced(write, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="holds no report"):
        write(tmp_path, overwrite=True)
    with pytest.raises(RunError, match="is a file"):
        write(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("old", [False, True], ids=["new", "over an old one"])
@pytest.mark.parametrize("place", ["picture", "text", "rename"])
def test_a_failure_leaves_nothing_half_done(write, tmp_path, monkeypatch, old, place):
    import importlib
    import os
    from pathlib import Path

    directory = tmp_path / "r"
    if old:
        write(directory, title="first")
    rename = os.rename

    def fail(*args, **options):
        raise OSError("no space left")

    def fail_to_publish(source, target):
        """Only the new report cannot be put in its place."""
        return fail() if (Path(source) / "report.md").read_text().startswith("# second") else rename(source, target)

    if place == "picture":
        monkeypatch.setattr(importlib.import_module("tfpvae.evaluate.reporting"), "save_png", fail)
    elif place == "text":
        monkeypatch.setattr(Path, "write_text", fail)
    else:
        monkeypatch.setattr(os, "rename", fail_to_publish)
    with pytest.raises(RunError, match="no space left"):
        write(directory, title="second", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == (["r"] if old else [])
    if old:
        assert (directory / "report.md").read_text().startswith("# first")


def test_wrong_labels_are_the_callers_mistake(vae, digits, tmp_path):
    from tfpvae.evaluate import report

    with pytest.raises(DataError, match="labels must be"):
        report(vae, digits.test[:4], tmp_path / "r", labels=[1, 2])
    assert list(tmp_path.iterdir()) == []
