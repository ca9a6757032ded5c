"""Checks of tool calls, sub-agents and approvals, over all streams of a session.

`Tools`: calls and their outputs, by call id. `Children`: did each child session end, and was its failure seen?
`Approvals`: the agent's questions and their answers, by elicitation id.

The live server sends `response.elicitation_resolved` twice. It does not send a pending question to a client that
connects later; only the session's snapshot has it. The server denies a question after its own time limit, or when the
client closes the POST that raised it. A denial has no event of its own. 60 s after an unanswered question, the server
sends a `response.elicitation_resolved` whose action is null.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...model import by_key
from ...omnigent import protocol
from ...wire.strict_json import as_dict, as_text, text_of, written
from ..turns.patience import PATIENCE, SECOND, TOGETHER
from ..turns.requests import Act
from ..turns.tool_output import failure_in
from .finding import Event, FrameRef, Handlers, Sign, said, seconds, sign_at
from .turns import fault

_MOST = 50
_UNDER_WAY = frozenset({"launching", "queued", "in_progress", "running", "waiting", "pending"})


@dataclass(eq=False)
class Call:
    ref: FrameRef
    name: str
    arguments: str
    replaced: str | None = None
    """The model's arguments, if the server replaced them by `{}`."""


class Tools:
    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.outputs: dict[str, FrameRef] = {}
        self.failures: dict[str, str] = {}
        """The failure in each failed call's output."""

    def handlers(self) -> Handlers:
        return {protocol.RESPONSE_OUTPUT_ITEM_DONE: self._item}

    def _item(self, event: Event) -> None:
        item = event.item
        call_id = as_text(item.get("call_id"))
        if call_id is None:
            return
        if item.get("type") == "function_call":
            # A call arrives twice, the second time with the arguments that the tool gets.
            arguments = written(item.get("arguments")) or ""
            known = self.calls.setdefault(call_id, Call(event.ref, as_text(item.get("name")) or "", arguments))
            if arguments == "{}" and known.arguments not in ("", "{}"):
                known.replaced = known.arguments
        elif item.get("type") == "function_call_output":
            self.outputs.setdefault(call_id, event.ref)
            failure = failure_in(written(item.get("output")), as_text(item.get("status")))
            if failure is not None:
                self.failures[call_id] = failure

    def signs(self, until_ns: int, stops: list[int], joined: set[int], *, is_open: bool = False) -> Iterator[Sign]:
        """The signs. `until_ns`: until when a client listened. `stops`: times of the user's interrupts. `joined`: the
        streams that began in the middle of a turn, and may lack a call. `is_open`: whether the endings of the streams
        are unknown."""
        lacking = [(id_, call) for id_, call in self.calls.items() if id_ not in self.outputs]
        for id_, call in lacking[:_MOST]:
            waited = until_ns - call.ref.at_ns
            was_stopped = any(stop >= call.ref.at_ns for stop in stops)
            severity = "note" if was_stopped or is_open else None
            since = f" in the {seconds(waited)} that were recorded after it" if waited > SECOND else ""
            message = f"{_named(call)} (call {said(id_)}) was called and has no output{since}"
            yield sign_at("tool-without-output", message, [call.ref], until_ns=until_ns, severity=severity)
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
            yield sign_at("tool-failed", message, refs, about=id_, severity="note" if was_stopped else None)


def _named(call: Call | None) -> str:
    return f"the tool {said(call.name)}" if call and call.name else "a tool"


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
        for id_, child in list(self.known.items())[:_MOST]:
            name, refs = f"the sub-agent {said(child.title or id_)}", [child.first, child.last]
            if id_ in deleted and child.first.at_ns <= deleted[id_] and child.is_at_work(deleted[id_]):
                message = f"the session of {name} was deleted while it worked"
                severity = None if child.status in _UNDER_WAY else "warning"  # the parent continues
                times = {"since_ns": deleted[id_], "until_ns": until_ns}
                yield sign_at("session-deleted", message, refs, about=id_, severity=severity, **times)
            elif id_ not in at_rest and child.status == "failed":
                message = f"{name} failed, and no stream carried its turn: {child.error or 'no reason was given'}"
                yield sign_at("turn-failed", message, [child.last], about=id_, severity="warning")
            elif id_ not in at_rest and (child.status is None or child.status in _UNDER_WAY):
                quiet_ns = until_ns - child.last.at_ns
                waited = "" if is_open else f", and no event about it came for {seconds(quiet_ns)}"
                message = f"{name} is still {said(child.status or 'unknown')}{waited}"
                severity = "note" if is_open or quiet_ns < PATIENCE else None
                yield sign_at("child-unfinished", message, refs, until_ns=until_ns, about=id_, severity=severity)


class _Facts(NamedTuple):
    """The facts about a session that each of its questions needs."""

    posts: list[Act]
    """The messages of clients."""
    until_ns: int
    cuts: Sequence[int]
    is_open: bool


class Approvals:
    """The questions of one session."""

    def __init__(self) -> None:
        self.asked: dict[str, list[FrameRef]] = defaultdict(list)
        self.messages: dict[str, str] = {}
        self.resolved: dict[str, list[FrameRef]] = defaultdict(list)
        self.decided: dict[str, FrameRef] = {}
        """The first event that resolved a question with an action."""
        self.actions: dict[str, set[str]] = defaultdict(set)
        self.denials: list[FrameRef] = []
        self._worked: FrameRef | None = None
        """The last event that shows the agent at work."""

    def handlers(self) -> Handlers:
        return {
            protocol.RESPONSE_ELICITATION_REQUEST: self._ask, protocol.RESPONSE_ELICITATION_RESOLVED: self._resolve,
            protocol.RESPONSE_OUTPUT_ITEM_DONE: self._item, protocol.SESSION_INPUT_CONSUMED: self._work,
            **dict.fromkeys(protocol.RESPONSE_BEGINS, self._work), **dict.fromkeys(protocol.ENDS, self._end),
        }  # fmt: skip

    def _ask(self, event: Event) -> None:
        id_ = as_text(event.data.get("elicitation_id"))
        if id_ is not None:
            self.asked[id_].append(event.ref)
            self.messages.setdefault(id_, said(as_text(as_dict(event.data.get("params")).get("message"))))

    def _resolve(self, event: Event) -> None:
        id_ = as_text(event.data.get("elicitation_id"))
        if id_ is not None:
            self.resolved[id_].append(event.ref)
            if (action := as_text(event.data.get("action"))) is not None:
                self.actions[id_].add(action)
                self.decided.setdefault(id_, event.ref)

    def _item(self, event: Event) -> None:
        """An item of the agent, or the server's text for a refused message or call."""
        item, text = event.item, text_of(event.item.get("content"))
        if protocol.is_denial(as_text(item.get("response_id"))) or text.startswith(protocol.DENIED_TEXT):
            self.denials.append(event.ref)
        else:
            self._work(event)

    def _end(self, event: Event) -> None:
        """The end of the response by which the server refuses a message."""
        if protocol.is_denial(event.response_id):
            self.denials.append(event.ref)

    def _work(self, event: Event) -> None:
        if self._worked is None or _when(event.ref) > _when(self._worked):
            self._worked = event.ref

    def signs(
        self, acts: Sequence[Act], until_ns: int, in_snapshots: Collection[str], cuts: Sequence[int], *, is_open: bool
    ) -> Iterator[Sign]:
        """The signs. `in_snapshots`: ids of the questions in snapshots. `cuts`: times in ns at which the server ended
        a stream. `is_open`: whether the endings of the streams are unknown."""
        facts = _Facts([act for act in acts if act.kind == "message"], until_ns, cuts, is_open)
        given = (act for act in acts if act.kind == "answer" and not act.refused)
        answers = by_key(given, lambda act: act.elicitation_id)
        for id_, refs in list(self.asked.items())[:_MOST]:
            yield from self._of(id_, refs, answers.get(id_, []), facts)
        for id_, refs in list(self.resolved.items())[:_MOST]:
            if id_ not in self.asked and id_ not in in_snapshots:
                what = f"the question {said(id_)} was resolved"
                if id_ in answers:
                    what = f"a client answered the question {said(id_)} (exchange {answers[id_][0].exchange})"
                message = f"{what}, but no event had raised it"
                yield sign_at("approval-unasked", message, refs, severity="note" if is_open else None)

    def _of(self, id_: str, refs: list[FrameRef], answers: list[Act], facts: _Facts) -> Iterator[Sign]:
        name = f"the question {self.messages[id_]!r}"
        settled, first = self.resolved.get(id_, []), self.decided.get(id_)
        decided = min([(act.at_ns, 0) for act in answers] + ([_when(first)] if first else []), default=None)
        denied = min((one for one in self.denials if _when(one) >= _when(refs[0])), key=_when, default=None)
        # If the agent worked after a question was resolved, its answer was not recorded.
        worked = settled and self._worked is not None and _when(self._worked) > _when(settled[0])
        if decided is None and not (worked and denied is None):
            yield _unanswered(name, refs[0], denied, settled, facts)
        elif decided is not None and denied is not None and decided > _when(denied):
            yield self._too_late(id_, name, refs[0], denied, answers, facts.posts)
        elif answers and (lost := self._lost(name, refs[0], answers[0], facts)):
            yield lost
        given = {act.action for act in answers if act.action is not None} | self.actions.get(id_, set())
        actions = [act.action for act in answers] if len(answers) > 1 else sorted(given)
        if len(actions) > 1:
            times = f"{len(answers)} times" if len(answers) > 1 else "more than once"
            message = f"{name} was answered {times}: {', '.join(map(said, actions))}"
            yield sign_at("approval-answered-twice", message, [*refs[:1], *settled])
        yield from _again(name, refs, settled)

    def _too_late(
        self, id_: str, name: str, asked: FrameRef, denied: FrameRef, answers: list[Act], posts: list[Act]
    ) -> Sign:
        """A late answer. Only a late `accept` is an error: any other answer agrees with the denial."""
        action = answers[0].action if answers else min(self.actions[id_])
        decided = self.decided.get(id_)
        at_ns = answers[0].at_ns if answers else decided.at_ns if decided else denied.at_ns
        severity = None if action == "accept" else "note"
        message = (
            f"{name} was not answered in time{_denied(asked, denied, posts)};"
            f" the answer {said(action)} came{_after(at_ns - denied.at_ns, ' {} later', ' later')} and changed nothing"
        )
        refs = [asked, denied, *([decided] if decided else [])]
        return sign_at("approval-too-late", message, refs, until_ns=max(at_ns, denied.at_ns), severity=severity)

    def _lost(self, name: str, asked: FrameRef, answer: Act, facts: _Facts) -> Sign | None:
        """An answer to a restarted server, which accepts it without knowing the question."""
        worked = self._worked is not None and self._worked.at_ns > answer.at_ns
        waited = facts.until_ns - answer.at_ns
        if worked or waited < PATIENCE or not any(asked.at_ns <= cut < answer.at_ns for cut in facts.cuts):
            return None
        message = (
            f"{name} was asked before the server went away; the answer {said(answer.action)} (exchange"
            f" {answer.exchange}) was accepted, but no event followed in {seconds(waited)}"
        )
        return sign_at("approval-lost", message, [asked], until_ns=facts.until_ns)


def _unanswered(name: str, asked: FrameRef, denied: FrameRef | None, settled: list[FrameRef], facts: _Facts) -> Sign:
    until_ns, refs, severity = facts.until_ns, [asked, *settled[:1]], None
    if denied is not None:
        what, refs = f"was not answered{_denied(asked, denied, facts.posts)}", [asked, denied, *settled[:1]]
    elif settled:
        what = f"was not answered; the server closed it{_after(settled[0].at_ns - asked.at_ns)}"
    elif facts.is_open:
        what, severity = "has no answer in this file, which does not say how the stream ended", "note"
    else:
        raised = (act for act in facts.posts if act.client_left and act.end_ns is not None)
        post = next((act for act in raised if act.at_ns <= asked.at_ns <= (act.end_ns or 0)), None)
        closed = f"; the client closed its own POST (exchange {post.exchange}){_lasted(post)}" if post else ""
        what = f"was not answered in the {seconds(until_ns - asked.at_ns)} that were recorded{closed}"
        severity = None if until_ns - asked.at_ns > PATIENCE else "warning"
    return sign_at("approval-unanswered", f"{name} {what}", refs, until_ns=until_ns, severity=severity)


def _when(ref: FrameRef) -> tuple[int, int]:
    """The sort key of events; imported bodies have no times, only sequences."""
    return ref.at_ns, ref.seq


def _after(ns: int, form: str = " after {}", unknown: str = "") -> str:
    return form.format(seconds(ns)) if ns > 0 else unknown


def _lasted(post: Act) -> str:
    return f" {seconds((post.end_ns or 0) - post.at_ns)} after sending it"


def _denied(asked: FrameRef, denied: FrameRef, posts: Iterable[Act]) -> str:
    """The reason of a denial, as far as the recording shows it."""
    after = denied.at_ns - asked.at_ns
    waited = (post for post in posts if post.end_ns is not None and post.at_ns <= asked.at_ns <= post.end_ns)
    post = next((post for post in waited if abs((post.end_ns or 0) - denied.at_ns) < TOGETHER), None)
    if post is not None and post.client_left:
        return f": the client closed its own POST (exchange {post.exchange}){_lasted(post)}, so the server denied it"
    return f"; the server denied it{_after(after)}{', its own time limit' if post is not None else ''}"


def _again(name: str, refs: list[FrameRef], settled: list[FrameRef]) -> Iterator[Sign]:
    """A question that was sent again: twice on one stream, or on a later stream after it was resolved."""
    streams = [ref.stream for ref in refs]
    is_twice = len(set(streams)) < len(streams)
    over = min((ref.at_ns for ref in settled), default=None)
    is_late = over is not None and any(ref.at_ns > over and ref.stream != refs[0].stream for ref in refs)
    if is_twice or is_late:
        message = f"{name} was asked again{', though it was resolved' if is_late else ''}"
        yield sign_at("approval-asked-again", message, refs, severity="warning" if is_late else None)
