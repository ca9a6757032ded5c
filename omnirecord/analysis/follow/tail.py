"""A recording followed, by its file or by the address of the proxy that makes it: rows as `events --json` prints them.

`file` looks at the cassette, `url` asks the proxy. `remarks` go to the person who follows: what is waited for, and why
nothing more comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ...errors import UsageError
from ...server.tls import File
from ..listing import Row
from . import LAST, Wanted
from .tail_file import rows_of_file
from .tail_url import Remote

Say = Callable[[str], None]

__all__ = ["LAST", "Wanted", "follow"]


def follow(
    source: str,
    wanted: Wanted,
    *,
    last: int = LAST,
    retry: bool = False,
    token: str | None = None,
    ca: File | None = None,
    say: Say,
    rest: Callable[[], None] = lambda: None,
) -> Iterator[Row]:
    """The `last` rows that are there, then each as it comes, until nobody records any more; with `retry` for ever.

    `source` is a path or a URL; a proxy may ask for `token`, and may have to be vouched for by `ca`. `say` takes a
    sentence for the person who follows. `rest` is called when there is nothing more just now.

    Raises `UsageError` or `CassetteError`.
    """
    say = _once(say)
    if source.startswith(("http://", "https://")):
        return Remote(source, wanted, last, token=token, ca=ca).rows(retry=retry, say=say, rest=rest)
    if ca is not None:
        raise UsageError(f"--ca is for a proxy with https, and {source} is a file")
    return rows_of_file(Path(source), wanted, last, retry=retry, say=say, rest=rest)


def _once(say: Say) -> Say:
    """Says nothing twice in a row. An empty sentence is not said, and what was said before it may be said again."""
    last = ""

    def said(sentence: str) -> None:
        nonlocal last
        if sentence and sentence != last:
            say(sentence)
        last = sentence

    return said
