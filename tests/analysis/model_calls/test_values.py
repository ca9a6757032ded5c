"""Where the time of a turn went: each moment counts once."""

from __future__ import annotations

from dataclasses import replace

from omnirecord.analysis.model_calls import linked
from omnirecord.analysis.model_calls.values import first_token, time_spent
from omnirecord.analysis.turns.values import Approval
from tests.support.both_hops import World, ns


def told(world: World):  # type: ignore[no-untyped-def]
    found, turn = linked(world.calls, world.sessions(), world.recordings()), world.sessions()[0].turns[0]
    return time_spent(turn, found.of(turn), len(found.maybe(turn))), turn, found.of(turn)


def test_the_parts_add_up_to_the_whole() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, tool="call_1", refusals=2)
    used, turn, _ = told(world)
    assert used.total_ns == (turn.ended_ns or 0) - turn.begin_ns
    assert used.total_ns == used.model_ns + used.retry_wait_ns + used.tool_ns + used.approval_ns + used.harness_ns
    assert (used.calls, used.retried, used.ambiguous_calls) == (4, 2, 0)
    assert used.retry_wait_ns == ns(1.0)
    assert used.tool_ns == ns(0.2)


def test_an_approval_counts_before_a_tool_that_waits_for_it() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, tool="call_1")
    _, turn, links = told(world)
    tool = turn.tools[0]
    asked = Approval("e", "May I?", tool.called_ns, tool.returned_ns, "accept", tool.returned_ns, "client")
    used = time_spent(replace(turn, approvals=(asked,)), links)
    assert (used.approval_ns, used.tool_ns) == (ns(0.2), 0)


def test_ambiguous_calls_are_in_no_sum() -> None:
    world = World()
    for _ in range(2):
        world.session().turn("Hi", "Hello there.", 1.0)
    used, *_ = told(world)
    assert (used.calls, used.model_ns, used.ambiguous_calls) == (0, 0, 2)
    assert used.harness_ns == used.total_ns


def test_the_first_token_has_three_parts() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, refusals=1, lag=0.02)
    _, turn, links = told(world)
    token = turn.messages[0].first_ns
    parts = first_token(links, ns(1.0), token)
    assert parts is not None
    assert parts.before_ns == ns(0.03)
    assert parts.before_ns + parts.model_ns + parts.after_ns == token - ns(1.0)
    assert first_token([], ns(1.0), token) is None
