"""Cassettes of several recorders in one: order, hops, clocks, and what is refused."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.cassette.join import join, parse_shift
from omnirecord.cassette.open import open_store
from omnirecord.cassette.recording_ids import uuid7
from omnirecord.cassette.sqlite import Writer, rows
from omnirecord.errors import UsageError
from omnirecord.model import Recording
from tests.support.command import invoke
from tests.support.examples import each


def made(path: Path, started: str, hop: str | None = None, **fields: Any) -> Path:
    """A cassette with one recording of a second, which has one exchange."""
    with closing(Writer(path)) as writer:
        one = Recording(1, started, "0", "omnigent", None, **{"recording_id": uuid7(), "hop": hop} | fields)
        writer.write([rows.recording(one)])
        writer.write([rows.request(1, 1, "http", None, "client", 5, "GET", f"/{path.stem}", ())])
        writer.write([rows.end(1, 1_000_000_000, "eof", 0, 0)])
    return path


def recordings(path: Path) -> list[Recording]:
    with closing(open_store(path)) as store:
        return store.recordings()


def run(*words: object) -> tuple[int, str]:
    result = invoke("import", *words)
    return result.exit_code, result.output


def test_recordings_are_in_the_order_of_their_start(tmp_path: Path) -> None:
    late = made(tmp_path / "late.db", "2026-01-02T03:04:07+00:00", "model")
    early = made(tmp_path / "early.db", "2026-01-02T04:04:05+01:00")
    join([str(late), str(early)], tmp_path / "both.db")
    assert [(one.recording, one.hop) for one in recordings(tmp_path / "both.db")] == [(1, None), (2, "model")]
    with closing(open_store(tmp_path / "both.db")) as store:
        assert [(x.exchange, x.recording, x.request.target) for x in store.exchanges()] == [
            (1, 1, "/early"),
            (2, 2, "/late"),
        ]
    assert [one.recording_id for one in recordings(tmp_path / "both.db")] == [
        recordings(early)[0].recording_id,
        recordings(late)[0].recording_id,
    ]


def test_a_hop_gets_a_name_and_a_clock_is_corrected(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a.db", "2026-01-02T03:04:05+00:00"), made(tmp_path / "b.db", "2026-01-02T03:04:05+00:00")
    code, said = run(a, b, "--hop", f"model={b}", "--shift", "model=+1500ms", "-o", tmp_path / "both.db")
    assert code == 0, said
    assert "recording 1: begins first, at 2026-01-02 03:04:05" in said
    assert "recording 2, hop model: begins 1.500 s after the first one, at 2026-01-02 03:04:06.500 UTC" in said
    assert "shifted by +1.5 s" in said
    _, model = recordings(tmp_path / "both.db")
    assert (model.hop, model.started_at) == ("model", "2026-01-02T03:04:06.500000+00:00")
    assert recordings(b)[0].started_at == "2026-01-02T03:04:05+00:00"


def test_json_has_the_offsets(tmp_path: Path) -> None:
    a = made(tmp_path / "a.db", "2026-01-02T03:04:05+00:00")
    b = made(tmp_path / "b.db", "2026-01-02T03:04:07+00:00", "model")
    _, said = run(a, b, "--shift", f"{b}=-1s", "-o", tmp_path / "both.db", "--json")
    first, second = map(json.loads, said.splitlines())
    assert list(first) == ["file", "db", "exchanges", "frames", "recordings"]
    (one,) = second["recordings"]
    assert (one["recording"], one["hop"], one["after_s"], one["shift_s"]) == (2, "model", 1.0, -1.0)


def test_a_shifted_recording_without_an_id_keeps_the_derived_one(tmp_path: Path) -> None:
    old = made(tmp_path / "old.db", "2026-01-02T03:04:05+00:00", recording_id="")
    (before,) = recordings(old)
    join([str(old)], tmp_path / "new.db", shifts={str(old): 60.0})
    assert recordings(tmp_path / "new.db")[0].recording_id == before.recording_id


def test_a_db_is_imported_as_it_is(tmp_path: Path) -> None:
    a = made(tmp_path / "a.db", "2026-01-02T03:04:05+00:00")
    code, _ = run(a, "-o", tmp_path / "b.db")
    assert (code, recordings(tmp_path / "b.db")) == (0, recordings(a))


@each(
    ("words", "sentence"),
    [
        (["a", "a"], "import it once"),
        (["a", "b"], "both recorded a hop without a name at the same time: name one of them, with --hop NAME="),
        (["a", "b", "--hop", "x y=b"], "'x y' is no name of a hop"),
        (["a", "b", "--hop", "model"], "which of the files?"),
        (["a", "--hop", "model=c"], "is none of the files to import"),
        (["a", "b", "--shift", "+1s"], "which of the files?"),
        (["a", "--shift", "soon"], "'soon' is no shift: write for instance +1.5s, -250ms or +2min"),
        (["a", "--shift", "other=1s"], "other is no file or hop of the files"),
        (["a", "--shift", "-999999999h"], "--shift moves the start of"),
        (["none"], "does not exist"),
    ],
)
def test_a_mistake_is_a_sentence_and_nothing_is_written(words: list[str], sentence: str, tmp_path: Path) -> None:
    for name in "ab":
        made(tmp_path / f"{name}.db", "2026-01-02T03:04:05+00:00")
    paths = {name: str(tmp_path / f"{name}.db") for name in "abc"} | {"none": str(tmp_path / "none.db")}
    given = [paths.get(word) or word.replace("=b", f"={paths['b']}").replace("=c", f"={paths['c']}") for word in words]
    code, said = run(*given, "-o", tmp_path / "out.db")
    assert code == 2
    assert sentence in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.db").exists()


def test_a_recording_that_the_output_has_is_refused(tmp_path: Path) -> None:
    a = made(tmp_path / "a.db", "2026-01-02T03:04:05+00:00")
    join([str(a)], tmp_path / "out.db")
    with pytest.raises(UsageError, match="already: import it once"):
        join([str(a)], tmp_path / "out.db")
    assert len(recordings(tmp_path / "out.db")) == 1


def test_the_output_is_no_input(tmp_path: Path) -> None:
    a = made(tmp_path / "a.db", "2026-01-02T03:04:05+00:00")
    with pytest.raises(UsageError, match="is the output itself"):
        join([str(a)], a)


@each(("text", "seconds"), [("+1.5s", 1.5), ("-250ms", -0.25), ("2 min", 120.0), ("1h", 3600.0), ("3", 3.0)])
def test_a_shift_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert parse_shift(text) == seconds
