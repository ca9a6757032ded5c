"""One line for an event of any API."""

from __future__ import annotations

from typing import Any

from ..omnigent.summary import summary as of_omnigent
from ..providers.summary import summary as of_provider
from ..text import SUMMARY


def summary(type_: str | None, data: Any, limit: int = SUMMARY) -> str:
    """Return the summary of an event in at most `limit` characters. `data`: its payload as parsed JSON; as text if it
    is no JSON; or None."""
    told = of_provider(type_, data) if isinstance(data, dict) else None
    return of_omnigent(type_, data if told is None else told, limit)
