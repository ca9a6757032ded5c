"""Committed bytes of streams in, frames out: the second step of a recording.

Each open stream has a `_Streaming`; `FrameMaker.make` takes a step of each in turn. The steps of several streams are
one transaction. If it fails, they begin again from the state of the file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter

from ..cassette.framing import Framed, Framer, Run
from ..cassette.sqlite import Writer, rows
from ..cassette.sqlite.rows import Row
from ..cassette.sqlite.stream_reads import ReadBlock, from_byte, portions, together
from ..cassette.sqlite.stream_rows import READ_BLOCK_BYTES, FrameColumns, forgotten, frame_blocks
from ..cassette.sqlite.writer import is_transient
from ..contract import Issue
from ..contract.judge import Contract, Judgement
from ..model import Headers
from ..wire.sse import Frame
from .intervals import FRAMES_PORTION, SMALL_READS, STEP, STEP_STREAMS

log = logging.getLogger("omnirecord")

_A_FRAME = 64
"""Bytes that a frame of a step counts as, at least, to bound the memory of a step of small frames."""
_NO_PORTIONS: Iterator[Sequence[Framed | Run]] = iter(())


class _Careful(Contract):
    """A contract that marks an event as invalid if its check raises an exception."""

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract.name, contract.types, lambda _type, _payload: (), shapes=contract.shapes)
        self.api = contract.api
        self._judges = contract.judge
        self.fault: Exception | None = None
        """The first exception in this step."""

    def judge(self, frame: Frame) -> Judgement:
        try:
            return self._judges(frame)
        except Exception as error:  # promise 2
            self.fault = self.fault or error
            problem = f"could not be judged, by a fault of omnirecord: {type(error).__name__}"
            return Judgement("invalid", issues=(Issue("", problem),), data=frame.data)


@dataclass(slots=True)
class _Streaming:
    """The state of an open stream on its way from reads to frames."""

    stream: int
    coding: str | None
    recording: int
    judge: _Careful
    framer: Framer
    byte: int
    """Bytes of the body on the wire that are framed."""
    frames: int
    """The number of stored frames."""
    length: int
    """Bytes of content in the stored frames."""
    read: int
    """The read that had the end of the last stored frame."""
    skip: int
    """The number of next frames that are stored already: a coded stream can only be decoded from its start."""
    row: int | None = None
    """The first read of the row that begins after `byte`; None if it is not known."""
    held: Sequence[ReadBlock] = ()
    """All blocks of the file behind the framed ones, if they are known."""
    portions: Iterator[Sequence[Framed | Run]] = _NO_PORTIONS
    """The rest of a row that a step has begun."""
    is_stop_told: bool = False
    ended: bool = False
    is_fault_told: bool = False
    until: int | None = None
    """The number of bytes that cannot change any more. None: all."""
    at_ns: int = 0
    """The time of the last framed read."""
    offsets: dict[int, int] = field(default_factory=dict)
    """The time of each read that a frame of this step may end in."""

    def came(self, read: int) -> int:
        return self.offsets.get(read, self.at_ns)


@dataclass(frozen=True, slots=True)
class _Step:
    """The frames of some bytes of a stream, and their rows."""

    exchange: int
    state: _Streaming
    columns: FrameColumns
    more: bool
    finished: bool
    rows: list[Row]
    fed: int


Rest = Callable[[], bool]
"""A pause for other threads; returns whether the frames so far should be written now. No lock is held that others may
wait for."""


class FrameMaker:
    """Makes the frames of all streams of one file, and of those that a killed recorder left behind. `RowMaker` gives it
    the news of the streams.

    `recording`: the number of the first hop's recording; `contracts`: one for each hop. `step`: the most bytes in a
    step.
    """

    def __init__(self, writer: Writer, recording: int, *contracts: Contract, step: int = STEP) -> None:
        self._streaming: dict[int, _Streaming] = {}
        self._waiting: dict[int, None] = {}  # streams with bytes in no frame, in the order of their turns
        self._most = step
        self._writer = writer
        self._recording = recording
        self._contracts = contracts
        self._judges: dict[str, _Careful] = {}
        """By the name of a contract: with `auto`, streams have different ones."""

    @property
    def behind(self) -> bool:
        """Whether any stream waits for frames."""
        return bool(self._waiting)

    def move(self, writer: Writer) -> None:
        """Continue in another file, of which nothing is known yet."""
        self._streaming.clear()
        self._waiting.clear()
        self._writer = writer

    def begin(
        self,
        exchange: int,
        stream: int,
        coding: str | None,
        target: str,
        hop: int = 0,
        headers: Headers = (),
        recording: int | None = None,
    ) -> None:
        """Note that the response of a stream has begun, of which the file has no frames. `target` and `headers`: of the
        request, as they are stored. The contract of the hop judges its events. `recording`: its number; by default that
        of the first hop."""
        judge = self._judge(self._contracts[hop].of(target, headers))
        number = self._recording if recording is None else recording
        self._begin(exchange, stream, coding, number, judge, stored=(0, 0, 0))

    def arrived(self, exchange: int, until: int | None = None) -> None:
        """Note that its bytes are in the file, or will be with the next commit. Those behind `until` may still
        change."""
        if exchange in self._streaming:
            state = self._streaming[exchange]
            state.until = until
            state.held = ()
            self._waiting[exchange] = None

    def settled(self, exchange: int, blocks: Sequence[ReadBlock]) -> None:
        """Note that these blocks, the last ones of a stream, are in the file: they need not be read from there.

        They may have arrived after the last pass had moved the journal. It found nothing of them, and the stream did
        not wait any more.
        """
        if exchange in self._streaming:
            self._streaming[exchange].held = blocks
            self._waiting[exchange] = None

    def ended(self, exchange: int) -> None:
        """Note that no more bytes of it will arrive."""
        if exchange in self._streaming:
            self._streaming[exchange].ended = True
        self.arrived(exchange)

    def _judge(self, contract: Contract) -> _Careful:
        if contract.name not in self._judges:
            self._judges[contract.name] = _Careful(contract)
        return self._judges[contract.name]

    def make(self, rest: Rest = lambda: False, /) -> Iterator[int]:
        """Make the frames of the bytes that wait now, and yield the number of new frames of each transaction. `rest` is
        called after some streams. Raises what SQLite raises. Nothing is lost by that."""
        waiting = list(self._waiting)
        ends = dict[int, int]()
        while waiting:
            left: list[int] = []
            these = iter(waiting)
            while steps := self._steps(these, rest):
                self._write(steps)
                left += [step.exchange for step in steps if step.more]
                yield sum([self._done(step) for step in steps])
            ends = {exchange: ends.get(exchange) or self._writer.received(exchange) for exchange in left}
            waiting = [exchange for exchange in left if self._is_before(exchange, ends[exchange])]

    def _is_before(self, exchange: int, byte: int) -> bool:
        """Whether a stream has bytes before `byte` that are in no frame."""
        state = self._streaming.get(exchange)
        return state is not None and (state.byte < byte or state.portions is not _NO_PORTIONS)

    def _steps(self, waiting: Iterator[int], rest: Rest) -> list[_Step]:
        """Return the steps of the next streams, as many as fit into one transaction."""
        steps: list[_Step] = []
        fed = 0
        for exchange in waiting:
            try:
                step = self._step(exchange, self._streaming[exchange])
            except Exception as error:
                self._begin_again([*(step.exchange for step in steps), exchange])
                if is_transient(error):
                    raise
                self._give_up(exchange, error)
                return []
            steps.append(step)
            fed += step.fed
            if fed > self._most or len(steps) == STEP_STREAMS:
                break
            if not len(steps) % FRAMES_PORTION and rest():
                break
        return steps

    def _step(self, exchange: int, state: _Streaming) -> _Step:
        state.judge.fault = None  # many streams have one judge
        found, more, fed = self._feed(exchange, state)
        finished = state.ended and not more
        if state.skip:  # of a coded stream, so there are no runs
            skipped = min(state.skip, len(found))
            found = found[skipped:]
            state.skip -= skipped
        columns = FrameColumns(found)
        says = bool(found) or finished or state.framer.stopped_at is not None
        made = list(self._frame_rows(exchange, state, columns, found, finished)) if says else []
        return _Step(exchange, state, columns, more, finished, made, fed)

    def _write(self, steps: list[_Step]) -> None:
        try:
            # sorted by statement: each is prepared once, and their order does not matter
            self._writer.write(sorted((row for step in steps for row in step.rows), key=itemgetter(0)))
        except Exception as error:
            if is_transient(error):
                self._begin_again([step.exchange for step in steps])
                raise
            self._write_each(steps)

    def _write_each(self, steps: list[_Step]) -> None:
        """Write each step alone, after SQLite refused one of them."""
        for step in list(steps):
            try:
                self._writer.write(step.rows)
            except Exception as error:
                if is_transient(error):
                    self._begin_again([step.exchange for step in steps])
                    raise
                steps.remove(step)
                self._give_up(step.exchange, error)

    def _begin_again(self, exchanges: list[int]) -> None:
        for exchange in exchanges:
            state = self._streaming[exchange]
            again = self._begin(exchange, state.stream, state.coding, state.recording, state.judge)
            again.ended = state.ended
            again.until = state.until

    def _give_up(self, exchange: int, error: Exception) -> None:
        """Make no more frames of this stream. Its bytes are kept, and readers derive the frames."""
        state = self._streaming.pop(exchange)
        del self._waiting[exchange]
        self._writer.write([fault(state.recording, f"frames of stream {state.stream}", state.at_ns, error)])

    def _done(self, step: _Step) -> int:
        """Update the state after the step is written, and return the number of its frames."""
        exchange = step.exchange
        state = step.state
        columns = step.columns
        del self._waiting[exchange]
        if step.more:
            self._waiting[exchange] = None
        if step.finished:
            del self._streaming[exchange]
        # the next step needs the times of the read of a frame without its LF, and of an unfinished row
        read = state.framer.read
        if state.framer.decodes:
            state.offsets = {n: at for n, at in state.offsets.items() if n >= read}
        else:
            state.offsets = {read: state.offsets[read]} if state.framer.holds and read in state.offsets else {}
        if columns:
            state.frames += len(columns)
            state.length += sum(columns.lengths)
            state.read = columns.reads[-1]
        return len(columns)

    def _feed(self, exchange: int, state: _Streaming) -> tuple[list[Framed | Run], bool, int]:
        """Return the frames of a step, whether more may follow, and the number of bytes that were framed."""
        found: list[Framed | Run] = []
        byte = state.byte
        taken = state.framer.taken
        fed = 0
        for some in chain(state.portions, self._portions(exchange, state)):
            found += some
            fed = max(state.byte - byte, state.framer.taken - taken, _A_FRAME * len(found))
            if fed > self._most:
                return found, True, fed
        if state.ended:
            found += state.framer.close()
        return found, False, fed

    def _portions(self, exchange: int, state: _Streaming) -> Iterator[Sequence[Framed | Run]]:
        """Yield the frames of the committed rows in portions. A step may end after each one."""
        for whole in together(self._blocks(exchange, state), SMALL_READS):
            piece = whole if state.until is None else whole.before(state.until)
            if piece.size <= 0:
                break
            state.offsets.update(enumerate((piece.offset_ns + at for at in piece.came), piece.n))
            state.byte = piece.end
            state.at_ns = piece.offset_ns + piece.came[-1]
            state.row = whole.next if piece.end == whole.end else None
            state.portions = portions(state.framer, piece, runs=True)
            for some in state.portions:  # noqa: UP028  # `yield from` would close them where a step ends
                yield some
            state.portions = _NO_PORTIONS

    def _blocks(self, exchange: int, state: _Streaming) -> Iterator[ReadBlock]:
        held = state.held
        state.held = ()
        if held and held[0].start == state.byte:
            return iter(held)
        return from_byte(self._writer.connection, exchange, state.byte, state.row)

    def _frame_rows(
        self, exchange: int, state: _Streaming, columns: FrameColumns, found: list[Framed | Run], finished: bool
    ) -> Iterator[Row]:
        yield from frame_blocks(state.stream, columns, state.came, state.frames + 1, state.length, state.read)
        if state.framer.decodes:
            yield from _content(exchange, state.length, found)
            yield from self._decoded(exchange, state, sum(columns.lengths), finished)
        else:
            yield from _lost(exchange, state.length, state.read, columns)
        if state.judge.fault and not state.is_fault_told:
            state.is_fault_told = True
            yield fault(state.recording, f"the verdicts of stream {state.stream}", state.at_ns, state.judge.fault)
        if state.judge.api.has_end(columns.verdicts, columns.types):
            yield rows.done(state.stream)
        if finished and state.framer.broken and not state.is_stop_told:
            yield rows.incident(state.recording, state.at_ns, f"stream {state.stream}: {state.framer.broken}")

    def _decoded(self, exchange: int, state: _Streaming, length: int, finished: bool) -> Iterator[Row]:
        """Yield the rows that say how far a coded stream is decoded, so that readers need not decode it again."""
        stopped_at = state.framer.stopped_at
        if state.is_stop_told or (stopped_at is None and not finished):
            return
        yield rows.framed(exchange, state.length + length, stopped_at)
        if stopped_at is not None:
            state.is_stop_told = True
            text = f"stream {state.stream}: {state.framer.broken}"
            log.warning("%s", text)
            yield rows.incident(state.recording, state.at_ns, text)

    def resume(self, exchange: int, stream: int, coding: str | None, contract: Contract) -> None:
        """Continue after the stored frames of a stream that a killed recorder left behind. No more bytes of it
        arrive."""
        self._begin(exchange, stream, coding, self._recording, self._judge(contract)).ended = True
        self._waiting[exchange] = None

    def _begin(
        self,
        exchange: int,
        stream: int,
        coding: str | None,
        recording: int,
        judge: _Careful,
        stored: tuple[int, int, int] | None = None,
    ) -> _Streaming:
        """Begin after the last stored frame: of a new stream, after a failed step, or after a killed recorder.
        `stored`: what `Writer.framed` would return."""
        frames, length, read = self._writer.framed(stream) if stored is None else stored
        framer = Framer(coding, judge, length)
        byte = length
        skip = 0
        if framer.decodes:
            framer = Framer(coding, judge)
            byte = 0
            skip = frames
        state = _Streaming(stream, coding, recording, judge, framer, byte, frames, length, read, skip)
        self._streaming[exchange] = state
        return state


def _content(exchange: int, start: int, found: list[Framed | Run]) -> Iterator[Row]:
    """Yield the rows of the decoded bytes of these frames, many frames in a row."""
    held: list[bytes] = []
    size = 0
    for one in found:
        assert isinstance(one, Framed)
        if held and (one.frame.raw is None or size + one.frame.length > READ_BLOCK_BYTES):
            yield from rows.chunks(exchange, "content", start, b"".join(held))
            start = start + size
            size = 0
            held.clear()
        if one.frame.raw is None:
            start += one.frame.length
        else:
            held.append(one.frame.raw)
            size += one.frame.length
    yield from rows.chunks(exchange, "content", start, b"".join(held))


def _lost(exchange: int, start: int, read: int, columns: FrameColumns) -> Iterator[Row]:
    """Yield the rows that say which frames were too large to keep. `read`: the read of the frame before them."""
    reads = [read, *columns.reads]
    for place in (place for place, more in columns.odd.items() if "lost" in more):
        before = start + sum(columns.lengths[:place])
        yield forgotten(exchange, (reads[place], reads[place + 1]), before, columns.lengths[place])


def fault(recording: int, what: str, at_ns: int, error: Exception) -> Row:
    """Return an incident about a bug of omnirecord, which stderr reports too."""
    text = f"could not record {what}: {type(error).__name__}: {error}"
    log.error("recording degraded: %s", text)
    return rows.incident(recording, at_ns, text)
