"""What cutting, reading and judging an event costs, and nothing else: processor time, no socket, no file.

    python -m benchmarks.judging [--rounds 9]

Each row is one way for events to come; the median of the rounds with the least and the most, which are interleaved, so
that a busy moment of the machine is in all rows. What a recorder asks of a frame is asked: its bytes, its length, its
verdict, type and issues. For a comparison, run it with the `PYTHONPATH` of another checkout.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

from omnirecord.cassette.framing import Framer
from omnirecord.omnigent.contract import load
from omnirecord.wire.sse import Parser

READ = 64 * 1024
TYPE = b"response.output_text.delta"
DELTA = (
    b'event: %s\ndata: {"type":"%s","sequence_number":%d,"item_id":"msg_1","output_index":0,"content_index":0,'
    b'"delta":"tok %d"}\n\n'
)
ODD = b'event: %s\ndata: {"type":"%s","n%d":1,"sequence_number":7,"output_index":0,"content_index":0,"delta":"t"}\n\n'
LONG = b'event: %s\ndata: {"type":"%s","sequence_number":1,"delta":"%s"}\n\n'


def main() -> None:
    asks = argparse.ArgumentParser(prog="python -m benchmarks.judging")
    asks.add_argument("--rounds", type=int, default=9)
    asks.add_argument("--events", type=int, default=20_000)
    chosen = asks.parse_args()
    cases = _cases(chosen.events)
    costs: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(chosen.rounds):
        for name, (events, run) in cases.items():
            began = time.process_time()
            run()
            costs[name].append((time.process_time() - began) / events * 1e6)
    for name, found in costs.items():
        spread = f"{min(found):.2f} to {max(found):.2f}"
        sys.stdout.write(f"{name:<44}{statistics.median(found):10.2f} µs an event ({spread})\n")


def _cases(n: int) -> dict[str, tuple[int, Callable[[], None]]]:
    """What is measured: how many events it has, and the work."""
    events = [DELTA % (TYPE, TYPE, i, i) for i in range(n)]
    deltas = b"".join(events)
    few = max(2, n // 1000)
    return {
        "cut only, reads of 64 KiB": (n, partial(_cut, _reads(deltas))),
        "150 B, reads of 64 KiB, omnigent": (n, partial(_judge, _reads(deltas), "omnigent")),
        "150 B, reads of 64 KiB, documented": (n, partial(_judge, _reads(deltas), "documented")),
        "150 B, an event a read": (n, partial(_judge, events, "omnigent")),
        "150 B, lines that end in CRLF": (n, partial(_judge, _reads(deltas.replace(b"\n", b"\r\n")), "omnigent")),
        "150 B, each with names of its own": (
            n,
            partial(_judge, _reads(b"".join(ODD % (TYPE, TYPE, i) for i in range(n))), "omnigent"),
        ),
        "comments, one a read": (n, partial(_judge, [b": ping\n\n"] * n, "omnigent")),
        "10 KB, reads of 64 KiB": (
            10 * few,
            partial(_judge, _reads(LONG % (TYPE, TYPE, b"x" * 10_000) * (10 * few)), "omnigent"),
        ),
        "1 MiB, reads of 64 KiB": (few, partial(_judge, _reads(LONG % (TYPE, TYPE, b"x" * 2**20) * few), "omnigent")),
    }


def _reads(body: bytes) -> list[bytes]:
    return [body[at : at + READ] for at in range(0, len(body), READ)]


def _cut(reads: list[bytes]) -> None:
    parser = Parser()
    for read in reads:
        for frame in parser.feed(read):
            assert frame.raw is not None


def _judge(reads: list[bytes], contract: str) -> None:
    framer = Framer(None, load(contract))
    for n, read in enumerate(reads):
        for one in framer.feed(n, read):
            frame, judgement = one.frame, one.judgement
            assert len((frame.raw, frame.length, judgement.verdict, judgement.type, judgement.issues)) == 5


if __name__ == "__main__":
    main()
