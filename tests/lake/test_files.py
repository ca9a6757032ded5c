"""The encoding of a table: statistics where they skip rows, checksums of session ids."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from omnirecord.lake import scan
from omnirecord.lake.files import Encoder, checksums, checksums_in, joined, options
from omnirecord.lake.layout import SCHEMAS
from omnirecord.lake.location import Lake
from omnirecord.lake.query import LakeQuery
from tests.support.cassettes import HEALTHY, TROUBLED
from tests.support.front import Front, front
from tests.support.lakes import shipped
from tests.support.stores import bucket_url, shared_moto


def test_a_large_file_has_statistics_of_the_columns_that_skip_rows_only() -> None:
    stated = options("events", SCHEMAS["events"].empty_table(), is_small=False)["write_statistics"]
    assert set(stated) == {"recording_id", "session_id", "exchange", "stream", "at", "type", "verdict"}


def test_a_small_file_has_no_statistics_and_the_delta_log_has_them_all_the_same(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    (path,) = Path(lake.url, "events").glob("day=*/*.parquet")
    rows, group = pq.read_table(path), pq.read_metadata(path).row_group(0)
    assert all(group.column(number).statistics is None for number in range(group.num_columns))
    (action,) = pa.table(lake.table("events").get_add_actions(flatten=True)).to_pylist()
    assert action["num_records"] == rows.num_rows
    for name in ("recording_id", "session_id"):
        values = [value for value in rows[name].to_pylist() if value is not None]
        stated = action[f"null_count.{name}"], action[f"min.{name}"], action[f"max.{name}"]
        assert stated == (rows[name].null_count, min(values), max(values))
    assert action["min.at"] <= min(rows["at"].to_pylist()) <= max(rows["at"].to_pylist()) <= action["max.at"]


def test_a_file_of_few_rows_has_no_dictionaries(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    (path,) = Path(lake.url, "sessions").glob("day=*/*.parquet")
    group = pq.read_metadata(path).row_group(0)
    assert not any(group.column(number).has_dictionary_page for number in range(group.num_columns))


def test_each_column_gets_its_smallest_encoding() -> None:
    chance = random.Random(1)
    rows = 2000
    at = sorted(chance.randrange(1 << 40) for _ in range(rows))
    columns = {
        "at_ns": at,  # of frames that came alone
        "offset_ns": [at[number // 100 * 100] for number in range(rows)],  # of frames that came together
        "target": [f"/v1/sessions/{chance.randrange(1 << 128):032x}/items" for _ in range(rows)],
    }
    given = options("exchanges", pa.table(columns), is_small=True)
    assert given["column_encoding"]["at_ns"] == "DELTA_BINARY_PACKED"
    assert "offset_ns" not in given["column_encoding"]
    assert given["compression_level"]["target"] < given["compression_level"]["at_ns"]  # no short matches in random ids


def test_an_encoding_is_read_back_as_it_was() -> None:
    chance = random.Random(2)
    columns = {
        name: [None if chance.random() < 0.1 else _value(chance, field.type) for _ in range(500)]
        for name, field in zip(SCHEMAS["exchanges"].names, SCHEMAS["exchanges"], strict=True)
        if name != "day"
    }
    rows = pa.table(columns, pa.schema([field for field in SCHEMAS["exchanges"] if field.name != "day"]))
    encoder = Encoder("exchanges")
    encoder.add(rows)
    data = encoder.close()
    assert data is not None
    assert pq.read_table(pa.BufferReader(data)).equals(rows)
    assert pq.read_table(pa.BufferReader(joined("exchanges", [data, data]))).equals(pa.concat_tables([rows, rows]))


def _value(chance: random.Random, type_: pa.DataType) -> object:
    if pa.types.is_boolean(type_):
        return chance.random() < 0.5
    if pa.types.is_string(type_):
        return f"{chance.randrange(1 << 16):x}"
    if pa.types.is_binary(type_):
        return chance.randbytes(chance.randrange(40))
    if pa.types.is_timestamp(type_):
        return datetime.fromtimestamp(chance.randrange(1 << 31), UTC)
    return chance.randrange(1 << 31)


def test_a_file_of_sessions_has_checksums_of_their_ids_before_its_footer(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    (path,) = Path(lake.url, "sessions").glob("day=*/*.parquet")
    data = path.read_bytes()
    ids = [one for one in pq.read_table(path)["session_id"].to_pylist() if one is not None]
    found, needed = checksums_in(data)
    assert found is not None
    assert ids
    assert set(found.to_pylist()) == checksums(ids)
    assert checksums_in(data[-needed:]) == (found, needed)
    assert checksums_in(data[1 - needed :]) == (None, needed)
    assert checksums_in(data[-8:])[0] is None


def sessions_of(lake: Lake, *wanted: str) -> list[str]:
    with LakeQuery(lake) as query:
        rows: list[str] = query.scan("sessions", ("session_id",), among={"session_id": wanted})[
            "session_id"
        ].to_pylist()
        return rows


@pytest.mark.parametrize("small", [1 << 16, 40])
def test_only_a_file_with_a_wanted_session_is_decoded(
    tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_SMALL", small)
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"], TROUBLED["tool_hangs"])
    with LakeQuery(lake) as query:
        ids = query.scan("sessions", ("session_id",))["session_id"].to_pylist()
    assert len(ids) == 2
    opened, count = pq.ParquetFile, list[object]()
    monkeypatch.setattr(pq, "ParquetFile", lambda source, **more: count.append(source) or opened(source, **more))
    assert sessions_of(lake, ids[0]) == [ids[0]]
    assert len(count) == 1
    assert sessions_of(lake, "none of them") == []
    assert len(count) == 1


def test_a_file_without_checksums_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of older versions and of other writers have none."""
    with monkeypatch.context() as patch:
        patch.setattr("omnirecord.lake.files.indexed", lambda _table, data: data)
        lake = shipped(str(tmp_path / "lake"), HEALTHY["text"], TROUBLED["tool_hangs"])
    with LakeQuery(lake) as query:
        ids = query.scan("sessions", ("session_id",))["session_id"].to_pylist()
    assert sessions_of(lake, ids[0], "another one") == [ids[0]]


@pytest.fixture
def store() -> Iterator[Front]:
    with front(shared_moto()["AWS_ENDPOINT_URL"]) as made:
        yield made


def test_a_store_gets_one_request_for_a_file_without_a_wanted_session(
    store: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket_url(shared_moto(), monkeypatch)
    shipped(url, HEALTHY["text"], TROUBLED["tool_hangs"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
    paths = list[str]()
    store.refuse = lambda _method, path: paths.append(path) if "/sessions/" in path and ".parquet" in path else None
    assert sessions_of(Lake(url), "none of them") == []
    assert len(paths) == 2
