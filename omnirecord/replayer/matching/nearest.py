"""The recorded requests nearest to a request that matches none, and their differences. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import takewhile, zip_longest

from .key import Key, Pairs, short_ids

NEAREST = 3
_LOOKED_AT = 40
"""Recorded requests, with the same and with other methods, that are compared with a request."""
_COMPARED = 200
"""Characters of a path that are compared."""
_TOLD = 3
"""Most segments, parameters or headers that are named one by one."""
_DEEPEST = 64
"""Most segments of a path that are compared."""
_SHOWN = 60
"""Characters of a value."""

Named = dict[str, str]
"""`request` and `differs`."""


class Ordered:
    """Recorded requests in the order of their paths, sorted once: 10,000 take 25 ms."""

    def __init__(self, recorded: Iterable[Key]) -> None:
        self._by_method: dict[str, list[Key]] = {}
        for key in sorted(set(recorded), key=_place):
            self._by_method.setdefault(key.method, []).append(key)

    def around(self, key: Key) -> list[Key]:
        """Return the requests around a path, a few of each method: the nearest are among them."""
        found: list[Key] = []
        for keys in self._by_method.values():
            at = bisect_left(keys, key.path, key=lambda other: other.path)
            found += keys[max(0, at - _LOOKED_AT) : at + _LOOKED_AT]
        return found


def _place(key: Key) -> tuple[str, str, Pairs, Pairs]:
    return key.path, key.method, key.query, key.headers


def nearest(key: Key, recorded: Iterable[Key]) -> list[Key]:
    """Return the recorded requests most similar to `key`, best first, without equal ones.

    Comparing is slow and blocks the event loop, so only requests that begin like `key` are compared.
    """
    others = {other for other in recorded if other != key}
    same = {other for other in others if other.method == key.method}
    looked_at = _beginning_like(key, same) + _beginning_like(key, others - same)
    matcher = SequenceMatcher(b=key.path[:_COMPARED])
    return sorted(looked_at, key=lambda other: (-_likeness(key, other, matcher), str(other)))[:NEAREST]


def named(key: Key, differs: str) -> Named:
    return {"request": str(key), "differs": differs}


def line(got: Key, recorded: Key) -> str:
    """A recorded request for a person: where it differs, `[-recorded-]{+asked+}`."""
    path = _marked_path(got.path, recorded.path)
    said = f"{_marked(recorded.method, got.method)} {path}{_marked(_query(recorded), _query(got))}"
    headers = ", ".join(f"header {one}" for one in _headers(got.headers, recorded.headers))
    return f"{said}  {headers}" if headers else said


def _marked(recorded: str, got: str) -> str:
    """Two texts as one, with short ids unless these would look alike."""
    if recorded == got:
        return recorded
    whole = _cut(recorded), _cut(got)
    short = short_ids(whole[0]), short_ids(whole[1])
    gone, new = short if short[0] != short[1] else whole
    return (f"[-{gone}-]" if gone else "") + (f"{{+{new}+}}" if new else "")


def _query(key: Key) -> str:
    said = "&".join(f"{name}={value}" for name, value in key.query)
    return f"?{said}" if said else ""


def _marked_path(got: str, recorded: str) -> str:
    """Mark the differences of two paths segment by segment; segments that only one has are marked together."""
    ours, theirs = (path.split("/", _DEEPEST)[1:] for path in (recorded, got))
    both = min(len(ours), len(theirs))
    made = "".join(f"/{_marked(one, other)}" for one, other in zip(ours, theirs, strict=False))
    return made + _marked(*("".join(f"/{one}" for one in rest[both:]) for rest in (ours, theirs)))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def difference(got: Key, recorded: Key) -> str:
    """Return in which parts two keys differ, and how."""
    return " and ".join(_differences(got, recorded))


def shown(value: str | None) -> str:
    """Return a value for a sentence: in quotes, cut."""
    return "nothing" if value is None else repr(value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…")


def _differences(got: Key, recorded: Key) -> Iterator[str]:
    if got.method != recorded.method:
        yield "method"
    if got.path != recorded.path:
        yield f"path ({_segments(got.path, recorded.path)})"
    if got.query != recorded.query:
        yield f"query ({_parameters(got.query, recorded.query)})"
    if got.headers != recorded.headers:
        yield from (f"header {one}" for one in _headers(got.headers, recorded.headers))


def _segments(got: str, recorded: str) -> str:
    pairs = zip_longest(got.split("/", _DEEPEST)[1:], recorded.split("/", _DEEPEST)[1:])
    differ = [(number, *pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1]]
    if len(differ) > _TOLD:
        return f"more than {_TOLD} segments"
    return ", ".join(f"segment {number}: {shown(one)} instead of {shown(other)}" for number, one, other in differ)


def _parameters(got: Pairs, recorded: Pairs) -> str:
    """`limit=50 instead of limit=20, after=x instead of nothing`."""
    names = dict.fromkeys(name for name, _ in set(got) ^ set(recorded)) or dict.fromkeys(name for name, _ in got)
    if len(names) > _TOLD:
        return f"more than {_TOLD} parameters"
    told = ((_of(name, got), _of(name, recorded)) for name in sorted(names))
    return ", ".join(f"{one or 'nothing'} instead of {other or 'nothing'}" for one, other in told if one != other)


def _of(name: str, pairs: Pairs) -> str:
    said = "&".join(f"{one}={value}" for one, value in pairs if one == name)
    return said if len(said) <= _SHOWN else said[: _SHOWN - 1] + "…"


def _headers(got: Pairs, recorded: Pairs) -> Iterator[str]:
    ours, theirs = dict(got), dict(recorded)
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name), theirs.get(name)
        if one != other:
            yield f"{name} ({shown(one)} instead of {shown(other)})"


def _beginning_like(key: Key, others: Iterable[Key]) -> list[Key]:
    """Return the keys around the place of its path in alphabetical order."""
    ordered = sorted(others, key=_place)
    at = max(0, bisect_left(ordered, key.path, key=lambda other: other.path) - _LOOKED_AT // 2)
    return ordered[at : at + _LOOKED_AT]


def _likeness(one: Key, other: Key, matcher: SequenceMatcher[str]) -> float:
    """Return the similarity of two keys: the path counts most, then the method and the common first segments."""
    path = other.path[:_COMPARED]
    matcher.set_seq1(path)
    wanted, found = one.path[:_COMPARED].split("/")[1:], path.split("/")[1:]
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(wanted, found, strict=False)))
    return (
        2.0 * (one.path == other.path)
        + 0.6 * (one.method == other.method)
        + shared / max(1, len(wanted))
        + matcher.ratio()
        + 0.1 * (one.query == other.query)
        + 0.1 * (one.headers == other.headers)
    )
