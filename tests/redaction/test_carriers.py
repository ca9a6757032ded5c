"""Every secret is found in each carrier: the same table and the same rules, wherever a text is recorded."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from itertools import groupby
from pathlib import Path

from omnirecord.cassette.open import open_store
from omnirecord.cassette.scrub import scrub
from omnirecord.redaction.content.patterns import beginnings
from omnirecord.redaction.redactor import Redactor, Scanner
from tests.cassette.test_scrub import saved
from tests.redaction.content.test_content import MASKED as PREFIXED
from tests.redaction.content.test_content import Disk, deltas, event, texts
from tests.redaction.content.test_fields import MASKED as NAMED
from tests.support.cassettes import Made
from tests.support.examples import each
from tests.support.secret_corpus import texts as corpus

SCANNER = Scanner()
SHORTEST = 3
"""Fewest characters of a secret, or of a part of one, whose absence shows something."""
TAIL = 8


def hidden(text: str, safe: str) -> list[str]:
    """The parts of `text` that `safe` masks."""
    pairs = zip(text, safe, strict=True)
    runs = [(masked, "".join(old for old, _ in run)) for masked, run in groupby(pairs, lambda pair: pair[0] != pair[1])]
    return [run for masked, run in runs if masked and len(run) >= SHORTEST]


@cache
def planted() -> dict[str, tuple[str, list[str]]]:
    """Texts with secrets, and the secrets in each."""
    of_kinds = {name: (text, [secret[-TAIL:]]) for name, (text, secret) in corpus().items()}
    of_forms = {name: (text, hidden(text, safe)) for name, (text, safe) in {**PREFIXED, **NAMED}.items()}
    return {name: one for name, one in {**of_kinds, **of_forms}.items() if one[1]}


def redactor() -> Redactor:
    return Redactor(b"key", SCANNER)


def in_json(text: str) -> bytes:
    return json.dumps({"id": 1, "text": text}).encode()


def body(data: bytes, size: int, *, coding: str | None = None) -> str:
    passing = redactor().body("application/json", coding)
    pieces = [passing.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join([*pieces, passing.close()]).decode("latin-1")


def gzip_body(text: str) -> str:
    return gzip.decompress(body(gzip.compress(in_json(text)), 1000, coding="gzip").encode("latin-1")).decode()


def message(text: str) -> str:
    safe = redactor()
    return safe.message(in_json(text), safe.texts()).decode()


def frames(*stream: bytes) -> str:
    return "".join(texts(Disk().feed(b"".join(stream))))


CARRIERS: dict[str, Callable[[str], str]] = {
    "a JSON body": lambda text: body(in_json(text), 1000),
    "a JSON body, a byte at a time": lambda text: body(in_json(text), 1),
    "a plain body": lambda text: body(text.encode(), 1000),
    "a gzip body": gzip_body,
    "a WebSocket message": message,
    "an event": lambda text: frames(event("x.delta", delta=text)),
    "deltas of one character": lambda text: frames(*deltas(*text)),
    "deltas of seven characters": lambda text: frames(*deltas(*(text[n : n + 7] for n in range(0, len(text), 7)))),
    "a header": lambda text: redactor().headers((("x-note", json.dumps(text)),))[0][1],
    "a line of a log": lambda text: redactor().text(text),
}


@each("carrier", CARRIERS)
def test_every_secret_is_found_in_each_carrier(carrier: str) -> None:
    assert len(planted()) > 250
    assert left(lambda name: CARRIERS[carrier](planted()[name][0])) == []


def left(kept: Callable[[str], str]) -> list[str]:
    return [name for name, (_, secrets) in planted().items() if any(secret in kept(name) for secret in secrets)]


def test_a_scrubbed_copy_has_no_secret_that_a_recorder_would_have_found(tmp_path: Path) -> None:
    tape = Made()
    for n, (text, _) in enumerate(planted().values()):
        tape.post("/v1/x", n, body=in_json(text), answer=in_json(text), sent=(("x-note", json.dumps(text)),))
        tape.stream("s", n, (n + 0.1, event("x", delta=text)), (n + 0.2, b"".join(deltas(*text))))
        tape.incident(n, text)
    scrub(saved(tape, tmp_path / "run.jsonl"), tmp_path / "copy.jsonl")

    kept = list(recorded(tmp_path / "copy.jsonl"))
    assert len(kept) == len(planted()) * 6
    for n, name in enumerate(planted()):
        assert not any(secret in one for one in kept[n :: len(planted())] for secret in planted()[name][1]), name
    assert scrub(tmp_path / "copy.jsonl", None) == []


def recorded(path: Path) -> Iterator[str]:
    """What a copy has of each text: first of all texts the request's body, then of all texts the next carrier."""
    with closing(open_store(path)) as store:
        exchanges = list(store.exchanges())
        posts = [x for x in exchanges if x.request.method == "POST"]
        streams = [[frame.raw or b"" for frame in store.frames(x)] for x in exchanges if x.request.method == "GET"]
        for side in ("request", "response"):
            yield from (store.body(x.exchange, side).decode() for x in posts)
        yield from (dict(x.request.headers)["x-note"] for x in posts)
        yield from (texts(first)[0] for first, *_ in streams)
        yield from ("".join(texts(b"".join(rest))) for _, *rest in streams)
        yield from (one.message for one in store.incidents())


def test_the_texts_have_every_kind_of_the_table() -> None:
    found = Counter(kind for text, _ in planted().values() for kind in kinds_in(text))

    assert {*beginnings()} - {*found, "own"} == set()
    assert sum(kind.startswith("field ") for kind in found) > 10


def kinds_in(text: str) -> Counter[str]:
    safe = redactor()
    assert not re.search(r"\*{3}", text)
    safe.text(text)
    return safe.counts
