"""The paths of model APIs. Pure; it imports no model of an event, so that the command line starts fast."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Api = Literal["openai-responses", "openai-chat", "anthropic-messages"]
"""The names of the APIs, which are also the names of their contracts."""
_ENDS: dict[Api, str] = {
    "openai-responses": "responses",
    "openai-chat": "chat/completions",
    "anthropic-messages": "v[0-9]+/messages",
}
"""The last segments of the paths. Every SDK of Anthropic has the version in its path. Without it, `/messages` may be
the path of any service."""
MODEL_APIS: Mapping[str, Api] = {api: api for api in _ENDS}
PATHS: Mapping[Api, str] = {
    "openai-responses": "/v1/responses",
    "openai-chat": "/v1/chat/completions",
    "anthropic-messages": "/v1/messages",
}
"""The usual path of each."""
_FORMS = {api: re.compile(f"(?:.*/)?{end}(/[^/]+)?/*", re.DOTALL) for api, end in _ENDS.items()}


def api_of_path(target: str) -> Api | None:
    """Return the API of a target by the end of its path, with or without the id of an answer; None if it has none."""
    path = target.partition("?")[0]
    return next((api for api, form in _FORMS.items() if form.fullmatch(path)), None)


def api_of(target: str) -> Api | None:
    """Return the API to which a target sends a conversation: its path ends without an id."""
    path = target.partition("?")[0]
    found = ((api, form.fullmatch(path)) for api, form in _FORMS.items())
    return next((api for api, fits in found if fits is not None and fits[1] is None), None)
