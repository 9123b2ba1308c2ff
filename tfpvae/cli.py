"""The command line: `tfpvae train | evaluate | export | verify | versions | serve | sample | demo`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tfpvae
from tfpvae._extras import explain_missing
from tfpvae.errors import ExportError, TfpvaeError
from tfpvae.signatures import graph_file

if TYPE_CHECKING:
    from tfpvae.export import Export
    from tfpvae.export.repository.inventory import VersionInfo
    from tfpvae.export.repository.model_config import Entry
    from tfpvae.export.verification import Verification
    from tfpvae.training import Run

EPILOG = """a whole road:
  tfpvae train --data digits --out runs/digits
  tfpvae evaluate runs/digits
  tfpvae export runs/digits --out models/digits
  tfpvae serve models/
  tfpvae sample --url http://127.0.0.1:8501 --model digits --n 16 --seed 7 --out grid.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: the command line; None is the process's own.

    Returns:
        The exit status: 0; 1 after an error, which is printed; 130 where it was interrupted.
    """
    options = _parser().parse_args(arguments)
    warnings.formatwarning = _format_warning
    try:
        options.command(options)
    except TfpvaeError as error:
        print(f"tfpvae: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        more = "; go on from the last saved epoch with --resume" if options.command is _train else ""
        print(f"\ntfpvae: interrupted{more}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tfpvae",
        description="Variational autoencoders from training to samples over HTTP.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tfpvae {tfpvae.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=_HelpFormatter
        )
        added.set_defaults(command=command)
        return added

    train = add("train", _train, "train a model on images, into a run directory")
    train.add_argument(
        "--data", required=True, help="digits, mnist, fashion_mnist, an .npz or .npy file, or a folder of images"
    )
    train.add_argument("--out", required=True, metavar="RUN", help="the run's directory")
    train.add_argument(
        "--binarize",
        choices=["auto", "none", "static", "dynamic"],
        default="auto",
        help="how images become binary; auto is dynamic for a Bernoulli likelihood, none for others",
    )
    train.add_argument("--model", choices=["mlp", "conv"], default="mlp", help="the networks")
    train.add_argument("--latent", type=int, default=16, metavar="D", help="latent dimensions")
    train.add_argument("--likelihood", choices=["bernoulli", "normal"], default="bernoulli", help="p(x|z)")
    train.add_argument("--prior", choices=["standard", "mixture", "vamp", "flow"], default="standard", help="p(z)")
    train.add_argument("--k", type=int, default=1, help="draws of the bound; above 1 it is the importance-weighted one")
    train.add_argument("--beta", type=float, default=1.0, help="the factor of the KL")
    train.add_argument(
        "--kl-warm-up", type=int, default=0, metavar="STEPS", help="steps over which that factor rises from 0"
    )
    train.add_argument("--epochs", type=int, default=20, metavar="N", help="passes over the data")
    train.add_argument("--batch-size", type=int, default=128, metavar="B", help="images per step")
    train.add_argument(
        "--learning-rate", type=float, default=1e-3, metavar="R", help="Adam's at the start; it falls to zero"
    )
    train.add_argument("--seed", type=int, default=0, metavar="S", help="of the weights, the order and every draw")
    again = train.add_mutually_exclusive_group()
    again.add_argument("--overwrite", action="store_true", help="replace the run that RUN holds")
    again.add_argument("--resume", action="store_true", help="go on with the run that RUN holds")

    evaluate = add("evaluate", _evaluate, "measure a run's model on its test images")
    evaluate.add_argument("run", metavar="RUN", help="the run's directory")
    evaluate.add_argument(
        "--samples",
        type=int,
        default=0,
        metavar="S",
        help="estimate log p(x) too, by S importance samples for each image (5000 in papers); 0 leaves it out",
    )
    evaluate.add_argument("--images", type=int, metavar="N", help="the first N test images alone")
    evaluate.add_argument("--report", metavar="DIR", help="write a report with pictures to a directory of its own")
    evaluate.add_argument("--overwrite", action="store_true", help="replace the report that DIR holds")
    evaluate.add_argument("--json", action="store_true", help="print JSON, and nothing else")

    export = add("export", _export, "write a run's model as a version for TensorFlow Serving and ONNX Runtime")
    export.add_argument("run", metavar="RUN", help="the run's directory")
    export.add_argument("--out", required=True, metavar="MODELS/NAME", help="the model's directory")
    export.add_argument("--version", type=int, metavar="N", help="the version; by default the next free number")
    export.add_argument(
        "--layout",
        choices=("openvino", "triton"),
        help="for a server without signatures: each ONNX graph as a servable of its own, MODELS/NAME_decode and so on",
    )
    export.add_argument("--profile", metavar="FILE", help="a TOML file that says what to write; see export/")

    verify = add("verify", _verify, "check a version: its files, its graphs, and that its runtimes agree")
    verify.add_argument("version_dir", metavar="MODELS/NAME/N", help="a version's directory, or any SavedModel's")
    verify.add_argument("--json", action="store_true", help="print JSON, and nothing else")

    listed = add("versions", _versions, "list a model's versions, remove old ones, label them for TensorFlow Serving")
    listed.add_argument("model_dir", metavar="MODELS/NAME", help="the model's directory")
    listed.add_argument("--hashes", action="store_true", help="compare every file with the manifest, which reads them")
    listed.add_argument(
        "--label",
        action="append",
        metavar="NAME=N",
        help="have TensorFlow Serving know version N by a name too, such as stable=2; NAME= removes the name",
    )
    listed.add_argument("--keep", type=int, metavar="N", help="remove all but the newest N and what CONFIG names")
    listed.add_argument(
        "--config", metavar="CONFIG", help="TensorFlow Serving's models.config; by default MODELS/models.config"
    )
    listed.add_argument(
        "--base-path", metavar="PATH", help="where the server finds MODELS/NAME, if CONFIG does not have it yet"
    )
    listed.add_argument("--json", action="store_true", help="print JSON, and nothing else")

    serve = add("serve", _serve, "serve exported models over HTTP, as TensorFlow Serving does")
    serve.add_argument("models", metavar="MODELS", help="a folder of models, or of one")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    serve.add_argument("--port", type=int, default=8501, help="the port; 0 for any that is free")

    sample = add("sample", _sample, "fetch samples from a server and draw them")
    sample.add_argument("--url", default="http://127.0.0.1:8501", help="the server")
    sample.add_argument("--model", required=True, metavar="NAME", help="the model's name")
    sample.add_argument("--n", type=int, default=16, help="how many")
    sample.add_argument("--seed", type=int, metavar="S", help="row i uses seed S + i; by default a fresh one")
    sample.add_argument("--mean", action="store_true", help="E[x|z] in place of a draw of x")
    sample.add_argument("--out", default="grid.png", metavar="PNG", help="the picture")

    demo = add("demo", _demo, "train on handwritten digits, export, serve, sample over HTTP, draw a picture")
    demo.add_argument("--out", default="demo", metavar="DIR", help="where everything is written")
    return parser


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not those that say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    del category, filename, lineno, line
    return f"tfpvae: warning: {message}\n"


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Keeps TensorFlow's start-up messages, which it writes from C++, off the terminal, but shows them on an error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _load(what: str) -> None:
    """Imports what a command trains or exports with, quietly."""
    with explain_missing(what), _quiet_import():
        import tensorflow as tf

        import tfpvae.export
        import tfpvae.training  # noqa: F401

        tf.config.list_physical_devices()  # Looks for a GPU, and says at length if there is none.


def _train(options: argparse.Namespace) -> None:
    _load("tfpvae train")
    from tfpvae.training import Progress, TrainConfig, train

    config = TrainConfig(
        data=options.data,
        binarize=options.binarize,
        model=options.model,
        latent=options.latent,
        likelihood=options.likelihood,
        prior=options.prior,
        k=options.k,
        beta=options.beta,
        kl_warm_up=options.kl_warm_up,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    run = train(config, options.out, overwrite=options.overwrite, resume=options.resume, callbacks=[Progress()])
    _print_run(run)


def _print_run(run: Run) -> None:
    elbo = run.history()["val_elbo"]
    print(f"\n{len(elbo)} epochs. Test ELBO {elbo[0]:.2f} -> {elbo[-1]:.2f} nats per image.")
    print(f"Run {run.path}/:")
    for name, text in (
        ("model.keras", "the model, for keras.models.load_model and tfpvae export"),
        ("config.json", "every setting and version"),
        ("history.json", "the metrics of each epoch"),
        ("reconstructions.png", "test images and their reconstructions"),
        ("samples.png", "samples from the prior"),
        ("history.png", "the course of training"),
    ):
        print(f"  {name:<20} {text}")


def _evaluate(options: argparse.Namespace) -> None:
    _load("tfpvae evaluate")
    from tfpvae.training import evaluate, open_run

    run = open_run(options.run)
    with _Steps(live_only=True) as steps:
        metrics = evaluate(
            run,
            (lambda step: None) if options.json else steps,
            samples=options.samples,
            images=options.images,
            report=options.report,
            overwrite=options.overwrite,
        )
    if options.json:
        print(json.dumps(metrics))
        return
    _print_metrics(metrics)
    drawn = f", drawn once from seed {run.config.seed}" if run.config.binarize == "dynamic" else ""
    print(f"{metrics['n']} test images of {run.config.data}; binarisation: {run.config.binarize}{drawn}")
    print()
    for found in metrics["findings"]:
        text = f"{found['level'].upper():<6}{found['name']}: {found['text']}"
        print(textwrap.fill(text, 100, subsequent_indent=" " * 6))
    if options.report:
        print(f"\nReport: {Path(options.report) / 'report.md'}")


def _print_metrics(metrics: dict[str, Any]) -> None:
    def error(name: str) -> str:
        return f" ± {metrics[name]:.3f}" if name in metrics else ""

    print(f"test elbo       {metrics['elbo']:10.3f} nats per image{error('elbo_standard_error')}")
    print(f"log_likelihood  {metrics['log_likelihood']:10.3f}{error('distortion_standard_error')}")
    print(f"kl              {metrics['kl']:10.3f}{error('rate_standard_error')}")
    if "log_marginal" in metrics:
        how = f"{metrics['samples']} importance samples, {metrics['effective_samples']:.0f} effective"
        print(f"log_marginal    {metrics['log_marginal']:10.3f}{error('log_marginal_standard_error')}   by {how}")
    if "bits_per_dimension" in metrics:
        print(f"bits/dimension  {metrics['bits_per_dimension']:10.3f}")
    if "active_units" in metrics:
        print(f"active units    {metrics['active_units']:>10} of {metrics['latents']}")
    if "gamma" in metrics:
        print(f"gamma           {metrics['gamma']:10.3g}   manifold dimension {metrics['manifold_dimension']}")
    if "monte_carlo" in metrics:
        naive = metrics["monte_carlo"]
        text = (
            f"Of the first {naive['n']} images log p(x) is {naive['importance_log_marginal']:.3f} by importance "
            f"sampling, {naive['log_marginal']:.3f} by naive Monte Carlo. {naive['words']}"
        )
        print(textwrap.fill(text, 100))


def _export(options: argparse.Namespace) -> None:
    _load("tfpvae export")
    from tfpvae.export import Profile, export_model
    from tfpvae.training import open_run

    profile = Profile.load(options.profile) if options.profile else None
    run = open_run(options.run)
    model = run.model()
    if options.layout:
        from tfpvae.export import export_layout

        with _Steps() as steps:
            paths = export_layout(
                model, options.out, options.layout, version=options.version, profile=profile, progress=steps
            )
        print("Published", *(f"  {path}/" for path in paths), sep="\n")
        return
    with _Steps() as steps:
        export = export_model(
            model, options.out, version=options.version, profile=profile, progress=steps, **_record(run)
        )
    _print_export(export)


def _record(run: Run) -> dict[str, Any]:
    """What a run knows of itself, for an export: how it was trained, and the metrics of its last epoch."""
    history = run.history()
    settings = run.config.to_json()
    # Of a file or a folder the name: where it is on this machine says nothing to others.
    about = {**settings, "data": Path(settings["data"]).name, "epochs": len(history.get("loss", []))}
    return {"about": about, "metrics": {name: values[-1] for name, values in history.items() if values}}


class _Steps:
    """Shows the steps of long work: on a terminal in one line that is rewritten, elsewhere a line each.

    Args:
        live_only: whether to show nothing elsewhere.
    """

    def __init__(self, live_only: bool = False) -> None:
        self.start = time.monotonic()
        self.live_only = live_only
        self.width = 0

    def __call__(self, step: str) -> None:
        line = f"[{time.monotonic() - self.start:5.1f} s] {step}"
        if sys.stdout.isatty():
            print(f"\r{line:<{self.width}}", end="", flush=True)
            self.width = len(line)
        elif not self.live_only:
            print(line, flush=True)

    def __enter__(self) -> _Steps:
        return self

    def __exit__(self, *error: object) -> None:
        if self.width:
            print(f"\r{'':<{self.width}}\r", end="", flush=True)


def _print_export(export: Export) -> None:
    from tfpvae.export.card import MODEL_CARD, SAMPLES
    from tfpvae.export.targets.litert import LITERT

    runtimes = list(dict.fromkeys(gap.runtime for gap in export.parity))
    by_output: dict[tuple[str, str], dict[str, float]] = {}
    for gap in export.parity:
        by_output.setdefault((gap.signature, gap.output), {})[gap.runtime] = gap.difference
    print("\nLargest difference from Keras, at batch sizes 1, 2 and 33:")
    print(f"  {'signature':<15}{'output':<16}" + "".join(f"{runtime:>18}" for runtime in runtimes))
    for (signature, output), differences in by_output.items():
        cells = "".join(
            f"{differences[runtime]:>18.1e}" if runtime in differences else f"{'-':>18}" for runtime in runtimes
        )
        print(f"  {signature:<15}{output:<16}{cells}")
    largest = "".join(
        f"{max(gap.difference for gap in export.parity if gap.runtime == runtime):>18.1e}" for runtime in runtimes
    )
    print(f"  {'largest':<31}{largest}")
    worst = max(export.parity, key=lambda gap: gap.difference / gap.allowed)
    print(
        "  Allowed: 1e-05 x max(1, largest output), unless the profile says otherwise. "
        f"Closest to its limit: {worst.signature} {worst.output} in {worst.runtime}, "
        f"{worst.difference:.1e} of {worst.allowed:.1e}."
    )
    for line in _speed_lines(export):
        print(line)
    print(f"\nPublished {export.path}/")
    if export.signatures:
        print(f"  SavedModel      {', '.join(export.signatures)}")
    if export.onnx:
        kept = [graph_file(each.signature, each.precision) for each in export.reduced if not each.dropped]
        print(f"  onnx/           {', '.join([*export.onnx, *(file.removesuffix('.onnx') for file in kept)])}")
    if export.litert:
        print(f"  {LITERT:<15} {', '.join(export.litert)}")
    for name, text in (
        (MODEL_CARD, "for people: what it is, how it was trained, how to call each signature"),
        (SAMPLES, "means by the seeds 0 to 63"),
    ):
        if (export.path / name).is_file():
            print(f"  {name:<15} {text}")
    if export.signatures:
        print(f"Serve it with: tfpvae serve {export.path.parent.parent}")
    else:
        print(f"Use it with: tfpvae.edge.Decoder({str(export.path)!r})")


def _speed_lines(export: Export) -> Iterator[str]:
    """The fastest way to compute each number of rows, and what became of the graphs of lower precision."""
    if export.recommended:
        yield "\nFastest in process on this machine, by rows at once:"
    for best in export.recommended:
        precision = (
            "" if best.precision == "float32" else f" {best.precision}, at most {best.difference:.2g} from Keras"
        )
        yield f"  {best.signature:<15}{best.rows:>4}  {best.microseconds:>10,.0f} us  {best.runtime}{precision}"
    for each in export.reduced:
        if each.dropped:
            yield textwrap.fill(
                f"Dropped {graph_file(each.signature, each.precision)}: {each.dropped}.",
                116,
                initial_indent="  ",
                subsequent_indent="    ",
            )


def _verify(options: argparse.Namespace) -> None:
    with explain_missing("tfpvae verify"), _quiet_import():
        from tfpvae.export.verification import verify
    with _Steps(live_only=True) as steps:
        verification = verify(options.version_dir, (lambda step: None) if options.json else steps)
    if options.json:
        print(json.dumps(verification.to_json()))
    else:
        _print_verification(verification)
    if verification.refused:
        raise ExportError(f"{verification.path} is refused: {verification.errors[0].text}")


def _print_verification(verification: Verification) -> None:
    print(f"{verification.path}: written by {verification.written_by or 'another tool'}")
    for line in verification.checked:
        print(f"  {line}")
    if verification.parity:
        print(f"\n  {'signature':<15}{'output':<16}{'runtime':<22}{'difference':>10}{'allowed':>10}")
        for gap in verification.parity:
            print(f"  {gap.signature:<15}{gap.output:<16}{gap.runtime:<22}{gap.difference:>10.1e}{gap.allowed:>10.1e}")
    if verification.batching:
        print()
    for survives, label in ((True, "Batches"), (False, "Does not batch")):
        names = [name for name, reason in verification.batching.items() if (reason is None) is survives]
        if names:
            print(_wrapped(f"  {label} in TensorFlow Serving: ", ", ".join(names)))
    print(f"\nFindings: {len(verification.findings) or 'none'}")
    for finding, signatures in verification.grouped():
        where = f"{', '.join(signatures)}: " if signatures else ""
        print(_wrapped(f"  {finding.severity.upper():<8} {finding.rule:<16} ", f"{where}{finding.text}"))
        print(_wrapped(" " * 28, f"What to do: {finding.advice}"))
    print(f"\n{'Refused' if verification.refused else 'Passed'}.")


def _versions(options: argparse.Namespace) -> None:
    with explain_missing("tfpvae versions"), _quiet_import():
        from tfpvae.export.repository.inventory import describe, prune
        from tfpvae.export.repository.model_config import read_entry, write_labels
        from tfpvae.export.repository.versions import remove_leftovers, versions
    if options.keep is not None and options.keep < 1:
        raise ExportError(f"--keep must be 1 or more. Received: {options.keep}")
    directory = Path(options.model_dir).resolve()
    config = Path(options.config) if options.config else directory.parent / "models.config"
    if options.config and not options.label and not config.is_file():
        raise ExportError(f"There is no {config}.")
    describe(directory)  # There is something to work on.
    changes = dict(_label(text) for text in options.label or [])
    pending: dict[str, int] = {}
    if changes:
        base_path = options.base_path or directory.as_posix()
        pending = write_labels(config, directory.name, changes, versions(directory), base_path).pending
    entry = read_entry(config, directory.name)
    removed = []
    if options.keep is not None:
        protected = {*entry.versions, *entry.labels.values()} if entry else set()
        removed = prune(directory, options.keep, protected)
    gone, kept = remove_leftovers(directory)
    found = describe(directory, hashes=options.hashes)
    if options.json:
        state = {
            "versions": [one.to_json() for one in found],
            "removed": removed,
            "leftovers_removed": gone,
            "leftovers_kept": kept,
            "config": str(config) if entry else None,
            "labels": dict(entry.labels) if entry else {},
            "labels_pending": pending,
            "loaded": list(entry.versions) if entry else [],
        }
        print(json.dumps(state))
        return
    _print_versions(found, dict(entry.labels) if entry else {})
    if removed:
        print(f"\nRemoved: {', '.join(map(str, removed))}")
        if not entry:
            print(f"No label was looked at: {config} does not name {directory.name}.")
    for name in gone:
        print(f"Removed {name}, left by an export or a removal that was interrupted")
    for name, reason in kept.items():
        print(f"Left {name}: {reason}")
    if entry:
        _print_entry(entry, config, changed=bool(changes))
    for label, version in pending.items():
        print(
            f"Not moved yet: {label}, to {version}. TensorFlow Serving moves a label only to a version that it has "
            f"loaded, and refuses the whole file otherwise. It loads {version} now: give the same command again when "
            f"/v1/models/{directory.name}/versions/{version} says AVAILABLE."
        )


def _label(text: str) -> tuple[str, int | None]:
    name, equals, version = text.partition("=")
    if not equals or not (version == "" or version.isdecimal()):
        raise ExportError(f"--label must be NAME=N, or NAME= to remove it. Received: {text!r}")
    return name, int(version) if version else None


def _print_versions(found: Sequence[VersionInfo], labels: dict[str, int]) -> None:
    rows = [("version", "created", "MB", "signatures", "ONNX", "likelihood", "prior", "files", "labels")]
    for one in found:
        files = "not compared" if one.damage is None else f"{len(one.damage)} differ" if one.damage else "hold"
        names = ", ".join(label for label, version in labels.items() if version == one.version)
        rows.append(
            (
                str(one.version),
                one.created or "-",
                f"{one.size / 1e6:.1f}",
                str(len(one.signatures)),
                str(len(one.onnx)),
                one.likelihood or "-",
                one.prior or "-",
                files,
                names or "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for one in found:
        for path, what in (one.damage or {}).items():
            print(f"Version {one.version}: {path} {what}")


def _print_entry(entry: Entry, config: Path, changed: bool) -> None:
    loaded = f"versions {', '.join(map(str, entry.versions))}" if entry.versions else "the highest version"
    print(f"\nBy {config} TensorFlow Serving loads {loaded} from {entry.base_path}.")
    if entry.labels:
        print(
            "A request that names neither a version nor a label gets the highest that is loaded; to roll back, ask for "
            "a label (/labels/stable:predict) and move it.\n"
            "A version that is exported from now on is not loaded before --label is given again."
        )
    if entry.labels and changed:
        print(
            "The server must run with --allow_version_labels_for_unavailable_models, or it does not start with labels, "
            "and with --model_config_file_poll_wait_seconds, to see a change."
        )


def _wrapped(label: str, text: str) -> str:
    return textwrap.fill(f"{label}{text}", 120, subsequent_indent=" " * len(label), break_on_hyphens=False)


def _serve(options: argparse.Namespace) -> None:
    with explain_missing("tfpvae serve"), _quiet_import():
        from tfpvae.server import serve

    serve(options.models, options.host, options.port)


def _sample(options: argparse.Namespace) -> None:
    from tfpvae.client import Client
    from tfpvae.images import grid, save_png

    with Client(options.url, options.model) as client:
        call = client.sample_mean if options.mean else client.sample
        picture = grid(call(options.n, seed=options.seed))
    save_png(picture, options.out)
    seed = "a fresh seed" if options.seed is None else f"seed {options.seed}"
    print(f"{options.n} samples of {options.model} by {seed} from {options.url}: {options.out}")


def _demo(options: argparse.Namespace) -> None:
    print("Starting TensorFlow ...", flush=True)
    _load("tfpvae demo")
    with explain_missing("tfpvae demo"):
        from tfpvae.server import running
    import numpy as np

    from tfpvae.client import Client
    from tfpvae.export import export_model
    from tfpvae.images import labelled_rows, save_png
    from tfpvae.training import Progress, TrainConfig, train

    out = Path(options.out)
    print("\n1. Train on the handwritten digits that ship with scikit-learn (8x8 pixels)\n", flush=True)
    config = TrainConfig(data="digits", latent=8, epochs=60, batch_size=64)
    run = train(config, out / "run", overwrite=True, callbacks=[Progress()])
    _print_run(run)

    print("\n2. Export as SavedModel and ONNX, and compare both with Keras\n", flush=True)
    vae = run.model()
    with _Steps() as steps:
        _print_export(export_model(vae, out / "models" / "digits", progress=steps, **_record(run)))

    print("\n3. Serve, and fetch samples over HTTP by seed\n", flush=True)
    with running(out / "models") as url, Client(url, "digits") as client:
        means, draws = client.sample_mean(12, seed=7), client.sample(12, seed=7)
        print(f"POST {url}/v1/models/digits:predict  -> {means.shape[0]} means and {draws.shape[0]} draws")
    gap = float(np.abs(means - np.asarray(vae.sample_mean(12, seed=7))).max())
    print(f"Largest difference from vae.sample_mean(12, seed=7) in Python: {gap:.1e}")
    x = run.data().x_test[:12]
    reconstructions = np.asarray(vae.reconstruct((x > 0.5).astype(np.float32)))
    picture = out / "demo.png"
    save_png(
        labelled_rows(
            [
                ("test images", x),
                ("reconstructions", reconstructions),
                ("sample_mean over HTTP", means),
                ("sample over HTTP", draws),
            ]
        ),
        picture,
    )
    print(f"\nPicture: {picture}")
