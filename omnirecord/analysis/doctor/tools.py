"""Checks of tool calls and sub-agents, over all streams of a session.

`Tools`: calls and their outputs, by call id. `Children`: did each child session end, and was its failure seen?
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ...omnigent import protocol
from ...wire.strict_json import as_dict, as_text, failure_in, written
from .finding import SECOND, Event, FrameRef, Handlers, Severity, Sign, said, seconds, sign_at
from .turns import fault

_MOST = 50
_UNDER_WAY = frozenset({"launching", "queued", "in_progress", "running", "waiting", "pending"})
_PATIENCE = 10 * SECOND
"""Time in ns without an event during which a sub-agent may still be working."""


@dataclass(eq=False)
class Call:
    """A tool call."""

    ref: FrameRef
    name: str
    arguments: str
    replaced: str | None = None
    """The model's arguments, if the server replaced them by `{}`."""


class Tools:
    """The tool calls of one session."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.outputs: dict[str, FrameRef] = {}
        self.failures: dict[str, str] = {}
        """The failure in each failed call's output."""

    def handlers(self) -> Handlers:
        return {protocol.RESPONSE_OUTPUT_ITEM_DONE: self._item}

    def _item(self, event: Event) -> None:
        item = as_dict(event.data.get("item"))
        call_id = as_text(item.get("call_id"))
        if call_id is None:
            return
        if item.get("type") == "function_call":
            self._call(event, call_id, as_text(item.get("name")) or "", written(item.get("arguments")) or "")
        elif item.get("type") == "function_call_output":
            self.outputs.setdefault(call_id, event.ref)
            failure = failure_in(written(item.get("output")), as_text(item.get("status")))
            if failure is not None:
                self.failures[call_id] = failure

    def _call(self, event: Event, call_id: str, name: str, arguments: str) -> None:
        """A call arrives twice, the second time with the arguments that the tool gets."""
        known = self.calls.setdefault(call_id, Call(event.ref, name, arguments))
        if arguments == "{}" and known.arguments not in ("", "{}"):
            known.replaced = known.arguments

    def signs(self, until_ns: int, stops: list[int], joined: set[int], *, is_open: bool = False) -> Iterator[Sign]:
        """The signs. `until_ns`: until when a client listened. `stops`: times of the user's interrupts. `joined`: the
        streams that began in the middle of a turn, and may lack a call. `is_open`: whether the endings of the streams
        are unknown."""
        lacking = [(id_, call) for id_, call in self.calls.items() if id_ not in self.outputs]
        for id_, call in lacking[:_MOST]:
            yield _without_output(id_, call, until_ns, stops, is_open=is_open)
        yield from self._failed(stops)
        uncalled = [(id_, ref) for id_, ref in self.outputs.items() if id_ not in self.calls]
        for id_, ref in uncalled[:_MOST]:
            if ref.stream not in joined:
                message = f"the output of the call {said(id_)} arrived without the call itself"
                yield sign_at("output-without-call", message, [ref])

    def _failed(self, stops: list[int]) -> Iterator[Sign]:
        """Calls with a failure as output, or with arguments that were no JSON."""
        bad = [id_ for id_, call in self.calls.items() if call.replaced is not None or id_ in self.failures]
        for id_ in [*bad, *(id_ for id_ in self.failures if id_ not in self.calls)][:_MOST]:
            call, returned = self.calls.get(id_), self.outputs.get(id_)
            refs = [ref for ref in (call.ref if call else None, returned) if ref is not None]
            parts = [f"failed: {said(self.failures[id_], 120)}"] if id_ in self.failures else []
            if call is not None and call.replaced is not None:
                parts.insert(0, f"was called with broken arguments, which were replaced by {{}}: {said(call.replaced)}")
            message = f"{_named(call)} (call {said(id_)}) {', and '.join(parts)}"
            was_stopped = returned is not None and any(refs[0].at_ns <= stop <= returned.at_ns for stop in stops)
            severity: Severity | None = "note" if was_stopped else None
            yield sign_at("tool-failed", message, refs, about=id_, severity=severity)


def _named(call: Call | None) -> str:
    return f"the tool {said(call.name)}" if call and call.name else "a tool"


def _without_output(id_: str, call: Call, until_ns: int, stops: list[int], *, is_open: bool) -> Sign:
    waited = until_ns - call.ref.at_ns
    was_stopped = any(stop >= call.ref.at_ns for stop in stops)
    severity: Severity | None = "note" if was_stopped or is_open else None
    since = f" in the {seconds(waited)} that were recorded after it" if waited > SECOND else ""
    message = f"{_named(call)} (call {said(id_)}) was called and has no output{since}"
    return sign_at("tool-without-output", message, [call.ref], until_ns=until_ns, severity=severity)


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
        return {protocol.SESSION_CREATED: self._child, protocol.SESSION_CHILD_SESSION_UPDATED: self._updated}

    def _child(self, event: Event) -> Child | None:
        id_ = as_text(event.data.get("child_session_id"))
        return None if id_ is None else self.known.setdefault(id_, Child(event.ref, event.ref))

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
        severity: Severity | None
        for id_, child in list(self.known.items())[:_MOST]:
            if id_ in deleted and child.first.at_ns <= deleted[id_] and child.is_at_work(deleted[id_]):
                message = f"the session of the sub-agent {said(child.title or id_)} was deleted while it worked"
                refs = list(dict.fromkeys([child.first, child.last]))
                severity = None if child.status in _UNDER_WAY else "warning"  # the parent continues
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
                severity = "note" if may_work else None
                yield sign_at("child-unfinished", message, refs, until_ns=until_ns, about=id_, severity=severity)
