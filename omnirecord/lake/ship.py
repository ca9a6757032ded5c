"""Ships closed cassettes to a lake: each recording once, whatever runs at the same time or is killed."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..analysis.doctor.model import ModelChecks
from ..analysis.forgetting import copied_to
from ..analysis.forgetting import forgotten as forgotten_of
from ..cassette.files import TemporaryFolder, copied_aside
from ..cassette.open import open_store
from ..cassette.sqlite import Store, is_sqlite
from ..cassette.sqlite.lock import RecorderLock, is_recorded, recorder_is_alive
from ..cassette.sqlite.writer import mark_shipped
from ..errors import CassetteInUse, LakeError, OmnirecordError
from ..model import Recording, children_of, reached
from ..redaction.pseudonyms import File
from ..server.timers import monotonic
from .commits import Commits
from .extract import Extract, extracted, nothing_of
from .layout import conversation_ids
from .location import Lake

Status = Literal["shipped", "there already", "busy", "failed"]
BATCH_RECORDINGS = 64
BATCH_BYTES = 32 << 20
"""Most recordings, and about the most bytes of files, in one commit."""
BATCH_SECONDS = 10.0
"""Seconds after which a commit is due: a shipper that is killed again and again gets ahead."""
_PART = "{} has a part of recording {}, as export --session and lake get write it: ship the whole cassette"
_FORGOTTEN = "a recording was not shipped: the lake has forgotten its sessions"
_LABELS_KEPT = "recordings that are in the lake already keep the labels that they have there"


@dataclass(frozen=True, slots=True)
class Shipped:
    """The result for one recording; for a whole cassette, without an id, if that could not be read."""

    recording_id: str | None
    path: Path
    status: Status
    events: int = 0
    bytes: int = 0
    """The size of its files in the lake, in bytes; 0 if this call stored none."""
    message: str | None = None
    """Why it was not shipped, or that its labels in the lake did not change."""

    def row(self, path: str) -> dict[str, Any]:
        """Return the object of `ship --json`. Keys are fixed."""
        return {
            "recording_id": self.recording_id,
            "path": path,
            "events": self.events,
            "bytes": self.bytes,
            "status": self.status,
            "message": self.message,
        }


@dataclass(slots=True)
class _Cassette:
    """A cassette whose recordings are being shipped. `left`: the ids that are not in the lake yet."""

    path: Path
    stamp: object
    recordings: int
    left: set[str] = field(default_factory=set)
    is_whole: bool = True
    """Whether it has no recording of which it holds a part, unless the lake has that."""


class Shipper:
    """Ships to one lake. Raises `LakeError` if there is none at its URL.

    `labels` are added to those of each recording. `redact`: whether to mask what looks like a secret in content, with
    `pseudonym_key`, by default the user's own.
    """

    def __init__(
        self,
        lake: Lake,
        *,
        labels: Mapping[str, str] | None = None,
        redact: bool = False,
        pseudonym_key: File | None = None,
    ) -> None:
        self._lake = lake
        self._labels = dict(labels or {})
        self._redact = redact
        self._key = pseudonym_key
        self._kept = _LABELS_KEPT if self._labels else None
        self._commits = Commits(lake)
        self._mark = f"{lake.url}#{self._commits.id}"
        self._batch: list[tuple[_Cassette, Extract]] = []
        self._begun_at = 0.0
        """When the first of the batch was read."""

    def close(self) -> None:
        """Wait for what is in flight."""
        self._commits.close()

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for a wrong clock of this machine, and for what an interrupted `lake forget` has left."""
        if ahead := self._commits.skew:
            yield self._lake.about_skew(ahead)
        if pending := self._commits.forgotten.pending():
            yield pending

    def ship(self, paths: Iterable[Path]) -> Iterator[Shipped]:
        """Ship cassettes; yield a result for each recording. Raises `LakeError` when the lake fails.

        A cassette that is being recorded, or cannot be read, is a result and no error. After an error, the next call
        begins with what was read and not shipped.
        """
        yield from self.flush()
        for path in paths:
            yield from self._of(path)
        yield from self.flush()

    def flush(self) -> Iterator[Shipped]:
        """Commit what was read and is not in the lake. Raises `LakeError`."""
        if not self._batch:
            return
        self._commits.add([one for _, one in self._batch])
        batch = self._batch
        self._batch = []
        for cassette, one in batch:
            cassette.left.discard(one.recording_id)
            if not cassette.left:
                self._mark_shipped(cassette)
            if one.files:
                yield Shipped(one.recording_id, cassette.path, "shipped", one.events, one.bytes)
            else:
                yield Shipped(one.recording_id, cassette.path, "there already", message=_FORGOTTEN)

    def unshipped(self, paths: Iterable[Path]) -> Iterator[Shipped]:
        """Yield a failure for each recording that was read and not shipped, and for each of the other `paths`."""
        read = {cassette.path for cassette, _ in self._batch}
        yield from (Shipped(one.recording_id, cassette.path, "failed") for cassette, one in self._batch)
        yield from (Shipped(None, path, "failed") for path in paths if path not in read)

    def _of(self, path: Path) -> Iterator[Shipped]:
        """Read the recordings of a cassette into the batch. While it is locked, nothing waits for the store."""
        try:
            cassette, ids, parts = self._begun(path)
            if not {one.recording_id for _, one in self._batch}.isdisjoint(ids):  # another copy of the cassette
                yield from self.flush()
            there = self._commits.there(ids)
            yield from (Shipped(one, path, "there already", message=self._kept) for one in ids if one in there)
            refused = parts - there
            yield from (Shipped(one, path, "failed", message=_PART.format(path, one)) for one in ids if one in refused)
            cassette.left = set(ids) - there - refused
            cassette.is_whole = not refused
            if not cassette.left:
                self._mark_shipped(cassette)
            known = there | refused
            is_complete = not cassette.left
            while not is_complete:
                is_complete = self._read(cassette, known)
                if self._is_full:
                    yield from self.flush()
        except CassetteInUse as error:
            yield Shipped(None, path, "busy", message=str(error))
        except LakeError:
            raise
        except OmnirecordError as error:
            yield Shipped(None, path, "failed", message=str(error))
        except OSError as error:
            yield Shipped(None, path, "failed", message=f"cannot use {path}: {error.strerror or error}")

    def _begun(self, path: Path) -> tuple[_Cassette, list[str], set[str]]:
        """Return a cassette, the ids of its recordings, and the ids of those of which it has a part."""
        stamp = _stamp(path)
        with locked(path), closing(open_store(path)) as store:
            recordings = store.recordings()
            parts = {one.recording_id for one in recordings if store.is_part(one.recording)}
        ids = [one.recording_id for one in recordings]
        return _Cassette(path, stamp, len(ids)), ids, parts

    def _read(self, cassette: _Cassette, known: set[str]) -> bool:
        """Add recordings to the batch and to `known`, until it is full; return whether none is left."""
        with locked(cassette.path), self._opened(cassette.path) as (store, ids, gone):
            store.hold()
            left = [one for one in store.recordings() if ids[one.recording] not in known]
            for recording in gone:
                if recording.recording_id not in known:
                    self._add(cassette, nothing_of(recording), known)
            model = ModelChecks(store)
            for number, recording in enumerate(left, 1):
                named = replace(recording, recording_id=ids[recording.recording])
                redact = "content" if self._redact else None
                made = extracted(store, named, self._labels, shipper=shipper(), redact=redact, ids=ids, model=model)
                self._add(cassette, made, known)
                if self._is_full:
                    return number == len(left)
        return True

    def _add(self, cassette: _Cassette, made: Extract, known: set[str]) -> None:
        if not self._batch:
            self._begun_at = monotonic()
        self._batch.append((cassette, made))
        known.add(made.recording_id)
        cassette.left.add(made.recording_id)

    @contextmanager
    def _opened(self, path: Path) -> Iterator[tuple[Store, dict[int, str], list[Recording]]]:
        """Open a cassette; also return the ids of its recordings by number, and those of which all is forgotten.

        With `redact`, the store is a copy without secrets. It is a copy without the sessions that the lake has
        forgotten.
        """
        with ExitStack() as stack:
            store = stack.enter_context(closing(open_store(path)))
            ids = {one.recording: one.recording_id for one in store.recordings()}
            gone: list[Recording] = []
            if forgotten := self._forgotten_in(store, ids):
                leaving = forgotten_of(store, forgotten)
                gone = [one for one in store.recordings() if one.recording in leaving.recordings]
                copy = self._folder(stack, path, "copied without forgotten sessions") / "copy.db"
                copied_to(store, leaving, copy)
                store = stack.enter_context(closing(open_store(copy)))
            if self._redact:
                from ..cassette.scrub import copied_without_secrets  # a tenth of the start of `proxy --ship`

                copy = self._folder(stack, path, "copied without its secrets") / "copy.db"
                copied_without_secrets(store, copy, self._key)
                store = stack.enter_context(closing(open_store(copy)))
            yield store, ids, gone

    def _folder(self, stack: ExitStack, path: Path, purpose: str) -> Path:
        with copied_aside(path, purpose):
            return Path(stack.enter_context(TemporaryFolder("ship")))

    def _forgotten_in(self, store: Store, ids: Mapping[int, str]) -> frozenset[str]:
        """Return the sessions of a cassette that the lake has forgotten, by their names in the cassette."""
        forgotten = self._commits.forgotten
        if not forgotten:
            return frozenset()
        found = {one for x in store.exchanges(in_session=True) if (one := x.session_id) and forgotten.has(one)}
        names = conversation_ids(ModelChecks(store).calls, ids)
        found |= {name for name, session_id in names.items() if forgotten.has(session_id)}
        return frozenset(reached(found, children_of(store.parents()))) if found else frozenset()

    @property
    def _is_full(self) -> bool:
        is_large = len(self._batch) >= BATCH_RECORDINGS or sum(one.bytes for _, one in self._batch) >= BATCH_BYTES
        return is_large or monotonic() - self._begun_at > BATCH_SECONDS

    def _mark_shipped(self, cassette: _Cassette) -> None:
        """Mark a cassette whose recordings are all in the lake, unless it has changed since."""
        if cassette.is_whole and cassette.stamp == _stamp(cassette.path):
            with suppress(OmnirecordError):
                mark_shipped(cassette.path, self._mark, cassette.recordings)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with the content of a file; None if there is no file."""
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns
    return None


def shipper() -> str:
    """Return the user and the host that ship."""
    with suppress(OSError, KeyError):
        return f"{getpass.getuser()}@{socket.gethostname()}"
    return socket.gethostname()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold off recorders. Raises `CassetteInUse` if one writes the cassette.

    A cassette in another form, and one in a folder that cannot be written, is not locked.
    """
    if not path.is_file() or not is_sqlite(path):
        yield
        return
    busy = CassetteInUse(f"{path} is being recorded: ship it when the recorder has closed it")
    try:
        lock = RecorderLock(path, is_shipper=True)
    except CassetteInUse:
        raise busy from None
    except OSError:
        if recorder_is_alive(path):
            raise busy from None
        yield
        return
    try:
        if is_recorded(path):  # under another name of the file
            raise busy
        yield
    finally:
        lock.release()
