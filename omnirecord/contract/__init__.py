"""Contracts, which judge events: the engine. Nothing here knows an API.

- `judge`: from a frame to its verdict (`Contract`); contracts of pydantic models, the contract `none`, and `ByPath`, a
  contract for each path.
- `openapi`: contracts of an OpenAPI document or a JSON Schema.
- `base`: the base classes of models. `known`: the fields that a contract names.
- `shapes`: the shapes of valid events, so that equal ones need no parsing.

Here: an issue of an event (`Issue`), and the rules of an API for its streams (`Api`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..model import Verdict
from ..text import clip
from .known import Steps, type_name

SENTINEL = "[DONE]"
MAX_ISSUES = 20
"""Number of issues of one event that are listed, at most."""
_MAX_TEXT = 200
OMNIGENT = "omnigent"
ProblemKind = Literal[
    "malformed",
    "truncated",
    "unknown type",
    "event differs",
    "missing field",
    "wrong kind",
    "unknown value",
    "unknown field",
]
"""The problems of an event, the worst first. `event differs`: its `event:` names another type. `unknown value`: a value
of the right kind that the contract does not list. `unknown field`: a field that the contract does not name, which is
allowed unless the contract forbids it."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One problem of an event."""

    path: str
    """`response.usage.input_tokens`, `viewers[0].user_id`, `event`; empty for the event as a whole."""
    message: str
    """The message without a subject: "is required"."""
    problem: ProblemKind = field(default="wrong kind", compare=False)
    steps: Steps = field(default=(), compare=False, repr=False)

    @classmethod
    def at(cls, steps: Steps, message: str, problem: ProblemKind = "wrong kind") -> Issue:
        return cls(path_of(steps), message, problem, steps)


def path_of(steps: Iterable[str | int]) -> str:
    """The path of a value: names joined by dots, positions in brackets."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.removeprefix(".")


def shortened(issues: tuple[Issue, ...]) -> tuple[Issue, ...]:
    """The first issues, each at a length that fits a line, and how many more there are."""
    if len(issues) <= MAX_ISSUES and all(len(i.path) <= _MAX_TEXT and len(i.message) <= _MAX_TEXT for i in issues):
        return issues  # nearly all are: no copies, since each event of a stream may have one
    first = issues[:MAX_ISSUES]
    more = len(issues) - MAX_ISSUES
    shown = tuple(replace(i, path=clip(i.path, _MAX_TEXT), message=clip(i.message, _MAX_TEXT)) for i in first)
    return (*shown, Issue("", f"and {more} more")) if more > 0 else shown


@dataclass(frozen=True, slots=True)
class Api:
    """The rules of an API for its streams."""

    name: str = OMNIGENT
    """`omnigent`, or the name of a model API; empty for an unknown API."""
    type_of: Callable[[Mapping[str, Any], str | None], str | None] = lambda data, _event: type_name(data)
    """From a payload and the `event:` of its frame to the type; None without one."""
    type_field: str = "type"
    """The field that `malformed` names if a payload has no type."""
    event_line: Literal["agrees", "required", "ignored"] = "agrees"
    """What clients expect of the line `event:`. `agrees`: it may be absent, and otherwise names the type."""
    end_marker: str | None = SENTINEL
    """The data of the last frame; None if events end a stream."""
    ends: tuple[str, ...] = ()
    """The types that end a stream, the usual one first."""
    has_ends: bool = True
    """Whether every complete stream has an end marker, or an event that ends it."""

    def is_end(self, verdict: Verdict, type_: str | None) -> bool:
        """Return whether a frame ends its stream as the API defines it."""
        return (verdict == "sentinel" and self.end_marker is not None) or type_ in self.ends

    def has_end(self, verdicts: Collection[str], types: Collection[str | None]) -> bool:
        """Return whether one of several frames does. `types` may leave out types that end no stream."""
        has_marker = "sentinel" in verdicts and self.end_marker is not None
        return has_marker or any(type_ in types for type_ in self.ends)

    @property
    def end(self) -> str:
        """What usually ends a stream: `[DONE]`, or a type."""
        return self.end_marker or self.ends[0]

    @property
    def is_omnigent(self) -> bool:
        return self.name == OMNIGENT


OMNIGENTS = Api()
