"""The command line: each command opens, calls one function, prints.

Exit codes: 0 fine; 1 the thing asked about is not fine; 2 the call or the file is unusable, with one sentence that
says what to do. What a command needs beyond click is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import click

from ..errors import __version__
from .common import Group
from .demo import demo
from .diff import diff
from .doctor import doctor
from .events import events
from .export import export
from .import_ import import_
from .lake import lake
from .ls import ls
from .proxy import proxy
from .query import query
from .request import request
from .scrub import scrub
from .search import search
from .serve import serve
from .sessions import sessions
from .ship import ship
from .show import show
from .stats import stats
from .tail import tail
from .ui import ui
from .validate import validate
from .verify import verify


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="omnirecord")
def main() -> None:
    """A flight recorder for agent event streams.

    Put `omnirecord proxy` between a client and its server. The proxy passes the bytes through, and records every event.
    `serve` replays a recording to a client, `show` prints a recording, and `doctor` lists failures and their causes.

    A CASSETTE is a .db or .jsonl file with one or more recordings, compressed (.zst) or not. CASSETTE#SESSION is one
    session of a cassette. Use "-" to read a cassette from standard input.

    \b
    Example:
      omnirecord proxy --upstream http://127.0.0.1:6767
    """


SECTIONS = {
    "Record and replay": (proxy, serve, verify, demo),
    "Read recordings": (sessions, show, ui, tail, ls, events, request, search, query),
    "Diagnose, measure, compare": (doctor, validate, stats, diff),
    "Copy and convert": (export, import_, scrub),
    "Keep the recordings of many recorders": (ship, lake),
}

for title, commands in SECTIONS.items():
    main.add_section(title, commands)
