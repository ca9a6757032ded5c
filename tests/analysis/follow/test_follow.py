"""What a cassette grows by: each event once, in order, at the cost of what is new; over kills and other files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.follow import Follower
from omnirecord.analysis.follow.rows import Wanted, rows_of
from omnirecord.cassette.framing import Framer
from omnirecord.cassette.rotation import RotatedCassettes
from omnirecord.cassette.sqlite import Store, Writer, rows, stream_rows
from omnirecord.cassette.sqlite.lock import lock_path
from omnirecord.errors import UsageError
from omnirecord.model import Ending, Recording
from omnirecord.wire.limits import Retention
from tests.analysis.search.test_index import more
from tests.cassette.sqlite.test_store import another_recorder
from tests.support.cassettes import CONTRACT, Made, delta, heartbeat, status
from tests.support.recorded import calls

Told = list[tuple[int, int, int]]


class Recorder:
    """A recorder whose every row the test writes."""

    def __init__(self, path: Path | Writer, recording: int = 1, second: int = 0) -> None:
        self._writer = path if isinstance(path, Writer) else Writer(path)
        self._number, self._streams, self._reads = recording, 0, dict[int, int]()
        self._at = 0
        self._seq: dict[int, int] = {}
        self._bytes: dict[int, int] = {}
        started = f"2026-01-0{recording}T00:00:{second:02}+00:00"
        self._writer.write([rows.recording(Recording(recording, started, "0", "omnigent", None))])

    def stream(self, session: str = "s", number: int | None = None) -> int:
        exchange = number = number or self._writer.last_number("stream") + 1
        target = f"/v1/sessions/{session}/stream"
        sse = (("content-type", "text/event-stream"),)
        self._writer.write([
            rows.request(exchange, self._number, "sse", session, "client", 0, "GET", target, ()),
            rows.response(exchange, "sse", number, 0, 200, "OK", sse),
        ])  # fmt: skip
        self._reads[number] = self._seq[number] = self._bytes[number] = 0
        return number

    def receive(self, stream: int, *frames: bytes, framed: bool = True) -> None:
        pieces = stream_rows.ReadBlocks(stream, self._reads[stream], self._bytes[stream])
        made = []
        for data in frames:
            self._at += 1
            pieces.add(self._at, None, len(data), data, made)
        made += pieces.close()
        if framed:
            begun = self._seq[stream] + 1, self._bytes[stream], self._reads[stream]
            found = [one for n, data in enumerate(frames, begun[2]) for one in Framer(None, CONTRACT).feed(n, data)]
            made += stream_rows.frame_blocks(stream, found, lambda _: self._at, *begun)
            self._seq[stream] += len(found)
        self._reads[stream], self._bytes[stream] = pieces.n, pieces.start
        self._writer.write(made)

    def done(self, stream: int) -> None:
        self._writer.write([rows.done(stream)])

    def end(self, stream: int, ending: Ending = "eof") -> None:
        self._writer.write([rows.end(stream, self._at, ending, 0, self._bytes[stream])])

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def recording(path: Path) -> Iterator[Recorder]:
    with closing(Recorder(path)) as recording:
        yield recording


def told(follower: Follower[Any]) -> Told:
    """All that is there to be told."""
    found: list[Any] = []
    while True:
        batch = follower.read()
        found += batch.rows
        if not batch.has_more:
            return [(row["recording"], row["stream"], row["seq"]) for row in found]


def test_the_last_events_come_first_then_each_new_one_once(path: Path, recording: Recorder) -> None:
    one, other = recording.stream(), recording.stream()
    for _ in range(5):
        recording.receive(one, heartbeat())
        recording.receive(other, heartbeat())
    follower = rows_of(path, Wanted(), last=3)
    assert told(follower) == [(1, 2, 4), (1, 1, 5), (1, 2, 5)]
    assert told(follower) == []
    recording.receive(other, delta("a"))
    recording.receive(one, delta("b"))
    third = recording.stream()
    recording.receive(third, delta("c"))
    assert told(follower) == [(1, 2, 6), (1, 1, 6), (1, 3, 1)]
    assert told(follower) == []


def test_none_of_what_was_there_or_all_of_it(path: Path, recording: Recorder) -> None:
    stream = recording.stream()
    recording.receive(stream, *[heartbeat()] * 5)
    none, everything = rows_of(path, Wanted(), last=0), rows_of(path, Wanted(), last=100)
    assert (len(told(none)), len(told(everything))) == (0, 5)
    recording.receive(stream, delta("a"))
    assert told(none) == told(everything) == [(1, 1, 6)]


def test_only_what_is_wanted_is_told_and_the_last_of_that_however_far_back(path: Path, recording: Recorder) -> None:
    stream, other = recording.stream("one"), recording.stream("two")
    recording.receive(stream, delta("far back"), *[heartbeat()] * 500, status("idle"))
    recording.receive(other, delta("x"))
    deltas = rows_of(path, Wanted(type="*.delta", session="on"))
    assert told(deltas) == [(1, 1, 1)]
    recording.receive(stream, heartbeat(), delta("y"))
    recording.receive(other, delta("y"))
    assert told(deltas) == [(1, 1, 504)]
    assert told(rows_of(path, Wanted(stream=2, verdict="valid"))) == [(1, 2, 1), (1, 2, 2)]


def test_bytes_that_are_in_no_stored_frame_are_told_at_once(path: Path, recording: Recorder) -> None:
    stream = recording.stream()
    follower = rows_of(path, Wanted())
    recording.receive(stream, delta("a"), framed=False)
    assert told(follower) == [(1, 1, 1)]
    recording.end(stream)
    assert told(follower) == []


def ended(follower: Follower[Any]) -> list[tuple[str, int]]:
    """Ending and end in ns of each request that has ended since the last call."""
    return [(row["ending"], row["end_ns"]) for row in follower.read().rows if row.get("end_ns") is not None]


def test_a_stream_that_sent_done_has_its_row_and_its_duration_when_it_ends(path: Path, recording: Recorder) -> None:
    follower = rows_of(path, Wanted(requests=True), last=0)
    assert ended(follower) == []
    stream = recording.stream()
    recording.receive(stream, delta("a"), b"data: [DONE]\n\n")
    recording.done(stream)
    assert ended(follower) == []
    recording.end(stream)
    assert ended(follower) == [("done", 2)]
    assert ended(follower) == []


def test_a_client_that_leaves_after_done_has_read_the_whole_stream(path: Path, recording: Recorder) -> None:
    follower = rows_of(path, Wanted(requests=True), last=0)
    assert ended(follower) == []
    stream = recording.stream()
    recording.receive(stream, delta("a"), b"data: [DONE]\n\n", framed=False)
    recording.end(stream, "client_left")
    assert ended(follower) == [("done", 2)], "the frames are not stored yet"


def test_a_recorder_that_was_killed_and_the_next_recording(path: Path) -> None:
    with another_recorder(path):
        follower = rows_of(path, Wanted())
        assert told(follower) == [(1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 4)]
        assert follower.read().is_recorded
    assert told(follower) == [(1, 1, 5)], "the frame that was cut off"
    assert not follower.read().is_recorded
    more(path, delta("a"))
    assert told(follower) == [(2, 2, 1)]


def test_a_file_that_took_the_place_of_another_is_told_from_its_start(path: Path, tmp_path: Path) -> None:
    def made(*frames: bytes, recordings: int = 1) -> Path:
        tape = Made()
        for _ in range(recordings - 1):
            tape.another_recording()
        tape.stream("s", 1.0, *((1.0, frame) for frame in frames))
        return tape.save(tmp_path / "other.db")

    made(heartbeat(), heartbeat(), recordings=2).rename(path)
    follower = rows_of(path, Wanted())
    assert len(told(follower)) == 2
    made(delta("a"), recordings=2).replace(path)
    assert len(told(follower)) == 1
    shutil.copyfile(made(delta("b"), delta("c")), path)
    assert len(told(follower)) == 2, "written over in place, with fewer recordings"


def test_a_bookmark_is_where_another_follower_goes_on(path: Path, recording: Recorder) -> None:
    stream = recording.stream()
    recording.receive(stream, heartbeat(), delta("a"))
    first = rows_of(path, Wanted())
    told(first)
    recording.receive(stream, delta("b"))
    assert told(rows_of(path, Wanted(), bookmark=first.bookmark)) == [(1, 1, 3)]
    other = first.bookmark.replace(first.cassette, "00000000")
    assert len(told(rows_of(path, Wanted(), bookmark=other))) == 3, "of another cassette: there is nothing behind it"
    assert len(told(rows_of(path, Wanted(), last=1, bookmark="junk"))) == 1


def test_much_is_read_in_pieces_and_no_stream_keeps_another_one_waiting(
    path: Path, recording: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.analysis.follow.rows._BATCH", 10)
    one, other = recording.stream(), recording.stream()
    follower = rows_of(path, Wanted(), last=0)
    told(follower)
    recording.receive(one, *[heartbeat()] * 25)
    recording.receive(other, *[heartbeat()] * 5)
    first, second = follower.read(), follower.read()
    assert (len(first.rows), first.has_more, len(second.rows), second.has_more) == (10, True, 10, True)
    assert {row["stream"] for row in second.rows} == {1, 2}
    assert len(told(follower)) == 10


def test_who_follows_what_is_not_there_is_told_so_unless_it_may_come(path: Path) -> None:
    with closing(Recorder(path)) as recording:
        recording.stream()
        assert told(rows_of(path, Wanted(session="later", stream=7))) == []
    with pytest.raises(UsageError, match="no session begins with 'later'"):
        rows_of(path, Wanted(session="later")).read()
    with pytest.raises(UsageError, match="no stream 7"):
        rows_of(path, Wanted(stream=7)).read()


def test_a_read_costs_what_is_new_whatever_there_is(path: Path, recording: Recorder) -> None:
    stream = recording.stream()

    def cost(before: int) -> int:
        recording.receive(stream, *[heartbeat()] * before)
        follower = rows_of(path, Wanted(), last=0)
        told(follower)
        recording.receive(stream, heartbeat())
        return calls(lambda: follower.read())

    few, many = cost(10), cost(5000)
    assert many < few + 20


def test_the_file_is_clean_after_a_recorder_that_somebody_followed(path: Path, tmp_path: Path) -> None:
    recording = Recorder(path)
    stream = recording.stream()
    follower = rows_of(path, Wanted())
    told(follower)
    recording.receive(stream, delta("a"))
    told(follower)
    recording.close()
    assert [one.name for one in tmp_path.iterdir()] == ["a.db"]
    assert not lock_path(path).exists()


class Rotating:
    """A recorder with several files, of which the test says when one is begun and when one is let go."""

    def __init__(self, link: Path) -> None:
        self._rotated, self.files = RotatedCassettes(link, Retention()), list[Recorder]()
        self.next()

    def next(self) -> Recorder:
        writer = self._rotated.begin()
        assert writer.path is not None
        self.files.append(Recorder(writer, second=len(self.files)))
        self._rotated.point(writer.path)
        return self.files[-1]

    def close(self) -> None:
        for file in self.files:
            file.close()


@pytest.fixture
def rotating(tmp_path: Path) -> Iterator[Rotating]:
    with closing(Rotating(tmp_path / "run.db")) as rotating:
        yield rotating


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def said(follower: Follower[Any]) -> list[str]:
    """What the deltas said that are there to be told."""
    found: list[str] = []
    while True:
        batch = follower.read()
        found += [row["data"]["delta"] for row in batch.rows]
        if not batch.has_more:
            return found


def test_where_a_link_leads_on_both_files_are_followed_until_the_older_one_is_let_go(
    link: Path, rotating: Rotating
) -> None:
    old = rotating.files[0]
    stays = old.stream()
    old.receive(stays, delta("a"))
    follower = rows_of(link, Wanted())
    assert said(follower) == ["a"]
    new = rotating.next()
    begun = new.stream(number=2)
    for n in range(3):
        new.receive(begun, delta(f"new {n}"))
        old.receive(stays, delta(f"old {n}"))
        assert said(follower) == [f"old {n}", f"new {n}"], "the older file comes first"
    assert len(follower.paths) == 2
    old.receive(stays, delta("cut off")[:-1], framed=False)
    old.close()
    new.receive(begun, delta("new"))
    assert said(follower) == ["cut off", "new"]
    assert follower.paths == [link.resolve()]
    assert follower.read().is_recorded


def test_a_stream_that_has_moved_waits_until_all_of_it_in_the_file_before_has_been_told(
    link: Path, rotating: Rotating
) -> None:
    old = rotating.files[0]
    moves, stays = old.stream(), old.stream()
    old.receive(moves, delta("1"))
    follower = rows_of(link, Wanted())
    assert said(follower) == ["1"]
    new = rotating.next()
    new.receive(new.stream(number=moves), delta("3"))
    other = new.stream(number=3)
    new.receive(other, delta("other"))
    assert said(follower) == ["other"], "of the first stream the older file has something that is in no frame yet"
    on = rows_of(link, Wanted(), bookmark=follower.bookmark)
    old.receive(moves, delta("2"), framed=False)
    old.end(moves)
    assert said(follower) == said(on) == ["2", "3"]
    old.receive(stays, delta("still"))
    new.receive(moves, delta("4"))
    assert said(follower) == said(on) == ["still", "4"]


def test_files_that_were_begun_and_let_go_between_two_reads_are_told(link: Path, rotating: Rotating) -> None:
    follower = rows_of(link, Wanted())
    assert said(follower) == []
    for n in range(3):
        last = rotating.files[-1]
        last.receive(last.stream(), delta(f"{n}"))
        last.close()
        rotating.next()
    assert said(follower) == ["0", "1", "2"]
    assert follower.paths == [link.resolve()]


def test_a_file_that_is_let_go_while_it_is_looked_at_is_not_the_end(link: Path, rotating: Rotating) -> None:
    old = rotating.files[0]
    has_moved = False

    def opens(path: Path) -> Store:
        nonlocal has_moved
        if not has_moved:
            has_moved = True
            rotating.next()
            old.close()
        return Store.open(path)

    batch = rows_of(link, Wanted(), opens=opens).read()
    assert (batch.has_more, batch.is_recorded) == (True, True)


def test_who_begins_to_follow_hears_what_goes_on_in_an_older_file(link: Path, rotating: Rotating) -> None:
    old = rotating.files[0]
    stays = old.stream()
    old.receive(stays, delta("before"))
    new = rotating.next()
    new.receive(new.stream(number=2), delta("last"))
    follower = rows_of(link, Wanted())
    assert said(follower) == ["last"]
    old.receive(stays, delta("more"))
    assert said(follower) == ["more"]


def test_a_bookmark_of_several_files_is_gone_on_with_in_each_and_in_those_that_were_begun_since(
    link: Path, rotating: Rotating
) -> None:
    first, between = rotating.files[0], rotating.next()
    stays, follower = first.stream(), rows_of(link, Wanted())
    between.receive(between.stream(number=2), delta("told and let go"))
    assert said(follower) == ["told and let go"]
    between.close()
    new = rotating.next()
    goes_on = new.stream(number=3)
    first.receive(stays, delta("a"))
    new.receive(goes_on, delta("b"))
    assert said(follower) == ["a", "b"]
    bookmark = follower.bookmark
    first.receive(stays, delta("c"))
    new.receive(goes_on, delta("d"))
    newest = rotating.next()
    newest.receive(newest.stream(number=4), delta("e"))
    assert said(rows_of(link, Wanted(), bookmark=bookmark)) == ["c", "d", "e"]
    first.close()
    min(path for path in link.parent.glob("run-*.db")).unlink()
    assert said(rows_of(link, Wanted(), bookmark=bookmark)) == ["d", "e"], "it was not kept"


def test_an_older_file_in_which_nothing_happens_is_not_opened_each_time(link: Path, rotating: Rotating) -> None:
    opened: list[Path] = []

    def opens(path: Path) -> Store:
        opened.append(path)
        return Store.open(path)

    old = rotating.files[0]
    stays = old.stream()
    new = rotating.next()
    stream, follower = new.stream(number=2), rows_of(link, Wanted(), opens=opens)
    older, _ = sorted(link.parent.glob("run-*.db"))

    def settles() -> None:
        """As if it had not been written for long."""
        for path in link.parent.glob(f"{older.name}*"):
            os.utime(path, (1, 1))

    settles()
    for n in range(3):
        new.receive(stream, delta(f"{n}"))
        assert said(follower) == [f"{n}"]
    assert opened.count(older) == 1
    old.receive(stays, delta("more"))
    assert said(follower) == ["more"]
    settles()
    assert said(follower) == []
    old.close()
    assert said(follower) == []
    assert older not in follower.paths
