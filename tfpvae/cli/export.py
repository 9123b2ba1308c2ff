"""`tfpvae export`: writes a run's model as a version for TensorFlow Serving and ONNX Runtime."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfpvae.cli.parsing import Commands, add_command
from tfpvae.cli.terminal import Steps, load_tensorflow
from tfpvae.errors import ExportError
from tfpvae.export.profile import Profile
from tfpvae.export.repository import LAYOUTS
from tfpvae.export.repository.versions import check_version
from tfpvae.files import local_path
from tfpvae.signatures import graph_file
from tfpvae.training.run import open_run

if TYPE_CHECKING:
    from tfpvae.export import Export
    from tfpvae.training import Run


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(commands, "export", "write a run's model as a version for TensorFlow Serving and ONNX Runtime")
    parser.add_argument("run_dir", metavar="RUN", help="the run's directory")
    parser.add_argument("--out", required=True, metavar="MODELS/NAME", help="the model's directory")
    parser.add_argument("--version", type=int, metavar="N", help="the version; by default the next free number")
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="for a server without signatures: each ONNX graph as a servable of its own, MODELS/NAME_decode and so on",
    )
    parser.add_argument("--profile", metavar="FILE", help="a TOML file that says what to write; see export/")
    return parser


def run(options: argparse.Namespace) -> None:
    """Checks the profile, the run and the version, then exports.

    Raises:
        ExportError: the profile or the version is wrong, or the export does not compute what the model computes.
        RunError: there is no run with a model.
    """
    profile = Profile.load(options.profile) if options.profile else None
    opened = open_run(options.run_dir)
    opened.check_model()
    if not options.layout:
        check_version(local_path(options.out, ExportError), options.version)

    load_tensorflow("tfpvae export")
    from tfpvae.export import export_layout, export_model

    model = opened.model()
    if options.layout:
        with Steps() as steps:
            paths = export_layout(
                model, options.out, options.layout, version=options.version, profile=profile, progress=steps
            )
        print("Published", *(f"  {path}/" for path in paths), sep="\n")
        return
    with Steps() as steps:
        export = export_model(
            model, options.out, version=options.version, profile=profile, progress=steps, **record_of(opened)
        )
    print_export(export)


def record_of(run: Run) -> dict[str, Any]:
    """What an export records of a run: its settings, and the metrics of its last epoch."""
    history = run.history()
    settings = run.config.to_json()
    # The name of a file or folder is kept, its place on this machine is not.
    about = {**settings, "data": Path(settings["data"]).name, "epochs": len(history.get("loss", []))}
    return {"about": about, "metrics": {name: values[-1] for name, values in history.items() if values}}


def print_export(export: Export) -> None:
    """Prints how far each runtime is from Keras, how fast it is, and what was written."""
    from tfpvae.export.card import MODEL_CARD, SAMPLES
    from tfpvae.export.targets.base import targets

    _print_differences(export)
    for line in _speed_lines(export):
        print(line)
    print(f"\nPublished {export.path}/")
    for target in targets():
        names = export.targets.get(target.name, ())
        kept = [each for each in export.reduced if each.target == target.name and each.dropped is None]
        if names:
            in_precision = [f"{each.signature}.{each.precision}" for each in kept]
            print(f"  {target.files:<15} {', '.join([*names, *in_precision])}")
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


def _print_differences(export: Export) -> None:
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


def _speed_lines(export: Export) -> Iterator[str]:
    """The fastest way to compute each number of rows, and the graphs of lower precision that were dropped."""
    if export.recommended:
        yield "\nFastest in process on this machine, by rows at once:"
    for best in export.recommended:
        precision = (
            "" if best.precision == "float32" else f" {best.precision}, at most {best.difference:.2g} from Keras"
        )
        yield f"  {best.signature:<15}{best.rows:>4}  {best.microseconds:>10,.0f} us  {best.runtime}{precision}"
    for graph in export.reduced:
        if graph.dropped:
            yield textwrap.fill(
                f"Dropped {graph_file(graph.signature, graph.precision)}: {graph.dropped}.",
                116,
                initial_indent="  ",
                subsequent_indent="    ",
            )
