"""The text form of a cassette: there and back loses nothing, and what does not fit changes nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.cassette.framing import Framed, Framer
from omnirecord.cassette.jsonl import Reader
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import Store, Writer, rows, stream_rows
from omnirecord.cassette.sqlite.rows import Row
from omnirecord.model import Kind, Recording
from omnirecord.omnigent.contract import load
from tests.support.cassettes import Made, conversation, delta, heartbeat, lines, zipped
from tests.support.examples import examples

OMNIGENT = load("omnigent")
STARTED = "2026-01-02T03:04:05.000000+00:00"


@dataclass(frozen=True)
class Got:
    """One read: its bytes, whether they were kept, and when they were handed on."""

    data: bytes
    kept: bool
    sent_ns: int | None


TIMES = st.integers(0, 2**53)
SENT = st.none() | TIMES
BODIES = st.binary(max_size=20) | st.text(max_size=20).map(str.encode) | st.just(b"a\0b\xe2\x80\xa8")
CONTENT = st.sampled_from(
    [heartbeat(), delta("é 🦉"), b"data: [DONE]\n\n", b": \xff\xfe\n\n", b"data: x\r\r", b"\n", b"da"]
)
GOT = st.builds(Got, st.lists(CONTENT, max_size=3).map(b"".join).filter(bool), st.integers(0, 5).map(bool), SENT)
MESSAGES = st.tuples(SENT, st.sampled_from(["up", "down"]), st.sampled_from([1, 2, 8, 9]), BODIES)
ENDINGS = st.sampled_from(["eof", "client_left", "upstream_lost", "recorder_stopped"])


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=5)


@st.composite
def exchanges(draw: Any, number: int, kind: Kind) -> list[Row]:
    """The rows of one exchange as a recorder would write them, or a killed one would have left them."""
    at, body, answer = draw(TIMES), draw(BODIES), draw(BODIES)
    headers = tuple(draw(st.lists(st.tuples(st.just("X-A"), FIELD), max_size=2)))
    made = [rows.request(number, 1, kind, draw(st.none() | st.just("s")), "client", at, "POST", "/é?x", headers)]
    made += [rows.chunk(number, "request", 0, body)] if body else []
    size = 0
    if kind == "sse":
        coding = draw(st.sampled_from([None, "gzip", "snappy"]))
        got = draw(st.lists(GOT, max_size=5))
        if coding == "gzip":
            got = [replace(one, data=gzip.compress(one.data, mtime=0)) for one in got]
        sse = (*headers, *((("Content-Encoding", coding),) if coding else ()))
        made.append(rows.response(number, kind, number, at, 200, "OK", sse))
        made += stream_of(number, got, coding)
        size = sum(len(one.data) for one in got)
    elif kind == "websocket":
        made.append(rows.response(number, kind, None, at, 101, "", headers))
        for n, (sent, way, opcode, data) in enumerate(draw(st.lists(MESSAGES, max_size=3))):
            made.append(rows.message(number, n, at, sent, way, opcode, data))
            size += len(data) if way == "down" else 0
            body += data if way == "up" else b""
    elif draw(st.booleans()):
        made.append(rows.response(number, kind, None, at, 404, "Not Found", headers))
        made += [rows.chunk(number, "response", 0, answer)] if answer else []
        size = len(answer)
    if draw(st.integers(0, 4)):
        made.append(rows.end(number, draw(TIMES), draw(ENDINGS), len(body), size))
    return made


def stream_of(number: int, got: list[Got], coding: str | None) -> Iterator[Row]:
    pieces = stream_rows.ReadBlocks(number)
    made: list[Row] = []
    for n, one in enumerate(got):
        pieces.add(n * 1000, one.sent_ns, len(one.data), one.data if one.kept else None, made)
    yield from (*made, *pieces.close())
    framer = Framer(coding, OMNIGENT)
    framed = [
        frame
        for n, one in enumerate(got)
        for frame in (framer.feed(n, one.data) if one.kept else framer.skip(n, len(one.data)))
    ]
    framed += framer.close()
    if coding:
        yield from content(number, framed)
    yield from stream_rows.frame_blocks(number, framed, lambda n: n * 1000)


def content(number: int, framed: list[Framed]) -> Iterator[Row]:
    start = 0
    for one in framed:
        if one.frame.raw:
            yield rows.chunk(number, "content", start, one.frame.raw)
        start += one.frame.length


UUIDS = st.uuids(version=4).map(str)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
RECORDINGS = st.builds(
    Recording, st.just(1), st.just(STARTED), st.just("0"), st.just("omnigent"), st.none() | TEXTS, st.just("") | UUIDS,
    st.none() | UUIDS, st.dictionaries(TEXTS, TEXTS, max_size=3), st.none() | TEXTS,
)  # fmt: skip
KINDS: st.SearchStrategy[list[Kind]] = st.lists(st.sampled_from(["http", "sse", "websocket"]), max_size=4)
CASSETTES = KINDS.flatmap(lambda kinds: st.tuples(*(exchanges(n, kind) for n, kind in enumerate(kinds, 1))))


def in_memory(made: list[Row], recording: Recording | None = None) -> Store:
    writer = Writer(None)
    writer.write([rows.recording(recording or Recording(1, STARTED, "0", "omnigent", None)), *made])
    return Store(writer.connection)


def read_back(text: list[str]) -> Store:
    writer = Writer(None)
    writer.write(Reader("text").rows((line + "\n").encode() for line in text))
    return Store(writer.connection)


def everything(store: Store) -> list[Any]:
    found: list[Any] = [store.recordings(), store.incidents()]
    for exchange in store.exchanges():
        found += [exchange, store.body(exchange.exchange, "request"), store.reads(exchange.exchange)]
        found += [store.body(exchange.exchange, "response"), list(store.messages(exchange.exchange))]
        found += list(store.frames(exchange, unfinished=True)) if exchange.stream else []
    return found


@settings(deadline=None, max_examples=examples(100))
@given(made=CASSETTES, recording=RECORDINGS)
def test_there_and_back_loses_nothing(made: tuple[list[Row], ...], recording: Recording) -> None:
    with closing(in_memory([row for one in made for row in one], recording)) as store:
        text, before = list(lines(store)), everything(store)
    with closing(read_back(text)) as store:
        assert list(lines(store)) == text
        assert everything(store) == before


def test_an_oversized_frame_goes_there_and_back_though_many_reads_brought_it() -> None:
    large = Framer(None, OMNIGENT).skip(0, 30)[0]._replace(read=3)
    (after,) = Framer(None, OMNIGENT).feed(4, b"data: x\n\n")
    pieces, reads = stream_rows.ReadBlocks(1), []
    for n, (size, data) in enumerate([(10, None), (10, None), (9, None), (5, b"\0data"), (5, b": x\n\n")]):
        pieces.add(n, n, size, data, reads)
    made = [
        rows.request(1, 1, "sse", None, "client", 0, "GET", "/", ()),
        rows.response(1, "sse", 1, 0, 200, "OK", ()),
        *reads,
        *pieces.close(),
        *stream_rows.frame_blocks(1, [large, after], int),
        rows.end(1, 9, "eof", 0, 39),
    ]
    with closing(in_memory(made)) as store:
        text, before = list(lines(store)), everything(store)
    with closing(read_back(text)) as store:
        assert everything(store) == before


def test_a_file_on_disk_is_read_like_its_text(tmp_path: Path) -> None:
    db, text = saved(tmp_path)
    with closing(open_store(db)) as one, closing(open_store(text)) as other:
        assert list(lines(one)) == list(lines(other))


def saved(folder: Path, made: Made | None = None) -> tuple[Path, Path]:
    db, text = folder / "a.db", folder / "a.jsonl"
    (made or everything_made()).save(db)
    with closing(open_store(db)) as store:
        text.write_text("".join(line + "\n" for line in lines(store)), encoding="utf-8")
    return db, text


def everything_made() -> Made:
    made = conversation()
    made.stream("t", 1.0, *zipped([(1.0, heartbeat()), (2.0, delta("x"))]), headers=(("content-encoding", "gzip"),))
    made.websocket("/v1/sessions/updates", 3.0, (3.0, "up", {"type": "watch"}), (3.5, "down", b"\xff"))
    return made


def test_the_lines_are_as_they_are_documented(tmp_path: Path) -> None:
    _, text = saved(tmp_path)
    head, *rest = (json.loads(line) for line in text.read_text().splitlines())

    assert list(head) == ["omnirecord", "recordings"]
    assert list(head["recordings"][0]) == ["recording", "started_at", "version", "contract", "upstream"]
    shapes = {tuple(line) for line in rest}
    assert shapes == {
        ("exchange", "recording", "kind", "stream", "session_id", "party", "request", "response", "ending"),
        ("stream", "seq", "raw"),
        ("stream", "reads"),
        ("exchange", "message", "at_ns", "sent_ns", "dir", "opcode", "data"),
    }
    places = [(x["recording"], x["request"]["at_ns"], x["exchange"]) for x in rest if "request" in x]
    assert places == sorted(places)


def test_at_most_100_reads_are_in_a_line() -> None:
    made = Made()
    made.stream("s", 0.0, *((n / 10, b"data: x\n\n") for n in range(250)))
    store = made.store()

    assert [len(json.loads(line)["reads"]) for line in lines(store) if '"reads"' in line] == [100, 100, 50]


def test_importing_twice_renumbers_and_keeps_the_first(tmp_path: Path) -> None:
    _, text = saved(tmp_path)
    target = tmp_path / "new.db"

    assert import_file(text, target) == import_file(text, target)
    with closing(open_store(target)) as twice, closing(open_store(text)) as once:
        first, count = once.exchanges(), len(once.exchanges())
        assert [one for one in twice.exchanges() if one.recording == 1] == first
        again = [one for one in twice.exchanges() if one.recording == 2]
        assert [
            replace(x, recording=1, exchange=x.exchange - count, stream=x.stream and x.stream - 2) for x in again
        ] == first
        for one, other in zip(first, again, strict=True):
            assert list(twice.messages(one.exchange)) == list(once.messages(one.exchange))
            if one.stream:
                assert list(twice.frames(one)) == list(once.frames(one))
                assert [f.raw for f in twice.frames(other)] == [f.raw for f in once.frames(one)]


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf\n: hi\n\n" + heartbeat() + b"data: [DONE]\n\n", b"data: cut o", b"\n"])
def test_an_sse_body_becomes_a_cassette(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.sse").write_bytes(body)
    import_file(tmp_path / "a.sse", tmp_path / "a.db")
    with closing(open_store(tmp_path / "a.db")) as store:
        (stream,) = store.streams()
        assert b"".join(store.content(stream)) == body
        assert (stream.ending, stream.response_bytes) == ("done" if b"[DONE]" in body else "unknown", len(body))
