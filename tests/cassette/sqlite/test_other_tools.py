"""A cassette in other people's SQLite tools: what they show is readable."""

from __future__ import annotations

from pathlib import Path

from omnirecord.cassette.open import import_file

CASSETTE = Path(__file__).parent.parent.parent.parent / "cassettes" / "subagent.jsonl"


def test_sqlite_utils_shows_events_with_times_and_text(tmp_path: Path) -> None:
    import sqlite_utils

    import_file(CASSETTE, tmp_path / "session.db")
    database = sqlite_utils.Database(tmp_path / "session.db")
    events = list(database["events"].rows)
    deltas = [row for row in events if row["type"] == "response.output_text.delta"]
    assert [row["seq"] for row in events if row["stream"] == 1] == list(
        range(1, 1 + sum(r["stream"] == 1 for r in events))
    )
    assert deltas
    assert all(row["data"].startswith("{") and '"delta"' in row["data"] for row in deltas)
    assert all(row["offset_s"] > 0 and row["verdict"] == "valid" for row in events)
    database.close()


def test_sqlite_utils_shows_sessions_and_finds_every_foreign_key(tmp_path: Path) -> None:
    import sqlite_utils

    import_file(CASSETTE, tmp_path / "session.db")
    database = sqlite_utils.Database(tmp_path / "session.db")
    assert [row["streams"] for row in database["sessions"].rows] == [1, 1]
    keys = {
        (key.table, key.column, key.other_table)
        for name in database.table_names()
        for key in database[name].foreign_keys
    }
    assert ("read_blocks", "exchange", "exchanges") in keys
    assert ("exchanges", "recording", "recordings") in keys
    assert list(database.query("PRAGMA foreign_key_check")) == []
    database.close()
