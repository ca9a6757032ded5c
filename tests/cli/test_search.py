"""`omnirecord search` as scripts and people see it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

import omnirecord
from omnirecord.cassette.open import import_file
from tests.cli.test_cli import EVENT_KEYS
from tests.support.cassettes import Made, delta, status
from tests.support.command import invoke

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"


run = partial(invoke, "search")


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    tape = Made()
    tape.stream("one", 1.0, *((1.0 + n, status("word")) for n in range(30)), end=40.0)
    tape.post("/v1/sessions/one/events", 35.0, body={"text": "asked"})
    tape.stream("two", 50.0, (50.0, delta("a wo")), (51.0, delta("rd \x1b[31m and \u202e more")), end=60.0)
    return tape.save(tmp_path / "a.db")


def test_json_is_the_events_row_and_the_snippet(cassette: Path) -> None:
    result = run(cassette, "word", "--session", "two", "--json")
    (row,) = map(json.loads, result.stdout.splitlines())
    assert list(row) == [*EVENT_KEYS, "snippet"]
    assert (row["stream"], row["seq"], row["snippet"].startswith("a [word]")) == (2, 1, True)
    assert result.exit_code == 0


def test_a_request_has_the_same_keys_and_its_number(cassette: Path) -> None:
    (row,) = map(json.loads, run(cassette, "asked", "--json").stdout.splitlines())
    assert list(row) == [*EVENT_KEYS, "snippet", "exchange"]
    assert (row["stream"], row["exchange"], row["data"]) == (None, 2, {"text": "asked"})


def test_a_person_sees_sessions_times_types_and_how_many_more_there_are(cassette: Path) -> None:
    lines = run(cassette, "word").stdout.splitlines()
    assert lines[0] == "session one · recording 1"
    assert lines[1].split()[:3] == ["0.000s", "1:1", "session.status"]
    assert run(cassette, "word", "--absolute").stdout.splitlines()[1].split()[0] == "1.000s"
    assert "[word]" in lines[1]
    assert len(lines) == 1 + 20 + 1
    assert lines[-1].startswith("… and 11 more: narrow it down")


def test_nothing_found_is_a_sentence_and_exit_code_1(cassette: Path) -> None:
    result = run(cassette, "needle")
    assert (result.stdout, result.exit_code) == ("nothing found for needle\n", 1)
    result = run(cassette, "needle", "--json")
    assert (result.stdout, result.exit_code) == ("", 1)


def test_several_words_need_no_quotes(cassette: Path) -> None:
    assert run(cassette, "asked", "OR", "more").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "the query is empty"),
        (["word", "--since", "soon"], "since 'soon' is no time"),
        (["word", "--session", "three"], "no session begins with 'three'"),
        (["word", "--limit", "0"], "0 is not in the range"),
    ],
)
def test_a_mistake_is_a_sentence(cassette: Path, words: list[str], said: str) -> None:
    result = run(cassette, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_the_same_from_python() -> None:
    found = omnirecord.search(CASSETTES / "approval.jsonl", "release", limit=1)
    assert (found.total, len(found.hits)) == (3, 1)
    assert "*release*" in found.hits[0].snippet.marked("*", "*")


def test_the_python_of_its_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import_file(CASSETTES / "approval.jsonl", tmp_path / "session.db")
    monkeypatch.chdir(tmp_path)
    page = (CASSETTES.parent / "docs" / "search.md").read_text()
    exec(page.partition("```python\n")[2].partition("```")[0], {"omnirecord": omnirecord})
    assert "**release**" in capsys.readouterr().out


def test_an_event_without_a_type_has_no_verdict_in_place_of_it(tmp_path: Path) -> None:
    tape = Made()
    tape._contracts[0] = "none"
    tape.stream("/events", 0.0, (0.1, b'data: {"says": "lantern"}\n\n'))
    result = run(tape.save(tmp_path / "plain.db"), "lantern")
    assert "  (no type)  " in result.stdout
