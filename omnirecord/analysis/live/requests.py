"""What one request says to a person who watches: a failure always, else what changes something."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

from ...omnigent.routes import path_of, session_of
from ...omnigent.summary import short_id
from ...text import clip, seconds
from .line import Kind, Told

Row = dict[str, Any]
Make = Callable[..., Told]
_FAILED = 400
_PATH = 44
"""The longest path that a line shows, in characters."""
_READS = ("GET", "HEAD", "OPTIONS")
_ENDINGS: dict[str, tuple[str, Kind]] = {
    "done": ("the server ended it", "end"),
    "eof": ("the server closed it", "end"),
    "client_left": ("the client left", "end"),
    "upstream_lost": ("the upstream connection broke", "trouble"),
    "recorder_killed": ("the recorder was killed", "trouble"),
    "recorder_stopped": ("the recorder stopped", "warning"),
    "upstream_unreachable": ("the upstream was not reached", "trouble"),
}


class Requests:
    """Tells requests. `answered`: the party that answered each question. `every`: also those that only read."""

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self._listening: dict[int, str] = {}
        self.answered: dict[str, str] = {}

    def hear(self, row: Row, place: str, *, in_turn: bool) -> Iterator[Told]:
        """The lines of a request that begins or has ended. `in_turn`: a turn of its session goes on."""
        is_over = row["end_ns"] is not None
        act = row["act"] or {}
        if act.get("kind") == "answer" and act["elicitation_id"]:
            self.answered[act["elicitation_id"]] = _who(row)
        make = partial(Told, row["end_ns"] if is_over else row["offset_ns"], place=place)
        if _has_failed(row):
            if is_over:
                yield self._failure(row, make)
        elif row["kind"] == "sse" and row["stream"] is not None:
            yield from self._stream(row, make, is_over=is_over, in_turn=in_turn)
        elif is_over and self._is_told(row):
            yield make("request", "note", f"{_name(row)} {row['status']}", _by(row), f"in {_took(row)}")

    def _failure(self, row: Row, make: Make) -> Told:
        kind: Kind = "trouble" if row["severity"] in ("error", "warning") else "note"
        if row["status"] is None:
            how, kind = _ENDINGS.get(row["ending"], (row["ending"], kind))
            kind = "warning" if kind == "end" else kind
            return make("request", kind, "no answer:", f"{how} after {_took(row)}", f"{_name(row)}")
        why = row["error"] or ""
        if why.startswith("upstream_unreachable: "):
            why = why.partition(": ")[2].removeprefix("omnirecord ")
        return make("request", kind, f"{row['status']} {_name(row)}", why)

    def _stream(self, row: Row, make: Make, *, is_over: bool, in_turn: bool) -> Iterator[Told]:
        stream, session = row["stream"], row["session_id"] or ""
        what = f"{_who(row)} listens" if session else f"{_who(row)} reads {_short(row)}"
        if not is_over:
            if stream not in self._listening:
                self._listening[stream] = session
                yield make("stream", "note", what, f"to session {short_id(session)}" if session else "")
            return
        self._listening.pop(stream, None)
        if row["ending"] in _ENDINGS and row["ending"] != "recorder_stopped":
            how, kind = _ENDINGS[row["ending"]]
            if in_turn and row["session_id"] not in self._listening.values():
                how, kind = f"{how} in a turn", "warning" if kind == "end" else kind
            if row["ending"] == "client_left":
                yield make("stream", kind, f"{how.replace('the client', _who(row))} after {_took(row)}")
            else:
                yield make("stream", kind, f"{how} after {_took(row)}", f"({_who(row)})")

    def _is_told(self, row: Row) -> bool:
        """Whether a request that succeeded is told. What a stream tells anyway is not told twice."""
        if self._every:
            return True
        if row["method"] in _READS or row["party"] == "runner" or row["kind"] == "websocket":
            return False
        is_heard = row["act"] is not None and row["session_id"] in self._listening.values()
        return not is_heard and not path_of(row["path"]).endswith(("/read-state", "/order"))


def _has_failed(row: Row) -> bool:
    if row["status"] is not None:
        return bool(row["status"] >= _FAILED)
    return row["end_ns"] is not None


def _name(row: Row) -> str:
    return f"{row['method']} {_short(row)}"


def _short(row: Row) -> str:
    """The path, with eight characters of a session's id."""
    path = path_of(row["path"])
    if session := session_of(path):
        _, found, rest = path.rpartition("/" + quote(session, safe=""))
        path = f"…/{short_id(session)}{rest}" if found else path
    path = re.sub(r"(elicit_\w{4})\w+", r"\1…", path)
    return clip(path, _PATH)


def _by(row: Row) -> str:
    return f"by {_who(row)}" if _who(row) != "client" else ""


def _who(row: Row) -> str:
    """What a person calls the party; a proxy of an older version tells no name."""
    return str(row.get("party_name") or row["party"])


def _took(row: Row) -> str:
    return seconds(round((row["duration_s"] or 0) * 1e9))
