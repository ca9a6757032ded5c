"""Checks of sub-agents: did each child session end, and was its failure seen?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ...omnigent import protocol
from ..turns.lenient import as_dict, as_text
from .check import (
    SECOND,
    Event,
    FrameRef,
    Handlers,
    said,
    seconds,
    sign_at,
)
from .finding import Severity, Sign
from .turns import fault

_UNDER_WAY = frozenset({"launching", "queued", "in_progress", "running", "waiting", "pending"})
_MOST = 50
_PATIENCE = 10 * SECOND
"""Time in ns without an event during which a sub-agent may still be working."""


@dataclass(eq=False)
class Child:
    """A sub-agent's session, as the parent's streams describe it."""

    first: FrameRef
    last: FrameRef
    title: str = ""
    status: str | None = None
    error: str = ""
    """The error of its last task, as the parent received it."""
    statuses: list[tuple[int, str]] = field(default_factory=list)
    """Each status with its time in ns."""

    def is_at_work(self, at_ns: int) -> bool:
        """Whether it had not ended at `at_ns`."""
        known = [status for when, status in self.statuses if when <= at_ns]
        return not known or known[-1] in _UNDER_WAY


class Children:
    """The child sessions of one session."""

    def __init__(self) -> None:
        self.known: dict[str, Child] = {}

    def handlers(self) -> Handlers:
        return {protocol.SESSION_CREATED: self._created, protocol.SESSION_CHILD_SESSION_UPDATED: self._updated}

    def _child(self, event: Event) -> Child | None:
        id_ = as_text(event.data.get("child_session_id"))
        return None if id_ is None else self.known.setdefault(id_, Child(event.ref, event.ref))

    def _created(self, event: Event) -> None:
        self._child(event)

    def _updated(self, event: Event) -> None:
        child, fields = self._child(event), as_dict(event.data.get("child"))
        if child is None:
            return
        child.title = as_text(fields.get("title")) or child.title
        status = as_text(fields.get("current_task_status"))
        if status is not None:
            child.statuses.append((event.at_ns, status))
        if status is not None and event.at_ns >= child.last.at_ns:
            child.status, child.last = status, event.ref
            child.error = fault(as_dict(fields.get("last_task_error")))

    def signs(
        self, until_ns: int, at_rest: Collection[str], deleted: Mapping[str, int], *, is_open: bool = False
    ) -> Iterator[Sign]:
        """The signs. `at_rest`: the sessions that are at rest by their own streams. `deleted`: deleted sessions, with
        their times in ns. `is_open`: whether the endings of the streams are unknown."""
        for id_, child in list(self.known.items())[:_MOST]:
            if id_ in deleted and child.first.at_ns <= deleted[id_] and child.is_at_work(deleted[id_]):
                message = f"the session of the sub-agent {said(child.title or id_)} was deleted while it worked"
                refs = list(dict.fromkeys([child.first, child.last]))
                severity: Severity | None = None if child.status in _UNDER_WAY else "warning"  # the parent continues
                yield sign_at(
                    "session-deleted", message, refs, since_ns=deleted[id_], until_ns=until_ns, about=id_,
                    severity=severity,
                )  # fmt: skip
                continue
            if id_ not in at_rest and child.status == "failed":
                why = child.error or "no reason was given"
                message = f"the sub-agent {said(child.title or id_)} failed, and no stream carried its turn: {why}"
                yield sign_at("turn-failed", message, [child.last], about=id_, severity="warning")
            elif id_ not in at_rest and (child.status is None or child.status in _UNDER_WAY):
                name = said(child.title or id_)
                status = said(child.status or "unknown")
                waited = f", and no event about it came for {seconds(until_ns - child.last.at_ns)}"
                message = f"the sub-agent {name} is still {status}{'' if is_open else waited}"
                may_work = is_open or until_ns - child.last.at_ns < _PATIENCE
                refs = list(dict.fromkeys([child.first, child.last]))
                yield sign_at(
                    "child-unfinished",
                    message,
                    refs,
                    until_ns=until_ns,
                    about=id_,
                    severity="note" if may_work else None,
                )
