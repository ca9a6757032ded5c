"""How a fault is written, and what is said where it cannot be read."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.open import open_store
from omnirecord.errors import UsageError
from omnirecord.replayer.event_address import parse_address
from omnirecord.replayer.event_address.matcher import Stream
from omnirecord.replayer.faults import Faults
from omnirecord.replayer.faults.verbs import VERBS, parse_fault, time_text
from tests.replayer.event_address.test_event_address import ADDRESSES, VALUES
from tests.support.examples import each


def refusal(line: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_fault(line)
    return str(caught.value)


@each(
    ("line", "plain"),
    [
        ("drop 2nd session.status", None),
        ("duplicate every session.heartbeat in stream 2", None),
        ("swap response.created", None),
        ("swap response.created with response.in_progress", None),
        ("swap x with a=1 with y with b=2", None),
        ("delay x by 2s", None),
        ("delay x by 0.5 S", "delay x by 500ms"),
        ("delay x by 120s", "delay x by 2min"),
        ("delay x by 1.5ms", None),
        ("freeze at last event before [DONE]", None),
        ("freeze after x each time", None),
        ("cut before x", None),
        ("cut before x cleanly", "cut before x"),
        ("cut after x short", None),
        ("cut inside x by reset", None),
        ("cut inside a character of x by reset each time", None),
        ("corrupt x", None),
        ('set a.b of x to {"c": [1, "two words", null]}', None),
        ('set A.b[2] of x to  "\\u00e9"', 'set A.b.2 of x to "é"'),
        ("set a of x to 1e2", "set a of x to 100.0"),
        ("remove response.usage of response.completed", None),
        ("stop heartbeats at x", None),
        ("stop heartbeats after x", None),
        ("answer POST /v1/sessions/*/events with 503", None),
        ("answer the 2nd post /v1/sessions with 429", "answer 2nd POST /v1/sessions with 429"),
        ("answer every * * with 500", None),
        ("slow every GET /v1/* by 2s", None),
        ("  DROP\tThe 2nd  x ", "drop 2nd x"),
        ("Cut BEFORE x BY Reset Each Time", "cut before x by reset each time"),
        ("answer first two POST /x with 429", "answer first 2 POST /x with 429"),
        ("answer the first ten * * with reset", "answer first 10 * * with reset"),
        ("answer first POST /x with 529 retry after 0.5 s", "answer first POST /x with 529 retry after 500ms"),
        ("STALL 20 s AT the 2nd x EACH TIME", "stall 20s at 2nd x each time"),
    ],
)
def test_a_fault_is_read_and_told_in_its_plainest_spelling(line: str, plain: str | None) -> None:
    fault = parse_fault(line)
    assert str(fault) == (plain or line)
    assert fault == parse_fault(plain or line)


@each(
    ("line", "said"),
    [
        ("", "cannot read the fault '': where it ends, a fault begins with one of drop, duplicate, swap"),
        ("drp x", "'drp' at character 1, a fault begins with drop; write for instance 'drop 2nd session.status'"),
        ("drop", "where it ends, an event was expected; write for instance 'drop 2nd session.status'"),
        ("drop x y", "'y' at character 8, nothing more is expected"),
        ("drop x with y", "'with' at character 8, a condition is written with FIELD=VALUE"),
        ("drop x each time", "'each' at character 8, only a cut, a freeze or a stall happens once"),
        ("drop x by 2s", "'by' at character 8, nothing more"),
        ("swap every x", "'every' at character 6, a swap is of two events"),
        ("swap x with the every y", "'every' at character 17, a swap is of two events"),
        ("delay x", "where it ends, 'by' was expected; write for instance 'delay response.completed by 2s'"),
        ("delay x by", "where it ends, a time was expected"),
        ("delay x by 2", "'2' at character 12, a time was expected, up to a day, in ms, s or min"),
        ("delay x by 0s", "a time was expected"),
        ("delay x by 2days", "a time was expected"),
        ("delay x by 25000min", "a time was expected"),
        ("freeze x", "'x' at character 8, at or after an event was expected"),
        ("freeze before x", "at or after an event was expected"),
        ("cut x", "'x' at character 5, before, after or inside an event was expected"),
        ("cut before", "where it ends, an event was expected"),
        ("cut after x by force", "'by' at character 13, a cut is made cleanly, short or by reset"),
        ("cut after x each", "only a cut, a freeze or a stall happens once"),
        ("set x to 1", "'to' at character 7, 'of' was expected"),
        ("set of x to 1", "'x' at character 8, 'of' was expected"),
        ("set a..b of x to 1", "'a..b' at character 5, a field was expected"),
        ("set a of x", "where it ends, 'to' was expected"),
        ("set a of x to failed", "'failed' at character 15, a JSON value was expected, a text in double quotes"),
        ("set a of x to NaN", "a JSON value was expected"),
        ("set a of x to 1e999", "a JSON value was expected"),
        ("set a of x to 1 2", "'2' at character 17, nothing more"),
        ("set a of x to " + "[" * 5000, "a JSON value was expected"),
        ("remove a", "where it ends, 'of' was expected"),
        ("stop x", "'heartbeats' was expected"),
        ("stop heartbeats", "at or after an event was expected"),
        ("answer POST /x", "where it ends, 'with' was expected"),
        ("answer POST /x with 99", "'99' at character 21, a status from 200 to 599 was expected"),
        ("answer POST x with 500", "'x' at character 13, a path was expected"),
        ("answer last POST /x with 500", "a method was expected, with 2nd or every before it"),
        ("answer /x with 500", "'/x' at character 8, a method was expected"),
        ("slow GET /x", "where it ends, 'by' was expected"),
        ("stall x", "'x' at character 7, a time was expected"),
        ("stall 2s x", "'x' at character 10, 'at' was expected"),
        ("answer first 0 POST /x with 429", "'0' at character 14, a method was expected"),
        ("answer POST /x with 429 retry", "'retry' at character 25, nothing more"),
        ("answer POST /x with 429 retry after 2", "'2' at character 37, a time was expected"),
        ("answer POST /x with reset retry after 2s", "'retry' at character 27, nothing more"),
        ("answer POST /x with silence", "a status from 200 to 599 was expected, or reset"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_word_what_was_expected_and_an_example(line: str, said: str) -> None:
    message = refusal(line)
    assert said in message
    assert "write for instance" in message


@each("verb", VERBS)
def test_the_example_of_each_verb_is_a_fault_in_its_plainest_spelling(verb: str) -> None:
    assert str(parse_fault(VERBS[verb])) == VERBS[verb]
    assert VERBS[verb].split()[0] == verb


def test_one_line_is_as_good_as_a_list_of_one() -> None:
    assert Faults.parse("drop x") == Faults.parse(["drop x"])
    assert Faults.parse(["drop x"])
    assert not Faults.parse([])


@given(st.text() | st.builds("{} {}".format, st.sampled_from(list(VERBS)), st.text()))
def test_any_text_is_a_fault_or_a_usage_error(line: str) -> None:
    try:
        fault = parse_fault(line)
    except UsageError:
        return
    assert parse_fault(str(fault)) == fault


WORDS = [word for verb in VERBS.values() for word in verb.split()]
KEYWORDS = [
    "event",
    "before",
    "inside",
    "a",
    "character",
    "cleanly",
    "short",
    "each",
    "time",
    "the",
    "every",
    "first",
    "retry",
    "reset",
    "in",
    "stream",
    "3",
]


@given(st.lists(st.sampled_from([*WORDS, *KEYWORDS]), max_size=12))
def test_any_order_of_the_words_of_the_language_is_a_fault_or_a_usage_error(words: list[str]) -> None:
    try:
        fault = parse_fault(" ".join(words))
    except UsageError:
        return
    assert parse_fault(str(fault)) == fault


ENDS = st.builds(
    "{}{}".format, st.sampled_from(["", " short", " cleanly", " by reset"]), st.sampled_from(["", " each time"])
)
FIELDS = st.sampled_from(["a", "a.b[2].c", "response.usage"])
TIMES = st.builds("{}{}".format, st.integers(1, 1440), st.sampled_from(["ms", "s", "min"]))
REQUESTS = st.builds("{}{} {}".format, st.sampled_from(["", "3rd ", "every "]), st.sampled_from(["GET", "post", "*"]),
                     st.sampled_from(["/v1/*", "*", "/"]))  # fmt: skip
FAULTS = st.one_of(
    st.builds("{} {}".format, st.sampled_from(["drop", "duplicate", "corrupt", "stop heartbeats at"]), ADDRESSES),
    st.builds("swap {} with {}".format, ADDRESSES.filter(lambda text: "every" not in text), st.just("x")),
    st.builds("delay {} by {}".format, ADDRESSES, TIMES),
    st.builds("freeze {} {}".format, st.sampled_from(["at", "after"]), ADDRESSES),
    st.builds("cut {} {}{}".format, st.sampled_from(["before", "after", "inside", "inside a character of"]),
              ADDRESSES, ENDS),
    st.builds("set {} of {} to {}".format, FIELDS, ADDRESSES, VALUES.map(json.dumps)),
    st.builds("remove {} of {}".format, FIELDS, ADDRESSES),
    st.builds("answer {} with {}".format, REQUESTS, st.integers(200, 599)),
    st.builds("slow {} by {}".format, REQUESTS, TIMES),
)  # fmt: skip


@given(FAULTS)
def test_a_fault_in_words_reads_as_itself(line: str) -> None:
    fault = parse_fault(line)
    assert parse_fault(str(fault)) == fault


@given(st.integers(1, 24 * 3600 * 10**9))
def test_any_time_in_words_reads_as_itself(by_ns: int) -> None:
    text = time_text(by_ns)
    assert str(parse_fault(f"delay x by {text}")) == f"delay x by {text}"


PAGE = (Path(__file__).parent.parent.parent.parent / "docs" / "faults.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)


def test_every_example_of_the_page_is_read_as_it_stands() -> None:
    faults = [row for row in ROWS if row.split()[0] in VERBS]
    assert [str(parse_fault(row)) for row in faults] == faults
    assert {row.split()[0] for row in faults} == set(VERBS)
    events = [row for row in ROWS if row not in faults and row not in ("short", "by reset")]
    assert len(events) > 10
    for row in events:
        parse_address(row)


def test_every_error_of_the_page_is_what_is_said() -> None:
    with closing(open_store(Path(__file__).parent.parent.parent.parent / "cassettes" / "approval.jsonl")) as store:
        streams = [Stream(x.stream or 0, list(store.frames(x))) for x in store.streams()]
    pairs = re.findall(r"^(\w.*)\n  (\S.*)$", PAGE.partition("## When a fault cannot")[2], re.MULTILINE)
    assert len(pairs) == 2
    for line, said in pairs:
        with pytest.raises(UsageError) as caught:
            Faults.parse(line).bind(streams)
        assert str(caught.value) == said
