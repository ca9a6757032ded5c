"""Texts of one-line summaries of events, of any API. Pure, and never raises: the data is any JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..text import clip

LIMIT = 120
"""Length of a summary, in characters."""
ENOUGH = 400
"""Characters of a text that are read for a summary."""


def text_in(value: Any) -> str:
    """Return the beginning of a text; empty for any other value."""
    return value[:ENOUGH] if isinstance(value, str) else ""


def as_json(value: Any) -> str:
    """Return a value as JSON; `…` if it cannot be written."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return "…"


def quoted(value: Any) -> str:
    """Return a text in quotes, with its white space escaped; empty for any other value."""
    return as_json(clip(text_in(value), LIMIT - 2)) if isinstance(value, str) else ""


def joined(parts: Iterable[str], by: str = " ") -> str:
    """Return the parts that are not empty as one text."""
    return by.join(part for part in parts if part)
