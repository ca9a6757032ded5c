"""The paths of model APIs. Pure; it imports no model of an event, so that the command line starts fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Api = Literal["openai-responses", "openai-chat", "anthropic-messages"]
"""The names of the APIs, which are also the names of their contracts."""
_ENDS: dict[Api, tuple[str, ...]] = {
    "openai-responses": ("responses",),
    "openai-chat": ("chat", "completions"),
    "anthropic-messages": ("v*", "messages"),
}
"""The last segments of the paths; `v*` is a version. Every SDK of Anthropic has the version in its path. Without it,
`/messages` may be the path of any service."""
MODEL_APIS: Mapping[str, Api] = {api: api for api in _ENDS}
PATHS: Mapping[Api, str] = {
    "openai-responses": "/v1/responses",
    "openai-chat": "/v1/chat/completions",
    "anthropic-messages": "/v1/messages",
}
"""The usual path of each."""


def api_of_path(target: str) -> Api | None:
    """Return the API of a target by the end of its path, with or without the id of an answer; None if it has none."""
    segments = _segments(target)
    return next((api for api, end in _ENDS.items() if _ends(segments, end) or _ends(segments[:-1], end)), None)


def api_of(target: str) -> Api | None:
    """Return the API to which a target sends a conversation: its path ends without an id."""
    segments = _segments(target)
    return next((api for api, end in _ENDS.items() if _ends(segments, end)), None)


def _segments(target: str) -> list[str]:
    """Return the segments of a path. Slashes at its end do not count."""
    return target.partition("?")[0].rstrip("/").split("/")


def _ends(segments: list[str], end: tuple[str, ...]) -> bool:
    last = segments[-len(end) :]
    return len(last) == len(end) and all(map(_fits, last, end))


def _fits(segment: str, end: str) -> bool:
    return segment == end or (end == "v*" and segment[:1] == "v" and segment[1:].isdecimal())
