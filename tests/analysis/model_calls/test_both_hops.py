"""The model calls of the shipped cassettes, which a real Omnigent made: each belongs to the right turn."""

from __future__ import annotations

from contextlib import closing

from omnirecord.analysis.gather import model_calls, whole_sessions
from omnirecord.analysis.model_calls.values import Link, ModelCalls
from omnirecord.analysis.turns.values import Session
from omnirecord.cassette.open import open_store
from tests.support.cassettes import SHIPPED
from tests.support.examples import each

BOTH = {path.name.partition(".")[0]: path for path in sorted((SHIPPED / "both_hops").glob("both_*.jsonl*"))}
EXPECTED = {
    "both_text": [(1, "likely", "completed")],
    "both_tool": [(1, "exact", "completed"), (1, "exact", "completed")],
    "both_chat": [(1, "exact", "completed"), (1, "exact", "completed")],
    "both_approval": [(1, "likely", "completed")],
    "both_interrupt": [(1, "likely", "cut"), (2, "likely", "completed")],
    "both_turns": [
        (1, "likely", "completed"), (2, "exact", "completed"), (2, "exact", "completed"), (3, "likely", "completed"),
    ],
    "both_failed": [(1, "likely", "failed")],
    "both_incomplete": [(1, "likely", "incomplete")],
    "both_retried": [
        (1, "exact", "completed"), (1, "exact", "refused"), (1, "exact", "refused"), (1, "exact", "completed"),
        (1, "exact", "completed"),
    ],
}  # fmt: skip
"""Turn, certainty and ending of each call, by start."""


def read(name: str) -> tuple[ModelCalls, list[Session]]:
    with closing(open_store(BOTH[name])) as store:
        return model_calls(store), list(whole_sessions(store))


def said(link: Link) -> tuple[int | None, str | None, str]:
    return link.turn and link.turn.turn, link.certainty, link.call.ending


@each("name", [name for name in EXPECTED if name in BOTH])
def test_each_call_belongs_to_its_turn(name: str) -> None:
    found, _ = read(name)
    assert [said(link) for link in found.links] == EXPECTED[name]
    assert [offset.by for offset in found.offsets] == ["run"]


def test_the_calls_of_a_sub_agent_belong_to_its_own_turns() -> None:
    found, sessions = read("both_subagent")
    child = next(one.session_id for one in sessions if one.parent_id is not None)
    assert [link.turn.session_id == child for link in found.links if link.turn is not None] == [
        False,
        False,
        True,
        False,
    ]
    assert [said(link)[0] for link in found.links] == [1, 1, 1, 2]


@each("name", BOTH)
def test_no_call_is_linked_to_another_session(name: str) -> None:
    """The text of a call is the text of its turn, and its tools are the tools of its turn."""
    found, sessions = read(name)
    turns = {(one.session_id, turn.turn): turn for one in sessions for turn in one.turns}
    for link in found.links:
        assert link.turn is not None, link.call.exchange
        turn = turns[link.turn.session_id, link.turn.turn]
        assert {one.call_id for one in link.call.tool_calls} <= {tool.call_id for tool in turn.tools}
        for text in link.call.texts if link.call.ending == "completed" else ():
            assert text in turn.text


def test_parallel_sessions_with_equal_prompts_have_their_own_calls() -> None:
    """The truth: the third turn of each session has a tool, whose id is exact, and its requests name the ids of the
    answers of the turns before it."""
    found, sessions = read("both_parallel")
    owners = {id_: link for link in found.links for id_ in link.call.own_ids}
    assert len(sessions) == 5
    assert {link.certainty for link in found.links} == {"exact", "likely"}
    known = 0
    for link in found.links:
        for earlier in (owners[id_] for id_ in link.call.history_ids if id_ in owners):
            assert link.turn is not None
            assert earlier.turn is not None
            assert earlier.turn.session_id == link.turn.session_id
            known += link.certainty == "exact" and earlier.certainty == "likely"
    assert known >= 10
