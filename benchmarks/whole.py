"""Whether a recording is whole: a figure counts only if it is."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import omnirecord
from omnirecord.omnigent.routes import session_of

from .errors import Unusable
from .load import Received, Shape, check

PENDING = "SELECT (SELECT coalesce(sum(pending_bytes), 0) FROM streams) + (SELECT count(*) FROM journal)"
"""The view for people says what has no verdict yet; what readers tell would not do, since they make up for it."""


def faults_of(db: Path, shape: Shape, received: Received, first: int) -> Iterator[str]:
    """What is missing of the streams `bench-FIRST` and on, or was never sent: nothing, one hopes."""
    with omnirecord.open_cassette(db) as cassette:
        yield from dict.fromkeys(f"incident: {incident.message}" for incident in cassette.incidents())
        bodies = {session_of(stream.exchange.request.target): stream for stream in cassette.streams()}
        numbers = {name: stream.number for name, stream in bodies.items()}
        for place, sent in enumerate(received.hashes):
            name = f"bench-{first + place}"
            if name not in numbers:
                yield f"{name} was not recorded"
                continue
            is_long = shape.events * shape.size > 16 << 20
            body = exported(db, numbers[name]) if is_long else [bodies[name].body()]
            found = check(body, shape)
            if not found.exact or found.hash != sent:
                yield f"{name} is not what was sent: {found}"
    yield from verdict_faults(db, shape, len(received.hashes), first)


def verdict_faults(db: Path, shape: Shape, streams: int, first: int) -> Iterator[str]:
    """Every event of these streams has its verdict, and that is `valid`."""
    done = subprocess.run(
        [sys.executable, "-m", "omnirecord", "ls", str(db), "--streams", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {session_of(row["path"]): row["verdicts"] for row in map(json.loads, done.stdout.splitlines())}
    for number in range(first, first + streams):
        found = {name: count for name, count in rows.get(f"bench-{number}", {}).items() if count}
        if found != {"valid": shape.events, "sentinel": 1}:
            yield f"verdicts of bench-{number}: {found}"


def pending(db: Path) -> int:
    """Bytes that have no verdict yet, in the file as it is."""
    reader = sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=5)
    try:
        return int(reader.execute(PENDING).fetchone()[0])
    except sqlite3.OperationalError as error:
        raise Unusable(f"the view streams does not say what has no verdict yet: {error}") from error
    finally:
        reader.close()


def exported(db: Path, stream: int) -> Iterator[bytes]:
    """A body as `omnirecord export` writes it."""
    command = [sys.executable, "-m", "omnirecord", "export", str(db), "--format", "sse", "--stream", str(stream)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(1 << 20):
            yield piece


def size(folder: Path) -> int:
    """Bytes of all files in it."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
