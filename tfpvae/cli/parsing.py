"""Parts of the parsers of the commands."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `ArgumentParser.add_subparsers` returns; argparse has no public name for it."""


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of an option, unless it is None or False."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def add_command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """Adds the parser of a command.

    Args:
        commands: where to add it.
        name: the command's name.
        text: what it does, without a capital or a full stop.
    """
    return commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=_HelpFormatter
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else")
