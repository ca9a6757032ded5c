"""What the real client does under each fault: the table behind `docs/client-behaviour.md`.

`tests/test_real_faults.py` holds the client against it, and `tests/test_client_page.py` the page.
"""

from __future__ import annotations

from typing import NamedTuple

SESSIONS = ("sessions.stream", "SessionsChat.query")
RESPONSES = ("responses.stream", "client.query")
CALLERS = {"text": SESSIONS, "failed": SESSIONS, "approval": SESSIONS, "with [DONE]": ("sessions.stream",), "responses": RESPONSES}
"""By cassette, the ways in which a turn is made."""


class Row(NamedTuple):
    """`faults`: one or more lines; `does`: what each of the cassette's callers does."""

    faults: tuple[str, ...]
    does: tuple[str, ...]
    cassette: str = "text"


def row(*faults: str, does: tuple[str, ...] = (), cassette: str = "text") -> Row:
    return Row(faults, does, cassette)
