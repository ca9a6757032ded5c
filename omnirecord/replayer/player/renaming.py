"""Ids that come out under other names: in JSON, in URLs, in frames, whole or cut in parts. Pure.

An id is replaced where it stands as a whole word: `abc` in `"/v1/sessions/abc/events"`, not in `abcd` or `x-abc`.
What it is replaced by needs no escape in JSON or in a URL (`is_plain`), so no body has to be parsed and written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from ...model import Headers
from ..parts import Part, frames_of

_PLAIN = re.compile(r"[A-Za-z0-9._~-]{1,256}")  # RFC 3986's unreserved characters
_BEFORE = rb"(?:(?<![\w-])|(?<=\\u[0-9a-fA-F]{4})|(?<=[^\\]\\[bfnrt]))"
"""No word's character, unless it ends an escape of JSON."""
_AFTER = rb"(?![\w-])"


def is_plain(name: str) -> bool:
    """Whether an id means the same in JSON and in a URL."""
    return _PLAIN.fullmatch(name) is not None


class Renaming:
    """Replaces the keys of `names` by its values, all at once. Raises `ValueError` for a name that is not plain."""

    def __init__(self, names: Mapping[str, str]) -> None:
        if odd := [name for name in names.values() if not is_plain(name)]:
            raise ValueError(f"{odd[0]!r} would have to be escaped")
        self._names = {old.encode(): new.encode() for old, new in names.items() if old and old != new}
        longest_first = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile(_BEFORE + b"(?:" + b"|".join(map(re.escape, longest_first)) + b")" + _AFTER)

    def __bool__(self) -> bool:
        return bool(self._names)

    def text(self, data: bytes) -> bytes:
        """The same bytes with the other names."""
        return self._pattern.sub(lambda found: self._names[found[0]], data) if self else data

    def string(self, text: str) -> str:
        return self.text(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def headers(self, headers: Headers) -> Headers:
        return tuple((name, self.string(value)) for name, value in headers)

    def texts(self, pieces: Sequence[bytes]) -> list[bytes]:
        """The same for one text in pieces: a name that is cut goes whole into the piece in which it began."""
        whole = b"".join(pieces)
        out, taken = [], 0
        found = self._pattern.finditer(whole) if self else iter(())
        match = next(found, None)
        for end in accumulate(map(len, pieces)):
            parts = []
            while match is not None and match.start() < end:
                parts += [whole[taken : match.start()], self._names[match[0]]]
                taken, match = match.end(), next(found, None)
            parts.append(whole[taken : max(taken, end)])
            taken = max(taken, end)
            out.append(b"".join(parts))
        return out

    def parts(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The same for a stream, frame by frame; parts that have nothing left stay, empty."""
        for frame in frames_of(parts):
            texts = self.texts([part.data for part in frame])
            yield from (replace(part, data=data) for part, data in zip(frame, texts, strict=True))
