"""Paths that users name, and files that are written whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path, PureWindowsPath

import pytest

from tfpvae import files
from tfpvae.errors import DataError, ExportError, RunError, TfpvaeError


@pytest.mark.parametrize(
    "address", ["s3://bucket/models", "gs://b/m", "http://host/x.npz", "file:///models", "hdfs://a"]
)
@pytest.mark.parametrize("as_path", [False, True])
def test_addresses_are_refused_with_a_sentence(address, as_path):
    with pytest.raises(ExportError) as raised:
        files.local_path(Path(address) if as_path else address, ExportError)
    assert f"not an address on {address.partition(':')[0]}. Write to a local directory" in str(raised.value)


@pytest.mark.parametrize("path", ["models/digits", "/models", "a:b/c", "C:/models", r"C:\models", "2026-11-26T10:00/a"])
def test_paths_of_this_machine_are_taken(path):
    assert files.local_path(path, RunError) == Path(path)
    assert files.local_path(Path(path), RunError) == Path(path)
    assert files.local_path(PureWindowsPath(path), RunError) is not None


def test_the_home_directory_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("USERPROFILE" if sys.platform == "win32" else "HOME", str(tmp_path))
    assert files.local_path("~/models", RunError) == tmp_path / "models"
    assert files.local_path(Path("~"), RunError) == tmp_path
    with pytest.raises(RunError, match="home directory in the path '~nobody-of-that-name/x' is not known"):
        files.local_path("~nobody-of-that-name/x", RunError)


@pytest.mark.parametrize("path", [None, 3, b"models"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(DataError, match=r"A path must be a string or a pathlib\.Path"):
        files.local_path(path, DataError)


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "history.json"
    files.write_json(path, {"loss": [1.5]})
    assert path.read_text() == '{\n  "loss": [\n    1.5\n  ]\n}\n'
    files.write_text(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")

    def write() -> None:
        with files.replacing(path) as unfinished:
            assert (unfinished.parent, unfinished.suffix) == (path.parent, ".keras")
            unfinished.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    files.write_text(tmp_path / "a", "text")
    assert calls == ["fsync", "replace", *(["fsync"] if sys.platform != "win32" else [])]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither such permissions nor links for everybody")
def test_permissions_and_links_stay(tmp_path):
    target = tmp_path / "models.config"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to(target)
    files.write_text(tmp_path / "link", "new")
    assert target.read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


# Every place where a user names a path.

ADDRESS = "s3://bucket/digits"


def entry_points() -> dict[str, object]:
    import tfpvae.export
    import tfpvae.server
    from tfpvae import data, edge, evaluate, images, training
    from tfpvae.export.repository.inventory import describe, prune
    from tfpvae.export.verification import verify
    from tfpvae.savedmodel.lint import lint
    from tfpvae.server.repository import Repository

    run = training.Run(Path("run"), training.TrainConfig("digits"))
    return {
        "data.load": lambda vae: data.load(ADDRESS + ".npz"),
        "TrainConfig": lambda vae: training.TrainConfig(ADDRESS),
        "train": lambda vae: training.train(training.TrainConfig("digits"), ADDRESS),
        "open_run": lambda vae: training.open_run(ADDRESS),
        "training.evaluate": lambda vae: training.evaluate(run, report=ADDRESS),
        "SamplePictures": lambda vae: training.SamplePictures(ADDRESS),
        "evaluate.report": lambda vae: evaluate.report(vae, [], ADDRESS),
        "save_png": lambda vae: images.save_png(images.grid([[[0.0]]]), ADDRESS + ".png"),
        "export_model": lambda vae: tfpvae.export_model(vae, ADDRESS),
        "VAE.export": lambda vae: vae.export(ADDRESS),
        "export_layout": lambda vae: tfpvae.export.export_layout(vae, ADDRESS, layout="triton"),
        "Profile.load": lambda vae: tfpvae.export.Profile.load(ADDRESS),
        "verify": lambda vae: verify(ADDRESS),
        "lint": lambda vae: lint(ADDRESS),
        "describe": lambda vae: describe(ADDRESS),
        "prune": lambda vae: prune(ADDRESS, 1),
        "Repository": lambda vae: Repository(ADDRESS),
        "edge.Decoder": lambda vae: edge.Decoder(ADDRESS),
    }


def test_no_entry_point_takes_an_address_for_a_path(build_vae, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vae = build_vae()
    messages = {}
    for name, call in entry_points().items():
        try:
            call(vae)
        except TfpvaeError as error:
            messages[name] = str(error)
        else:
            messages[name] = "accepted"
    assert {name: text for name, text in messages.items() if "not an address on s3" not in text} == {}
    assert list(tmp_path.iterdir()) == []
