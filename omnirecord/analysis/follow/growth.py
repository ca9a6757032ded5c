"""What a cassette grows by: exchanges, each as it begins and again when it may have changed, and frames of streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import chain

from ...cassette.sqlite import Store
from ...cassette.sqlite.tail import Tail
from ...model import Exchange, Streaming, TimedFrame
from ..listing import FrameFilter

_BACK = 8
"""Factor by which the search for the last wanted events goes further back each time."""
Of = tuple[Streaming, TimedFrame]


@dataclass(slots=True)
class Cursor:
    """The position in a cassette: the open streams with their last `seq`, and the highest stream."""

    highest: int = 0
    at: dict[int, int] = field(default_factory=dict)


class Growth:
    """The new content of one cassette for one follower, which reads it again and again.

        for x, frames in growth.streams(store, takes):
            ...                                  # set `growth.cursor.at[x.stream]` to the `seq` of the last frame
        for x, is_over in growth.exchanges(store):
            ...

    Call each at most once in a transaction of the store. `cursor`: read only the frames after it. `most`: number of new
    frames that a call yields, about; with more, earlier ones are left out and counted in `left_out`.
    """

    def __init__(self, cursor: Cursor | None = None, most: int | None = None) -> None:
        self.cursor = Cursor() if cursor is None else cursor
        self.open: dict[int, bool] = {}
        """The exchanges that go on, and whether only their end is of interest."""
        self.done: dict[int, bool | None] = {}
        """Whether a frame ended a stream that the last call found to be over, by its exchange; None if that is not
        known."""
        self.left_out = 0
        self._most = most
        self._newest = 0
        self._tail = Tail(rests=most is not None)
        self._left: set[int] = set()
        """The streams of which the reader has left some frames."""
        self._turn = 0
        """The exchange at whose frames the reader stopped."""

    def skip_exchanges(self, store: Store, *, but: Iterable[int] = ()) -> None:
        """Skip the exchanges that are in the file, except `but`."""
        self._newest = store.newest()
        self.open = dict.fromkeys(but, False)

    def exchanges(self, store: Store) -> Iterator[tuple[Exchange, bool]]:
        """Yield the new and the changed exchanges, each with whether it is over."""
        for x in store.newer(self._newest, self._changed(store)):
            self._newest = max(self._newest, x.exchange)
            # `[DONE]` is in the file before the end of its exchange.
            goes_on = x.end_ns is None and (x.ending == "open" or (x.ending == "done" and store.is_being_recorded))
            if goes_on:
                self.open.setdefault(x.exchange, False)
            else:
                self.open.pop(x.exchange, None)
            yield x, not goes_on

    def wait_for_end(self, exchange: int) -> None:
        """Read an open exchange again only at its end."""
        self.open[exchange] = True

    def _changed(self, store: Store) -> list[int]:
        if not store.is_being_recorded:
            return list(self.open)
        followed = [number for number, is_settled in self.open.items() if not is_settled]
        waited_for = [number for number, is_settled in self.open.items() if is_settled]
        return followed + store.ended("exchange", waited_for)

    def streams(
        self, store: Store, takes: Callable[[Streaming], bool], waiting: Set[int] = frozenset()
    ) -> Iterator[tuple[Streaming, Iterable[TimedFrame]]]:
        """Yield the streams that may have new frames, and `takes` returns True for, each with these frames. A reader
        that stops gets the rest at its next call. `waiting`: streams that are read later."""
        cursor = self.cursor
        tail = self._tail
        changed = tail.look(store, self._most) | self._left
        self.left_out += tail.left_out()
        is_recorded = store.is_being_recorded
        known = set(cursor.at)
        if is_recorded:
            known = {stream for stream in known if stream in changed or not tail.follows(stream)}
            known.update(store.ended("stream", cursor.at))
        behind = store.streaming(cursor.highest, known)
        for x in behind:
            cursor.highest = max(cursor.highest, x.stream)
            cursor.at.setdefault(x.stream, 0)
        # First come the streams that the last call had no room for.
        behind.sort(key=lambda x: (x.exchange <= self._turn, x.exchange))
        streams = [x for x in behind if x.stream not in waiting]
        wanted = [x for x in streams if takes(x)]
        tail.open(store, [x.exchange for x in wanted])
        over = {x.exchange for x in streams if x.is_over or not is_recorded}
        for x in wanted:
            if x.exchange in over:
                tail.end(x.exchange)
        if self._most is not None:
            self._leave_out(wanted, self._most)
        self._left = {x.stream for x in streams}
        for x in wanted:
            self._turn = x.exchange
            yield x, tail.new_frames(store, x, cursor.at[x.stream], is_over=x.exchange in over)
        self._left = set()
        self._turn = 0
        self.done = {}
        for x in streams:
            if x.exchange in over:
                del cursor.at[x.stream]
                if tail.has(x.exchange):
                    self.done[x.exchange] = tail.is_done(x.exchange)
                tail.forget(x.exchange)

    def _leave_out(self, streams: list[Streaming], most: int) -> None:
        """Leave out the oldest new frames, so that about `most` are left."""
        cursor = self.cursor
        tail = self._tail
        behind: list[tuple[Streaming, int, int]] = []
        for x in streams:
            if tail.has(x.exchange):
                stored = max(0, tail.opened_at(x.exchange) - 1 - cursor.at[x.stream])
                if count := stored + tail.waiting(x.exchange):
                    behind.append((x, stored, count))
        if sum(count for _, _, count in behind) <= most:
            return
        share = most // len(behind)
        for place, (x, stored, count) in enumerate(behind):
            left = share or int(place < most)
            skipped = max(0, min(stored, count - left))
            cursor.at[x.stream] += skipped
            self.left_out += skipped + tail.leave_out(x.exchange, left)

    def last(self, store: Store, count: int, wanted: FrameFilter) -> Iterator[Of]:
        """Yield the last frames of each stream, `count` at most of each, and skip all earlier ones. Call it first."""
        tail = self._tail
        is_recorded = store.is_being_recorded
        streams = store.streaming()
        self.cursor = Cursor(max((x.stream for x in streams), default=0))
        open_ = [x for x in streams if is_recorded and not x.is_over and wanted.takes_stream(x)]
        tail.look(store)
        tail.open(store, [x.exchange for x in open_])
        for x in streams:
            seen, frames = self._last_of(store, x, count, wanted)
            yield from ((x, frame) for frame in frames)
            if is_recorded and not x.is_over:
                self.cursor.at[x.stream] = seen

    def _last_of(self, store: Store, x: Streaming, count: int, wanted: FrameFilter) -> tuple[int, Iterable[TimedFrame]]:
        """Return the last `seq` of a stream, and its last wanted frames."""
        last = store.last_seq(x)
        is_open = self._tail.has(x.exchange)
        new = list(self._tail.frames(store, x, last)) if is_open else []
        if not count or not wanted.takes_stream(x):
            return new[-1].seq if new else last, []
        back = count
        while True:
            frames = deque[TimedFrame](maxlen=count)
            seen = last
            begin = max(0, last - back)
            known = chain(store.stored_frames(x, begin), new) if is_open else store.frames_behind(x, begin)
            for frame in known:
                seen = frame.seq
                if wanted.takes(frame):
                    frames.append(frame)
            if len(frames) == count or back >= last:
                return seen, frames
            back *= _BACK
