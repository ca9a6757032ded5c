"""`ship` and `lake sessions` in a lake of many recordings, beside a lake without any.

    python -m benchmarks.many_recordings --recordings 5000000

The recordings are made up: the lake has their ids, their rows of `recordings` and `sessions`, and no content, as after
`lake compact`. A time is the CPU time of a process, the median of five runs.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from uuid import UUID

import click
import pyarrow as pa

from omnirecord.lake.files import Encoder, add_action
from omnirecord.lake.ids import Ids
from omnirecord.lake.layout import PARTITION, SCHEMAS, merged_name, path_of
from omnirecord.lake.location import Lake
from omnirecord.lake.upkeep import shorten_log

A_DAY = 55_000
"""Recordings of a day: 20 million a year."""
_FIRST = datetime(2026, 9, 1, tzinfo=UTC)
CASSETTE = Path(__file__).parent.parent / "cassettes" / "text.jsonl"


def fill(lake: Lake, recordings: int) -> None:
    """Add made-up recordings to a lake, a day in each object."""
    chosen = Random(1)
    ids = Ids(lake)
    for number, left in enumerate(range(recordings, 0, -A_DAY)):
        began = _FIRST + timedelta(days=number)
        times = [began + timedelta(seconds=at * 86400 / A_DAY) for at in range(min(A_DAY, left))]
        some = [_id(at, chosen) for at in times]
        ids.add(some)
        columns = {
            "recording_id": some,
            "run_id": some,
            "started_at": times,
            "recording": [1] * len(some),
            "session_id": [f"{chosen.getrandbits(128):032x}" for _ in some],
            "stream": [1] * len(some),
            "version": ["0.1.0"] * len(some),
        }
        for name in ("recordings", "sessions"):
            schema = SCHEMAS[name]
            given = {field.name: columns.get(field.name, pa.nulls(len(some), field.type)) for field in schema}
            encoder = Encoder(name)
            encoder.add(pa.table(given, schema=schema))
            data = encoder.close()
            assert data is not None
            path, within = path_of(name, began.date().isoformat(), merged_name())
            lake.objects.put(path, data)
            table = lake.table(name)
            action = add_action(within, began.date().isoformat(), data)
            table.create_write_transaction([action], "append", table.schema(), [PARTITION])


def _id(at: datetime, chosen: Random) -> str:
    return str(UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | chosen.getrandbits(76)))


def cpu_seconds(*words: str) -> float:
    """Return the CPU time of a command of omnirecord."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "omnirecord", *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(url: str, work: Callable[[str], float]) -> float:
    return median(work(url) for _ in range(5))


def shipped(url: str) -> float:
    """Return the CPU time of shipping a recording that the lake lacks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.jsonl"
        head, *lines = CASSETTE.read_text().splitlines()
        values = json.loads(head)
        values["recordings"][0]["recording_id"] = _id(_FIRST, Random())
        path.write_text("\n".join([json.dumps(values), *lines, ""]))
        return cpu_seconds("ship", str(path), "--lake", url)


@click.command()
@click.option("--recordings", default=5_000_000, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Folder of the lakes (default: a temporary one).")
def main(recordings: int, folder: Path | None) -> None:
    """Compare a lake of many recordings with an empty one."""
    with tempfile.TemporaryDirectory() as temporary:
        for count in (0, recordings):
            lake = Lake(str((folder or Path(temporary)) / f"lake-{count}"))
            if not Path(lake.url).exists():
                lake.init()
                fill(lake, count)
                list(shorten_log(lake, ("recordings", "sessions")))
            found = {
                "ship": measured(lake.url, shipped),
                "lake sessions": measured(lake.url, lambda url: cpu_seconds("lake", "sessions", url)),
            }
            for what, took in found.items():
                click.echo(json.dumps({"recordings": count, "what": what, "cpu_s": round(took, 2)}))


if __name__ == "__main__":
    main()
