"""Two cassettes opened and put beside each other: how a session is named, what is refused, what it costs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.analysis.diff import compared
from omnirecord.cassette.select import named_session
from tests.support.cassettes import Made, completed, created, delta, event, status
from tests.support.cost import cost
from tests.support.examples import each
from tests.support.watchdog import slowness

CASSETTES = Path(__file__).parent.parent.parent.parent / "cassettes"
SUBAGENT = CASSETTES / "subagent.jsonl"
PARENT, CHILD = "9a9099329a1f4e17b8103828f2125a3b", "c6dde6498cf3476ebdda786dfb6f4cfa"


def test_two_sessions_of_one_cassette_are_compared_by_their_names() -> None:
    found = omnirecord.diff(f"{SUBAGENT}#{PARENT[:4]}", f"{SUBAGENT}#{CHILD[:4]}")
    assert {one.session_id for one in found} == {PARENT}
    assert omnirecord.diff(f"{SUBAGENT}#{CHILD}", f"{SUBAGENT}#{CHILD}") == []


def test_one_session_of_both_is_compared_and_the_others_are_not() -> None:
    result = compared(SUBAGENT, SUBAGENT, session=CHILD[:5])
    assert (result.found, result.sessions, result.turns) == ([], 1, 1)


def test_a_file_with_a_number_sign_in_its_name_is_meant_as_a_whole(tmp_path: Path) -> None:
    odd = tmp_path / "run#1.jsonl"
    shutil.copy(SUBAGENT, odd)
    assert named_session(odd) == (odd, None)
    assert named_session(f"{odd}#{CHILD}") == (odd, CHILD)
    assert omnirecord.diff(odd, SUBAGENT) == []


@each(
    ("a", "more", "said"),
    [
        (f"{SUBAGENT}#nobody", {}, "no session begins with 'nobody'"),
        (f"{SUBAGENT}#", {}, "names no session behind the #"),
        (f"{SUBAGENT}#{CHILD}", {"session": PARENT}, "name it once"),
        (SUBAGENT, {"tolerance": -1.0}, "the tolerance is -1"),
        (SUBAGENT, {"tolerance": float("nan")}, "the tolerance is nan"),
        ("nowhere.db", {}, "nowhere.db does not exist"),
        ("nul\0.db", {}, "does not exist"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(a: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(omnirecord.OmnirecordError, match=said):
        omnirecord.diff(a, SUBAGENT, **more)


def test_who_watches_sees_how_far_it_is() -> None:
    seen: list[str] = []

    def watch(items: Iterable[Any], label: str) -> Iterator[Any]:
        for one in items:
            seen.append(label)
            yield one

    compared(SUBAGENT, CASSETTES / "text.jsonl", watch=watch)
    assert set(seen) == {"reading subagent.jsonl", "reading text.jsonl"}


def test_a_cassette_that_is_being_recorded_is_compared_as_far_as_it_is(tmp_path: Path) -> None:
    made = Made()
    made.stream("s", 1.0, (1.1, status("running")), (1.2, created()), (1.3, delta("Hel")), ending="open")
    whole = Made()
    whole.stream("s", 1.0, (1.1, status("running")), (1.2, created()), (1.3, delta("Hello")), (1.4, completed()))
    found = omnirecord.diff(made.save(tmp_path / "a.db"), whole.save(tmp_path / "b.db"))
    assert [(one.path, one.a) for one in found] == [
        ("turns[0].messages[0].text", "Hel"), ("turns[0].ended", "unfinished"),
    ]  # fmt: skip


COST = """
import sys
from omnirecord.analysis.diff import compared
result = compared(*sys.argv[1:])
print(len(result.found), result.turns)
"""


def session_of(path: Path, salt: int, turns: int) -> Path:
    """Ten events a turn, each with ids and times of this recording."""
    made, frames = Made(), []
    for n in range(turns):
        id_, call = f"resp_{n * 2 + salt:024x}", f"call_{n * 2 + salt:08d}"
        run = {
            "type": "function_call",
            "call_id": call,
            "name": "run",
            "arguments": json.dumps({"command": f"echo {n}"}),
        }
        came = {
            "type": "function_call_output",
            "call_id": call,
            "output": json.dumps({"stdout": f"{n}", "exit_code": 0}),
        }
        frames += [
            status("running"), event("response.created", response={"id": id_, "created_at": salt}),
            event("response.output_item.done", item=run), event("response.output_item.done", item=came),
            *(delta(f"{n} {piece}", n) for piece in "abc"), event("session.usage", context_tokens=n),
            completed(id_), status("idle"),
        ]  # fmt: skip
    made.stream("s", 1.0, *((1.0 + n / 1000, frame) for n, frame in enumerate(frames)))
    return made.save(path)


@pytest.mark.slow
def test_a_hundred_thousand_events_on_each_side_are_compared_in_seconds_and_in_300_mb(
    tmp_path: Path, long: bool
) -> None:
    """Without `--long`, 10,000 events in a tenth of the time and of the memory beyond the 60 MB of the process."""
    turns = 10_000 if long else 1_000
    share = turns / 10_000
    a, b = session_of(tmp_path / "a.db", 0, turns), session_of(tmp_path / "b.db", 1, turns)
    spent = cost(COST, a, b)
    assert spent.stdout == f"0 {turns}\n"
    assert spent.megabytes < 60 + 240 * share
    assert spent.seconds < (1 + 19 * share) * slowness()  # four for all of them on a machine with nothing else to do
