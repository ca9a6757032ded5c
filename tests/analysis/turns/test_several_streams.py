"""Turns of a session that several streams carry: second clients and reconnects."""

from __future__ import annotations

from omnirecord.analysis.turns.values import Turn
from omnirecord.omnigent.line import merged
from omnirecord.wire.event_ids import event_id, stamp
from tests.analysis.turns.test_turns import (
    GREETING,
    HEARTBEAT,
    IDLE,
    MS,
    RUNNING,
    S,
    begin,
    consumed,
    end,
    only,
    says,
    stored,
    stream,
    texts,
    turns,
)
from tests.support.examples import each


def test_copies_of_an_event_are_copies_whatever_id_each_stream_gave_them() -> None:
    events = [*GREETING, RUNNING, consumed("Hi"), begin(), *says("A", " B"), end(), IDLE]
    both = [
        one._replace(raw=stamp(one.raw or b"", event_id(one.stream, one.seq)))
        for number in (1, 2)
        for one in stream(*events, number=number)
    ]
    (turn,) = turns(both)
    assert turn.text == "A B"


def test_two_clients_hear_one_session() -> None:
    events = [RUNNING, consumed("Hi"), begin(), *says("A", " B", " A", " B"), stored("A B A B"), end(), IDLE]
    first = stream(*GREETING, *events)
    second = [f._replace(stream=2, offset_ns=f.offset_ns + 1000) for f in stream(*GREETING, *events[:5])]
    assert turns([*first, *second]) == turns(first)
    assert turns([*second, *first])[0].text == "A B A B"


def reconnected(heard: int, resent: str, live: int, away: int = 30 * MS) -> Turn:
    words = says("A", " flight", " recorder", " keeps", " all.")
    first = stream(*GREETING, RUNNING, consumed("Hi"), begin(), *words[:heard])
    again = [begin(type_="response.created"), *says(resent)]
    in_flight = [(type_, {**data, "sequence_number": None}) for type_, data in again]
    back = first[-1].offset_ns + away
    second = stream(HEARTBEAT, *in_flight, *GREETING[1:], *words[live:], end(), IDLE, number=2, begin=back)
    return only([*first, *second])


@each("away", [0, MS, 30 * MS, 5 * S])
def test_text_in_flight_that_is_sent_again_is_no_new_text(away: int) -> None:
    assert reconnected(3, "A flight recorder", 3, away).text == "A flight recorder keeps all."


def test_text_in_flight_that_nobody_had_heard_is() -> None:
    assert reconnected(3, "A flight recorder keeps", 4).text == "A flight recorder keeps all."
    assert reconnected(0, "A flight recorder keeps", 4).text == "A flight recorder keeps all."


def test_a_client_that_joins_while_another_listens_adds_nothing() -> None:
    words = says("A", " b", " c", " d")
    first = stream(*GREETING, RUNNING, consumed("Hi"), begin(), *words, end(), IDLE)
    in_flight = [
        (type_, {**data, "sequence_number": None}) for type_, data in [begin(type_="response.created"), *says("A b")]
    ]
    second = stream(
        HEARTBEAT, *in_flight, *words[2:], end(), IDLE, number=2, begin=first[7].offset_ns + 1, step=MS // 4
    )
    alone, together = only(first), only([*first, *second])
    assert together.ended_ns != alone.ended_ns  # the earliest copy tells the time
    assert (together.text, together.ended, together.events) == (alone.text, alone.ended, alone.events)


def test_a_turn_that_ended_while_nobody_listened_is_told_apart_from_the_next() -> None:
    first = stream(*GREETING, RUNNING, consumed("One"), begin(), *says("1"))
    second = stream(*GREETING, consumed("Two"), RUNNING, begin("r2"), *says("2"), end(id_="r2"), number=2, begin=9 * S)
    assert texts(turns([*first, *second])) == [(["One"], "1", "unfinished"), (["Two"], "2", "completed")]


def test_one_line_is_in_the_order_of_time_and_marks_the_snapshot() -> None:
    line = merged(stream(*GREETING, RUNNING, HEARTBEAT))
    assert [heard.in_snapshot for heard in line] == [True, True, True, False, False]
    assert merged([]) == []
