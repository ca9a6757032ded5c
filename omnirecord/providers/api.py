"""What omnirecord knows of a model API: the base class of those in `register`. Pure; no content makes it fail.

The module of an API has the models of its events and the reader of its answers. Its constant `API` is a `ModelApi`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ..contract.judge import Contract
from ..text import quoted
from ..wire.strict_json import as_text
from .answers import Answer
from .parts import Draft, are_messages, drafts_of, settings_in, tools_in

Data = dict[str, Any]
"""A JSON object."""
TextKind = Literal["text", "reasoning"]
Summary = Callable[[Data], str]


def first_of(*names: str) -> Summary:
    """Return a function that quotes the first of these fields."""
    return lambda data: next((quoted(data[name]) for name in names if isinstance(data.get(name), str)), "")


@dataclass(frozen=True, slots=True)
class Asked:
    """The parts of a request to a model."""

    model: str
    is_streamed: bool
    drafts: Iterable[Draft]
    """The messages, part by part, without the instructions."""
    instructions: Iterable[str] = ()
    tools: Iterable[Data] = ()
    """Each with `name`, `description`, and `parameters` or `input_schema`; with a `type` if it is no function."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The parameters that change an answer, by the names under which requests are compared. None is a missing one."""
    previous_id: str | None = None
    """The id of an earlier answer that the request continues; without one, `conversation_id`."""
    conversation_id: str | None = None
    """The id of a conversation that the provider keeps, and that the request continues."""
    history_ids: Iterable[str | None] = ()
    """The ids of earlier answers and of their items, apart from those of tool calls."""


class ModelApi:
    """One model API."""

    name: ClassVar[str]
    """The name in `REGISTER`."""
    path: ClassVar[str]
    """The usual path. An imported body of unknown origin gets it."""
    messages: ClassVar[str] = "messages"
    """The field of a request that has the messages."""
    parameters: ClassVar[frozenset[str]]
    """The fields that a request may have, as far as they are known."""
    answer: ClassVar[type[Answer]]
    """The reader of an answer, streamed or whole."""
    summaries: ClassVar[Mapping[str, Summary]] = {}
    """By type, what writes an event in one line. The caller shortens it and replaces control characters."""
    own_types: ClassVar[frozenset[str]] = frozenset()
    """The types of events that no other API has."""
    repeats_texts: ClassVar[bool] = False
    """Whether later events of a stream repeat the whole text of its deltas."""
    overloaded: ClassVar[tuple[int, ...]] = (429, 529)
    """The statuses of a provider that refuses a call because of a rate limit or of its load."""
    overloaded_reasons: ClassVar[tuple[str, ...]] = ("rate_limit", "overloaded")
    """The beginnings of its words for that."""

    def contract(self) -> Contract:
        """Return the contract of its events; always the same one."""
        raise NotImplementedError

    def asks(self, data: Data) -> bool:
        """Return whether a body at a path of this API is a request to a model."""
        return are_messages(data.get(self.messages))

    def likeness(self, data: Data, target: str) -> int:
        """Return how surely a body at a path of no API is a request. 0: it is none. 2: no other API has such a body.
        `target`: empty if it is not known."""
        raise NotImplementedError

    def drafts(self, data: Data) -> Iterable[Draft]:
        """Return the messages of a request as sent, part by part."""
        return drafts_of(data.get(self.messages))

    def asked(self, data: Data, target: str) -> Asked:  # noqa: ARG002
        """Return the parts of a request that `asks`, in the form that most APIs share."""
        return Asked(
            model=as_text(data.get("model")) or "",
            is_streamed=data.get("stream") is True,
            drafts=self.drafts(data),
            tools=tools_in(data),
            settings=settings_in(data),
        )

    def with_model(self, data: Data, target: str, model: str) -> tuple[Data, str]:
        """Return the body and the target of a request with another model."""
        return {**data, "model": model}, target

    def deltas(self, data: Data) -> Iterable[tuple[TextKind, str]]:
        """Return the pieces of text and reasoning in an event of `own_types`."""
        raise NotImplementedError

    def has_more(self, data: Data) -> bool:  # noqa: ARG002
        """Return whether an event with a text also has a tool call, or the end of the answer."""
        return False

    def error(self, status: int, message: str, code: str | None = None) -> Data:
        """Return the JSON body of an error, an object with an object `error`. `code`: omnirecord's word for it."""
        raise NotImplementedError
