"""How the texts of a turn grew, so that they can be shown as they were at any time.

A text at a time is what `Passage.text` begins with: as many characters as the last mark up to then says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .draft import Block, Draft

Marks = list[int]
"""Times and lengths, one after the other: at so many ns the text had so many UTF-16 code units, as a browser counts."""


def growth_of(draft: Draft) -> dict[str, Any]:
    """The marks of a turn's messages and thoughts, in the order of their passages; and, by call id, what its tools put
    out while they ran: `[text, marks]`."""
    return {
        "messages": _all(draft.messages),
        "thoughts": _all(draft.thoughts),
        "printed": {call_id: [block.text, marks(block)] for call_id, block in draft.printed.items()},
    }


def marks(block: Block) -> Marks:
    """Those of one text; one that came at once has only its end."""
    if not block.parts:
        return [block.first_ns, units(block.stored or "")]
    found, length = [], 0
    for part, at_ns in zip(block.parts, block.times, strict=True):
        length += units(part)
        found += [at_ns, length]
    return found


def units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _all(blocks: Iterable[Block]) -> list[Marks]:
    return [marks(block) for block in blocks if block.text or block.stored]
