"""Which cassette, session or stream a name means. Raises `UsageError` with the names that are there."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from ..errors import UsageError
from ..omnigent.routes import unknown_sessions
from .sqlite import Store

_LISTED = 5


def named_session(source: str | Path) -> tuple[Path, str | None]:
    """`CASSETTE#SESSION` in its parts. A file that has that very name is meant as a whole."""
    text = str(source)
    cassette, mark, session = text.rpartition("#")
    if not mark or not cassette or _exists(text):
        return Path(text), None
    if not session:
        raise UsageError(f"{text} names no session behind the #: give its id, or the beginning of that")
    return Path(cassette), session


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def session_ids(store: Store) -> list[str]:
    """The ids of all sessions that the server knew, sorted."""
    exchanges = store.exchanges("session_id IS NOT NULL")
    return sorted({x.session_id for x in exchanges if x.session_id} - unknown_sessions(exchanges))


def the_session(store: Store, name: str) -> str:
    """The id that is, or begins with, `name`."""
    known = session_ids(store)
    found = [one for one in known if one == name] or [one for one in known if one.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"several sessions begin with {name!r}: there are {_listed(found)}; give more of the id")
    near = get_close_matches(name, known, _LISTED) or _near_beginning(name, known)
    if near:
        raise UsageError(f"no session begins with {name!r}: the nearest {_are(near)}")
    raise UsageError(f"no session begins with {name!r}: there are {_listed(known)}")


def _near_beginning(name: str, known: list[str]) -> list[str]:
    """The ids whose beginning is like `name`: a shortened id is not like the whole one."""
    beginnings: dict[str, list[str]] = {}
    for one in known:
        beginnings.setdefault(one[: len(name)], []).append(one)
    return [one for near in get_close_matches(name, beginnings, _LISTED, 0.7) for one in beginnings[near]]


def _are(names: list[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {_listed(names)}"


def _listed(names: list[str]) -> str:
    return (", ".join(names[:_LISTED]) or "none") + (", …" if len(names) > _LISTED else "")


def with_children(store: Store, session: str) -> frozenset[str]:
    """The ids of a session and of its sub-agents, theirs among them."""
    children: dict[str, list[str]] = {}
    for child, parent in store.parents().items():
        children.setdefault(parent, []).append(child)
    found, left = set[str](), [session]
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left += children.get(one, ())
    return frozenset(found)


def the_stream(store: Store, number: int | None) -> int | None:
    """The number of a stream, if it is one."""
    known = [x.stream for x in store.streams()]
    if number is None or number in known:
        return number
    listed = ", ".join(map(str, known[:20])) + (", …" if len(known) > 20 else "")
    raise UsageError(f"the cassette holds no stream {number}: there {'are ' + listed if known else 'is none'}")
