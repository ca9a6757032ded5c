"""A story's lines in colour. Nothing in a line is taken for markup; where stdout is no terminal, nothing is added."""

from __future__ import annotations

from typing import Final

import click
from rich.console import Console
from rich.text import Text

from ..analysis.transcript import Line
from .common import console as a_console

STYLES: Final[dict[str, str]] = {
    "verdict": "bold green", "bad": "bold red",
    "head": "bold", "asked": "bold cyan", "said": "", "thought": "italic dim", "tool": "yellow", "approval": "magenta",
    "child": "blue", "trouble": "bold red", "note": "dim", "silence": "red", "end": "dim", "total": "dim",
    "stop": "bold green", "more": "dim", "heartbeat": "dim", "blank": "",
}  # fmt: skip


class Painter:
    """Prints lines on stdout. `NO_COLOR` is honoured, as rich does."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or a_console()

    def print(self, line: Line) -> None:
        if self.console.is_terminal:
            self.console.print(painted(line), soft_wrap=True)
        else:
            click.echo(line)


def painted(line: Line) -> Text:
    return Text(str(line), style=STYLES.get(line.kind, ""))
