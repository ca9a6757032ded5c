"""Where a test's cassette is. Pure.

`<cassettes>/<module>/<test>.jsonl`, as pytest-recording has it; two tests never share one unless they name it. What
is not fit for a file's name is replaced, and a hash of the whole name keeps apart what then looks the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from os.path import relpath
from pathlib import Path

from ..errors import UsageError

FOLDER = "cassettes"
_UNFIT = re.compile(r"[^A-Za-z0-9_.\[\]-]+")
_LONGEST = 100
_LIKE_HASHED = re.compile(r"-[0-9a-f]{8}\Z")


def cassettes_folder(configured: Path | None, module: Path) -> Path:
    """The folder of all cassettes: `cassettes` beside the test's file, unless configured."""
    return configured or module.parent / FOLDER


def cassette_path(folder: Path, named: str | None, module: Path, names: Sequence[str]) -> Path:
    """The cassette of the test whose classes and function are `names`, in the file `module`."""
    if named is not None:
        return folder / named
    parts = Path(relpath(module.with_suffix(""), folder.parent)).parts
    return folder.joinpath(*map(_fit, parts), f"{_fit('.'.join(names[:-1]), names[-1])}.jsonl")


def failed_path(path: Path) -> Path:
    """Where the recording of a failed test is kept: `NAME.failed.jsonl` beside `NAME.jsonl`."""
    return path.with_name(f"{path.stem}.failed{path.suffix}")


def checked_for_recording(path: Path) -> Path:
    """A path whose suffix says which form of a cassette to write. Raises `UsageError`."""
    if path.suffix not in (".jsonl", ".db"):
        raise UsageError(f"{path} cannot be recorded: name it .jsonl, for git and review, or .db")
    return path


def _fit(name: str, last: str = "") -> str:
    """`name` and `last`, joined by a dot, as the name of a file that no other pair has, also where case is ignored."""
    whole = ".".join(filter(None, (name, last)))
    fit = _UNFIT.sub("_", whole)[:_LONGEST]
    is_plain = fit == whole and last == last.lower() and not _LIKE_HASHED.search(whole) and whole.strip(".") == whole
    return (
        fit
        if is_plain
        else f"{fit.strip('.') or '_'}-{sha256(whole.encode(errors='backslashreplace')).hexdigest()[:8]}"
    )
