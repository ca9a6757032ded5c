"""Writes the lines of a text form as a new cassette: a database or text, compressed or not."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path

from ..errors import UsageError
from ..text import dumps
from .compressed import packed
from .files import folder_for, itself, put, whole_or_not
from .jsonl import Line, Reader
from .open import contract_or_default
from .sqlite import Writer
from .sqlite.schema import clear_errors
from .sqlite.search_index import remove_index

_ROWS = 5000
"""Rows per transaction."""
_PIECE = 1 << 20
_BESIDE = ("-wal", "-shm", "-journal", "-lock")


def refuse_leftovers(output: Path) -> None:
    """Raise `UsageError` if files of another database would belong to a new `output`."""
    file = itself(output)
    for end in _BESIDE:
        beside = file.with_name(file.name + end)
        if not output.exists() and beside.exists():
            raise UsageError(f"{beside} is left over from another cassette: remove it, or choose another --output")


def write_lines(lines: Iterable[Line], target: Path, *, is_text: bool, is_compressed: bool) -> None:
    """Write a cassette, whole or not at all. Raises `UsageError` or `CassetteError`."""
    if not is_text:
        _write_database(lines, target, is_compressed=is_compressed)
    else:
        texts = (one if isinstance(one, bytes) else f"{dumps(one)}\n".encode() for one in lines)
        with whole_or_not(target) as file:
            file.writelines(packed(texts) if is_compressed else texts)
    remove_index(target)  # the index of an earlier cassette of that name


def _write_database(lines: Iterable[Line], target: Path, *, is_compressed: bool) -> None:
    with folder_for(target, "copy") as name:
        made = Path(name) / "copy.db"
        rows = Reader("the copy", contract_or_default).rows(lines)
        with clear_errors(target), closing(Writer(made, named=target)) as writer:
            while some := list(islice(rows, _ROWS)):
                writer.write(some)
            writer.settle()
        if not is_compressed:
            put(made, target)
            return
        with whole_or_not(target) as file, made.open("rb") as database:
            file.writelines(packed(iter(lambda: database.read(_PIECE), b"")))
