"""How a lake's queries and `lake get` grow, from 10^5 to 10^7 events, as a picture.

    python -m benchmarks.lake_growth --folder /tmp/growth --picture docs/pictures/lake-growth.svg

Each lake is grown by `benchmarks.grown_lake` from the shipped cassettes, in recordings of 50,000 events, and measured
before and after `lake compact`. A time is the median of three runs, each in a process of its own, without its start-up.
10^7 events take about three minutes and 500 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from statistics import median

import click

from .svg import Points, chart, stacked

SIZES = (100_000, 1_000_000, 10_000_000)
PER_RECORDING = 50_000
QUERIES = {
    "finding since a day": (
        "SELECT session_id, count(*) FROM findings WHERE code = 'runner-disconnected' AND day >= DATE '2026-11-02'"
        " GROUP BY session_id"
    ),
    "p95 first token": (
        "SELECT t.model, r.server_version, quantile_cont(t.first_token_s, 0.95) FROM turns t"
        " JOIN recordings r USING (recording_id) GROUP BY ALL"
    ),
    "drift by day": "SELECT day, type, problem, sum(count) FROM problems GROUP BY ALL",
    "any text in any event": "SELECT count(*) FROM events WHERE raw LIKE '%heartbeat%'",
}
"""The queries of the picture, by name."""
COMPACTED = "after lake compact"
STATES = ("recordings as shipped", COMPACTED)
_LONGEST = "SELECT session_id FROM sessions ORDER BY events DESC, session_id LIMIT 1"


def timed_query(url: str, sql: str) -> float:
    """Return the seconds of a query on a new connection."""
    from omnirecord.lake.location import Lake
    from omnirecord.lake.query import LakeQuery

    begun = time.perf_counter()
    with LakeQuery(Lake(url)) as query:
        for _ in query.run(sql).rows:
            pass
    return time.perf_counter() - begun


def timed_get(url: str, session: str) -> float:
    """Return the seconds of `lake get`."""
    from omnirecord.cli import lake  # noqa: F401  # start-up is not measured
    from omnirecord.cli import main as command
    from omnirecord.lake import get, query  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        words = ["lake", "get", url, session, "-o", str(Path(folder) / "one.db"), "--json"]
        with redirect_stdout(StringIO()):
            begun = time.perf_counter()
            with suppress(SystemExit):
                command(words, standalone_mode=False)
            return time.perf_counter() - begun


def timed_sessions(url: str, code: str) -> float:
    """Return the seconds of `lake sessions` with a finding since a day, as a table."""
    from omnirecord.analysis.doctor import checks  # noqa: F401  # start-up is not measured
    from omnirecord.cli import lake  # noqa: F401
    from omnirecord.cli import main as command
    from omnirecord.lake import sessions  # noqa: F401

    with redirect_stdout(StringIO()):
        begun = time.perf_counter()
        command(["lake", "sessions", url, "--finding", code, "--since", "2026-11-02"], standalone_mode=False)
        return time.perf_counter() - begun


def seconds(function: Callable[[str, str], float], url: str, what: str) -> float:
    """Return the median of three runs, each in a process of its own, without pandas as in `omnirecord.__main__`."""
    program = (
        "import sys; from omnirecord.__main__ import WithoutPandas; sys.meta_path.insert(0, WithoutPandas);"
        f" from benchmarks.lake_growth import *; print({function.__name__}(*sys.argv[1:]))"
    )
    found = [_output([sys.executable, "-c", program, url, what]).split()[-1] for _ in range(3)]
    return median(map(float, found))


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _omnirecord(*words: str) -> str:
    return _output([sys.executable, "-m", "omnirecord", *words])


def measured(url: str) -> Iterator[tuple[str, float]]:
    """Yield each query, `lake sessions`, and `lake get` of the longest session, with its time in seconds."""
    for name, sql in QUERIES.items():
        yield name, seconds(timed_query, url, sql)
    yield "lake sessions", seconds(timed_sessions, url, "runner-disconnected")
    (row, *_) = _omnirecord("lake", "sql", url, _LONGEST, "--json").splitlines()
    yield "lake get", seconds(timed_get, url, json.loads(row)["session_id"])


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Folder of the lakes (default: a temporary one).")
@click.option("--events", "sizes", type=int, multiple=True, help="Sizes of lakes, in events; repeatable.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="SVG file to write.")
def main(folder: Path | None, sizes: tuple[int, ...], picture: Path | None) -> None:
    """Grow lakes, measure them, and draw the times."""
    series: dict[str, dict[str, list[tuple[float, float]]]] = {state: {} for state in STATES}
    with tempfile.TemporaryDirectory() as temporary:
        for events in sizes or SIZES:
            url = str((folder or Path(temporary)) / f"lake-{events}")
            recordings, each = max(1, events // PER_RECORDING), min(events, PER_RECORDING)
            if not Path(url).exists():
                _output(
                    [
                        sys.executable,
                        "-m",
                        "benchmarks.grown_lake",
                        url,
                        "--recordings",
                        str(recordings),
                        "--events",
                        str(each),
                    ]
                )
            for state in STATES:
                if state == COMPACTED:
                    _omnirecord("lake", "compact", url)
                for name, took in measured(url):
                    series[state].setdefault(name, []).append((events, took))
                    click.echo(json.dumps({"events": events, "state": state, "what": name, "seconds": round(took, 4)}))
    if picture is not None:
        picture.write_text(drawn(series))


def drawn(series: Mapping[str, Mapping[str, Points]]) -> str:
    """Return the picture: a chart for each state of the lakes. `series`: seconds by events, of each query."""
    return stacked(
        [
            chart(f"Queries and lake get as a lake grows: {state}", "events in the lake", "seconds", of)
            for state, of in series.items()
        ]
    )


if __name__ == "__main__":
    main()
