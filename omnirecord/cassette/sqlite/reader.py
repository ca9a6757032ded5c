"""Reads the frames of streams: stored frames, and frames derived from bytes without stored frames. Never writes.

A killed recorder leaves bytes without frames, and exchanges without an ending. Both are derived in memory.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...contract.judge import Contract
from ...model import Exchange, Missing, Streaming, TimedFrame
from ...omnigent.protocol import SESSION_CREATED
from ...wire.limits import AN_EVENT, max_decoded, shown_size
from ..contracts import judge_again
from ..framing import Framed, Framer, storable_type
from ..judged import Verdicts, judged
from . import checked
from .checked import FRAME_BLOCK_COLUMNS
from .stream_reads import (
    Content,
    FrameTable,
    Recent,
    decoded,
    frame_lists,
    frame_table,
    from_read,
    outlined,
    portions,
)
from .tables import Tables, content_encoding, is_coded

if TYPE_CHECKING:
    from ...providers.grouping import Place

log = logging.getLogger("omnirecord")
_MOST_BLOCKS = 64
"""Frame blocks in the cache for requests of single frames."""
_AT_ONCE = 512
"""Frames of bytes without stored frames that are made at once."""
_LOOK = 32 << 20
"""Limit for counting frames that are not stored, in bytes of memory, over all streams: a list of streams stays fast."""
_UNDECODED = "more may be recorded than is counted here: `omnirecord events` decodes all of it"


class Unframed(NamedTuple):
    """Frames after the stored ones: their number by verdict, their total length, and whether one of them ends the
    stream."""

    verdicts: Counter[str]
    size: int
    is_done: bool


class Group(NamedTuple):
    """A session in a recording, or a stream without a session, with the numbers of some of its exchanges."""

    recording: int
    session_id: str | None
    exchanges: int
    """How many there are."""
    is_known: bool
    """Whether the server knew the session."""
    first: int
    last: int
    """By the time of the request."""
    deciding: tuple[int, ...]
    """Those that decide when it begins and ends: the first, the last, and the first that is no stream; all streams; all
    without an end, and the exchange that ends last."""


def _group(recording: int, name: object, facts: list[tuple[int, int, int, int | None]]) -> Group:
    """Return a group. `facts`: of each exchange its number, whether its status is not 404, whether it is a stream, and
    its end in ns."""
    ends = [(one[3], one[0]) for one in facts if one[3] is not None]
    plain = next((one[0] for one in facts if not one[2]), None)
    deciding = {facts[0][0], facts[-1][0], *([] if plain is None else [plain]), *([max(ends)[1]] if ends else [])}
    deciding.update([one[0] for one in facts if one[2] or one[3] is None])
    session_id = name if isinstance(name, str) else None
    is_known = any(one[1] for one in facts)
    return Group(recording, session_id, len(facts), is_known, facts[0][0], facts[-1][0], tuple(deciding))


_IN_ORDER = attrgetter("recording", "request.at_ns", "exchange")


class Store(Tables):
    """The content of one cassette. Large results are iterators. Methods raise `CassetteError`."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None, *, follows: bool = False) -> None:
        self._known_blocks: dict[tuple[int, int], list[TimedFrame]] = {}
        self._unframed: dict[int, Unframed] = {}
        self._last_unmade: dict[int, tuple[TimedFrame, Iterator[TimedFrame]]] = {}
        """The last frame that no recorder made and that was asked for, by exchange, and those behind it."""
        self._other_judges: dict[int, Contract | None] = {}
        self._verdicts: dict[int, Verdicts] = {}
        self.is_judged_now = False
        """Whether the stored verdicts are those of the contracts that judge now, as in a copy in memory."""
        self.places: Mapping[int, Place] = {}
        """The places of model calls in their conversations, by exchange, in a part of a cassette."""
        self._look = _LOOK
        self._held: list[Exchange] | None = None
        self._known_groups: list[Group] | None = None
        self._group_places: dict[str | None, list[int]] | None = None
        self._told: set[int] = set()  # streams with a warning about partial decoding
        super().__init__(connection, path, follows=follows)

    def refresh(self) -> None:
        """Begin a new transaction and drop all caches."""
        self._held = self._known_groups = self._group_places = None
        self._known_blocks.clear()
        self._other_judges.clear()
        self._verdicts.clear()
        self._unframed.clear()
        self._last_unmade.clear()
        self._look = _LOOK
        super().refresh()

    def exchanges(
        self,
        *,
        recording: int | None = None,
        session_id: str | None = None,
        stream: int | None = None,
        kind: str | None = None,
        method: str | None = None,
        ending: str | None = None,
        by_clients: bool = False,
        in_session: bool | None = None,
        unended: bool = False,
    ) -> list[Exchange]:
        """Return the exchanges with all given values, in the order of their requests. `by_clients` leaves out the
        runner's exchanges. `in_session` selects those with a session, or those without; `unended` those without an
        end."""
        given = {
            "recording": recording,
            "session_id": session_id,
            "stream": stream,
            "kind": kind,
            "method": method,
            "ending": ending,
        }
        wanted = {column: value for column, value in given.items() if value is not None}
        if self._held is not None and ending is None and method is None:
            return [
                x
                for x in self._held
                if all(getattr(x, column) == value for column, value in wanted.items())
                and not (by_clients and x.party == "runner")
                and in_session in (None, x.session_id is not None)
                and not (unended and x.end_ns is not None)
            ]
        where = [f"{column} = ?" for column in wanted]
        where += ["party != 'runner'"] * by_clients
        where += [] if in_session is None else [f"session_id IS {'NOT ' * in_session}NULL"]
        where += ["end_ns IS NULL"] * unended
        return self._exchanges(" AND ".join(where) or "1", *wanted.values())

    def groups(
        self, *, recording: int | None = None, sessions: Collection[str] | None = None
    ) -> Iterator[list[Exchange]]:
        """Yield the exchanges of clients by session and recording, in the order in which sessions began; see `grouped`.
        They are read when their turn comes, so that memory holds one session. `recording`, `sessions`: only of these.
        """
        known = self._groups()
        for place in self._places(sessions) if sessions is not None else range(len(known)):
            one = known[place]
            if recording not in (None, one.recording):
                continue
            if one.session_id is None:
                yield self.numbered([one.first])
            elif one.is_known:
                yield self._of_group(one)

    def brief_groups(self) -> Iterator[tuple[Group, list[Exchange]]]:
        """Yield the groups of `groups` with the exchanges that decide when they begin and end (`Group.deciding`)."""
        for one in self._groups():
            if one.is_known or one.session_id is None:
                yield one, self.numbered(one.deciding)

    def session_keys(self) -> list[tuple[int, str]]:
        """Return the recordings and ids of the sessions of `groups`."""
        known = (one for one in self._groups() if one.is_known)
        return [(one.recording, one.session_id) for one in known if one.session_id is not None]

    def strays(self, *, recording: int | None = None) -> list[Exchange]:
        """Return the exchanges of clients in no group of `groups`, in the order of their requests."""
        found = self.exchanges(recording=recording, by_clients=True, in_session=False)
        found = [x for x in found if x.kind != "sse"]
        unknown = [one for one in self._groups() if not one.is_known and recording in (None, one.recording)]
        found += [x for one in unknown for x in self._of_group(one)]
        return sorted(found, key=_IN_ORDER) if unknown else found

    def _of_group(self, one: Group) -> list[Exchange]:
        where = "recording IS ? AND session_id = ? AND party != 'runner'"
        return self._exchanges(where, one.recording, one.session_id)

    def _groups(self) -> list[Group]:
        """Return the groups of `groups`, those that the server did not know included. Cached."""
        if self._known_groups is None:
            self._known_groups = next(self._checked(lambda: [self._read_groups()]))
        return self._known_groups

    def _read_groups(self) -> list[Group]:
        query = (
            "SELECT recording, session_id, exchange, status IS NOT 404, kind = 'sse', end_ns FROM exchanges"
            " WHERE party != 'runner' AND (session_id IS NOT NULL OR kind = 'sse')"
            " ORDER BY recording, request_at_ns, exchange"
        )
        found: dict[tuple[int, object], list[tuple[int, int, int, int | None]]] = {}
        for recording, session_id, *facts in self._connection.execute(query):
            key = recording, facts[0] if session_id is None else session_id
            own = found.get(key)
            if own is None:
                found[key] = [tuple(facts)]
            else:
                own.append(tuple(facts))
        return [_group(recording, name, own) for (recording, name), own in found.items()]

    def _places(self, sessions: Collection[str]) -> list[int]:
        """Return the places of these sessions among all groups."""
        if self._group_places is None:
            places: dict[str | None, list[int]] = {}
            for place, one in enumerate(self._groups()):
                places.setdefault(one.session_id, []).append(place)
            self._group_places = places
        return sorted(place for one in set(sessions) for place in self._group_places.get(one, ()))

    def hold(self) -> None:
        """Keep all exchanges in memory until `refresh`, for several analyses of a cassette."""
        self._held = self.exchanges()

    def each(self, recording: int) -> Iterator[Exchange]:
        """Yield the exchanges of a recording, in the order of their requests. Memory holds one of them."""
        return self._each("recording = ?", recording)

    def _exchanges(self, where: str, *values: Any) -> list[Exchange]:
        return list(self._each(where, *values))

    def _each(self, where: str, *values: Any) -> Iterator[Exchange]:
        order = "ORDER BY recording, request_at_ns, exchange"
        for exchange, has_unframed in self._exchange_rows(f"{where} {order}", *values):
            yield self._settled(exchange, has_unframed)

    def _settled(self, x: Exchange, has_unframed: bool) -> Exchange:
        """Return the exchange, `done` if the end of the stream is among bytes without stored frames, or among frames
        of which another contract judges now."""
        if x.kind != "sse" or x.ending == "done":
            return x
        is_done = has_unframed and (x.end_ns is None or not is_coded(x)) and self._counted(x).is_done
        if not is_done and (judge := self._other_judge(x)) is not None and judge.api.ends:
            is_done = self._judged_again(x, judge).is_done
        return replace(x, ending="done") if is_done else x

    def _other_judge(self, x: Exchange) -> Contract | None:
        """Return the contract that judges a stream now; None if its verdicts are stored."""
        if self.is_judged_now:
            return None
        if x.exchange not in self._other_judges:
            self._other_judges[x.exchange] = judge_again(self.recording(x.recording), x)
        return self._other_judges[x.exchange]

    def _judged_again(self, x: Exchange, judge: Contract) -> Verdicts:
        """Return the counts of the stored frames of a stream, by the contract that judges now. Cached."""
        stored = self._stored(x)[0]
        found = self._verdicts.setdefault(x.exchange, Verdicts(judge.api))
        if found.seq < stored:
            for frame in self.stored_frames(x, found.seq):
                found.add(frame)
        return found

    def has_other_judges(self) -> bool:
        """Return whether another contract judges some stream now than when it was recorded."""
        return any(self._other_judge(x) is not None for x in self.streams())

    def streams(self, session_id: str | None = None) -> list[Exchange]:
        """Return the exchanges that are event streams, of one session or of all."""
        return self.exchanges(kind="sse", session_id=session_id)

    def numbered(self, exchanges: Iterable[int]) -> list[Exchange]:
        return self._exchanges("exchange IN (SELECT value FROM json_each(?))", json.dumps(list(exchanges)))

    def wire(self, exchange: Exchange) -> bytes:
        """Return the bytes of a stream as they were on the wire: compressed, if the response was."""
        if not is_coded(exchange):
            return b"".join(self.content(exchange))
        return b"".join(block.data for block in self._blocks(exchange.exchange) if block.data is not None)

    def content(self, exchange: Exchange) -> Iterator[bytes]:
        """Yield the decoded bytes of a stream: the frames and, while it continues, the start of the next frame."""
        for frame in self.frames(exchange, unfinished=True):
            if frame.raw is not None:
                yield frame.raw

    def missing(self, exchange: Exchange) -> list[Missing]:
        """Return the frames of a stream whose bytes are not in the cassette. A compressed stream may have the bytes of
        its body nevertheless: see `lost`."""
        frames = self.frames(exchange, unfinished=True)
        return [Missing(frame.stream, frame.seq, frame.length) for frame in frames if frame.raw is None]

    def frames(self, exchange: Exchange, *, unfinished: bool = False, after: int = 0) -> Iterator[TimedFrame]:
        """Return the frames of a stream after frame number `after`. `unfinished` includes the start of the next frame
        while the stream continues."""
        return chain.from_iterable(self.frame_lists(exchange, unfinished=unfinished, after=after))

    def frame_lists(
        self, exchange: Exchange, *, unfinished: bool = False, after: int = 0
    ) -> Iterator[list[TimedFrame]]:
        """Yield what `frames` returns, in lists of at most some hundred frames."""
        stored, length = (0, 0) if after == 0 else self._stored(exchange)
        for some in self._checked(lambda: self._stored_lists(exchange.exchange, exchange.stream or 0, after)):
            if after == 0:
                stored = some[-1].seq
                length = length + sum([frame.length for frame in some])
            yield some
        derived = (one for one in self._derived(exchange, stored, length, unfinished) if one.seq > after)
        while some := list(islice(derived, _AT_ONCE)):
            yield some

    def outline(self, exchange: Exchange) -> Iterator[TimedFrame]:
        """Yield the frames of a stream without most of its deltas; see `outlined`. Takes a fraction of `frames`."""
        seq = length = 0
        if self._other_judge(exchange) is not None:
            yield from self.frames(exchange)
            return
        number = exchange.exchange
        stream = exchange.stream or 0
        found = outlined(self._connection, stream, lambda read, start: self._sources(number, read, start)[1])
        for part in self._checked(lambda: found):
            seq = max(seq, part.seq)
            length = max(length, part.end)
            yield from part.frames
        yield from self._derived(exchange, seq, length, False)

    def stored_frames(self, exchange: Exchange | Streaming, after: int = 0) -> Iterator[TimedFrame]:
        """Yield the stored frames after `after`; the work is proportional to their number."""
        found = self._checked(lambda: self._stored_lists(exchange.exchange, exchange.stream or 0, after))
        return chain.from_iterable(found)

    def _judge_of_number(self, exchange: int) -> Contract | None:
        """Return `_other_judge` of the exchange with this number."""
        if self.is_judged_now:
            return None
        if exchange not in self._other_judges:
            for x, _ in self._exchange_rows("exchange = ?", exchange):
                self._other_judge(x)
        return self._other_judges.get(exchange)

    def _stored_lists(self, exchange: int, stream: int, after: int) -> Iterator[list[TimedFrame]]:
        """Yield the stored frames after `after` in lists that are not empty. A list takes a fraction of the time that
        its frames take one by one."""
        query = (
            f"SELECT {FRAME_BLOCK_COLUMNS} FROM frame_blocks WHERE stream = ?"
            " AND seq >= (SELECT coalesce(max(seq), 0) FROM frame_blocks WHERE stream = ? AND seq <= ?) ORDER BY seq"
        )
        judge = self._judge_of_number(exchange)
        times: Content | None = None
        content: Content | None = None
        for row in self._connection.execute(query, (stream, stream, after + 1)):
            if times is None or content is None:
                times, content = self._sources(exchange, row[3], row[2])
            for some in frame_lists(stream, checked.frame_columns_of(row), after, times, content):
                yield some if judge is None else [judged(frame, judge) for frame in some]

    def _stored_frame(self, exchange: int, stream: int, seq: int) -> TimedFrame | None:
        """Return one stored frame; None if there is none from that number on."""
        return next(chain.from_iterable(self._stored_lists(exchange, stream, seq - 1)), None)

    def frame_table(self, exchange: Exchange) -> FrameTable | None:
        """Return a whole stream as columns; None if it is compressed, lacks bytes, has bytes without a frame, or is
        judged by another contract now."""
        if is_coded(exchange) or self._other_judge(exchange) is not None:
            return None
        return next(self._checked(lambda: iter([frame_table(self._connection, exchange)])))

    def _sources(self, exchange: int, read: int, start: int) -> tuple[Content, Content]:
        """Return the source of read times and the source of content bytes, from a frame block on."""
        times = Content(from_read(self._connection, exchange, read))
        query = "SELECT 1 FROM chunks WHERE exchange = ? AND side = 'content' LIMIT 1"
        if self._connection.execute(query, (exchange,)).fetchone() is None:
            return times, times
        return times, Content(decoded(self._connection, exchange, start))

    def frames_behind(self, stream: Exchange | Streaming, after: int) -> Iterator[TimedFrame]:
        """Yield the frames after `after`, with work proportional to their number: stored frames, and those of the bytes
        behind them."""
        for frame in self.stored_frames(stream, after):
            after = frame.seq
            yield frame
        for exchange in self.numbered([stream.exchange]):
            yield from self.frames(exchange, after=after)

    def frame(self, exchange: Exchange, seq: int) -> TimedFrame | None:
        """Return the frame of a stream with this number, or None. The last frame blocks are cached. Of the frames that
        no recorder made, those with ascending numbers take one pass."""
        for found in self._checked(lambda: self._frames_from(exchange.exchange, exchange.stream or 0, seq)):
            if found.seq == seq:
                return found
        return self._unmade_frame(exchange, seq)

    def _unmade_frame(self, exchange: Exchange, seq: int) -> TimedFrame | None:
        """Return a frame behind the stored ones."""
        found, behind = self._last_unmade.pop(exchange.exchange, (None, None))
        if behind is None or found is None or found.seq > seq:
            behind = self.frames(exchange, after=self._stored(exchange)[0])
            found = next(behind, None)
        while found is not None and found.seq < seq:
            found = next(behind, None)
        if found is None:
            return None
        self._last_unmade.clear()
        self._last_unmade[exchange.exchange] = found, behind
        return found if found.seq == seq else None

    def _frames_from(self, exchange: int, stream: int, seq: int) -> list[TimedFrame]:
        query = "SELECT seq, frames FROM frame_blocks WHERE stream = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"
        first, frames = self._connection.execute(query, (stream, seq)).fetchone() or (0, 0)
        if not first <= seq < first + frames:
            return []
        known = self._known_blocks.pop((stream, first), None)
        if known is None:
            known = list(islice(chain.from_iterable(self._stored_lists(exchange, stream, first - 1)), frames))
        self._known_blocks[stream, first] = known  # the block in use is dropped last
        while len(self._known_blocks) > _MOST_BLOCKS:
            del self._known_blocks[next(iter(self._known_blocks))]
        return known[seq - first : seq - first + 1]

    def last_seq(self, exchange: Exchange | Streaming) -> int:
        """Return the number of the last stored frame of a stream; 0 if there is none."""
        return self._stored(exchange)[0]

    def _derived(self, exchange: Exchange, stored: int, length: int, unfinished: bool) -> Iterator[TimedFrame]:
        if self._is_framed(exchange, length):
            return
        framer = self._framer(exchange, length)
        yield from self._timed(exchange, framer, stored, length, unfinished)
        if framer.stopped_at is not None:
            self._tell(exchange, framer.broken or "")

    def _is_framed(self, exchange: Exchange, length: int) -> bool:
        """Whether all frames of a stream are stored, or all within the limit."""
        if not is_coded(exchange):
            return self._size(exchange) == length
        stopped_at = self.stopped_at(exchange)
        if not stopped_at or stopped_at < max_decoded():
            return stopped_at == 0
        self._tell(exchange, f"decoded up to {shown_size(stopped_at)} of events, the limit when it was recorded")
        return True

    def stopped_at(self, exchange: Exchange) -> int | None:
        """Return the limit, in bytes, at which the recorder stopped decoding a stream. 0 if it decoded the whole
        stream, None if that is not stored."""
        query = "SELECT DISTINCT data FROM chunks WHERE exchange = ? AND side = 'framed'"
        limits = list(self._rows(checked.limit_of, query, exchange.exchange))
        return 0 if 0 in limits else max(limits, default=None)

    def _tell(self, exchange: Exchange, what: str) -> None:
        """Log once that a stream is decoded in part."""
        if exchange.exchange not in self._told:
            self._told.add(exchange.exchange)
            log.warning("stream %d: %s", exchange.stream, what)

    def _counted(self, exchange: Exchange) -> Unframed:
        """Return the counts of the frames after the stored ones, within the limit; cached."""
        if exchange.exchange not in self._unframed:
            stored, length = self._stored(exchange)
            verdicts = Counter[str]()
            size = 0
            is_done = False
            if not self._is_framed(exchange, length):
                api = self.judge_of(exchange).api
                framer = self._framer(exchange, length, self._look)
                left = self._look
                for frame in self._timed(exchange, framer, stored, length, unfinished=False):
                    left -= AN_EVENT + frame.length
                    if left < 0:
                        break
                    verdicts[frame.verdict] += 1
                    size += frame.length
                    is_done = is_done or api.is_end(frame.verdict, frame.type)
                self._look = max(0, min(left, self._look - framer.cost))
                if (left < 0 or framer.stopped_at is not None) and not self.is_being_recorded:
                    self._tell(exchange, _UNDECODED)
            self._unframed[exchange.exchange] = Unframed(verdicts, size, is_done)
        return self._unframed[exchange.exchange]

    def _framer(self, exchange: Exchange, length: int, limit: int | None = None) -> Framer:
        contract = self.judge_of(exchange)
        return Framer(content_encoding(exchange), contract, 0 if is_coded(exchange) else length, limit)

    def _timed(
        self, exchange: Exchange, framer: Framer, stored: int, length: int, unfinished: bool
    ) -> Iterator[TimedFrame]:
        offsets = Recent()
        for seq, framed in enumerate(self._reframed(exchange, framer, stored, length, unfinished, offsets), stored + 1):
            judgement = framed.judgement
            read = offsets.of(framed.read)
            issues = tuple((issue.path, issue.message) for issue in judgement.issues)
            yield TimedFrame(
                exchange.stream or 0,
                seq,
                read.offset_ns,
                read.sent_ns,
                framed.frame.raw,
                framed.frame.length,
                storable_type(judgement.type),
                judgement.verdict,
                issues,
            )

    def _reframed(
        self, exchange: Exchange, framer: Framer, stored: int, length: int, unfinished: bool, offsets: Recent
    ) -> Iterator[Framed]:
        skip, byte = (stored, 0) if framer.decodes else (0, length)
        end = byte
        for block in self._blocks(exchange.exchange, byte):
            offsets.add(block, framer.read)
            end = block.end
            for fed in portions(framer, block):
                yield from fed[skip:]  # type: ignore[misc]  # without runs
                skip = max(0, skip - len(fed))
            if framer.stopped_at is not None:
                return
        if end != self._size(exchange):
            raise self._damaged(f"stream {exchange.stream} lacks some of its reads")
        if unfinished or exchange.ending != "open":
            yield from framer.close()[skip:]

    def parents(self) -> dict[str, str]:
        """Return the parent session id of each child session id, from `session.created` events."""
        query = (
            "SELECT x.exchange, l.stream, l.seq FROM landmarks l JOIN exchanges x USING (stream) WHERE l.type = ?"
            " ORDER BY l.stream, l.seq"
        )

        def found() -> Iterator[tuple[str, str] | None]:
            for exchange, stream, seq in self._connection.execute(query, (SESSION_CREATED,)):
                frame = self._stored_frame(exchange, stream, seq)
                yield checked.family_of(frame.raw) if frame is not None and frame.verdict == "valid" else None

        return dict(filter(None, self._checked(found)))

    def tally(self, exchange: Exchange) -> tuple[dict[str, int], int]:
        """Return the number of frames by verdict, and their total length in bytes. The stored frames are counted if
        `tallies` does not match them."""
        if (judge := self._other_judge(exchange)) is not None:
            again = self._judged_again(exchange, judge)
            behind = self._counted(exchange)
            return dict(again.verdicts + behind.verdicts), again.size + behind.size
        query = "SELECT verdict, frames, length FROM tallies WHERE stream = ? ORDER BY verdict"
        found = list(self._rows(checked.count_of, query, exchange.stream))
        verdicts = Counter({verdict: count for verdict, count, _ in found})
        size = sum(length for *_, length in found)
        if verdicts.total() != self._stored(exchange)[0]:
            frames = list(map(attrgetter("verdict", "length"), self.stored_frames(exchange)))
            verdicts = Counter(verdict for verdict, _ in frames)
            size = sum(length for _, length in frames)
        behind = self._counted(exchange)
        return dict(verdicts + behind.verdicts), size + behind.size

    def _stored(self, exchange: Exchange | Streaming) -> tuple[int, int]:
        """Return the number of stored frames of a stream, and their content in bytes."""
        query = "SELECT seq + frames - 1, start + length FROM frame_blocks WHERE stream = ? ORDER BY seq DESC LIMIT 1"
        return next(self._rows(checked.pair_of, query, exchange.stream), (0, 0))

    def last_frame_ns(self, exchange: Exchange) -> int:
        """Return the arrival of the last frame of a stream that has ended, in ns; 0 if it has none."""
        query = (
            "SELECT offset_ns + json_extract(times, '$[#-1]') FROM frame_blocks WHERE stream = ?"
            " ORDER BY seq DESC LIMIT 1"
        )
        last_ns = next(self._rows(checked.number_of, query, exchange.stream), 0)
        if not self._is_framed(exchange, self._stored(exchange)[1]):
            query = (
                "SELECT n, start, size, offset_ns, reads, NULL FROM read_blocks WHERE exchange = ?"
                " ORDER BY n DESC LIMIT 1"
            )
            last_ns = max([last_ns, *self._rows(checked.last_arrival_of, query, exchange.exchange)])
        return last_ns
