"""An attack on pseudonyms: every guess of a short secret is tried with every byte of the files of a cassette."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

import omnirecord
from omnirecord.cassette.export import packed_bytes
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import import_file
from omnirecord.cassette.sqlite import Writer
from omnirecord.cassette.sqlite.opening import content
from omnirecord.recorder.thread import RecorderThread
from omnirecord.wire.limits import Rotation
from tests.support import wire
from tests.support.wire import ask, opened, recorded

PIN = "4711"
BODY = f'{{"pin": {PIN}, "user": "ann"}}'.encode()
ALL = [f"{n:04}" for n in range(10_000)]
PSEUDONYM = re.compile(rb"omnirecord-redacted-([0-9a-f]{12})")
KEY_SIZES = 16, 32
NO_KEY = re.compile(rb"\0{4,}")


def files_of(db: Path) -> list[Path]:
    """The cassette, and all that lies beside it under its name."""
    return sorted(db.parent.glob(db.stem + "*"))


def digest_of(key: bytes, guess: str) -> bytes:
    return hmac.digest(key, guess.encode(), "sha256").hex()[:12].encode()


def meta_of(db: Path) -> dict[str, bytes]:
    with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT key, value FROM meta"))


def keys_from(values: Iterable[bytes]) -> set[bytes]:
    """The values, and what a program may derive from them without anything else."""
    plain = {b"", b"omnirecord mark", *values, *(b"omnirecord cassette\0" + one for one in values)}
    return {hashlib.sha256(one).digest() for one in plain} | {hmac.digest(a, b, "sha256") for a in plain for b in plain}


def windows(data: bytes) -> set[bytes]:
    """All bytes that may be a key: sixteen or 32 in a row."""
    parts = NO_KEY.split(data)
    return {one[n : n + size] for size in KEY_SIZES for one in parts for n in range(len(one) - size + 1)}


def confirmed(db: Path, *others: Path) -> set[str]:
    """The guesses of a PIN that the files of a cassette confirm."""
    data = b"\0\0\0\0".join(path.read_bytes() for path in {*files_of(db), *others})
    known = set(PSEUDONYM.findall(data))
    assert known, "the PIN has a pseudonym"
    values = [one for one in meta_of(db).values() if isinstance(one, bytes)]
    found = {guess for key in values for guess in ALL if digest_of(key, guess) in known}
    # The key confirms the true PIN, too: of many keys, that one alone is tried.
    return found | {PIN for key in keys_from(values) | windows(data) if digest_of(key, PIN) in known}


async def a_pin(folder: Path) -> Path:
    async with recorded(wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), folder) as (proxy, _):
        head = f"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
        await ask(proxy.url, head.encode() + b"\r\n" + BODY)
        await wire.eventually(lambda: wire.ending(proxy.db) == "eof")
        assert confirmed(proxy.db) == set(), "while it is recorded"
        return Path(proxy.db)


async def test_no_guess_of_a_pin_is_confirmed_by_the_files_of_a_cassette(tmp_path: Path) -> None:
    db = await a_pin(tmp_path)
    omnirecord.search(db, "ok")
    with opened(db) as store:
        (tmp_path / "copy.jsonl").write_bytes(b"".join(jsonl_bytes(store)))
    assert confirmed(db, tmp_path / "copy.jsonl") == set()


def with_a_pin(db: Path, rotation: Rotation | None = None) -> None:
    """One more recording of a request that has the PIN."""
    thread = RecorderThread(db, None, rotation=rotation)
    recorder = thread.begin_exchange("POST", "/login", (("Authorization", f"Bearer {PIN}"),))
    recorder.respond("http", 200, "OK", ())
    recorder.end("eof")
    thread.stop()


def pseudonyms(*files: Path) -> set[bytes]:
    return {one for path in files for one in PSEUDONYM.findall(path.read_bytes())}


OLD_KEY = bytes(range(100, 116))


def older(db: Path) -> Path:
    """A cassette whose key is in the file, as it was up to now, beside another row; with the PIN's pseudonym."""
    with_a_pin(db)
    (now,) = pseudonyms(db)
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute("DELETE FROM meta")
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [("pseudonyms", OLD_KEY), ("made_as", "x.db")])
        connection.execute(
            "UPDATE exchanges SET request_headers = replace(request_headers, ?, ?)",
            (now.decode(), digest_of(OLD_KEY, PIN).decode()),
        )
        connection.execute("VACUUM")
    assert confirmed(db) == {PIN}
    return db


def test_a_recorder_that_appends_to_an_older_cassette_removes_its_key_from_every_byte(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db = older(tmp_path / "a.db")
    writer = Writer(db)
    assert confirmed(db) == set(), "while the file is written"
    writer.close()
    with_a_pin(db)
    assert meta_of(db)["made_as"] == "x.db", "the other rows stay"
    assert OLD_KEY not in b"".join(path.read_bytes() for path in files_of(db))
    assert confirmed(db) == set()
    assert len(pseudonyms(db)) == 2, "what was recorded before keeps its pseudonym"
    assert "It was removed; copies of the file still hold it" in caplog.text


def test_a_scrubbed_or_compressed_copy_of_an_older_cassette_has_no_key(tmp_path: Path) -> None:
    db = older(tmp_path / "a.db")
    assert [(one.place, one.kind) for one in omnirecord.scrub(db, None)] == [("cassette", "pseudonym key")]
    copy = tmp_path / "safe.db"
    omnirecord.scrub(db, copy)
    assert omnirecord.scrub(copy, None) == []
    assert confirmed(copy) == set()
    assert pseudonyms(copy) == pseudonyms(db)
    packed = tmp_path / "packed.db.zst"
    with opened(db) as store:
        packed.write_bytes(b"".join(packed_bytes(store, db, packed)))
    assert OLD_KEY not in b"".join(content(packed))


def test_a_secret_has_one_pseudonym_in_all_runs_and_files_of_a_cassette_and_another_in_the_next(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    for _ in range(2):
        with_a_pin(one)
    for _ in range(2):
        with_a_pin(other, Rotation(seconds=3600))
    assert len(pseudonyms(one)) == len(pseudonyms(other.resolve())) == 1
    assert pseudonyms(one) != pseudonyms(other), "cassettes do not link"


def test_a_copy_that_was_imported_keeps_its_pseudonyms_and_new_recordings_agree_with_them(tmp_path: Path) -> None:
    db, packed, back = tmp_path / "a.db", tmp_path / "a.db.zst", tmp_path / "back.db"
    with_a_pin(db)
    with opened(db) as store:
        packed.write_bytes(b"".join(packed_bytes(store, db, packed)))
    import_file(packed, back)
    with_a_pin(back)
    assert pseudonyms(back) == pseudonyms(db)
    assert confirmed(back) == set()


def test_scrub_gives_a_secret_the_pseudonym_that_the_recorder_gave_it(tmp_path: Path) -> None:
    db, copy = tmp_path / "a.db", tmp_path / "safe.db"
    with_a_pin(db)
    with closing(sqlite3.connect(db)) as connection, connection:  # one that the recorder did not know for a secret
        headers = [["Authorization", f"Bearer {PIN}"]]
        connection.execute("UPDATE exchanges SET request_headers = ?", (json.dumps(headers),))
    with_a_pin(db)
    (known,) = pseudonyms(db)
    omnirecord.scrub(db, copy)
    assert pseudonyms(copy) == {known}


def test_the_key_that_a_killed_recorder_left_in_the_log_is_removed_from_the_log_too(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    with_a_pin(db)
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("INSERT INTO meta VALUES ('pseudonyms', ?)", (OLD_KEY,))
    copies = {path.name: path.read_bytes() for path in files_of(db)}
    connection.close()
    for name, data in copies.items():  # what a kill leaves
        (tmp_path / name).write_bytes(data)
    assert OLD_KEY in (tmp_path / "a.db-wal").read_bytes()
    writer = Writer(db)
    assert OLD_KEY not in b"".join(path.read_bytes() for path in files_of(db))
    writer.close()
    assert OLD_KEY not in db.read_bytes()
