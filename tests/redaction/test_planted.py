"""Eighty secrets are planted in sixteen places, many of them split over deltas: which are in the files, and when.

The figures are those of `docs/redaction.md`.
"""

from __future__ import annotations

import asyncio
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from omnirecord.cassette.scrub import scrub
from omnirecord.redaction.redactor import Scanner, StreamMask
from tests.support import wire
from tests.support.planted import (
    CONTENT,
    FIELDS,
    NAMED,
    PLANTED,
    deltas_joined,
    drive,
    frames,
    left,
    left_in,
    of,
    upstream,
)
from tests.support.process import Process
from tests.support.wire import bytes_on_disk

DOCS = Path(__file__).parent.parent.parent / "docs" / "redaction.md"
MOMENTS = 6
"""How often the recorder is killed."""
_SEVEN = re.compile(rb"[A-Za-z0-9]{7,}")
"""Seven characters of a secret are in a run of letters and digits."""
_PIECE = 4096
"""Bytes of a file that are looked at again only when they have changed; two in a row, as a secret may lie across."""


class Watch:
    """Reads the files of a cassette all the time, and keeps what was found in them."""

    def __init__(self, db: Path, places: tuple[str, ...]) -> None:
        self._db = db
        self._secrets = [one for place in places for one in of(place)]
        self._over = threading.Event()
        self.looks = 0
        self.found: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        known, runs = set[bytes](), set[bytes]()
        while not self._over.is_set():
            try:
                data = bytes_on_disk(self._db)
            except FileNotFoundError:  # the log is folded in just now
                continue
            new = {data[n : n + 2 * _PIECE] for n in range(0, len(data), _PIECE)} - known
            some = set(_SEVEN.findall(b"\0".join(new))) - runs
            self.found |= left_in(b"\0".join(some), self._secrets, step=3)
            runs |= some
            self.looks += bool(data)
            known |= new
            self._over.wait(0.02)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


async def recorded(db: Path, *options: str, places: tuple[str, ...]) -> Watch:
    """A recording of all of it, by a proxy that is a process of its own; watched while it is made."""
    with Watch(db, places) as watch:
        async with upstream(lambda: watch.looks) as url, Process(url, db, *options) as proxy:
            await drive(proxy.url)
            await proxy.end(signal.SIGTERM)
    return watch


def documented(column: int) -> dict[str, int]:
    rows = re.findall(r"^\| ([a-zA-Z ,;]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", DOCS.read_text(), re.MULTILINE)
    return {place: int(row[column]) for row in rows for place in row[0].split("; ")}


def test_there_are_eighty_in_sixteen_places_and_many_are_split() -> None:
    assert len(PLANTED) == len({one.body for one in PLANTED}) == 80
    assert Counter(one.place for one in PLANTED) == documented(1)
    assert set(documented(1)) == {*NAMED, *CONTENT, *FIELDS}
    assert len(documented(1)) == 16
    assert len(of("events, split over deltas")) == 20


async def test_by_default_none_with_a_name_is_in_the_files_at_any_moment(tmp_path: Path) -> None:
    watch = await recorded(tmp_path / "run.db", places=NAMED)
    assert watch.looks > 10
    assert watch.found == Counter()
    found = left(tmp_path / "run.db")
    assert {place: found[place] for place in documented(2)} == documented(2)
    assert all(found[place] == 0 for place in NAMED)
    assert all(found[place] == len(of(place)) for place in (*CONTENT, *FIELDS)), (
        "what is not looked for is kept: the rig works"
    )

    kinds = {one.kind for one in scrub(tmp_path / "run.db", None)}
    assert {
        "field password",
        "field access_token",
        "field client_secret",
        "field api_key",
        "field db_password",
    } <= kinds
    for form in (".db", ".jsonl"):
        scrub(tmp_path / "run.db", tmp_path / f"copy{form}")
        found = left(tmp_path / f"copy{form}")
        assert {place: found[place] for place in documented(4)} == documented(4) == dict.fromkeys(documented(4), 0)
        assert scrub(tmp_path / f"copy{form}", None) == []
    assert wire.content(tmp_path / "copy.db") == masked()


def masked() -> bytes:
    """The stream as it has to be kept, whether it was masked as it came or afterwards."""
    return b"".join(piece.data for piece in StreamMask(Scanner(), Counter()).feed(b"".join(frames())))


async def test_with_redact_content_none_is_in_the_files_at_any_moment(tmp_path: Path) -> None:
    watch = await recorded(tmp_path / "run.db", "--redact", "content", places=(*NAMED, *CONTENT, *FIELDS))
    assert watch.looks > 10
    assert watch.found == Counter()
    found = left(tmp_path / "run.db")
    assert {place: found[place] for place in documented(3)} == documented(3) == dict.fromkeys(documented(3), 0)
    assert scrub(tmp_path / "run.db", None) == []
    assert wire.content(tmp_path / "run.db") == masked()
    with wire.opened(tmp_path / "run.db") as store:
        texts = deltas_joined(store, 1).decode()
    assert texts.count("a task-1 ") + texts.count("a task-* ") == 20, "some are cut before their sk-"
    assert texts.count("a task-1 ") > 10
    assert texts.count(", sk-learn") == 20


@pytest.mark.slow
async def test_none_is_left_by_a_recorder_that_is_killed(tmp_path: Path, long: bool) -> None:
    for moment in range(0, MOMENTS, 1 if long else 3):
        db = tmp_path / f"{moment}.db"
        with Watch(db, (*NAMED, *CONTENT, *FIELDS)) as watch:
            async with upstream(lambda: watch.looks) as url, Process(url, db, "--redact", "content") as proxy:
                driving = asyncio.create_task(drive(proxy.url))
                await asyncio.sleep(0.1 + 0.25 * moment)
                await proxy.end(signal.SIGKILL)
                driving.cancel()
                await asyncio.gather(driving, return_exceptions=True)
        assert watch.found == Counter()
        assert left(db) == Counter()
        assert scrub(db, None) == []
