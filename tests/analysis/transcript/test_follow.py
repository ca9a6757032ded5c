"""`show --follow`: wherever its looks fall, it tells what `show` tells afterwards."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.transcript import lines_of, rows_of
from omnirecord.analysis.transcript.follow import Following
from omnirecord.analysis.transcript.sentences import Page
from omnirecord.cassette.contracts import load
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store, Writer, rows
from omnirecord.model import Recording
from omnirecord.recorder.frames import FrameMaker
from omnirecord.recorder.operations import Received, Requested, Responded
from omnirecord.recorder.rows import RowMaker
from omnirecord.redaction.redactor import Redactor
from tests.support.cassettes import Made, child, completed, created, delta, event, heartbeat, lines, status
from tests.support.examples import a_third, each
from tests.support.hop_tapes import RESPONSES, asked, ending, opening, user, word
from tests.support.live_rows import live_rows

Row = dict[str, Any]
Key = tuple[Any, ...]
ROOT = Path(__file__).parent.parent.parent.parent
ALL = sorted((ROOT / "cassettes").rglob("*.jsonl"))
CASSETTES = [
    path for folder in ("", "troubled", "both_hops") for path in sorted((ROOT / "cassettes" / folder).glob("*.jsonl"))
]


def told(store: Store) -> list[str]:
    """What a single look at the whole tells."""
    following = Following(None, Page(10_000))
    following.look(store)
    lines = [str(line).partition(" | ")[2] or str(line) for line in following.news(last=True)]
    store.close()
    return lines


def writing(db: Path) -> closing[Writer]:
    """A writer that ends at once: it would wait a second for the follower, which here cannot read meanwhile."""
    writer = Writer(db)
    writer.connection.execute("PRAGMA busy_timeout = 0")
    return closing(writer)


def followed(
    path: Path, folder: Path, looks: random.Random, by: int | None = None, *, named: bool = False
) -> list[str]:
    """The same while the rows come bit by bit. `by`: so many at a time. `named`: with the names before the lines."""
    db, found, left = folder / f"{random.random()}.db", [], live_rows(path)
    with writing(db) as writer:
        store = Store.open(db)
        following = Following(None, Page(10_000))
        while left:
            number = by or looks.choice([40, 200])
            writer.write(left[:number])
            del left[:number]
            store.refresh()
            following.look(store)
            assert store.is_being_recorded
            found += [*following.news()]
    store.refresh()
    following.look(store)
    assert not store.is_being_recorded
    found += [*following.news(last=True)]
    store.close()
    return [str(line) if named else str(line).partition(" | ")[2] or str(line) for line in found]


def text(line: str) -> str:
    """What a line says, whenever it was told. The numbers of requests count the lines before them."""
    return line[15:] if line[:2] == "  " and line[2:4] != "Wh" else line


@each("path", a_third(CASSETTES))
def test_wherever_the_looks_fall_the_same_is_told(path: Path, tmp_path: Path) -> None:
    whole = Counter(map(text, told(open_store(path))))
    assert Counter(map(text, followed(path, tmp_path, random.Random(path.stem)))) == whole


def final_rows(path: Path, folder: Path, cuts: random.Random, session: str | None = None) -> list[Row]:
    """The last object of each turn, in the order of `show`, of a cassette that is followed at random cuts."""
    left, found = live_rows(path), dict[Key, Row]()
    places = sorted(cuts.choices(range(len(left)), k=cuts.choice([1, 3, 10])))
    db = folder / f"{cuts.random()}.db"
    with writing(db) as writer:
        store = Store.open(db)
        following = Following(session)
        for begin, end in pairwise([0, *places, len(left)]):
            writer.write(left[begin:end])
            store.refresh()
            following.look(store)
            found |= {key(row): row for row in following.rows()}
    store.refresh()
    following.look(store)
    found |= {key(row): row for row in following.rows(last=True)}
    store.close()
    return sorted(found.values(), key=str)


def key(row: Row) -> Key:
    calls = (row["model_calls"][0]["exchange"],) if row["turn"] is None else ()
    return row["recording"], row["session_id"], row["turn"], *calls


def shown_rows(path: Path, session: str | None = None) -> list[Row]:
    with closing(open_store(path)) as store:
        return sorted(rows_of(store, session), key=str)


@each("path", a_third(CASSETTES, 1))
def test_the_last_object_of_each_turn_is_that_of_show(path: Path, tmp_path: Path) -> None:
    assert final_rows(path, tmp_path, random.Random(path.stem)) == shown_rows(path)


def test_conversations_of_model_calls_are_those_of_show(tmp_path: Path) -> None:
    path = ROOT / "cassettes" / "agents" / "day.jsonl"
    assert final_rows(path, tmp_path, random.Random(1)) == shown_rows(path)


def calls_of_talks(lines: Iterable[str]) -> dict[str, Counter[str]]:
    """The first lines of the calls of each conversation: number, model, attempt."""
    found = dict[str, Counter[str]]()
    talk, named = "", ""
    for line in lines:
        name, bar, rest = line.partition(" | ")
        named, line = (name.strip(), rest) if bar and name.startswith("#") else (named, line)
        if line.startswith("Conversation #"):
            talk = line.split(" ")[1]
        elif line[6:].lstrip().partition(" s ")[2].strip().startswith(("model ", "!! model ")):
            found.setdefault(named or talk, Counter())[line] += 1
    return found


def test_each_call_stands_in_the_conversation_that_show_gives_it(tmp_path: Path) -> None:
    path = ROOT / "cassettes" / "agents" / "day.jsonl"
    with closing(open_store(path)) as store:
        shown = calls_of_talks(map(str, lines_of(store, None, Page(10_000))))
    assert len(shown) > 5
    assert calls_of_talks(followed(path, tmp_path, random.Random(2), named=True)) == shown


def test_the_answer_of_a_model_is_told_before_the_recording_ends(tmp_path: Path) -> None:
    path = ROOT / "cassettes" / "agents" / "day.jsonl"
    left, db = live_rows(path), tmp_path / "live.db"
    with writing(db) as writer:
        store = Store.open(db)
        following = Following(None)
        writer.write(left)
        for _ in range(2):
            store.refresh()
            following.look(store)
            rows = list(following.rows())
    assert {row["session_id"] for row in rows} == {row["session_id"] for row in shown_rows(path) if row["session_id"]}
    store.close()


def test_a_request_continues_an_answer_whose_connection_stays_open(tmp_path: Path) -> None:
    tape = Made()
    tape._hops[0], tape._contracts[0] = "model", "auto"
    reads = [(1.2, opening("resp_1")), (1.3, word("Hello.")), (1.5, ending("resp_1"))]
    tape.stream(RESPONSES, 1.1, *reads, asked=1.0, method="POST", body=asked(user("Hi")), ending="eof", end=9.0)
    answer = {"type": "message", "role": "assistant", "content": "Hello."}
    again = asked(user("Hi"), answer, user("Why?"))
    tape.stream(RESPONSES, 2.1, (2.5, ending("resp_2")), asked=2.0, method="POST", body=again, ending="eof", end=3.0)
    path = tmp_path / "made.jsonl"
    path.write_bytes(b"".join(jsonl_bytes(tape.store())))
    assert [*calls_of_talks(followed(path, tmp_path, random.Random(1), by=1, named=True))] == ["#1"]


def test_an_event_of_an_unknown_api_is_told_before_the_recorder_has_made_its_frame(tmp_path: Path) -> None:
    db = tmp_path / "live.db"
    with writing(db) as writer:
        row_maker = RowMaker(1, Redactor(b"key"), FrameMaker(writer, 1, load("auto")))
        writer.write([rows.recording(Recording(1, "2026-01-01T00:00:00Z", "0", "auto", None))])
        sse = (("content-type", "text/event-stream"),)
        begun = [Requested(1, "client", 1, "GET", "/prices", ()), Responded(1, "sse", 1, 2, 200, "OK", sse)]
        writer.write(row_maker.rows(begun))
        store = Store.open(db)
        following = Following(None)
        following.look(store)
        assert "GET /prices -> 200, stream 1" in str(next(following.news()))
        data = b"data: up 3\n\n"
        writer.write(row_maker.rows([Received(1, 0, 10, len(data), data, 20)]))
        store.refresh()
        following.look(store)
        (line,) = following.news()
        assert str(line).split()[2:] == ["1:1", "message", "up", "3"]
        store.close()


@pytest.mark.slow
@each("number", a_third(range(100)))
def test_random_cuts_end_with_the_objects_of_show(number: int, tmp_path: Path) -> None:
    cuts = random.Random(number)
    path = cuts.choice(ALL)
    assert final_rows(path, tmp_path, cuts) == shown_rows(path)


def test_a_followed_session_knows_how_its_sub_agents_ended(tmp_path: Path) -> None:
    path = ROOT / "cassettes" / "subagent.jsonl"
    (session,) = {row["session_id"] for row in shown_rows(path) if row["children"]}
    assert final_rows(path, tmp_path, random.Random(1), session) == shown_rows(path, session)


RECORDING = rows.recording(Recording(1, "2026-01-01T00:00:00+00:00", "0", "omnigent", None))


def conversation(words: int) -> Made:
    made = Made()
    reads = [(0.0, heartbeat()), (1.0, status("running")), (1.0, created())]
    reads += [(1.0 + n / 100, delta(f"w{n} ", n)) for n in range(words)]
    made.stream("s", 0.0, *reads, (900.0, completed()), (900.0, status("idle")), end=901.0)
    return made


def test_it_may_be_begun_before_there_is_a_session(tmp_path: Path) -> None:
    with writing(tmp_path / "a.db") as writer:
        store = Store.open(tmp_path / "a.db")
        following = Following("s")
        following.look(store)
        assert list(following.news()) == []
        for exchange in conversation(3)._exchanges:
            writer.write([RECORDING, *exchange.rows])
        store.refresh()
        following.look(store)
        assert next(iter(following.news())).startswith("Session s · recording 1")
        store.close()


def test_only_the_session_that_is_named_is_told() -> None:
    made = conversation(3)
    made.stream("t", 2.0, (2.0, heartbeat()))
    store = made.store()
    following = Following("s")
    following.look(store)
    lines = list(following.news(last=True))
    store.close()
    assert [line for line in lines if "Session" in line] == ["Session s · recording 1 · since 0.00 s"]


def test_several_sessions_are_told_behind_their_names() -> None:
    made = conversation(3)
    made.stream("another-session", 2.0, (2.0, heartbeat()))
    store = made.store()
    following = Following(None)
    following.look(store)
    names = {line.partition(" | ")[0] for line in following.news(last=True)}
    store.close()
    assert names == {"s       ", "another-"}


def test_what_grows_is_shown_and_its_end_is_kept_short(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    with writing(db) as writer:
        store = Store.open(db)
        following = Following(None, Page(100))
        made = Made()
        item = {"type": "function_call", "call_id": "c", "name": "shell", "arguments": "{}", "status": "in_progress"}
        made.stream(
            "s", 0.0, (0.0, heartbeat()), (1.0, created()), (1.1, event("response.output_item.done", item=item)),
            *((2.0, delta("word ")) for _ in range(10_000)), (20.0, heartbeat()), ending="open",
        )  # fmt: skip
        for exchange in made._exchanges:
            writer.write([RECORDING, *exchange.rows])
        store.refresh()
        following.look(store)
        list(following.news())
        lines = list(following.growing())
        store.close()
    assert {line.kind for line in lines} == {"said", "tool", "heartbeat"}
    assert lines[0].strip().startswith("Assistant: …")
    assert sum(map(len, lines)) < 5_000


def test_an_approval_is_told_when_it_is_asked_and_again_when_it_is_given() -> None:
    made = Made()
    ask = event("response.elicitation_request", elicitation_id="e", params={"message": "Sure?", "phase": "tool_call"})
    done = event("response.elicitation_resolved", elicitation_id="e", action="accept")
    made.stream("s", 0.0, (0.0, heartbeat()), (1.0, created()), (2.0, ask), (5.0, done), (6.0, completed()))
    lines = told(made.store())
    assert [line[15:] for line in lines if "approval" in line] == [
        "the agent waits for approval: Sure?", "approval accepted after 3.00 s",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_long_turn_that_is_looked_at_often_is_not_quadratic(tmp_path: Path) -> None:
    """A hundred looks at twenty thousand deltas take about as long as one; each look at its news alone."""

    def took(pieces: int) -> float:
        db = tmp_path / f"{pieces}.db"
        (exchange,) = conversation(20_000)._exchanges
        with writing(db) as writer:
            writer.write([RECORDING])
            store, following, spent = Store.open(db), Following(None), 0.0
            size = len(exchange.rows) // pieces + 1
            for number in range(pieces):
                writer.write(exchange.rows[number * size : (number + 1) * size])
                begin = time.process_time()
                store.refresh()
                following.look(store)
                list(following.news())
                list(following.growing())
                spent += time.process_time() - begin
            store.close()
        return spent

    assert took(100) < 4 * took(1) + 1


@pytest.mark.slow
def test_many_sessions_that_are_there_already_are_not_quadratic() -> None:
    def took(sessions: int) -> float:
        made = Made()
        for n in range(sessions):
            made.stream(f"s{n}", 1.0, (1.0, heartbeat()), (1.1, created()), (1.2, child(f"s{n + 1}", f"s{n}")))
        begin = time.process_time()
        lines = told(made.store())
        assert sum("Why it stops here" in line for line in lines) == sessions
        return time.process_time() - begin

    took(10)
    assert took(400) < 8 * took(100)  # four times as much; it was sixteen


def test_an_end_that_a_later_event_changes_is_told_again(tmp_path: Path) -> None:
    made = Made()
    failed = event("turn.failed", session_id="s", error={"code": "e", "message": "m"})
    reads = ((0.0, heartbeat()), (1.0, created()), (1.1, delta("a")), (2.0, completed()), (9.0, failed))
    made.stream("s", 0.0, *reads, end=10.0)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines(made.store())))
    found = []
    with writing(tmp_path / "a.db") as writer:
        store = Store.open(tmp_path / "a.db")
        following = Following(None)
        for row in live_rows(path):
            writer.write([row])
            for _ in range(2):
                store.refresh()
                following.look(store)
                found += [(one["turn"], one["ended"]) for one in following.rows()]
        store.close()
    assert found == [(1, "completed"), (1, "failed")]
