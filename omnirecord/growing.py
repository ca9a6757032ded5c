"""What a cassette grows by, read again and again: for whoever follows a recording, by file or through its proxy.

Each read opens the file, takes what is new behind a cursor, and closes it: nothing is held in between, so that a
recorder can begin, fold in its log and leave one clean file, and however slowly somebody reads, no memory is filled.
A read costs as much as there is new, whatever is in the file. It follows over a recorder that was killed, over further
recordings, and to a file that took the place of the one before; where that is another file to which a link leads by
now (`--rotate`), the one before is read to its end first.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path

from .cassette import Recording, Streaming, TimedFrame
from .choosing import the_session, the_stream
from .files import itself
from .listing import Row, event_row
from .steady import monotonic
from .store import Store

LAST = 10
"""How many events are told of what was there before."""
_BATCH = 500
"""The most frames that one read takes…"""
_BYTES = 1 << 20
"""…and bytes of them, but for a single larger one."""
_BOOKMARK = re.compile(r"([0-9a-f]{8}),([0-9]{1,15})((?:,[0-9]{1,15}:[0-9]{1,15})*)")
_FINISHING = 2.0
"""Seconds for which a file that is no longer the newest is followed on, at the most."""
_BACK = 8
"""How many times as far back is looked each time, where too few of the last events are wanted ones."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are told: each condition that is given has to hold, as for `events`. A session's id may be
    shortened."""

    session: str | None = None
    stream: int | None = None
    type: str | None = None
    verdict: str | None = None

    def takes_stream(self, x: Streaming) -> bool:
        is_of_session = self.session is None or (x.session_id is not None and x.session_id.startswith(self.session))
        return is_of_session and self.stream in (None, x.stream)

    def takes(self, frame: TimedFrame) -> bool:
        if self.verdict not in (None, frame.verdict):
            return False
        return self.type is None or (frame.type is not None and fnmatchcase(frame.type, self.type))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read brought."""

    rows: list[Row]
    """As `events --json` prints them, in the order in which they came."""
    has_more: bool
    """There is more to be read at once."""
    is_recorded: bool
    """Somebody was recording when it was read: there may be more later."""


@dataclass(slots=True)
class Cursor:
    """How far a cassette has been read: the streams that go on with their last `seq`, and the highest stream."""

    highest: int = 0
    at: dict[int, int] = field(default_factory=dict)


class Follower:
    """Follows the cassette at `path`: the `last` events that are there, then what comes. `opens` opens it.

    With the `bookmark` of another follower, what that had still to read; all there is, if it read another cassette.
    """

    def __init__(
        self, path: Path, wanted: Wanted, last: int = LAST, opens: Callable[[Path], Store] = Store.open,
        bookmark: str | None = None,
    ) -> None:  # fmt: skip
        self._path, self._wanted, self._last, self._opens = path, wanted, last, opens
        self._of, self._cursor = _opened(bookmark or "")
        self._inode: int | None = None
        self._recordings: list[Recording] = []
        self._turn = 0
        self._file = itself(path)
        self._until = 0.0

    @property
    def has_read(self) -> bool:
        return self._inode is not None

    @property
    def cassette(self) -> str:
        """By which one is told from another, once it was read."""
        return blake2b("".join(r.started_at for r in self._recordings[:1]).encode(), digest_size=4).hexdigest()

    @property
    def bookmark(self) -> str:
        """How far it has read, for another follower to go on there."""
        cursor = self._cursor or Cursor()
        return ",".join([self.cassette, str(cursor.highest), *(f"{at}:{seq}" for at, seq in cursor.at.items())])

    @property
    def is_between(self) -> bool:
        """Whether the file that is read is no longer the newest one: there is more to come, though nothing changes."""
        return self._until > 0

    def read(self) -> Batch:
        """Raises `CassetteError`; `UsageError` where nobody records, and what is asked for is not there."""
        newest = itself(self._path)
        if self._file == newest or not self._file.exists():
            self._file, self._until = newest, 0.0
            return self._read(newest)
        self._until = self._until or monotonic() + _FINISHING
        batch = self._read(self._file)
        if not batch.has_more and (not batch.is_recorded or monotonic() > self._until):
            self._file, self._until = newest, 0.0
            return replace(batch, has_more=True, is_recorded=True)
        return replace(batch, is_recorded=True)

    def _read(self, path: Path) -> Batch:
        inode = path.stat().st_ino if path.exists() else None
        with closing(self._opens(path)) as store:
            recordings = store.recordings()
            is_another = self._recordings != recordings[: len(self._recordings)]
            if self._inode is not None and (is_another or inode != self._inode):
                self._cursor = Cursor()
            self._inode, self._recordings = inode, recordings
            if self._cursor is None:
                return self._begin(store)
            if self._of not in (None, self.cassette):
                self._of, self._cursor = None, Cursor()
            found, has_more = self._new(store, self._cursor)
            return Batch(self._rows(found), has_more, store.is_being_recorded)

    def _begin(self, store: Store) -> Batch:
        if not store.is_being_recorded:
            the_stream(store, self._wanted.stream)
            if self._wanted.session is not None:
                the_session(store, self._wanted.session)
        streams = store.streaming()
        self._cursor = Cursor(max((x.stream for x in streams), default=0))
        found: list[tuple[Streaming, TimedFrame]] = []
        for x in streams:
            seen, frames = self._last_of(store, x)
            found += [(x, frame) for frame in frames]
            if store.is_being_recorded and not x.is_over:
                self._cursor.at[x.stream] = seen
        last = sorted(found, key=_order)[-self._last :] if self._last else []
        return Batch(self._rows(last), False, store.is_being_recorded)

    def _last_of(self, store: Store, x: Streaming) -> tuple[int, list[TimedFrame]]:
        """Where a stream stands, and the last of its wanted frames."""
        last = store.last_seq(x)
        if not self._last or not self._wanted.takes_stream(x):
            return last, []
        back = self._last
        while True:
            frames, seen = deque[TimedFrame](maxlen=self._last), last
            for frame in store.frames_behind(x, max(0, last - back)):
                seen = frame.seq
                if self._wanted.takes(frame):
                    frames.append(frame)
            if len(frames) == self._last or back >= last:
                return seen, list(frames)
            back *= _BACK

    def _new(self, store: Store, cursor: Cursor) -> tuple[list[tuple[Streaming, TimedFrame]], bool]:
        """What lies behind the cursor, `_BATCH` frames or `_BYTES` at the most, and whether there is more."""
        found: list[tuple[Streaming, TimedFrame]] = []
        frames = size = 0
        for x in self._in_turn(store.streaming(cursor.highest, cursor.at), cursor):
            for frame in store.frames_behind(x, cursor.at[x.stream]):
                cursor.at[x.stream] = frame.seq
                frames, size = frames + 1, size + frame.length
                if self._wanted.takes_stream(x) and self._wanted.takes(frame):
                    found.append((x, frame))
                if frames >= _BATCH or size >= _BYTES:
                    self._turn = x.stream
                    return sorted(found, key=_order), True
            if x.is_over or not store.is_being_recorded:
                del cursor.at[x.stream]
        return sorted(found, key=_order), False

    def _in_turn(self, streams: list[Streaming], cursor: Cursor) -> list[Streaming]:
        """The streams, those first that a read before had no room for."""
        for x in streams:
            cursor.highest = max(cursor.highest, x.stream)
            cursor.at.setdefault(x.stream, 0)
        return sorted(streams, key=lambda x: (x.stream <= self._turn, x.stream))

    def _rows(self, found: Iterable[tuple[Streaming, TimedFrame]]) -> list[Row]:
        started = {recording.recording: recording.started_at for recording in self._recordings}
        return [event_row(x, frame, started[x.recording]) for x, frame in found]


def _opened(bookmark: str) -> tuple[str | None, Cursor | None]:
    """The cassette that a bookmark is of, and the cursor; None where it is anything else than a bookmark."""
    found = _BOOKMARK.fullmatch(bookmark)
    if found is None:
        return None, None
    pairs = (pair.split(":") for pair in found[3].split(",")[1:])
    return found[1], Cursor(int(found[2]), {int(stream): int(seq) for stream, seq in pairs})


def _order(one: tuple[Streaming, TimedFrame]) -> tuple[int, int, int, int]:
    x, frame = one
    return x.recording, frame.offset_ns, x.stream, frame.seq
