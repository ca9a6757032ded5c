"""How the page names a session: in one recording, or a stream that belongs to none. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ...analysis.turns import Session
from ...errors import UsageError
from ...model import Exchange


class Key(NamedTuple):
    """A session of a recording; where `session_id` is None, the stream that belongs to none."""

    recording: int
    session_id: str | None
    stream: int | None = None

    def __str__(self) -> str:
        if self.session_id is None:
            return f"{self.recording}.stream.{self.stream}"
        return f"{self.recording}.session.{self.session_id}"


def key_of_exchange(x: Exchange) -> Key:
    return Key(x.recording, x.session_id, None if x.session_id is not None else x.stream)


def key_of_session(told: Session) -> Key:
    if told.session_id is not None or not told.streams:
        return Key(told.recording, told.session_id)
    return Key(told.recording, None, told.streams[0].stream)


def read_key(text: str) -> Key:
    """Raises `UsageError` where it names nothing."""
    recording, _, rest = text.partition(".")
    kind, _, name = rest.partition(".")
    if _is_number(recording) and kind == "session":
        return Key(int(recording), name)
    if _is_number(recording) and kind == "stream" and _is_number(name):
        return Key(int(recording), None, int(name))
    raise UsageError(f"{text!r} names no session of this cassette")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16
