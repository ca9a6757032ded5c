"""The turn events: the runner's own account of a turn, in four words."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .base import Event


class TurnStartedEvent(Event):
    """The runner took up a new turn."""

    type: Literal["turn.started"]
    session_id: str


class TurnCompletedEvent(Event):
    """The turn ended well, and nothing is left to do."""

    type: Literal["turn.completed"]
    session_id: str


class TurnFailedEvent(Event):
    """The turn failed."""

    type: Literal["turn.failed"]
    session_id: str
    error: dict[str, Any] = Field(default_factory=dict)


class TurnCancelledEvent(Event):
    """The turn was interrupted."""

    type: Literal["turn.cancelled"]
    session_id: str
