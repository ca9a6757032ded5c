"""The compaction events: the history grew too long and is being replaced by a summary."""

from __future__ import annotations

from typing import Any, Literal

from .base import Event


class CompactionInProgressEvent(Event):
    """A summary of the history is being written."""

    type: Literal["response.compaction.in_progress"]
    started_at: int | None = None


class CompactionCompletedEvent(Event):
    """The summary has taken the history's place."""

    type: Literal["response.compaction.completed"]
    total_tokens: int | None = None
    """How large the context is now, estimated."""
    summary: str | None = None
    summary_model: str | None = None
    compacted_messages: list[dict[str, Any]] | None = None


class CompactionFailedEvent(Event):
    """No summary could be made; the history is as it was."""

    type: Literal["response.compaction.failed"]
