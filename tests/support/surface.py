"""The public surface: names of Python with their parameters, options of commands, JSON keys, exit codes, SQL columns.

`python -m tests.support.surface` prints it as JSON. `tests/test_surface.py` compares it with `surface.json`, which
`python -m tests.support.surface --write` replaces.
"""

from __future__ import annotations

import inspect
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import click

import omnirecord
from omnirecord.cli import main
from tests.support.command import invoke

CASSETTES = Path(__file__).parents[2] / "cassettes"
SNAPSHOT = Path(__file__).with_name("surface.json")
SHOWN = ("approval", "turns", *(f"troubled/{name}" for name in ("runner_killed", "retries", "server_killed")))
"""The cassettes that each reading command is run on."""
READING: dict[str, list[str]] = {
    "ls": [], "ls --exchanges": [], "ls --streams": [], "ls --recordings": [], "events": [], "sessions": [],
    "show": [], "doctor": [], "validate": [], "stats": [], "search": ["the"], "verify": ["--timing", "instant"],
}  # fmt: skip
"""The commands whose JSON keys and exit codes are compared, with their arguments behind the cassette."""


def python() -> dict[str, str]:
    """Each name of `omnirecord.__all__`, with its signature; of a class, its public members too."""
    found = {}
    for name in omnirecord.__all__:
        value = getattr(omnirecord, name)
        found[name] = _signature(value)
        if inspect.isclass(value):
            members = [member for member in set(dir(value)) - set(dir(BaseException)) if not member.startswith("_")]
            found |= {f"{name}.{member}": _signature(inspect.getattr_static(value, member)) for member in members}
    return found


def _signature(value: Any) -> str:
    value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    try:
        return ", ".join(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return ""


def commands() -> dict[str, list[str]]:
    """Each command, with its arguments and options, and the default of each."""
    found = {}
    for name, command in sorted(main.commands.items()):
        parameters = []
        for one in command.params:
            default = "" if callable(one.default) or "Sentinel" in repr(one.default) else repr(one.default)
            kind = one.type.name + (str(list(one.type.choices)) if isinstance(one.type, click.Choice) else "")
            parameters.append(f"{'/'.join([*one.opts, *one.secondary_opts])} {kind} {default}".strip())
        found[name] = sorted(parameters)
    return found


def outputs() -> dict[str, Any]:
    """Of each command on each cassette: the paths of all JSON keys that it prints, and its exit code."""
    found: dict[str, Any] = {}
    for words, more in READING.items():
        keys: set[str] = set()
        codes = {}
        for name in SHOWN:
            path = CASSETTES / f"{name}.jsonl"
            if not path.exists():
                continue
            command, *options = words.split()
            done = invoke(command, path, *more, *options, "--json")
            codes[name] = done.exit_code
            for line in done.stdout.splitlines():
                keys |= set(_paths(json.loads(line)))
        found[words] = {"keys": sorted(keys), "exit codes": codes}
    return found


def _paths(value: Any, at: str = "") -> list[str]:
    if isinstance(value, dict):
        if at.rpartition(".")[2] in _BY_NAME:
            return [f"{at}.*"] + [path for one in value.values() for path in _paths(one, f"{at}.*")]
        return [path for key, one in value.items() for path in [f"{at}.{key}", *_paths(one, f"{at}.{key}")]]
    if isinstance(value, list):
        return [path for one in value for path in _paths(one, f"{at}[]")]
    return []


_BY_NAME = ("labels", "verdicts", "types", "data", "by_model", "arguments", "events", "gaps")
"""The objects whose keys are names from the recording."""


def views() -> dict[str, list[str]]:
    """The tables and views of a cassette, with their columns."""
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder, "a.db")
        invoke("import", CASSETTES / "text.jsonl", "--db", db)
        with closing(sqlite3.connect(db)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
            return {
                name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for (name,) in sorted(names)
            }


def surface() -> dict[str, Any]:
    return {"python": python(), "commands": commands(), "outputs": outputs(), "views": views()}


if __name__ == "__main__":
    text = json.dumps(surface(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if "--write" in sys.argv:
        SNAPSHOT.write_text(text)
    else:
        sys.stdout.write(text)
