"""The model card: every command and call in it is run, and all of them give the same numbers."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from tfpvae.errors import ExportError
from tfpvae.manifest import MANIFEST, read_manifest

CARD, SAMPLES = "MODEL_CARD.md", "samples.png"
TILE = 60
"""Pixels from one 8x8 image to the next in a grid: 7 for each pixel, and a gap of 4."""


def sections(text: str) -> dict[str, str]:
    """The card's parts by their headings."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def table(text: str) -> dict[str, tuple[str, ...]]:
    """The rows of the first table, without its header, by their first cell."""
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines() if line[:1] == "|"]
    assert len({len(row) for row in rows}) == 1
    return {row[0]: row[1:] for row in rows[2:]}


def posted(command: str) -> tuple[str, bytes]:
    """The path and the body that a curl command of the card sends."""
    *made, sent = command.strip().split(" |\n")
    curl, flag, body, url = shlex.split(sent)
    assert (curl, flag) == ("curl", "-d")
    if made:
        python, flag, code = shlex.split(made[0])
        assert (python, flag, body) == ("python3", "-c", "@-")
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(code, {})
        body = output.getvalue()
    assert url.startswith("http://localhost:8501/")
    return url.removeprefix("http://localhost:8501"), body.encode()


def values(answer) -> list[np.ndarray]:
    """The outputs of any of the calls, in the order of their names."""
    if isinstance(answer, dict):
        return [np.asarray(value) for _, value in sorted(answer.items())]
    return [np.asarray(answer)]


def predictions(body: bytes) -> list[np.ndarray]:
    """The same of an answer over HTTP."""
    rows = json.loads(body)["predictions"]
    if not isinstance(rows[0], dict):
        return [np.asarray(rows)]
    if rows[0].keys() == {"b64"}:
        return [np.asarray([base64.b64decode(row["b64"]) for row in rows])]
    return [np.asarray([row[name] for row in rows]) for name in sorted(rows[0])]


def run_all(path, monkeypatch) -> dict[str, list[list[np.ndarray]]]:
    """Runs all code of a version's card: what each call of a signature gave, by signature."""
    import httpx

    from tfpvae.client import Client
    from tfpvae.server.handler import Handler
    from tfpvae.server.repository import Repository

    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    parts = sections((path / CARD).read_text(encoding="utf-8"))
    monkeypatch.chdir(path)
    names: dict = {}
    exec(blocks(parts["How to call it"], "python")[0], names)
    handler = None
    if "saved_model" in manifest["targets"]:
        handler = Handler(Repository(path.parents[1]))

        def answer(request: httpx.Request) -> httpx.Response:
            given = handler.answer(request.method, request.url.path, request.content)
            return httpx.Response(given.status, headers=given.headers, content=given.body)

        with names["client"] as shown:
            names["client"] = Client(shown.url, shown.model, transport=httpx.MockTransport(answer))
    results = {}
    for name in manifest["signatures"]:
        calls = "".join(blocks(parts[name], "python")).splitlines()
        results[name] = [values(eval(call, names)) for call in calls]
        for command in blocks(parts[name], "sh"):
            given = handler.answer("POST", *posted(command))
            assert given.status == 200, given.body
            results[name].append(predictions(given.body))
    if "client" in names:
        names["client"].close()
    return results


def agree(results: dict[str, list[list[np.ndarray]]]) -> None:
    for name, each in results.items():
        for other in each[1:]:
            for a, b in zip(each[0], other, strict=True):
                assert len(a) == 2
                if a.dtype.kind in "SO":
                    pixels = [np.asarray(Image.open(io.BytesIO(file)), float) for file in (*a, *b)]
                    np.testing.assert_allclose(pixels[:2], pixels[2:], atol=1.01)
                else:
                    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4, err_msg=name)


class TestOfAVae:
    def test_all_of_its_code_runs_and_agrees(self, exported, vae, monkeypatch):
        results = run_all(exported.path, monkeypatch)
        agree(results)
        for name, each in results.items():
            # HTTP by the client and by curl; ONNX Runtime through tfpvae and alone.
            assert len(each) == (3 if name == "sample_png" else 4 if name in exported.onnx else 2), name
        np.testing.assert_allclose(results["sample_mean"][0][0], vae.sample_mean(2, seed=7), atol=1e-5)
        np.testing.assert_allclose(results["decode"][0][0], vae.decode(np.zeros((2, 4))).mean(), atol=1e-5)
        score = vae.score(np.zeros((2, 8, 8, 1)), seed=7)
        for got, name in zip(results["score"][0], sorted(score), strict=True):
            np.testing.assert_allclose(got, score[name], rtol=1e-4)

    def test_what_it_says(self, exported, vae):
        text = (exported.path / CARD).read_text(encoding="utf-8")
        parts = sections(text)
        what = table(parts["What it is"])
        assert text.startswith("# digits\n\nA variational autoencoder (`tfpvae.VAE`), exported by tfpvae ")
        assert what["Class"] == (f"`VAE`, {sum(w.numpy().size for w in vae.weights):,} weights",)
        assert what["Data x"] == ("float32 `[B, 8, 8, 1]`, pixels in [0, 1]",)
        assert what["Latents z"] == ("float32 `[B, 4]`",)
        assert what["Prior p(z)"] == ("`StandardNormal`",)
        assert what["Likelihood p(x given z)"] == ("`IndependentBernoulli`",)
        assert what["Trained to maximise"] == ("Elbo(beta=1.0)",)
        assert "Condition y" not in what
        assert parts["How it was trained and evaluated"].count("Nothing was said at the export") == 2
        assert "threefry2x32-20/v1" in parts["Seeds"]
        assert "What it lacks" not in parts
        assert "Gives E[x given z]." in parts["decode"]
        assert "Not in `onnx/`: PNG has no ONNX form" in parts["sample_png"]
        compared = parts["Does it compute what the model in Keras computes?"]
        assert {gap.runtime for gap in exported.parity} == {"SavedModel", "SavedModel (v1)", "ONNX Runtime"}
        for gap in exported.parity:
            assert f"{gap.difference:.1e} of {gap.allowed:.1e}" in compared

    def test_without_a_mean_there_is_no_default(self, exported):
        from tfpvae.export.card import model_card

        manifest = read_manifest(exported.path)
        assert "serving_default" in model_card(manifest, "digits")
        without = ("decode", "sample_mean", "sample_png", "reconstruct")
        kept = {name: each for name, each in manifest.signatures.items() if name not in without}
        absent = dict.fromkeys(without, "p(x given z) has no finite mean in closed form")
        text = model_card(dataclasses.replace(manifest, signatures=kept, absent=absent, samples=None), "digits")
        assert "serving_default" not in text
        assert SAMPLES not in text
        parts = sections(text)
        assert table(parts["What it lacks"])["`decode`"] == ("p(x given z) has no finite mean in closed form",)
        assert "decode" not in parts

    def test_the_manifest_says_the_same(self, exported):
        manifest = json.loads((exported.path / MANIFEST).read_text())
        assert manifest["class"] == "VAE"
        assert manifest["objective"] == {"class": "Elbo", "beta": 1.0}
        assert manifest["data_range"] == [0.0, 1.0]
        assert manifest["metrics"] == manifest["about"] == {}
        assert manifest["signatures"]["encode"]["outputs"] == {
            "loc": {"dtype": "float32", "shape": [None, 4]},
            "scale": {"dtype": "float32", "shape": [None, 4]},
        }
        assert manifest["signatures"]["sample_png"]["outputs"] == {"image_bytes": {"dtype": "string", "shape": [None]}}
        assert {CARD, SAMPLES, "assets.extra/tf_serving_warmup_requests"} <= set(manifest["files"])

    def test_the_grid_is_the_means_of_the_seeds_0_to_63(self, exported, vae):
        picture = np.asarray(Image.open(exported.path / SAMPLES))
        assert picture.shape == (8 * TILE + 4, 8 * TILE + 4)
        pixels = vae.sample_mean(64, seed=0).numpy()[..., 0]
        for i in range(64):
            top, left = 4 + i // 8 * TILE, 4 + i % 8 * TILE
            tile = picture[top + 3 : top + 56 : 7, left + 3 : left + 56 : 7] / 255
            np.testing.assert_allclose(tile, pixels[i], atol=0.51 / 255)
        assert json.loads((exported.path / MANIFEST).read_text())["samples"] == {"seeds": [0, 63], "y": None}


class TestOfOtherModels:
    @pytest.mark.slow
    def test_labels(self, build_conditional, tmp_path, monkeypatch, only):
        import tfpvae

        only("decode", "sample_mean", "encode")
        model = build_conditional()
        export = tfpvae.export_model(model, tmp_path / "labelled")
        results = run_all(export.path, monkeypatch)
        agree(results)
        assert {name: len(each) for name, each in results.items()} == {"decode": 4, "sample_mean": 4, "encode": 4}
        z, y = np.zeros((2, 4)), np.array([0, 1])
        np.testing.assert_allclose(results["decode"][0][0], model.decode(z, y).mean(), atol=1e-5)
        assert np.abs(results["decode"][0][0][0] - results["decode"][0][0][1]).max() > 1e-3  # Labels 0 and 1.

        parts = sections((export.path / CARD).read_text())
        what = table(parts["What it is"])
        assert what["Condition y"] == ("int64 `[B]`: labels from 0 to 9",)
        assert "Likelihood p(x given z, y)" in what
        assert "edge.sample_mean(2, seed=7, y=y)" in parts["sample_mean"]
        assert "Gives E[x given z, y]." in parts["decode"]
        assert "Gives decode(sample_latent(seed), y)." in parts["sample_mean"]
        assert "`sample_mean` of the seeds 0 to 63, y = seed mod 10, row by row." in parts["labelled"]
        # Ten columns, one for each label.
        picture = np.asarray(Image.open(export.path / SAMPLES))
        assert picture.shape == (7 * TILE + 4, 10 * TILE + 4)
        tile = picture[4 + TILE + 3 : 4 + TILE + 56 : 7, 4 + 2 * TILE + 3 : 4 + 2 * TILE + 56 : 7] / 255
        np.testing.assert_allclose(tile, model.sample_mean(seed=[12], y=2)[0, ..., 0], atol=0.51 / 255)

    @pytest.mark.slow
    def test_without_latents(self, tmp_path, monkeypatch):
        import keras

        import tfpvae
        from tfpvae import layers

        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), layers.IndependentNormal([2])])
        model = tfpvae.ConditionalDensity(network)
        export = model.export(tmp_path / "density", about={"data": "a | b"}, metrics={"loss": np.float32(1.5)})
        results = run_all(export.path, monkeypatch)
        agree(results)
        assert {name: len(each) for name, each in results.items()} == {"decode": 4, "likelihood": 4, "sample": 4}
        np.testing.assert_allclose(results["sample"][0][0], model.sample(np.zeros((2, 3)), seed=7), atol=1e-5)

        assert not (export.path / SAMPLES).exists()
        parts = sections((export.path / CARD).read_text())
        assert SAMPLES not in parts["density"]
        assert "A density p(y given x) without latents" in parts["density"]
        what = table(parts["What it is"])
        assert what["Input x"] == ("float32 `[B, 3]`",)
        assert what["Data y"] == ("float32 `[B, 2]`, any numbers",)
        assert "Likelihood p(y given x)" in what
        assert what["Trained to maximise"] == ("log_likelihood",)
        assert not {"Latents z", "Prior p(z)", "Condition y"} & set(what)
        assert "| data | a &#124; b |" in parts["How it was trained and evaluated"]
        assert "| `loss` | 1.5 |" in parts["How it was trained and evaluated"]
        assert table(parts["What it lacks"])["`encode`"] == ("the model has no latents",)

    @pytest.mark.slow
    def test_data_that_zero_is_none_of(self, build_vae, tmp_path, monkeypatch, only):
        """The density at the examples' x must be finite: JSON has no infinity."""
        import tfpvae
        from tfpvae import layers
        from tfpvae.export import Profile

        only("decode", "score")
        model = build_vae(likelihood=layers.IndependentGamma((8, 8, 1)))
        export = tfpvae.export_model(model, tmp_path / "m", profile=Profile(onnx=False))
        results = run_all(export.path, monkeypatch)
        agree(results)
        assert np.isfinite(results["score"][0]).all()
        expected = model.score(np.full((2, 8, 8, 1), 0.5), seed=7)["elbo"]
        np.testing.assert_allclose(results["score"][0][0], expected, rtol=1e-4)
        what = table(sections((export.path / CARD).read_text())["What it is"])
        assert what["Data x"] == ("float32 `[B, 8, 8, 1]`, pixels above 0",)

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["hierarchical", "two-stage"])
    def test_several_latents_and_graphs_alone(self, kind, build_vae, tmp_path, monkeypatch, only):
        """Of ONNX graphs alone there is nothing over HTTP, and no warm-up."""
        import keras

        import tfpvae
        from tfpvae import layers, objectives, schedules
        from tfpvae.export import Profile

        def network(given, last):
            return keras.Model(given, last(keras.layers.Dense(64)(keras.layers.Flatten()(given))))

        def gaussian(given, size):
            rows = keras.layers.Dense(2 * size)(keras.layers.Flatten()(given))
            return keras.Model(given, layers.MultivariateNormalDiag(size)(rows))

        if kind == "hierarchical":
            x, z1, z2 = keras.Input((8, 8, 1), name="x"), keras.Input((4,), name="z1"), keras.Input((3,), name="z2")
            model = tfpvae.HierarchicalVAE(
                {"z1": gaussian(x, 4), "z2": gaussian(z1, 3)},
                {"z1": gaussian(z2, 4)},
                network(z1, layers.IndependentBernoulli((8, 8, 1))),
                objective=objectives.Iwae(5, beta=schedules.KLWarmUp(100)),
            )
            latents, prior = "z2 (3), then z1 (4)", "`StandardNormal` of z2; networks for p(z1 given what is above it)"
            objective = "Iwae(k=5, beta=KLWarmUp(steps=100, start=0.0, end=1.0))"
        else:
            model = tfpvae.TwoStageVAE(
                build_vae(), tfpvae.VAE(gaussian(keras.Input((4,)), 3), gaussian(keras.Input((3,)), 4))
            )
            latents, prior = "u (3), then z (4)", "`StandardNormal` of u; networks for p(z given what is above it)"
            objective = "Elbo(beta=1.0) of the first stage, Elbo(beta=1.0) of the second"
        only("decode", "encode")
        export = tfpvae.export_model(model, tmp_path / "m", profile=Profile(saved_model=False, samples=False))
        assert {path.name for path in export.path.iterdir()} == {CARD, MANIFEST, "onnx"}
        results = run_all(export.path, monkeypatch)
        agree(results)
        assert {name: len(each) for name, each in results.items()} == {"decode": 2, "encode": 2}
        text = (export.path / CARD).read_text()
        assert "curl" not in text
        assert "Client" not in text
        parts = sections(text)
        what = table(parts["What it is"])
        assert what["Latents z"] == (f"float32 `[B, 7]`: {latents}, one after the other",)
        assert what["Prior p(z)"] == (prior,)
        assert what["Trained to maximise"] == (objective,)
        assert "of a latent that is given others, at their means" in parts["encode"]


class TestWhatIsSaidOfTheTraining:
    def test_a_run_says_how_it_was_trained_and_its_last_metrics(self, tmp_path):
        from tfpvae.cli.export import record_of
        from tfpvae.training import Run, TrainConfig

        (tmp_path / "pictures").mkdir()
        (tmp_path / "history.json").write_text('{"loss": [30.0, 20.5], "val_elbo": [-31.0, -21.0]}')
        record = record_of(Run(tmp_path, TrainConfig(data=str(tmp_path / "pictures"), epochs=9, latent=3)))
        assert record["metrics"] == {"loss": 20.5, "val_elbo": -21.0}
        assert record["about"]["data"] == "pictures"
        assert record["about"]["latent"] == 3
        assert record["about"]["epochs"] == 2  # That were trained.

    def test_numbers_that_are_not_finite(self, vae, tmp_path, only):
        import tfpvae
        from tfpvae.export import Profile

        only("decode")
        export = tfpvae.export_model(
            vae,
            tmp_path / "m",
            profile=Profile(saved_model=False),
            about={"schedule": {"class": "KLWarmUp", "steps": 3}, "layers": [64, 32]},
            metrics={"val_elbo": float("nan"), "kl": 2},
        )
        assert json.loads((export.path / MANIFEST).read_text())["metrics"] == {"val_elbo": None, "kl": 2.0}
        trained = sections((export.path / CARD).read_text())["How it was trained and evaluated"]
        assert "| `val_elbo` | not finite |" in trained
        assert "| schedule | KLWarmUp(steps=3) |" in trained
        assert "| layers | [64, 32] |" in trained
        assert "`val_` stands for data that it was not trained on" in trained

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ({"metrics": {"loss": "low"}}, r"metrics must be numbers by name: .*Received: \{'loss': 'low'\}"),
            ({"metrics": 3.0}, "metrics must be numbers by name"),
            ({"about": {"optimizer": object()}}, "about must be settings by name that JSON can hold"),
            ({"about": {"rate": float("inf")}}, "about must be settings by name that JSON can hold"),
        ],
    )
    def test_what_cannot_be_said(self, said, message, vae, tmp_path):
        import tfpvae

        with pytest.raises(ExportError, match=message):
            tfpvae.export_model(vae, tmp_path / "m", **said)
        assert not (tmp_path / "m").exists()


def test_the_data_range_is_the_likelihoods(build_vae):
    from tfpvae import layers, supports
    from tfpvae.export.exporter import _data_range

    assert _data_range(build_vae(), supports.Binary()) == (0.0, 1.0)
    shape = (8, 8, 1)
    gaussian = build_vae(likelihood=layers.IndependentNormal(shape))
    assert _data_range(gaussian, supports.Real()) == (0.0, 1.0)  # Images are in [0, 1] throughout.
    assert _data_range(gaussian, supports.Counts()) == (0.0, None)
    assert _data_range(gaussian, supports.Categories(256)) == (0.0, 255.0)
    counts = layers.MixtureSameFamily(2, layers.IndependentPoisson(shape))
    assert _data_range(gaussian, counts.support) == (0.0, None)
    gaussian.event_shape = (64,)
    assert _data_range(gaussian, supports.Real()) is None
    assert _data_range(gaussian, None) is None
