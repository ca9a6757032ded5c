"""Applies a function of the user to each exchange of a closed cassette: `record(before_record=…)`.

An exchange is written while it is in progress, so the function is called at the end of the recording. Then the cassette
is written again, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

from ..cassette.export import write_lines
from ..cassette.jsonl import encoded, values
from ..cassette.open import open_store
from ..errors import UsageError

Value = dict[str, Any]
Hook = Callable[[Value], Value | None]


def apply(hook: Hook, db: Path, first: int) -> None:
    """Call `hook` with each exchange of the recordings from number `first` on, and write what it returns.

    An exchange is the object of the text form; it is left out if `hook` returns None. Raises `UsageError` for another
    result, `CassetteError` for an invalid one, and the errors of `hook`; then the cassette is unchanged."""
    with closing(open_store(db)) as store:
        lines = encoded(_chosen(hook, values(store, will_change=True), first))
        write_lines(lines, db, is_text=False, is_compressed=False, pseudonyms=store.pseudonyms_of())


def _chosen(hook: Hook, lines: Iterable[Value], first: int) -> Iterator[Value]:
    """Yield the lines of a text form without those of the exchanges that are left out."""
    is_kept = True
    for value in lines:
        if "request" not in value:
            if is_kept or "incident" in value or "recordings" in value:
                yield value
            continue
        returned = hook(deepcopy(value)) if value["recording"] >= first else value
        is_kept = returned is not None
        if returned is not None:
            yield _checked(returned, value)


def _checked(returned: Value, value: Value) -> Value:
    """Return an exchange from `hook`. Raises `UsageError` if it is none, or another one."""
    if not isinstance(returned, dict):
        raise UsageError(f"before_record returns an exchange or None, not {returned!r}")
    fixed = ("exchange", "recording", "kind", "stream")
    if any(returned.get(name) != value[name] for name in fixed):
        raise UsageError(f"before_record may not change {', '.join(fixed)}: return the exchange that it got, or None")
    return returned
