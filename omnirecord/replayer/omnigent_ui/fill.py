"""Decides for each request of a page whether what was recorded will do. Pure.

Only what a browser asks is filled in: a client under test gets what was recorded, or a miss. What moves a session on,
and its streams, are always the recording's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ...model import Headers
from ...omnigent.routes import is_gate, opens_session_stream, path_of, session_of
from ...wire.content_coding import content_of
from ...wire.headers import header
from ..player import Answering, Decision, Incoming, Miss, Player, Playing
from ..player.plan import Script
from .app_shell import Shell, asks_for_page, guarded
from .endpoints import Answers
from .recorded import Timed, read_json
from .responses import Files, MadeUp, Quiet, made
from .sessions import Sessions


def is_page(headers: Headers) -> bool:
    """Whether a page asks, or its browser: they say so where they may, and all of them have this name."""
    browser = (header(headers, "user-agent") or "").startswith("Mozilla/")
    return browser or header(headers, "sec-fetch-mode") is not None


class Filling:
    """What a web UI gets of one replay. `files`: those of an installed one; `made_up`: what was not recorded and was
    asked for."""

    def __init__(self, script: Script, player: Player, files: Files | None) -> None:
        self._player = player
        self._sessions = Sessions(script)
        self._shell = Shell(script, files)
        self.made_up: list[str] = []

    def takes(self, request: Incoming) -> bool:
        """Whether this is a page that reads."""
        return request.method == "GET" and is_page(request.headers)

    def says(self, request: Incoming) -> bool:
        """Whether this is a page that moves a session on. Its user need not give up what the recorded one gave up."""
        return is_gate(request.method, request.target) and is_page(request.headers)

    def opens_stream(self, request: Incoming) -> bool:
        """Whether this is a page that listens to a session."""
        return self.takes(request) and opens_session_stream(request.method, request.target)

    def fill(self, request: Incoming, decision: Decision, now: int) -> Decision | MadeUp | Quiet:
        """What a page gets instead of this decision: the same, where that will do."""
        if not self.takes(request):
            return decision
        if isinstance(decision, Playing):
            self._sessions.lead_on(decision)
            return decision
        if asks_for_page(request.target):
            return self._page(decision, now)
        answers = self._answers(now)
        state = answers.state(request.target, _recorded(decision)) if isinstance(decision, Answering | Miss) else None
        if state is not None:
            return decision if _says(decision, state) else made(state)
        return self._missing(request, answers) or decision if isinstance(decision, Miss) else decision

    @property
    def page(self) -> str:
        """What a browser sees, in words."""
        return self._shell.page_is

    def rows(self, names: list[str], now: int) -> dict[str, Any]:
        """The rows of these sessions in the list, for who watches it."""
        return self._answers(now).rows(names)

    def _answers(self, now: int) -> Answers:
        return Answers(self._sessions, partial(self._player.horizon, now=now))

    def _page(self, decision: Decision, now: int) -> Decision | MadeUp:
        if isinstance(decision, Answering) and (response := decision.exchange.response) is not None:
            content = _content(decision)
            if response.status != 200 or (content is not None and self._shell.has_all_of(content)):
                response = replace(response, headers=guarded(response.headers))
                return replace(decision, exchange=replace(decision.exchange, response=response))
        if not isinstance(decision, Answering | Miss):
            return decision
        answers = self._answers(now)
        return self._shell.page([answers.row(name) for name in self._sessions.roots()])

    def _missing(self, request: Incoming, answers: Answers) -> MadeUp | Quiet | None:
        """Something in the place of what was never recorded; None where there is nothing."""
        target = request.target
        if (file := self._shell.file(path_of(target))) is not None:
            return file
        found: MadeUp | Quiet | None = answers.missing(target)
        if found is None and opens_session_stream("GET", target) and self._sessions.has(session_of(target) or ""):
            found = Quiet()
        if found is not None:
            self._note(request)
        return found

    def _note(self, request: Incoming) -> None:
        asked = f"{request.method} {path_of(request.target)}"
        if asked not in self.made_up:
            self.made_up.append(asked)


def _content(answering: Answering) -> bytes | None:
    """The decoded body of an answer, which goes out with the header fields of its exchange."""
    response = answering.exchange.response
    coding = header(response.headers, "content-encoding") if response is not None else None
    return content_of(answering.body, coding)


def _recorded(decision: Decision) -> Timed | None:
    """What was recorded of just this request, and when; None where that is nothing that could be brought up to date."""
    if not isinstance(decision, Answering) or decision.exchange.response is None:
        return None
    value = read_json(_content(decision) or b"")
    return (decision.exchange.request.at_ns, value) if isinstance(value, dict) and "id" in value else None


def _says(decision: Decision, state: Any) -> bool:
    """Whether what was recorded is what is true now."""
    if not isinstance(decision, Answering) or decision.exchange.response is None:
        return False
    response = decision.exchange.response
    recorded = read_json(_content(decision) or b"")
    return response.status == 304 or (response.status == 200 and recorded == state)
