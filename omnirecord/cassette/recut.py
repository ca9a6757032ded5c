"""A stream's bytes, cut at other places than those at which they are at hand. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Span = tuple[int, bytes | None]
"""How many bytes, and these; None where they were lost."""


def cut(spans: Iterable[Span], sizes: Iterable[int]) -> Iterator[bytes | None]:
    """The same bytes in pieces of these sizes. One of which all bytes were lost is None; what a piece lacks else is
    zeros, which nobody looks at: no frame that was kept is there."""
    source = iter(spans)
    left, data = 0, None  # type: tuple[int, bytes | None]
    for size in sizes:
        parts: list[bytes | None] = []
        lengths: list[int] = []
        while size > 0:
            if left == 0:
                found = next(source, None)
                if found is None:
                    parts.append(None)
                    lengths.append(size)
                    break
                left, data = found
            step = min(size, left)
            if step:
                parts.append(None if data is None else data[len(data) - left : len(data) - left + step])
                lengths.append(step)
            left, size = left - step, size - step
        yield _joined(parts, lengths)


LONGEST = 1 << 28
"""The most bytes of a piece, as of any value that is read."""


def _joined(parts: list[bytes | None], lengths: list[int]) -> bytes | None:
    if parts and all(part is None for part in parts):
        return None
    if len(parts) == 1:
        return parts[0]
    if sum(lengths) > LONGEST:
        raise ValueError("a read has more bytes than there can be")
    return b"".join(bytes(length) if part is None else part for part, length in zip(parts, lengths, strict=True))
