"""Compressed cassettes: every command reads them as it reads others, nothing of them stays behind, none is recorded
into, and a spoiled or hostile one is a sentence."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

import omnirecord
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import Writer, is_database
from omnirecord.cassette.sqlite.opening import IN_MEMORY, connect_packed
from omnirecord.errors import BrokenCassette, NotACassette
from omnirecord.wire.content_coding import packed
from tests.support.cassettes import HEALTHY, conversation
from tests.support.command import invoke, rows

pytest_plugins = ["pytester"]

BY = HEALTHY["approval"]
FORMS = ["session.db.zst", "session.jsonl.zst"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real session in all four forms."""
    folder = tmp_path_factory.mktemp("packed")
    shutil.copy(BY, folder / "session.jsonl")
    import_file(folder / "session.jsonl", folder / "session.db")
    for form in FORMS:
        invoke("export", folder / "session.db", "-o", folder / form, code=0)
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go, and no others."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def sentence(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    return result.stderr.strip()


COMMANDS = {
    "ls": ["ls", "--json"], "streams": ["ls", "--streams", "--json"], "exchanges": ["ls", "--exchanges", "--json"],
    "events": ["events", "--json"], "show": ["show"], "follow": ["show", "--follow"], "doctor": ["doctor"],
    "stats": ["stats", "--json"], "validate": ["validate", "--json"], "search": ["search", "the", "--json"],
    "export": ["export", "--format", "jsonl"], "sse": ["export", "--format", "sse", "--stream", "1"],
    "scrub": ["scrub", "--check", "--json"],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("temporary")
def test_every_command_says_the_same_of_it(folder: Path, name: str, form: str) -> None:
    command, *options = COMMANDS[name]
    plain = invoke(command, folder / "session.db", *options)
    compressed = invoke(command, folder / form, *options)
    assert plain.exit_code in (0, 1), plain.output
    assert (compressed.exit_code, compressed.stdout.replace(form, "session.db")) == (plain.exit_code, plain.stdout)


@pytest.mark.parametrize("form", FORMS)
def test_the_two_are_no_different(folder: Path, form: str) -> None:
    invoke("diff", folder / "session.db", folder / form, code=0)
    result = invoke("verify", folder / form, "--timing", "instant", "--json")
    assert json.loads(result.stdout)["equal"] is True


@pytest.mark.parametrize("form", FORMS)
def test_it_is_much_smaller_than_the_cassette_and_nobody_elses_to_read(folder: Path, form: str) -> None:
    plain = folder / form.removesuffix(".zst")
    assert (folder / form).stat().st_size < plain.stat().st_size / 4
    assert (folder / form).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back_nothing_is_lost(folder: Path, tmp_path: Path, form: str) -> None:
    result = invoke("import", folder / form, "--db", tmp_path / "back.db")
    assert result.exit_code == 0, result.output
    text = invoke("export", tmp_path / "back.db", "--format", "jsonl").stdout_bytes
    assert text == (folder / "session.jsonl").read_bytes()


def test_a_database_that_was_compressed_is_the_database(folder: Path) -> None:
    with (
        closing(connect_packed(folder / "session.db.zst")) as ours,
        closing(sqlite3.connect(folder / "session.db")) as theirs,
    ):
        assert list(ours.iterdump()) == list(theirs.iterdump())


def test_import_appends_it_behind_what_is_there(folder: Path, tmp_path: Path) -> None:
    for form in FORMS:
        invoke("import", folder / form, "--db", tmp_path / "both.db", code=0)
    assert {row["recording"] for row in rows("ls", tmp_path / "both.db")} == {1, 2}


def test_what_was_compressed_by_hand_is_read_too(folder: Path, tmp_path: Path) -> None:
    for form in ("session.db", "session.jsonl"):
        path = tmp_path / "found"
        path.write_bytes(b"".join(packed([(folder / form).read_bytes()])))
        assert invoke("ls", path, "--json").stdout == invoke("ls", folder / form, "--json").stdout
        assert is_database(path) is (form == "session.db")


def test_a_database_that_still_says_it_has_a_log_is_read(folder: Path, tmp_path: Path) -> None:
    whole = bytearray((folder / "session.db").read_bytes())
    whole[18:20] = b"\2\2"
    (tmp_path / "a.db.zst").write_bytes(b"".join(packed([bytes(whole)])))
    assert invoke("ls", tmp_path / "a.db.zst", "--json").stdout == invoke("ls", folder / "session.db", "--json").stdout


def test_what_a_killed_recorder_left_in_its_log_is_compressed_too(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "killed.db")
    writer.write(conversation().rows())
    for ending in ("", "-wal"):
        shutil.copy(tmp_path / f"killed.db{ending}", tmp_path / f"left.db{ending}")
    writer.close()
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    invoke("export", tmp_path / "left.db", "-o", tmp_path / "left.db.zst", code=0)
    assert rows("ls", tmp_path / "left.db.zst") == rows("ls", tmp_path / "killed.db")
    assert before.items() <= {one.name: one.read_bytes() for one in tmp_path.iterdir()}.items(), "nothing was written"


def large(path: Path) -> Path:
    """A cassette that is unpacked to a file."""
    tape = conversation()
    tape.post("/v1/upload", 7.0, status=200, body=bytes(IN_MEMORY))
    tape.save(path.with_suffix(""))
    invoke("export", path.with_suffix(""), "-o", path, code=0)
    return path


def test_a_large_one_is_in_a_file_without_a_name_and_small_ones_are_in_none(
    folder: Path, tmp_path: Path, temporary: Path
) -> None:
    path = large(tmp_path / "large.db.zst")
    assert path.stat().st_size < 100_000
    with closing(open_store(path)) as store:
        assert list(temporary.iterdir()) == [], "whatever ends us now, nothing stays behind"
        assert store.body(
            [x for x in store.exchanges() if x.request.method == "POST"][-1].exchange, "request"
        ) == bytes(IN_MEMORY)
        store.refresh()
        assert len(store.recordings()) == 1
    assert _open_files(temporary) == []
    with closing(open_store(folder / "session.db.zst")):
        assert _open_files(temporary) == []


def _open_files(folder: Path) -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(fd))  # noqa: PTH115  # of one that is gone, Path would go on to resolve it
        except OSError:
            continue
    return [name for name in found if name.startswith(str(folder))]


def test_where_there_is_no_room_a_sentence_says_how_to_have_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = large(tmp_path / "large.db.zst")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert "set TMPDIR to a folder with room" in sentence(invoke("ls", path))


def test_a_search_keeps_its_index_beside_it(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "session.db.zst"
    shutil.copy(folder / "session.db.zst", path)
    (tmp_path / "session.db.zst-search").touch(0o600)
    first = invoke("search", path, "the", "--json")
    assert (tmp_path / "session.db.zst-search").stat().st_size > 0
    assert invoke("search", path, "the", "--json").stdout == first.stdout != ""
    assert path.read_bytes() == (folder / "session.db.zst").read_bytes()


async def test_it_is_replayed_and_opened_from_python(folder: Path) -> None:
    async with omnirecord.replay(folder / "session.db.zst", allow_no_requests=True) as server:
        assert server.url
    for form in FORMS:
        with omnirecord.open_cassette(folder / form) as cassette:
            assert [event.type for stream in cassette.streams() for event in stream.events()]


def test_a_test_replays_it(folder: Path, pytester: pytest.Pytester) -> None:
    (pytester.path / "cassettes").mkdir()
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    for form in FORMS:
        shutil.copy(folder / form, pytester.path / "cassettes" / form)
    pytester.makepyfile(f"""
        import pytest
        @pytest.mark.parametrize("form", {FORMS!r})
        @pytest.mark.omnirecord("{FORMS[0]}", allow_no_requests=True)
        def test_marked(omnirecord_server, form):
            assert omnirecord_server.url
        @pytest.mark.omnirecord("{FORMS[1]}", allow_no_requests=True)
        def test_text(omnirecord_server):
            assert omnirecord_server.url
    """)
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)


@pytest.mark.parametrize("target", ["safe.db.zst", "safe.jsonl.zst", "safe.db", "safe.jsonl", "safe"])
def test_a_scrubbed_copy_is_what_its_name_says_else_as_the_cassette_is(
    folder: Path, tmp_path: Path, target: str
) -> None:
    invoke("scrub", folder / "session.db.zst", "-o", tmp_path / target, code=0)
    head = (tmp_path / target).read_bytes()[:4]
    assert (head == b"\x28\xb5\x2f\xfd") is not target.endswith((".db", ".jsonl"))
    assert is_database(tmp_path / target) is (".jsonl" not in target)
    assert invoke("ls", tmp_path / target, "--json").stdout == invoke("ls", folder / "session.db", "--json").stdout


def test_secrets_in_the_free_pages_of_a_compressed_one_are_found(tmp_path: Path) -> None:
    conversation().save(tmp_path / "a.db")
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as edited:
        edited.execute("PRAGMA secure_delete = OFF")
        edited.execute("CREATE TABLE x (y)")
        edited.execute("INSERT INTO x VALUES (?)", (f"ghp_{'aB3dE6gH9' * 4} " * 3000,))
        edited.execute("DROP TABLE x")
    (tmp_path / "a.db.zst").write_bytes(b"".join(packed([(tmp_path / "a.db").read_bytes()])))
    plain, compressed = (invoke("scrub", "--check", tmp_path / name) for name in ("a.db", "a.db.zst"))
    assert "free space" in plain.stdout
    assert compressed.stdout.replace("a.db.zst", "a.db") == plain.stdout


def test_what_is_still_recorded_is_not_compressed(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "live.db")
    writer.write(conversation().rows())
    try:
        for form in ("a.db.zst", "a.jsonl.zst"):
            result = invoke("export", tmp_path / "live.db", "-o", tmp_path / form)
            assert "is still being recorded" in sentence(result)
            assert not (tmp_path / form).exists()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "words", [["proxy", "--upstream", "http://127.0.0.1:9", "--db"], ["import", "{jsonl}", "--db"]]
)
@pytest.mark.parametrize("name", ["new.db.zst", "there.db.zst"])
def test_nothing_is_recorded_into_one(folder: Path, tmp_path: Path, words: list[str], name: str) -> None:
    shutil.copy(folder / "session.db.zst", tmp_path / "there.db.zst")
    words = [word.format(jsonl=folder / "session.jsonl") for word in words]
    assert "a compressed cassette is a closed one" in sentence(invoke(*words, tmp_path / name))
    assert (tmp_path / "there.db.zst").read_bytes() == (folder / "session.db.zst").read_bytes()
    assert not (tmp_path / "new.db.zst").exists()


def test_nothing_is_recorded_into_one_of_another_name(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "session.db.zst", tmp_path / "there.db")
    with pytest.raises(NotACassette, match="choose another --db"):
        Writer(tmp_path / "there.db")
    assert (tmp_path / "there.db").read_bytes() == (folder / "session.db.zst").read_bytes()


def test_tail_says_that_nothing_comes(folder: Path) -> None:
    assert "so nothing is added to it: omnirecord events" in sentence(invoke("tail", folder / "session.db.zst"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "give --format, or"),
        (["-o", "a.db"], "give --format, or"),
        (["--format", "zst", "-o", "a.db"], ".jsonl.zst instead of a.db"),
        (["--format", "jsonl", "-o", "a.db.zst"], "name a compressed text form .jsonl.zst"),
        (["--format", "sse", "-o", "a.sse.zst"], "remove .zst from a.sse.zst"),
        (["--format", "zst", "--stream", "1", "-o", "a.zst"], "--stream needs --format sse"),
        (["--format", "datasette", "-o", "a.zst"], "remove .zst from"),
        (["-o", "nowhere/a.db.zst"], "cannot write"),
    ],
)
def test_a_slip_of_export_is_a_sentence(folder: Path, options: list[str], says: str) -> None:
    assert says in sentence(invoke("export", folder / "session.db", *options))


def test_an_export_says_once_that_it_is_written(folder: Path, tmp_path: Path) -> None:
    for name in ("a.db.zst", "b.db.zst"):
        result = invoke("export", folder / ("session.db" if name[0] == "a" else "session.jsonl"), "-o", tmp_path / name)
        assert (result.stdout, result.stderr) == (f"wrote {tmp_path / name}\n", "")


def test_the_name_of_the_output_says_the_format(folder: Path, tmp_path: Path) -> None:
    for name, options in (("a.jsonl", []), ("a.sse", ["--stream", "1"]), ("a.zst", [])):
        invoke("export", folder / "session.db", *options, "-o", tmp_path / name, code=0)
    assert (tmp_path / "a.jsonl").read_bytes() == (folder / "session.jsonl").read_bytes()
    assert is_database(tmp_path / "a.zst")
    piped = invoke("export", folder / "session.db", "--format", "zst")
    assert piped.stdout_bytes == (tmp_path / "a.zst").read_bytes()


def test_a_recording_that_is_compressed_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "session.db.zst", tmp_path / "a.db.zst")
    assert "perhaps a cassette" in sentence(invoke("export", folder / "session.db", "-o", tmp_path / "a.db.zst"))


def test_datasette_is_told_what_to_do_with_one(folder: Path) -> None:
    result = invoke("export", folder / "session.db.zst", "--format", "datasette")
    assert sentence(result).endswith("session.db.zst --db session.db")


def test_damage_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    for form in FORMS:
        whole = (folder / form).read_bytes()
        middle = len(whole) // 2
        for name, data in {
            "cut": whole[:-3], "changed": whole[:middle] + b"????" + whole[middle + 4 :], "head": whole[:4],
            "more": whole + b"?",
        }.items():  # fmt: skip
            path = tmp_path / f"{name}.{form}"
            path.write_bytes(data)
            assert f"{name}.{form}" in sentence(invoke("ls", path))
            with pytest.raises(BrokenCassette):
                open_store(path)


def test_something_else_that_is_compressed_is_no_cassette(tmp_path: Path) -> None:
    for number, data in enumerate([b"", b"hello\n", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(5000)]):
        path = tmp_path / f"{number}.zst"
        path.write_bytes(b"".join(packed([data])))
        assert f"{number}.zst" in sentence(invoke("ls", path))


def test_a_bomb_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.zst"
    path.write_bytes(b"".join(packed(bytes(1 << 20) for _ in range(300))))
    with pytest.raises(BrokenCassette, match=r"more than 256 MiB, more than any recorded cassette.*zstd -d"):
        open_store(path)


def test_a_strangers_database_is_trusted_no_more_for_being_compressed(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "session.db", tmp_path / "evil.db")
    with closing(sqlite3.connect(tmp_path / "evil.db", isolation_level=None)) as edited:
        edited.execute("ALTER TABLE exchanges RENAME TO hidden")
        edited.execute("CREATE VIEW exchanges AS SELECT * FROM hidden")
    (tmp_path / "evil.db.zst").write_bytes(b"".join(packed([(tmp_path / "evil.db").read_bytes()])))
    assert "exchanges is a view" in sentence(invoke("ls", tmp_path / "evil.db.zst"))


def test_what_is_opened_cannot_be_written(folder: Path) -> None:
    with closing(connect_packed(folder / "session.db.zst")) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM exchanges")
