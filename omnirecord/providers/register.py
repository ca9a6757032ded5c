"""The register of model APIs: one line each. Pure; it imports no model of an event, so that the command line starts
fast.

    api_of("/v1/chat/completions")      # "openai-chat"
    model_api("openai-chat").contract()

To add an API, write its module in this package (`api.ModelApi` says what it has) and its line in `REGISTER`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from .api import ModelApi

Api = str
"""The name of an API in `REGISTER`, which is also the name of its contract."""


class Entry(NamedTuple):
    """The line of an API."""

    paths: tuple[str, ...]
    """The last segments of its paths, without the id of an answer: `v#` is a version, and
    `*` stands for the beginning of a segment."""
    header: str | None = None
    """A header that every request of the API has. Without it, the path is that of another service."""
    module: str | None = None
    """The module, if it has another name than the API, with `_` for `-`."""


REGISTER: Mapping[Api, Entry] = {
    "openai-responses": Entry(("responses",), module="responses_api"),
    "openai-chat": Entry(("chat/completions",)),
    "anthropic-messages": Entry(("v#/messages",), header="anthropic-version"),
    "google-gemini": Entry(("*:generateContent", "*:streamGenerateContent")),
}


def model_api(api: Api) -> ModelApi:
    """Return the API of this name. The first call imports its module."""
    made: ModelApi = _module(api).API
    return made


@cache
def _module(api: Api) -> ModuleType:
    return import_module(f".{REGISTER[api].module or api.replace('-', '_')}", __package__)


def model_apis() -> list[ModelApi]:
    """Return all APIs."""
    return [model_api(name) for name in REGISTER]


def api_of_path(target: str) -> Api | None:
    """Return the API of a target by the end of its path, with or without the id of an answer; None if it has none."""
    segments = _segments(target)
    return _api_of(segments) or _api_of(segments[:-1])


def api_of(target: str) -> Api | None:
    """Return the API to which a target sends a conversation: its path ends without an id."""
    return _api_of(_segments(target))


def later_id(target: str) -> str | None:
    """Return the id of the earlier answer that a target asks for, or cancels; None if it does neither."""
    segments = _segments(target)
    if segments[-1] == "cancel":
        segments.pop()
    return segments[-1] if _api_of(segments) is None and _api_of(segments[:-1]) is not None else None


def _segments(target: str) -> list[str]:
    """Return the segments of a path. Slashes at its end do not count."""
    return target.partition("?")[0].rstrip("/").split("/")


_ENDS = [(api, path.split("/")) for api, entry in REGISTER.items() for path in entry.paths]


def _api_of(segments: list[str]) -> Api | None:
    return next((api for api, end in _ENDS if _ends(segments, end)), None)


def _ends(segments: list[str], end: list[str]) -> bool:
    last = segments[-len(end) :]
    return len(last) == len(end) and all(map(_fits, last, end))


def _fits(segment: str, pattern: str) -> bool:
    if pattern == "v#":
        return segment[:1] == "v" and segment[1:].isdecimal()
    if pattern.startswith("*"):
        return unquote(segment).endswith(pattern[1:])  # some clients escape the colon
    return segment == pattern
