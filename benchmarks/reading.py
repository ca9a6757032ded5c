"""What reading costs, by the size of the cassette: commands beside a plain program that decodes each event once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from .measure import Benchmark, Contender, Figures, Metric, Settings

SHIPPED = Path(__file__).parent.parent / "cassettes" / "turns.jsonl"
SIZES = (1_000, 10_000, 100_000)
"""Events of the cassettes, about."""
COMMANDS = {
    "ls": "ls {db}",
    "show": "show {db}",
    "doctor": "doctor {db} --json",
    "stats": "stats {db} --json",
    "validate": "validate {db} --json",
    "events": "events {db} --json",
    "export": "export {db} --format jsonl -o {out}",
    "search, first": "search {db} tide",
    "search, again": "search {db} tide",
}
PLAIN = """
import json, sys
for line in open(sys.argv[1]):
    frame = json.loads(line)
    if isinstance(frame.get("raw"), str):
        for field in frame["raw"].split("\\n"):
            if field.startswith("data: {"):
                json.loads(field[6:])
"""
"""The reference: each line of the `.jsonl`, and each event in it, is decoded."""


@cache
def cassette(events: int, folder: Path) -> tuple[Path, Path, int]:
    """A cassette of the shipped session, under other names, as often as it takes: `.db`, `.jsonl`, how many events."""
    made = Path(tempfile.mkdtemp(dir=folder))
    text, db = made / "many.jsonl", made / "many.db"
    lines = SHIPPED.read_text().splitlines()
    a_copy = sum('"seq"' in line for line in lines)
    copies = max(1, round(events / a_copy))
    with text.open("w") as out:
        out.writelines(f"{line}\n" for line in repeated(lines, copies))
    subprocess.run([sys.executable, "-m", "omnirecord", "import", str(text), "--db", str(db)], check=True, stdout=-3)
    return db, text, copies * a_copy


def repeated(lines: list[str], copies: int) -> Iterator[str]:
    """The lines of a cassette with one recording of one session, followed by that session again and again."""
    yield lines[0]
    rows = [json.loads(line) for line in lines[1:]]
    exchanges = max(row.get("exchange", 0) for row in rows)
    streams = max(row.get("stream") or 0 for row in rows)
    lasts = max(row["response"]["end_ns"] for row in rows if row.get("response")) + 1_000_000_000
    ids = set(re.findall(r"\b[0-9a-f]{32}\b", "\n".join(lines)))
    named = re.compile("|".join(sorted(ids)))
    for copy in range(copies):
        names = {name: hashlib.md5(f"{name}{copy}".encode()).hexdigest() for name in ids}
        for row in rows:
            line = json.dumps(moved(row, copy * exchanges, copy * streams, copy * lasts), ensure_ascii=False)
            yield named.sub(partial(_other_name, names), line)


def _other_name(names: dict[str, str], found: re.Match[str]) -> str:
    return names[found[0]]


def moved(row: dict, exchanges: int, streams: int, ns: int) -> dict:  # type: ignore[type-arg]
    """A row under other numbers, and later."""
    made = dict(row)
    for key, by in (("exchange", exchanges), ("stream", streams)):
        if made.get(key) is not None:
            made[key] += by
    for side in ("request", "response"):
        if made.get(side):
            made[side] = {k: v + ns if k.endswith("_ns") and v is not None else v for k, v in made[side].items()}
    if "at_ns" in made:
        made |= {key: made[key] + ns for key in ("at_ns", "sent_ns") if made.get(key) is not None}
    if "reads" in made:
        made["reads"] = [[at + ns, sent and sent + ns, size] for at, sent, size in made["reads"]]
    return made


def contenders(events: int, settings: Settings) -> list[Contender]:
    made = [Contender("plain json", partial(read, "", events, settings))]
    return [
        *made,
        *(Contender(f"omnirecord {name}", partial(read, name, events, settings), ("plain json",)) for name in COMMANDS),
    ]


def read(name: str, events: int, settings: Settings, faults: list[str]) -> Figures:
    """One command on such a cassette, in a process of its own."""
    db, text, count = cassette(events, settings.folder)
    if name == "search, first":
        Path(f"{db}-search").unlink(missing_ok=True)
    elif name == "search, again":
        spent([*OURS, "search", str(db), "tide"])
    words = COMMANDS[name].format(db=db, out=db.parent / "out").split() if name else []
    code, seconds, peak = spent([*OURS, *words] if name else [sys.executable, "-c", PLAIN, str(text)])
    if code not in (0, 1):  # 1: it found something
        faults.append(f"exit code {code}")
    ours = {"memory": peak} if name else {}  # what a small process held is not known: it begins with what we hold
    return {"time": seconds, "an event": seconds * 1e6 / count, **ours}


OURS = [sys.executable, "-m", "omnirecord"]


def spent(command: list[str]) -> tuple[int, float, float]:
    """Exit code, processor seconds, and MiB at the most; its output is thrown away."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


BENCHMARKS = tuple(
    Benchmark(
        f"reading-{events}",
        f"commands on a cassette of {events:,} events, sessions of a hundred each; processor time",
        (Metric("time", "s"), Metric("memory", "MiB")),
        partial(contenders, events),
    )
    for events in SIZES
)
