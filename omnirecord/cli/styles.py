"""Colours of the lines that `show`, `tail` and the view of `proxy` print on a terminal."""

from __future__ import annotations

STYLES = {
    "verdict": "bold green",
    "bad": "bold red",
    "head": "bold",
    "asked": "bold cyan",
    "said": "",
    "thought": "italic dim",
    "tool": "yellow",
    "approval": "magenta",
    "child": "blue",
    "trouble": "bold red",
    "warning": "yellow",
    "note": "dim",
    "silence": "red",
    "end": "green",
    "total": "dim",
    "stop": "bold green",
    "more": "dim",
    "heartbeat": "dim",
    "blank": "",
    "model": "green",
}
"""Style of each kind of line, as Rich names it. `end`: something ended as it should."""
