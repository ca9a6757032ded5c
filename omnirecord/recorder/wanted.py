"""Which requests a recorder writes to its cassette, by their paths."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from ..errors import UsageError
from ..omnigent.routes import path_of


class Wanted:
    """`only` and `excluded`: globs of paths. A request is recorded if its path matches one of `only`, or if there are
    none, and none of `excluded`. Raises `UsageError` for a glob that matches no path."""

    def __init__(self, only: Iterable[str] = (), excluded: Iterable[str] = ()) -> None:
        self._only = [_checked("--only", glob) for glob in only]
        self._excluded = [_checked("--except", glob) for glob in excluded]

    def has(self, target: str) -> bool:
        """Return whether a request with this target is recorded."""
        if not self._only and not self._excluded:
            return True
        path = path_of(target)
        if any(fnmatchcase(path, glob) for glob in self._excluded):
            return False
        return not self._only or any(fnmatchcase(path, glob) for glob in self._only)


def _checked(option: str, glob: str) -> str:
    if not glob.startswith(("/", "*", "?", "[")):
        raise UsageError(f"{option} {glob!r} matches no path, since each begins with /: write for instance '/{glob}'")
    if "?" in glob and "=" in glob:
        raise UsageError(f"{option} {glob!r} has a query, and only paths are compared: leave out the query")
    return glob
