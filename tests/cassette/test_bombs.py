"""Compressed bombs: the events that a small body decodes to are limited, and a sentence says where they stop."""

from __future__ import annotations

import gzip
import re
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import brotli
import pytest

import omnirecord
from omnirecord.cassette import framing
from omnirecord.cassette.framing import PORTION, Framed, Framer
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import Store, Writer, rows
from omnirecord.errors import BrokenCassette, TooLarge, UsageError
from omnirecord.recorder.frames import FrameMaker
from omnirecord.recorder.proxy.websocket import MessageReader
from omnirecord.redaction.coded import MaskedStream
from omnirecord.redaction.content import Scanner
from omnirecord.redaction.redactor import Redactor
from omnirecord.replayer.player import GateRule
from omnirecord.replayer.player.plan import ReplayPlan
from omnirecord.wire.limits import AN_EVENT, MAX_DECODED, max_decoded
from tests.recorder.proxy.test_websocket_messages import DEFLATE, Squeezer, frame
from tests.support import forked
from tests.support.bombs import EVENT, MIB, OMNIGENT, cassette
from tests.support.cassettes import lines
from tests.support.examples import each

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 2 * MIB
OF_LIMIT = LIMIT // (len(EVENT) + AN_EVENT)
"""Events that the limit leaves."""
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=3),
    "zstd": zstd.compress,
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
}
EVENTS = EVENT * (2 * OF_LIMIT)


@pytest.fixture(autouse=True)
def limit() -> Iterator[int]:
    """A small one, so that small bombs reach it."""
    yield max_decoded(LIMIT)
    max_decoded(MAX_DECODED)


def counted(path: Path) -> int:
    with closing(open_store(path)) as store:
        (stream,) = store.streams()
        return sum(1 for _ in store.frames(stream))


@each("coding", CODINGS)
def test_the_same_events_are_made_up_to_the_limit_however_the_stream_is_cut(coding: str) -> None:
    body = CODINGS[coding](EVENTS)
    for size in (len(body), 97):
        framer, made = Framer(coding, OMNIGENT), 0
        for read, at in enumerate(range(0, len(body), size)):
            made += len(framer.feed(read, body[at : at + size]))
        assert (made, framer.cut) == (OF_LIMIT, OF_LIMIT * len(EVENT))
        assert framer.stopped_at == LIMIT
        assert framer.broken is not None
        assert framer.broken.startswith("decoded up to 2 MiB of events, the limit (--max-decoded)")
        assert framer.feed(10**6, body) == framer.skip(10**6, 5) == framer.close() == []


@each("coding", CODINGS)
def test_what_a_read_decodes_to_is_never_held_as_a_whole(coding: str) -> None:
    body = CODINGS[coding](EVENTS)
    framer, seen = Framer(coding, OMNIGENT), 0
    for some in framer.portions(0, [len(body)], body, runs=True):
        assert sum(one.frame.length for one in some if isinstance(one, Framed)) <= PORTION + len(EVENT)
        seen += len(some)
    assert seen == OF_LIMIT


@pytest.mark.parametrize("flood", [b"data: " + b"a" * (4 * MIB), b"\n" * (4 * MIB), b"data: a\n" * MIB])
def test_an_event_without_an_end_is_decoded_up_to_the_limit_too(flood: bytes) -> None:
    framer, body = Framer("gzip", OMNIGENT), gzip.compress(flood + b"\n\n")
    assert list(framer.portions(0, [len(body)], body, runs=True)) in ([[]] * n for n in range(100))
    assert framer.stopped_at == LIMIT


def test_a_step_of_the_recorder_is_bounded_by_what_is_decoded(tmp_path: Path) -> None:
    max_decoded(MAX_DECODED)
    path = cassette(tmp_path / "a.db", gzip.compress(EVENTS, mtime=0))
    with closing(Writer(path)) as writer:
        maker = FrameMaker(writer, 1, OMNIGENT)
        maker.begin(1, 1, "gzip", "/")
        maker.ended(1)
        steps = []
        while maker.behind:
            steps += maker.make()
    assert sum(steps) == 2 * OF_LIMIT
    assert max(steps) * len(EVENT) < 512 * 1024


@pytest.mark.parametrize("framed", [True, False])
def test_readers_have_the_events_that_the_limit_leaves_and_more_with_a_larger_one(
    tmp_path: Path, framed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = cassette(tmp_path / "a.db", gzip.compress(EVENTS, mtime=0), framed=framed)
    caplog.clear()
    assert counted(path) == OF_LIMIT
    assert caplog.messages[0].startswith("stream 1: decoded up to 2 MiB of events")
    max_decoded(4 * LIMIT)
    assert counted(path) == 2 * OF_LIMIT


def test_the_cassette_says_where_decoding_stopped_once(tmp_path: Path) -> None:
    path = cassette(tmp_path / "a.db", gzip.compress(EVENTS, mtime=0), framed=True)
    with closing(open_store(path)) as store:
        (incident,) = store.incidents()
        assert incident.message.startswith("stream 1: decoded up to 2 MiB of events")
        assert store.wire(store.streams()[0]) == gzip.compress(EVENTS, mtime=0)


@pytest.mark.parametrize("times", [1, 2])
def test_a_list_of_streams_decodes_nothing_of_what_the_recorder_is_done_with(
    tmp_path: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cassette(tmp_path / "a.db", gzip.compress(EVENT * (times * OF_LIMIT // 2)), framed=True)
    monkeypatch.setattr(framing, "decoder", None)
    with closing(open_store(path)) as store:
        (stream,) = store.streams()
        assert store.tally(stream)[0] == {"valid": times * OF_LIMIT // 2}


def test_a_list_of_streams_decodes_no_more_than_a_moment_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    max_decoded(MAX_DECODED)
    monkeypatch.setattr("omnirecord.cassette.sqlite.reader._LOOK", LIMIT)
    path = cassette(tmp_path / "a.db", gzip.compress(EVENTS, mtime=0))
    with closing(open_store(path)) as store:
        (stream,) = store.streams()
        assert store.tally(stream)[0] == {"valid": OF_LIMIT}
    assert [one.partition(":")[0] for one in caplog.messages] == ["stream 1"]


def test_a_stream_that_was_decoded_in_part_is_the_same_in_the_text_form(tmp_path: Path) -> None:
    path = cassette(tmp_path / "a.db", gzip.compress(EVENTS, mtime=0), framed=True)
    with closing(open_store(path)) as store:
        text = list(lines(store))
    (tmp_path / "a.jsonl").write_text("\n".join(text) + "\n")
    max_decoded(4 * LIMIT)
    import_file(tmp_path / "a.jsonl", tmp_path / "b.db")
    max_decoded(LIMIT)
    with closing(open_store(tmp_path / "b.db")) as store:
        assert list(lines(store)) == text


HOLDING = [["export", "--format", "html", "-o", "page.html"], ["diff", "a.db"]]


@pytest.mark.parametrize("words", HOLDING, ids=lambda words: words[0])
def test_a_command_that_has_to_hold_too_much_ends_with_a_sentence(tmp_path: Path, words: list[str]) -> None:
    cassette(tmp_path / "a.db", EVENTS, None)
    done = forked.run([words[0], "a.db", *words[1:], "--max-decoded", "1MiB"], tmp_path)
    assert done.code == 2, done.errors
    assert done.errors.count(b"\n") == 1
    assert re.search(rb"more than 1 MiB of events (to be held at a time )?\(--max-decoded\)", done.errors)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("words", [["show"], ["show", "--follow"], ["stats"]], ids=" ".join)
def test_the_texts_of_responses_are_held_only(tmp_path: Path, words: list[str]) -> None:
    delta = b'data: {"type":"response.output_text.delta","delta":"a","message_id":"m"}\n\n'
    cassette(tmp_path / "texts.db", delta * OF_LIMIT, None)
    cassette(tmp_path / "others.db", EVENTS, None)
    texts = forked.run([*words, "texts.db", "--max-decoded", "1MiB"], tmp_path)
    others = forked.run([*words, "others.db", "--max-decoded", "1MiB"], tmp_path)
    assert (texts.code, others.code) == (2, 0)
    assert b"more than 1 MiB of events to be held at a time (--max-decoded)" in texts.errors


def test_a_replay_that_could_not_hold_a_stream_does_not_begin(tmp_path: Path) -> None:
    cassette(tmp_path / "a.db", gzip.compress(EVENT * OF_LIMIT), framed=True)
    done = forked.run(["serve", "a.db", "--listen", "127.0.0.1:0", "--max-decoded", "1MiB"], tmp_path)
    assert (done.code, done.out) == (2, b"")
    assert b"more than 1 MiB of events to be held at a time (--max-decoded)" in done.errors


def test_a_replay_holds_no_more_than_the_limit(tmp_path: Path) -> None:
    path = cassette(tmp_path / "a.db", gzip.compress(EVENT * OF_LIMIT), framed=True)
    with closing(Store.open(path)) as store:
        plan = ReplayPlan(store, GateRule())
        max_decoded(MIB)
        plan = ReplayPlan(store, GateRule())
        with pytest.raises(TooLarge, match="more than 1 MiB of events to be held"):
            plan.parts(plan.exchanges[0])


@pytest.mark.parametrize("name", ["a.jsonl", "a.sse"])
def test_a_foreign_file_with_too_many_events_is_not_imported(tmp_path: Path, name: str) -> None:
    with closing(open_store(cassette(tmp_path / "a.db", EVENTS, None))) as store:
        text = "".join(f"{line}\n" for line in lines(store)).encode()
    (tmp_path / name).write_bytes(EVENTS if name.endswith("sse") else text)
    with pytest.raises(TooLarge, match=r"more than 2 MiB of events \(--max-decoded\)"):
        import_file(tmp_path / name, tmp_path / "b.db")
    assert not (tmp_path / "b.db").exists()


def test_a_masked_stream_is_kept_up_to_the_limit() -> None:
    mask = Redactor(b"key", Scanner(())).stream()
    assert mask is not None
    masked = MaskedStream(mask, (("content-encoding", "gzip"),))
    body = gzip.compress(EVENT * (3 * LIMIT // len(EVENT)))
    kept = masked.take(body, len(body))
    assert kept.size <= LIMIT + MIB
    assert kept.problem == "it decodes to more than 2 MiB (--max-decoded), so the rest is not stored"
    assert masked.take(body, len(body)).pieces == []


def test_a_websocket_message_is_inflated_up_to_the_limit() -> None:
    reader = MessageReader("down", (("sec-websocket-extensions", DEFLATE),))
    squeeze = Squeezer()
    small = frame(1, squeeze(b"small"), rsv1=True)
    assert reader.feed(small) == [(1, b"small")]
    assert reader.feed(frame(1, squeeze(bytes(3 * LIMIT)), rsv1=True)) == []
    assert reader.broken is not None


def test_of_a_websocket_message_that_is_too_large_the_beginning_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.recorder.proxy.websocket.LIMIT", 1000)
    reader = MessageReader("down", (("sec-websocket-extensions", DEFLATE),))
    squeeze = Squeezer()
    assert reader.feed(frame(1, squeeze(b"a" * LIMIT), rsv1=True)) == [(1, b"a" * 1000)]
    assert reader.feed(frame(1, squeeze(b"next"), rsv1=True)) == [(1, b"next")]


@pytest.mark.parametrize(("given", "size"), [("2GB", 2 * 10**9), ("1 MiB", MIB), (5, 5)])
def test_the_limit_is_a_size(given: str | int, size: int) -> None:
    assert omnirecord.max_decoded(given) == omnirecord.max_decoded() == size


@each("given", ["", "2", "1h", "-1MB", 0, -1])
def test_a_limit_that_is_no_size_is_refused(given: str | int) -> None:
    with pytest.raises(UsageError, match=r"^--max-decoded .* cannot be used: give a size as in 2GB$"):
        max_decoded(given)


def test_a_cell_that_says_nonsense_about_decoding_is_damage(tmp_path: Path) -> None:
    path = cassette(tmp_path / "a.db", gzip.compress(EVENTS, mtime=0), framed=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE chunks SET data = x'00ff' WHERE side = 'framed'")
        connection.commit()
    done = forked.run(["ls", "a.db"], tmp_path)
    assert done.code == 2
    assert b"is damaged" in done.errors


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            "UPDATE frame_blocks SET frames = 3000000,"
            " ends = '[' || replace(hex(zeroblob(3000000)), '00', '0,') || '0]'",
            "a list",
        ),
        ("UPDATE read_blocks SET reads = '[' || replace(hex(zeroblob(2000000)), '00', '[],') || '[]]'", "reads"),
        (
            "UPDATE exchanges SET request_headers = '[' || replace(hex(zeroblob(2000000)), '00', '[],') || '[]]'",
            "headers",
        ),
    ],
)
def test_a_cell_whose_values_would_fill_the_memory_is_damage(tmp_path: Path, statement: str, what: str) -> None:
    path = cassette(tmp_path / "a.db", EVENT * 10, None, framed=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(BrokenCassette, match=f"{what}: too long"):
        counted(path)


def test_a_line_whose_values_would_fill_the_memory_is_refused_and_a_long_text_is_not(tmp_path: Path) -> None:
    with closing(open_store(cassette(tmp_path / "a.db", EVENT + b"data: " + b'[],\\"' * MIB + b"\n\n", None))) as store:
        text = list(lines(store))
    max_decoded(MAX_DECODED)
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(text) + "\n")
    assert counted(path) == 2
    path.write_text("\n".join([*text, '{"reads": [' + "[]," * MIB + "[]]}"]) + "\n")
    with pytest.raises(BrokenCassette, match="it has more values than a line can have"):
        open_store(path)


def test_a_body_that_is_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    with closing(Store.open(cassette(tmp_path / "a.db", b"", None))) as store:
        assert store.body(1, "request") == b""
    with closing(Writer(tmp_path / "a.db")) as writer:
        writer.write(rows.chunks(1, "request", 0, bytes(LIMIT + 1)))
    with (
        closing(Store.open(tmp_path / "a.db")) as store,
        pytest.raises(TooLarge, match="the request body of exchange 1"),
    ):
        store.body(1, "request")
