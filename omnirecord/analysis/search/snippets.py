"""The few words around what was found. Pure."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

OPEN, SHUT = "\x02", "\x03"
"""What stands around the words that were found, in the text that comes out of the index. No text has them itself."""
WIDTH = 120

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of text on one line, and where in it the words are that were looked for: begin and end of each."""

    text: str
    spans: tuple[Span, ...]

    def marked(self, opening: str = "[", shutting: str = "]") -> str:
        """The text with something around each of the words."""
        out, at = [], 0
        for begin, end in self.spans:
            out += [self.text[at:begin], opening, self.text[begin:end], shutting]
            at = end
        return "".join([*out, self.text[at:]])


def unmarked(text: str) -> tuple[str, list[Span]]:
    """The text without its marks, and where they were."""
    parts, spans, at = [], list[Span](), 0
    for number, piece in enumerate(text.split(OPEN)):
        found, mark, rest = piece.partition(SHUT)
        if number and mark:
            spans.append((at, at + len(found)))
        parts.append(found + rest)
        at += len(parts[-1])
    return "".join(parts), spans


def signs_in(text: str, signs: list[str]) -> list[Span]:
    """Where these stand, as they are, upper or lower case."""
    low, spans = _lower(text), list[Span]()
    for sign in filter(None, map(_lower, signs)):
        at = low.find(sign)
        while at >= 0 and len(spans) < 500:
            spans.append((at, at + len(sign)))
            at = low.find(sign, at + len(sign))
    return sorted(spans)


def apart(spans: list[Span]) -> list[Span]:
    """The spans in order, without those that lie in another one or reach into it."""
    kept: list[Span] = []
    for begin, end in sorted(spans):
        if not kept or begin >= kept[-1][1]:
            kept.append((begin, end))
    return kept


def _lower(text: str) -> str:
    """ASCII alone, as SQLite does it: no text changes its length."""
    return text.lower() if text.isascii() else "".join(c.lower() if c.isascii() else c for c in text)


def best(text: str, spans: list[Span], width: int = WIDTH) -> list[Span]:
    """Those of the spans that lie together within `width` and are the most different ones; the first such."""
    chosen, most, starts = spans[:1], 0, [begin for begin, _ in spans]
    for first, (begin, _) in enumerate(spans[:500]):
        last = bisect_right(starts, begin + width // 2)
        words = len({text[b:e].casefold() for b, e in spans[first : min(last, first + 20)]})
        if words > most:
            chosen, most = spans[first:last], words
    return chosen


def cut(text: str, spans: list[Span], width: int = WIDTH) -> Snippet:
    """The piece of a text that the spans lie in, and about `width` characters of it."""
    if not spans:
        return _tidy(text[:width], [], "", "…" if len(text) > width else "")
    begin, end = spans[0][0], spans[-1][1]
    room = max(width - (end - begin), width // 4)
    start = _at_word(text, max(0, begin - room // 2), begin)
    stop = max(end, min(len(text), start + max(width, end - begin + room // 2)))
    inside = [(b - start, e - start) for b, e in spans]
    return _tidy(text[start:stop], inside, "…" if start else "", "…" if stop < len(text) else "")


def _at_word(text: str, at: int, before: int) -> int:
    """Where the next word begins, if that is near."""
    while 0 < at < before and not text[at - 1].isspace():
        at += 1
    return at if at < before else max(0, before - 20)


def _tidy(text: str, spans: list[Span], head: str, tail: str) -> Snippet:
    """White space as single spaces, the spans moved along."""
    out, places, length, blank = [head], [], len(head), True
    for c in text:
        places.append(length)
        is_blank = c.isspace() or c == "\u200b"
        kept = "" if c == "\u200b" or (is_blank and blank) else " " if is_blank else c
        blank = is_blank if c != "\u200b" else blank
        out.append(kept)
        length += len(kept)
    places.append(length)
    line = "".join([*out, tail]).rstrip()
    return Snippet(line, tuple((min(places[b], len(line)), min(places[e], len(line))) for b, e in spans))
