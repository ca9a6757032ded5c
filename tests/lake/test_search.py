"""`lake search` finds words in questions, answers, tools, and both sides of model calls, by the rules of `search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from omnirecord.cli import main
from tests.support.answers import rows
from tests.support.cassettes import HEALTHY, SHIPPED, Made, completed, created, event, status
from tests.support.lake_sessions import again, ship
from tests.support.lakes import as_an_older_version, shipped

RETRIED = SHIPPED / "both_hops" / "both_retried.jsonl"
ASKED = {"role": "user", "content": [{"type": "input_text", "text": "Grüße nach Zürich"}]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake with both hops of a session, four sessions of one hop on three days, and one with escaped texts."""
    folder = tmp_path_factory.mktemp("searched")
    lake = shipped(str(folder / "lake"), RETRIED)
    days = {"text": "2026-11-20", "tool": "2026-11-21", "subagent": "2026-11-22"}
    ship(lake, [again(folder, name, day, number, {"team": name}) for number, (name, day) in enumerate(days.items())])
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "escaped"})
    call = {"type": "function_call", "call_id": "c", "name": "say", "arguments": json.dumps({"to": "Zürich"})}
    events = [
        event("session.input.consumed", data={"item_id": "i", "type": "message", "data": ASKED}),
        status("running"), created(), event("response.output_item.done", item=call), completed(), status("idle"),
    ]  # fmt: skip
    tape.stream("escaped", 1.0, *[(1.0 + n / 10, one) for n, one in enumerate(events)], end=3.0)
    ship(lake, [tape.save(folder / "escaped.db")])
    return lake.url


def found(url: str, *words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(main, ["lake", "search", url, *words, "--json"])
    assert done.exit_code == (0 if done.stdout else 1), done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def parts(url: str, *words: str) -> set[str]:
    return {row["part"] for row in found(url, *words)}


def test_words_of_prompts_and_answers_are_found(url: str) -> None:
    (session,) = rows(RETRIED, "sessions")
    (prompt,) = found(url, '"Embedded browser"')
    assert prompt == {
        "recording_id": "01a2207e-c02b-7899-bc52-12922cdc2a2d",
        "session_id": session["session_id"],
        "turn": 1,
        "exchange": 6,
        "at": "2026-11-28T04:51:48.575379Z",
        "part": "model_calls.instructions",
        "times": 5,
        "snippet": prompt["snippet"],
    }
    assert "[Embedded browser]: the" in prompt["snippet"]
    (answer,) = found(url, "three against two")
    assert (answer["part"], answer["turn"], answer["times"]) == ("turns.text", 1, 2)
    (error,) = found(url, "rate limit tokens", "--part", "model_calls.*")
    assert (error["part"], error["exchange"]) == ("model_calls.error", 7)


def test_a_query_has_phrases_beginnings_and_operators(url: str) -> None:
    poem = "The sea keeps"
    assert parts(url, f'"{poem}"') == {"tools.arguments"}
    assert parts(url, '"keeps sea"') == set()
    assert {row["session_id"] for row in found(url, "monda*", "OR", "poe*")} == {
        row["session_id"] for word in ("monda*", "poe*") for row in found(url, word)
    }
    assert parts(url, "Monday", "NOT", "calm") == {"turns.text"}
    assert parts(url, "mond") == set()
    assert parts(url, "ZÜRICH") == parts(url, "zurich") == {"turns.asked", "tools.arguments"}


def test_each_session_that_search_finds_by_a_turn_is_found(url: str) -> None:
    for word in ("release", "poem", "reviewer", "lines"):
        for name in ("text", "tool", "subagent"):
            done = CliRunner().invoke(main, ["search", str(HEALTHY[name]), word, "--json", "--limit", "100"])
            hits = [json.loads(line) for line in done.stdout.splitlines()]
            told = {hit["session_id"][4:] for hit in hits if hit["session_id"]}
            inside = {row["session_id"][4:] for row in found(url, word, "--label", f"team={name}", "--limit", "100")}
            assert inside <= told, (word, name)
            assert bool(inside) == bool(told), (word, name)


def test_filters_and_the_limit_choose_the_newest_hits(url: str) -> None:
    every = found(url, "poem OR monday OR reviewer", "--limit", "100")
    assert [row["at"] for row in every] == sorted((row["at"] for row in every), reverse=True)
    assert found(url, "poem OR monday OR reviewer", "--limit", "2") == every[:2]
    late = found(url, "poem OR monday OR reviewer", "--since", "2026-11-22")
    assert late == [row for row in every if row["at"] >= "2026-11-22"]
    assert {row["session_id"] for row in found(url, "reviewer", "--session", "0002")} == {
        row["session_id"] for row in found(url, "reviewer", "--label", "team=subagent")
        if row["session_id"].startswith("0002")
    }  # fmt: skip


def test_the_text_output_names_the_session_and_says_if_nothing_is_found(url: str) -> None:
    done = CliRunner().invoke(main, ["lake", "search", url, "monday", "--limit", "1"])
    heading, line, more = done.stdout.splitlines()
    assert heading.startswith("session 3b53e9137a134b08")
    assert line.startswith("  2026-11-28 04:51:")
    assert "[monday]" in line.lower()
    assert more.startswith("… and more: narrow it down")
    done = CliRunner().invoke(main, ["lake", "search", url, "nowhere-at-all"])
    assert (done.exit_code, done.stdout) == (1, "nothing found for nowhere-at-all\n")
    done = CliRunner().invoke(main, ["lake", "search", url, "monday", "--part", "calls.*"])
    assert done.exit_code == 2
    assert "--part 'calls.*' names no text: there are turns.asked, " in done.stderr


def test_a_lake_of_an_older_version_is_searched_without_its_model_calls(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), RETRIED)
    as_an_older_version(tmp_path / "lake")
    assert parts(lake.url, "three against two") == {"turns.text"}
    assert parts(lake.url, "embedded") == set()
