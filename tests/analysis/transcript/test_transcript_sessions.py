"""Turns as text: that a stranger can read it, and that nothing in it acts upon a terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.transcript import transcript
from omnirecord.analysis.transcript.sentences import Page, turn_lines, wrap
from omnirecord.analysis.turns.draft import Draft
from omnirecord.analysis.turns.values import (
    Approval,
    Asked,
    Child,
    Fault,
    Listening,
    Note,
    Passage,
    Session,
    Silence,
    Snapshot,
    Trouble,
    Turn,
    TurnUsage,
)
from omnirecord.text import cells, seconds
from tests.support.examples import each

S = 1_000_000_000
HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\u202egnp.exe\u2066\x9b31m"


def draft(text: str = "Hi", at_ns: int = 2 * S) -> Draft:
    """A turn that was asked, and took its first event a tenth of a second later."""
    made = Draft(at_ns + S // 10)
    made.ask(text, at_ns)
    made.touch(made.started_ns)
    return made


def told(made: Draft, width: int = 200) -> list[str]:
    return list(turn_lines(made.freeze(1, "s", 1), Page(width)))


def session(*turns: Turn, streams: tuple[Listening, ...] = (), parent_id: str | None = None) -> Session:
    return Session(1, "3dc0", parent_id, 0, 29 * S // 10, streams, turns)


def listening(ending: str = "client_left", number: int = 1, until_ns: int | None = 29 * S // 10) -> Listening:
    return Listening(number, "client", 0, until_ns, ending)  # type: ignore[arg-type]


def test_a_whole_turn() -> None:
    made = draft("How long is the poem?")
    made.approvals["e"] = Approval("e", "Confirm this", 2 * S + S // 5, 3 * S, "accept", 3 * S - 1, "client")
    made.think("Count", 3 * S)
    made.think(" it.", 3 * S + S // 2)
    made.call("c", "shell", '{"command": "wc -l"}', "completed", 4 * S)
    made.hand_back("c", '{"stdout": "3 poem.txt\\n", "stderr": "", "exit_code": 0}', "completed", 4 * S + S // 4)
    made.say("Three", 5 * S)
    made.say(" lines.", 5 * S)
    made.agent, made.model, made.usage = "helper", "m1", TurnUsage(1200, 40, None, None, 0.25)
    made.end("completed", 6 * S)
    assert told(made) == [
        "  1   2.00 s   You: How long is the poem?",
        "     +0.20 s   the agent waits for approval: Confirm this -> accepted by client after 0.80 s",
        "     +1.00 s   thought for 0.50 s: Count it.",
        '     +2.00 s   tool shell {"command": "wc -l"} -> 3 poem.txt (0.25 s)',
        "     +3.00 s   Assistant: Three lines.",
        "             = completed after 4.00 s · first token after 1.00 s, then 4.0 deltas/s · 1,200 in, 40 out tokens"
        " · $0.2500 · agent helper · model m1",
    ]


def test_the_head_of_a_session() -> None:
    made = draft()
    made.end("completed", 2 * S + S // 2)
    (verdict, head, *_) = transcript([session(made.freeze(1, "s", 1), streams=(listening(),))])
    assert verdict == "Finished"
    assert head == "Session 3dc0 · recording 1 · 1 turn · 2.90 s"


def test_a_stream_that_ended_too_early_is_told() -> None:
    streams = (listening("upstream_lost"), listening("open", 2, None))
    (verdict, head, *_) = transcript([session(draft().freeze(1, "s", 1), streams=streams, parent_id="a1")], Page(200))
    assert verdict == "Recording: the agent works"
    assert head == (
        "Session 3dc0 · sub-agent of a1 · recording 1 · 1 turn · 2.90 s"
        " · stream 1: from 0.00 s to 2.90 s, connection broke · stream 2: still open"
    )


def test_an_empty_session_says_so() -> None:
    assert list(transcript([])) == ["no sessions"]
    assert list(transcript([session(streams=(listening(),))]))[2] == "  (empty: no event while a client listened)"
    assert list(transcript([session()]))[2] == "  (empty: no client listened to its stream)"


def test_sessions_are_apart() -> None:
    lines = list(transcript([session(), session()]))
    assert lines[4] == ""
    assert len(lines) == 9


def test_a_stream_without_times_tells_none() -> None:
    made = Draft(0)
    made.ask("Hi", 0)
    made.say("Hello.", 0)
    made.end("completed", 0)
    one = Session(1, None, None, 0, 0, (listening("eof", until_ns=0),), (made.freeze(1, None, 1),))
    assert list(transcript([one], Page(120))) == [
        "Finished",
        "A stream without a session · recording 1 · 1 turn · no times recorded",
        "  1            You: Hi",
        "               Assistant: Hello.",
        "             = completed",
        "  Why it stops here: Finished: the agent had answered, and nothing more was asked. The server closed"
        " the stream.",
    ]


def test_what_went_wrong() -> None:
    made = draft()
    made.troubles.append(Trouble(3 * S, "retry", "llm", None, "429", "slow down", 1, 3, 2.0))
    made.troubles.append(Trouble(4 * S, "error", "tool", "shell", None, "no such file"))
    made.notes.append(Note(5 * S, "interrupted by the user"))
    made.odd_events = 2
    made.end("failed", 6 * S, Fault("boom", "It broke."))
    assert told(made)[1:] == [
        "     +1.00 s   !! failed (llm), tried again in 2 s (attempt 1 of 3): 429: slow down",
        "     +2.00 s   !! error (tool shell): no such file",
        "     +3.00 s   -- interrupted by the user",
        "             = failed after 4.00 s: boom: It broke. · 2 events against the contract",
    ]


def test_a_tool_without_a_name_is_told_as_such() -> None:
    made = draft()
    made.call("c", "", "{}", "completed", 3 * S)
    assert "     +1.00 s   tool (no name) {} -> no answer was seen" in told(made)


def test_a_turn_that_is_stuck() -> None:
    made = draft()
    made.call("c", "shell", "", "in_progress", 3 * S)
    made.waiting_for["c"] = "shell"
    made.touch(3 * S)
    made.heartbeats = 4
    made.quiet(63 * S)
    assert told(made)[1:] == [
        "     +1.00 s   tool shell -> no answer was seen",
        "     +1.00 s   .. silence for 60.0 s, waiting for shell (4 heartbeats)",
        "             = unfinished: its end was not recorded, last event after 1.00 s · 4 heartbeats",
    ]


def test_silences_are_marked_from_five_seconds_on() -> None:
    made = draft()
    made.touch(made.last_ns + 5 * S - 1)
    assert not any("silence" in line for line in told(made))
    made.waiting_for["e"] = "approval"
    made.touch(made.last_ns + 5 * S)
    assert ".. silence for 5.00 s, waiting for approval" in told(made)[1]
    assert made.longest == Silence(made.last_ns - 5 * S, 5 * S, "approval")


def test_a_question_that_nobody_took_up() -> None:
    made = Draft(2 * S)
    made.ask("Hello?", 2 * S)
    assert told(made) == ["  1   2.00 s   You: Hello?", "             = unfinished: the agent never took it up"]


def test_an_unanswered_approval_and_an_unknown_question() -> None:
    made = Draft(S)
    made.approvals["e"] = Approval("e", "Sure?", 2 * S, None, None, None, None)
    made.end("denied", 3 * S)
    assert told(made) == [
        "  1   1.00 s   (what was asked is not in this recording)",
        "     +1.00 s   the agent waits for approval: Sure? -> no answer",
        "             = denied after 2.00 s",
    ]


def test_sub_agents() -> None:
    made = draft("[System: timer fired]")
    made.children["k"] = Child("k", "reviewer: plan", 3 * S, 5 * S, "completed", "It is sound.")
    assert told(made)[:3] == [
        "  1   2.00 s   System: timer fired",
        "     +1.00 s   started sub-agent reviewer: plan (session k; no client listened to it: what follows"
        " comes from its parent's stream)",
        "     +3.00 s   sub-agent reviewer: plan completed: It is sound.",
    ]


@each(
    ("output", "shown"),
    [
        ("plain\ntext", "plain text"),
        ("", "(nothing)"),
        ('{"stdout": "", "stderr": "no such file", "exit_code": 2}', "no such file [exit code 2]"),
        ('{"stdout": "", "exit_code": null, "timed_out": true}', "(nothing) [timed out]"),
        ('{"error": "refused"}', '{"error": "refused"}'),
    ],
)
def test_what_a_tool_gave_back_and_the_mark_of_one_that_failed(output: str, shown: str) -> None:
    made = draft()
    made.call("c", "t", "", None, 3 * S)
    made.hand_back("c", output, None, 4 * S)
    mark = "!! " if output.startswith("{") else ""
    assert told(made)[1] == f"     +1.00 s   {mark}tool t -> {shown} (1.00 s)"


def test_text_that_was_stored_otherwise_is_told() -> None:
    made = draft()
    made.say("Hel", 3 * S)
    made.store("Hello.", 3 * S)
    assert told(made)[1:3] == [
        "     +1.00 s   Assistant: Hel",
        "               (the server stored another text than it streamed)",
    ]


def test_what_is_hostile_is_seen_and_does_nothing() -> None:
    made = draft(HOSTILE)
    made.say(HOSTILE, 3 * S)
    made.call(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 3 * S)
    made.hand_back(HOSTILE, HOSTILE, None, 4 * S)
    made.approvals["e"] = Approval("e", HOSTILE, 3 * S, 4 * S, HOSTILE, 4 * S, HOSTILE)
    made.children["k"] = Child(HOSTILE, HOSTILE, 3 * S, 4 * S, HOSTILE, HOSTILE)
    made.notes.append(Note(3 * S, HOSTILE))
    made.troubles.append(Trouble(3 * S, "error", HOSTILE, HOSTILE, HOSTILE, HOSTILE))
    made.agent = made.model = HOSTILE
    made.end("failed", 5 * S, Fault(HOSTILE, HOSTILE))
    whole = Session(1, HOSTILE, HOSTILE, 0, 9 * S, (listening(),), (made.freeze(1, HOSTILE, 1),))
    lines = list(transcript([whole]))
    assert all(line.isprintable() for line in lines)
    assert r"\x1b]0;owned\x07\x1b[2J" in "\n".join(lines)


def test_what_is_long_is_cut_and_said_to_be() -> None:
    made = draft("x" * 1_000_000)
    lines = told(made, width=100)
    assert len(lines) < 60
    assert "(996,000 more characters)" in "".join(lines)


@given(st.text(max_size=200), st.integers(0, 60))
def test_no_line_is_wider_than_asked_for(text: str, width: int) -> None:
    for line in wrap(text, width, "- ", "  "):
        assert cells(line) <= max(width, 22)
        assert line.replace("\u200d", "").isprintable()


def test_words_stay_whole_and_lines_their_own() -> None:
    text = "one two three four\n  indented\n\n" + "日本語" * 5
    assert list(wrap(text, 20, "> ", "  ")) == [
        "> one two three four",
        "    indented",
        "",
        "  日本語日本語日本語日",
        "  本語日本語",
    ]


@each(
    ("ns", "shown"),
    [
        (0, "0.00 s"),
        (1_234_000_000, "1.23 s"),
        (9_999_000_000, "10.0 s"),
        (75 * S, "75.0 s"),
        (125 * S, "2 min 5 s"),
        (3_725 * S, "1 h 2 min"),
    ],
)
def test_times_as_a_person_reads_them(ns: int, shown: str) -> None:
    assert seconds(ns) == shown


def test_questions_in_mid_turn_come_in_their_place() -> None:
    made = draft()
    made.say("Well", 3 * S)
    made.asked.append(Asked("Hurry!", 4 * S, "user"))
    made.messages[0].closed = True
    made.say("Done.", 5 * S)
    assert [line[15:] for line in told(made)[:4]] == ["You: Hi", "Assistant: Well", "You: Hurry!", "Assistant: Done."]
    assert made.freeze(1, "s", 1).messages[0] == Passage("Well", 3 * S, 3 * S, 1, None, 1)


def test_what_was_cut_can_be_had_in_full() -> None:
    made = draft()
    made.call("c", "cat", "x" * 300, None, 3 * S)
    made.hand_back("c", "one\n" * 100, None, 4 * S)
    one = session(made.freeze(1, "s", 1))
    cut, full = list(transcript([one], Page(1000))), list(transcript([one], Page(1000, full=True)))
    assert "x… (60 more characters) -> one one" in cut[3]
    assert cut[-1] == "(what is long was cut: --full tells all of it)"
    assert sum(line.strip() == "one" for line in full) == 98
    assert not any("more character" in line or "--full" in line for line in full)


def test_text_that_was_stored_as_it_was_streamed_is_marked() -> None:
    made = draft()
    made.say("Hel", 3 * S)
    made.say("lo.", 4 * S)
    made.store("Hello.", 4 * S)
    made.end("completed", 5 * S)
    assert told(made)[-1].endswith(
        "= completed after 3.00 s · first token after 1.00 s, then 1.0 deltas/s · text stored as streamed"
    )


def test_deltas_that_came_at_once_have_no_pace() -> None:
    made = draft()
    made.say("a", 3 * S)
    made.say("b", 3 * S + 1)
    assert "first token after 1.00 s, the rest at once" in told(made)[-1]


def test_the_sum_of_a_session() -> None:
    def used(cost: float | None) -> Turn:
        made = draft()
        made.usage = TurnUsage(1000, 20, None, None, cost)
        made.end("completed", 3 * S)
        return made.freeze(1, "s", 1)

    def sums(*turns: Turn, **fields: Any) -> list[str]:
        return [line for line in transcript([replace(session(*turns), **fields)]) if line.kind == "total"]

    assert sums(used(0.5), used(0.25)) == ["  All 2 turns together · 2,000 in, 40 out tokens · $0.7500"]
    assert sums(used(0.5)) == []
    assert sums(used(None), cost_usd=0.125) == ["  In all · 1,000 in, 20 out tokens · $0.1250"]


def test_a_title_is_told_unless_it_is_the_question() -> None:
    one = session(draft("How long is the poem?").freeze(1, "s", 1))
    snapshots = [Snapshot(S, "idle", title, None, None, None, ()) for title in ("Poem", "How long…")]
    titled = [replace(one, snapshot=snapshot) for snapshot in snapshots]
    heads = [list(transcript([one]))[1] for one in titled]
    assert [head.split(" · ")[1] for head in heads] == ["“Poem”", "recording 1"]


def test_a_silence_tells_its_heartbeats_apart() -> None:
    def silent(**fields: Any) -> str:
        made = draft()
        made.silences.append(Silence(3 * S, 60 * S, None, **fields))
        return told(made)[1]

    assert silent(heartbeats=4).endswith(".. silence for 60.0 s (4 heartbeats)")
    assert silent().endswith(".. silence for 60.0 s (not even a heartbeat)")
    assert silent(unheard_ns=50 * S).endswith("(for 50.0 s of it no client was connected)")


def family(*ids: tuple[str, str | None, str | None]) -> list[Session]:
    """Sessions by id, parent, and the child that they start."""
    made = []
    for number, (name, parent, child) in enumerate(ids):
        one = draft(f"I am {name}", (2 + number) * S)
        if child is not None:
            one.children[child] = Child(child, None, one.started_ns, None, None, None)
        one.end("completed", 9 * S)
        made.append(replace(session(one.freeze(1, name, 1), parent_id=parent), session_id=name))
    return made


def test_a_sub_agents_turns_are_told_inside_its_parents() -> None:
    lines = list(transcript(family(("p", None, "k"), ("k", "p", None))))
    assert lines[2:7] == [
        "  1   2.00 s   You: I am p",
        "     +0.10 s   started sub-agent k (session k)",
        "    |   1   3.00 s   You: I am k",
        "    |              = completed after 6.00 s",
        "    | Why it stops here: Finished: the agent had answered, and nothing more was asked. No client",
    ]
    assert sum(line.startswith("Session ") for line in lines) == 1


def test_a_later_turn_of_a_sub_agent_is_told_in_the_turn_in_which_it_began() -> None:
    parent, child = family(("p", None, "k"), ("k", "p", None))
    later, again = (draft(text, at * S).freeze(1, "s", 2) for text, at in (("again", 20), ("you too", 21)))
    parent, child = (replace(one, turns=(*one.turns, more)) for one, more in ((parent, later), (child, again)))
    lines = [line.strip() for line in transcript([parent, child])]
    where = [next(i for i, line in enumerate(lines) if text in line) for text in ("I am k", "You: again", "you too")]
    assert where == sorted(where)


@each(
    "ids",
    [
        [("a", "b", "b"), ("b", "a", "a")],
        [("a", "a", "a")],
        [("a", "nobody", "b"), ("b", "a", "b")],
        [(f"n{i}", f"n{i - 1}" if i else None, f"n{i + 1}") for i in range(300)],
        [("a", None, None), ("b", "a", None)],
    ],
)
def test_every_session_is_told_once_whatever_their_parents(ids: list[tuple[str, str | None, str | None]]) -> None:
    text = "\n".join(transcript(family(*ids), Page(200)))
    for name, *_ in ids:
        assert text.count(f"You: I am {name}\n") == 1


def test_each_line_knows_what_it_tells() -> None:
    made = draft()
    made.say("Hello.", 3 * S)
    made.end("completed", 3 * S)
    kinds = [line.kind for line in transcript([session(made.freeze(1, "s", 1))], Page(200))]
    assert kinds == ["verdict", "head", "asked", "said", "end", "stop"]
