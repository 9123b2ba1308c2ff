"""Markdown for the model card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""

    def line(cells: Sequence[str]) -> str:
        # Within a cell a bar would end it, and a line break the table.
        return f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in cells)} |"

    yield line(header)
    yield f"|{'---|' * len(header)}"
    yield from (line(row) for row in rows)
