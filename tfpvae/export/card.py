"""The model card: what a version is and how it is called, for people, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tfpvae.export.card_calls import SEED, URL, arrays, curl, python_calls
from tfpvae.export.markdown import table
from tfpvae.export.targets.base import targets
from tfpvae.manifest import MANIFEST, Manifest, Spec
from tfpvae.signatures import (
    DEFAULT_ALIAS_OF,
    DEFAULT_SIGNATURE,
    ONNX_DIRECTORY,
    WEIGHTS_FILE,
    graph_file,
)
from tfpvae.supports import Real, bounds_in_words

MODEL_CARD: Final = "MODEL_CARD.md"
"""The file of a version directory that this module writes."""

SAMPLES: Final = "samples.png"
"""The file of a version directory with a grid of means by seed."""

_CLASSES: Final = {
    "ConditionalDensity": "A density p(y given x) without latents",
    "ConditionalVAE": "A conditional variational autoencoder",
    "HierarchicalVAE": "A variational autoencoder with several stochastic layers",
    "TwoStageVAE": "A variational autoencoder whose latents a second one models",
    "VAE": "A variational autoencoder",
}


def model_card(manifest: Manifest, served_as: str) -> str:
    """The card of a version, as Markdown.

    All code in it asks for the same two rows: seeds 7 and 8, labels 0 and 1, latents of zeros, and data of zeros, or of
    halves where the support has no zero.

    Args:
        manifest: the version's manifest; of `files` nothing is used.
        served_as: the model's name on the server.
    """
    parts = (
        _head,
        _what,
        _training,
        _calls,
        _signatures,
        _targets,
        _seeds,
        _absent,
        _parity,
        _speed,
        _versions,
    )
    return "\n".join(line for part in parts for line in part(manifest, served_as))


# Parts of the card. Each gives its lines, with an empty one after every paragraph.


def _head(manifest: Manifest, served_as: str) -> Iterator[str]:
    kind = _CLASSES.get(manifest.class_name, "A model")
    version, day = manifest.versions["tfpvae"], manifest.created[:10]
    yield from (f"# {served_as}", "")
    yield from (f"{kind} (`tfpvae.{manifest.class_name}`), exported by tfpvae {version} on {day}.", "")
    samples = manifest.samples
    if samples is not None:
        given = f", {samples.y}" if samples.y else ""
        first, last = samples.seeds
        yield from (f"![Means by seed]({SAMPLES})", "")
        yield from (f"`sample_mean` of the seeds {first} to {last}{given}, row by row.", "")


def _what(manifest: Manifest, served_as: str) -> Iterator[str]:
    observed = manifest.observed
    data = "y" if observed else "x"
    rows = [("Class", f"`{manifest.class_name}`, {manifest.parameters:,} weights")]
    if observed:
        rows.append(("Input x", _array(next(iter(manifest.signatures.values())).inputs["x"])))
    rows.append((f"Data {data}", f"float32 `{_shape([None, *manifest.event_shape])}`, {_range(manifest)}"))
    condition = manifest.condition
    if condition is not None:
        classes = condition.num_classes
        labels = "" if classes is None else f": labels from 0 to {classes - 1}"
        rows.append(("Condition y", f"{_array(condition)}{labels}"))
    if not observed:
        rows.append(("Latents z", _latents(manifest)))
        rows.append(("Prior p(z)", _prior(manifest)))
    rows.append((f"Likelihood {_likelihood(manifest)}", f"`{manifest.likelihood}`"))
    rows.append(("Trained to maximise", _objective(manifest.objective)))
    yield from ("## What it is", "", *table(("", ""), rows), "")


def _training(manifest: Manifest, served_as: str) -> Iterator[str]:
    yield from ("## How it was trained and evaluated", "")
    about, metrics = manifest.about, manifest.metrics
    if about:
        yield from (*table(("setting", "value"), [(key, _value(value)) for key, value in about.items()]), "")
    else:
        yield from ("Nothing was said at the export of how it was trained (`about=` of `tfpvae.export_model`).", "")
    if metrics:
        rows = [(f"`{name}`", "not finite" if value is None else f"{value:.6g}") for name, value in metrics.items()]
        yield from (*table(("metric", "value"), rows), "")
        held_out = "; `val_` stands for data that it was not trained on" if any("val_" in n for n in metrics) else ""
        yield from (f"Bounds, likelihoods and divergences are in nats per example{held_out}.", "")
    else:
        yield from ("Nothing was said at the export of how it does on data (`metrics=` of `tfpvae.export_model`).", "")


def _calls(manifest: Manifest, served_as: str) -> Iterator[str]:
    has_onnx = any(manifest.holds("onnx", name) for name in manifest.signatures)
    yield from ("## How to call it", "")
    yield from (
        "Every input and output holds a batch on its first axis, B rows. The examples all ask for the same two rows.",
        "",
    )
    if manifest.holds("saved_model"):
        default = (
            f"Without a `signature_name` a request is for `{DEFAULT_SIGNATURE}`, which is `{DEFAULT_ALIAS_OF}`. "
            if DEFAULT_ALIAS_OF in manifest.signatures
            else ""
        )
        yield from (
            f"Over HTTP, from TensorFlow Serving or `tfpvae serve`, the model is `{served_as}`, the name of the folder "
            f"that this version lies in. {default}The answer's `predictions` has an entry for each row: the array "
            "itself, or of several outputs an object with their names.",
            "",
        )
    lines = ["import numpy as np"]
    if manifest.holds("saved_model"):
        lines += ["from tfpvae.client import Client  # loads no TensorFlow"]
    if has_onnx:
        lines += ["from tfpvae.edge import Decoder  # needs ONNX Runtime alone", "import onnxruntime"]
    lines += ["", *arrays(manifest)]
    if manifest.holds("saved_model"):
        lines += [f"client = Client({json.dumps(URL)}, {json.dumps(served_as)})"]
    if has_onnx:
        lines += [
            'edge = Decoder(".")  # this folder',
            "",
            "def run(signature, **inputs):  # without tfpvae",
            f'    path = f"{ONNX_DIRECTORY}/{{signature}}.onnx"',
            '    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])',
            "    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))",
        ]
    yield from ("In Python, in this folder:", "", "```python", *lines, "```", "")
    if has_onnx and manifest.targets["onnx"].shared:
        yield from (
            f"`{ONNX_DIRECTORY}/{WEIGHTS_FILE}` holds the weights of all graphs: a graph that is copied needs it "
            "beside it. ONNX Runtime in the browser is given it by the option `externalData`: "
            f'`[{{path: "{WEIGHTS_FILE}", data: "{WEIGHTS_FILE}"}}]`.',
            "",
        )


def _signatures(manifest: Manifest, served_as: str) -> Iterator[str]:
    for name, signature in manifest.signatures.items():
        yield from (f"### {name}", "", f"Gives {_meaning(manifest, name)}.", "")
        rows = [
            (role, f"`{key}`", spec.dtype, f"`{_shape(spec.shape)}`")
            for role, specs in (("input", signature.inputs), ("output", signature.outputs))
            for key, spec in specs.items()
        ]
        yield from (*table(("", "name", "type", "shape"), rows), "")
        if manifest.holds("saved_model"):
            yield from ("```sh", *curl(manifest, served_as, name), "```", "")
        lines = python_calls(manifest, name)
        if lines:
            yield from ("```python", *lines, "```", "")
        for target in targets():
            entry = manifest.targets.get(target.name)
            if entry is not None and not target.own_section and name in entry.left_out:
                yield from (f"Not in `{target.files}`: {entry.left_out[name]}.", "")


def _targets(manifest: Manifest, served_as: str) -> Iterator[str]:
    for target in targets():
        if target.own_section and manifest.held(target.name):
            yield from target.about(manifest)


def _seeds(manifest: Manifest, served_as: str) -> Iterator[str]:
    if not any("seed" in signature.inputs for signature in manifest.signatures.values()):
        return
    yield from (
        "## Seeds",
        "",
        f"A seed is an int64, one for each row, and a row depends on its own seed alone: not on the batch, nor on the "
        f"runtime. In Python `seed={SEED}` means {SEED} for the first row, {SEED + 1} for the next, and so on. The "
        f"random numbers come from `{manifest.random}`, which is part of the graphs: the same seed gives the same "
        "sample in Python, TensorFlow Serving, ONNX Runtime and LiteRT, up to rounding.",
        "",
    )


def _absent(manifest: Manifest, served_as: str) -> Iterator[str]:
    if manifest.absent:
        rows = [(f"`{name}`", reason) for name, reason in manifest.absent.items()]
        yield from ("## What it lacks", "", *table(("signature", "because"), rows), "")


def _parity(manifest: Manifest, served_as: str) -> Iterator[str]:
    runtimes = list(dict.fromkeys(gap.runtime for gap in manifest.parity))
    by_output: dict[tuple[str, str], dict[str, str]] = {}
    for gap in manifest.parity:
        cells = by_output.setdefault((gap.signature, gap.output), {})
        cells[gap.runtime] = f"{gap.difference:.1e} of {gap.allowed:.1e}"
    rows = [
        (f"`{signature}`", f"`{output}`", *(cells.get(runtime, "-") for runtime in runtimes))
        for (signature, output), cells in by_output.items()
    ]
    yield from (
        "## Does it compute what the model in Keras computes?",
        "",
        "Before it was published, all of it was run on the same inputs as the model in Keras, 1, 2 and 33 rows at "
        "once. The largest differences, and how large they may be: absolute; of discrete draws, the share that "
        "differs. `(v1)` is the loader that TensorFlow Serving uses.",
        "",
        *table(("signature", "output", *runtimes), rows),
        "",
    )


def _speed(manifest: Manifest, served_as: str) -> Iterator[str]:
    if not manifest.speed:
        return
    ways = list(dict.fromkeys((timing.runtime, timing.precision) for timing in manifest.speed))
    best = {(each.signature, each.rows): (each.runtime, each.precision) for each in manifest.recommended}
    cells: dict[tuple[str, int], dict[tuple[str, str], str]] = {}
    for timing in manifest.speed:
        row, way = (timing.signature, timing.rows), (timing.runtime, timing.precision)
        text = f"{timing.microseconds:,.0f}"
        cells.setdefault(row, {})[way] = f"**{text}**" if best[row] == way else text
    header = ("signature", "rows", *(runtime if at == "float32" else f"{runtime}, {at}" for runtime, at in ways))
    yield from (
        "## How fast it is",
        "",
        f"Microseconds of one call in process, the median, at the export ({manifest.machine}); the fastest in bold.",
        "",
        *table(
            header,
            [(f"`{name}`", str(rows), *(of.get(way, "-") for way in ways)) for (name, rows), of in cells.items()],
        ),
        "",
    )
    kept = [each for each in manifest.reduced if not each.dropped]
    if kept:
        rows = [
            (
                f"`{ONNX_DIRECTORY}/{graph_file(each.signature, each.precision)}`",
                str(each.method),
                f"{each.difference:.2g}",
                f"{each.mean_difference:.2g}",
                f"{each.kilobytes:,} kB",
            )
            for each in kept
        ]
        at = kept[-1].precision
        yield from (
            f'In lower precision, which `Decoder(".", precision="{at}")` computes with; how far from Keras, over 256 '
            "rows of the prior:",
            "",
            *table(("graph", "method", "at most", "on average", "size"), rows),
            "",
        )
    dropped = [each for each in manifest.reduced if each.dropped]
    if dropped:
        reasons = [(f"`{graph_file(each.signature, each.precision)}`", str(each.dropped)) for each in dropped]
        yield from ("Not kept:", "", *table(("graph", "because"), reasons), "")


def _versions(manifest: Manifest, served_as: str) -> Iterator[str]:
    rows = [(name, version) for name, version in manifest.versions.items()]
    yield from ("## Made with", "", *table(("package", "version"), rows), "")
    yield from (
        f"`{MANIFEST}` holds all of this for programs, and the SHA-256 of every file. `tfpvae verify .` in this folder "
        "compares them, and the runtimes with each other.",
        "",
    )


# Words.


def _meaning(manifest: Manifest, name: str) -> str:
    text = manifest.signatures[name].meaning
    if manifest.condition is not None:
        text = text.replace("given z", "given z, y").replace("given x", "given x, y")
        if text.startswith("decode("):
            text = f"{text.removesuffix(')')}, y)"
        if name == "sample_latent":
            text += ", whatever y is"
    if manifest.latent_parts is not None and name in ("encode", "reconstruct"):
        text += "; of a latent that is given others, at their means"
    if name == "sample_png":
        text += '; over HTTP each as `{"b64": "..."}`'
    return text


def _likelihood(manifest: Manifest) -> str:
    if manifest.observed:
        return "p(y given x)"
    return "p(x given z)" if manifest.condition is None else "p(x given z, y)"


def _range(manifest: Manifest) -> str:
    if manifest.data_range is None:
        return "any numbers"
    low, high = manifest.data_range
    what = "pixels" if len(manifest.event_shape) == 3 else "values"
    support = manifest.data_support or Real()
    return f"{what}{bounds_in_words(low, high, support.open)}{support.detail}"


def _latents(manifest: Manifest) -> str:
    parts = manifest.latent_parts
    text = f"float32 `{_shape([None, manifest.latent_size])}`"
    if parts is None:
        return text
    return f"{text}: " + ", then ".join(f"{part.name} ({part.size})" for part in parts) + ", one after the other"


def _prior(manifest: Manifest) -> str:
    parts = manifest.latent_parts
    if parts is None:
        return f"`{manifest.prior}`"
    top, *others = (part.name for part in parts)
    given = ", ".join(f"p({name} given what is above it)" for name in others)
    return f"`{manifest.prior_of_top}` of {top}; networks for {given}"


def _objective(objective: Any) -> str:
    if "first" in objective:
        return f"{_value(objective['first'])} of the first stage, {_value(objective['second'])} of the second"
    return _value(objective)


def _value(value: Any) -> str:
    """A setting, for people: `{"class": "Iwae", "k": 5}` as `Iwae(k=5)`."""
    if isinstance(value, Mapping) and "class" in value:
        arguments = ", ".join(f"{key}={_value(each)}" for key, each in value.items() if key != "class")
        return f"{value['class']}({arguments})" if arguments else str(value["class"])
    return value if isinstance(value, str) else json.dumps(value)


def _array(spec: Spec) -> str:
    return f"{spec.dtype} `{_shape(spec.shape)}`"


def _shape(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('B' if size is None else str(size) for size in shape)}]"
