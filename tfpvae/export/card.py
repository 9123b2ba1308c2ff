"""The model card: what a version is and how it is called, for people, as Markdown."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from tfpvae.signatures import (
    CONDITION,
    DEFAULT_ALIAS_OF,
    DEFAULT_SIGNATURE,
    MANIFEST,
    OBSERVED_SIGNATURES,
    ONNX_DIRECTORY,
    graph_file,
)

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
_SEED: Final = 7
_ROWS: Final = 2
_INLINE: Final = 40
"""The most numbers of a request that are written out; larger ones are made by a line of Python."""

_URL: Final = "http://localhost:8501"


def model_card(manifest: Mapping[str, Any], served_as: str) -> str:
    """The card of a version, as Markdown.

    All its code asks for two rows of the same inputs: seeds 7 and 8, labels 0 and 1, zeros for latents; and zeros for
    data, or halves where zero is none.

    Args:
        manifest: the version's manifest; of `files` nothing is used.
        served_as: the model's name on the server.
    """
    return "\n".join(
        line
        for part in (_head, _what, _training, _calls, _signatures, _litert, _seeds, _absent, _parity, _speed, _versions)
        for line in part(manifest, served_as)
    )


# Parts of the card. Each gives its lines, with an empty one after every paragraph.


def _head(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    kind = _CLASSES.get(manifest["class"], "A model")
    version, day = manifest["versions"]["tfpvae"], manifest["created"][:10]
    yield from (f"# {served_as}", "")
    yield from (f"{kind} (`tfpvae.{manifest['class']}`), exported by tfpvae {version} on {day}.", "")
    samples = manifest["samples"]
    if samples is not None:
        given = f", {samples['y']}" if samples["y"] else ""
        first, last = samples["seeds"]
        yield from (f"![Means by seed]({SAMPLES})", "")
        yield from (f"`sample_mean` of the seeds {first} to {last}{given}, row by row.", "")


def _what(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    observed = _observed(manifest)
    data = "y" if observed else "x"
    rows = [("Class", f"`{manifest['class']}`, {manifest['parameters']:,} weights")]
    if observed:
        rows.append(("Input x", _array(next(iter(manifest["signatures"].values()))["inputs"]["x"])))
    rows.append((f"Data {data}", f"float32 `{_shape([None, *manifest['event_shape']])}`, {_range(manifest)}"))
    condition = manifest["condition"]
    if condition is not None:
        classes = condition["num_classes"]
        labels = "" if classes is None else f": labels from 0 to {classes - 1}"
        rows.append(("Condition y", f"{_array(condition)}{labels}"))
    if not observed:
        rows.append(("Latents z", _latents(manifest)))
        rows.append(("Prior p(z)", _prior(manifest)))
    rows.append((f"Likelihood {_likelihood(manifest)}", f"`{manifest['likelihood']}`"))
    rows.append(("Trained to maximise", _objective(manifest["objective"])))
    yield from ("## What it is", "", *_table(("", ""), rows), "")


def _training(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    yield from ("## How it was trained and evaluated", "")
    about, metrics = manifest["about"], manifest["metrics"]
    if about:
        yield from (*_table(("setting", "value"), [(key, _value(value)) for key, value in about.items()]), "")
    else:
        yield from ("Nothing was said at the export of how it was trained (`about=` of `tfpvae.export_model`).", "")
    if metrics:
        rows = [(f"`{name}`", "not finite" if value is None else f"{value:.6g}") for name, value in metrics.items()]
        yield from (*_table(("metric", "value"), rows), "")
        held_out = "; `val_` stands for data that it was not trained on" if any("val_" in n for n in metrics) else ""
        yield from (f"Bounds, likelihoods and divergences are in nats per example{held_out}.", "")
    else:
        yield from ("Nothing was said at the export of how it does on data (`metrics=` of `tfpvae.export_model`).", "")


def _calls(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    has_onnx = any(signature["onnx"] for signature in manifest["signatures"].values())
    yield from ("## How to call it", "")
    yield from (
        "Every input and output holds a batch on its first axis, B rows. The examples all ask for the same two rows.",
        "",
    )
    if manifest["saved_model"]:
        default = (
            f"Without a `signature_name` a request is for `{DEFAULT_SIGNATURE}`, which is `{DEFAULT_ALIAS_OF}`. "
            if DEFAULT_ALIAS_OF in manifest["signatures"]
            else ""
        )
        yield from (
            f"Over HTTP, from TensorFlow Serving or `tfpvae serve`, the model is `{served_as}`, the name of the folder "
            f"that this version lies in. {default}The answer's `predictions` has an entry for each row: the array "
            "itself, or of several outputs an object with their names.",
            "",
        )
    lines = ["import numpy as np"]
    if manifest["saved_model"]:
        lines += ["from tfpvae.client import Client  # loads no TensorFlow"]
    if has_onnx:
        lines += ["from tfpvae.edge import Decoder  # needs ONNX Runtime alone", "import onnxruntime"]
    lines += ["", *_arrays(manifest)]
    if manifest["saved_model"]:
        lines += [f"client = Client({json.dumps(_URL)}, {json.dumps(served_as)})"]
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


def _signatures(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    for name, signature in manifest["signatures"].items():
        yield from (f"### {name}", "", f"Gives {_meaning(manifest, name)}.", "")
        rows = [
            (role, f"`{key}`", spec["dtype"], f"`{_shape(spec['shape'])}`")
            for role, specs in (("input", signature["inputs"]), ("output", signature["outputs"]))
            for key, spec in specs.items()
        ]
        yield from (*_table(("", "name", "type", "shape"), rows), "")
        if manifest["saved_model"]:
            yield from ("```sh", *curl(manifest, served_as, name), "```", "")
        lines = python_calls(manifest, name)
        if lines:
            yield from ("```python", *lines, "```", "")
        if name in manifest["no_onnx"]:
            yield from (f"No ONNX graph: {manifest['no_onnx'][name]}.", "")


def _litert(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    held = [name for name, signature in manifest["signatures"].items() if signature["litert"]]
    if not held:
        return
    names = ", ".join(f"`{name}`" for name in held)
    inputs = ", ".join(f"{key}={key}" for key in manifest["signatures"][held[-1]]["inputs"])
    yield from (
        "## LiteRT",
        "",
        f"`decoder.tflite` holds {names}, each by its name, for phones and small devices. In Python, with the arrays "
        "above:",
        "",
        "```python",
        "from ai_edge_litert.interpreter import Interpreter",
        "",
        f'litert = Interpreter("decoder.tflite").get_signature_runner({json.dumps(held[-1])})',
        f"litert({inputs})",
        "```",
        "",
    )
    if manifest["no_litert"]:
        rows = [(f"`{name}`", reason) for name, reason in manifest["no_litert"].items()]
        yield from (*_table(("not in it", "because"), rows), "")


def _seeds(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    if not any("seed" in signature["inputs"] for signature in manifest["signatures"].values()):
        return
    yield from (
        "## Seeds",
        "",
        f"A seed is an int64, one for each row, and a row depends on its own seed alone: not on the batch, nor on the "
        f"runtime. In Python `seed={_SEED}` means {_SEED} for the first row, {_SEED + 1} for the next, and so on. The "
        f"random numbers come from `{manifest['random']}`, which is part of the graphs: the same seed gives the same "
        "sample in Python, TensorFlow Serving, ONNX Runtime and LiteRT, up to rounding.",
        "",
    )


def _absent(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    if manifest["absent"]:
        rows = [(f"`{name}`", reason) for name, reason in manifest["absent"].items()]
        yield from ("## What it lacks", "", *_table(("signature", "because"), rows), "")


def _parity(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    runtimes = list(dict.fromkeys(gap["runtime"] for gap in manifest["parity"]))
    by_output: dict[tuple[str, str], dict[str, str]] = {}
    for gap in manifest["parity"]:
        cells = by_output.setdefault((gap["signature"], gap["output"]), {})
        cells[gap["runtime"]] = f"{gap['difference']:.1e} of {gap['allowed']:.1e}"
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
        *_table(("signature", "output", *runtimes), rows),
        "",
    )


def _speed(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    if not manifest["speed"]:
        return
    ways = list(dict.fromkeys((timing["runtime"], timing["precision"]) for timing in manifest["speed"]))
    best = {(each["signature"], each["rows"]): (each["runtime"], each["precision"]) for each in manifest["recommended"]}
    cells: dict[tuple[str, int], dict[tuple[str, str], str]] = {}
    for timing in manifest["speed"]:
        row, way = (timing["signature"], timing["rows"]), (timing["runtime"], timing["precision"])
        text = f"{timing['microseconds']:,.0f}"
        cells.setdefault(row, {})[way] = f"**{text}**" if best[row] == way else text
    header = ("signature", "rows", *(runtime if at == "float32" else f"{runtime}, {at}" for runtime, at in ways))
    yield from (
        "## How fast it is",
        "",
        f"Microseconds of one call in process, the median, at the export ({manifest['machine']}); the fastest in bold.",
        "",
        *_table(
            header,
            [(f"`{name}`", str(rows), *(of.get(way, "-") for way in ways)) for (name, rows), of in cells.items()],
        ),
        "",
    )
    kept = [each for each in manifest["reduced"] if not each["dropped"]]
    if kept:
        rows = [
            (
                f"`{ONNX_DIRECTORY}/{graph_file(each['signature'], each['precision'])}`",
                each["method"],
                f"{each['difference']:.2g}",
                f"{each['mean_difference']:.2g}",
                f"{each['kilobytes']:,} kB",
            )
            for each in kept
        ]
        at = kept[-1]["precision"]
        yield from (
            f'In lower precision, which `Decoder(".", precision="{at}")` computes with; how far from Keras, over 256 '
            "rows of the prior:",
            "",
            *_table(("graph", "method", "at most", "on average", "size"), rows),
            "",
        )
    dropped = [each for each in manifest["reduced"] if each["dropped"]]
    if dropped:
        reasons = [(f"`{graph_file(each['signature'], each['precision'])}`", each["dropped"]) for each in dropped]
        yield from ("Not kept:", "", *_table(("graph", "because"), reasons), "")


def _versions(manifest: Mapping[str, Any], served_as: str) -> Iterator[str]:
    rows = [(name, version) for name, version in manifest["versions"].items()]
    yield from ("## Made with", "", *_table(("package", "version"), rows), "")
    yield from (
        f"`{MANIFEST}` holds all of this for programs, and the SHA-256 of every file. `tfpvae verify .` in this folder "
        "compares them, and the runtimes with each other.",
        "",
    )


# How a signature is called.


def curl(manifest: Mapping[str, Any], served_as: str, name: str) -> list[str]:
    """A command that asks a server for two rows of a signature, as lines."""
    specs = manifest["signatures"][name]["inputs"]
    url = shlex.quote(f"{_URL}/v1/models/{served_as}:predict")
    if sum(math.prod(spec["shape"][1:]) for spec in specs.values()) <= _INLINE:
        instances = [
            {key: np.full(spec["shape"][1:], _fill(manifest, key, row)).tolist() for key, spec in specs.items()}
            for row in range(_ROWS)
        ]
        body = json.dumps({"signature_name": name, "instances": instances})
        return [f"curl -d {shlex.quote(body)} {url}"]
    rows = (
        ", ".join(f'"{key}": {_repeated(_fill(manifest, key, row), spec["shape"][1:])}' for key, spec in specs.items())
        for row in range(_ROWS)
    )
    body = f'{{"signature_name": "{name}", "instances": [{", ".join(f"{{{row}}}" for row in rows)}]}}'
    return [f"python3 -c 'import json; print(json.dumps({body}))' |", f"  curl -d @- {url}"]


def python_calls(manifest: Mapping[str, Any], name: str) -> list[str]:
    """Lines that ask for two rows of a signature, by the names of the card's first example."""
    signature = manifest["signatures"][name]
    call = f"{name}({', '.join(_arguments(name, tuple(signature['inputs'])))})"
    lines = []
    if manifest["saved_model"]:
        lines.append(f"client.{call}")
    # PNG has no ONNX form, and tfpvae.edge makes it of the means.
    drawn_of = "sample_mean" if name == "sample_png" else name
    if manifest["signatures"].get(drawn_of, {}).get("onnx"):
        lines.append(f"edge.{call}")
    if signature["onnx"]:
        lines.append(f"run({', '.join([json.dumps(name), *(f'{key}={key}' for key in signature['inputs'])])})")
    return lines


def _arguments(name: str, inputs: Sequence[str]) -> Iterator[str]:
    """Those of the call in Python, `tfpvae.client.Sampler`'s."""
    if "x" in inputs:
        yield "x=x" if name in OBSERVED_SIGNATURES else "x"  # Where z stands first in all other models.
    elif "z" in inputs:
        yield "z"
    else:
        yield str(_ROWS)
    if "seed" in inputs:
        yield f"seed={_SEED}"
    if CONDITION in inputs:
        yield f"{CONDITION}={CONDITION}"


def _arrays(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The inputs of all examples, as lines of Python."""
    specs = {key: spec for signature in manifest["signatures"].values() for key, spec in signature["inputs"].items()}
    for key, spec in specs.items():
        fills = [_fill(manifest, key, row) for row in range(_ROWS)]
        if len(spec["shape"]) == 1:
            yield f"{key} = np.array({fills}, np.{spec['dtype']})"
        else:
            yield f"{key} = np.full({(_ROWS, *spec['shape'][1:])}, {fills[0]}, np.{spec['dtype']})"


def _fill(manifest: Mapping[str, Any], key: str, row: int) -> int | float:
    """The number that an input of the examples is full of, in one of its rows."""
    if key == "seed":
        return _SEED + row
    if key == CONDITION and manifest["condition"]["num_classes"] is not None:
        return row % manifest["condition"]["num_classes"]
    if key == "x" and not _observed(manifest) and manifest["support"] in ("unit", "positive"):
        return 0.5
    return 0.0


def _repeated(number: float, shape: Sequence[int]) -> str:
    """An array that is full of a number, as an expression in Python."""
    text = str(number)
    for size in reversed(shape):
        text = f"[{text}] * {size}" if size > 1 else f"[{text}]"
    return text


# Words.


def _meaning(manifest: Mapping[str, Any], name: str) -> str:
    text = manifest["signatures"][name]["meaning"]
    if manifest["condition"] is not None:
        text = text.replace("given z", "given z, y").replace("given x", "given x, y")
        if text.startswith("decode("):
            text = f"{text.removesuffix(')')}, y)"
        if name == "sample_latent":
            text += ", whatever y is"
    if manifest["latent_parts"] is not None and name in ("encode", "reconstruct"):
        text += "; of a latent that is given others, at their means"
    if name == "sample_png":
        text += '; over HTTP each as `{"b64": "..."}`'
    return text


def _observed(manifest: Mapping[str, Any]) -> bool:
    """Whether the model is p(y given x), without latents."""
    return manifest["latent_size"] is None


def _likelihood(manifest: Mapping[str, Any]) -> str:
    if _observed(manifest):
        return "p(y given x)"
    return "p(x given z)" if manifest["condition"] is None else "p(x given z, y)"


def _range(manifest: Mapping[str, Any]) -> str:
    if manifest["data_range"] is None:
        return "any numbers"
    low, high = manifest["data_range"]
    what = "pixels" if len(manifest["event_shape"]) == 3 else "values"
    found = f"{what} of {low:g} or more" if high is None else f"{what} in [{low:g}, {high:g}]"
    return found + {"category": ", whole", "count": ", whole", "one_hot": ", one of them 1"}.get(
        manifest["support"], ""
    )


def _latents(manifest: Mapping[str, Any]) -> str:
    parts = manifest["latent_parts"]
    text = f"float32 `{_shape([None, manifest['latent_size']])}`"
    if parts is None:
        return text
    return f"{text}: " + ", then ".join(f"{part['name']} ({part['size']})" for part in parts) + ", one after the other"


def _prior(manifest: Mapping[str, Any]) -> str:
    parts = manifest["latent_parts"]
    if parts is None:
        return f"`{manifest['prior']}`"
    top, *others = (part["name"] for part in parts)
    given = ", ".join(f"p({name} given what is above it)" for name in others)
    return f"`{manifest['prior_of_top']}` of {top}; networks for {given}"


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


def _array(spec: Mapping[str, Any]) -> str:
    return f"{spec['dtype']} `{_shape(spec['shape'])}`"


def _shape(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('B' if size is None else str(size) for size in shape)}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    def line(cells: Sequence[str]) -> str:
        # Within a cell a bar would end it, and a line break the table.
        return f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in cells)} |"

    yield line(header)
    yield f"|{'---|' * len(header)}"
    yield from (line(row) for row in rows)
