"""Grows a lake from the shipped cassettes: many recordings with the events of these, under new ids and at other times.

    python -m benchmarks.grown_lake URL --recordings 200 --events 50000

Each recording holds copies of all sessions; the first one also holds a session with one long stream. Recordings are
committed as `ship` does it, spread over days.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import shutil
import string
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from omnirecord.cassette.open import import_file, open_store
from omnirecord.lake.commits import Commits
from omnirecord.lake.extract import Extract, extracted
from omnirecord.lake.files import Encoder
from omnirecord.lake.layout import SCHEMAS
from omnirecord.lake.location import Lake
from omnirecord.text import dumps

CASSETTES = Path(__file__).parent.parent / "cassettes"
LONG = 10_000
"""Events of the long stream."""
_DELTA = "output_text.delta"
_LETTERS = re.compile(r'(?<="delta": ")[A-Za-z]+')
_SOURCES, _SEED = 24, 18
"""Cassettes that are taken if their sessions get longer, and the choice of them."""
_ID = re.compile(rb"(?<![0-9a-z])[0-9a-f]{32}(?![0-9a-f])|(?<=resp_)[0-9a-f]{24}(?![0-9a-f])")
_MODELS = ("stand-in", "small-model", "large-model")
_VERSIONS = ("0.19.0", "0.19.1", "0.20.0", None)
_FIRST_DAY = date(2026, 11, 1)
_NUMBERED = ("exchange", "stream")


def base(folder: Path, lengths: Sequence[int] = ()) -> list[dict[str, pa.Table]]:
    """Return the tables of each shipped cassette without content coding, after those of a cassette with a long stream.

    `lengths`: events that a stream with text is brought to, in turn; by default it stays as it is.
    """
    found, each = [_lengthened(folder, CASSETTES / "text.jsonl", LONG)], itertools.cycle(lengths)
    paths = sorted(CASSETTES.rglob("*.jsonl"))
    if lengths:
        paths = random.Random(_SEED).sample(paths, _SOURCES)
    for path in paths:
        with closing(open_store(path)) as store:
            tables = [_tables(extracted(store, recording)) for recording in store.recordings()]
        plain = [one for one in tables if "exchanges" in one and not _is_coded(one)]
        if lengths and len(tables) == len(plain) == 1 and _DELTA in path.read_text():
            plain = [_lengthened(folder, path, next(each))]
        found += plain
    return found


def _lengthened(folder: Path, path: Path, events: int) -> dict[str, pa.Table]:
    """Return the tables of a cassette with one recording, one of whose streams gets `events` events."""
    long = folder / f"{path.stem}.{events}.db"
    import_file(_long(folder, path, events), long)
    with closing(open_store(long)) as store:
        return _tables(extracted(store, store.recordings()[0]))


def _tables(extract: Extract) -> dict[str, pa.Table]:
    return {name: pq.read_table(pa.BufferReader(data)).combine_chunks() for name, data in extract.files.items()}


def _is_coded(tables: dict[str, pa.Table]) -> bool:
    exchanges = tables["exchanges"]
    return bool(pc.any(pc.and_(pc.equal(exchanges["kind"], "sse"), pc.is_valid(exchanges["response_body"]))).as_py())


def _long(folder: Path, source: Path, events: int) -> Path:
    """Write a cassette with a stream of `events` events: another one with a delta many times."""
    values = [json.loads(line) for line in source.read_text().splitlines()]
    stream = next(one["stream"] for one in values if "seq" in one and _DELTA in (one["raw"] or ""))
    of_stream = [one for one in values if "seq" in one and one["stream"] == stream]
    reads = [read for one in values if "reads" in one and one["stream"] == stream for read in one["reads"]]
    deltas = [number for number, one in enumerate(of_stream) if _DELTA in (one["raw"] or "")]
    at = max(deltas, key=lambda number: len(of_stream[number]["raw"]))
    more = max(events - len(of_stream), 0)
    chosen = random.Random(events)
    added = [{**of_stream[at], "raw": _other(of_stream[at]["raw"], chosen)} for _ in range(more)]
    frames = [*of_stream[:at], *added, *of_stream[at:]]
    size = len(of_stream[at]["raw"].encode())
    end = sum(len((one["raw"] or "").encode()) for one in of_stream[:at])
    total = place = 0
    for place, (_, _, many) in enumerate(reads):  # noqa: B007
        if total >= end:
            break
        total += many
    offset, sent, _ = reads[place - 1]
    reads[place:place] = [[offset + number, sent + number if sent else None, size] for number in range(more)]
    made = []
    for value in values:
        if ("seq" in value or "reads" in value) and value["stream"] == stream:
            continue
        made.append(value)
        if value.get("stream") == stream:
            made += [{**one, "seq": seq} for seq, one in enumerate(frames, 1)]
            made += [{"stream": stream, "reads": reads[n : n + 100]} for n in range(0, len(reads), 100)]
    path = folder / f"{source.stem}.{events}.jsonl"
    path.write_text("".join(f"{dumps(one)}\n" for one in made))
    return path


def _other(raw: str, chosen: random.Random) -> str:
    """Return an event with other letters in its delta, and as long."""
    return _LETTERS.sub(lambda found: "".join(chosen.choices(string.ascii_lowercase, k=len(found[0]))), raw, count=1)


class Copies:
    """Copies of a cassette's tables with other ids of the same length."""

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        self.tables = tables
        self.events = tables["events"].num_rows if "events" in tables else 0
        self.last = {
            name: max((pc.max(one[name]).as_py() or 0) for one in tables.values() if name in one.column_names)
            for name in _NUMBERED
        }
        self._places: dict[tuple[str, str], list[tuple[int, int, bytes]]] = {}
        for name, table in tables.items():
            for column in table.schema:
                if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
                    self._places[name, column.name] = list(_ids(table[column.name]))

    def copy(self, number: int) -> dict[str, pa.Table]:
        """Return the tables with the ids of copy `number`."""
        ids: dict[bytes, bytes] = {}

        def new(old: bytes) -> bytes:
            if old not in ids:
                ids[old] = hashlib.sha256(b"%d %s" % (number, old)).hexdigest().encode()[: len(old)]
            return ids[old]

        made = {}
        for name, table in self.tables.items():
            columns = []
            for column in table.schema:
                values = table[column.name]
                spans = self._places.get((name, column.name))
                columns.append(_replaced(values, [(a, b, new(old)) for a, b, old in spans]) if spans else values)
            made[name] = pa.table(columns, schema=table.schema)
        return made


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _ids(column: pa.ChunkedArray) -> Iterator[tuple[int, int, bytes]]:
    """Yield where each id is in the data of a column, value by value, and the id."""
    array = _array(column)
    offsets, data = array.buffers()[1:]
    if data is None:
        return
    bounds = pa.Array.from_buffers(pa.int32(), len(array) + 1, [None, offsets], offset=array.offset).to_pylist()
    content = data.to_pybytes()
    for start, end in pairwise(bounds):
        for one in _ID.finditer(content[start:end]):
            yield start + one.start(), start + one.end(), one[0]


def _replaced(column: pa.ChunkedArray, spans: list[tuple[int, int, bytes]]) -> pa.Array:
    array = _array(column)
    validity, offsets, data = array.buffers()
    changed = bytearray(data)
    for start, end, new in spans:
        changed[start:end] = new
    return pa.Array.from_buffers(
        array.type, len(array), [validity, offsets, pa.py_buffer(bytes(changed))], offset=array.offset
    )


def block(sources: list[Copies], events: int) -> Copies:
    """Return copies of the sources as the tables of one recording, with `events` or a few more."""
    parts: dict[str, list[pa.Table]] = {name: [] for name in SCHEMAS}
    offsets, total, copy = dict.fromkeys(_NUMBERED, 0), 0, 0
    while total < events:
        for one in sources:
            for name, table in one.copy(copy).items():
                parts[name].append(_renumbered(table, offsets))
            for column in _NUMBERED:
                offsets[column] += one.last[column]
            total, copy = total + one.events, copy + 1
            if total >= events:
                break
    return Copies({name: pa.concat_tables(some).combine_chunks() for name, some in parts.items() if some})


def recording(number: int, of: Copies, days: int) -> Extract:
    """Return recording `number`: the block with other ids, at its own time."""
    began = datetime.combine(_FIRST_DAY + timedelta(days=number % days), datetime.min.time(), UTC)
    began += timedelta(seconds=number)
    identity = hashlib.sha256(b"recording %d" % number).hexdigest()
    recording_id = f"01a2{identity[:4]}-{identity[4:8]}-7{identity[8:11]}-8{identity[11:14]}-{identity[14:26]}"
    made = Extract(recording_id, began.date().isoformat())
    tables = of.copy(number)
    for name in SCHEMAS:
        if name in tables:
            _encode(made, name, tables[name], number, began)
    return made


def _renumbered(table: pa.Table, offsets: dict[str, int]) -> pa.Table:
    for column in _NUMBERED:
        if column in table.column_names:
            place = table.schema.get_field_index(column)
            field = table.schema.field(place)
            if pa.types.is_integer(field.type):
                values = pc.add(table[column], pa.scalar(offsets[column], field.type))
                table = table.set_column(place, field, values)
    return table


def _encode(made: Extract, name: str, table: pa.Table, number: int, began: datetime) -> None:
    table = _shifted(table, began)
    if name == "recordings":
        row = table.slice(0, 1).to_pylist()[0] | {
            "recording": 1,
            "run_id": made.recording_id,
            "started_at": began,
            "started_at_text": began.isoformat(),
            "server_version": _VERSIONS[number % len(_VERSIONS)],
            "labels": [("team", f"team-{number % 5}")],
            "exchanges": made.rows["exchanges"],
            "events": made.rows["events"],
            "shipped_at": began + timedelta(days=1),
        }
        table = pa.Table.from_pylist([row], schema=table.schema)
    if name == "turns":
        place = table.schema.get_field_index("model")
        models = pa.array([_MODELS[(number + n) % len(_MODELS)] for n in range(table.num_rows)])
        table = table.set_column(place, table.schema.field(place), models)
    place = table.schema.get_field_index("recording_id")
    table = table.set_column(place, table.schema.field(place), pa.repeat(pa.scalar(made.recording_id), table.num_rows))
    encoder = Encoder(name)
    for start in range(0, table.num_rows, 50_000):
        encoder.add(table.slice(start, 50_000))
    data = encoder.close()
    if data is not None:
        made.files[name], made.rows[name] = data, encoder.rows


def _shifted(table: pa.Table, began: datetime) -> pa.Table:
    """Return the rows with all times moved to the day of a recording."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and table[field.name].null_count < table.num_rows:
            day = pc.floor_temporal(table[field.name], unit="day")
            times = pc.add(pc.subtract(table[field.name], day), pa.scalar(began, pa.timestamp("us", tz="UTC")))
            table = table.set_column(place, field, times.cast(field.type))
    return table


def grow(lake: Lake, recordings: int, events: int, days: int, lengths: Sequence[int] = ()) -> Iterator[int]:
    """Add the recordings, and yield the number of events after each."""
    folder = Path(tempfile.mkdtemp())
    try:
        sources = [Copies(one) for one in base(folder, lengths)]
    finally:
        shutil.rmtree(folder)
    first, others = block(sources, events), block(sources[1:], events)  # the first source is long
    commits, total, batch = Commits(lake), 0, []  # type: Commits, int, list[Extract]
    try:
        for number in range(recordings):
            batch.append(recording(number, others if number else first, days))
            total += batch[-1].events
            if len(batch) == 16 or number == recordings - 1:
                commits.add(batch)
                batch = []
            yield total
    finally:
        commits.close()


@click.command()
@click.argument("url")
@click.option("--recordings", default=200, show_default=True)
@click.option("--events", default=50_000, show_default=True, help="Events of each recording, at least.")
@click.option("--days", default=20, show_default=True, help="Days over which the recordings are spread.")
@click.option("--length", "lengths", multiple=True, type=int, help="Events of a session, in turn. Default: as shipped.")
def main(url: str, recordings: int, events: int, days: int, lengths: tuple[int, ...]) -> None:
    """Grow a lake from the shipped cassettes."""
    lake = Lake(url)
    lake.init()
    total = 0
    with click.progressbar(grow(lake, recordings, events, days, lengths), length=recordings, label="growing") as each:
        for so_far in each:
            total = so_far
    click.echo(f"{total:,} events in {recordings:,} recordings")


if __name__ == "__main__":
    main()
