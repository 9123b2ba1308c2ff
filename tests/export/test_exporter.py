"""Exports: SavedModel, ONNX and Keras give the same numbers, or nothing is published."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfpvae.errors import ExportError
from tfpvae.manifest import MANIFEST
from tfpvae.signatures import DEFAULT_ALIAS_OF, DEFAULT_SIGNATURE, ONNX_DIRECTORY, SIGNATURES

CONTRACT = Path(__file__).parents[1] / "contract"
EDGE_SEEDS = np.array([0, 1, -1, -5, 2**31, 2**32, -(2**32) - 1, 2**63 - 1, -(2**63)], np.int64)
MANY_SEEDS = np.concatenate(
    [EDGE_SEEDS, np.random.default_rng(4).integers(-(2**63), 2**63, 10_000 - len(EDGE_SEEDS), endpoint=False)]
)
ALL = tuple(SIGNATURES)
NOT_IN_ONNX = {"sample_png"}
"""ONNX has no PNG encoder."""
IN_ONNX = sorted(set(ALL) - NOT_IN_ONNX)
PARAMETERS = {"likelihood": ("logits",), "encode": ("loc", "scale")}
DTYPES = {"z": "float32", "x": "float32", "seed": "int64"}
SHAPES = {"z": [None, 4], "x": [None, 8, 8, 1], "seed": [None]}


def outputs_of(name: str) -> tuple[str, ...]:
    return SIGNATURES[name].outputs or PARAMETERS[name]


@pytest.fixture(scope="module")
def manifest(exported) -> dict:
    return json.loads((exported.path / MANIFEST).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runs(exported):
    """The three artefacts' runners by name, each as `run(signature, inputs) -> outputs`."""
    from tfpvae.export.targets.onnx import run_onnx
    from tfpvae.savedmodel.session import run_v1, run_v2

    with run_v1(exported.path) as v1:
        yield {"v1": v1, "v2": run_v2(exported.path), "onnx": run_onnx(exported.path / ONNX_DIRECTORY)}


class TestWhatIsWritten:
    def test_the_files(self, exported):
        assert exported.path.name == "1"
        assert {entry.name for entry in exported.path.parent.iterdir()} == {"1"}
        assert {
            "saved_model.pb", "variables", "assets.extra", ONNX_DIRECTORY, MANIFEST, "MODEL_CARD.md", "samples.png"
        } <= {p.name for p in exported.path.iterdir()}  # fmt: skip
        graphs = {path.stem for path in (exported.path / ONNX_DIRECTORY).iterdir()}
        assert graphs == set(exported.onnx)
        assert exported.signatures == ALL

    def test_the_saved_models_signatures_are_those_of_the_table(self, exported):
        import tensorflow as tf

        signatures = tf.saved_model.load(str(exported.path)).signatures
        assert set(signatures) == {*ALL, DEFAULT_SIGNATURE}
        for name in signatures:
            wanted = DEFAULT_ALIAS_OF if name == DEFAULT_SIGNATURE else name
            _, inputs = signatures[name].structured_input_signature
            assert set(inputs) == set(SIGNATURES[wanted].inputs)
            for key, spec in inputs.items():
                assert spec.dtype.name == DTYPES[key]
                assert spec.shape.as_list() == SHAPES[key]
            outputs = signatures[name].structured_outputs
            assert set(outputs) == set(outputs_of(wanted))
            for key, spec in outputs.items():
                assert spec.dtype.name == ("string" if key == "image_bytes" else "float32")
                assert spec.shape[0] is None

    @pytest.mark.parametrize("name", IN_ONNX)
    def test_every_signature_but_the_png_has_an_onnx_graph(self, name, exported, manifest):
        assert name in exported.onnx, manifest["targets"]["onnx"]["left_out"]

    @pytest.mark.parametrize("name", IN_ONNX)
    def test_an_onnx_graphs_names_and_types_are_those_of_the_table(self, name, exported):
        import onnxruntime

        if name not in exported.onnx:
            pytest.skip("has no ONNX graph")
        session = onnxruntime.InferenceSession(
            exported.path / ONNX_DIRECTORY / f"{name}.onnx", providers=["CPUExecutionProvider"]
        )
        inputs = {node.name: node for node in session.get_inputs()}
        assert set(inputs) == set(SIGNATURES[name].inputs)
        for key, node in inputs.items():
            assert node.type == {"float32": "tensor(float)", "int64": "tensor(int64)"}[DTYPES[key]]
            assert node.shape[1:] == SHAPES[key][1:]
            assert not isinstance(node.shape[0], int)
        outputs = {node.name: node.type for node in session.get_outputs()}
        assert outputs == dict.fromkeys(outputs_of(name), "tensor(float)")

    def test_an_onnx_graph_has_the_standard_operators_alone(self, exported):
        import onnx

        for path in (exported.path / ONNX_DIRECTORY).iterdir():
            model = onnx.load(path)
            assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
            assert {i.domain: i.version for i in model.opset_import if i.domain == ""} == {"": 18}

    def test_the_manifest(self, manifest, vae, exported):
        import tfpvae
        from tfpvae.random import ALGORITHM

        assert manifest["format"] == 2
        assert manifest["latent_size"] == 4
        assert manifest["event_shape"] == [8, 8, 1]
        assert manifest["likelihood"] == "IndependentBernoulli"
        assert manifest["prior"] == "StandardNormal"
        assert manifest["random"] == ALGORITHM
        assert manifest["name"] == vae.name
        assert manifest["versions"]["tfpvae"] == tfpvae.__version__
        assert manifest["absent"] == {}
        assert set(manifest["targets"]["onnx"]["left_out"]) == set(ALL) - set(exported.onnx) >= NOT_IN_ONNX
        assert tuple(manifest["signatures"]) == ALL
        for name, signature in manifest["signatures"].items():
            assert (name in manifest["targets"]["onnx"]["signatures"]) == (name in exported.onnx)
            assert signature["inputs"] == {
                key: {"dtype": DTYPES[key], "shape": SHAPES[key]} for key in SIGNATURES[name].inputs
            }

    def test_the_parity_report_is_whole_and_within_bounds(self, exported, manifest):
        for gap in exported.parity:
            assert gap.difference <= gap.allowed, gap
        seen = {(gap.runtime, gap.signature, gap.output) for gap in exported.parity}
        wanted = {
            (run, name, out) for run in ("SavedModel", "SavedModel (v1)") for name in ALL for out in outputs_of(name)
        }
        wanted |= {("ONNX Runtime", name, out) for name in exported.onnx for out in outputs_of(name)}
        assert seen == wanted
        assert len(manifest["parity"]) == len(wanted)

    def test_no_function_is_marked_for_xla(self, exported):
        from tensorflow.core.protobuf import saved_model_pb2

        proto = saved_model_pb2.SavedModel.FromString((exported.path / "saved_model.pb").read_bytes())
        functions = proto.meta_graphs[0].graph_def.library.function
        assert len(functions) > 0
        assert not any(f.attr["_XlaMustCompile"].b for f in functions if "_XlaMustCompile" in f.attr)


RUNNERS = ("v1", "v2", "onnx")


@pytest.fixture(scope="module")
def samples_of_many_seeds(vae):
    """What Keras computes of them, by signature."""
    return {name: getattr(vae, name)(seed=MANY_SEEDS).numpy() for name in ("sample_latent", "sample_mean", "sample")}


def agree(name, got, expected):
    if name == "sample":
        assert (got != expected).sum() <= np.ceil(1e-5 * expected.size)  # A mean in its last digit next to a uniform.
    else:
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 if name == "sample_latent" else 1e-5)


class TestSameNumbersEverywhere:
    @pytest.mark.parametrize("runner", RUNNERS)
    @pytest.mark.parametrize("name", ["sample_latent", "sample_mean", "sample"])
    def test_ten_thousand_seeds_give_the_models_samples(self, runner, name, runs, samples_of_many_seeds):
        got = runs[runner](name, {"seed": MANY_SEEDS})[SIGNATURES[name].outputs[0]]
        agree(name, got, samples_of_many_seeds[name])
        assert got.dtype == np.float32
        if name == "sample":
            assert set(np.unique(got)) == {0.0, 1.0}

    def test_their_latents_are_numpys(self, samples_of_many_seeds):
        from tfpvae.random import numpy as reference
        from tfpvae.random.seeds import LATENT

        z = samples_of_many_seeds["sample_latent"]
        expected = reference.normal_from_uniform(reference.uniform(MANY_SEEDS, z.shape[1], LATENT))
        np.testing.assert_allclose(z, expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("runner", RUNNERS)
    @pytest.mark.parametrize("name", ["sample_latent", "sample_mean", "sample"])
    def test_a_row_does_not_depend_on_the_batch(self, runner, name, runs, samples_of_many_seeds):
        (output,) = SIGNATURES[name].outputs
        rows = np.random.default_rng(5).permutation(1000)
        reordered = np.empty_like(samples_of_many_seeds[name][:1000])
        for some in np.split(rows, [1, 3, 200, 900]):
            padded = np.concatenate([MANY_SEEDS[some], np.zeros(7, np.int64)])
            reordered[some] = runs[runner](name, {"seed": padded})[output][:-7]
        agree(name, reordered, samples_of_many_seeds[name][:1000])

    @pytest.mark.parametrize("runner", RUNNERS)
    def test_the_other_signatures_are_the_models(self, runner, runs, vae, digits, exported):
        run, x = runs[runner], digits.test[:7]
        z = np.random.default_rng(1).standard_normal((7, 4)).astype(np.float32)
        seeds = np.arange(7)
        np.testing.assert_allclose(run("decode", {"z": z})["mean"], vae.decode(z).mean(), atol=1e-5)
        logits = vae.decode(z).named_parameters["logits"]
        np.testing.assert_allclose(run("likelihood", {"z": z})["logits"], logits, atol=1e-4)
        q = run("encode", {"x": x})
        np.testing.assert_allclose(q["loc"], vae.encode(x).mean(), atol=1e-5)
        np.testing.assert_allclose(q["scale"], vae.encode(x).stddev(), atol=1e-5)
        np.testing.assert_allclose(run("reconstruct", {"x": x})["mean"], vae.reconstruct(x), atol=1e-5)
        if runner == "onnx" and not (exported.path / ONNX_DIRECTORY / "score.onnx").is_file():
            return
        score = run("score", {"x": x, "seed": seeds})
        for key, value in vae.score(x, seed=seeds).items():
            np.testing.assert_allclose(score[key], value, rtol=1e-4)
        np.testing.assert_allclose(score["elbo"], score["log_likelihood"] - score["kl"], rtol=1e-5)

    @pytest.mark.parametrize("runner", ["v1", "v2"])
    def test_the_default_is_decode_and_a_png_is_the_mean(self, runner, runs, vae):
        z = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
        run = runs[runner]
        np.testing.assert_array_equal(run(DEFAULT_SIGNATURE, {"z": z})["mean"], run("decode", {"z": z})["mean"])
        pngs = run("sample_png", {"seed": EDGE_SEEDS})["image_bytes"]
        means = vae.sample_mean(seed=EDGE_SEEDS).numpy()[..., 0]
        for png, mean in zip(pngs, means, strict=True):
            image = Image.open(io.BytesIO(png))
            assert image.format == "PNG"
            assert image.mode == "L"
            assert np.abs(np.asarray(image) / 255 - mean).max() < 0.51 / 255

    def test_the_v1_loader_refuses_what_tensorflow_serving_refuses(self):
        """A plain `tf.saved_model.save` of Keras 3 layers: loads, and then fails every request."""
        from tfpvae.savedmodel.session import run_v1

        naive = CONTRACT / "models" / "naive" / "1"
        import tensorflow as tf

        with run_v1(naive) as run:
            specs = _input_specs(naive)
            with pytest.raises(
                (tf.errors.FailedPreconditionError, tf.errors.NotFoundError),
                match=r"Could not find variable|uninitialized",
            ):
                run("serving_default", {k: np.zeros([1, *shape], dtype) for k, (shape, dtype) in specs.items()})

    def test_the_v1_loader_runs_what_tensorflow_serving_ran(self):
        from tfpvae.savedmodel.session import run_v1

        demo = CONTRACT / "models" / "demo" / "1"
        with run_v1(demo) as run:
            specs = _input_specs(demo)
            outputs = run("serving_default", {k: np.zeros([1, *shape], dtype) for k, (shape, dtype) in specs.items()})
            assert all(np.isfinite(v).all() for v in outputs.values())


def _input_specs(directory: Path) -> dict[str, tuple[list[int], type]]:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    inputs = proto.meta_graphs[0].signature_def["serving_default"].inputs
    return {
        key: ([max(d.size, 1) for d in info.tensor_shape.dim][1:], tf.as_dtype(info.dtype).as_numpy_dtype)
        for key, info in inputs.items()
    }


def test_grouped_convolutions_and_gelu_have_every_form(build_vae, tmp_path, only):
    """tf2onnx and LiteRT know neither XLA's convolutions nor the complementary error function."""
    import keras

    import tfpvae
    from tfpvae import layers

    only("decode")
    grouped = keras.layers.Conv2D(8, 3, padding="same", groups=4, activation="gelu")
    convolutions = [
        keras.Input((4,)), keras.layers.Dense(128), keras.layers.Reshape((4, 4, 8)), grouped,
        keras.layers.Conv2D(4, 1, groups=2), keras.layers.Flatten(), layers.IndependentBernoulli((8, 8, 1)),
    ]  # fmt: skip
    vae = build_vae(decoder=keras.Sequential(convolutions))
    z = np.random.default_rng(0).standard_normal((3, 4), np.float32)
    before = vae.decode(z).mean()
    export = tfpvae.export_model(vae, tmp_path / "grouped")
    for target in json.loads((export.path / MANIFEST).read_text())["targets"].values():
        assert target == {"signatures": ["decode"], "left_out": {}}
    assert "convolution_op" not in vars(grouped)
    np.testing.assert_array_equal(vae.decode(z).mean(), before)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_models_of_half_precision_are_compared_with_a_tolerance_that_fits(policy, build_vae, tmp_path, only):
    import keras

    import tfpvae

    only("sample_mean", "sample")
    keras.mixed_precision.set_global_policy(policy)
    try:
        vae = build_vae()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    vae(np.zeros((1, 8, 8, 1), np.float32))
    export = tfpvae.export_model(vae, tmp_path / "half")
    manifest = json.loads((export.path / MANIFEST).read_text())
    assert manifest["tolerance"] == 0.01
    worst = max(gap.difference for gap in export.parity if gap.signature == "sample_mean")
    assert worst < 0.01
    left_out = manifest["targets"]["onnx"]["left_out"]
    if policy == "mixed_float16":
        assert left_out == {}
        assert worst > 1e-6  # Rounded otherwise than Keras does.
    else:
        assert all("does not compute in bfloat16" in left_out[name] for name in ("sample_mean", "sample"))


@pytest.mark.parametrize("kind", [OSError(28, "No space left on device"), RuntimeError("x: No space left on device")])
def test_a_full_disk_is_one_line_and_leaves_nothing(kind, vae, tmp_path, only, monkeypatch):
    import tfpvae
    from tfpvae.export.targets import onnx

    def full(*arguments):
        raise kind

    only("decode")
    monkeypatch.setattr(onnx, "write_onnx", full)
    with pytest.raises(ExportError, match=r"m cannot be written: No space left on device. Nothing was published\.$"):
        tfpvae.export_model(vae, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


class TestNothingWrongIsPublished:
    @pytest.fixture
    def directory(self, tmp_path) -> Path:
        return tmp_path / "models" / "digits"

    @staticmethod
    def wrong(run, change):
        def wrong_run(name, inputs):
            outputs = run(name, inputs)
            if name == "sample_mean":
                outputs = change(outputs)
            return outputs

        return wrong_run

    CHANGES = {  # noqa: RUF012
        "a value off": (
            lambda out: {"mean": out["mean"] + np.float32(2e-5)},
            r"differs from Keras by 2\.\de-05 at batch 1",
        ),
        "NaN": (lambda out: {"mean": out["mean"] * np.nan}, "differs from Keras by nan"),
        "another name": (lambda out: {"output_0": out["mean"]}, r"must give \{'mean': .*Received: \{'output_0'"),
        "another shape": (lambda out: {"mean": out["mean"][..., 0]}, r"must give .*Received: \{'mean': \[1, 8, 8\]\}"),
        "an output missing": (lambda out: {}, r"must give \{'mean': .*Received: \{\}"),
    }

    @pytest.mark.parametrize("change", CHANGES)
    def test_every_kind_of_wrong_answer_is_told(self, change, vae):
        from tfpvae.export.endpoints import endpoints
        from tfpvae.export.parity import check_parity, examples

        made = examples([endpoints(vae)[0]["sample_mean"]])

        def right(name, inputs):
            return next(dict(e.expected) for e in made if len(e.inputs["seed"]) == len(inputs["seed"]))

        assert check_parity(made, "X", right, 1e-5)[0].difference == 0
        alter, message = self.CHANGES[change]
        with pytest.raises(ExportError, match="sample_mean.* in X.*" + message):
            check_parity(made, "X", self.wrong(right, alter), 1e-5)

    def test_where_onnx_is_wrong(self, vae, directory, monkeypatch, only):
        import tfpvae
        from tfpvae.export.targets import onnx

        only("decode", "sample_mean")
        right = onnx.run_onnx
        alter, message = self.CHANGES["a value off"]
        monkeypatch.setattr(onnx, "run_onnx", lambda folder: self.wrong(right(folder), alter))
        with pytest.raises(ExportError, match="sample_mean.* in ONNX Runtime.*" + message):
            tfpvae.export_model(vae, directory)
        assert not directory.exists()

    @pytest.mark.parametrize("loader", ["run_v1", "run_v2"])
    def test_where_the_saved_model_is_wrong(self, loader, vae, directory, monkeypatch, only):
        import tfpvae
        from tfpvae.export import Profile
        from tfpvae.export.targets import saved_model

        only("decode", "sample_mean")
        right = getattr(saved_model, loader)
        alter, message = self.CHANGES["a value off"]

        @contextlib.contextmanager
        def wrong_v1(folder):
            with right(folder) as run:
                yield self.wrong(run, alter)

        wrong = wrong_v1 if loader == "run_v1" else lambda folder: self.wrong(right(folder), alter)
        monkeypatch.setattr(saved_model, loader, wrong)
        with pytest.raises(ExportError, match="sample_mean.*SavedModel.*" + message):
            tfpvae.export_model(vae, directory, profile=Profile(onnx=False))
        assert not directory.exists()

    def test_flipped_draws_are_counted(self, vae, monkeypatch):
        from tfpvae.export.endpoints import endpoints
        from tfpvae.export.parity import check_parity, examples

        present, _ = endpoints(vae)
        made = examples([present["sample"]])

        def flip(count):
            def run(name, inputs):
                value = (
                    next(e for e in made if e.inputs["seed"].shape == inputs["seed"].shape).expected["sample"].copy()
                )
                value.ravel()[:count] = 1 - value.ravel()[:count]
                return {"sample": value}

            return run

        assert check_parity(made, "X", flip(0), 1e-5)[0].difference == 0
        check_parity(made, "X", flip(1), 1e-5)
        with pytest.raises(ExportError, match=r"'sample' of signature 'sample' in X differs"):
            check_parity(made, "X", flip(2), 1e-5)

    def test_a_model_that_has_diverged(self, build_vae, directory):
        import tfpvae

        vae = build_vae()
        vae.decoder.layers[0].kernel.assign(np.full((4, 8), np.nan, np.float32))
        with pytest.raises(ExportError, match="weights are not finite"):
            tfpvae.export_model(vae, directory)
        assert not directory.exists()

    def test_a_model_that_is_none_or_not_built(self, vae, build_vae, directory):
        import keras

        import tfpvae
        from tfpvae import layers

        with pytest.raises(ExportError, match=r"model must be .* such as tfpvae\.VAE\. Received: Sequential"):
            tfpvae.export_model(vae.decoder, directory)
        unbuilt = build_vae(
            encoder=keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(8), layers.MultivariateNormalDiag(4)])
        )
        with pytest.raises(ExportError, match="must be built before it is exported"):
            tfpvae.export_model(unbuilt, directory)
        assert not directory.exists()


class TestVersionsAndProfiles:
    @pytest.mark.parametrize("name", ["my digits", "müller", "x%20y", "q?x", ".hidden"])
    def test_a_name_that_no_client_could_call_is_refused_before_any_work(self, name, vae, tmp_path, only):
        import tfpvae
        from tfpvae.export import Profile

        with pytest.raises(ExportError, match=r"folder, its name on a server, must be letters, digits"):
            tfpvae.export_model(vae, tmp_path / name)
        assert list(tmp_path.iterdir()) == []
        only("decode")  # Without a SavedModel nothing is served.
        assert tfpvae.export_model(vae, tmp_path / name, profile=Profile(saved_model=False)).path.is_dir()

    def test_versions_count_up_and_are_never_overwritten(self, vae, tmp_path, only):
        import tfpvae
        from tfpvae.export import Profile

        only("decode")
        onnx_alone = Profile(saved_model=False)
        steps: list[str] = []
        first = tfpvae.export_model(vae, str(tmp_path / "m"), profile=onnx_alone, progress=steps.append)
        assert first.path == tmp_path / "m" / "1"
        assert "writing decode.onnx" in steps
        assert first.signatures == ()
        assert {p.name for p in first.path.iterdir()} == {ONNX_DIRECTORY, MANIFEST, "MODEL_CARD.md"}
        assert {gap.runtime for gap in first.parity} == {"ONNX Runtime"}

        before = (first.path / MANIFEST).read_bytes()
        with pytest.raises(ExportError, match="1 exists, and versions are never overwritten"):
            tfpvae.export_model(vae, tmp_path / "m", version=1, profile=onnx_alone)
        assert (first.path / MANIFEST).read_bytes() == before
        assert tfpvae.export_model(vae, tmp_path / "m", profile=onnx_alone).path.name == "2"
        assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["1", "2"]

    def test_a_saved_model_alone_beside_a_link_to_nowhere(self, vae, tmp_path, only):
        """Another export's folder, or a link, may vanish while this one looks for its own."""
        import tfpvae
        from tfpvae.export import Profile

        only("decode", "encode")
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "latest").symlink_to(tmp_path / "nowhere")
        export = tfpvae.export_model(vae, tmp_path / "m", version=12, profile=Profile(onnx=False))
        assert export.path == tmp_path / "m" / "12"
        assert export.onnx == ()
        assert export.signatures == ("decode", "encode")
        assert not (export.path / ONNX_DIRECTORY).exists()
        assert (export.path / "assets.extra" / "tf_serving_warmup_requests").is_file()
        manifest = json.loads((export.path / MANIFEST).read_text())
        assert set(manifest["targets"]) == {"saved_model"}

    def test_each_part_can_be_left_out(self, vae, tmp_path, only):
        import tfpvae
        from tfpvae.export import Profile

        only("decode", "sample_mean")
        profile = Profile(onnx=False, warmup=False, model_card=False, samples=False)
        path = tfpvae.export_model(vae, tmp_path / "m", profile=profile).path
        assert not {"assets.extra", "MODEL_CARD.md", "samples.png"} & {p.name for p in path.iterdir()}
        assert json.loads((path / MANIFEST).read_text())["samples"] is None


class TestKerasVerb:
    """`model.export(path)`."""

    @pytest.fixture
    def calls(self, monkeypatch) -> list:
        import tfpvae

        calls: list = []
        monkeypatch.setattr(tfpvae, "export_model", lambda *args, **kwargs: calls.append((*args, kwargs)) or "export")
        return calls

    def test_it_is_export_model(self, vae, tmp_path, only, capsys):
        from tfpvae.export import Export, Profile

        only("decode")
        export = vae.export(str(tmp_path / "m"), verbose=True, profile=Profile(saved_model=False))
        assert isinstance(export, Export)
        assert export.path == tmp_path / "m" / "1"
        assert "writing decode.onnx" in capsys.readouterr().out

    def test_a_path_that_ends_in_a_number_names_the_version(self, vae, tmp_path, calls):
        assert vae.export(tmp_path / "m" / "3") == "export"
        vae.export(tmp_path / "m", about={"epochs": 1})
        vae.export(tmp_path / "7", version=2)
        assert calls == [
            (vae, tmp_path / "m", {"version": 3}),
            (vae, tmp_path / "m", {"about": {"epochs": 1}}),
            (vae, tmp_path / "7", {"version": 2}),
        ]

    def test_what_keras_takes_and_a_version_has_not(self, vae, tmp_path, calls):
        with pytest.raises(ExportError, match=r"format must be \"tf_saved_model\".* Received: format='onnx'"):
            vae.export(tmp_path / "m", format="onnx")
        with pytest.raises(ExportError, match="input_signature must be left out"):
            vae.export(tmp_path / "m", input_signature=[None])
        assert calls == []


class TestOtherModels:
    @pytest.mark.slow
    def test_a_distribution_lambda_has_no_parameters_and_no_samples(self, build_vae, tmp_path):
        import tensorflow as tf
        import tensorflow_probability as tfp

        import tfpvae
        from tfpvae import layers
        from tfpvae.export import Profile

        tfd = tfp.distributions

        def laplace(t):
            return tfd.Independent(tfd.Laplace(tf.reshape(t, [-1, 8, 8, 1]), 1.0), 3)

        vae = build_vae(likelihood=layers.DistributionLambda(laplace))
        export = tfpvae.export_model(vae, tmp_path / "m", profile=Profile(onnx=False))
        manifest = json.loads((export.path / MANIFEST).read_text())
        assert manifest["absent"] == {
            "likelihood": "the distribution has no named parameters",
            "sample": "p(x given z) cannot be drawn from a fixed number of uniforms",
        }
        assert set(export.signatures) == set(ALL) - {"likelihood", "sample"}
        signatures = tf.saved_model.load(str(export.path)).signatures
        assert set(signatures) == {*export.signatures, DEFAULT_SIGNATURE}
        z = np.ones((2, 4), np.float32)
        np.testing.assert_allclose(signatures["decode"](z=tf.constant(z))["mean"], vae.decode(z).mean(), atol=1e-5)

    PRIORS = {  # noqa: RUF012
        "Independent": lambda tfd: tfd.Independent(tfd.Normal(np.float32([1, 2, 3, 4]), 2.0), 1),
        "Sample": lambda tfd: tfd.Sample(tfd.Normal(1.0, 2.0), 4),
        "MultivariateNormalDiag": lambda tfd: tfd.MultivariateNormalDiag(np.float32([1, 2, 3, 4]), np.ones(4, "f")),
        "MultivariateNormalTriL": lambda tfd: tfd.MultivariateNormalTriL(
            np.float32([1, 2, 3, 4]), np.eye(4, dtype=np.float32) + 0.3 * np.tri(4, k=-1, dtype=np.float32)
        ),
    }

    @pytest.mark.parametrize("prior", PRIORS)
    @pytest.mark.slow
    def test_a_prior_of_tfps_is_drawn_in_every_runtime(self, prior, build_vae, tmp_path, only):
        import tensorflow_probability as tfp

        import tfpvae
        from tfpvae.export import Profile
        from tfpvae.export.targets.onnx import run_onnx
        from tfpvae.savedmodel.session import run_v1

        only("sample_latent")
        vae = build_vae(prior=self.PRIORS[prior](tfp.distributions))
        profile = Profile(float16="never", int8="never", warmup=False, model_card=False, samples=False)
        export = tfpvae.export_model(vae, tmp_path / "m", profile=profile)
        assert set(export.onnx) == set(export.signatures) == {"sample_latent"}
        expected = vae.sample_latent(seed=EDGE_SEEDS)
        in_onnx = run_onnx(export.path / ONNX_DIRECTORY)
        with run_v1(export.path) as v1:
            for run in (v1, in_onnx):
                np.testing.assert_allclose(run("sample_latent", {"seed": EDGE_SEEDS})["z"], expected, atol=1e-5)

    @pytest.mark.slow
    def test_a_gaussian_likelihood_and_a_full_covariance(self, build_vae, tmp_path, only):
        import tfpvae
        from tfpvae import layers
        from tfpvae.export import Profile
        from tfpvae.export.targets.onnx import run_onnx
        from tfpvae.savedmodel.session import run_v1

        only("decode", "sample", "encode")
        vae = build_vae(posterior=layers.MultivariateNormalTriL(4), likelihood=layers.IndependentNormal((8, 8, 1)))
        export = tfpvae.export_model(vae, tmp_path / "m", profile=Profile(float16="never", int8="never"))
        manifest = json.loads((export.path / MANIFEST).read_text())
        assert set(export.onnx) | set(manifest["targets"]["onnx"]["left_out"]) == set(export.signatures)
        assert {"decode", "sample"} <= set(export.onnx)
        in_onnx = run_onnx(export.path / ONNX_DIRECTORY)
        expected = vae.sample(seed=EDGE_SEEDS)
        x = np.zeros([2, 8, 8, 1], np.float32)
        with run_v1(export.path) as v1:
            for run in (v1, in_onnx):
                np.testing.assert_allclose(run("sample", {"seed": EDGE_SEEDS})["sample"], expected, atol=1e-4)
            q = v1("encode", {"x": x})
        assert set(q) == {"loc", "scale_tril"}
        np.testing.assert_allclose(q["scale_tril"], vae.encode(x).named_parameters["scale_tril"], atol=1e-5)

    @pytest.mark.slow
    def test_a_prior_that_is_no_gaussian_leaves_the_decoder(self, build_vae, tmp_path, monkeypatch):
        import tensorflow as tf
        import tensorflow_probability as tfp

        import tfpvae
        from tfpvae.export import Profile
        from tfpvae.layers import kl

        tfd = tfp.distributions
        monkeypatch.setattr(kl, "_warned", {("MultivariateNormalDiag", "Independent(Laplace)")})
        vae = build_vae(prior=tfd.Independent(tfd.Laplace(tf.zeros(4), 1.0), 1))
        export = tfpvae.export_model(vae, tmp_path / "m", profile=Profile(onnx=False))
        assert set(export.signatures) == {"decode", "likelihood", "encode", "reconstruct", "score"}
        absent = json.loads((export.path / MANIFEST).read_text())["absent"]
        assert set(absent) == {"sample_latent", "sample_mean", "sample", "sample_png"}
        assert set(absent.values()) == {"the prior cannot be drawn from a fixed number of uniforms"}

    @pytest.mark.slow
    def test_the_export_of_a_loaded_model_is_that_of_the_model(self, vae, exported, tmp_path, only):
        import keras
        import tensorflow as tf

        import tfpvae
        from tfpvae.export import Profile

        only("decode", "sample")
        vae.save(tmp_path / "vae.keras")
        loaded = keras.models.load_model(tmp_path / "vae.keras")
        export = tfpvae.export_model(loaded, tmp_path / "m", profile=Profile(onnx=False))
        a, b = (tf.saved_model.load(str(path)).signatures for path in (exported.path, export.path))
        seeds = tf.constant(EDGE_SEEDS)
        np.testing.assert_array_equal(a["sample"](seed=seeds)["sample"], b["sample"](seed=seeds)["sample"])
