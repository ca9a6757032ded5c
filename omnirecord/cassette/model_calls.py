"""The model calls of a cassette: which exchanges are calls, and their values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import chain

from ..contract import OMNIGENT
from ..model import Exchange
from ..providers.call import ModelCall, call_of
from ..providers.register import REGISTER, Api, api_of, api_of_path, later_id
from .contracts import AUTO, judge_with, load
from .select import Source


class ModelHops:
    """The model calls among the exchanges of a cassette.

    A call is a POST to a path of a model API, if the contract of such an API judges it. For a further upstream that was
    recorded with `none` or a file, the contract `auto` decides instead. If the contract of a model API was given, a
    stream at another path is a call, too.
    """

    def __init__(self, store: Source) -> None:
        self._store = store
        self.names = {one.recording: one.hop for one in store.recordings()}
        """The names of the hops, by recording."""

    def __bool__(self) -> bool:
        return bool(self.recordings)

    @cached_property
    def recordings(self) -> set[int]:
        """The recordings with calls. No body is read."""
        return {x.recording for x in self.exchanges()}

    @property
    def has_further(self) -> bool:
        """Whether a further upstream was recorded, which is that of a model."""
        return any(name is not None for name in self.names.values())

    @cached_property
    def _later(self) -> dict[tuple[int, str], Exchange]:
        """The last request for each earlier answer, by recording and id."""
        return {(x.recording, id_): x for id_, x in self.later_requests()}

    def later_requests(self) -> Iterator[tuple[str, Exchange]]:
        """Return the requests for earlier answers that got a whole one, each with the id of the answer. No body is
        read."""
        for x in self._store.exchanges(in_session=False):
            is_whole = x.kind in ("http", "sse") and x.ending in ("eof", "done")
            if is_whole and x.response is not None and x.response.status == 200:
                id_ = later_id(x.request.target)
                if id_ is not None:
                    yield id_, x

    def later(self, call: ModelCall) -> Exchange | None:
        """Return the last request for the rest of an answer that its client did not get as a whole."""
        return self._later.get((call.recording, call.response_id or "")) if call.may_have_more else None

    def api_of(self, x: Exchange) -> Api | None:
        """Return the API of a model call; None for another exchange. No body is read."""
        if x.request.method != "POST" or x.session_id is not None:
            return None
        judge = self._store.judge_of(x).api.name
        by_path = api_of(x.request.target)
        if judge in REGISTER:
            is_at_another_path = x.kind == "sse" and api_of_path(x.request.target) is None
            return by_path or (judge if is_at_another_path else None)
        if judge == OMNIGENT or by_path is None or self.names.get(x.recording) is None:
            return None
        return by_path if judge_with(load(AUTO), x).api.name in REGISTER else None

    def has(self, x: Exchange) -> bool:
        """Return whether an exchange is a model call. No body is read."""
        return self.api_of(x) is not None

    def exchanges(self) -> Iterator[Exchange]:
        """Return the model calls, by recording and start. No body is read."""
        return (x for x in self._store.exchanges(in_session=False) if self.has(x))


def without_calls(store: Source, exchanges: list[Exchange]) -> list[Exchange]:
    """Return the exchanges that are no model calls."""
    hops = ModelHops(store)
    return [x for x in exchanges if not hops.has(x)]


def calls_in(store: Source) -> Iterator[ModelCall]:
    """Return the model calls of a cassette, by recording and start."""
    hops = ModelHops(store)
    return filter(None, (call_in(store, x, hops) for x in hops.exchanges()))


def call_in(store: Source, x: Exchange, hops: ModelHops, *, with_answer: bool = True) -> ModelCall | None:
    """Return the model call in an exchange; None if it is none. Without its answer, only the request is read."""
    is_streamed = x.kind == "sse"
    response = store.decoded_body(x, "response") if with_answer and not is_streamed else b""
    frames = store.frames(x) if with_answer and is_streamed else ()
    api = hops.api_of(x)
    hop = hops.names.get(x.recording)
    request = store.decoded_body(x, "request")
    call = call_of(x, request, response, frames, hop=hop, api=api)
    later = None if call is None else hops.later(call)
    if call is None or later is None:
        return call
    until_then = replace(x, kind=later.kind, stream=later.stream, response=later.response, ending=later.ending)
    until_then = replace(until_then, end_ns=later.end_ns, response_bytes=later.response_bytes)
    if later.kind == "http":
        whole = call_of(until_then, request, store.decoded_body(later, "response"), hop=hop, api=api)
    else:
        # The rest of a cut stream follows its beginning: a client names the last event that it has.
        rest = chain(store.frames(x) if is_streamed else (), store.frames(later))
        whole = call_of(until_then, request, b"", rest, hop=hop, api=api)
    if whole is None:
        return call
    whole = replace(whole, first_byte_ns=call.first_byte_ns, status=call.status)
    return replace(whole, stream=call.stream, deltas=call.deltas) if is_streamed else whole


def count_calls(store: Source) -> int:
    """Return the number of model calls of a cassette. No body is read."""
    return sum(1 for _ in ModelHops(store).exchanges())
