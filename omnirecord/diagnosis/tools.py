"""Tool calls and their outputs, by call id, whichever stream of the session brought them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..story.reading import as_dict, as_text
from .event import SECOND, Event, Handlers, Place, said, seconds, sign_at
from .finding import Severity, Sign

_MOST = 50


@dataclass(eq=False)
class Call:
    place: Place
    name: str


class Tools:
    """The tool calls of one session."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.outputs: dict[str, Place] = {}

    def handlers(self) -> Handlers:
        return {"response.output_item.done": self._item}

    def _item(self, event: Event) -> None:
        item = as_dict(event.data.get("item"))
        call_id = as_text(item.get("call_id"))
        if call_id is None:
            return
        if item.get("type") == "function_call":
            self.calls.setdefault(call_id, Call(event.place, as_text(item.get("name")) or "a tool"))
        elif item.get("type") == "function_call_output":
            self.outputs.setdefault(call_id, event.place)

    def signs(self, until_ns: int, stops: list[int], joined: set[int], *, is_open: bool = False) -> Iterator[Sign]:
        """`until_ns`: until when somebody listened. `stops`: when the user interrupted. `joined`: the streams that
        began to listen in the middle of a turn, and may have missed a call. `is_open`: how the streams ended is
        unknown."""
        lacking = [(id_, call) for id_, call in self.calls.items() if id_ not in self.outputs]
        for id_, call in lacking[:_MOST]:
            yield _without_output(id_, call, until_ns, stops, is_open=is_open)
        uncalled = [(id_, place) for id_, place in self.outputs.items() if id_ not in self.calls]
        for id_, place in uncalled[:_MOST]:
            if place.stream not in joined:
                message = f"the output of the call {said(id_)} came, and the call itself did not"
                yield sign_at("output-without-call", message, [place])


def _without_output(id_: str, call: Call, until_ns: int, stops: list[int], *, is_open: bool) -> Sign:
    waited = until_ns - call.place.at_ns
    was_stopped = any(stop >= call.place.at_ns for stop in stops)
    severity: Severity | None = "note" if was_stopped or is_open else None
    since = f" in the {seconds(waited)} that were recorded after it" if waited > SECOND else ""
    message = f"{said(call.name)} (call {said(id_)}) was called and has no output{since}"
    return sign_at("tool-without-output", message, [call.place], until_ns=until_ns, severity=severity)
