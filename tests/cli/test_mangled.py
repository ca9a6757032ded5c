"""Shipped cassettes, mangled, given to every command that reads: a sentence or an answer, whatever is in them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import Result

from omnirecord.cassette.open import import_file
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.mangled import FOLDER, mangled

COMMANDS: list[tuple[str, ...]] = [
    ("show",), ("show", "--json"), ("show", "--full", "--width", "30"), ("show", "--follow"),
    ("show", "--follow", "--json"), ("doctor",), ("doctor", "--json"), ("validate", "--unseen"), ("validate", "--json"),
    ("validate", "--contract", "documented"), ("stats",), ("stats", "--json"), ("events",), ("events", "--json"),
    ("tail",), ("tail", "-n", "1000", "--json"), ("search", "a", "OR", "the", "OR", "red"),
    ("search", "--json", "e*"), ("ls",), ("ls", "--json"), ("ls", "--streams"), ("ls", "--exchanges", "--json"),
    ("diff", str(FOLDER / "tool.jsonl")), ("diff", "--json", str(FOLDER / "subagent.jsonl")),
]  # fmt: skip
JUDGE = {"doctor", "validate", "diff", "search"}
"""The commands that may say that something is not fine."""


def run(words: tuple[str, ...], cassette: Path) -> Result:
    return invoke(words[0], cassette, *words[1:])


def no_json(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


def is_harmless(text: str) -> bool:
    return all(c.isprintable() or c in "\n\u200d" or unicodedata.category(c) == "Zs" for c in text)


def held(words: tuple[str, ...], cassette: Path) -> None:
    done = run(words, cassette)
    assert done.exception is None or isinstance(done.exception, SystemExit), words
    assert done.exit_code in ((0, 1) if words[0] in JUDGE else (0,)), (words, done.output)
    assert is_harmless(done.stdout), words
    if "--json" in words:
        for line in done.stdout.splitlines():
            assert isinstance(json.loads(line, parse_constant=no_json), dict)


def all_hold(seed: int, folder: Path) -> None:
    cassette = folder / "mangled.jsonl"
    cassette.write_text(mangled(seed), encoding="utf-8")
    for words in COMMANDS:
        held(words, cassette)
    assert run(("diff", "--json", str(cassette)), cassette).output == "", "it differs from itself"


@each("seed", range(4))
def test_every_command_takes_whatever_a_cassette_holds(seed: int, tmp_path: Path) -> None:
    all_hold(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.long
@each("seed", range(4, 100))
def test_every_command_takes_more_of_it(seed: int, tmp_path: Path) -> None:
    all_hold(seed, tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_both_forms_of_a_cassette_say_the_same(seed: int, tmp_path: Path) -> None:
    text, db = tmp_path / "mangled.jsonl", tmp_path / "mangled.db"
    text.write_text(mangled(seed), encoding="utf-8")
    import_file(text, db)
    for words in (("show", "--json"), ("doctor", "--json"), ("stats", "--json"), ("events", "--json")):
        assert run(words, db).stdout == run(words, text).stdout.replace(text.name, db.name)
