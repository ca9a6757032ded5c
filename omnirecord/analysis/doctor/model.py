"""Checks of model calls: failures that the client was not told of, retries, rate limits, tokens, and odd events.

A call with a turn is compared with that turn. A finding about calls without a turn belongs to their conversation. Times
are on the clock of the turn's recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from signal import SIGINT
from typing import NamedTuple
from urllib.parse import urlsplit

from ...cassette.labels import exit_code_of, signal_of, told_signal
from ...cassette.model_calls import ModelHops
from ...cassette.select import Source
from ...model import Exchange, by_key
from ...providers.call import ModelCall
from ...text import counted, joined, one_line
from ...wire.addresses import repeated_part
from ...wire.strict_json import fresh_payload
from ..conversations import ConcludedTalk, conversations_in, named_tools, when_cut
from ..gather import model_calls, whole_sessions
from ..model_calls.values import Link, ModelCalls, requests_of
from ..turns.patience import SILENT
from ..turns.values import Session, Tool, Turn
from .checks import CODES, RANK
from .finding import SEVERITIES, Severity, Sign, event_of, said, seconds
from .stream import Contract
from .tools import AGAIN, MOST, told_failure, told_repetition

_OF_EVENTS = frozenset({"malformed", "event-type-differs", "contract-invalid", "contract-unknown"})
_FAILED = "model-failed"
_LIMIT = 160
"""Length of an error message, in characters."""


_WAIT = "Let the command wait for its processes, or record them with omnirecord proxy."
_OUTLIVED = (
    "A process that outlived the command made the call. run stops the recorder shortly after the end of the command.",
    _WAIT,
)
_REFUSED = ("run stops the recorder shortly after the end of the command. Later requests of the process fail.", _WAIT)
_STOPPED = ("The recording ends before the answer.", "Record until the program has ended.")
_KILLED = (
    "A signal ended the command: of a user or a time limit, of the system without free memory, or because of a crash.",
    "Read the output of the command, and the log of the system.",
)
"""Reasons and next steps."""


class Owner(NamedTuple):
    """The conversation or the session that a finding belongs to."""

    recording: int
    name: str | None
    """Its id; None if the call belongs to none."""


class ModelChecks:
    """The model calls of a cassette and their turns. A cassette without a model hop has no signs."""

    def __init__(self, store: Source) -> None:
        self._store = store
        self.hops = ModelHops(store)
        self._upstreams = {one.recording: one.upstream for one in store.recordings()}
        sessions = list(whole_sessions(store)) if self.hops else []
        self.calls: ModelCalls = model_calls(store, lambda: sessions)
        self._sessions: dict[tuple[int, str | None], Session] = {
            (one.recording, one.session_id): one for one in sessions if one.session_id is not None
        }

    def of_session(self, recording: int, session_id: str | None) -> Iterator[Sign]:
        session = self._sessions.get((recording, session_id))
        for turn in session.turns if session is not None else ():
            links = self.calls.of(turn)
            if links:
                yield from _of_turn(turn, links, is_whole=not self.calls.maybe(turn))

    def astray(self, recording: int | None = None) -> Iterator[tuple[Owner, list[Sign]]]:
        """Return the signs of calls without a turn, and of the events of all calls, with their owners. Signs of
        different lists have different causes. `recording`: only of that one. A conversation is of the recording in
        which it began."""
        return ((one, signs) for one, signs in self._astray if recording in (None, one.recording))

    @cached_property
    def _astray(self) -> list[tuple[Owner, list[Sign]]]:
        found = []
        for owner, requests in self._alike:
            signs = self._of_calls(requests)
            hint = self._repeated(requests[0][-1])
            signs = [replace(one, message=f"{one.message}{hint if one.code == _FAILED else ''}") for one in signs]
            found.append((owner, signs))
        found += self._of_events()
        of_calls = chain(self._of_tools, self._of_commands, self._left_open())
        return found + [(self._owners[sign.calls[-1]], [sign]) for sign in of_calls]

    def codes(self) -> dict[int, str]:
        """Return the code of the worst finding about each call, by its exchange. Its events are not looked at."""
        signs = [sign for recording, id_ in self._sessions for sign in self.of_session(recording, id_)]
        signs += chain.from_iterable(self._of_calls(requests) for _, requests in self._alike)
        signs += self._of_tools
        found: dict[int, str] = {}
        for sign in sorted(signs, key=lambda one: (-SEVERITIES.index(one.level), RANK[one.code])):
            for exchange in sign.calls:
                found.setdefault(exchange, sign.code)
        return found

    @cached_property
    def _owners(self) -> dict[int, Owner]:
        """The conversation, or the session, of each call by its exchange."""
        found = {}
        for link in self.calls.links:
            owner = Owner(link.call.recording, None)
            if link.turn is not None:
                owner = Owner(link.turn.recording, link.turn.session_id)
            found[link.call.exchange] = owner
        for talk in self.calls.talks:
            owner = Owner(talk.links[0].call.recording, talk.session_id)
            found |= {link.call.exchange: owner for link in talk.links}
        return found

    @cached_property
    def _talks(self) -> list[ConcludedTalk]:
        return conversations_in(self.calls, self._store.recordings())

    @cached_property
    def _alike(self) -> list[tuple[Owner, list[list[Link]]]]:
        """The requests of calls without a turn. Those of a conversation are together whose attempts ended alike."""
        links = (link for link in self.calls.links if link.turn is None)
        found = []
        for owner, own in by_key(links, lambda link: self._owners[link.call.exchange]).items():
            alike = by_key(
                requests_of(own),
                lambda request: tuple((link.call.ending, link.call.status, link.call.reason) for link in request),
            )
            found += [(owner, requests) for requests in alike.values()]
        return found

    def _of_calls(self, requests: Sequence[Sequence[Link]]) -> list[Sign]:
        """Return the signs of requests whose attempts ended alike."""
        many = "" if len(requests) == 1 else f"{counted(len(requests), 'request')} like this: "
        again = (replace(sign, message=many + sign.message) for sign in _retried(requests[0]))
        return [*self._failed(requests), *_limited(requests), *again]

    def _failed(self, requests: Sequence[Sequence[Link]]) -> Iterator[Sign]:
        """Return the sign of requests that ended in the same way, if that was no good end."""
        last = [request[-1] for request in requests]
        call = last[0].call
        number = counted(len(last), "model call")
        code = _FAILED
        severity: Severity | None = None
        steps = None
        message = f"{f'{number} failed in the same way; the first: ' if len(last) > 1 else ''}{_why(last[0])}"
        if call.is_killed:
            code = "recorder-killed"
            message = f"the recorder was killed before the answer of {number} was complete"
        elif call.cut_by == "recorder":
            code = "recorder-stopped"
            is_of_run = call.recording in self._commands
            who = "the command ended" if is_of_run else "the recorder was stopped"
            message = f"{who} before the answer of {number} was complete"
            steps = _OUTLIVED if is_of_run else _STOPPED
        elif call.cut_by == "client":
            if self._commands.get(call.recording) == SIGINT.name:
                return  # the finding about the command says so
            severity = "note" if call.deltas else "warning"
        elif call.ending == "incomplete":
            code = "model-truncated"
        elif not call.has_failed:
            return
        elif all(link.call.exchange in self._went_on for link in last):
            severity = "warning"
            message += ", and the turn went on without it"
        place = f" (exchange {call.exchange})"
        sign = _sign(code, message + place, last, severity=severity, at=last[0], has_place=True)
        yield sign if steps is None else replace(sign, steps=steps)

    @cached_property
    def _went_on(self) -> set[int]:
        """The calls of the completed turns of conversations, by exchange. After one that failed, another one had an
        answer, as of a fallback to another model."""
        links = ((one.session, link) for one in self._talks for link in one.calls.links)
        completed = ((link, session.turns[link.turn.turn - 1].ended) for session, link in links if link.turn)
        return {link.call.exchange for link, ended in completed if ended == "completed"}

    @cached_property
    def _commands(self) -> dict[int, str | None]:
        """The signal that ended the command of each recording of `run` or `fork` whose end is known."""
        recordings = self._store.recordings()
        return {one.recording: signal_of(one.labels) for one in recordings if exit_code_of(one.labels) is not None}

    @cached_property
    def _of_tools(self) -> list[Sign]:
        """The signs of the tool calls of conversations."""
        return [*chain.from_iterable(map(_tool_signs, self._talks))]

    @property
    def _of_commands(self) -> Iterator[Sign]:
        """The signs of the commands that failed, or that processes outlived, about the last conversation of each. The
        sign of a tool without an output has the exit code, too, and that of a cut call tells of such a process."""
        runs = {one.recording: one.run_id or one.recording for one in self._store.recordings()}
        cut = {runs[link.call.recording] for link in self.calls.links if link.call.cut_by == "recorder"}
        last: dict[int | str, ConcludedTalk] = {}
        for one in self._talks:
            run = runs[one.talk.links[-1].call.recording]
            last[run] = max(last.get(run, one), one, key=lambda talk: talk.conclusion.since or "")
        for run, one in last.items():
            if one.end.exit_code and not one.without_output:
                yield _of_command(one)
            if one.end.outlived_by and run not in cut:
                yield _of_outliving(one)

    def _repeated(self, link: Link) -> str:
        """Return the URL of a 404, and its cause if both the upstream's URL and the client have a part of the path."""
        upstream = self._upstreams.get(link.call.recording)
        if link.call.status != 404 or upstream is None:
            return ""
        prefix = urlsplit(upstream).path.rstrip("/")
        target = self._targets.get(link.call.exchange, "").partition("?")[0]
        part = repeated_part(prefix, target)
        if part:
            return f": the path is {prefix}{target}, as both --upstream and the client have {part}"
        return f", at {said(upstream.rstrip('/') + target, _LIMIT)}"

    @cached_property
    def _targets(self) -> dict[int, str]:
        return {x.exchange: x.request.target for x in self.hops.exchanges()}

    def _left_open(self) -> Iterator[Sign]:
        """Return the signs of the streams that stayed open after the end of the answer."""
        links = {link.call.exchange: link for link in self.calls.links}
        for x in self._streams():
            link = links.get(x.exchange)
            ended_ns = None if link is None or not link.call.has_answer else link.call.ended_ns
            if link is not None and ended_ns is not None and x.end_ns is not None and x.end_ns - ended_ns > SILENT:
                open_ = seconds(x.end_ns - ended_ns)
                message = f"the connection of a model call stayed open for {open_} after the answer was complete"
                yield replace(_sign("model-left-open", message, [link]), until_ns=x.end_ns)

    def _of_events(self) -> Iterator[tuple[Owner, list[Sign]]]:
        """Return the signs of events that clients cannot read."""
        checks: dict[Owner, Contract] = {}
        for x in self._streams():
            owner = self._owners.get(x.exchange, Owner(x.recording, None))
            for frame in self._store.frames(x):
                if frame.verdict != "valid":
                    event = event_of(frame, fresh_payload(frame), in_snapshot=False)
                    checks.setdefault(owner, Contract()).odd(event)
        for owner, check in checks.items():
            yield owner, [sign for sign in check.signs() if sign.code in _OF_EVENTS]

    def _streams(self) -> Iterator[Exchange]:
        return (x for x in self._store.exchanges(kind="sse") if self.hops.has(x))


def _tool_signs(one: ConcludedTalk) -> Iterator[Sign]:
    """Return the signs of the tool calls of a conversation: without an output, failed, or repeated."""
    last = one.talk.links[-1]
    code = one.end.exit_code
    told = "" if code is None else f", and the command ended with exit code {code}"
    severity: Severity = "error" if code else "note"
    if code is None:
        severity = "warning"
    for number, name in enumerate(one.without_output[:MOST]):
        message = (
            f"the last answer calls {named_tools([name])}, whose output was not sent to the model"
            f" (exchange {last.call.exchange}){told}"
        )
        sign = _sign("tool-without-output", message, [last], severity=severity, has_place=True)
        yield replace(sign, about=(last.call.exchange, number))
    calls = [(turn, *call) for turn in one.session.turns for call in _tools_with_calls(turn, one.calls.of(turn))]
    failed = ((tool, link) for _, tool, link in calls if tool.failed is not None)
    for tool, link in islice(failed, MOST):
        sign = _sign("tool-failed", told_failure(tool), [link])
        yield replace(sign, about=(link.call.exchange, tool.call_id))
    equal = by_key(calls, lambda call: (call[0].turn, call[1].name, call[1].arguments)).values()
    for some in islice((some for some in equal if len(some) >= AGAIN), MOST):
        turn, tool, _ = some[0]
        links = [link for _, _, link in some]
        yield _sign("tool-repeated", told_repetition(tool, len(some), turn.turn), links, at=links[0])


def _tools_with_calls(turn: Turn, links: Sequence[Link]) -> Iterator[tuple[Tool, Link]]:
    """Return the tool calls of a turn of a conversation, each with the model call that asked for it."""
    asking = (link for link in links for _ in link.call.tool_calls)
    return zip(turn.tools, asking, strict=True)


def _of_command(one: ConcludedTalk) -> Sign:
    signal = one.end.signal
    is_interrupted = signal == SIGINT.name
    told = "" if signal is None else f"was {told_signal(signal)}: it"
    if is_interrupted:
        told = "was interrupted: it"
    message = joined(["the command", told, f"ended with exit code {one.end.exit_code}"])
    last = one.talk.links[-1]
    sign = _sign("command-failed", message, [last], severity="note" if is_interrupted else None)
    if is_interrupted:
        return replace(sign, steps=("A signal ended the command, such as that of Ctrl-C.", "Run the command again."))
    if last.call.has_failed or (last.call.cut_by == "client" and not last.call.deltas):
        return replace(sign, steps=("The last model call of the command failed.", "Read the finding about that call."))
    if signal is not None:
        return replace(sign, steps=_KILLED)
    return sign


def _of_outliving(one: ConcludedTalk) -> Sign:
    number = one.end.outlived_by
    left = "a process" if number == 1 else f"{number:,} processes"
    sign = _sign("recorder-stopped", f"{left} outlived the command, and cannot reach the recorder", one.talk.links[-1:])
    return replace(sign, steps=_REFUSED)


def _of_turn(turn: Turn, links: Sequence[Link], *, is_whole: bool) -> Iterator[Sign]:
    requests = requests_of(links)
    for request in requests:
        yield from _end(turn, request, is_last=request is requests[-1])
        yield from _retried(request, f" in turn {turn.turn}")
    yield from _limited(requests, f" of turn {turn.turn}")
    if is_whole:
        yield from _tokens(turn, links)


def _end(turn: Turn, request: Sequence[Link], *, is_last: bool) -> Iterator[Sign]:
    """Return the sign of a request that did not end well."""
    last = request[-1]
    if not last.call.has_failed and last.call.ending != "incomplete":
        return
    what = "truncated" if last.call.ending == "incomplete" else "failed"
    if turn.ended == "completed":
        how = "the client was told that it is completed" if is_last else "the turn went on without it"
        message = f"turn {turn.turn}: {_why(last)}, and {how}"
        yield _sign(f"model-{what}-hidden", message, request, turn, severity=None if is_last else "warning")
    elif turn.ended != "interrupted":
        yield _sign(f"model-{what}", f"turn {turn.turn}: {_why(last)}", request, turn)


def _why(link: Link) -> str:
    """Return how a call failed or was cut short."""
    call = link.call
    told = one_line(joined([None if call.is_unreached else call.reason, call.error], ": "))
    reason = f": {said(told, _LIMIT).rstrip('.')}" if told else ""
    if call.ending == "refused":
        return f"{call.refusal}{reason}"
    if call.cut_by == "client":
        return f"the client left {when_cut(call)}"
    if call.ending == "cut":
        return f"the provider cut the answer after {seconds(max((call.ended_ns or 0) - call.started_ns, 0))}"
    if call.ending == "incomplete":
        return f"the model stopped before its answer was complete{reason}"
    return f"the {'provider could not be reached' if call.is_unreached else 'model call failed'}{reason}"


def _retried(request: Sequence[Link], where: str = "") -> Iterator[Sign]:
    if len(request) < 2:
        return
    first = request[0]
    last = request[-1]
    calls = [link.call for link in request[:-1]]
    told = [_shortly(one) for one in calls]
    failed = ", ".join(dict.fromkeys(told))
    later = seconds(max(last.started_ns - first.started_ns, 0))
    end = f"the last attempt began {later} after the first" if last.call.has_answer else "no attempt succeeded"
    sign = _sign("model-retried", f"a request was sent {len(request)} times{where} ({failed}); {end}", request)
    lost = next((one for one in calls if one.is_unreached or one.ending == "cut"), None)
    steps = None if lost is None else _steps(lost)
    yield sign if steps is None else replace(sign, steps=(CODES[sign.code].why, steps[1]))


def _shortly(call: ModelCall) -> str:
    """Return how an attempt ended in a few words."""
    if call.is_unreached:
        return "not reached"
    if call.ending == "cut":
        return f"cut by the {call.cut_by}" if call.status else f"no answer before the {call.cut_by} left"
    return f"{call.status} {said(call.reason, 40) if call.reason else call.ending}"


def _limited(requests: Sequence[Sequence[Link]], where: str = "") -> Iterator[Sign]:
    """Return the sign of refused calls. The failure of a request whose last call was refused is a sign of its own."""
    refused = [
        [link for link in request if link.call.is_rate_limited]
        for request in requests
        if not (request[-1].call.has_failed and request[-1].call.is_rate_limited)
    ]
    limited = [link for links in refused for link in links]
    if limited:
        calls = sum(map(bool, refused))
        what = counted(calls, "call")
        if len(limited) > calls:
            what = f"{len(limited):,} attempts of {what}"
        told = next((link for link in limited if link.call.error), limited[0])
        why = said(told.call.error or "", _LIMIT)
        message = f"the provider refused {what}{where} because of a rate limit or its load"
        yield _sign("model-rate-limited", f"{message}{': ' + why if why else ''}", limited, at=told)


def _tokens(turn: Turn, links: Sequence[Link]) -> Iterator[Sign]:
    used = turn.usage
    counts = [link.call.usage for link in links if link.call.usage is not None]
    if used is None or any(link.call.usage is None and link.call.has_answer for link in links) or turn.restarts_ns:
        return
    theirs = sum(one.input_tokens or 0 for one in counts), sum(one.output_tokens or 0 for one in counts)
    told = used.input_tokens, used.output_tokens
    cached = sum(one.cached_tokens or 0 for one in counts)
    uncached = sum((one.input_tokens if one.uncached_tokens is None else one.uncached_tokens) or 0 for one in counts)
    # The client's numbers may leave out the tokens that the provider read from its cache, or also those that it wrote.
    known = [(number, theirs[1]) for number in (theirs[0], theirs[0] - cached, uncached)]
    if counts and None not in told and told not in known:
        message = (
            f"turn {turn.turn}: the client was told {told[0]:,} input and {told[1]:,} output tokens, but the provider"
            f" counted {theirs[0]:,} and {theirs[1]:,} in {counted(len(links), 'call')}"
        )
        yield _sign("tokens-differ", message, links, turn)


def _sign(
    code: str,
    message: str,
    links: Sequence[Link],
    turn: Turn | None = None,
    *,
    severity: Severity | None = None,
    at: Link | None = None,
    has_place: bool = False,
) -> Sign:
    """Return a sign that covers the calls, and the rest of their turn. `at`: the call that the message is about, by
    default the last one; the sign names its stream, or its exchange if it has none. `has_place`: the message does."""
    call = (at or links[-1]).call
    if call.stream is None and not has_place and code.startswith(("model-", "tool-")):
        message += f" (exchange {call.exchange})"
    ends = [one.started_ns if one.ended_ns is None else one.ended_ns for one in links]
    until = max([*ends, *([] if turn is None else [turn.ended_ns or 0, turn.last_event_ns])])
    return Sign(
        code=code,
        message=message,
        since_ns=min(one.started_ns for one in links),
        until_ns=until,
        stream=call.stream,
        severity=severity,
        exchange=call.exchange,
        about=(links[0].call.exchange, links[-1].call.exchange),
        calls=tuple(one.call.exchange for one in links),
        steps=_steps(call) if code == _FAILED else None,
    )


def _steps(call: ModelCall) -> tuple[str, str] | None:
    """Return the reason and the next step for a failed call; None if only the provider's error says more."""
    whole = "omnirecord request CASSETTE N shows its whole answer."
    if call.is_unreached:
        return (
            "No connection to the server of the model could be made, so it got no request.",
            "Check that this server runs, and the variable or the option that names it, such as OPENAI_BASE_URL.",
        )
    if call.cut_by == "client":
        return (
            "The client closed the connection too early: its own timeout, an early end of the loop over the answer, a"
            " crash or a kill.",
            "Compare the time of the call with the timeout of the client: raise it, or let the model answer sooner."
            " Then read the output of the program.",
        )
    if call.ending == "cut":
        return (
            "The connection ended before the answer was complete. The model may have finished it all the same.",
            "Run omnirecord show CASSETTE to see the answer up to the cut. If this happens again at the same time, look"
            " for a time limit of the provider, or of a proxy before it.",
        )
    if call.ending != "refused" or call.status is None:
        return None
    if call.is_rate_limited:
        return (
            "A rate limit was reached, or the provider was overloaded, in every attempt.",
            f"Compare the limits of the account with the calls at that time. {whole}",
        )
    if call.status in (401, 403):
        return (
            "The provider did not accept the key of the request, or the account may not use this model.",
            f"Check the key of the program, such as OPENAI_API_KEY, and that it is for this server. {whole}",
        )
    if call.status == 404:
        return (
            "The server does not know this path, or this model.",
            f"Check the URL of the server and the name of the model. {whole}",
        )
    if call.status >= 500:
        return "The provider failed. The request may be right.", f"Run the program again later. {whole}"
    return "The provider does not accept the request as it is.", f"Compare the request with the error. {whole}"
