"""The lint: a SavedModel for every fault, and none where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfpvae.errors import ExportError

CONTRACT = Path(__file__).parents[1] / "contract"


def specimens() -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """A function and its inputs for each fault; TensorFlow is loaded here, not when tests are collected."""
    import tensorflow as tf

    rows = [tf.TensorSpec([None, 2], tf.float32, name="x")]

    def reads(x):
        return {"y": x + tf.ensure_shape(tf.io.parse_tensor(tf.io.read_file("/etc/hostname"), tf.float32), [2])}

    def in_a_branch(x):
        return {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: x + tf.random.normal(tf.shape(x)), lambda: x)}

    def in_a_loop(x):
        return {"y": tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v + tf.random.uniform([])), (0, x))[1]}

    def python(x):
        y = tf.numpy_function(lambda a: a * 2, [x], tf.float32)
        return {"y": tf.ensure_shape(y, [None, 2])}

    def eager_python(x):
        return {"y": tf.ensure_shape(tf.py_function(lambda a: a * 2, [x], tf.float32), [None, 2])}

    def writes(x):
        with tf.control_dependencies([tf.io.write_file("/tmp/never", "text")]):
            return {"y": x * 2.0}

    def prints(x):
        with tf.control_dependencies([tf.print(x, output_stream="file:///tmp/never")]):
            return {"y": x * 2.0}

    compiled = tf.function(lambda x: x * 3.0, jit_compile=True)
    scalar = tf.TensorSpec([], tf.int32, name="n")
    return {
        "scalar input": (lambda x, n: {"y": x * tf.cast(n, tf.float32)}, [*rows, scalar]),
        "scalar output": (lambda x: {"y": tf.reduce_sum(x)}, rows),
        "fixed batch": (lambda x: {"y": x * 2.0}, [tf.TensorSpec([3, 2], tf.float32, name="x")]),
        "output with other rows": (lambda x: {"y": tf.reduce_sum(x, axis=0)}, rows),
        "unknown rank": (lambda x: {"y": x * 2.0}, [tf.TensorSpec(None, tf.float32, name="x")]),
        "no inputs": (lambda: {"y": tf.zeros([2, 2])}, []),
        "float16 output": (lambda x: {"y": tf.cast(x, tf.float16)}, rows),
        "PyFunc": (python, rows),
        "EagerPyFunc": (eager_python, rows),
        "ReadFile": (reads, rows),
        "WriteFile": (writes, rows),
        "PrintV2": (prints, rows),
        "RandomStandardNormal": (lambda x: {"y": x + tf.random.normal(tf.shape(x))}, rows),
        "random in a branch": (in_a_branch, rows),
        "random in a loop": (in_a_loop, rows),
        "jit_compile": (lambda x: {"y": compiled(x)}, rows),
        "none": (lambda x: {"y": tf.random.stateless_normal([2], tf.cast(x[0], tf.int32)) + x}, rows),
    }


EXPECTED = {
    "scalar input": {("warning", "scalar-input", "n")},
    "scalar output": {("warning", "no-batch-axis", "y")},
    # Its output's rows are as fixed as its input's.
    "fixed batch": {("warning", "fixed-batch", "x"), ("warning", "no-batch-axis", "y")},
    "output with other rows": {("warning", "no-batch-axis", "y")},
    "unknown rank": {("warning", "unknown-rank", "x"), ("warning", "unknown-rank", "y")},
    "no inputs": {("warning", "no-inputs", None), ("warning", "no-batch-axis", "y")},
    "float16 output": {("warning", "output-dtype", "y")},
    "PyFunc": {("error", "python", "PyFunc")},
    "EagerPyFunc": {("error", "python", "EagerPyFunc")},
    "ReadFile": {("error", "files", "ReadFile")},
    "WriteFile": {("error", "files", "WriteFile")},
    "PrintV2": {("error", "files", "PrintV2")},
    "RandomStandardNormal": {("warning", "stateful-random", "RandomStandardNormal")},
    "random in a branch": {("warning", "stateful-random", "RandomStandardNormal")},
    "random in a loop": {("warning", "stateful-random", "RandomUniform")},
    "jit_compile": {("error", "xla", "PartitionedCall")},
    "none": set(),
}
"""Severity, rule and operator, input or output of every finding, by specimen."""

BATCHES = {"float16 output", "RandomStandardNormal", "random in a branch", "random in a loop", "none"}


@pytest.fixture(scope="module")
def save(tmp_path_factory) -> Callable[..., Path]:
    """`save(function, specs, ...)`: a SavedModel with the function as `serving_default`."""
    import tensorflow as tf

    def save(function: Callable[..., Any], specs: list[Any], **attributes: Any) -> Path:
        module = tf.Module()
        for name, value in attributes.items():
            setattr(module, name, value)
        module.function = tf.function(function, input_signature=specs, autograph=False)
        path = tmp_path_factory.mktemp("saved") / "1"
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.function})
        return path

    return save


@pytest.fixture(scope="module")
def scale(save) -> Path:
    """A SavedModel without a fault, with two variables."""
    import tensorflow as tf

    w, b = tf.Variable([[1.0, 2.0], [3.0, 4.0]]), tf.Variable([5.0, 6.0])
    return save(lambda x: {"y": x @ w + b}, [tf.TensorSpec([None, 2], tf.float32, name="x")], w=w, b=b)


@pytest.fixture
def copied(scale, tmp_path) -> Path:
    return Path(shutil.copytree(scale, tmp_path / "1"))


def edit(directory: Path, change: Callable[[Any], None]) -> None:
    """Changes the meta graph of a SavedModel."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = directory / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(saved_model.meta_graphs[0])
    path.write_bytes(saved_model.SerializeToString())


def found(directory: Path) -> set[tuple[str, str, str | None]]:
    from tfpvae.savedmodel.lint import lint

    return {(str(finding.severity), finding.rule, finding.op) for finding in lint(directory)}


class TestFaults:
    @pytest.mark.parametrize("name", EXPECTED)
    def test_each_is_found_and_no_other(self, name, save):
        from tfpvae.savedmodel.lint import batching, lint

        path = save(*specimens()[name])
        assert found(path) == EXPECTED[name]
        for finding in lint(path):
            assert finding.signature == "serving_default"
            assert finding.text.endswith(".")
            assert finding.advice.endswith(".")
        reasons = batching(path)
        assert set(reasons) == {"serving_default"}
        assert (reasons["serving_default"] is None) == (name in BATCHES)

    def test_every_specimen_has_its_expectation(self):
        assert set(specimens()) == set(EXPECTED)

    def test_an_operator_names_its_place(self, save):
        from tfpvae.savedmodel.lint import lint

        (finding,) = lint(save(*specimens()["random in a branch"]))
        assert "cond_true" in finding.text
        assert "tf.random.stateless_" in finding.advice

    def test_a_variable_that_a_signature_changes(self, save):
        import tensorflow as tf

        counter = tf.Variable(0.0)
        path = save(
            lambda x: {"y": x + counter.assign_add(1.0)}, [tf.TensorSpec([None], tf.float32, name="x")], counter=counter
        )
        assert found(path) == {("warning", "writes-state", "AssignVariableOp")}

    def test_a_generators_state(self, save):
        import tensorflow as tf

        generator = tf.random.Generator.from_seed(1)
        path = save(
            lambda x: {"y": x + generator.normal(tf.shape(x))},
            [tf.TensorSpec([None], tf.float32, name="x")],
            generator=generator,
        )
        assert ("warning", "stateful-random", "RngReadAndSkip") in found(path)

    def test_python_that_no_signature_calls(self, save, tmp_path):
        """Loaded in Python, another function of the object could be called."""
        import tensorflow as tf

        module = tf.Module()
        spec = [tf.TensorSpec([None, 2], tf.float32, name="x")]
        module.good = tf.function(lambda x: {"y": x * 2.0}, input_signature=spec)
        module.bad = tf.function(specimens()["PyFunc"][0], input_signature=spec, autograph=False)
        tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.good})
        assert found(tmp_path / "1") == {("warning", "python", "PyFunc")}

    def test_a_vocabulary_is_an_asset(self, tmp_path):
        import tensorflow as tf

        (tmp_path / "words.txt").write_text("a\nb\n")
        module = tf.Module()
        module.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(tmp_path / "words.txt"),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            -1,
        )
        module.function = tf.function(
            lambda word: {"id": module.table.lookup(word)},
            input_signature=[tf.TensorSpec([None], tf.string, name="word")],
        )
        path = tmp_path / "1"
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.function})
        assert found(path) == set()
        (path / "assets" / "words.txt").unlink()
        assert found(path) == {("error", "assets", None)}
        edit(path, lambda graph: setattr(graph.asset_file_def[0], "filename", "../../words.txt"))
        (finding,) = _errors(path)
        assert "outside the version" in finding.text

    def test_an_unknown_operator(self, copied):
        def change(graph):
            function = next(f for f in graph.graph_def.library.function if any(n.op == "MatMul" for n in f.node_def))
            next(node for node in function.node_def if node.op == "MatMul").op = "MyMatMul"

        edit(copied, change)
        assert found(copied) == {("error", "unknown-op", "MyMatMul")}

    def test_errors_come_first_and_repeated_operators_are_counted(self, save):
        import tensorflow as tf

        from tfpvae.savedmodel.lint import lint

        def function(x):
            y = tf.numpy_function(lambda a: a, [x + tf.random.normal([2]) + tf.random.normal([2])], tf.float32)
            return {"y": tf.ensure_shape(y, [3, 2])}

        findings = lint(save(function, [tf.TensorSpec([3, 2], tf.float32, name="x")]))
        assert [finding.rule for finding in findings] == ["python", "fixed-batch", "no-batch-axis", "stateful-random"]
        assert "more" not in findings[0].text
        assert findings[-1].text.endswith(" and 1 more).")

    def test_three_names_are_listed_and_the_others_counted(self, save):
        import tensorflow as tf

        from tfpvae.savedmodel.lint import lint

        def add(*weights):
            return lambda x: {"y": x * tf.add_n(list(weights))}

        weights = [tf.Variable(float(number), name=f"w{number}") for number in range(5)]
        spec = [tf.TensorSpec([None], tf.float32, name="x")]
        texts = []
        for used in (weights[:3], weights):
            path = save(add(*used), spec, used=used)
            (path / "variables" / "variables.index").unlink()
            (finding,) = lint(path)
            texts.append(finding.text)
        assert "more" not in texts[0]
        assert "'w0', 'w1', 'w2' and 2 more" in texts[1]

    def test_a_dtype_that_is_none(self, copied):
        edit(copied, lambda graph: setattr(graph.signature_def["serving_default"].outputs["y"], "dtype", 9999))
        found(copied)  # No exception.

    def test_a_file_read_at_load(self, copied):
        def change(graph):
            graph.graph_def.node.add(name="path", op="Const")
            graph.graph_def.node.add(name="secret", op="ReadFile", input=["path"])
            next(node for node in graph.graph_def.node if node.name == "NoOp").input.append("^secret")

        edit(copied, change)
        (finding,) = _errors(copied)
        assert (finding.rule, finding.op, finding.signature) == ("files", "ReadFile", None)
        assert finding.text.startswith("At load, ")


def _errors(directory: Path) -> list[Any]:
    from tfpvae.savedmodel.lint import Severity, lint

    return [finding for finding in lint(directory) if finding.severity is Severity.ERROR]


class TestVariables:
    def test_none_is_lost_in_a_plain_export_of_variables(self, scale):
        assert found(scale) == set()

    def test_keras_layers_saved_plainly_lose_theirs(self, save):
        """The lint and the v1 loader, which is TensorFlow Serving's, say the same."""
        import keras
        import tensorflow as tf

        from tfpvae.savedmodel.lint import batching, lint
        from tfpvae.savedmodel.session import run_v1

        layer = keras.layers.Dense(2, name="lost")
        layer.build([None, 2])
        spec = [tf.TensorSpec([None, 2], tf.float32, name="x")]
        naive = save(lambda x: {"y": layer(x)}, spec, layer=layer)
        (finding,) = lint(naive)
        assert (finding.severity, finding.rule) == ("error", "not-restored")
        assert "'lost/kernel'" in finding.text
        assert "ExportArchive" in finding.advice
        assert batching(naive)["serving_default"] == finding.text
        x = np.ones([1, 2], np.float32)
        with run_v1(naive) as run, pytest.raises(tf.errors.FailedPreconditionError, match="Could not find variable"):
            run("serving_default", {"x": x})

        tracked = save(lambda x: {"y": layer(x)}, spec, layer=layer, variables_=[v.value for v in layer.variables])
        assert found(tracked) == set()
        with run_v1(tracked) as run:
            np.testing.assert_allclose(run("serving_default", {"x": x})["y"], layer(x), rtol=1e-6)

    def test_variables_in_nested_functions_and_branches_are_followed(self, save):
        import tensorflow as tf

        a, b, unused = tf.Variable(1.0), tf.Variable(2.0), tf.Variable(3.0)
        inner = tf.function(lambda x: tf.cond(tf.size(x) > 3, lambda: x * a, lambda: x * b))
        path = save(
            lambda x: {"y": tf.while_loop(lambda i, _: i < 2, lambda i, v: (i + 1, inner(v)), (0, x))[1]},
            [tf.TensorSpec([None], tf.float32, name="x")],
            a=a,
            b=b,
            unused=unused,
        )
        from tfpvae.savedmodel.graph import SavedGraph

        graph = SavedGraph.read(path)
        outputs = [info.name for info in graph.signatures["serving_default"].outputs.values()]
        restored = graph.access(graph.restore).written
        assert len(restored) == 3
        assert len(graph.access(outputs).read) == 2
        assert graph.access(outputs).read < restored
        assert found(path) == set()

    def test_without_its_checkpoint_nothing_is_restored(self, copied):
        (copied / "variables" / "variables.index").unlink()
        assert found(copied) == {("error", "not-restored", "ReadVariableOp")}

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: data[:-1],
            lambda data: data[:23],  # The two variables are 24 bytes.
            lambda data: bytes([data[0] ^ 1]) + data[1:],
            lambda data: b"",
        ],
        ids=["shorter", "shorter than its values", "one bit", "empty"],
    )
    @pytest.mark.parametrize("file", ["variables.index", "variables.data-00000-of-00001"])
    def test_a_damaged_checkpoint(self, damage, file, copied):
        path = copied / "variables" / file
        path.write_bytes(damage(path.read_bytes()))
        (finding,) = [finding for finding in _errors(copied) if finding.rule == "checkpoint"]
        shorter = file != "variables.index" and path.stat().st_size < 24
        assert ("shorter than what they must hold" in finding.text) == shorter

    def test_a_checkpoint_of_another_model(self, copied, save):
        import tensorflow as tf

        v = tf.Variable([1.0])
        other = save(lambda x: {"y": x * v}, [tf.TensorSpec([None], tf.float32, name="x")], v=v)
        shutil.rmtree(copied / "variables")
        shutil.copytree(other / "variables", copied / "variables")
        (finding,) = _errors(copied)
        assert (finding.rule, finding.op) == ("checkpoint", "RestoreV2")
        assert "lack values" in finding.text


class TestOperatorFamilies:
    """The patterns against the operators that TensorFlow has."""

    @pytest.mark.parametrize(
        ("kind", "bad", "good"),
        [
            (
                "_FILES",
                ["ReadFile", "WriteFile", "TFRecordDatasetV2", "SaveV2", "RestoreV2", "InitializeTableFromTextFileV2",
                 "WholeFileReaderV2", "LoadDataset", "CreateSummaryFileWriter", "ImmutableConst", "SnapshotDatasetV2"],
                ["InitializeTableV2", "DecodePng", "DecodeCSV", "Snapshot", "PrintV2", "TensorDataset"],
            ),
            (
                "_RANDOM",
                ["RandomUniform", "RandomStandardNormal", "TruncatedNormal", "Multinomial", "RandomShuffle",
                 "RngReadAndSkip", "StatefulUniformInt", "NonDeterministicInts", "RandomPoissonV2", "ShuffleDatasetV3"],
                ["RandomGammaGrad", "RandomIndexShuffle", "StatefulPartitionedCall", "RGBToHSV"],
            ),
            ("_PYTHON", ["PyFunc", "PyFuncStateless", "EagerPyFunc"], ["PartitionedCall"]),
        ],
    )  # fmt: skip
    def test_names(self, kind, bad, good):
        import tensorflow as tf

        from tfpvae.savedmodel import lint

        names = getattr(lint, kind).names
        for op in [*bad, *good]:
            assert hasattr(tf.raw_ops, op), op
        assert [op for op in [*bad, *good] if names.search(op)] == bad
        assert not [op for op in dir(tf.raw_ops) if op.startswith("Stateless") and names.search(op)]


class TestFilesThatAreNone:
    def test_no_saved_model(self, tmp_path):
        from tfpvae.savedmodel.lint import lint

        with pytest.raises(ExportError, match=r"saved_model\.pb cannot be read"):
            lint(tmp_path)

    def test_no_graph_for_a_server(self, copied):
        from tfpvae.savedmodel.lint import lint

        edit(copied, lambda graph: graph.meta_info_def.tags.append("gpu"))
        with pytest.raises(ExportError, match=r"tag 'serve' alone. Received: tags=\[\['gpu', 'serve'\]\]"):
            lint(copied)

    def test_a_signature_of_something_else(self, copied):
        edit(copied, lambda graph: setattr(graph.signature_def["serving_default"].outputs["y"], "name", "nothing:0"))
        assert ("error", "damaged", None) in found(copied)

    def test_damage_anywhere_is_an_error_or_a_finding_and_no_crash(self, copied):
        from tfpvae.savedmodel.lint import lint

        path = copied / "saved_model.pb"
        whole = path.read_bytes()
        rng = np.random.default_rng(0)
        unreadable = 0
        for position in rng.integers(0, len(whole), 150):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            try:
                lint(copied)
            except ExportError:
                unreadable += 1
        assert 0 < unreadable < 150


class TestRealModels:
    def test_an_export_by_tfpvae_has_no_fault(self, exported):
        from tfpvae.savedmodel.lint import batching, lint
        from tfpvae.signatures import DEFAULT_SIGNATURE

        assert lint(exported.path) == []
        assert batching(str(exported.path)) == dict.fromkeys([*exported.signatures, DEFAULT_SIGNATURE])

    def test_the_naive_one_is_refused_with_the_reason(self):
        from tfpvae.savedmodel.lint import Severity, lint

        lost = [f for f in lint(CONTRACT / "models" / "naive" / "1") if f.rule == "not-restored"]
        assert {f.signature for f in lost} == {
            "serving_default", "decode", "decode_jit", "encode", "sample", "sample_png"
        }  # fmt: skip
        for finding in lost:
            assert finding.severity is Severity.ERROR
            assert "Could not find variable" in finding.text
            assert "ExportArchive" in finding.advice

    def test_the_demo_loses_no_variable(self):
        from tfpvae.savedmodel.lint import lint

        demo = lint(CONTRACT / "models" / "demo" / "1")
        assert [(f.rule, f.signature) for f in demo if f.severity == "error"] == [("xla", "decode_jit")]
        assert {(f.rule, f.signature, f.op) for f in demo if f.severity == "warning"} == {
            ("scalar-input", "sample", "n"), ("fixed-batch", "sample", "seed"),
            ("scalar-input", "sample_png", "n"), ("fixed-batch", "sample_png", "seed"),
            ("no-batch-axis", "total", "sum"), ("output-dtype", "half", "h"),
        }  # fmt: skip

    def test_batching_is_what_tensorflow_serving_answered(self):
        """Which signatures a real server with batching answered, and which it refused for being batched."""
        from tfpvae.savedmodel.lint import batching

        survived: dict[str, bool] = {}
        for line in (CONTRACT / "batching.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            name = json.loads(record["request_body"]).get("signature_name", "serving_default")
            if record["status"] == 200:
                survived[name] = True
            elif "at least one dimension" in record["response_body"] or "has 0 dim" in record["response_body"]:
                survived[name] = False
        assert set(survived.values()) == {True, False}
        reasons = batching(CONTRACT / "models" / "demo" / "1")
        assert {name: reasons[name] is None for name in survived} == survived
        # What the recorded server served in a batch of one request is served in larger ones too.
        for name in ("decode", "serving_default", "encode", "types", "logs", "sample_rows"):
            assert reasons[name] is None, name
