"""What the command line does without TensorFlow: it refuses wrong arguments at once, and serves a serving host."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from tfpvae.cli import main

GOLDEN = Path(__file__).parents[1] / "goldens" / "bernoulli" / "1"

COMMANDS_WITHOUT_EXTRAS = """
import contextlib, io, json, sys

EXTRAS = {"tensorflow", "tensorflow_probability", "keras", "tf_keras", "onnx", "tf2onnx", "onnxruntime", "sklearn",
          "matplotlib", "starlette", "uvicorn"}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from tfpvae.cli import main

answers = []
for arguments in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code
    answers.append([status, out.getvalue(), err.getvalue()])
assert not EXTRAS & set(sys.modules)
print(json.dumps(answers))
"""


class Answer(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


def run_without_extras(*commands: list[str]) -> list[Answer]:
    """Runs commands one after the other in a process that has no package of tfpvae's extras."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMMANDS_WITHOUT_EXTRAS],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    return [Answer(*answer) for answer in json.loads(process.stdout)]


MISTAKES = [
    ("train --data digits --out {tmp}/new --epochs 0", "epochs must be an integer of at least 1"),
    ("train --data digits --out {tmp}/new --beta -1", "beta must be a number"),
    ("train --data digits --out {tmp}/new --learning-rate nan", "learning_rate must be a number"),
    ("train --data digits --out {tmp}/new --seed -1", "seed must be an integer"),
    ("train --data digitz --out {tmp}/new", "Did you mean 'digits'"),
    ("train --data {tmp}/faces.npz --out {tmp}/new", "does not exist"),
    ("train --data {tmp}/notes/todo.txt --out {tmp}/new", "a file of another kind"),
    ("train --data digits --out {tmp}/notes", "holds no run"),
    ("train --data digits --out {tmp}/notes --overwrite", "holds no run"),
    ("train --data digits --out {tmp}/notes/todo.txt", "is a file"),
    ("train --data digits --out {tmp}/run", "already holds a run"),
    ("train --data digits --out {tmp}/new --resume", "is no run"),
    ("train --data digits --out {tmp}/run --resume --latent 3", "latent=16, not 3"),
    ("evaluate {tmp}/notes", "is no run"),
    ("evaluate {tmp}/unfinished", "holds no model yet"),
    ("evaluate {tmp}/damaged", "is damaged"),
    ("evaluate {tmp}/moved", "gone.npz', which does not exist"),
    ("evaluate {tmp}/run --images 0", "images must be an integer"),
    ("evaluate {tmp}/run --samples -1", "samples must be an integer"),
    ("evaluate {tmp}/run --report {tmp}/notes", "holds no report"),
    ("export {tmp}/notes --out {tmp}/new/m", "is no run"),
    ("export {tmp}/unfinished --out {tmp}/new/m", "holds no model yet"),
    ("export {tmp}/run --out {tmp}/new/m --profile {tmp}/none.toml", "cannot be read"),
    ("export {tmp}/run --out {tmp}/new/m --profile {tmp}/unknown.toml", "unknown key 'savedmodel'"),
    ("export {tmp}/run --out {tmp}/models/digits --version 1", "never overwritten"),
    ("export {tmp}/run --out {tmp}/new/m --version 0", "version must be an integer"),
    ("verify {tmp}/new", "is no version"),
    ("verify {tmp}/models/digits", "models/digits/1"),
    ("verify {tmp}/notes --hashes", "is no version"),
    ("versions {tmp}/new", "There is no version in"),
    ("versions {tmp}/models/digits --keep 0", "--keep must be 1 or more"),
    ("versions {tmp}/models/digits --label stable", "--label must be NAME=N"),
    ("serve {tmp}/new", "must be a folder"),
    ("serve {tmp}/notes", "There is no model in"),
    ("serve {tmp}/models --port 99999", "cannot listen on 127.0.0.1, port 99999"),
    ("serve {tmp}/models --port {busy}", "cannot listen on 127.0.0.1, port {busy}"),
    ("sample --model m --out {tmp}/new/grid.png", "A picture's path"),
    ("sample --model m --n 0 --out {tmp}/grid.png", "n must be"),
    ("demo --out {tmp}/demo", "holds no run"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[Answer, str]]:
    """By mistake, what the command line answers and the words that are expected. All ran in one process."""
    tmp = tmp_path_factory.mktemp("mistakes")
    for folder in ("notes", "demo/run", "run", "moved", "unfinished", "damaged"):
        (tmp / folder).mkdir(parents=True)
    for folder in ("notes", "demo/run"):
        (tmp / folder / "todo.txt").write_text("buy milk")
    for folder in ("run", "moved", "unfinished", "damaged"):
        data = str(tmp / "gone.npz") if folder == "moved" else "digits"
        settings = {"train": {"data": data, "latent": 16}, "data": {"image_shape": [8, 8, 1]}}
        (tmp / folder / "config.json").write_text(json.dumps(settings))
    for folder in ("run", "moved"):
        with zipfile.ZipFile(tmp / folder / "model.keras", "w") as archive:
            archive.writestr("metadata.json", "{}")
    (tmp / "damaged" / "model.keras").write_text("no archive")
    (tmp / "unknown.toml").write_text("savedmodel = false\n")
    shutil.copytree(GOLDEN, tmp / "models" / "digits" / "1")
    before = sorted(tmp.rglob("*"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        places = {"tmp": tmp, "busy": listener.getsockname()[1]}
        commands = [command.format(**places).split() for command, _ in MISTAKES]
        printed = run_without_extras(*commands)
    assert sorted(tmp.rglob("*")) == before
    return {
        command: (answer, words.format(**places)) for (command, words), answer in zip(MISTAKES, printed, strict=True)
    }


@pytest.mark.parametrize("command", [command for command, _ in MISTAKES])
def test_a_mistake_is_answered_before_tensorflow_is_imported(command, answers):
    answer, words = answers[command]
    assert answer.status == 1
    assert answer.out == ""
    assert answer.err.startswith("tfpvae: error: ")
    assert words in answer.err
    assert "tensorflow" not in answer.err


@pytest.fixture
def model(tmp_path) -> Path:
    """A model with the versions 1 to 3."""
    for version in (1, 2, 3):
        shutil.copytree(GOLDEN, tmp_path / "models" / "digits" / str(version))
    return tmp_path / "models" / "digits"


def test_a_serving_host_lists_labels_and_prunes(model):
    directory = str(model)
    listed, labelled, pruned, table = run_without_extras(
        ["versions", directory, "--hashes", "--json"],
        ["versions", directory, "--label", "stable=1", "--json"],
        ["versions", directory, "--keep", "1", "--json"],
        ["versions", directory],
    )
    versions = json.loads(listed.out)["versions"]
    assert [(version["version"], version["damage"]) for version in versions] == [(1, {}), (2, {}), (3, {})]
    assert json.loads(labelled.out)["labels"] == {"stable": 1}
    assert json.loads(pruned.out)["removed"] == [2]
    assert [line.split()[0] for line in table.out.splitlines()[1:3]] == ["1", "3"]
    assert sorted(path.name for path in model.iterdir()) == ["1", "3"]


def test_a_serving_host_compares_the_files_of_a_version_with_its_manifest(model):
    (model / "2" / "saved_model.pb").write_bytes(b"damage")
    (model / "2" / "extra").touch()
    (model / "3" / "manifest.json").unlink()
    whole, whole_json, damaged, damaged_json, foreign = run_without_extras(
        ["verify", str(model / "1"), "--hashes"],
        ["verify", str(model / "1"), "--hashes", "--json"],
        ["verify", str(model / "2"), "--hashes"],
        ["verify", str(model / "2"), "--hashes", "--json"],
        ["verify", str(model / "3"), "--hashes"],
    )
    assert (whole.status, whole.err) == (0, "")
    assert "SHA-256" in whole.out
    assert json.loads(whole_json.out) == {"path": str(model / "1"), "refused": False, "damage": {}}
    damage = {"extra": "is not listed", "saved_model.pb": "was changed"}
    assert (damaged.status, damaged_json.status) == (1, 1)
    assert damaged.out.splitlines() == [f"{path} {what}" for path, what in damage.items()]
    assert "is refused" in damaged.err
    assert json.loads(damaged_json.out) == {"path": str(model / "2"), "refused": True, "damage": damage}
    assert foreign.status == 1
    assert "manifest.json cannot be read" in foreign.err


def test_what_needs_a_package_names_the_command_that_installs_it(model, tmp_path):
    commands = [
        ["train", "--data", "digits", "--out", str(tmp_path / "run")],
        ["verify", str(model / "1")],
        ["serve", str(model.parent), "--port", "0"],
        ["demo", "--out", str(tmp_path / "demo")],
    ]
    for command, answer in zip(commands, run_without_extras(*commands), strict=True):
        assert answer.status == 1
        assert f"tfpvae {command[0]} needs the package" in answer.err
        assert "pip install 'tfpvae[" in answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]


@pytest.mark.parametrize("options", ["--model gan", "--epochs many", "--overwrite --resume", ""], ids=str)
def test_the_parser_refuses_what_it_cannot_read(options, tmp_path, capsys):
    data = ["--data", "digits"] if options else []
    with pytest.raises(SystemExit) as stop:
        main(["train", *data, "--out", str(tmp_path / "run"), *options.split()])
    assert stop.value.code == 2
    assert "usage: tfpvae train" in capsys.readouterr().err


@pytest.mark.parametrize("level", [None, "1"])
def test_nothing_global_stays_changed(level, tmp_path, monkeypatch, process_settings):
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    before = process_settings()
    assert main(["versions", str(tmp_path)]) == 1
    assert process_settings() == before


def test_an_interruption_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tfpvae.cli.train.load_tensorflow", interrupt)
    monkeypatch.setattr("tfpvae.cli.verify.load_tensorflow", interrupt)
    assert main(["train", "--data", "digits", "--out", str(tmp_path / "run")]) == 130
    assert "--resume" in capsys.readouterr().err
    assert main(["verify", str(GOLDEN)]) == 130
    assert capsys.readouterr().err == "\ntfpvae: interrupted\n"
