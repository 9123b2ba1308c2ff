"""`manifest.json`: what is written is read again, older formats are read, and odd content is refused in a sentence."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import pytest

from tfpvae.errors import ExportError, ManifestError
from tfpvae.manifest import MANIFEST, MANIFEST_FORMAT, Condition, parse_manifest, read_manifest, write_manifest
from tfpvae.supports import Binary

GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture
def old() -> dict:
    """The content of a manifest of format 1."""
    return json.loads((GOLDENS / "conditional" / "1" / MANIFEST).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["bernoulli", "conditional"])
def test_format_1_is_read(name):
    content = json.loads((GOLDENS / name / "1" / MANIFEST).read_text(encoding="utf-8"))
    manifest = read_manifest(GOLDENS / name / "1")
    assert manifest.format == 1
    assert manifest.missing == ("support_parameters",)
    assert manifest.data_support == Binary()  # By its name.
    assert manifest.class_name == content["class"]
    assert manifest.files == content["files"]
    assert tuple(manifest.signatures) == tuple(content["signatures"]) == manifest.held("saved_model")
    for target in ("onnx", "litert"):
        assert manifest.held(target) == tuple(n for n, each in content["signatures"].items() if each[target])
        assert manifest.targets[target].left_out == content[f"no_{target}"]


def test_what_format_1_may_lack_has_a_default_and_is_named(old):
    for key in ("litert", "onnx"):
        for signature in old["signatures"].values():
            signature.pop(key)
    for key in ("reduced", "recommended", "files", "no_litert", "no_onnx"):
        del old[key]
    manifest = parse_manifest(old)
    assert set(manifest.missing) == {"support_parameters", "reduced", "recommended"}
    assert manifest.reduced == ()
    assert set(manifest.targets) == {"saved_model"}


def test_what_is_written_is_read_again(tmp_path, old):
    manifest = dataclasses.replace(parse_manifest(old), format=MANIFEST_FORMAT, missing=())
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert manifest.condition == Condition("int64", (None,), 10)
    assert json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))["class"] == "ConditionalVAE"


def test_which_signatures_a_target_holds(old):
    old["reduced"] = [
        {"signature": "decode", "precision": "int8", "dropped": None},
        {"signature": "sample_mean", "precision": "int8", "dropped": "slow"},
    ]
    manifest = parse_manifest(old)
    assert manifest.holds("onnx")
    assert manifest.holds("onnx", "decode")
    assert not manifest.holds("onnx", "sample_png")
    assert not manifest.holds("npz")
    assert manifest.kept("onnx") == {"int8": ["decode"]}
    assert manifest.kept("litert") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=3), r"format of 1 to 2\. Received: format=3\. A newer tfpvae"),
        (lambda m: m.update(format="1"), r"must have a format, 1 to 2\. Received: format='1'"),
        (lambda m: m.update(format=True), r"Received: format=True"),
        (lambda m: m.pop("latent_size"), r"latent_size must be there"),
        (lambda m: m.update(latent_size="4"), r"latent_size must be of the type int\. Received: '4'"),
        (lambda m: m.update(parameters=True), r"parameters must be of the type int\. Received: True"),
        (lambda m: m.update(signatures=[]), r"signatures must be of the type .*\. Received: \[\]"),
        (lambda m: m["signatures"].update(decode=3), r"signatures\.decode must be"),
        (lambda m: m["signatures"]["decode"]["inputs"]["z"].pop("shape"), r"signatures\.decode\.inputs\.z\.shape must"),
        (lambda m: m["signatures"]["decode"]["inputs"]["z"].update(shape=["x"]), r"inputs\.z\.shape\[0\] must be"),
        (lambda m: m["parity"].append({}), r"parity\[\d+\]\.runtime must be there"),
        (lambda m: m.update(samples={"seeds": [1], "y": None}), r"samples\.seeds must be of the type"),
    ],
)  # fmt: skip
def test_odd_content_is_refused_in_a_sentence(change, message, old, tmp_path):
    change(old)
    (tmp_path / MANIFEST).write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(ManifestError, match=message) as raised:
        read_manifest(tmp_path)
    assert isinstance(raised.value, ExportError)
    assert str(tmp_path / MANIFEST) in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")])
def test_what_is_no_object(text, tmp_path):
    (tmp_path / MANIFEST).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ManifestError):
        read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "nowhere")


def test_any_value_anywhere_is_read_or_refused(old):
    """No other error leaves the reader, whatever stands in the place of a value."""

    def places(node, path=()):
        yield path
        items = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
        for key, value in items:
            yield from places(value, (*path, key))

    old["files"] = dict(list(old["files"].items())[:1])
    refused = 0
    for path in list(places(old))[1:]:
        for odd in (None, True, -1, 0.5, "text", [], [None], {}, {"a": 1}):
            content = copy.deepcopy(old)
            node = content
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = odd
            try:
                parse_manifest(content)
            except ManifestError:
                refused += 1
    assert refused > 100
