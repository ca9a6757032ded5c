"""A cassette as it would have been recorded with something gone wrong: without a server, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from omnirecord.analysis.diff import DiffSession, diff_session
from omnirecord.analysis.gather import Gathered, gathered
from omnirecord.analysis.model_calls.values import ModelCalls
from omnirecord.cassette.framing import Framer
from omnirecord.cassette.open import open_store
from omnirecord.model import Exchange, TimedFrame
from omnirecord.replayer.event_address.matcher import Stream
from omnirecord.replayer.faults import Bound, Faults
from omnirecord.replayer.stream_parts import parts_of
from tests.support.cassettes import CONTRACT


class Recorded:
    """The sessions of a cassette, read once."""

    def __init__(self, path: Path) -> None:
        store = self.store = open_store(path)
        self.sessions: list[Gathered] = list(gathered(store))
        self.streams = [Stream(x.stream or 0, list(store.frames(x))) for x in store.streams()]
        self._frames = {stream.number: list(stream.frames) for stream in self.streams}
        self._reads = {
            x.stream: [(read.offset_ns, read.size) for read in store.reads(x.exchange)] for x in store.streams()
        }

    def frames(self, stream: int) -> list[TimedFrame]:
        return self._frames[stream]

    def tellings(self, *faults: str) -> list[DiffSession]:
        """What is compared, with these faults in it."""
        bound = Faults.parse(faults).bind(self.streams)
        return [self._telling(one, bound) for one in self.sessions]

    def _telling(self, one: Gathered, bound: Bound) -> DiffSession:
        exchanges, frames = [], []
        for x in one.exchanges:
            if x.stream is not None:
                x, made = self._faulty(x, bound)
                frames += made
            exchanges.append(x)
        return diff_session(replace(one, exchanges=exchanges), ModelCalls(), frames)

    def _faulty(self, x: Exchange, bound: Bound) -> tuple[Exchange, list[TimedFrame]]:
        number = x.stream or 0
        played = bound.on(number, parts_of(iter(self._reads[number]), self._frames[number]))
        framed = _framed(number, ((part.offset_ns, part.data) for part in played.parts))
        made = list(framed)
        ended = "upstream_lost" if played.end is not None else x.ending
        if ended == "done" and not any(frame.verdict == "sentinel" for frame in made):
            ended = "eof"
        return replace(x, ending=ended), made


def _framed(stream: int, reads: Iterable[tuple[int, bytes]]) -> Iterator[TimedFrame]:
    framer, offsets, seq = Framer(None, CONTRACT), [], 0
    for n, (offset_ns, data) in enumerate([*reads, (0, b"")]):
        offsets.append(offset_ns)
        for one in framer.feed(n, data) if data else framer.close():
            seq += 1
            judged, frame = one.judgement, one.frame
            at = offsets[one.read]
            yield TimedFrame(stream, seq, at, at, frame.raw, frame.length, judged.type, judged.verdict, ())
