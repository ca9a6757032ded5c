"""What the page is to show: one cassette, or two brought together in one that is removed afterwards; and where."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlencode

from ..cassette.open import brought_together, open_store
from ..cassette.select import named_session, the_session
from ..cassette.temporary import TemporaryFolder
from .data.keys import Key


class Shown:
    """Each of the two may name a session, as `CASSETTE#SESSION`; two sessions of one cassette need no second one.

    `files`: where there are two, of which each recording is; `place`: what the page opens with, as it stands behind the
    `#` of an address. Raises `UsageError` or `CassetteError`.
    """

    def __init__(self, a: str | Path, b: str | Path | None = None) -> None:
        self._folder: TemporaryFolder | None = None
        self.files: dict[int, str] = {}
        path, session = named_session(a)
        other, second = (None, None) if b is None else named_session(b)
        self.path = path
        if other is not None and not (other == path and session and second):
            self._together(path, other)
        names: list[str | None] = [*dict.fromkeys(self.files.values())] or [None]
        try:
            keys = self._key(path, session, names[0]), self._key(other or path, second, names[-1])
        except BaseException:
            self.close()
            raise
        self.place = _place(*keys, are_two=b is not None)

    def _together(self, a: Path, b: Path) -> None:
        self._folder = TemporaryFolder("ui")
        self.path = Path(self._folder.name) / "both.db"
        try:
            of = brought_together([a, b], self.path)
        except BaseException:
            self.close()
            raise
        self.files = {recording: _names(a, b)[place] for recording, place in of.items()}

    def _key(self, source: Path, session: str | None, name: str | None) -> str | None:
        """How the page calls the session of `source` that has this id, or one that begins so."""
        if session is None:
            return None
        with closing(open_store(source)) as store:
            wanted = the_session(store, session)
        with closing(open_store(self.path)) as store:
            found = [x.recording for x in store.exchanges("session_id = ?", wanted)]
        return str(Key(next(one for one in found if self.files.get(one) == name), wanted))

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _names(a: Path, b: Path) -> tuple[str, str]:
    """By which a person tells them apart."""
    if a.name != b.name:
        return a.name, b.name
    return (str(a), str(b)) if a != b else (str(a), f"{b} (again)")


def _place(a: str | None, b: str | None, *, are_two: bool) -> str:
    if are_two:
        asked = {name: key for name, key in (("a", a), ("b", b)) if key is not None}
        return "#/compare" + (f"?{urlencode(asked)}" if asked else "")
    return "" if a is None else f"#/session/{quote(a, safe='')}"
