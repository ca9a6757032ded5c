"""Tool calls and their outputs, by call id, whichever stream of the session brought them.

What the streams carried, beside what the server stored.

1. An item that a snapshot holds, that none had before, and that no stream brought, was missed: it came while nobody was
   connected, or was lost on its way. What was there before anybody listened is the session's history.
2. An item that a stream brought, and that a later list of all items has not, was never stored.
3. An item that both have should be the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...omnigent.protocol import RESPONSE_OUTPUT_ITEM_DONE, SESSION_INPUT_CONSUMED
from ..turns.lenient import as_dict, as_text, failure_in, text_of, written
from .finding import SECOND, Event, Handlers, Place, Severity, Sign, counted, said, seconds, sign_at
from .order import ItemList, Key, keyed

_MOST = 50


@dataclass(eq=False)
class Call:
    place: Place
    name: str
    arguments: str
    replaced: str | None = None
    """The arguments that the model wrote, if `{}` came in their place."""


class Tools:
    """The tool calls of one session."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.outputs: dict[str, Place] = {}
        self.failures: dict[str, str] = {}
        """How calls failed, by their outputs."""

    def handlers(self) -> Handlers:
        return {RESPONSE_OUTPUT_ITEM_DONE: self._item}

    def _item(self, event: Event) -> None:
        item = as_dict(event.data.get("item"))
        call_id = as_text(item.get("call_id"))
        if call_id is None:
            return
        if item.get("type") == "function_call":
            self._call(event, call_id, as_text(item.get("name")) or "", written(item.get("arguments")) or "")
        elif item.get("type") == "function_call_output":
            self.outputs.setdefault(call_id, event.place)
            failure = failure_in(written(item.get("output")), as_text(item.get("status")))
            if failure is not None:
                self.failures[call_id] = failure

    def _call(self, event: Event, call_id: str, name: str, arguments: str) -> None:
        """A call comes twice, and the second time with the arguments that the tool gets."""
        known = self.calls.setdefault(call_id, Call(event.place, name, arguments))
        if arguments == "{}" and known.arguments not in ("", "{}"):
            known.replaced = known.arguments

    def signs(self, until_ns: int, stops: list[int], joined: set[int], *, is_open: bool = False) -> Iterator[Sign]:
        """`until_ns`: until when somebody listened. `stops`: when the user interrupted. `joined`: the streams that
        began to listen in the middle of a turn, and may have missed a call. `is_open`: how the streams ended is
        unknown."""
        lacking = [(id_, call) for id_, call in self.calls.items() if id_ not in self.outputs]
        for id_, call in lacking[:_MOST]:
            yield _without_output(id_, call, until_ns, stops, is_open=is_open)
        yield from self._failed(stops)
        uncalled = [(id_, place) for id_, place in self.outputs.items() if id_ not in self.calls]
        for id_, place in uncalled[:_MOST]:
            if place.stream not in joined:
                message = f"the output of the call {said(id_)} came, and the call itself did not"
                yield sign_at("output-without-call", message, [place])

    def _failed(self, stops: list[int]) -> Iterator[Sign]:
        """Calls whose output is a failure, or whose arguments were no JSON."""
        bad = [id_ for id_, call in self.calls.items() if call.replaced is not None or id_ in self.failures]
        for id_ in [*bad, *(id_ for id_ in self.failures if id_ not in self.calls)][:_MOST]:
            call, returned = self.calls.get(id_), self.outputs.get(id_)
            places = [place for place in (call.place if call else None, returned) if place is not None]
            told = [f"failed: {said(self.failures[id_], 120)}"] if id_ in self.failures else []
            if call is not None and call.replaced is not None:
                told.insert(0, f"was called with broken arguments, which were replaced by {{}}: {said(call.replaced)}")
            message = f"{_named(call)} (call {said(id_)}) {', and '.join(told)}"
            was_stopped = returned is not None and any(places[0].at_ns <= stop <= returned.at_ns for stop in stops)
            severity: Severity | None = "note" if was_stopped else None
            yield sign_at("tool-failed", message, places, about=id_, severity=severity)


def _named(call: Call | None) -> str:
    return f"the tool {said(call.name)}" if call and call.name else "a tool"


def _without_output(id_: str, call: Call, until_ns: int, stops: list[int], *, is_open: bool) -> Sign:
    waited = until_ns - call.place.at_ns
    was_stopped = any(stop >= call.place.at_ns for stop in stops)
    severity: Severity | None = "note" if was_stopped or is_open else None
    since = f" in the {seconds(waited)} that were recorded after it" if waited > SECOND else ""
    message = f"{_named(call)} (call {said(id_)}) was called and has no output{since}"
    return sign_at("tool-without-output", message, [call.place], until_ns=until_ns, severity=severity)


_MOST_ITEMS = 20


class Items:
    """The items that the streams of one session carried."""

    def __init__(self) -> None:
        self.heard: dict[Key, tuple[Place, int, str]] = {}
        """Where each came first, a hash of its text, and the beginning of that."""

    def handlers(self) -> Handlers:
        return {RESPONSE_OUTPUT_ITEM_DONE: self._item, SESSION_INPUT_CONSUMED: self._input}

    def _item(self, event: Event) -> None:
        item = as_dict(event.data.get("item"))
        for key, text in keyed(item):
            known = self.heard.get(key)
            # A call comes twice, and the second time as it is stored: the server may have replaced its arguments.
            if known is None or key[0] == "call":
                self.heard[key] = (known[0] if known else event.place, hash(text), said(text))

    def _input(self, event: Event) -> None:
        """A message that the agent has taken in: the stream tells it so, not as an item."""
        item = as_dict(event.data.get("data"))
        id_ = as_text(item.get("item_id"))
        if id_ is not None:
            text = text_of(as_dict(item.get("data")).get("content"))
            self.heard.setdefault(("message", id_), (event.place, hash(text), said(text)))

    def brought(self, text: str, since_ns: int) -> bool:
        """Whether a stream brought a message of this text at that time or later."""
        found = hash(text)
        return any(
            key[0] == "message" and one[1] == found and one[0].at_ns >= since_ns for key, one in self.heard.items()
        )

    def signs(self, snapshots: Sequence[ItemList], begun_ns: int | None, posted: Collection[str]) -> Iterator[Sign]:
        """`begun_ns`: when somebody began to listen; `posted`: the items that clients' messages have become."""
        if begun_ns is not None:
            yield from self._missed(snapshots, begun_ns, posted)
        yield from self._never_stored(snapshots)
        yield from self._differing(snapshots)

    def _missed(self, snapshots: Sequence[ItemList], begun_ns: int, posted: Collection[str]) -> Iterator[Sign]:
        known: set[Key] = {("message", id_) for id_ in posted}
        has_history = False
        for snapshot in snapshots:
            is_history = snapshot.at_ns < begun_ns
            new = [pair for pair in snapshot.items if pair[0] not in known and pair[0] not in self.heard]
            if not is_history and not (has_history and snapshot.is_history):
                new = list(self._behind_heard(snapshot.items, known))
            if new and not is_history:
                yield self._missing(new, snapshot)
            known |= {key for key, _ in snapshot.items}
            has_history = has_history or (is_history and snapshot.is_history) or snapshot.is_whole

    def _behind_heard(self, items: Iterable[tuple[Key, str]], known: set[Key]) -> Iterator[tuple[Key, str]]:
        """Those of a list that were stored after one that was heard."""
        is_behind = False
        for key, text in items:
            is_known = key in self.heard or key in known
            is_behind = is_behind or is_known
            if is_behind and not is_known:
                yield key, text

    def _missing(self, new: list[tuple[Key, str]], snapshot: ItemList) -> Sign:
        before = [place for place, _, _ in self.heard.values() if place.at_ns < snapshot.asked_ns]
        last = max(before, key=lambda place: place.at_ns, default=None)
        what = ", ".join(f"{key[0]} {text!r}" for key, text in ((key, said(text, 40)) for key, text in new[:3]))
        more = f" and {len(new) - 3} more" if len(new) > 3 else ""
        items = counted(len(new), "item")
        message = f"the answer of exchange {snapshot.exchange} holds {items} that no stream carried: {what}{more}"
        since = last.at_ns if last else 0
        stream, seqs = (last.stream, (last.seq,)) if last else (None, ())
        return Sign("items-missed", message, since, snapshot.at_ns, stream, seqs)

    def _never_stored(self, snapshots: Sequence[ItemList]) -> Iterator[Sign]:
        whole = [snapshot for snapshot in snapshots if snapshot.is_whole]
        if not whole:
            return
        last, ever = whole[-1], {key for snapshot in snapshots for key, _ in snapshot.items}
        lost = [
            (key, place, text) for key, (place, _, text) in self.heard.items()
            if key not in ever and place.at_ns < last.asked_ns and not self._is_under_way(key)
        ]  # fmt: skip
        if lost:
            what = ", ".join(f"{key[0]} {text!r}" for key, _, text in lost[:3])
            message = (
                f"{counted(len(lost), 'item')} came that the answer of exchange {last.exchange} does not have: {what}"
            )
            yield sign_at("items-never-stored", message, [place for _, place, _ in lost[:_MOST_ITEMS]])

    def _is_under_way(self, key: Key) -> bool:
        """A call is stored once its output is there."""
        return key[0] == "call" and ("output", key[1]) not in self.heard

    def _differing(self, snapshots: Sequence[ItemList]) -> Iterator[Sign]:
        told: set[Key] = set()
        for snapshot in snapshots:
            for key, text in snapshot.items:
                heard = self.heard.get(key)
                if heard is None or key in told or heard[1] == hash(text) or len(told) >= _MOST_ITEMS:
                    continue
                told.add(key)
                message = (
                    f"the {key[0]} {said(key[1])} came as {heard[2]!r}, and exchange {snapshot.exchange} has it as"
                    f" {said(text)!r}"
                )
                yield sign_at("item-differs-from-stored", message, [heard[0]], until_ns=heard[0].at_ns + SECOND)
