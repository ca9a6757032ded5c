"""Which turn a model call belongs to, how sure that is, and what must never be claimed."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omnirecord.analysis.model_calls import linked
from omnirecord.analysis.model_calls.values import Link, ModelCalls
from tests.support.both_hops import World, ns
from tests.support.examples import each, examples
from tests.support.watchdog import slowness


def of(world: World) -> ModelCalls:
    calls = world.calls if world.skew is None else world.skewed()
    return linked(calls, world.sessions(), world.recordings())


def wrong(world: World, found: ModelCalls) -> list[Link]:
    return [link for link in found.links if link.turn is not None and link.turn != world.truth[link.call.exchange]]


def evidence(found: ModelCalls) -> list[tuple[str | None, str | None]]:
    return [(link.by, link.certainty) for link in found.links]


def test_a_tool_call_links_both_of_its_calls_exactly() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, tool="call_a1b")
    found = of(world)
    assert evidence(found) == [("call_id", "exact")] * 2
    assert not wrong(world, found)


def test_a_message_and_its_text_link_a_call() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0)
    assert evidence(of(world)) == [("conversation", "likely")]


def test_the_history_tells_equal_messages_of_a_session_apart() -> None:
    world, end = World(), 0.0
    talk = world.session()
    for _ in range(4):
        end = talk.turn("Go on", "And so on.", end + 1.0)
    found = of(world)
    assert evidence(found) == [("conversation", "likely")] * 4
    assert not wrong(world, found)


def test_a_tool_in_the_history_does_not_link_a_later_turn_to_an_earlier_one() -> None:
    world = World()
    talk = world.session()
    end = talk.turn("Look", "I see.", 1.0, tool="call_a1b")
    talk.turn("Go on", "And so on.", end + 1)
    found = of(world)
    assert evidence(found)[2] == ("conversation", "likely")
    assert not wrong(world, found)


def test_parallel_sessions_with_equal_messages_and_equal_texts_are_told_apart_by_their_times() -> None:
    world = World()
    for number in range(5):
        world.session().turn("Hi", "Hello there, and welcome.", 1.0 + number / 3)
    found = of(world)
    assert {link.certainty for link in found.links} == {"likely"}
    assert not wrong(world, found)


def test_texts_at_the_same_time_stay_ambiguous() -> None:
    world = World()
    for _ in range(3):
        world.session().turn("Hi", "Hello there.", 1.0)
    found = of(world)
    assert evidence(found) == [("conversation", "ambiguous")] * 3
    assert all(len(link.candidates) == 3 and link.turn is None for link in found.links)
    turn = world.sessions()[0].turns[0]
    assert (found.of(turn), len(found.maybe(turn)), len(found.astray)) == ([], 3, 3)


def test_ids_of_earlier_answers_carry_a_session_from_a_clear_turn_to_an_unclear_one() -> None:
    world = World()
    ends = [talk.turn("Hi", "Hello there.", 1.0) for talk in (world.session(), world.session())]
    for number, talk in enumerate(world.talks):
        talk.turn("Go on", f"Answer {number}", ends[0] + 1)
    found = of(world)
    assert {link.certainty for link in found.links} == {"likely"}
    assert not wrong(world, found)


def test_a_refused_attempt_belongs_to_the_turn_of_the_next_one() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, refusals=2)
    world.session().turn("Hi", "Good day to you.", 1.2)
    found = of(world)
    assert not wrong(world, found)
    by_request: dict[int, list[int]] = {}
    for link in found.links:
        by_request.setdefault(link.request, []).append(link.attempt)
    assert sorted(by_request.values()) == [[1], [1, 2, 3]]


def test_a_plain_retry_without_a_header_is_an_attempt_of_the_same_request() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, refusals=1)
    world.calls = [replace(call, attempt=1) for call in world.calls]
    assert [(link.request, link.attempt) for link in of(world).links] == [(1, 1), (1, 2)]


@pytest.mark.parametrize("ending", ["failed", "incomplete", "cut"])
def test_a_call_that_was_cut_is_linked_by_what_it_streamed(ending: str) -> None:
    world = World()
    world.session().turn("Hi", "Half of an answer that", 1.0, ending=ending)  # type: ignore[arg-type]
    world.session().turn("Hi", "Another answer altogether.", 1.1)
    found = of(world)
    assert {link.certainty for link in found.links} == {"likely"}
    assert not wrong(world, found)


def test_an_interrupted_turn_has_the_beginning_of_the_streamed_text() -> None:
    world = World()
    first = world.session()
    first.turn("Hi", "A long story about a lighthouse and its keeper.", 1.0, ended="interrupted")
    world.session().turn("Hi", "Another answer altogether.", 1.05)
    turn = first.turns[0]
    short = replace(turn.messages[0], text="A long story about", last_ns=turn.messages[0].first_ns + ns(0.05))
    first.turns[0] = replace(turn, messages=(short,), text=short.text)
    found = of(world)
    assert {link.certainty for link in found.links} == {"likely"}
    assert not wrong(world, found)


def test_a_message_that_a_harness_wrote_anew_is_linked_by_its_text() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0)
    world.session().turn("Bye", "Good bye to you.", 1.0)
    world.calls = [replace(call, conversation=None) for call in world.calls]
    found = of(world)
    assert evidence(found) == [("conversation", "likely")] * 2
    assert not wrong(world, found)


def test_a_call_without_any_other_evidence_belongs_to_the_only_open_turn() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0)
    world.calls = [replace(call, conversation=None, texts=(), deltas=()) for call in world.calls]
    assert evidence(of(world)) == [("time", "likely")]


def test_a_call_about_something_else_is_not_claimed_by_the_only_open_turn() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0)
    other = World()
    other.session().turn("Name this session", "A greeting", 1.0)
    world.calls = [replace(call, exchange=7) for call in other.calls]
    assert evidence(of(world)) == [("time", "ambiguous")]


def test_a_call_outside_of_all_turns_has_no_turn() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0)
    world.calls = [replace(call, started_ns=ns(50), conversation=None, deltas=(), texts=()) for call in world.calls]
    assert evidence(of(world)) == [(None, None)]


def test_without_a_client_hop_no_call_has_a_turn_but_its_attempts() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, refusals=2)
    found = linked(world.calls, (), world.recordings())
    assert [(link.turn, link.request, link.attempt) for link in found.links] == [
        (None, 1, 1),
        (None, 1, 2),
        (None, 1, 3),
    ]


@pytest.mark.parametrize(
    ("status", "counts", "expected"),
    [
        (429, False, [(1, 1), (1, 2), (1, 3)]),
        (400, False, [(1, 1), (2, 1), (3, 1)]),
        (429, True, [(1, 1), (2, 1), (3, 1)]),
    ],
)
def test_a_plain_retry_without_a_turn_is_an_attempt_if_the_failure_may_pass(
    status: int, counts: bool, expected: list[tuple[int, int]]
) -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, refusals=2)
    calls = [replace(call, attempt=1, counts_attempts=counts) for call in world.calls]
    calls = [replace(call, status=status) if call.ending == "refused" else call for call in calls]
    found = linked(calls, (), world.recordings())
    assert [(link.request, link.attempt) for link in found.links] == expected


def test_an_id_that_two_calls_use_is_no_exact_evidence() -> None:
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, tool="call_1")
    world.session().turn("Hi", "Good day to you.", 1.0, tool="call_1")
    world.talks.pop(0)  # no client listened to the first session
    assert not [link for link in wrong(world, of(world)) if link.certainty == "exact"]


def test_a_sub_agent_has_turns_of_its_own() -> None:
    world = World()
    parent = world.session("parent")
    parent.turn("Ask the reviewer", "I have asked.", 1.0, tool="call_a1b")
    world.session("child").turn("Is it sound?", "It is sound.", 1.3)
    found = of(world)
    assert [link.certainty for link in found.links] == ["exact", "likely", "exact"]
    assert not wrong(world, found)


@each("skew", [-3600.0, -5.0, 0.05, 30.0, 86400.0])
def test_evidence_beats_clocks_that_differ(skew: float) -> None:
    world, end = World(skew=skew), 0.0
    talk = world.session()
    for number in range(3):
        end = talk.turn(f"Question {number}", f"Answer number {number}.", end + 1.0, tool=f"call_{number}")
    talk.turn("Go on", "And so on.", end + 1)
    found = of(world)
    assert not wrong(world, found)
    assert all(link.turn is not None for link in found.links)
    (offset,) = found.offsets
    if abs(skew) > 1:
        assert offset.by == "texts"
        assert abs(offset.offset_ns / 1e9 + skew) < 0.05
    assert all(
        abs(link.started_ns - call.started_ns) < ns(0.1) for link, call in zip(found.links, world.calls, strict=True)
    )


PROMPTS, ANSWERS = st.sampled_from(["Hi", "Go on", "Look"]), st.sampled_from(["Hello there.", "And so on.", "Well."])
TURN = st.tuples(
    PROMPTS, ANSWERS, st.floats(0.05, 2), st.booleans(), st.integers(0, 2), st.floats(0.005, 0.05), st.booleans()
)
GREETING = ("Hi", "Hello there.", 1.0, False, 0, 0.03, False)
LATER, SOON = ("Hi", "Hello there.", 2.0, False, 0, 0.03, False), ("Hi", "Hello there.", 0.5, False, 0, 0.03, False)
CROSSED = [
    (0.0, [GREETING]),
    (0.0, [GREETING] * 4),
    (0.0, [GREETING] * 4),
    (0.0, [LATER, LATER, SOON, GREETING]),
    (0.5, [GREETING, ("Hi", "Hello there.", 2.0, False, 0, 0.03, True), GREETING]),
]
"""The third call of the last session may be the fourth session's, and the other way round."""
WORLDS = st.lists(st.tuples(st.floats(0, 3), st.lists(TURN, min_size=1, max_size=4)), min_size=1, max_size=5)


def made(sessions: list, *, unique: bool, same_ids: bool, skew: float | None = None) -> World:  # type: ignore[type-arg]
    """Sessions in parallel. `unique`: no two answers are equal. `same_ids`: each session counts its tools from 1."""
    world = World(skew=skew)
    for number, (start, turns) in enumerate(sessions):
        talk, end = world.session(), start
        for place, (asked, said, pause, tool, refusals, lag, item_ids) in enumerate(turns):
            id_ = f"call_{place}" if same_ids else f"call_{number}_{place}"
            said = f"{said} {number}.{place}" if unique else said
            end = talk.turn(
                asked, said, end + pause, tool=id_ if tool else None, refusals=refusals, lag=lag, item_ids=item_ids
            )
    return world


@settings(deadline=None, max_examples=examples(50))
@given(WORLDS, st.booleans())
@example([(0.0, [GREETING]), (0.0, [GREETING, ("Hi", "Hello there.", 1.0, True, 0, 0.03, False)])], False)
@example(CROSSED, False)
def test_whole_recordings_have_no_wrong_link(sessions: list, same_ids: bool) -> None:  # type: ignore[type-arg]
    world = made(sessions, unique=False, same_ids=same_ids)
    assert not wrong(world, of(world))


@settings(deadline=None, max_examples=examples(50))
@given(WORLDS)
def test_answers_that_differ_link_every_answered_call(sessions: list) -> None:  # type: ignore[type-arg]
    world = made(sessions, unique=True, same_ids=False)
    found = of(world)
    assert not wrong(world, found)
    assert all(link.turn is not None for link in found.links if link.call.ending == "completed")


@settings(deadline=None, max_examples=examples(50))
@given(WORLDS, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_missing_exchanges_make_no_exact_link_wrong(
    sessions: list,
    unique: bool,
    same_ids: bool,
    chance: random.Random,  # type: ignore[type-arg]
) -> None:
    world = made(sessions, unique=unique, same_ids=same_ids)
    world.calls = [call for call in world.calls if chance.random() < 0.7]
    world.talks = [talk for talk in world.talks if same_ids or chance.random() < 0.7]
    found = of(world)
    assert not [link for link in wrong(world, found) if link.certainty == "exact" or (unique and link.call.texts)]


@settings(deadline=None, max_examples=examples(50))
@given(WORLDS, st.randoms(use_true_random=False))
def test_the_order_of_calls_and_sessions_does_not_matter(sessions: list, chance: random.Random) -> None:  # type: ignore[type-arg]
    world = made(sessions, unique=False, same_ids=False)
    before = of(world)
    chance.shuffle(world.calls)
    chance.shuffle(world.talks)
    after = of(world)
    assert [(a.call, a.turn, set(a.candidates)) for a in after.links] == [
        (b.call, b.turn, set(b.candidates)) for b in before.links
    ]


@settings(deadline=None, max_examples=examples(50))
@given(WORLDS, st.sampled_from([-1e6, -60.0, -0.5, 0.5, 60.0, 1e6]))
def test_clocks_that_differ_make_no_exact_link_wrong(sessions: list, skew: float) -> None:  # type: ignore[type-arg]
    world = made(sessions, unique=True, same_ids=False, skew=skew)
    found = of(world)
    assert not [link for link in wrong(world, found) if link.certainty == "exact"]


@pytest.mark.parametrize("kind", ["one session", "equal", "at once"])
def test_the_work_is_linear(kind: str, long: bool) -> None:
    """5,000 calls and turns with `--long`, otherwise 2,000; the same message, answer and time in the worst case."""
    count = 5000 if long else 2000
    world = World()
    talk = world.session()
    for number in range(count):
        if kind == "one session":
            talk.history = []
            talk.turn("Go on", "And so on.", number * 1.0)
        else:
            world.session().turn("Hi", "Hello there.", 1.0 if kind == "at once" else number * 0.01)
    sessions, recordings = world.sessions(), world.recordings()
    begun = time.process_time()
    found = linked(world.calls, sessions, recordings)
    assert time.process_time() - begun < 6 * count / 5000 * slowness()
    assert len(found.links) == count


def lost_partners(id_: str, *, output: str = "42") -> World:
    """Two sessions whose tools have the same id. The calls of one and the turns of the other were not recorded."""
    world = World()
    world.session().turn("Hi", "Hello there.", 1.0, tool=id_)
    heard = len(world.calls)
    world.session().turn("Hi", "Good day to you.", 1.0, tool=id_)
    world.calls = world.calls[heard:]
    turn = world.talks.pop().turns[0]
    assert turn.tools[0].output == "42"
    (kept,) = world.talks[0].turns
    world.talks[0].turns = [replace(kept, tools=(replace(kept.tools[0], output=output),))]
    return world


@each("id_", ["call_1", "toolu_01", "functions.look:0", "7"])
def test_a_counted_id_alone_is_no_exact_evidence(id_: str) -> None:
    world = lost_partners(id_, output="43")
    assert not [link for link in of(world).links if link.certainty == "exact"]


def test_a_counted_id_with_the_same_output_is_exact() -> None:
    world = World()
    world.session().turn("Look", "I see.", 1.0, tool="call_1")
    assert evidence(of(world)) == [("conversation", "likely"), ("call_id", "exact")]


def test_a_counted_id_with_the_same_history_is_exact() -> None:
    world = World()
    talk = world.session()
    talk.turn("Look again", "Nothing there.", talk.turn("Look", "I see.", 1.0) + 1, tool="call_1")
    assert evidence(of(world))[1:] == [("call_id", "exact")] * 2
