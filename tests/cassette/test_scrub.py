"""A copy without secrets: none is left in it, nothing else is changed, and it replays."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.scrub import Leak, scrub
from omnirecord.errors import CassetteError, UsageError
from omnirecord.redaction.content.patterns import beginnings
from omnirecord.replayer.verify import verify
from tests.support import wire
from tests.support.cassettes import JSON, SSE, Made, delta, event, heartbeat
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.wire import ask, bytes_on_disk

CASSETTES = sorted((Path(__file__).parent.parent.parent / "cassettes").glob("*.jsonl"))
KEY = "sk-" + "PLANTEDsEcReT0123"
SECRET = "PLANTEDsEcReT0123"
NAMED = "named-PLANTEDsEcReT0123"


def old() -> Made:
    """What an older version might have recorded: secrets everywhere."""
    tape = Made()
    credentials = (("Authorization", f"Bearer {NAMED}"), ("X-Note", f"use {KEY}"))
    tape.get(f"/v1/keys/{KEY}?token={NAMED}", 0.0, answer={"api_key": NAMED, "note": f"is {KEY}."}, sent=credentials)
    coded = gzip.compress(json.dumps({"note": KEY, "password": NAMED}).encode())
    tape.post("/v1/gzip", 0.1, body={"say": KEY}, answer=coded, headers=(*JSON, ("content-encoding", "gzip")))
    split = [delta("use s"), delta("k-PLANTED"), delta("sEcReT0123 and sk-learn")]
    tape.stream("s", 0.2, (0.3, heartbeat()), *((0.4 + n, part) for n, part in enumerate(split)))
    packed = gzip.compress(b"".join([delta(f"a {KEY} b"), event("session.status", note=KEY)]))
    gzipped = (*SSE, ("content-encoding", "gzip"), ("Content-Length", str(len(packed))))
    tape.stream("t", 3.0, (3.1, packed[:20]), (3.2, packed[20:60]), (3.3, packed[60:]), headers=gzipped)
    return tape


@pytest.fixture(params=[".db", ".jsonl"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return saved(old(), tmp_path / f"old{request.param}")


def saved(tape: Made, path: Path) -> Path:
    store = tape.store()
    text = path.with_suffix(".jsonl")
    text.write_bytes(b"".join(jsonl_bytes(store)))
    store.close()
    if path != text:
        import_file(text, path)
        text.unlink()
    return path


def exported(path: Path) -> list[dict[str, Any]]:
    with closing(open_store(path)) as store:
        return [json.loads(line) for line in jsonl_bytes(store)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seen(path: Path) -> str:
    """Everything that a cassette says, decoded."""
    found = []
    with closing(open_store(path)) as store:
        found += [line.decode() for line in jsonl_bytes(store)]
        for x in store.exchanges():
            for side in ("request", "response"):
                data = store.body(x.exchange, side)  # type: ignore[arg-type]
                found.append((gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode())
    return "".join(found)


@pytest.mark.parametrize("form", [".db", ".jsonl"])
def test_no_secret_is_left_in_the_copy_and_the_cassette_stays_as_it_was(source: Path, form: str) -> None:
    before, output = digest(source), source.with_name(f"copy{form}")
    found = scrub(source, output)
    assert digest(source) == before
    assert SECRET in seen(source)
    for part in (SECRET, SECRET[:7], SECRET[7:]):
        assert part not in seen(output)
        assert part.encode() not in bytes_on_disk(output)
    assert scrub(output, None) == []
    assert {one.place for one in found} == {
        "request target", "request headers", "request body", "response body", "stream",
    }  # fmt: skip
    assert not any(SECRET in repr(one) for one in found)
    assert output.stat().st_mode & 0o777 == 0o600


def test_it_is_told_where_what_was_replaced(source: Path) -> None:
    found = scrub(source, None)
    assert Leak("request target", "query token", 1, 1, 1) in found
    assert Leak("request target", "sk", 1, 1, 1) in found
    assert Leak("request headers", "header authorization", 1, 1, 1) in found
    assert Leak("response body", "field api_key", 1, 1, 1) in found
    assert [(one.stream, one.seq) for one in found if one.place == "stream"] == [(1, 3), (2, 1), (2, 2)]


def test_nothing_else_is_changed(source: Path, tmp_path: Path) -> None:
    scrub(source, tmp_path / "copy.jsonl")
    safe = exported(tmp_path / "copy.jsonl")
    was = exported(source)
    with closing(open_store(source)) as store:
        assert safe[0]["recordings"][0].pop("recording_id") == store.recordings()[0].recording_id
    coded = next(one for one in was if one.get("stream") == 2 and "request" in one)
    assert coded["response"].pop("body") is not None
    coded["response"]["body"] = None
    coded["response"]["headers"] = coded["response"]["headers"][:1]
    assert len(safe) == len(was)
    for one, other in zip(was, safe, strict=True):
        if "reads" in one and one["stream"] == 2:
            assert [read[:2] for read in one["reads"]] == [read[:2] for read in other["reads"]]
            continue
        assert same_but_for_secrets(one, other), (one, other)


def same_but_for_secrets(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and "base64" in one:
        return True
    if isinstance(one, dict):
        return list(one) == list(other) and all(same_but_for_secrets(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_but_for_secrets, one, other))
    if isinstance(one, str):
        holes = re.compile("|".join([re.escape(NAMED), SECRET, SECRET[:7], SECRET[7:]]))
        masks = re.compile(r"omnirecord-redacted-[0-9a-f]{12}|\*+")
        return holes.sub("_", one) == masks.sub("_", other)
    return bool(one == other)


@each("cassette", CASSETTES)
def test_a_healthy_cassette_is_copied_as_it_is(cassette: Path, tmp_path: Path) -> None:
    assert scrub(cassette, tmp_path / "copy.jsonl") == []
    assert (tmp_path / "copy.jsonl").read_bytes() == cassette.read_bytes()
    assert scrub(cassette, tmp_path / "copy.db") == []
    assert exported(tmp_path / "copy.db") == exported(cassette)


def test_a_copy_of_a_copy_is_the_same(source: Path, tmp_path: Path) -> None:
    scrub(source, tmp_path / "copy.jsonl")
    assert scrub(tmp_path / "copy.jsonl", tmp_path / "again.jsonl") == []
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "copy.jsonl").read_bytes()


def test_the_copy_has_no_key_of_pseudonyms_and_pseudonyms_stay_the_same(tmp_path: Path) -> None:
    source = saved(old(), tmp_path / "old.db")
    with closing(sqlite3.connect(source)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('pseudonyms', ?)", (b"k" * 16,))
    scrub(source, tmp_path / "one.db")
    scrub(source, tmp_path / "two.db")
    assert exported(tmp_path / "one.db") == exported(tmp_path / "two.db")
    with closing(sqlite3.connect(tmp_path / "one.db")) as connection:
        assert connection.execute("SELECT count(*) FROM meta WHERE key = 'pseudonyms'").fetchone() == (0,)


def test_only_what_has_a_secrets_name_is_replaced_where_that_is_asked_for(source: Path, tmp_path: Path) -> None:
    scrub(source, tmp_path / "copy.jsonl", redact="named")
    text = seen(tmp_path / "copy.jsonl")
    assert NAMED not in text
    assert KEY in text


def test_what_begins_with_a_users_prefix_is_replaced(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 0.0, (0.1, delta("acme_x12 ok")))
    found = scrub(saved(tape, tmp_path / "old.jsonl"), tmp_path / "copy.jsonl", redact_patterns=["acme_"])
    assert [(one.kind, one.stream, one.seq) for one in found] == [("own", 1, 1)]
    assert "acme_*** ok" in (tmp_path / "copy.jsonl").read_text()


def test_after_what_was_lost_of_a_stream_the_rest_is_masked_with_care(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 0.0, (0.1, delta("ghp_")), (0.2, delta("x")), (0.3, delta("PLANTED is it")))
    source = saved(tape, tmp_path / "old.jsonl")
    lines = source.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if '"seq": 2' in line)
    lines[at] = json.dumps({"stream": 1, "seq": 2, "raw": None, "length": len(delta("x"))})
    source.write_text("\n".join(lines) + "\n")
    scrub(source, tmp_path / "copy.jsonl")
    assert "******* is it" in (tmp_path / "copy.jsonl").read_text()


async def test_messages_of_a_websocket_are_scrubbed(tmp_path: Path) -> None:
    from tests.recorder.proxy.test_websocket import HELLO, TEXT, switching, ws
    from tests.support.wire import connected, recorded

    async def server(conn: wire.Wire) -> None:
        await conn.send(ws(TEXT, b'{"delta": "sk-PLANT"}') + ws(TEXT, b'{"delta": "EDsEc"}'))
        await conn.gone()

    async with recorded(switching(server), tmp_path) as (proxy, _):
        async with connected(proxy.url, HELLO) as client:
            await client.until(b"\r\n\r\n")
            await client.send(ws(TEXT, f"say {KEY}".encode(), mask=True))
            await wire.eventually(lambda: b"say sk-" in bytes_on_disk(proxy.db))
        await wire.eventually(lambda: wire.ending(proxy.db))
    found = scrub(proxy.db, tmp_path / "copy.db")
    assert {one.message for one in found if one.place == "message"} <= {0, 1, 2}
    with wire.opened(tmp_path / "copy.db") as store:
        texts = {one.data for one in store.messages(1) if one.opcode == 1}
    assert texts == {b'{"delta": "sk-*****"}', b'{"delta": "*****"}', b"say sk-" + b"*" * len(SECRET)}


async def test_a_reason_of_closing_is_recorded_and_scrubbed_without_its_secret(tmp_path: Path) -> None:
    from tests.recorder.proxy.test_websocket import HELLO, switching, ws
    from tests.support.wire import connected, recorded

    async def server(conn: wire.Wire) -> None:
        await conn.send(ws(8, f"\x03\x0ftoken={NAMED}".encode()))
        await conn.gone()

    async with recorded(switching(server), tmp_path) as (proxy, _):
        async with connected(proxy.url, HELLO) as client:
            await client.until(NAMED.encode())
        await wire.eventually(lambda: wire.ending(proxy.db))
    with wire.opened(proxy.db) as store:
        reasons = [one.data for one in store.messages(1) if one.opcode == 8]
    assert reasons == [b"\x03\x0ftoken=" + b"*" * len(NAMED)]
    assert scrub(proxy.db, None) == []


@pytest.mark.parametrize("form", [".db", ".jsonl"])
def test_a_named_secret_in_any_format_is_scrubbed(tmp_path: Path, form: str) -> None:
    tape = Made()
    tape.get(f"/a?b=1;token={NAMED}", 0.0, answer=f"user: u\npassword: {NAMED}\n".encode())
    tape.get(f"/b;token={NAMED}/c", 0.1, answer=f"<a><password>{NAMED}</password></a>".encode())
    tape.post("/c", 0.2, body={"u": f"http://u:{NAMED}@h/"}, answer={"db_pass": NAMED}, sent=(("X-Any-Key", NAMED),))
    lines = f": token={NAMED}\nid: token={NAMED}\nevent: a?token={NAMED}\ndata: {{}}\n\n".encode()
    tape.stream("s", 1.0, (1.1, lines[:20]), (1.2, lines[20:]))
    source = saved(tape, tmp_path / f"old{form}")

    assert {leak.place for leak in scrub(source, None)} >= {"request target", "stream", "response body"}
    scrub(source, tmp_path / f"copy{form}")
    assert NAMED.encode() not in bytes_on_disk(tmp_path / f"copy{form}")
    assert scrub(tmp_path / f"copy{form}", None) == []


# Files


def test_what_is_left_in_freed_pages_and_in_the_log_is_told_and_not_copied(tmp_path: Path) -> None:
    source = saved(old(), tmp_path / "old.db")
    connection = sqlite3.connect(source)
    connection.execute("PRAGMA journal_mode = WAL")
    for table in ("frame_blocks", "landmarks", "tallies", "read_blocks", "chunks", "messages", "exchanges"):
        connection.execute(f"DELETE FROM {table}")
    connection.commit()
    assert SECRET.encode() in bytes_on_disk(source)
    kinds = "sk", "bearer", "field authorization", "field token", "field api_key"
    assert {(one.place, one.kind) for one in scrub(source, None)} == {("free space", kind) for kind in kinds}
    scrub(source, tmp_path / "copy.db")
    connection.close()
    assert SECRET.encode() not in bytes_on_disk(tmp_path / "copy.db")
    assert scrub(tmp_path / "copy.db", None) == []


def test_a_cassette_that_a_killed_recorder_left_is_scrubbed_with_its_log(tmp_path: Path) -> None:
    source = saved(old(), tmp_path / "old.db")
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("UPDATE exchanges SET target = ? WHERE exchange = 2", (f"/v1/{KEY}",))
        connection.commit()
        for end in ("", "-wal"):
            shutil.copy(source.with_name(source.name + end), tmp_path / f"left.db{end}")
    scrub(tmp_path / "left.db", tmp_path / "copy.db")
    assert exported(tmp_path / "copy.db")[2]["request"]["target"] == f"/v1/sk-{'*' * len(SECRET)}"
    assert SECRET.encode() not in bytes_on_disk(tmp_path / "copy.db")


def test_neither_the_cassette_nor_a_database_is_overwritten(source: Path, tmp_path: Path) -> None:
    other = saved(old(), tmp_path / "other.db")
    (tmp_path / "link").symlink_to(source)
    for output in (source, tmp_path / "link", other):
        before = digest(output)
        with pytest.raises(UsageError, match="choose another --output"):
            scrub(source, output)
        assert digest(output) == before


def test_a_log_that_is_left_there_is_not_taken_for_the_copys(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db-wal").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"copy\.db-wal is left over from another cassette"):
        scrub(source, tmp_path / "copy.db")


def test_a_search_index_of_what_was_there_is_removed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.jsonl-search").write_bytes(KEY.encode())
    scrub(source, tmp_path / "copy.jsonl")
    assert not (tmp_path / "copy.jsonl-search").exists()


@pytest.mark.parametrize("form", [".db", ".jsonl"])
def test_an_interruption_leaves_no_half_file(source: Path, form: str) -> None:
    def interrupted(values: Iterable[Any]) -> Iterator[Any]:
        for n, value in enumerate(values):
            if n == 5:
                raise KeyboardInterrupt
            yield value

    before = sorted(path.name for path in source.parent.iterdir())
    with pytest.raises(KeyboardInterrupt):
        scrub(source, source.with_name(f"copy{form}"), watch=interrupted)
    assert sorted(path.name for path in source.parent.iterdir()) == before


def test_a_place_that_cannot_be_written_is_said(source: Path, tmp_path: Path) -> None:
    for form in (".db", ".jsonl"):
        with pytest.raises(UsageError, match="cannot write"):
            scrub(source, tmp_path / "nowhere" / f"copy{form}")


def test_what_is_no_cassette_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(CassetteError, match="is no cassette"):
        scrub(tmp_path / "x.jsonl", tmp_path / "y.jsonl")
    assert not (tmp_path / "y.jsonl").exists()


def test_an_empty_cassette_is_copied(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"omnirecord": 1, "recordings": []}\n')
    assert scrub(tmp_path / "empty.jsonl", tmp_path / "copy.db") == []
    assert exported(tmp_path / "copy.db") == [{"omnirecord": 1, "recordings": []}]


# Replay


@pytest.mark.parametrize("cassette", CASSETTES, ids=lambda path: path.stem)
async def test_a_shipped_cassette_with_secrets_in_it_replays_when_scrubbed(cassette: Path, tmp_path: Path) -> None:
    """Planted: a header and a query value of each request, and in the place of words of streams."""
    planted = tmp_path / "planted.jsonl"
    planted.write_text("".join(map(with_secrets, cassette.read_text().splitlines())))
    found = scrub(planted, tmp_path / "copy.jsonl")
    assert {"request headers", "request target"} <= {one.place for one in found}
    assert SECRET not in (tmp_path / "copy.jsonl").read_text()
    result = await verify(tmp_path / "copy.jsonl", timing="instant")
    assert result.differences == []
    assert result.streams > 0


def with_secrets(line: str) -> str:
    value = json.loads(line)
    if "request" in value:
        value["request"]["headers"].append(["Authorization", f"Bearer {SECRET}"])
        joint = "&" if "?" in value["request"]["target"] else "?"
        value["request"]["target"] += f"{joint}access_token={SECRET}"
    elif isinstance(value.get("raw"), str):
        value["raw"] = value["raw"].replace('"delta": " the', '"delta": "ghp_').replace("assistant", "hf_ABCDEF")
    return json.dumps(value, ensure_ascii=False) + "\n"


async def test_clients_with_other_credentials_are_answered_by_a_scrubbed_cassette(tmp_path: Path) -> None:
    scrub(saved(old(), tmp_path / "old.jsonl"), tmp_path / "copy.jsonl")
    async with omnirecord.replay(tmp_path / "copy.jsonl", timing="instant") as server:
        request = wire.get("/v1/keys/sk-another1?token=yetanother", "Authorization: Bearer other", "X-Note: none")
        answer = await ask(server.url, request)
        assert answer.status.split()[1] == b"200"
        assert json.loads(answer.body)["note"] == f"is sk-{'*' * len(SECRET)}."
        missed = await ask(server.url, wire.get("/v1/keys/other"))
        assert missed.status.split()[1] == b"404"
    assert [one.target for one in server.unmatched] == ["/v1/keys/other"]


# The command


run = partial(invoke, "scrub")


def test_the_command_counts_and_never_shows(source: Path, tmp_path: Path) -> None:
    done = run(source, "-o", tmp_path / "copy.jsonl")
    assert done.exit_code == 0
    assert SECRET not in done.output
    assert re.search(r"request headers +header authorization +1", done.stdout)
    assert re.search(r"wrote .*copy\.jsonl: \d+ replaced", done.stdout)
    done = run(tmp_path / "copy.jsonl", "-o", tmp_path / "again.jsonl")
    assert done.stdout.endswith("again.jsonl: nothing had to be replaced\n")


def test_the_command_prints_json(source: Path, tmp_path: Path) -> None:
    done = run(source, "-o", tmp_path / "copy.jsonl", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"place": "request headers", "kind": "header authorization", "count": 1} in rows
    assert {"place": "stream", "kind": "sk", "count": 3} in rows


def nothing_in(path: Path) -> str:
    kinds = f"none of {len(beginnings())} kinds of secrets (omnirecord scrub --kinds)"
    return f"{path}: {kinds}, and no value with a sensitive name\n"


def test_check_fails_where_something_is_left(source: Path, tmp_path: Path) -> None:
    done = run(source, "--check")
    assert done.exit_code == 1
    assert SECRET not in done.output
    assert f"{source}: recording 1, exchange 1, request headers: header authorization\n" in done.stdout
    assert f"{source}: recording 1, stream 1:3: sk\n" in done.stdout
    assert re.search(r"\d+ secrets are left; omnirecord scrub makes a copy without\n", done.stdout)
    run(source, "-o", tmp_path / "copy.jsonl")
    done = run(tmp_path / "copy.jsonl", "--check")
    assert (done.exit_code, done.stdout) == (0, nothing_in(tmp_path / "copy.jsonl"))


def test_check_prints_json(source: Path) -> None:
    done = run(source, "--check", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout.splitlines()[0]) == {
        "cassette": str(source), "recording": 1, "exchange": 1, "stream": None, "seq": None, "message": None,
        "place": "request target", "kind": "query token", "count": 1,
    }  # fmt: skip


def test_the_hook_of_the_documentation_fails_where_one_of_its_files_has_a_secret(source: Path) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "redaction.md").read_text()
    (entry,) = re.findall(r"entry: omnirecord scrub (.+)", page)
    assert run(*entry.split(), *CASSETTES[:2]).exit_code == 0
    done = run(*entry.split(), CASSETTES[0], source, CASSETTES[1])
    assert done.exit_code == 1
    assert nothing_in(CASSETTES[1]) in done.stdout


def test_of_several_cassettes_no_one_copy_is_made(tmp_path: Path) -> None:
    done = run(*CASSETTES[:2], "-o", tmp_path / "copy.jsonl")
    assert done.exit_code == 2
    assert "scrub one at a time" in done.stderr


@pytest.mark.parametrize("args", [[], ["--check", "-o", "x"]])
def test_one_of_the_two_has_to_be_asked_for(source: Path, args: list[str]) -> None:
    done = run(source, *args)
    assert done.exit_code == 2
    assert "give -o FILE for the copy, or --check for a list" in done.stderr


@pytest.mark.parametrize(
    ("value", "is_left"), [("omnirecord-redacted-0123456789ab", False), ("4f9c2d81e6b7a035", True)]
)
def test_a_cookie_in_the_log_is_told_only_if_it_was_not_replaced(tmp_path: Path, value: str, is_left: bool) -> None:
    """A recorder that is killed leaves rows in the log that it did not commit."""
    scrub(saved(old(), tmp_path / "old.db"), copy := tmp_path / "copy.db")
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE gone (headers TEXT)")
        connection.execute("INSERT INTO gone VALUES (?)", (json.dumps([["set-cookie", f"sid={value}; Path=/"]]),))
        connection.commit()
        connection.execute("DROP TABLE gone")
        connection.commit()
        assert [one.kind for one in scrub(copy, None)] == ["field set-cookie"] * is_left
