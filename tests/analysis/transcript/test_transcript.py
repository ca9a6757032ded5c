"""Cassettes as stories: which sessions are told, in what time, and that no cassette can make it loop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omnirecord.analysis.gather import whole_sessions
from omnirecord.analysis.transcript import lines_of, rows_of
from omnirecord.cassette.open import open_store
from tests.support.cassettes import Made, child, completed, created, delta, heartbeat, status
from tests.support.cost import cost
from tests.support.examples import each
from tests.support.watchdog import slowness

ROOT = Path(__file__).parent.parent.parent.parent
SUBAGENT = ROOT / "cassettes" / "subagent.jsonl"


def ids(made: Made, session: str | None) -> list[str | None]:
    return [one.session_id for one in whole_sessions(made.store(), session)]


def family(*pairs: tuple[str, str]) -> Made:
    """Sessions, each of which starts another one."""
    made = Made()
    for number, (parent, kid) in enumerate(pairs):
        at = float(number)
        made.stream(parent, at, (at, heartbeat()), (at, created()), (at, child(kid, parent)), (at, completed()))
    return made


def test_a_row_says_why_there_is_no_more_where_that_is() -> None:
    store = open_store(ROOT / "cassettes" / "troubled" / "child_unfinished.jsonl")
    rows = list(rows_of(store, None))
    (named,) = rows_of(store, "502ab")
    store.close()
    assert [row["stopped"]["code"] for row in rows] == ["child_unfinished", "client_left"]
    assert named == rows[0], "what its sub-agent did counts, though only its parent is asked for"
    store = open_store(ROOT / "cassettes" / "turns.jsonl")
    *before, last = rows_of(store, None)
    store.close()
    assert [row["stopped"] for row in before] == [None, None]
    assert last["stopped"]["sentence"].startswith("Finished: ")


def test_naming_a_parent_shows_its_sub_agents_inside_it() -> None:
    store = open_store(SUBAGENT)
    lines = list(lines_of(store, "9a"))
    store.close()
    assert sum(line.startswith("Session ") for line in lines) == 1
    assert any(line.startswith("    |   1 ") for line in lines)


def test_naming_a_sub_agent_shows_only_it() -> None:
    store = open_store(SUBAGENT)
    lines = list(lines_of(store, "c6d"))
    store.close()
    assert lines[1].startswith(
        "Session c6dde6498cf3476ebdda786dfb6f4cfa · sub-agent of 9a9099329a1f4e17b8103828f2125a3b"
    )
    assert not any("lines" in line or "I have asked the reviewer" in line for line in lines)


def test_the_objects_of_a_named_session_are_its_own_turns() -> None:
    store = open_store(SUBAGENT)
    rows = list(rows_of(store, "9a"))
    store.close()
    assert [row["turn"] for row in rows] == [1, 2]
    json.dumps(rows)


@each(
    "pairs",
    [
        [("a", "b"), ("b", "a")],
        [("a", "a")],
        [("a", "b"), ("b", "c"), ("c", "a")],
        [(f"n{i}", f"n{i + 1}") for i in range(200)],
    ],
)
def test_no_circle_of_parents_loops_and_every_session_is_told_once(pairs: list[tuple[str, str]]) -> None:
    made = family(*pairs)
    lines = list(lines_of(made.store(), None))
    assert sum("Why it stops here" in line for line in lines) == len(pairs)
    assert set(ids(made, pairs[0][0])) == {parent for parent, _ in pairs}


def test_a_threshold_of_silence_holds_for_lines_and_objects() -> None:
    made = Made()
    made.stream("s", 0.0, (0.0, heartbeat()), (1.0, created()), (3.0, delta("a")), (9.0, completed()))
    store = made.store()
    assert [len(row["silences"]) for row in rows_of(store, None)] == [1]
    assert [len(row["silences"]) for row in rows_of(store, None, long_silence=2_000_000_000)] == [2]
    assert sum(".. silence" in line for line in lines_of(store, None, long_silence=10_000_000_000)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("turns", [1, 500])
def test_a_hundred_thousand_events_are_told_quickly_and_in_little_memory(
    tmp_path: Path, turns: int, long: bool
) -> None:
    """Measured: 1.3 s of CPU time and 110 MB. Without `--long`, 10,000 events in a share of the time and memory."""
    share = 1.0 if long else 0.1
    made, reads, at = Made(), [(0.0, heartbeat())], 0.1
    for turn in range(turns):
        reads += [(at, status("running")), (at, created(f"r{turn}"))]
        for number in range(int(100_000 * share) // turns - 4):
            at += 0.001
            reads.append((at, delta(f"word{number} ", number)))
        reads += [(at, completed(f"r{turn}")), (at, status("idle"))]
    made.stream("s", 0.0, *reads, end=at + 1)
    cassette = made.save(tmp_path / "a.db")
    spent = cost("import sys; from omnirecord.cli import main; sys.argv[0] = 'omnirecord'; main()", "show", cassette)
    assert spent.seconds < (1 + 5 * share) * slowness()
    assert spent.megabytes < 80 + 220 * share
