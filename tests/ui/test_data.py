"""What the page is told: that it is what the commands say, and what it is told of what is odd."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord import doctor
from omnirecord.analysis.listing import EventFilter, event_rows, session_rows
from omnirecord.analysis.transcript import rows_of
from omnirecord.cassette.open import import_file, open_store
from omnirecord.errors import UsageError
from omnirecord.ui.data import Answers
from omnirecord.ui.events import Key, columns, read_key
from tests.support.cassettes import HEALTHY, TROUBLED, Made, completed, created, delta, status
from tests.support.examples import each

SHIPPED = {**HEALTHY, **TROUBLED}


def ask(path: Path, name: str, **asked: Any) -> Any:
    with closing(Answers(lambda: path)) as answers:
        return answers.answer(name, {key: str(value) for key, value in asked.items()})


@each("name", SHIPPED)
def test_turns_are_those_of_show(name: str) -> None:
    sessions = ask(SHIPPED[name], "overview")["sessions"]
    told = [turn for one in sessions for turn in ask(SHIPPED[name], "session", key=one["key"])["family"][0]["turns"]]
    with closing(open_store(SHIPPED[name])) as store:
        assert told == list(rows_of(store, None))


@each("name", SHIPPED)
def test_the_list_has_what_ls_has(name: str) -> None:
    listed = ask(SHIPPED[name], "overview")["sessions"]
    with closing(open_store(SHIPPED[name])) as store:
        rows = list(session_rows(store))
    fields = (
        "recording",
        "session_id",
        "started_at",
        "streams",
        "exchanges",
        "events",
        "last_status",
        "ending",
        "parent_session_id",
        "conclusion",
    )
    assert [{field: one[field] for field in fields} for one in listed] == [
        {field: row[field] for field in fields} for row in rows
    ]


def test_findings_are_those_of_doctor() -> None:
    found = ask(SHIPPED["runner_killed"], "findings")
    assert [(one["code"], one["because"]) for one in found] == [
        (one.code, one.because) for one in doctor(SHIPPED["runner_killed"])
    ]


def test_columns_in_pieces_are_the_events() -> None:
    with closing(open_store(SHIPPED["text"])) as store:
        rows = list(event_rows(store, EventFilter()))
    made, after = list[tuple[Any, ...]](), 0
    with closing(open_store(SHIPPED["text"])) as store:
        while True:
            piece, at = columns(store, 1, after, 10), 0
            for i, seq in enumerate(piece["seq"]):
                at += piece["dt"][i]
                sent = None if piece["sent"][i] < 0 else at + piece["sent"][i]
                made.append((seq, at, sent, piece["types"][piece["type"][i]]))
            if not piece["more"]:
                break
            after = piece["seq"][-1]
    assert made == [(row["seq"], row["offset_ns"], row["sent_ns"], row["type"]) for row in rows]


def test_growth_counts_as_a_browser_does(tmp_path: Path) -> None:
    tape = Made()
    tape.stream(
        "s", 0.5, (1.0, status("running")), (1.1, created()), (1.2, delta("a👩")), (1.3, delta("é")), (1.4, completed())
    )
    (turn,) = ask(tape.save(tmp_path / "a.db"), "session", key="1.session.s")["family"][0]["growth"]
    assert turn["messages"] == [[1_200_000_000, 3, 1_300_000_000, 4]]


def test_one_event_is_told_in_full_and_a_very_long_one_in_part(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 0.5, (1.0, delta("x" * (2 << 20))), (1.1, b"data: \xff\n\n"))
    path = tape.save(tmp_path / "a.db")
    long = ask(path, "event", stream=1, seq=1)
    assert (len(long["raw"]), long["cut"]) == (1 << 20, long["cut"])
    assert long["cut"] > 2 << 20
    assert ask(path, "event", stream=1, seq=2)["raw"] == {"base64": "ZGF0YTog/woK"}


def test_a_text_is_found_in_frames_whatever_its_case() -> None:
    with closing(open_store(SHIPPED["tool"])) as store:
        wanted = [
            frame.seq for x in store.streams() for frame in store.frames(x) if b"poem" in (frame.raw or b"").lower()
        ]
    found = ask(SHIPPED["tool"], "matching", streams="1", exchanges="1,5", text="PoEm")
    assert found == {"streams": {"1": wanted}, "exchanges": [5]}
    assert wanted


def test_an_exchange_is_told_with_its_bodies() -> None:
    told = ask(SHIPPED["approval"], "exchange", exchange=5)
    assert "release notes" in told["request"]["body"]["text"]
    assert told["response"]["reason"] == "Accepted"
    assert told["messages"] == []


@each("text", ["", "1", "1.session", "x.session.a", "1.stream.", "1.stream.-1", "1.other.2", "\u0661.session.a"])
def test_what_names_no_session_is_said_to(text: str) -> None:
    with pytest.raises(UsageError, match="names no session"):
        read_key(text) if text != "1.session" else read_key("1.sessio.")


def test_a_name_leads_back_to_its_session() -> None:
    for key in (Key(1, "a.b c"), Key(12, ""), Key(2, None, 7)):
        assert read_key(str(key)) == key


def test_the_same_session_in_two_recordings_is_two(tmp_path: Path) -> None:
    for _ in range(2):
        import_file(SHIPPED["approval"], tmp_path / "two.db")
    keys = [one["key"] for one in ask(tmp_path / "two.db", "overview")["sessions"]]
    assert [key.partition(".")[0] for key in keys] == ["1", "2"]
    assert [ask(tmp_path / "two.db", "session", key=key)["family"][0]["turns"][0]["recording"] for key in keys] == [
        1,
        2,
    ]
    assert ask(tmp_path / "two.db", "comparison", a=keys[0], b=keys[1])["found"] == []


def test_what_was_wrong_with_a_session_is_not_laid_to_its_replay(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 0.5, (1.0, status("running")), (1.1, created()), (1.2, b"data: {\n\n"), (1.3, completed()))
    tape.another_recording()
    converse(tape, "one")
    found = {(one["code"], one["recording"]) for one in ask(tape.save(tmp_path / "two.db"), "findings")}
    assert ("malformed", 1) in found
    assert ("malformed", 2) not in found
    assert ("message-not-taken", 2) in found


def test_turns_are_compared_with_those_that_ask_the_same(tmp_path: Path) -> None:
    tape = Made()
    converse(tape, "one", "two", "three")
    tape.another_recording()
    converse(tape, "one", "between", "two")
    told = ask(tape.save(tmp_path / "two.db"), "comparison", a="1.session.s", b="2.session.s")
    assert told["turns"] == [(0, 0), (None, 1), (1, 2), (2, None)]
    assert [(one["path"], one["turn"]) for one in told["found"]] == [("turns[1]", 1), ("turns[2]", 3)]


def converse(tape: Made, *asked: str) -> None:
    """A session in which this is asked, and answered with the same."""
    reads = list[tuple[float, bytes]]()
    for n, text in enumerate(asked, 1):
        message = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": text}]}}
        tape.post("/v1/sessions/s/events", n, body=message, answer={"item_id": f"i{n}"})
        reads += [(n + 0.1, status("running")), (n + 0.2, created(f"r{n}")), (n + 0.3, delta(f"{text}!"))]
        reads += [(n + 0.4, completed(f"r{n}")), (n + 0.5, status("idle"))]
    tape.stream("s", 0.5, *reads)
