"""The command line: each command opens, calls one function, prints.

Exit codes: 0 fine; 1 the thing asked about is not fine; 2 the call or the file is unusable, with one sentence that
says what to do. What a command needs beyond click is imported when it runs, so that `--help` is quick.

A command is in the module of its name, and its line of `--help` is in `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from keyword import iskeyword

import click

from ..errors import __version__
from .group import Group

SECTIONS = {
    "Record and replay": {
        "run": "Run a command, and record or replay its model calls.",
        "fork": "Run a command again from a model call on, with a change.",
        "proxy": "Record the traffic between clients and a server.",
        "serve": "Replay a cassette as a server.",
        "verify": "Compare a replay of a cassette with the recording.",
        "demo": "Replay, record, show and verify an example cassette.",
        "config": "Print the settings that hold, and where each is from.",
    },
    "Read recordings": {
        "sessions": "List sessions, with the first question and how each ended.",
        "show": "Print sessions turn by turn.",
        "ui": "Show a cassette or a lake as a page in a browser.",
        "tail": "Print the events of a recording as they arrive.",
        "ls": "List sessions, exchanges, streams or recordings of a cassette.",
        "events": "Print recorded events.",
        "request": "Show one request with its response, or as a curl command.",
        "search": "Search the text of events, messages, tools, requests.",
        "query": "Run SQL over sessions, turns, tools, findings, events.",
    },
    "Diagnose, measure, compare": {
        "doctor": "List failures in sessions, and their causes.",
        "validate": "Check recorded events against a contract.",
        "stats": "Measure sessions: latency, rates, usage.",
        "diff": "Compare two sessions by meaning.",
    },
    "Copy and convert": {
        "export": "Write a cassette in another form.",
        "import": "Append cassettes, or an .sse body, to a cassette.",
        "scrub": "Write a copy without secrets, or list the secrets.",
    },
    "Keep the recordings of many recorders": {
        "ship": "Copy recordings to a lake.",
        "lake": "Query, fetch and keep the recordings of many recorders.",
    },
}
"""The commands of each section of `--help`, with their lines."""
_LINES = {name: line for lines in SECTIONS.values() for name, line in lines.items()}


class _Commands(Mapping[str, click.Command]):
    """The commands by name. A lookup imports the module of the command."""

    def __getitem__(self, name: str) -> click.Command:
        line = _LINES[name]
        module = f"{name}_" if iskeyword(name) else name
        command: click.Command = getattr(import_module(f".{module}", __name__), module)
        command.short_help = line
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_LINES)

    def __len__(self) -> int:
        return len(_LINES)


@click.group(
    cls=Group,
    sections=SECTIONS,
    commands=_Commands(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="omnirecord")
def main() -> None:
    """A flight recorder for agent event streams.

    Put `omnirecord proxy` between a client and its server. The proxy passes the bytes through, and records every event.
    `serve` replays a recording to a client, `show` prints a recording, and `doctor` lists failures and their causes.

    A CASSETTE is a .db or .jsonl file with one or more recordings, compressed (.zst) or not. CASSETTE#SESSION is one
    session of a cassette, and CASSETTE#2 its second conversation with a model. Use "-" to read a cassette from standard
    input.

    \b
    Example:
      omnirecord proxy --upstream http://127.0.0.1:6767
    """
