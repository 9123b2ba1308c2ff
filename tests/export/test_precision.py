"""Graphs in float16 and int8: how far they are from float32, how fast, and when they are kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tfpvae.edge import Decoder
from tfpvae.errors import ExportError, NotFoundError, RequestError
from tfpvae.manifest import MANIFEST, read_manifest, write_manifest
from tfpvae.signatures import ONNX_DIRECTORY, PRECISIONS, graph_file, graph_of

SEEDS = np.array([0, 1, -1, 7, 2**63 - 1, -(2**63)], np.int64)

_CPU = Path("/proc/cpuinfo")
_FLAGS = _CPU.read_text(encoding="utf-8") if _CPU.is_file() else ""
_SATURATES = "avx" in _FLAGS and "vnni" not in _FLAGS
INT8 = 0.5 if _SATURATES else 0.1
"""How far int8 may be from Keras. Products of bytes saturate on processors without VNNI instructions."""


def graphs(path):
    return sorted(file.name for file in (path / ONNX_DIRECTORY).iterdir())


@pytest.fixture
def means_alone(only):
    only("decode", "sample_latent", "sample_mean")


@pytest.fixture
def times(monkeypatch):
    """`times(float16=2.0, int8=0.5)`: how many times as fast as float32 the graphs are measured to be, with 16 rows."""
    from tfpvae.export import precision
    from tfpvae.export.speed import ROWS
    from tfpvae.manifest import Timing

    def say(**speeds):
        def timed(runs, signature, inputs):
            assert all(len(value) == max(ROWS) for value in inputs.values())
            return [
                Timing(signature, rows, runtime, each, 100.0 / (speeds.get(each, 1.0) if rows == 16 else 1.0))
                for rows in ROWS
                for runtime, each in runs
            ]

        monkeypatch.setattr(precision, "time_runs", timed)

    return say


@pytest.fixture(scope="module")
def all_kept(vae, tmp_path_factory, restrict):
    """A version with every precision, and its manifest. Read it, do not write into it."""
    import tfpvae
    from tfpvae.export import Profile

    profile = Profile(float16="always", int8="always", int8_tolerance=0.5, samples=False)
    with pytest.MonkeyPatch.context() as patch:
        restrict(patch, "decode", "sample_latent", "sample_mean", "sample")
        export = tfpvae.export_model(vae, tmp_path_factory.mktemp("precisions") / "digits", profile=profile)
    return export, json.loads((export.path / MANIFEST).read_text(encoding="utf-8"))


class TestWhatIsWritten:
    def test_both_means_in_every_precision(self, all_kept):
        export, manifest = all_kept
        reduced = {graph_file(name, each) for name in ("decode", "sample_mean") for each in ("float16", "int8")}
        assert set(graphs(export.path)) == reduced | {graph_file(name) for name in export.onnx}
        assert {graph_file(each.signature, each.precision) for each in export.reduced} == reduced
        assert all(each.dropped is None for each in export.reduced)
        assert set(manifest["files"]) >= {f"{ONNX_DIRECTORY}/{file}" for file in reduced}

    def test_the_manifest_says_how_far_each_is_from_keras(self, all_kept, vae):
        import onnxruntime

        export, manifest = all_kept
        seeds = np.arange(256, 512)
        z, expected = vae.sample_latent(seed=seeds), vae.sample_mean(seed=seeds).numpy()
        for each in manifest["reduced"]:
            graph = export.path / ONNX_DIRECTORY / graph_file(each["signature"], each["precision"])
            session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
            (given,) = session.get_inputs()
            (found,) = session.run(None, {given.name: z.numpy() if given.name == "z" else seeds})
            error = np.abs(found - expected)
            assert 0 < error.max() <= each["difference"] * 1.0001  # The examples of the parity check count as well.
            np.testing.assert_allclose(error.mean(), each["mean_difference"], rtol=1e-3)
            assert each["difference"] <= {"float16": 0.002, "int8": INT8}[each["precision"]]
            assert each["kilobytes"] == graph.stat().st_size // 1000

    def test_the_random_numbers_stay_float32(self, all_kept):
        """A uniform that is rounded to float16 is another one: the images would be others."""
        export, _ = all_kept
        exact = Decoder(export.path).sample_mean(seed=SEEDS)
        np.testing.assert_allclose(
            Decoder(export.path, precision="float16").sample_mean(seed=SEEDS), exact, rtol=0, atol=2e-3
        )
        np.testing.assert_allclose(
            Decoder(export.path, precision="int8").sample_mean(seed=SEEDS), exact, rtol=0, atol=INT8
        )

    def test_inputs_and_outputs_are_the_same(self, all_kept):
        import onnx

        export, _ = all_kept

        def interface(name, precision):
            graph = onnx.load(export.path / ONNX_DIRECTORY / graph_file(name, precision)).graph
            return [(value.name, value.type.tensor_type.elem_type) for value in (*graph.input, *graph.output)]

        for name in ("decode", "sample_mean"):
            assert interface(name, "float16") == interface(name, "int8") == interface(name, "float32")

    def test_speed_is_measured_for_all_and_the_fastest_is_recommended(self, all_kept):
        export, manifest = all_kept
        ways = [("SavedModel", "float32"), *(("ONNX Runtime", each) for each in PRECISIONS)]
        assert {(t["signature"], t["rows"], t["runtime"], t["precision"]) for t in manifest["speed"]} == {
            (name, rows, *way) for name in ("decode", "sample_mean") for rows in (1, 16, 256) for way in ways
        }
        assert len(manifest["recommended"]) == len(export.recommended) == 6
        for best in manifest["recommended"]:
            same = [t for t in manifest["speed"] if (t["signature"], t["rows"]) == (best["signature"], best["rows"])]
            assert best["microseconds"] == min(timing["microseconds"] for timing in same) > 0
            assert best["difference"] <= INT8

    def test_the_card_has_them(self, all_kept):
        export, _ = all_kept
        card = (export.path / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert "| signature | rows | SavedModel | ONNX Runtime | ONNX Runtime, float16 | ONNX Runtime, int8 |" in card
        assert 'Decoder(".", precision="int8")' in card
        assert "| `onnx/decode.int8.onnx` | dynamic |" in card
        assert "Not kept" not in card

    @pytest.mark.slow
    def test_convolutions_get_their_ranges_beforehand(self, tmp_path, means_alone, build_vae):
        import keras

        import tfpvae
        from tfpvae import layers
        from tfpvae.export import Profile

        z = keras.Input((4,))
        h = keras.layers.Reshape((4, 4, 4))(keras.layers.Dense(64, activation="relu")(z))
        h = keras.layers.Conv2DTranspose(8, 3, 2, "same", activation="relu")(h)
        logits = keras.layers.Flatten()(keras.layers.Conv2D(1, 3, padding="same")(h))
        decoder = keras.Model(z, layers.IndependentBernoulli((8, 8, 1))(logits))
        vae = tfpvae.VAE(build_vae().encoder, decoder)
        profile = Profile(saved_model=False, float16="never", int8="always", samples=False)
        export = tfpvae.export_model(vae, tmp_path / "conv", profile=profile)
        assert {each.method for each in export.reduced} == {"static"}
        exact = Decoder(export.path).sample_mean(seed=SEEDS)
        rounded = Decoder(export.path, precision="int8").sample_mean(seed=SEEDS)
        np.testing.assert_allclose(rounded, exact, rtol=0, atol=INT8)
        assert np.abs(rounded - exact).max() > 0


class TestWhatIsKept:
    @pytest.mark.slow
    def test_what_is_faster_for_some_number_of_rows(self, vae, tmp_path, means_alone, times):
        import tfpvae
        from tfpvae.export import Profile

        times(float16=1.05, int8=1.5)
        steps: list[str] = []
        export = tfpvae.export_model(vae, tmp_path / "m", profile=Profile(int8_tolerance=0.5), progress=steps.append)
        assert graphs(export.path) == [
            "decode.int8.onnx", "decode.onnx", "sample_latent.onnx", "sample_mean.int8.onnx", "sample_mean.onnx"
        ]  # fmt: skip
        dropped = [step for step in steps if step.startswith("dropped decode.float16.onnx")]
        assert dropped == [
            "dropped decode.float16.onnx: at best 1.05 times as fast as float32, with 16 rows, where 1.1 would be "
            'worth it; float16 = "always" in the profile keeps it'
        ]
        manifest = json.loads((export.path / MANIFEST).read_text(encoding="utf-8"))
        assert {(each["precision"], each["dropped"] is None) for each in manifest["reduced"]} == {
            ("float16", False), ("int8", True)
        }  # fmt: skip
        assert "float16" not in {timing["precision"] for timing in manifest["speed"]}
        best = {(each.signature, each.rows): each for each in export.recommended}
        assert best["decode", 16].precision == "int8"
        assert best["decode", 16].difference > 1e-4
        assert best["decode", 1].precision == "float32"
        assert best["decode", 1].difference <= 1e-5
        card = (export.path / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert "| `decode.float16.onnx` | at best 1.05 times" in card

    @pytest.mark.slow
    def test_nothing_of_what_is_never_wanted(self, vae, tmp_path, means_alone):
        import tfpvae
        from tfpvae.export import Profile

        export = tfpvae.export_model(vae, tmp_path / "m", profile=Profile(float16="never", int8="never"))
        assert graphs(export.path) == ["decode.onnx", "sample_latent.onnx", "sample_mean.onnx"]
        assert export.reduced == ()
        assert {each.precision for each in export.recommended} == {"float32"}

    def test_what_is_too_far_from_keras_is_dropped(self, vae, tmp_path, means_alone, times):
        import tfpvae
        from tfpvae.export import Profile

        times(float16=3.0, int8=3.0)
        profile = Profile(saved_model=False, int8_tolerance=1e-6)
        export = tfpvae.export_model(vae, tmp_path / "m", profile=profile)
        assert "decode.int8.onnx" not in graphs(export.path)
        assert "decode.float16.onnx" in graphs(export.path)
        reasons = [each.dropped for each in export.reduced if each.precision == "int8"]
        assert all("int8_tolerance = 1e-06 allows 1e-06" in reason for reason in reasons)

    @pytest.mark.slow
    def test_or_nothing_is_published_where_it_was_asked_for(self, vae, tmp_path, means_alone):
        import tfpvae
        from tfpvae.export import Profile

        profile = Profile(saved_model=False, float16="never", int8="always", int8_tolerance=1e-6)
        with pytest.raises(ExportError, match=r"decode\.int8\.onnx was asked for, and cannot be kept: it differs"):
            tfpvae.export_model(vae, tmp_path / "m", profile=profile)
        assert not (tmp_path / "m").exists()

    @pytest.mark.slow
    def test_what_the_tools_cannot_write_is_told(self, vae, tmp_path, means_alone, monkeypatch):
        import tfpvae
        from tfpvae.export import Profile
        from tfpvae.export.targets import onnx
        from tfpvae.export.verification import verify

        def refuse(*args):
            raise RuntimeError("no such operator\nand more")

        monkeypatch.setattr(onnx, "write_int8", refuse)
        export = tfpvae.export_model(vae, tmp_path / "m", profile=Profile(float16="never", samples=False))
        assert {each.dropped for each in export.reduced} == {
            "ONNX Runtime's tools could not write it: no such operator"
        }
        assert verify(export.path).findings == ()  # Nothing of them is measured, and nothing is compared.

    def test_a_mixtures_mean_in_float16(self, tmp_path, build_vae):
        """Its `logsumexp` asks which numbers are infinite; ONNX does not ask that of float16 before opset 20."""
        import keras
        import onnx

        from tfpvae import layers
        from tfpvae.export.endpoints import endpoints
        from tfpvae.export.targets.onnx import run_onnx, write_onnx
        from tfpvae.export.targets.onnx_precision import write_float16

        last = layers.CategoricalMixtureOfOneHotCategorical(4, 3)
        decoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(15), last])
        encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), layers.MultivariateNormalDiag(4)])
        vae = build_vae(encoder=encoder, decoder=decoder)
        source, reduced = tmp_path / graph_file("decode"), tmp_path / graph_file("decode", "float16")
        write_onnx(endpoints(vae)[0]["decode"], source)
        assert "IsInf" in {node.op_type for node in onnx.load(source).graph.node}
        write_float16(source, reduced)
        z = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
        found = run_onnx(tmp_path, "float16")("decode", {"z": z})["mean"]
        np.testing.assert_allclose(found, vae.decode(z).mean(), rtol=0, atol=2e-3)

    def test_a_graph_without_weights_has_none(self, tmp_path, means_alone):
        import keras

        import tfpvae
        from tfpvae import layers
        from tfpvae.export import Profile

        encoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(6), layers.MultivariateNormalDiag(3)])
        decoder = keras.Sequential([keras.Input((3,)), layers.DistributionLambda(_unit_normal)])
        export = tfpvae.export_model(tfpvae.VAE(encoder, decoder), tmp_path / "m", profile=Profile(saved_model=False))
        assert export.reduced == ()
        assert export.recommended == ()  # There is nothing to choose from.


def _unit_normal(loc):
    import tensorflow_probability as tfp

    return tfp.distributions.Independent(tfp.distributions.Normal(loc, 1.0), 1)


class TestVerify:
    def test_every_precision_is_compared(self, all_kept):
        from tfpvae.export.verification import verify

        found = verify(all_kept[0].path)
        assert not found.refused
        runtimes = {gap.runtime for gap in found.parity if gap.signature == "decode"}
        assert runtimes == {"SavedModel (v1)", "ONNX Runtime", "ONNX Runtime float16", "ONNX Runtime int8"}
        assert any("ONNX Runtime int8" in line for line in found.checked)

    def test_another_models_graph_is_found(self, all_kept, tmp_path, build_vae):
        from tfpvae.export.endpoints import endpoints
        from tfpvae.export.repository.hashes import write_hashes
        from tfpvae.export.targets.onnx import write_onnx
        from tfpvae.export.targets.onnx_precision import write_int8
        from tfpvae.export.verification import verify

        version = tmp_path / "digits" / "1"
        shutil.copytree(all_kept[0].path, version)
        write_onnx(endpoints(build_vae())[0]["decode"], tmp_path / "decode.onnx")
        graph = version / ONNX_DIRECTORY / "decode.int8.onnx"
        graph.unlink()
        write_int8(tmp_path / "decode.onnx", graph, {"z": np.zeros((2, 4), np.float32)})
        manifest = read_manifest(version)  # Its tolerance is wider than this test needs.
        reduced = tuple(dataclasses.replace(each, tolerance=0.2) for each in manifest.reduced)
        write_manifest(dataclasses.replace(manifest, reduced=reduced), version)
        write_hashes(version)
        (error,) = verify(version).errors
        assert (error.signature, error.op) == ("decode", "ONNX Runtime int8")


class TestEdge:
    def test_signatures_without_that_precision_are_float32(self, all_kept):
        export, _ = all_kept
        exact, rounded = Decoder(export.path), Decoder(export.path, precision="int8")
        assert exact.signatures == rounded.signatures == tuple(sorted(export.onnx))
        np.testing.assert_array_equal(rounded.sample(seed=SEEDS), exact.sample(seed=SEEDS))
        z = exact.sample_latent(seed=SEEDS)
        assert np.abs(rounded.decode(z) - exact.decode(z)).max() > 1e-4

    def test_one_file(self, all_kept):
        graph = all_kept[0].path / ONNX_DIRECTORY / "decode.int8.onnx"
        assert Decoder(graph).signatures == ("decode",)

    def test_a_precision_that_is_not_there(self, all_kept, tmp_path):
        shutil.copy(all_kept[0].path / ONNX_DIRECTORY / "decode.onnx", tmp_path)
        with pytest.raises(NotFoundError, match=r"holds no graphs in int8\..*manifest\.json says why"):
            Decoder(tmp_path, precision="int8")
        with pytest.raises(RequestError, match=r"precision must be one of float32, float16, int8\. Received: .*'int4'"):
            Decoder(tmp_path, precision="int4")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_graphs_file_says_what_it_is(precision):
    assert graph_of(graph_file("sample_mean", precision)) == ("sample_mean", precision)


class TestSpeed:
    def test_the_median_of_calls_in_turns(self):
        from tfpvae.export.speed import medians

        order: list[str] = []

        def call(name, seconds):
            def sleep():
                order.append(name)
                time.sleep(seconds)

            return sleep

        found = medians({"short": call("short", 0.002), "long": call("long", 0.02)}, seconds=0.05)
        assert 0.002 <= found["short"] < found["long"]
        assert found["long"] >= 0.02
        assert order.count("long") >= 3
        # Neither is timed alone to its end before the other begins.
        assert order.index("long", 2) < len(order) - 1 - order[::-1].index("short")

    def test_the_fastest_is_recommended_with_its_difference(self):
        from tfpvae.export.speed import recommend
        from tfpvae.manifest import Recommendation, Timing

        timings = [
            Timing("decode", 1, "SavedModel", "float32", 300.0),
            Timing("decode", 1, "ONNX Runtime", "int8", 20.0),
            Timing("decode", 256, "ONNX Runtime", "int8", 500.0),
            Timing("decode", 256, "SavedModel", "float32", 400.0),
        ]
        differences = {("decode", "SavedModel", "float32"): 1e-7, ("decode", "ONNX Runtime", "int8"): 0.01}
        assert recommend(timings, differences) == (
            Recommendation("decode", 1, "ONNX Runtime", "int8", 20.0, 0.01),
            Recommendation("decode", 256, "SavedModel", "float32", 400.0, 1e-7),
        )
