"""The cassette files that a recorder has open: the current one, and rotated ones with open exchanges.

Without rotation there is one file. When it is full, new exchanges go into the next one. Streams and WebSockets move
there at the end of a frame or message (`queue.ExchangeRecorder`); other open exchanges end where they began. Then the
old file is closed. All this happens in the recording thread, with two exceptions. The event loop reads `current`. A
third thread closes and removes files, because that takes long.

If a file is removed or replaced during the recording, nothing in it can end. So its `RecordingFile` gets a new file
(`replace`), in which all open exchanges continue where they are.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from ..cassette.files import free_path
from ..cassette.recording_ids import uuid7
from ..cassette.rotation import RotatedCassettes, Unshipped
from ..cassette.sqlite import Writer, rows
from ..cassette.sqlite.writer import UNWRITABLE
from ..contract.judge import Contract
from ..errors import OmnirecordError, __version__
from ..model import Recording
from ..redaction.pseudonyms import UserKey, mark_of, user_key
from ..redaction.redactor import Redactor, Scanner
from ..server.timers import Complaint, monotonic
from ..wire.limits import Retention, Rotation
from .frames import FrameMaker
from .intervals import LEAST_AGE, LINGER, ROTATE_AGAIN
from .recovery import finish_killed
from .reserve import Reserve, remove_left
from .rows import RowMaker

log = logging.getLogger("omnirecord")


@dataclass(frozen=True, slots=True)
class Hop:
    """One upstream of a recorder. `name`: None for that of the clients, whose exchanges have sessions."""

    name: str | None
    upstream: str | None
    contract: Contract
    """Judges its events."""
    is_given: bool = True
    """Whether the user chose the contract."""


@dataclass(frozen=True, slots=True)
class Run:
    """What all files of one run of a recorder share."""

    hops: Sequence[Hop]
    content: Scanner | None
    key: UserKey
    labels: Mapping[str, str]
    is_lazy: bool = False
    """Whether the recording of a hop begins with its first request."""
    run_id: str = field(default_factory=uuid7)


class RecordingFile:
    """One file being written, with one recording for each hop. They began at `zero_ns` of the recorder's clock.

    `number`: that of the first hop's recording, which those of the further hops follow. `index`: tells the files of a
    recorder apart, from 1. `last`: the highest numbers of an exchange and of a stream that the file had before.
    """

    def __init__(self, index: int, writer: Writer, zero_ns: int, run: Run, server_version: str | None) -> None:
        self.index = index
        self.writer = writer
        self.zero_ns = zero_ns
        self.begun = monotonic()
        self.left = 0.0
        self.is_used = self.is_closed = False
        started = datetime.now(UTC).isoformat(timespec="microseconds")
        with _undone_by(writer.close), writer.taking_over():
            self.number = writer.last_number("recording") + 1
            self.last = writer.last_number("exchange"), writer.last_number("stream")
            self.salt = writer.salt()
            redactor = Redactor(_key_of(writer, run.key, self.salt), run.content)
            finish_killed(writer, self.number)
            frames = FrameMaker(writer, self.number, *(hop.contract for hop in run.hops))
            names = [hop.name for hop in run.hops]
            begin = self._begin if run.is_lazy else None
            self.row_maker = RowMaker(self.number, redactor, frames, server_version, names, begin)
            labels = redactor.labels(run.labels)
            self._of_hops = [
                Recording(
                    number,
                    started,
                    __version__,
                    hop.contract.name,
                    hop.upstream,
                    uuid7(),
                    run.run_id,
                    labels,
                    server_version if hop.name is None else None,
                    hop.name,
                    hop.is_given,
                )
                for number, hop in enumerate(run.hops, self.number)
            ]
            self._recordings = [] if run.is_lazy else self._of_hops
            """The recordings that have begun."""
            writer.write(_rows_of(self._recordings))
        self.reserve = Reserve(self.path)

    def _begin(self, hop: int, number: int) -> Iterator[rows.Row]:
        """Begin the recording of a hop, and return its rows."""
        begun = replace(self._of_hops[hop], recording=number)
        self._recordings.append(begun)
        return _rows_of([begun])

    @property
    def path(self) -> Path:
        assert self.writer.path is not None
        return self.writer.path

    @property
    def is_behind(self) -> bool:
        """Whether the journal has reads, or a stream waits for frames."""
        return self.row_maker.journaled > 0 or self.row_maker.frames.behind

    @property
    def is_done(self) -> bool:
        """Whether no exchange is open, and all frames are made."""
        return not (self.row_maker.has_open_exchanges or self.is_behind)

    def left_behind(self, what: str, at_ns: int) -> None:
        """End the recording in a file that was removed or replaced, if it still exists, and close it."""
        goes_on = rows.incident(self.number, at_ns, f"this file {what} while it was recorded, and another one begun")
        with suppress(Exception):
            self.writer.write([*self.row_maker.left_behind(at_ns), goes_on])
        self.writer.close()
        self.reserve.give_all()

    def go_on_in(self, writer: Writer, what: str, at_ns: int) -> None:
        """Continue in another file, as other recordings of the same run. Numbers and times go on, so that readers can
        join the files."""
        begins = f"{self.path.name} {what} while it was recorded: earlier data is not in this file"
        incident = rows.incident(self.number, at_ns, begins)
        version = self.row_maker.server_version
        go_on = [
            replace(one, recording_id=uuid7(), server_version=version if one.hop is None else None)
            for one in self._recordings
        ]
        writer.write([*_rows_of(go_on), *self.row_maker.move(writer), incident])
        self.writer = writer
        self.reserve = Reserve(self.path)

    def close(self, within: float = math.inf) -> None:
        self.is_closed = True
        self.reserve.give_all()
        self.writer.close(within)


def _rows_of(recordings: Iterable[Recording]) -> Iterator[rows.Row]:
    for one in recordings:
        yield rows.recording(one)
        yield from rows.given(one)


@contextmanager
def _undone_by(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` if the block raises."""
    try:
        yield
    except BaseException:
        undo()
        raise


def _key_of(writer: Writer, key: UserKey, salt: bytes) -> bytes:
    """Return the key of a cassette's pseudonyms. If the file has pseudonyms of another key, stderr says so."""
    found = key.of(salt)
    if not writer.has_key(mark_of(found)) and key.is_kept:  # else this was said when the key was made
        log.warning(
            "%s has pseudonyms of another key: a secret of this recording gets another pseudonym than before; name the"
            " same key file with --pseudonym-key, if you have it",
            writer.path,
        )
    return found


class RecordingFiles:
    """The open files of one recorder, whose clock is `now_ns`. Raises `UsageError` or `CassetteError`."""

    def __init__(
        self,
        path: Path,
        hops: Sequence[Hop],
        rotation: Rotation | None,
        keep: Retention,
        now_ns: Callable[[], int],
        content: Scanner | None,
        key: UserKey | None = None,
        labels: Mapping[str, str] | None = None,
        keep_unshipped: tuple[str, int] | None = None,
        note: Callable[[str, RecordingFile], None] = lambda _message, _file: None,
        is_lazy: bool = False,
    ) -> None:
        self._run = Run(hops, content, user_key() if key is None else key, labels or {}, is_lazy)
        self._note = note
        unshipped = None if keep_unshipped is None else Unshipped(*keep_unshipped, self._removed_unshipped)
        self._now_ns = now_ns
        self._named = path
        self._rotation = rotation
        self.rotates = rotation is not None
        self._rotated = RotatedCassettes(path, keep, unshipped=unshipped) if rotation is not None else None
        self._leaving: list[RecordingFile] = []
        self._trouble = Complaint()
        self._keeping = Complaint()
        self._not_before = self._pruned = 0.0
        self._begun = 0
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="omnirecord-files")
        self.current = self._first(path)
        exchanges, streams = self.current.last
        self.next_exchange = count(exchanges + 1).__next__
        self.next_stream = count(streams + 1).__next__
        """Return a number that no exchange, or no stream, has in any of the files."""
        if self._rotated is not None:
            self._remove_begun(self._rotated)
            self._prune_aside()

    def _remove_begun(self, rotated: RotatedCassettes) -> None:
        try:
            rotated.remove_begun()
        except (OmnirecordError, *UNWRITABLE) as error:
            log.warning("a file that a killed recorder had only begun stays: %s", error)

    def _first(self, path: Path) -> RecordingFile:
        if self._rotated is None:
            return self._file(Writer(path))
        for left in self._rotated.left_behind():
            self._finish(left)
        if (known := self._rotated.current()) is None:
            return self._another_file(self._rotated)
        file = self._file(Writer(known))
        file.begun -= self._rotated.age(known)
        return file

    def _another_file(
        self, rotated: RotatedCassettes, salt: bytes | None = None, server_version: str | None = None
    ) -> RecordingFile:
        """Return a new file, to which the link points."""
        file = self._file(rotated.begin(salt), server_version)
        with _undone_by(file.writer.discard):
            rotated.point(file.path)
        return file

    def _file(self, writer: Writer, server_version: str | None = None) -> RecordingFile:
        self._begun += 1
        return RecordingFile(self._begun, writer, self._now_ns(), self._run, server_version)

    def _finish(self, path: Path) -> None:
        """Complete a file that a killed recorder left: make its last frames, and fold its log in."""
        try:
            with closing(Writer(path)) as writer, writer.taking_over():
                finish_killed(writer)
            remove_left(path)
        except (OmnirecordError, *UNWRITABLE) as error:
            log.warning("%s was left by a killed recorder and cannot be finished: %s", path.name, error)

    @property
    def path(self) -> Path:
        """The file that is written, or the link to it."""
        return self.current.path if self._rotated is None else self._named

    @property
    def all(self) -> list[RecordingFile]:
        """All open files, the oldest first."""
        return [*self._leaving, self.current]

    @property
    def is_behind(self) -> bool:
        return any(file.is_behind for file in self.all)

    def turn(self) -> None:
        """Begin a new file if the current one is full, close old ones, remove those not to keep. Raises nothing."""
        try:
            self._turn(monotonic())
        except Exception as error:  # neither a lock nor a bug ends a recording
            self._trouble.say(f"cannot look after the files of the recording: {type(error).__name__}: {error}")

    def _turn(self, now: float) -> None:
        if self._rotated is None:
            return
        if now >= self._not_before and self._is_full(now):
            self._next(self._rotated, now)
        done = [file for file in self._leaving if now - file.left > LINGER and file.is_done]
        for file in done:
            file.is_closed = True
            self._leaving.remove(file)
            self._aside.submit(file.close)
        if done or now - self._pruned > ROTATE_AGAIN:
            self._prune_aside()

    def _is_full(self, now: float) -> bool:
        limit = self._rotation
        file = self.current
        if limit is None or not file.is_used or (age := now - file.begun) < LEAST_AGE:
            return False
        is_old = limit.seconds is not None and age >= limit.seconds
        return is_old or (limit.size is not None and file.writer.size() >= limit.size)

    def _next(self, rotated: RotatedCassettes, now: float) -> None:
        try:
            file = self._another_file(rotated, self.current.salt, self.current.row_maker.server_version)
        except (OmnirecordError, *UNWRITABLE) as error:
            self._not_before = now + ROTATE_AGAIN
            self._trouble.say(f"no new file can be begun, {self.current.path.name} grows on: {error}")
            return
        self._trouble.over("a new file could be begun")
        log.info("recording goes on in %s", file.path.name)
        self.current.left = now
        self._leaving.append(self.current)
        self.current = file

    def replace(self, file: RecordingFile, what: str) -> None:
        """Continue in a new file, because `what` happened to the old one. Can be called again if it failed. Raises
        `OmnirecordError`, or what SQLite raises."""
        at = self._now_ns() - file.zero_ns
        before = file.path
        file.left_behind(what, at)
        writer = Writer(free_path(self._named)) if self._rotated is None else self._rotated.begin(file.salt)
        with _undone_by(writer.close):
            writer.salt(file.salt)
            file.go_on_in(writer, what, at)
        log.warning("recording degraded: %s %s; it goes on in %s", before, what, writer.path)
        if self._rotated is not None and file is self.current:
            try:
                self._rotated.point(file.path)
            except (OmnirecordError, *UNWRITABLE) as error:  # the recording goes on
                log.warning("%s does not lead to %s, which is recorded: %s", self._rotated.link, file.path.name, error)

    def _prune_aside(self) -> None:
        self._pruned = monotonic()
        self._aside.submit(self._prune, {file.path for file in self.all})

    def _prune(self, writing: set[Path], *, is_last: bool = False) -> None:
        """Remove what is not to be kept. `is_last`: no incident can be recorded any more, so unshipped files stay."""
        assert self._rotated is not None
        try:
            self._rotated.prune(writing, spares_unshipped=is_last)
        except (OmnirecordError, *UNWRITABLE) as error:
            self._keeping.say(f"files that --keep excludes cannot be removed: {error}")
        else:
            self._keeping.over("files that --keep excludes can be removed again")

    def close(self, within: float = math.inf) -> None:
        """Close all files, each within so many seconds."""
        for file in self.all:
            file.close(within)
        self._aside.shutdown()
        if self._rotated is not None:
            self._prune({self.current.path}, is_last=True)

    def _removed_unshipped(self, path: Path, size: int) -> None:
        what = (
            f"{path.name} ({size:,} bytes) was removed and not shipped: more than --keep-unshipped waits for the lake"
        )
        log.warning("%s; its recordings are lost", what)
        self._note(what, self.current)
