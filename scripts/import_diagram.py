"""Draws which part of tfpvae imports which, from the code.

    python scripts/import_diagram.py            prints the diagram, in Mermaid
    python scripts/import_diagram.py --write    puts it into docs/architecture.md

An arrow from `models` to `priors` says that models import priors. Arrows that follow from others are left out, and so
are the small modules that nearly every part uses (COMMON).
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tfpvae"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- import diagram: begin -->\n", "<!-- import diagram: end -->\n"

COMMON = frozenset(
    {
        "_compat",
        "_directories",
        "_extras",
        "_lazy",
        "_logs",
        "_registry",
        "batch",
        "checks",
        "errors",
        "files",
        "images",
        "records",
    }
)


def parts() -> dict[str, list[Path]]:
    """The modules of each part: a package, or a module at the top."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if top not in COMMON and not top.startswith("_"):  # With an underscore: _compat and small helpers.
            found.setdefault(top, []).append(path)
    return found


def imports(path: Path) -> set[str]:
    """The parts that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "tfpvae":
            names |= {f"tfpvae.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[1] for name in names if name.startswith("tfpvae.")}


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    """Whatever a part imports, at first or second hand."""
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        part = waiting.pop()
        if part not in seen:
            seen.add(part)
            waiting += graph[part]
    return seen


def diagram() -> str:
    """The diagram as Mermaid text."""
    graph = {part: set().union(*map(imports, modules)) - {part} for part, modules in parts().items()}
    graph = {part: imported & graph.keys() for part, imported in graph.items()}
    lines = ["graph TD"]
    for part in sorted(graph):
        implied = set().union(*(reach(graph, other) for other in graph[part]))
        lines += [f"    {part} --> {other}" for other in sorted(graph[part] - implied)]
    return "\n".join(lines) + "\n"


def section() -> str:
    """What stands between the markers of the page."""
    return f"{BEGIN}\n```mermaid\n{diagram()}```\n\n{END}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the diagram into docs/architecture.md")
    if not parser.parse_args().write:
        print(diagram(), end="")
        return
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(before + section() + after, encoding="utf-8")


if __name__ == "__main__":
    main()
