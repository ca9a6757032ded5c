"""A copy of a cassette that is safe to share, or what would be replaced in it.

The copy is made new from what the cassette says, in either form; of its file, its log and its freed pages nothing is
taken over, nor is the key of its pseudonyms or its search index.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...redaction.content.patterns import PSEUDONYM
from ...redaction.content.scanner import PLAIN
from ...redaction.pseudonyms import File, user_key
from ...redaction.redactor import Redactor, Scanner, content_scanner
from ...text import dumps
from ..compressed import named, packed
from ..files import itself, put, room_for, temporary, unwritable, whole_or_not
from ..jsonl import Reader, values
from ..open import contract_or_default, open_store, refuse_to_overwrite
from ..select import named_session, the_session, with_children
from ..sqlite import Store, Writer, is_database, is_packed
from ..sqlite.compressed import content
from ..sqlite.schema import clear_errors
from ..sqlite.search_index import remove_index
from ..temporary import TemporaryFolder
from .lines import Leak, Scrubber

__all__ = ["Leak", "scrub"]

Watch = Callable[[Iterable[Any]], Iterator[Any]]
"""Passes on what it is given, and shows how far it is."""
Token = tuple[str, bytes]
_ROWS = 5000
_PIECE = 1 << 20
_SHORTEST = 6
"""The least of a named secret that is told in free space, in bytes."""
_COOKIES = ("field cookie", "field set-cookie")
"""Their values have other parts beside the pseudonyms. A row that a killed recorder did not commit is no text that the
cassette says, so nothing else tells that its cookies are replaced."""
_BESIDE = ("-wal", "-shm", "-journal", "-lock")


def scrub(
    cassette: str | Path,
    output: str | Path | None,
    *,
    redact: str = "content",
    redact_patterns: Iterable[str] = (),
    pseudonym_key: File | None = None,
    watch: Watch = iter,
) -> list[Leak]:
    """Write a copy of `cassette` without secrets to `output` (a `.db`, a `.jsonl`, either with `.zst`, else as the
    cassette is); return what was replaced, by place. Without an `output`, only what would be.

    `redact`: `content`, or `named` for those alone that have a secret's name. `pseudonym_key`: the file of the key that
    the recorder used, by default the user's own. Of `CASSETTE#SESSION` only that session and its sub-agents are copied.
    Raises `UsageError` or `CassetteError`.
    """
    source, session = named_session(cassette)
    scanner = content_scanner(None if redact == "named" else redact, redact_patterns)
    target = None if output is None else _usable(Path(output), source)
    found: list[Leak] = []
    store = open_store(source)
    try:
        if store.pseudonym_key() is not None:
            found.append(Leak("cassette", "pseudonym key", 1))
        key = _key_of(store, pseudonym_key) if target is not None else b""
        scrubber = Scrubber(Redactor(key, scanner), found.append)
        sessions = None if session is None else with_children(store, the_session(store, session))
        lines = (f"{dumps(value)}\n".encode() for value in scrubber.scrubbed(watch(values(store, sessions))))
        if target is not None:
            _write(lines, target, source)
            return found
        said = Counter(_tokens(scanner, lines))
    finally:
        store.close()
    return found or ([] if session is not None else list(_in_free_space(source, scanner, said, watch)))


def _key_of(store: Store, named: File | None) -> bytes:
    """The key of the cassette's pseudonyms; one for this copy alone where the cassette does not say which."""
    inside, derived = store.pseudonym_key(), store.pseudonyms_of()
    if inside is not None:
        return inside
    return os.urandom(32) if derived is None else user_key(named).of(derived[0])


def _usable(output: Path, source: Path) -> Path:
    refuse_to_overwrite(output, source)
    file = itself(output)
    for end in _BESIDE:
        beside = file.with_name(file.name + end)
        if not output.exists() and beside.exists():
            raise UsageError(f"{beside} is left there by another cassette: remove it, or choose another --output")
    return output


def _write(lines: Iterator[bytes], target: Path, source: Path) -> None:
    is_text, is_compressed = _form(target, source)
    if not is_text:
        _write_database(lines, target, is_compressed=is_compressed)
    else:
        with whole_or_not(target) as file:
            file.writelines(packed(lines) if is_compressed else lines)
    remove_index(target)  # of another cassette of that name


def _form(target: Path, source: Path) -> tuple[bool, bool]:
    """Whether it is to be text, and whether compressed: as its name says, else as the cassette is."""
    suffix, is_compressed = named(target)
    if suffix in (".db", ".jsonl"):
        return suffix == ".jsonl", is_compressed
    return not is_database(source), is_compressed or is_packed(source)


def _write_database(lines: Iterator[bytes], target: Path, *, is_compressed: bool) -> None:
    folder = room_for(target)
    try:
        place = TemporaryFolder("scrub", folder)
    except OSError as error:
        raise UsageError(unwritable(target if folder is not None else temporary(), error)) from error
    with place as name:
        made = Path(name) / "copy.db"
        rows = Reader("the copy", contract_or_default).rows(lines)
        with clear_errors(target), closing(Writer(made, named=target)) as writer:
            while some := list(islice(rows, _ROWS)):
                writer.write(some)
            writer.settle()
        if is_compressed:
            with whole_or_not(target) as file:
                file.writelines(packed(_pieces(made)))
        else:
            put(made, target)


def _in_free_space(source: Path, scanner: Scanner | None, said: Counter[Token], watch: Watch) -> Iterator[Leak]:
    """What is in a database's file or log and not in what it says. In its bytes nothing tells which text a string
    belongs to, so what is no secret where it is said (`ta`, then `sk-1`) is none there. A port
    of a URL is not told from a password where the next row begins behind it."""
    if scanner is None or not is_database(source):
        return
    counts: Counter[str] = Counter()
    for path in (source, source.with_name(source.name + "-wal")):
        for kind, text in _tokens(scanner, watch(_pieces(path))) if path.exists() else ():
            known = (kind, text) in said or any(other.startswith(text) for _, other in said)
            known = known or kind == "url" or (kind.startswith("field ") and not _may_be_value(text))
            known = known or (kind in _COOKIES and PSEUDONYM in text)
            counts[kind] += not known
    yield from (Leak("free space", kind, count) for kind, count in sorted((+counts).items()))


def _may_be_value(text: bytes) -> bool:
    """Whether that is a value, and not the beginning of the next row behind a `token=` at the end of one."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return len(text.lstrip(b"*")) >= _SHORTEST


def _tokens(scanner: Scanner | None, pieces: Iterable[bytes]) -> Iterator[Token]:
    """What looks like a secret in these bytes, whatever they are, by kind."""
    state = PLAIN
    for piece in pieces:
        if scanner is not None:
            spans, state = scanner.scan(state, piece)
            yield from ((span.kind, piece[span.start : span.end]) for span in spans if span.begins)


def _pieces(path: Path) -> Iterator[bytes]:
    if is_packed(path):
        yield from content(path)
        return
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
