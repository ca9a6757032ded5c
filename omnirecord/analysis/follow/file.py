"""One cassette, read again and again: each read opens the file, takes what is new behind a cursor, and closes it.

Nothing is held in between, so that a recorder can begin, fold in its log and leave one clean file, and however slowly
somebody reads, no memory is filled. A read costs as much as there is new, whatever is in the file; one that has not
changed is not opened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Set
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

from ...cassette.files import stamp_of
from ...cassette.select import the_session, the_stream
from ...cassette.sqlite import Store
from ...cassette.sqlite.lock import recorder_is_alive
from ...model import Recording, Streaming, TimedFrame
from ..listing import Row, event_row
from .requests import Requests
from .values import Cursor, Part, Wanted

LAST = 10
"""How many events are told of what was there before."""
_BATCH = 500
"""The most frames that one read takes…"""
_BYTES = 1 << 20
"""…and bytes of them, but for a single larger one."""
_BACK = 8
"""How many times as far back is looked each time, where too few of the last events are wanted ones."""


class File:
    """The cassette at `path`, behind `cursor`; without one, the `last` events that are there, then what comes.

    `of`: the cassette of which the cursor is. It is of no use for another one, which is read from its start. `most`: of
    more new events than these, only the last ones are told.
    """

    def __init__(
        self, path: Path, cursor: Cursor | None = None, of: str | None = None, *, wanted: Wanted,
        opens: Callable[[Path], Store], last: int = 0, most: int | None = None,
    ) -> None:  # fmt: skip
        self._most, self._left_out = most, 0
        self.path, self.cursor = path, cursor
        self._of, self._wanted, self._opens, self._last = of, wanted, opens, last
        self._inode: int | None = None
        self._recordings: list[Recording] = []
        self._turn = 0
        self._requests = Requests(wanted, from_start=cursor is not None and of is None)
        self._all_of: tuple[object, ...] = (None,)
        """How the file was when all that it had was told; with None, when that cannot be said."""

    @property
    def has_read(self) -> bool:
        return self._inode is not None

    @property
    def cassette(self) -> str:
        """By which it is told from another, once it was read."""
        return blake2b("".join(r.started_at for r in self._recordings[:1]).encode(), digest_size=4).hexdigest()

    @property
    def going_on(self) -> set[int]:
        """The streams of which there may be more in it."""
        return set(self.cursor.at) if self.cursor else set()

    def read(self, waiting: Set[int] = frozenset()) -> Part:
        """What is new, but for these streams. Raises `CassetteError`; `UsageError` where nobody records, and what is
        asked for is not there."""
        is_recorded = recorder_is_alive(self.path)
        now = (*stamp_of(self.path), is_recorded)
        if None not in now and now == self._all_of:
            return Part(self.cassette, [], is_recorded=is_recorded)
        part = self._read(waiting)
        self._all_of = (None,) if part.has_more or self.going_on.intersection(waiting) else now
        return part

    def _read(self, waiting: Set[int]) -> Part:
        inode = self.path.stat().st_ino if self.path.exists() else None
        with closing(self._opens(self.path)) as store:
            recordings = store.recordings()
            is_another = self._recordings != recordings[: len(self._recordings)]
            if self._inode is not None and (is_another or inode != self._inode):
                self.cursor, self._requests = Cursor(), Requests(self._wanted, from_start=True)
            self._inode, self._recordings = inode, recordings
            if self.cursor is None:
                found = self._begin(store)
                self._requests.begin(store, self._since(found))
                return self._part(store, found, has_more=False)
            if self._of not in (None, self.cassette):
                self._of, self.cursor = None, Cursor()
            found, has_more = self._new(store, self.cursor, waiting)
            return self._part(store, found, has_more=has_more)

    def _since(self, found: list[tuple[Streaming, TimedFrame]]) -> tuple[int, int] | None:
        """Recording and ns from which requests are told: from the first event, or all of the last recording."""
        if not self._last or not self._recordings:
            return None
        return (found[0][0].recording, found[0][1].offset_ns) if found else (self._recordings[-1].recording, 0)

    def _part(self, store: Store, found: Iterable[tuple[Streaming, TimedFrame]], *, has_more: bool) -> Part:
        requests = [] if has_more else list(self._requests.new(store))
        left_out, self._left_out = self._left_out, 0
        return Part(self.cassette, self._rows(found), has_more, store.is_being_recorded, requests, left_out)

    def _begin(self, store: Store) -> list[tuple[Streaming, TimedFrame]]:
        if not store.is_being_recorded:
            the_stream(store, self._wanted.stream)
            if self._wanted.session is not None:
                the_session(store, self._wanted.session)
        streams = store.streaming()
        self.cursor = Cursor(max((x.stream for x in streams), default=0))
        found: list[tuple[Streaming, TimedFrame]] = []
        for x in streams:
            seen, frames = self._last_of(store, x)
            found += [(x, frame) for frame in frames]
            if store.is_being_recorded and not x.is_over:
                self.cursor.at[x.stream] = seen
        return sorted(found, key=_order)[-self._last :] if self._last else []

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

    def _new(self, store: Store, cursor: Cursor, waiting: Set[int]) -> tuple[list[tuple[Streaming, TimedFrame]], bool]:
        """What lies behind the cursor, `_BATCH` frames or `_BYTES` at the most, and whether there is more."""
        found: list[tuple[Streaming, TimedFrame]] = []
        frames = size = 0
        streams = self._in_turn(store.streaming(cursor.highest, cursor.at), cursor)
        if self._most is not None:
            self._leave_out(store, cursor, streams, self._most)
        for x in streams:
            if x.stream in waiting:
                continue
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

    def _leave_out(self, store: Store, cursor: Cursor, streams: list[Streaming], most: int) -> None:
        """Move the cursor, so that about `most` events are left behind it."""
        behind = {x.stream: max(0, store.last_seq(x) - cursor.at[x.stream]) for x in streams}
        if sum(behind.values()) > most:
            share = most // sum(count > 0 for count in behind.values())
            for stream, count in behind.items():
                more = max(0, count - share)
                cursor.at[stream] += more
                self._left_out += more

    def _in_turn(self, streams: list[Streaming], cursor: Cursor) -> list[Streaming]:
        """The streams, those first that a read before had no room for."""
        for x in streams:
            cursor.highest = max(cursor.highest, x.stream)
            cursor.at.setdefault(x.stream, 0)
        return sorted(streams, key=lambda x: (x.stream <= self._turn, x.stream))

    def _rows(self, found: Iterable[tuple[Streaming, TimedFrame]]) -> list[Row]:
        started = {recording.recording: recording.started_at for recording in self._recordings}
        return [event_row(x, frame, started[x.recording]) for x, frame in found]


def _order(one: tuple[Streaming, TimedFrame]) -> tuple[int, int, int, int]:
    x, frame = one
    return x.recording, frame.offset_ns, x.stream, frame.seq
