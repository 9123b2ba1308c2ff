"""Mutation testing: small faults are put into the code one at a time, and the tests of that code must notice each.

cosmic-ray makes the mutants: `a + b` becomes `a - b`, `<` becomes `<=`, `True` becomes `False`, a loop runs no time.
TensorFlow takes seconds to import, so it is imported once. Each mutant runs its tests in a fork of this process, which
has imported TensorFlow and started nothing of it. The mutated file lies in a copy of the repository: the checkout stays
as it is.

    python scripts/mutate.py                                   every mutant of every target
    python scripts/mutate.py --target random --sample 40       40 of them, drawn with a fixed seed

The exit status is 1 where fewer mutants were caught than `--at-least` says, in percent.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import importlib
import itertools
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("tfpvae", "tests", "export", "serving", "notebooks", "scripts", "pyproject.toml", "README.md", "Makefile")
IMPORTED_ONCE = (
    "numpy", "scipy.stats", "scipy.special", "sklearn.datasets", "PIL.Image", "pytest",
    "tensorflow", "keras", "tensorflow_probability", "onnx", "onnxruntime", "tf2onnx",
)  # fmt: skip
SLOWER = 6
"""A mutant may run so many times longer than the unchanged code, and a minute more: then it counts as caught."""


class Target(NamedTuple):
    """Files to mutate, and the tests that must notice, the quickest first: the first failure ends a run."""

    patterns: tuple[str, ...]
    tests: tuple[str, ...]

    @property
    def sources(self) -> list[str]:
        """The files, as paths in the repository."""
        return [str(path.relative_to(ROOT)) for pattern in self.patterns for path in sorted(ROOT.glob(pattern))]


TARGETS = {
    "random": Target(("tfpvae/random/*.py",), ("tests/random",)),
    "objectives": Target(
        ("tfpvae/objectives/*.py",),
        ("tests/test_objectives.py", "tests/test_objectives_of_models.py", "tests/test_objectives_ppca.py"),
    ),
    "sampling": Target(
        ("tfpvae/models/sampling.py", "tfpvae/models/predicting.py"),
        ("tests/models/test_sampling.py", "tests/models/test_vae.py"),
    ),
    "models": Target(
        (
            "tfpvae/models/distribution_model.py",
            "tfpvae/models/latent_variable_model.py",
            "tfpvae/models/vae.py",
            "tfpvae/models/exporting.py",
            "tfpvae/models/divergence.py",
        ),
        (
            "tests/models/test_vae.py",
            "tests/models/test_train_step.py",
            "tests/models/test_divergence.py",
            "tests/models/test_feeding.py",
            "tests/models/test_conditional.py",
            "tests/models/test_saving.py",
        ),
    ),
    "feeding": Target(
        ("tfpvae/models/feeding.py", "tfpvae/models/sources.py"),
        (
            "tests/models/test_feeding.py",
            "tests/models/test_conditional.py",
            "tests/models/test_networks.py",
            "tests/layers/test_data_of_likelihoods.py",
        ),
    ),
    "networks": Target(
        ("tfpvae/models/networks.py",),
        (
            "tests/models/test_networks.py",
            "tests/layers/test_data_of_likelihoods.py",
            "tests/models/test_conditional.py",
        ),
    ),
    "conditional": Target(
        ("tfpvae/models/condition.py", "tfpvae/models/conditional.py"),
        ("tests/models/test_conditional.py", "tests/priors/test_conditional_prior.py"),
    ),
    "density": Target(("tfpvae/models/conditional_density.py",), ("tests/models/test_conditional_density.py",)),
    "hierarchical": Target(
        ("tfpvae/models/hierarchical.py", "tfpvae/models/latent_graph/*.py"), ("tests/models/test_hierarchical.py",)
    ),
    "two-stage": Target(("tfpvae/models/two_stage.py",), ("tests/models/test_two_stage.py",)),
    "hashes": Target(
        ("tfpvae/export/repository/hashes.py",), ("tests/cli/test_versions.py", "tests/export/test_verification.py")
    ),
    "lint": Target(("tfpvae/savedmodel/lint.py",), ("tests/savedmodel/test_lint.py",)),
    "parity": Target(
        ("tfpvae/export/parity.py",), ("tests/export/test_verification.py", "tests/export/test_exporter.py")
    ),
    "verification": Target(("tfpvae/export/verification.py",), ("tests/export/test_verification.py",)),
}

# Mutants that say nothing of the tests. VariableReplacer and VariableInserter need a configuration for each function.
# `is None` and `== None` are the same here, and Python takes equal strings and small integers for identical.
UNINTERESTING_OPERATORS = (
    "core/VariableReplacer", "core/VariableInserter",
    "core/ReplaceComparisonOperator_Is_Eq", "core/ReplaceComparisonOperator_IsNot_NotEq",
    "core/ReplaceComparisonOperator_Eq_Is", "core/ReplaceComparisonOperator_NotEq_IsNot",
)  # fmt: skip
UNINTERESTING_DECORATORS = ("abstractmethod", "overload", "cache", "wraps", "runtime_checkable", "dataclass", "final")
Span = tuple[tuple[int, int], tuple[int, int]]


class Mutant(NamedTuple):
    """One change of one file."""

    source: str
    operator: str
    occurrence: int
    line: int

    def code(self) -> str | None:
        """The whole file with the change, or None where it is no other program."""
        from cosmic_ray.mutating import mutate_code
        from cosmic_ray.plugins import get_operator

        original = (ROOT / self.source).read_text(encoding="utf-8")
        changed = mutate_code(original, get_operator(f"core/{self.operator}")(), self.occurrence)
        if changed is None:
            return None
        try:
            return changed if ast.dump(ast.parse(changed)) != ast.dump(ast.parse(original)) else None
        except SyntaxError:
            return None


def uninteresting(code: str) -> list[Span]:
    """The places, as ((line, column), (line, column)), where a mutant says nothing of the tests.

    They are annotations, type aliases and protocols, the text of errors and warnings, `__all__`, what only a type
    checker reads, and decorators that change nothing at run time.
    """
    nodes: list[ast.AST] = []
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.arg(annotation=annotation) if annotation is not None:
                nodes.append(annotation)
            case ast.AnnAssign(annotation=annotation, value=value):
                nodes.append(annotation)
                if value is not None and "TypeAlias" in ast.dump(annotation):
                    nodes.append(value)
            case ast.Raise(exc=ast.Call(args=args, keywords=keywords)):
                nodes += [*args, *keywords]
            case ast.Call(func=ast.Attribute(attr="warn")):
                nodes += [*node.args, *node.keywords]
            case ast.JoinedStr():
                nodes.append(node)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.ClassDef(bases=[ast.Name(id="Protocol")]):
                nodes.append(node)
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                nodes.append(value)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            nodes.append(node.returns)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            nodes += [d for d in node.decorator_list if any(name in ast.dump(d) for name in UNINTERESTING_DECORATORS)]
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes]


def mutants(source: str) -> list[Mutant]:
    """The mutants of a file, without the uninteresting ones."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    code = (ROOT / source).read_text(encoding="utf-8")
    skipped = uninteresting(code)
    nodes = list(ast_nodes(get_ast(code)))
    result = []
    for name in operator_names():
        if name in UNINTERESTING_OPERATORS:
            continue
        operator = get_operator(name)()
        places = (place for node in nodes for place in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(places):
            # A decorator's place begins at its "@", and ends on the next line.
            start = (start[0], start[1] + 1) if name == "core/RemoveDecorator" else start
            if not any(first <= start < last or first < end <= last for first, last in skipped):
                result.append(Mutant(source, name.removeprefix("core/"), occurrence, start[0]))
    return result


class Workplace:
    """A copy of the repository, in which tests run in forks of this process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif (ROOT / name).exists():
                shutil.copy(ROOT / name, directory / name)
        # Checked by content: a mutant is as new as the code that it replaces, and often as long.
        compileall.compile_dir(directory / "tfpvae", quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)

    def passes(self, tests: tuple[str, ...], seconds: float) -> bool:
        """Whether the tests pass within these seconds."""
        output = self.directory / "output.txt"
        with tempfile.TemporaryDirectory() as temporary:
            child = os.fork()
            if child == 0:
                self._run(tests, output, temporary)
            end = time.monotonic() + seconds
            while True:
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    return os.waitstatus_to_exitcode(status) == 0
                if time.monotonic() > end:
                    os.killpg(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    return False
                time.sleep(0.05)

    def _run(self, tests: tuple[str, ...], output: Path, temporary: str) -> None:
        """In the fork: runs the tests and ends the process."""
        status = 70
        try:
            os.setsid()
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.chdir(self.directory)
            sys.path.insert(0, str(self.directory))
            os.environ |= {"PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"}
            sys.dont_write_bytecode = True
            import pytest

            options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
            status = int(pytest.main([*options, f"--basetemp={temporary}/pytest", *tests]))
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def catches(self, mutant: Mutant, code: str, tests: tuple[str, ...], seconds: float) -> bool:
        """Whether the tests notice the mutant, whose code is given."""
        path = self.directory / mutant.source
        original = path.read_text(encoding="utf-8")
        path.write_text(code, encoding="utf-8")
        try:
            return not self.passes(tests, seconds)
        finally:
            path.write_text(original, encoding="utf-8")


def difference(source: str, code: str) -> tuple[str, str]:
    """The first line that differs, before and after."""
    before = (ROOT / source).read_text(encoding="utf-8").splitlines()
    for old, new in zip(before, code.splitlines(), strict=False):
        if old != new:
            return old.strip(), new.strip()
    return "", ""


def draw(every: list[Mutant], number: int | None, seed: int) -> Iterator[tuple[Mutant, str]]:
    """Mutants in random order, each with its code: so many of them, or all."""
    shuffled = list(every)
    random.Random(seed).shuffle(shuffled)
    with_code = ((mutant, code) for mutant in shuffled if (code := mutant.code()) is not None)
    return itertools.islice(with_code, number)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", choices=TARGETS, help="may be repeated; all targets by default")
    parser.add_argument("--sample", type=int, help="as many mutants of each target, drawn at random; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--at-least", type=float, default=90.0, help="percent of the mutants that must be caught")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no mutant of a target after so long")
    parser.add_argument("--report", type=Path, help="a JSON file of all results")
    options = parser.parse_args(argv)

    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1", "TF_ENABLE_ONEDNN_OPTS": "1"}
    for name in IMPORTED_ONCE:
        importlib.import_module(name)

    results = []
    with tempfile.TemporaryDirectory(prefix="tfpvae-mutants-") as directory:
        workplace = Workplace(Path(directory))
        for name in options.target or TARGETS:
            target = TARGETS[name]
            every = [mutant for source in target.sources for mutant in mutants(source)]
            begin = time.monotonic()
            if not workplace.passes(target.tests, math.inf):
                print((workplace.directory / "output.txt").read_text(errors="replace")[-3000:])
                print(f"{name}: the tests fail without a mutant")
                return 2
            seconds = time.monotonic() - begin
            print(f"{name}: {options.sample or 'all'} of {len(every)} mutants; tests of {seconds:.0f} s", flush=True)
            caught, run, begin = 0, 0, time.monotonic()
            for mutant, code in draw(every, options.sample, options.seed):
                if time.monotonic() - begin > 60 * options.minutes:
                    break
                is_caught = workplace.catches(mutant, code, target.tests, SLOWER * seconds + 60)
                caught, run = caught + is_caught, run + 1
                old, new = difference(mutant.source, code)
                results.append({**mutant._asdict(), "target": name, "caught": is_caught, "old": old, "new": new})
                if not is_caught:
                    where = f"{mutant.source}:{mutant.line} {mutant.operator}"
                    print(f"  survived: {where}\n    - {old}\n    + {new}", flush=True)
            print(f"{name}: caught {rate(caught, run)}", flush=True)
    caught, run = sum(result["caught"] for result in results), len(results)
    print(f"all: caught {rate(caught, run)}")
    if options.report:
        options.report.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return int(run > 0 and 100 * caught < options.at_least * run)


def rate(caught: int, run: int) -> str:
    """How many were caught, and the standard error of that share."""
    if not run:
        return "0 of 0"
    share = caught / run
    return f"{caught} of {run}: {100 * share:.1f} % +- {100 * math.sqrt(share * (1 - share) / run):.1f}"


if __name__ == "__main__":
    sys.exit(main())
