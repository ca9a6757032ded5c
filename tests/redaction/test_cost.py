"""What masking costs, and how often it hits what is no secret: the figures of `docs/redaction.md`.

`python -m tests.redaction.test_cost [FOLDER...]` prints them.
"""

from __future__ import annotations

import json
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from omnirecord.cassette.scrub import scrub
from omnirecord.cassette.sqlite import Writer, rows
from omnirecord.model import Recording
from omnirecord.omnigent.contract import load
from omnirecord.recorder.frames import FrameMaker
from omnirecord.recorder.operations import Ended, Received, Requested, Responded
from omnirecord.recorder.rows import RowMaker
from omnirecord.redaction.content.scanner import PLAIN
from omnirecord.redaction.redactor import Redactor, Scanner
from tests.support.examples import a_third, each

CASSETTES = sorted((Path(__file__).parent.parent.parent / "cassettes").rglob("*.jsonl"))
EVENTS = 5000
BATCH = 250
TEXT = {*[".py", ".pyi", ".md", ".rst", ".txt", ".js", ".ts", ".json", ".html", ".css", ".toml", ".yaml", ".sh"]}
MOST = 16.0
"""How many times as long an event takes that is masked: twice what it was, so that a busy machine does not fail it."""


def event(n: int) -> bytes:
    """One as the real server sends it."""
    data = {"sequence_number": n, "type": "response.output_text.delta", "delta": " word", "message_id": None}
    return f"event: response.output_text.delta\ndata: {json.dumps({**data, 'index': None, 'final': None})}\n\n".encode()


def recorded(content: Scanner | None) -> float:
    """Seconds for each event, from its read to its row."""
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder) / "run.db")
        writer.write([rows.recording(Recording(1, "2026-01-01T00:00:00+00:00", "0", "omnigent", None))])
        row_maker = RowMaker(1, Redactor(b"key", content), FrameMaker(writer, 1, load("omnigent")))
        headers = (("content-type", "text/event-stream"),)
        writer.write(
            row_maker.rows([Requested(1, "client", 0, "GET", "/", ()), Responded(1, "sse", 1, 0, 200, "OK", headers)])
        )
        reads = [Received(1, n, n, len(data), data) for n in range(EVENTS) if (data := event(n))]
        began = time.process_time()
        for at in range(0, EVENTS, BATCH):
            writer.write(row_maker.rows(reads[at : at + BATCH]))
            row_maker.settle(writer.write)
            while row_maker.frames.behind:
                list(row_maker.frames.make())
        took = time.process_time() - began
        writer.write(row_maker.rows([Ended(1, EVENTS, "eof")]))
        writer.close()
    return took / EVENTS


def costs() -> tuple[float, float]:
    """Without and with masking: the best of three, taken in turns."""
    scanner = Scanner()
    runs = [(recorded(None), recorded(scanner)) for _ in range(3)]
    return min(off for off, _ in runs), min(on for _, on in runs)


def python(part: int = 1) -> Iterator[bytes]:
    """Python's language reference and one in `part` files of its standard library."""
    yield "\n".join(topics.values()).encode()
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py"))[::part]:
        if "site-packages" not in path.parts and "test" not in path.parts:
            yield path.read_bytes()


def files(folder: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in folder.rglob("*") if path.suffix in TEXT and path.is_file())


def hits(texts: Iterable[bytes]) -> tuple[int, int, Counter[str]]:
    """How many words and bytes these have, and what of them was taken for a secret."""
    scanner, found = Scanner(), Counter[str]()
    words = size = 0
    for text in texts:
        words, size = words + len(text.split()), size + len(text)
        found.update(span.kind for span in scanner.scan(PLAIN, text)[0] if span.begins)
    return words, size, found


@pytest.mark.slow
def test_masking_costs_no_more_than_is_said() -> None:
    off, on = costs()
    assert on / off < MOST


@pytest.mark.slow
def test_ordinary_text_and_code_are_left_alone(long: bool) -> None:
    words, _, found = hits(python(1 if long else 4))
    assert words > (500_000 if long else 200_000)
    assert sum(count for kind, count in found.items() if not kind.startswith("field ")) <= words / 100_000
    assert found.total() <= words / 20_000


@each("cassette", a_third(CASSETTES, 2))
def test_nothing_in_the_shipped_cassettes_is_taken_for_a_secret(cassette: Path) -> None:
    assert scrub(cassette, None) == []


@pytest.mark.parametrize("piece", ["é", "-a", "\\u0070a", "def save(token: Label, set: int) -> Value\n"])
def test_a_long_run_without_a_secret_is_searched_in_linear_time(piece: str) -> None:
    """The body of a program that escapes each letter of a prompt that is not English, and code with many names."""

    def cost(count: int) -> float:
        body = Redactor(b"key").body("application/json", None)
        data = json.dumps({"input": piece * (count // len(piece))}).encode()
        began = time.process_time()
        assert body.feed(data) + body.close() == data
        return time.process_time() - began

    cost(1000)
    assert cost(128_000) < 400 * max(cost(1000), 0.001)


if __name__ == "__main__":
    off, on = costs()
    print(f"{off * 1e6:.0f} us an event without, {on * 1e6:.0f} us with masking: {on / off:.1f} times")  # noqa: T201
    for name in ("Python", *sys.argv[1:]):
        words, size, found = hits(python() if name == "Python" else files(Path(name)))
        print(f"{name}: {found.total()} hits in {words} words ({size / 1e6:.1f} MB): {dict(found)}")  # noqa: T201
