"""Ships closed cassettes to a lake: each recording once, whatever runs at the same time or is killed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..cassette.open import open_store
from ..cassette.sqlite import Store, is_database, is_packed
from ..cassette.sqlite.lock import RecorderLock, recorder_is_alive
from ..errors import CassetteInUse, LakeError, OmnirecordError
from .commits import Commits
from .extract import Extract, extracted
from .location import Lake

Status = Literal["shipped", "there already", "busy", "failed"]
BATCH_RECORDINGS = 32
BATCH_BYTES = 32 << 20
"""Most recordings, and about the most bytes of files, in one commit."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """The result for one recording; for a whole cassette without an id if that could not be read."""

    recording_id: str | None
    path: Path
    events: int
    bytes: int
    """The size of its files in the lake, in bytes; 0 if this call stored none."""
    status: Status
    message: str | None = None
    """Why it was not shipped."""

    def row(self, path: str) -> dict[str, Any]:
        """Return the object of `ship --json`. Keys are fixed."""
        return {
            "recording_id": self.recording_id, "path": path, "events": self.events, "bytes": self.bytes,
            "status": self.status, "message": self.message,
        }  # fmt: skip


class Shipper:
    """Ships to one lake. Raises `LakeError` if there is no lake at its URL.

    `labels` are added to those of each recording. `redact`: `content` masks what looks like a secret.
    """

    def __init__(
        self, lake: Lake, *, labels: Mapping[str, str] | None = None, redact: str | None = None,
        tell: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._labels, self._redact, self._tell = dict(labels or {}), redact, tell
        self._commits = Commits(lake)
        self._commits.complete()
        self._batch: list[tuple[Path, Extract]] = []

    def close(self) -> None:
        """Wait for what is in flight."""
        self._commits.close()

    def ship(self, paths: Iterable[Path]) -> Iterator[Shipped]:
        """Ship cassettes; yield a result for each recording. Raises `LakeError` when the lake fails.

        A cassette that is being recorded, or cannot be read, is a result and no error.
        """
        for path in paths:
            yield from self._of(path)
        yield from self._flush()

    def _of(self, path: Path) -> Iterator[Shipped]:
        """Take the recordings of a cassette into the batch. While it is locked, nothing waits for the store."""
        try:
            with closing(open_store(path)) as store:
                ids = [one.recording_id for one in store.recordings()]
            there = self._commits.there(ids)
            yield from (Shipped(one, path, 0, 0, "there already") for one in ids if one in there)
            is_complete = there.issuperset(ids)
            while not is_complete:
                is_complete = self._read(path, there)
                if self._is_full:
                    yield from self._flush()
        except CassetteInUse as error:
            yield Shipped(None, path, 0, 0, "busy", str(error))
        except LakeError:
            raise
        except OmnirecordError as error:
            yield Shipped(None, path, 0, 0, "failed", str(error))

    def _read(self, path: Path, known: set[str]) -> bool:
        """Add recordings to the batch and to `known`, until it is full; return whether none is left."""
        with locked(path), closing(_opened(path)) as store:
            left = [one for one in store.recordings() if one.recording_id not in known]
            for number, recording in enumerate(left, 1):
                self._batch.append((path, extracted(store, recording, self._labels, _shipper())))
                known.add(recording.recording_id)
                if self._is_full:
                    return number == len(left)
        return True

    @property
    def _is_full(self) -> bool:
        return len(self._batch) >= BATCH_RECORDINGS or sum(one.bytes for _, one in self._batch) >= BATCH_BYTES

    def _flush(self) -> Iterator[Shipped]:
        batch, self._batch = self._batch, []
        if batch:
            self._commits.add([one for _, one in batch])
        for path, one in batch:
            yield Shipped(one.recording_id, path, one.events, one.bytes, "shipped")


def _shipper() -> str:
    return socket.gethostname()


def _opened(path: Path) -> Store:
    """Return an open cassette under our own lock, which is no recorder's."""
    store = open_store(path)
    store.is_being_recorded = False
    return store


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold off recorders. Raises `CassetteInUse` if one writes the cassette.

    A cassette in another form, and one in a folder that cannot be written, is not locked: no recorder of this user
    can write it.
    """
    if not path.is_file() or not is_database(path) or is_packed(path):
        yield
        return
    try:
        lock = RecorderLock(path)
    except OSError:
        if recorder_is_alive(path):
            raise CassetteInUse(f"{path} is being recorded: ship it when the recorder has closed it") from None
        yield
        return
    try:
        lock.lock_file(path)
        yield
    finally:
        lock.release()
