"""Checks of tool calls and their outputs, by call id, over all streams of a session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...omnigent import protocol
from ..turns.lenient import as_dict, as_text, failure_in, written
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

_MOST = 50


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
