"""Which session or stream somebody means. Raises `UsageError` with those that there are."""

from __future__ import annotations

from .errors import UsageError
from .store import Store
from .story import unknown_sessions


def the_session(store: Store, name: str) -> str:
    """The id that is, or begins with, `name`."""
    exchanges = store.exchanges("session_id IS NOT NULL")
    known = sorted({x.session_id for x in exchanges if x.session_id} - unknown_sessions(exchanges))
    found = [one for one in known if one == name] or [one for one in known if one.startswith(name)]
    if len(found) == 1:
        return found[0]
    there = found or known
    listed = (", ".join(there[:5]) or "none") + (", …" if len(there) > 5 else "")
    raise UsageError(f"{'several sessions begin' if found else 'no session begins'} with {name!r}: there are {listed}")


def the_stream(store: Store, number: int | None) -> int | None:
    """The number of a stream, if it is one."""
    known = [x.stream for x in store.streams()]
    if number is None or number in known:
        return number
    listed = ", ".join(map(str, known[:20])) + (", …" if len(known) > 20 else "")
    raise UsageError(f"the cassette holds no stream {number}: there {'are ' + listed if known else 'is none'}")
