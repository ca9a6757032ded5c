"""`config`: the settings that hold, and where each is from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..text import dumps
from .common import json_option, print_found, table
from .settings import PORT, no_config_option, settings_of

if TYPE_CHECKING:
    from ..settings import Setting, Settings

_LEAST = {"value": 12, "from": 12}
_ONLY_IN_PYTHON = frozenset({"before_record"})
"""The settings that neither a file nor a variable can set."""
_DEFAULTS = {"port": PORT, "timing": None}
"""Defaults of commands that differ from those in Python, or between commands."""
_WORDS = {
    "upstream": "none: give --upstream",
    "listens": "a free port for each further upstream",
    "token": "a new one for each run",
    "contract": "auto",
    "contracts": "auto",
    "labels": "none",
    "redact": "credentials only",
    "pseudonym_key": "in the user's folder for state files",
    "gates": "messages, interrupts, answers to approvals",
    "match": "method, path, query and conversations",
    "match_on": "method, path, query and conversations",
    "timing": "original; run and tests: instant",
    "speed": "1",
    "record": "none",
    "cassettes": "cassettes beside the test file",
    "only_paths": "all paths",
    "keep": "all",
    "rotate": "never",
    "skip_gates_after": "no limit",
    "max_gap": "no limit",
}
"""Defaults in words; the others are values, or nothing."""


@click.command()
@no_config_option()
@json_option
def config(as_json: bool) -> None:
    """Print the settings that hold in the current folder, and where each is from.

    The nearest omnirecord.toml, or pyproject.toml with a table [tool.omnirecord], has settings. It is searched for in
    the current folder and in the folders above. A variable such as OMNIRECORD_DB overrides the setting db. An option
    of a command overrides both.

    \b
    Example:
      omnirecord config
    """
    settings = settings_of(click.get_current_context())
    rows = list(_rows(settings))
    without_file = [] if settings.file else ["No settings file was read: see docs/settings.md"]
    print_found(as_json, rows, [*table([_cells(row) for row in rows], least=_LEAST), *without_file])


def _rows(settings: Settings) -> Iterator[dict[str, Any]]:
    from ..options import SETTINGS
    from ..settings import Setting

    for name in (name for name in SETTINGS if name not in _ONLY_IN_PYTHON):
        setting = settings.values.get(name) or Setting(_default(name))
        yield {"setting": name, "value": _shown(name, setting), "source": setting.source, "place": setting.place}


def _default(name: str) -> Any:
    from ..options import SETTINGS

    return _DEFAULTS.get(name, SETTINGS[name].default)


def _shown(name: str, setting: Setting) -> Any:
    """Return the value without a secret."""
    from ..settings import SECRET

    if name in SECRET and setting.value is not None:
        return "(not shown)"
    return list(setting.value) if isinstance(setting.value, tuple) else setting.value


def _cells(row: dict[str, Any]) -> dict[str, str]:
    value = row["value"]
    if value is None or value == []:
        value = _WORDS.get(row["setting"], "none")
    text = value if isinstance(value, str) else dumps(value)
    return {"setting": row["setting"], "value": text, "from": row["place"] or row["source"]}
