"""One recorded exchange with a model API as one value: `ModelCall`. Pure; no content of an exchange makes it fail.

    call = call_of(x, request, response, frames)

It reads the APIs of `register`, by the path of the request, each with a streamed or a plain JSON answer. `request` and
`response` are bodies without a content coding, `frames` those of a streamed answer.

How a call ended:

1. `completed`: the answer has its end, and the model finished it.
2. `incomplete`: the answer has its end, and the model was stopped: by a token limit, a content filter, a refusal.
3. `failed`: the provider reported an error in its answer, or was not reached.
4. `refused`: the provider answered with an error status, 400 or above.
5. `cut`: the answer has no end. `cut_by` says which side closed the connection.
6. `open`: the exchange is still being recorded. `unknown`: the body is no answer of this API, or cannot be read. With
   a reason, such as `queued`, the model worked in the background.

A later request (`register.later_id`) may get the rest of an answer that was cut, or that the model worked on.

The type of an event tells the end, even if the rest of the event cannot be read. An answer with its end is over,
whatever happens to the connection after it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from ..model import UNREACHED, Ending, Exchange, TimedFrame, Verdict
from ..wire.content_coding import codings_of
from ..wire.headers import header
from ..wire.sse import read_fields
from ..wire.strict_json import as_dict, as_text, loads, payload_of
from .answers import Answer, CallEnding, CallUsage, Delta, ToolRequest
from .conversation import Conversation, conversation_of, names_tool
from .register import Api, model_api
from .register import api_of as api_of_path

CutBy = Literal["client", "provider", "recorder"]

_UNREACHABLE: Ending = "upstream_unreachable"
_RETRY_COUNT = "x-stainless-retry-count"
"""Request header of several SDKs: the number of attempts before this one."""
_OUTPUT_TOOL = re.compile(r"final_(result|answer|output)(_\w+)?")
"""The names by which agent frameworks call the tool whose arguments are the output of the agent."""
_CUT_BY: dict[Ending, CutBy] = {
    "client_left": "client",
    "recorder_stopped": "recorder",
    "recorder_killed": "recorder",
    "eof": "provider",
    "done": "provider",
    "upstream_lost": "provider",
}


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One attempt of one request to a model. All times are ns on the clock of its recording."""

    exchange: int
    recording: int
    hop: str | None
    """The name of the upstream; None for the first one."""
    stream: int | None
    """The number of the stream, if the answer was streamed."""
    api: Api
    model: str | None
    """As the provider names it, else as the request does."""
    attempt: int
    """From 1: one more than the retry count in the request's headers."""
    status: int | None
    """The HTTP status; None without an answer."""
    started_ns: int
    first_byte_ns: int | None
    """The time at which the response headers were complete."""
    first_token_ns: int | None
    """The time of the first delta of text, reasoning or arguments; None for a plain JSON answer."""
    ended_ns: int | None
    """The time of the end of its answer, else of its exchange; None while it is open."""
    ending: CallEnding
    reason: str | None
    """The provider's word for the end: `stop`, `max_output_tokens`, `rate_limit_exceeded`; of a cut, the ending of the
    exchange."""
    error: str | None
    """The provider's message, in one line."""
    cut_by: CutBy | None
    usage: CallUsage | None
    response_id: str | None
    texts: tuple[str, ...]
    """The texts of its messages, as far as they came."""
    reasoning: str
    tool_calls: tuple[ToolRequest, ...]
    deltas: tuple[Delta, ...]
    conversation: Conversation | None
    """The request; None if its body is no request of this API."""
    own_ids: tuple[str, ...] = ()
    """The provider's ids of the answer and its items, with the ids of tool requests. Later requests of the same session
    name some of them."""
    history_ids: tuple[str, ...] = ()
    """The ids in the request: of earlier answers, their items and tool requests."""
    request_is_cut: bool = False
    """Whether the body of the request was not read to its end: it has no conversation then."""
    counts_attempts: bool = True
    """Whether its client sends a retry count."""
    answered_from: int | None = None
    """The number of the exchange of another cassette that is the answer; None if the provider answered."""
    is_replaced: bool = False
    """Whether a later call took its place, in record mode `new_episodes`."""
    events: int = 0
    """The number of events of a streamed answer, with `[DONE]`."""
    odd_events: int = 0
    """The number of these that do not fit the contract."""
    first_event_ns: int | None = None
    beginnings: tuple[bytes, ...] = ()
    """Digests of the first 1, 2, 4, 8, … KiB of the request, as far as it has them."""

    def may_begin(self, other: ModelCall) -> bool:
        """Whether the cut body of this request may be the beginning of the other body."""
        return self.request_is_cut and other.beginnings[: len(self.beginnings)] == self.beginnings

    @property
    def text(self) -> str:
        """The texts, separated by blank lines."""
        return "\n\n".join(self.texts)

    @property
    def gives_output(self) -> bool:
        """Whether the arguments of its tool call are the result of an agent, so that no output follows. The tool has a
        usual name, or is the only one that the request lets the model call."""
        is_only = self.conversation is not None and names_tool(self.conversation)
        return is_only or any(_OUTPUT_TOOL.fullmatch(one.name) for one in self.tool_calls)

    @property
    def is_rate_limited(self) -> bool:
        """Whether the provider refused it because of a rate limit or of its load."""
        api = model_api(self.api)
        return self.status in api.overloaded or (self.reason or "").startswith(api.overloaded_reasons)

    @property
    def may_be_retried(self) -> bool:
        """Whether it failed in a way that another attempt can mend: also if its client waited in vain for a token."""
        if self.ending == "refused":
            return self.status is not None and (self.status in (408, 409, 429) or self.status >= 500)
        return self.has_failed or (self.cut_by == "client" and not self.deltas)

    @property
    def is_unreached(self) -> bool:
        """Whether the request did not reach the provider. `error` says why."""
        return self.ending == "failed" and self.reason == _UNREACHABLE

    @property
    def is_in_background(self) -> bool:
        """Whether the model still worked on the answer. `reason` is the state that the provider named last."""
        return self.ending == "unknown" and self.reason is not None

    @property
    def may_have_more(self) -> bool:
        """Whether a later request may get the rest of its answer."""
        return self.response_id is not None and (self.is_in_background or self.ending == "cut")

    @property
    def last_seen(self) -> str:
        """The state of an answer that the model worked on in the background, as words."""
        return f"the answer was last seen {(self.reason or '').replace('_', ' ')}"

    @property
    def is_killed(self) -> bool:
        """Whether it has no end because the recorder was killed."""
        return self.ending == "cut" and self.reason == "recorder_killed"

    @property
    def refusal(self) -> str:
        """The error status as words; an answer has one if it is `refused`."""
        is_fault = self.status is not None and self.status >= 500
        return f"the provider {'failed' if is_fault else 'refused the call'} with {self.status}"

    @property
    def has_answer(self) -> bool:
        """Whether the model finished its answer, or was stopped in it."""
        return self.ending in ("completed", "incomplete")

    @property
    def continues(self) -> bool:
        """Whether its request has a history, or names one."""
        return bool(self.history_ids) or (self.conversation is not None and len(self.conversation.items) > 1)

    @property
    def has_failed(self) -> bool:
        """Whether the provider refused, failed or cut it."""
        return self.ending in ("failed", "refused") or (self.ending == "cut" and self.cut_by == "provider")


def api_of(method: str, target: str) -> Api | None:
    """Return the model API that a request is for, by its path; None if it is for none."""
    return api_of_path(target) if method == "POST" else None


def call_of(
    x: Exchange,
    request: bytes,
    response: bytes,
    frames: Iterable[TimedFrame] = (),
    *,
    hop: str | None = None,
    api: Api | None = None,
) -> ModelCall | None:
    """Return the model call in an exchange; None if its request is for no model API. `api`: by default, the path tells
    it."""
    if api is None and (api := api_of(x.request.method, x.request.target)) is None:
        return None
    body = as_dict(loads(request))
    answer = model_api(api).answer()
    status = x.response.status if x.response else None
    codings = codings_of(header(x.response.headers if x.response else (), "content-encoding"))
    is_lost = x.kind == "sse" and x.response_bytes > 0 and bool(codings)
    verdicts = Counter[Verdict]()
    first_event_ns = None
    if x.kind == "sse":
        for frame in frames:
            verdicts[frame.verdict] += 1
            if first_event_ns is None and frame.verdict != "comment":
                first_event_ns = frame.offset_ns
            is_lost = frame.raw is None
            answer.at_ns = frame.offset_ns
            answer.seq = frame.seq
            if frame.verdict == "sentinel":
                answer.done()
            elif frame.verdict not in ("comment", "truncated"):
                answer.event(
                    as_dict(payload_of(frame)) or {"type": read_fields(frame.raw or b"", bom=frame.seq == 1).event}
                )
    elif response:
        answer.at_ns = x.end_ns if x.end_ns is not None else x.request.at_ns
        answer.body(loads(response))
        media_type = _media_type(x)
        is_good = status is not None and status < 400 and x.ending in ("eof", "done")
        if is_good and answer.ending is None and media_type.startswith("text/") and loads(response) is None:
            answer.ending = "failed"  # a page of a proxy, for instance
            answer.error = f"the answer is {media_type} instead of JSON"
    if status is not None and status >= 400 and x.ending != "open":  # the reason may follow
        _refuse(x, status, answer, response)
    ending, reason, cut_by = _ending(x, answer, is_lost=is_lost)
    conversation = conversation_of(request, x.request.target)
    model = answer.model or (conversation.model if conversation else as_text(body.get("model")))
    tools = tuple(one.request() for one in answer.tools.values())
    return ModelCall(
        exchange=x.exchange,
        recording=x.recording,
        hop=hop,
        stream=x.stream,
        api=api,
        model=model or None,
        attempt=_attempt(x),
        status=status,
        started_ns=x.request.at_ns,
        first_byte_ns=x.response.at_ns if x.response else None,
        first_token_ns=answer.first_ns,
        ended_ns=_end_ns(x, answer),
        ending=ending,
        reason=reason,
        error=answer.error,
        cut_by=cut_by,
        usage=answer.usage,
        response_id=answer.id,
        texts=tuple(answer.said()),
        reasoning="".join(answer.reasoning),
        tool_calls=tools,
        deltas=tuple(answer.numbered()),
        conversation=conversation,
        own_ids=tuple(dict.fromkeys(filter(None, (answer.id, *answer.ids, *(one.call_id for one in tools))))),
        history_ids=() if conversation is None else conversation.history_ids,
        request_is_cut=x.request_is_cut,
        counts_attempts=header(x.request.headers, _RETRY_COUNT) is not None,
        answered_from=x.answered_from,
        is_replaced=x.is_replaced,
        events=verdicts.total() - verdicts["comment"],
        odd_events=verdicts.total() - sum(verdicts[one] for one in ("comment", "sentinel", "valid")),
        first_event_ns=first_event_ns,
        beginnings=tuple(_beginnings(request)),
    )


def _end_ns(x: Exchange, answer: Answer) -> int | None:
    """Return the end of an answer, else of its exchange: if the recorder was killed, the last event."""
    if answer.ended_ns is None and x.end_ns is None and x.ending == "recorder_killed":
        return answer.at_ns or None
    return x.end_ns if answer.ended_ns is None else answer.ended_ns


def _refuse(x: Exchange, status: int, answer: Answer, response: bytes) -> None:
    """Set the end of an error status. The error gets no words that are told elsewhere."""
    answer.refuse(response)
    if answer.error is not None:
        answer.error = answer.error.removeprefix(f"{status}: ")
        if x.ending == _UNREACHABLE:
            answer.error = answer.error.removeprefix(UNREACHED)


def _beginnings(body: bytes) -> Iterator[bytes]:
    digest = blake2b(digest_size=8)
    at = 0
    size = 1024
    while size <= len(body):
        digest.update(memoryview(body)[at:size])
        yield digest.digest()
        at = size
        size = 2 * size


def _media_type(x: Exchange) -> str:
    name = header(x.response.headers if x.response else (), "content-type") or ""
    return name.partition(";")[0].strip().lower()


def _attempt(x: Exchange) -> int:
    count = header(x.request.headers, _RETRY_COUNT) or ""
    return 1 + min(int(count), 10_000) if count.isascii() and count.isdigit() and len(count) < 9 else 1


def _ending(x: Exchange, answer: Answer, *, is_lost: bool) -> tuple[CallEnding, str | None, CutBy | None]:
    """`is_lost`: the end of a streamed answer arrived, but not as events: it cannot be decoded, or is too large."""
    if x.ending == _UNREACHABLE:
        return "failed", x.ending, None
    if answer.ending is not None:
        return answer.ending, answer.reason, None
    if x.ending == "open":
        return "open", None, None
    is_whole = (x.kind == "http" or is_lost) and x.response is not None and x.ending in ("eof", "done")
    if x.ending == "unknown" or is_whole:
        return "unknown", answer.reason, None
    return "cut", x.ending, _CUT_BY.get(x.ending)


__all__ = ["Api", "CallEnding", "CallUsage", "CutBy", "Delta", "ModelCall", "ToolRequest", "api_of", "call_of"]
