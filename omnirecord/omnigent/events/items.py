"""The items of a turn's output, one model for each `type` that the page names.

The live schema leaves an item open, so these models judge nothing: `output_item` gives the model of the
item's type, or a plain `OutputItem` where the type is another one or the fields do not fit. Fields beyond the
few that tell the item's story are kept as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from .base import Shape, hold, type_name


class OutputItem(Shape):
    """An item of any type."""

    type: str | None = None
    id: str | None = None
    response_id: str | None = None
    status: str | None = None
    created_at: int | None = None


class MessageItem(OutputItem):
    """What a user or the assistant said."""

    type: Literal["message"]
    role: str | None = None
    content: list[dict[str, Any]] = Field(default_factory=list)
    model: str | None = None

    @property
    def text(self) -> str:
        """The text of its parts, joined."""
        texts = (part.get("text") for part in self.content)
        return "".join(text for text in texts if isinstance(text, str))


class FunctionCallItem(OutputItem):
    """A tool that the model wants called. `arguments` is JSON in a string."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str = ""


class FunctionCallOutputItem(OutputItem):
    """What a tool answered: text, or a list of content parts."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Any] | dict[str, Any] | None = None


class ReasoningItem(OutputItem):
    """What the model thought, as far as its provider shows it."""

    type: Literal["reasoning"]
    summary: list[dict[str, Any]] = Field(default_factory=list)
    content: list[dict[str, Any]] | None = None
    encrypted_content: str | None = None


class CompactionItem(OutputItem):
    """The summary that stands for the history before it."""

    type: Literal["compaction"]
    summary: str | None = None
    last_item_id: str | None = None
    model: str | None = None
    token_count: int | None = None


ITEMS: Mapping[str, type[OutputItem]] = {
    "message": MessageItem,
    "function_call": FunctionCallItem,
    "function_call_output": FunctionCallOutputItem,
    "reasoning": ReasoningItem,
    "compaction": CompactionItem,
}


def output_item(item: Mapping[str, Any]) -> OutputItem:
    """The item as the model of its type; a plain `OutputItem` with all its fields where it fits none."""
    type_ = type_name(item)
    known = ITEMS.get(type_, OutputItem) if type_ is not None else OutputItem
    return known.fit(item) or OutputItem.fit(item) or hold(OutputItem, item, type=type_)
