"""`tfpvae verify`: a version is what was exported, to the last bit, or it is refused."""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfpvae.cli import main
from tfpvae.errors import ExportError
from tfpvae.manifest import MANIFEST
from tfpvae.signatures import ONNX_DIRECTORY

CONTRACT = Path(__file__).parents[1] / "contract"


@pytest.fixture(scope="module")
def whole(exported) -> Path:
    """The shared export. Read it, do not write into it."""
    return exported.path


@pytest.fixture
def version(whole, tmp_path) -> Path:
    """A version to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "digits" / "1"))


@pytest.fixture(scope="module")
def verified(whole) -> Any:
    from tfpvae.export.verification import verify

    return verify(whole)


@pytest.fixture
def foreign(tmp_path) -> Path:
    """A SavedModel without a fault that another tool wrote."""
    import tensorflow as tf

    module = tf.Module()
    spec = [tf.TensorSpec([None, 2], tf.float32, name="x")]
    module.function = tf.function(lambda x: {"y": x * 2.0}, input_signature=spec)
    tf.saved_model.save(module, str(tmp_path / "other" / "1"), signatures={"serving_default": module.function})
    return tmp_path / "other" / "1"


def files(version: Path) -> list[str]:
    return sorted(path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file())


def rewrite(version: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the manifest, as somebody who knows how to write hashes could."""
    from tfpvae.export.repository.hashes import write_hashes

    manifest = json.loads((version / MANIFEST).read_text())
    change(manifest)
    (version / MANIFEST).write_text(json.dumps(manifest))
    write_hashes(version)


def keep(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["signatures"] = {name: manifest["signatures"][name] for name in names}

    return change


class TestHashes:
    def test_the_manifest_lists_every_file_by_its_sha256(self, whole):
        import hashlib

        listed = json.loads((whole / MANIFEST).read_text())["files"]
        assert sorted(listed) == files(whole)
        for name in set(listed) - {MANIFEST}:
            assert listed[name] == hashlib.sha256((whole / name).read_bytes()).hexdigest()
        zeroed = (whole / MANIFEST).read_bytes().replace(listed[MANIFEST].encode(), b"0" * 64)
        assert listed[MANIFEST] == hashlib.sha256(zeroed).hexdigest()

    def test_a_whole_version_has_nothing_wrong(self, whole):
        from tfpvae.export.repository.hashes import check_hashes

        assert check_hashes(whole) == {}

    def test_writing_them_again_changes_nothing(self, version):
        from tfpvae.export.repository.hashes import write_hashes

        before = (version / MANIFEST).read_bytes()
        assert write_hashes(version) == json.loads(before)["files"]
        assert (version / MANIFEST).read_bytes() == before

    def test_one_bit_flipped_in_any_file_is_found(self, version):
        from tfpvae.export.repository.hashes import check_hashes

        rng = np.random.default_rng(0)
        for name in set(files(version)) - {MANIFEST}:
            data = (version / name).read_bytes()
            for position in {0, len(data) - 1, int(rng.integers(len(data)))}:
                flipped = bytearray(data)
                flipped[position] ^= 1 << int(rng.integers(8))
                (version / name).write_bytes(flipped)
                assert check_hashes(version) == {name: "was changed"}
            (version / name).write_bytes(data)
        assert check_hashes(version) == {}

    def test_one_bit_flipped_anywhere_in_the_manifest_is_found(self, version, tmp_path):
        """Of a manifest alone, so that each of its bits can be tried."""
        from tfpvae.export.repository.hashes import check_hashes, write_hashes

        small = tmp_path / "small"
        small.mkdir()
        (small / "a.txt").write_text("a")
        (small / MANIFEST).write_text('{"format": 1, "name": "é"}', encoding="utf-8")
        write_hashes(small)
        for path, step in ((small, 1), (version, 997)):
            data = (path / MANIFEST).read_bytes()
            for bit in range(0, 8 * len(data), step):
                flipped = bytearray(data)
                flipped[bit // 8] ^= 1 << bit % 8
                (path / MANIFEST).write_bytes(flipped)
                with contextlib.suppress(ExportError):
                    assert MANIFEST in check_hashes(path), bit
            (path / MANIFEST).write_bytes(data)
            assert check_hashes(path) == {}

    def test_any_file_removed_is_found(self, version):
        from tfpvae.export.repository.hashes import check_hashes

        for name in set(files(version)) - {MANIFEST}:
            data = (version / name).read_bytes()
            (version / name).unlink()
            assert check_hashes(version) == {name: "is missing"}
            (version / name).write_bytes(data)
        (version / MANIFEST).unlink()
        with pytest.raises(ExportError, match=r"manifest\.json cannot be read"):
            check_hashes(version)

    @pytest.mark.parametrize("name", ["a", f"{ONNX_DIRECTORY}/evil.onnx", "new/folder/.hidden", f"new/{MANIFEST}"])
    def test_any_file_added_is_found(self, name, version):
        from tfpvae.export.repository.hashes import check_hashes

        (version / name).parent.mkdir(parents=True, exist_ok=True)
        (version / name).write_bytes(b"")
        assert check_hashes(version) == {name: "is not listed"}

    def test_links(self, version, tmp_path):
        """To a folder: what is behind it is not looked at, so it is told of. To the same bytes: no harm."""
        from tfpvae.export.repository.hashes import check_hashes

        (version / "link").symlink_to(tmp_path)
        (version / "saved_model.pb").rename(tmp_path / "elsewhere")
        (version / "saved_model.pb").symlink_to(tmp_path / "elsewhere")
        assert check_hashes(version) == {"link": "is not listed"}

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {}}', '{"files": []}', '{"files": null}', "[" * 10000])
    def test_a_manifest_without_hashes(self, text, version):
        from tfpvae.export.repository.hashes import check_hashes

        (version / MANIFEST).write_text(text)
        with pytest.raises(ExportError, match="must list the SHA-256 of each file"):
            check_hashes(version)


class TestOwnVersions:
    def test_a_whole_version_passes(self, verified, exported, whole):
        import tfpvae

        assert not verified.refused
        assert verified.findings == ()
        assert verified.path == whole
        assert verified.written_by == f"tfpvae {tfpvae.__version__}"
        assert set(verified.batching.values()) == {None}
        assert [line.split(":")[0] for line in verified.checked] == ["Files", "Graph", "Numbers"]
        assert json.loads(json.dumps(verified.to_json()))["refused"] is False

    def test_every_signature_was_compared_in_every_runtime(self, verified, exported):
        seen = {(gap.runtime, gap.signature) for gap in verified.parity}
        assert seen == {("SavedModel (v1)", name) for name in exported.signatures} | {
            ("ONNX Runtime", name) for name in exported.onnx
        }
        for gap in verified.parity:
            assert gap.difference <= gap.allowed, gap
        assert all(gap.difference == 0 for gap in verified.parity if gap.signature == "sample_png")

    @pytest.mark.parametrize("spoil", ["changed", "missing", "not listed"])
    def test_nothing_is_run_once_a_file_is_wrong(self, spoil, version, monkeypatch):
        import tensorflow as tf

        from tfpvae.export.verification import verify

        def never(*args: Any) -> None:
            raise AssertionError("loaded")

        monkeypatch.setattr(tf.saved_model, "load", never)
        monkeypatch.setattr(tf.compat.v1.saved_model, "load", never)
        graph = version / ONNX_DIRECTORY / "decode.onnx"
        if spoil == "changed":
            graph.write_bytes(graph.read_bytes()[:-1])
        elif spoil == "missing":
            graph.unlink()
        else:
            (version / "evil").touch()
        verification = verify(version)
        assert verification.refused
        assert [(f.rule, f.op) for f in verification.findings] == [
            ("files", "evil" if spoil == "not listed" else f"{ONNX_DIRECTORY}/decode.onnx")
        ]
        assert spoil in verification.findings[0].text
        assert verification.parity == ()
        assert verification.checked[-1] == "Numbers: not compared; nothing is run before the errors are gone."

    def test_the_manifest_removed(self, version):
        from tfpvae.export.verification import verify

        (version / MANIFEST).unlink()
        verification = verify(version)
        assert verification.refused
        assert verification.findings[0].text == "manifest.json is missing beside onnx/."

    def test_a_manifest_without_hashes_is_told(self, version):
        from tfpvae.export.verification import verify

        manifest = json.loads((version / MANIFEST).read_text())
        del manifest["files"]
        (version / MANIFEST).write_text(json.dumps(manifest))
        (finding,) = verify(version).errors
        assert (finding.rule, finding.op) == ("files", MANIFEST)
        assert "must list the SHA-256 of each file" in finding.text

    def test_a_graph_that_is_no_saved_model(self, version):
        from tfpvae.export.verification import verify

        (version / "saved_model.pb").write_bytes(b"\xff" * 100)
        rewrite(version, keep("decode"))
        verification = verify(version)
        assert [f.rule for f in verification.findings] == ["damaged", "damaged"]
        assert "is no SavedModel, or is damaged" in verification.findings[0].text

    def test_other_numbers_in_onnx(self, version):
        """A bias off by 1e-3, under a manifest that fits."""
        import onnx
        from onnx import numpy_helper

        from tfpvae.export.verification import verify

        path = version / ONNX_DIRECTORY / "likelihood.onnx"
        model = onnx.load(path)
        bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [64])
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(1e-3), bias.name))
        onnx.save(model, path)
        rewrite(version, keep("likelihood", "sample"))
        verification = verify(version)
        (finding,) = verification.findings
        assert (finding.severity, finding.rule, finding.signature) == ("error", "parity", "likelihood")
        assert (
            "Output 'logits' of signature 'likelihood' in ONNX Runtime differs from SavedModel by 1.0e-03 at batch 1"
            in finding.text
        )
        assert {gap.signature for gap in verification.parity} == {"likelihood", "sample"}

    def test_an_onnx_graph_that_does_not_open(self, version):
        from tfpvae.export.verification import verify

        (version / ONNX_DIRECTORY / "decode.onnx").write_bytes(b"nothing")
        rewrite(version, keep("decode"))
        (finding,) = verify(version).findings
        assert finding.text.startswith("ONNX Runtime cannot run it: ")
        for path in (version / "saved_model.pb", version / "fingerprint.pb"):
            path.unlink()
        shutil.rmtree(version / "variables")
        rewrite(version, keep("decode"))
        (finding,) = verify(version).findings
        assert finding.text.startswith("ONNX Runtime cannot run it: ")

    def test_onnx_alone(self, version):
        from tfpvae.export.verification import verify

        (version / "saved_model.pb").unlink()
        rewrite(version, keep("decode", "sample"))
        verification = verify(version)
        assert not verification.refused
        assert verification.batching == {}
        assert "not compared, for ONNX Runtime alone is there; it ran" in verification.checked[-1]

    @pytest.mark.slow
    def test_without_a_saved_model_the_others_are_compared_with_onnx(self, vae, tmp_path, only):
        import tfpvae
        from tfpvae.export import Profile
        from tfpvae.export.verification import verify

        only("decode", "sample_latent", "sample_mean")
        # int8 is further from Keras on processors without VNNI, and how far is not the question here.
        profile = Profile(
            saved_model=False, litert=True, float16="never", int8="always", int8_tolerance=0.5, samples=False
        )
        version = tfpvae.export_model(vae, tmp_path / "edge", profile=profile).path
        verification = verify(version)
        assert verification.findings == ()
        assert {(gap.signature, gap.runtime) for gap in verification.parity} == {
            ("decode", "ONNX Runtime int8"),
            ("sample_mean", "ONNX Runtime int8"),
            ("decode", "LiteRT"),
            ("sample_latent", "LiteRT"),
            ("sample_mean", "LiteRT"),
        }
        assert verification.checked[-1].startswith("Numbers: ONNX Runtime int8 and LiteRT against ONNX Runtime, batch")

        (version / "decoder.tflite").write_bytes(b"nothing")
        rewrite(version, lambda manifest: None)
        findings = verify(version).findings
        assert [finding.signature for finding in findings] == ["decode", "sample_latent", "sample_mean"]
        assert all(finding.text.startswith("LiteRT cannot run it: ") for finding in findings)

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (lambda z: {"mean": z + 1e-3}, "differs from SavedModel by 1.0e-03 at batch 1; allowed 1.0e-04"),
            (lambda z: {"mean": z * np.nan}, "differs from SavedModel by nan"),
            (
                lambda z: {"mean": z[:, 0]},
                "in X must give {'mean': [1, 2]}, as in SavedModel. Received",
            ),
            (lambda z: {}, "as in SavedModel. Received: {}"),
            (lambda z: {"mean": z}, None),
        ],
        ids=["another value", "NaN", "another shape", "no output", "the same"],
    )
    def test_every_kind_of_other_answer_is_told(self, answer, text):
        import tensorflow as tf

        from tfpvae.export.endpoints import Endpoint
        from tfpvae.export.parity import compare, examples
        from tfpvae.signatures import SIGNATURES

        spec = (tf.TensorSpec([None, 2], tf.float32, name="z"),)
        made = examples([Endpoint(SIGNATURES["decode"], lambda z: {"mean": tf.clip_by_value(z, -0.5, 0.5)}, spec)])
        gaps, wrong = compare(
            made, "X", lambda name, inputs: answer(np.clip(inputs["z"], -0.5, 0.5)), 1e-4, reference="SavedModel"
        )
        if text is None:
            assert wrong == {}
            assert [gap.difference for gap in gaps] == [0.0]
        else:
            assert wrong.keys() == {"decode"}
            assert text in wrong["decode"]

    @pytest.mark.parametrize("rows", [1, 3])
    def test_outputs_of_other_rows_are_told(self, rows):
        import tensorflow as tf

        from tfpvae.export.endpoints import Endpoint
        from tfpvae.export.parity import compare, examples
        from tfpvae.signatures import SIGNATURES

        spec = (tf.TensorSpec([None, 2], tf.float32, name="z"),)
        made = examples([Endpoint(SIGNATURES["decode"], lambda z: {"mean": tf.zeros([rows, 2])}, spec)])
        _, wrong = compare(made, "X", lambda name, inputs: {"mean": np.zeros((rows, 2), np.float32)}, 1e-4)
        inputs = 1 if rows == 3 else 2  # The first batch has one row.
        assert wrong["decode"].startswith(
            f"Output 'mean' of signature 'decode' in Keras must have {inputs} rows, as its inputs have"
        )

    def test_the_largest_gap_of_all_batches_is_kept(self):
        import tensorflow as tf

        from tfpvae.export.endpoints import Endpoint
        from tfpvae.export.parity import compare, examples
        from tfpvae.signatures import SIGNATURES

        spec = (tf.TensorSpec([None, 2], tf.float32, name="z"),)
        made = examples([Endpoint(SIGNATURES["decode"], lambda z: {"mean": tf.tanh(z)}, spec)])
        off = {len(each.inputs["z"]): error for each, error in zip(made, [0.01, 0.03, 0.02, 0.0], strict=False)}

        def run(name, inputs):
            return {"mean": np.tanh(inputs["z"]) + np.float32(off[len(inputs["z"])])}

        (gap,), wrong = compare(made, "X", run, 0.1)
        assert wrong == {}
        assert gap.difference == pytest.approx(0.03, abs=1e-5)

    @pytest.mark.parametrize(("flips", "size", "allowed"), [(3, 250_000, 3), (2, 1000, 1)])
    def test_flips_of_draws_are_counted_in_both_directions(self, flips, size, allowed):
        import tensorflow as tf

        from tfpvae.export.endpoints import Endpoint
        from tfpvae.export.parity import gap_of
        from tfpvae.signatures import SIGNATURES

        spec = (tf.TensorSpec([None], tf.int64, name="seed"),)
        endpoint = Endpoint(SIGNATURES["sample"], lambda seed: {}, spec, discrete=True)
        expected = np.arange(size, dtype=np.float32) % 2
        for down in (0.0, 1.0):
            got = expected.copy()
            got[np.flatnonzero(expected == down)[:flips]] = 1 - down
            gap = gap_of(endpoint, "X", "sample", expected, got, 1e-5)
            assert gap.difference == pytest.approx(flips / size)
            assert gap.allowed == pytest.approx(allowed / size)

    def test_an_error_without_words_is_told_by_its_kind(self):
        from tfpvae.export.parity import first_line

        assert first_line(ValueError("")) == "ValueError('')"
        assert first_line(ValueError(" one\ntwo")) == "one"

    @pytest.mark.parametrize(("levels", "passes"), [(1, True), (2, False)])
    def test_png_files_may_differ_by_one_level(self, levels, passes):
        import tensorflow as tf

        from tfpvae.export.endpoints import Endpoint
        from tfpvae.export.parity import compare, examples
        from tfpvae.images import to_png
        from tfpvae.signatures import SIGNATURES

        def png(level):  # Of every level: some divided by 255 differ by more than 1 / 255, rounded.
            return to_png(np.arange(level, level + 200, dtype=np.float32).reshape(10, 20, 1) / 255)

        spec = (tf.TensorSpec([None], tf.int64, name="seed"),)
        signature = SIGNATURES["sample_png"]
        made = examples([Endpoint(signature, lambda seed: {"image_bytes": tf.repeat([png(7)], tf.size(seed))}, spec)])

        def run(name, inputs):
            return {"image_bytes": np.array([png(7 + levels)] * len(inputs["seed"]), dtype=object)}

        (gap,), wrong = compare(made, "X", run, 1e-4)
        assert gap.difference == pytest.approx(levels / 255, rel=1e-3)
        assert (wrong == {}) == passes

    def test_a_warning_hinders_no_comparison_and_comes_after_the_errors(self, version, monkeypatch):
        from tfpvae.export import verification
        from tfpvae.savedmodel.lint import Finding, Severity

        warning = Finding(Severity.WARNING, "no-inputs", "decode", None, "It has none.", "Give it one.")
        monkeypatch.setattr(verification, "lint", lambda directory: [warning])
        found = verification.verify(version)
        assert found.findings == (warning,)
        assert found.parity
        rewrite(version, lambda manifest: manifest["signatures"].update(dream=manifest["signatures"]["decode"]))
        first, second = verification.verify(version).findings
        assert (first.severity, second) == (Severity.ERROR, warning)

    def test_a_signature_that_the_saved_model_lacks(self, version):
        from tfpvae.export.verification import verify

        def change(manifest: dict[str, Any]) -> None:
            manifest["signatures"] = {"dream": manifest["signatures"]["decode"]}

        rewrite(version, change)
        (finding,) = verify(version).findings
        assert (finding.rule, finding.signature) == ("damaged", "dream")

    def test_a_newer_format(self, version):
        from tfpvae.export.verification import verify

        rewrite(version, lambda manifest: manifest.update(format=3))
        with pytest.raises(ExportError, match=r"must have a format of 1 to 2\. Received: format=3\. A newer tfpvae"):
            verify(version)


class TestOthersVersions:
    def test_only_the_graph_is_read(self, foreign, monkeypatch):
        import tensorflow as tf

        from tfpvae.export.verification import verify

        monkeypatch.setattr(tf.saved_model, "load", lambda *args: pytest.fail("loaded"))
        monkeypatch.setattr(tf.compat.v1.saved_model, "load", lambda *args: pytest.fail("loaded"))
        verification = verify(foreign)
        assert not verification.refused
        assert verification.written_by is None
        assert verification.parity == ()
        assert "another tool wrote this SavedModel" in verification.checked[0]
        assert "nothing of another tool's is run" in verification.checked[-1]
        assert verification.batching == {"serving_default": None}

    def test_a_directory_that_is_no_version(self, foreign, tmp_path):
        from tfpvae.export.verification import verify

        with pytest.raises(ExportError, match=r"is no version: .* Its versions are: .*other/1$"):
            verify(foreign.parent)
        with pytest.raises(ExportError, match=r"neither saved_model\.pb nor manifest\.json\.$"):
            verify(tmp_path / "none")


class TestCommand:
    def test_a_version_that_passes(self, whole, capsys, monkeypatch, verified):
        module = importlib.import_module("tfpvae.export.verification")
        monkeypatch.setattr(module, "verify", lambda path, progress: verified)
        assert main(["verify", str(whole)]) == 0
        text = capsys.readouterr().out
        assert text.endswith("Findings: none\n\nPassed.\n")
        assert "each has the SHA-256" in text
        assert "Does not batch" not in text
        assert sum(" ONNX Runtime " in line for line in text.splitlines()) > 5

    def test_another_tools(self, foreign, capsys):
        assert main(["verify", str(foreign)]) == 0
        assert "1: written by another tool" in capsys.readouterr().out
        assert main(["verify", str(foreign), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["batching"] == {"serving_default": None}

    def test_a_changed_file(self, version, capsys):
        (version / "fingerprint.pb").write_bytes(b"x")
        assert main(["verify", str(version), "--json"]) == 1
        out, error = capsys.readouterr()
        report = json.loads(out)
        assert report["refused"]
        assert report["findings"][0]["op"] == "fingerprint.pb"
        assert "is refused: fingerprint.pb was changed." in error

    def test_the_naive_export_is_refused_with_the_reason(self, capsys):
        assert main(["verify", str(CONTRACT / "models" / "naive" / "1")]) == 1
        out, error = capsys.readouterr()
        assert "Could not find variable" in " ".join(out.split())
        assert "What to do: Export Keras 3 models with keras.export.ExportArchive" in out
        assert "decode, decode_jit, sample, sample_png, serving_default: It reads variables" in out
        assert "Batches in TensorFlow Serving: logs, png_size, types" in out
        assert out.endswith("Refused.\n")
        assert "naive/1 is refused: It reads variables that a server does not restore" in error
