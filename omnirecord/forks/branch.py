"""One branch of a fork: decides for each request of the agent whether the recording or the provider answers.

The calls before call N are answered from the recording. Call N goes to the provider with the change, and later calls
with the same change, as far as it fits (`change`). Before call N, a call that was not recorded ends the branch: it is
refused, and nothing goes to the provider any more. Other requests, such as one for the list of models, are answered
from the recording, or else by the provider.
"""

from __future__ import annotations

from dataclasses import replace

from ..episodes.server import with_body
from ..errors import UsageError
from ..providers.register import api_of
from ..replayer.beyond import Question, Where
from ..replayer.matching.key import Incoming, Miss
from .change import Change, Made
from .point import Point


class Branch:
    """The decisions of one run. `decide` is that of `Episodes`."""

    def __init__(self, point: Point, change: Change) -> None:
        self._point = point
        self._change = change
        self._made: Made | None = None
        self._is_due = False
        self.has_forked = False
        """Whether call N was made."""
        self.is_stopped = False
        """Whether a call before call N was not recorded."""
        self.changed = 0
        """The number of calls to the provider with the change, or a part of it."""

    @property
    def changed_parts(self) -> set[str]:
        """The parts of the live calls that the change changes (`Made.parts`)."""
        return self._made.parts if self._made is not None else set()

    def go_live(self) -> None:
        """Let the next call be the first live one: the message of turn N is sent now."""
        self._is_due = True

    def decide(self, question: Question) -> Where | Incoming | Miss:
        request = question.request
        if self._point.turn is not None and question.hop != self._point.hop:
            return request  # of the session on the live server
        is_call = request.method == "POST" and api_of(request.target) is not None
        x = question.exchange
        if self.is_stopped:
            return Miss(f"{request.method} {request.target} is refused, because an earlier call matched nothing")
        if x is not None and x.exchange in self._point.before:
            self.is_stopped = is_call and not x.is_answered
            return "recording"
        if not is_call:
            return request
        if self.has_forked:
            return self._live(request)
        if self._is_due:
            return self._fork(request)
        if x is None or self._point.turn is not None:
            self.is_stopped = True
            return "recording"
        if x.exchange not in self._point.attempts:  # a call beside call N, which came first
            return request
        return self._fork(request)

    def _fork(self, request: Incoming) -> Where | Incoming | Miss:
        if self._change:
            try:
                self._made = self._change.made(request.content, request.target, self._point.body)
            except UsageError as error:  # it had an effect on the recorded request
                self.is_stopped = True
                return Miss(f"the change cannot be made in this request: {error}")
        self.has_forked = True
        return self._live(request)

    def _live(self, request: Incoming) -> Incoming:
        """Return a call for the provider, with the change as far as it fits."""
        if self._made is None:
            return request
        carried = self._made.carried(request.content, request.target)
        if carried is None:
            return request
        self.changed += 1
        body, target = carried
        return with_body(replace(request, target=target), body)
