"""docs/architecture.md: its diagram is that of the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_diagram_is_the_codes():
    spec = importlib.util.spec_from_file_location("import_diagram", ROOT / "scripts" / "import_diagram.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert script.section() in page, "run python scripts/import_diagram.py --write"
