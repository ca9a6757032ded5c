"""Text that is no cassette, or a broken one: refused with the number of the line, and nothing is changed by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.cassette.open import import_file, open_store
from omnirecord.errors import BrokenCassette, CassetteError, NewerCassette, NotACassette, UsageError
from tests.cassette.jsonl.test_jsonl import saved
from tests.support.examples import each

Lines = list[dict[str, Any]]


def first(lines: Lines, key: str) -> int:
    return next(n for n, line in enumerate(lines) if key in line)


def change(key: str, **values: Any) -> Callable[[Lines], int]:
    """Change the first line with that key; where the error is to be."""

    def apply(lines: Lines) -> int:
        at = first(lines, key)
        lines[at].update(values)
        return at + 1

    return apply


def twice(key: str) -> Callable[[Lines], int]:
    def apply(lines: Lines) -> int:
        at = first(lines, key)
        lines.insert(at + 1, lines[at])
        return at + 2

    return apply


def of_stream(key: str, value: Any) -> Callable[[Lines], int | None]:
    """Something that is only seen once the stream is complete."""

    def apply(lines: Lines) -> None:
        lines[first(lines, key)].update({key: value})

    return apply


def swapped(lines: Lines) -> int:
    at = first(lines, "raw")
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    return at + 1


BROKEN: dict[str, tuple[Callable[[Lines], int | None], str]] = {
    "an unknown kind of line": (lambda lines: lines.append({"what": 1}) or len(lines), "neither an exchange, a frame"),
    "a field that is missing": (lambda lines: lines[1].pop("party") and 2, "party: field required"),
    "an ending that is none": (change("request", ending="tired"), "ending: "),
    "a recording that is none": (change("request", recording=7), "recording 7 is not among those of line 1"),
    "a number that is too large": (change("request", exchange=2**63), "exchange: "),
    "a time that is too large": (change("message", at_ns=10**30), "at_ns: "),
    "a lone surrogate": (change("request", party="\ud800"), "party: "),
    "an exchange twice": (twice("request"), "exchange 1 is there twice"),
    "a message twice": (twice("message"), "message 0 is there twice"),
    "a stream that is no stream": (change("request", stream=4), "its kind is http, and its stream 4"),
    "frames out of order": (swapped, "seq is 2 where 1 follows"),
    "a frame twice": (twice("raw"), "seq is 1 where 2 follows"),
    "a frame of another stream": (change("raw", stream=9), "stream 9, whose exchange is not the last"),
    "a message of another exchange": (change("message", exchange=1), "exchange 1, which is not the last"),
    "base64 that is none": (change("message", data={"base64": "!"}), "not base64"),
    "a frame that is a number": (change("raw", raw=5), "raw: "),
    "a negative length": (change("raw", raw=None, length=-5), "length: "),
    "bytes that are missing": (of_stream("raw", "data: x\n\n"), "bytes in its frames, and"),
    "a read too many": (of_stream("reads", [[0, None, 10_000]]), "bytes in its frames, and 10000 in its reads"),
    "one frame that is two": (of_stream("raw", "x\n\n"), "stream 1 has"),
    "reads that are missing": (of_stream("reads", []), "and 0 in its reads"),
    "a start that is no time": (lambda lines: lines[0]["recordings"][0].update(started_at="once") or 1, "started_at"),
    "recordings that are none": (lambda lines: lines[0].update(recordings=7) or 1, "recordings: "),
}


@each("name", BROKEN)
def test_what_does_not_fit_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    _, text = saved(tmp_path)
    lines = [json.loads(line) for line in text.read_text().splitlines()]
    apply, says = BROKEN[name]
    number = apply(lines)
    text.write_text("".join(json.dumps(line) + "\n" for line in lines))

    where = r"line \d+" if number is None else f"line {number}"
    with pytest.raises(BrokenCassette, match=f"{where}: .*{says}"):
        open_store(text)


def test_a_coded_body_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    _, text = saved(tmp_path)
    lines = [json.loads(line) for line in text.read_text().splitlines()]
    (coded,) = (line for line in lines if line.get("stream") == 2 and "request" in line)
    coded["response"]["body"] = "gone"
    text.write_text("".join(json.dumps(line) + "\n" for line in lines))

    with pytest.raises(BrokenCassette, match="4 bytes in its body, and"):
        open_store(text)


def test_a_frame_that_its_bytes_do_not_make_is_refused(tmp_path: Path) -> None:
    _, text = saved(tmp_path)
    lines = [json.loads(line) for line in text.read_text().splitlines()]
    frame, following = (line for line in lines[first(lines, "raw") :][:2])
    frame["raw"], following["raw"] = frame["raw"] + following["raw"][:3], following["raw"][3:]
    text.write_text("".join(json.dumps(line) + "\n" for line in lines))

    with pytest.raises(BrokenCassette, match="frames where its bytes make"):
        open_store(text)


@each("line_17", [b'{"exchange": ', b"\xff", b"[]", b"", b"[" * 100_000])
def test_a_broken_line_17_names_line_17_and_changes_nothing(tmp_path: Path, line_17: bytes) -> None:
    db, text = saved(tmp_path)
    lines = text.read_bytes().splitlines()
    text.write_bytes(b"\n".join([*lines[:16], line_17, *lines[17:]]))
    before, new = db.read_bytes(), tmp_path / "new.db"

    for target in (db, new):
        with pytest.raises(BrokenCassette, match=r"a\.jsonl, line 17: "):
            import_file(text, target)
    assert db.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "a.jsonl"]


@each(
    ("content", "error", "says"),
    [
        (b"", NotACassette, "is empty"),
        (b"\n", NotACassette, "no cassette"),
        (b"hello\n", NotACassette, "no cassette"),
        (b"\xff\xfe\n", NotACassette, "no cassette"),
        (b"[1]\n", NotACassette, "no cassette"),
        (b'{"log": {}}\n', NotACassette, "no cassette"),
        (b'{"omnirecord": true}\n', NotACassette, "no cassette"),
        (b'{"omnirecord": "1"}\n', NotACassette, "no cassette"),
        (b'{"omnirecord": 0}\n', NotACassette, "no cassette"),
        (b'{"omnirecord": 2, "recordings": "in a way that we cannot know"}\n', NewerCassette, "upgrade omnirecord"),
    ],
)
def test_what_is_no_cassette_or_a_newer_one_is_refused(
    tmp_path: Path, content: bytes, error: type[CassetteError], says: str
) -> None:
    path, target = tmp_path / "a.jsonl", tmp_path / "new.db"
    path.write_bytes(content)

    with pytest.raises(error, match=says):
        open_store(path)
    with pytest.raises(error, match=says):
        import_file(path, target)
    assert path.read_bytes() == content
    assert not target.exists()


def test_a_directory_or_nothing_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        open_store(tmp_path)
    with pytest.raises(UsageError, match="is a directory"):
        import_file(saved(tmp_path)[1], tmp_path)
    with pytest.raises(NotACassette, match="does not exist"):
        open_store(tmp_path / "none.jsonl")


def test_keys_that_are_not_known_are_ignored(tmp_path: Path) -> None:
    _, text = saved(tmp_path)
    lines = [json.loads(line) | {"later": [1]} for line in text.read_text().splitlines()]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(line) + "\r\n" for line in lines))

    with closing(open_store(text)) as one, closing(open_store(tmp_path / "b.jsonl")) as other:
        assert one.exchanges() == other.exchanges()
