"""`make mutate`: which code it changes, and which changes it leaves out."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("scripts_mutate", ROOT / "scripts" / "mutate.py")
mutate = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = mutate
_spec.loader.exec_module(mutate)

CODE = """
from typing import TYPE_CHECKING, Final, TypeAlias
if TYPE_CHECKING:
    NEVER = 1 + 2
__all__ = ["a"] + ["b"]
Seed: TypeAlias = int | None
BITS: Final[int | float] = 24

class Sized(Protocol):
    @property
    def size(self) -> int:
        return 1 + 1

def half(n: int | None) -> int | None:
    if n is None or n < 0:
        raise ValueError(f"n must be at least {1 + 1}. Received: {n}")
    return n // 2
"""


def test_every_file_and_test_of_a_target_is_there():
    for name, target in mutate.TARGETS.items():
        assert target.sources, name
        for pattern in target.patterns:
            assert list(ROOT.glob(pattern)), (name, pattern)
        for test in target.tests:
            assert (ROOT / test).exists(), (name, test)


def test_every_module_of_the_models_and_of_the_random_numbers_has_a_target():
    covered = {source for target in mutate.TARGETS.values() for source in target.sources}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "tfpvae" / "models").rglob("*.py")}
    for package in ("random", "objectives"):
        modules |= {str(path.relative_to(ROOT)) for path in (ROOT / "tfpvae" / package).rglob("*.py")}
    assert {module for module in modules if not module.endswith("__init__.py")} <= covered


def test_annotations_errors_and_names_are_left_out_and_the_rest_is_mutated(tmp_path, monkeypatch):
    (tmp_path / "half.py").write_text(CODE)
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    found = mutate.mutants("half.py")
    lines = CODE.splitlines()
    assert {lines[mutant.line - 1].strip() for mutant in found} == {
        "BITS: Final[int | float] = 24", "if n is None or n < 0:", "return n // 2",
    }  # fmt: skip
    changed = {mutant.code() for mutant in found}
    for line in ("if n is None and n < 0:", "if n is None or n <= 0:", "return n / 2", "return n // 3"):
        assert any(line in code for code in changed), line
    for code in changed:
        ast.parse(code)


def test_a_sample_is_that_of_its_seed():
    every = mutate.mutants("tfpvae/random/seeds.py")

    def sample(seed):
        return [mutant for mutant, _ in mutate.draw(every, 5, seed)]

    assert sample(1) == sample(1) != sample(2)
    assert len(set(sample(1))) == 5


@pytest.mark.parametrize(("caught", "run", "said"), [(9, 10, "9 of 10: 90.0 % +- 9.5"), (0, 0, "0 of 0")])
def test_the_share_is_told_with_its_error(caught, run, said):
    assert mutate.rate(caught, run) == said
