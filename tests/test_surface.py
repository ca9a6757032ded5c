"""The public surface keeps all that it has: names, parameters, options, JSON keys, exit codes, columns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.surface import SNAPSHOT, commands, outputs, python, views

BEFORE: dict[str, Any] = json.loads(SNAPSHOT.read_text())
REMOVED = {
    ("commands", "proxy"): ("--resume boolean", "--resume-for float"),
    ("commands", "serve"): ("--gate-timeout float",),
    ("python", "record"): ("resume", "resume_for"),
    ("python", "replay"): ("gate_timeout",),
    ("views", ""): ("pieces", "pages"),
}
"""Former names, by kind and place. `CHANGELOG.md` says what replaces each."""


def test_every_name_of_the_python_api_has_its_parameters() -> None:
    now = python()
    for name, parameters in BEFORE["python"].items():
        assert set(parameters.split(", ")) <= set(now[name].split(", ")), name


def test_every_command_has_its_options_and_their_defaults() -> None:
    now = commands()
    for name, options in BEFORE["commands"].items():
        assert set(options) <= set(now[name]), name


@pytest.mark.slow
def test_every_command_prints_its_json_keys_and_ends_with_its_exit_code() -> None:
    now = outputs()
    for name, before in BEFORE["outputs"].items():
        assert set(before["keys"]) <= set(now[name]["keys"]), name
        assert before["exit codes"] == now[name]["exit codes"], name


def test_every_table_and_view_has_its_columns() -> None:
    now = views()
    for name, columns in BEFORE["views"].items():
        assert set(columns) <= set(now[name]), name


@pytest.mark.parametrize(("kind", "place"), REMOVED)
def test_a_removed_name_does_not_come_back(kind: str, place: str) -> None:
    now = {
        "commands": lambda: commands()[place],
        "python": lambda: python()[place].split(", "),
        "views": views,
    }[kind]()
    assert not set(REMOVED[kind, place]) & set(now)
