"""Answers that were made up, as frozen values; `replaying` sends them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...model import Headers
from ...text import dumps

Files = Callable[[str], "MadeUp | None"]
"""A file of a web UI by its path below `/`; None where there is none."""


@dataclass(frozen=True, slots=True)
class MadeUp:
    """An answer that nobody recorded."""

    body: bytes
    headers: Headers
    status: int = 200


@dataclass(frozen=True, slots=True)
class Quiet:
    """A stream that nobody recorded: it is open, and nothing comes but heartbeats."""


def made(value: Any, status: int = 200) -> MadeUp:
    """JSON, as the server has it."""
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return MadeUp(dumps(value).encode("utf-8", "replace"), headers, status)


def not_there(message: str = "Not found.") -> MadeUp:
    return made({"error": {"code": "not_found", "message": message}}, 404)
