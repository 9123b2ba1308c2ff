"""Export profiles: settings as a TOML file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tfpvae.errors import ExportError


@pytest.fixture
def profile_class():
    from tfpvae.export import Profile

    return Profile


def test_the_default_writes_everything(profile_class):
    parts = ("saved_model", "onnx", "warmup", "model_card", "samples")
    precisions = {"float16": "if-faster", "int8": "if-faster", "float16_tolerance": 0.01, "int8_tolerance": 0.25}
    assert dataclasses.asdict(profile_class()) == {
        **dict.fromkeys(parts, True),
        "litert": False,
        "targets": (),
        "tolerance": 1e-5,
        **precisions,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile_class().onnx = False


def test_a_file_is_read(profile_class, tmp_path):
    (tmp_path / "edge.toml").write_text("# for phones\nsaved_model = false\ntolerance = 1e-4\n")
    assert profile_class.load(tmp_path / "edge.toml") == profile_class(saved_model=False, tolerance=1e-4)
    (tmp_path / "empty.toml").write_text("")
    assert profile_class.load(str(tmp_path / "empty.toml")) == profile_class()


WRONG = {
    "saved_model = 1": r"saved_model must be true or false\. Received: saved_model=1",
    'onnx = "yes"': r"onnx must be true or false\. Received: onnx='yes'",
    "litert = 1": r"litert must be true or false\. Received: litert=1",
    "warmup = 1": r"warmup must be true or false\. Received: warmup=1",
    'model_card = "no"': r"model_card must be true or false\. Received: model_card='no'",
    "samples = 64": r"samples must be true or false\. Received: samples=64",
    "tolerance = 0": r"tolerance must be a number above 0 and below 1\. Received: tolerance=0",
    "tolerance = -1e-5": r"tolerance must be a number above 0",
    "tolerance = nan": r"tolerance must be a number above 0 and below 1\. Received: tolerance=nan",
    "tolerance = true": r"tolerance must be a number above 0 and below 1\. Received: tolerance=True",
    'tolerance = "small"': r"tolerance must be a number above 0 and below 1\. Received: tolerance='small'",
    "int8_tolerance = 1": r"int8_tolerance must be a number above 0 and below 1\. Received: int8_tolerance=1",
    "float16_tolerance = 0": r"float16_tolerance must be a number above 0 and below 1",
    "int8 = true": r"int8 must be one of if-faster, always, never\. Received: int8=True",
    'float16 = "yes"': r"float16 must be one of if-faster, always, never\. Received: float16='yes'",
    "saved_model = false\nonnx = false": r"must write saved_model, onnx or both",
    "tolerence = 1e-3": r"has an unknown key 'tolerence'\. Known: saved_model, onnx, .*, int8_tolerance",
    "[export]\nonnx = true": r"has an unknown key 'export'",
    "onnx = ": r"cannot be read: ",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_with_the_files_name(text, profile_class, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ExportError, match=WRONG[text]) as raised:
        profile_class.load(path)
    assert str(path) in str(raised.value)


def test_an_infinite_tolerance_is_no_check_at_all(profile_class):
    with pytest.raises(ExportError, match="tolerance must be a"):
        profile_class(tolerance=float("inf"))


def test_a_missing_file_and_one_that_is_no_text(profile_class, tmp_path):
    with pytest.raises(ExportError, match=r"none\.toml cannot be read"):
        profile_class.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ExportError, match=r"binary\.toml cannot be read"):
        profile_class.load(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("name", "saved_model", "onnx", "litert"),
    [
        ("all", True, True, True),
        ("browser", False, True, False),
        ("edge", False, True, True),
        ("tensorflow-serving", True, False, False),
    ],
)
def test_the_profiles_that_come_with_it(name, saved_model, onnx, litert, profile_class):
    loaded = profile_class.load(Path(__file__).parents[2] / "export" / f"{name}.toml")
    assert (loaded.saved_model, loaded.onnx, loaded.litert) == (saved_model, onnx, litert)
    assert loaded.model_card
    assert loaded.samples
