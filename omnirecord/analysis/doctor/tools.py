"""Checks of tool calls, sub-agents and approvals.

The live server sends `response.elicitation_resolved` twice. It does not send a pending question to a client that
connects later; only the session's snapshot has it. The server denies a question after its own time limit, or when the
client closes the POST that raised it. A denial has no event of its own. 60 s after an unanswered question, the server
sends a `response.elicitation_resolved` whose action is null.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from ...model import by_key
from ..turns.conclusion import AT_WORK
from ..turns.draft import Trace
from ..turns.patience import PATIENCE, SECOND, TOGETHER
from ..turns.requests import Act
from ..turns.values import Approval, Ref, Tool
from .finding import Severity, Sign, said, seconds, sign_at
from .session import Examined

MOST = 50
AGAIN = 5
"""Equal calls of one turn that are named, at least."""


def tool_signs(s: Examined) -> Iterator[Sign]:
    yield from islice(_without_output(s), MOST)
    yield from islice(_failed(s), MOST)
    yield from islice(_read(s), MOST)
    yield from islice(_repeated(s), MOST)
    uncalled = [(tool, trace) for tool, trace in s.tools if trace.ended and not trace.begun]
    for tool, trace in uncalled[:MOST]:
        if trace.ended[0].stream not in s.joined:  # a stream that joined may lack a call
            message = f"the output of the call {said(tool.call_id)} arrived without the call itself"
            yield sign_at("output-without-call", message, trace.ended[:1])


def _without_output(s: Examined) -> Iterator[Sign]:
    for tool, trace in s.tools:
        if tool.returned_ns is None and trace.begun:
            called = trace.begun[0]
            waited = s.until_ns - called.at_ns
            is_excused = s.is_open or any(stop >= called.at_ns for stop in s.stops)
            since = f" in the {seconds(waited)} that were recorded after it" if waited > SECOND else ""
            message = f"{_named(tool)} (call {said(tool.call_id)}) was called and has no output{since}"
            severity = "note" if is_excused else None
            yield sign_at("tool-without-output", message, [called], until_ns=s.until_ns, severity=severity)


def _failed(s: Examined) -> Iterator[Sign]:
    """Calls with a failure as output, or with arguments that were no JSON."""
    for tool, trace in s.tools:
        if tool.replaced is not None or tool.failed is not None:
            refs = [*trace.begun[:1], *trace.ended[:1]]
            was_stopped = bool(trace.ended) and any(refs[0].at_ns <= stop <= refs[-1].at_ns for stop in s.stops)
            severity = "note" if was_stopped else None
            yield sign_at("tool-failed", told_failure(tool), refs, about=tool.call_id, severity=severity)


def _read(s: Examined) -> Iterator[Sign]:
    """Calls that no stream carried, only a read of the session: failed ones, and those without an output."""
    heard = {tool.call_id for tool, _ in s.tools}
    reads = {key: read for read in s.snapshots for key, _ in read.items}
    for turn, _ in s.turns:
        for tool in turn.tools:
            read = reads.get(("call", tool.call_id))
            if tool.call_id not in heard and read is not None:
                if tool.replaced is not None or tool.failed is not None:
                    yield Sign("tool-failed", told_failure(tool), read.asked_ns, read.at_ns, about=tool.call_id)
                if tool.returned_ns is None:
                    message = f"{_named(tool)} (call {said(tool.call_id)}) had no output in exchange {read.exchange}"
                    severity: Severity = "note" if read.status == "running" else "warning"
                    yield Sign("tool-without-output", message, read.asked_ns, read.at_ns, severity=severity)


def _repeated(s: Examined) -> Iterator[Sign]:
    """Equal calls of one turn."""
    for turn, draft in s.turns:
        heard = (tool for tool in turn.tools if tool.call_id in draft.traces and tool.name)
        for tools in by_key(heard, lambda tool: (tool.name, tool.arguments)).values():
            refs = [ref for tool in tools for ref in draft.traces[tool.call_id].begun[:1]]
            if len(refs) >= AGAIN:
                yield sign_at("tool-repeated", told_repetition(tools[0], len(refs), turn.turn), refs)


def told_failure(tool: Tool) -> str:
    """Return a failed call, or one with broken arguments, as words."""
    parts = []
    if tool.replaced is not None:
        parts.append(f"was called with broken arguments, which were replaced by {{}}: {said(tool.replaced)}")
    if tool.failed is not None:
        parts.append(f"failed: {said(tool.failed, 120)}")
    return f"{_named(tool)} (call {said(tool.call_id)}) {', and '.join(parts)}"


def told_repetition(tool: Tool, times: int, turn: int) -> str:
    """Return equal calls of one turn as words."""
    what = f"{times} times with the same arguments in turn {turn}: {said(tool.arguments)}"
    return f"{_named(tool)} was called {what}"


def _named(tool: Tool) -> str:
    return f"the tool {said(tool.name)}" if tool.name else "a tool"


def child_signs(s: Examined, at_rest: Collection[str]) -> Iterator[Sign]:
    """`at_rest`: the sessions that are at rest by their own streams."""
    for child, trace in islice(s.children, MOST):
        id_ = child.session_id
        name = f"the sub-agent {said(child.title or child.session_id)}"
        last = trace.ended[-1] if trace.ended else trace.begun[0]
        refs = [trace.begun[0], last]
        deleted_ns = s.deleted.get(id_)
        if deleted_ns is not None and child.spawned_ns <= deleted_ns and _works(trace, deleted_ns):
            message = f"the session of {name} was deleted while it worked"
            severity = None if child.status in AT_WORK else "warning"  # the parent continues
            yield sign_at(
                "session-deleted",
                message,
                refs,
                since_ns=deleted_ns,
                until_ns=s.until_ns,
                about=id_,
                severity=severity,
            )
        elif id_ not in at_rest and child.status == "failed":
            why = said(trace.error, 160) or "no reason was given"
            message = f"{name} failed, and no stream carried its turn: {why}"
            yield sign_at("turn-failed", message, [last], about=id_, severity="warning")
        elif id_ not in at_rest and child.status in AT_WORK:
            quiet_ns = s.until_ns - last.at_ns
            waited = "" if s.is_open else f", and no event about it came for {seconds(quiet_ns)}"
            message = f"{name} is still {said(child.status or 'unknown')}{waited}"
            severity = "note" if s.is_open or quiet_ns < PATIENCE else None
            yield sign_at("child-unfinished", message, refs, until_ns=s.until_ns, about=id_, severity=severity)


def _works(trace: Trace, at_ns: int) -> bool:
    """Whether a sub-agent had not ended at that time."""
    known = [status for ref, status in zip(trace.ended, trace.told, strict=True) if ref.at_ns <= at_ns]
    return not known or known[-1] in AT_WORK


def approval_signs(s: Examined) -> Iterator[Sign]:
    given = (act for act in s.acts if act.kind == "answer" and not act.refused)
    answers = by_key(given, lambda act: act.elicitation_id)
    for approval, trace in islice(s.approvals, MOST):
        yield from _of(s, approval, trace, answers.get(approval.elicitation_id, []))
    pending = {id_ for snapshot in s.snapshots for id_ in snapshot.pending}
    yield from islice(_astray(s, pending), MOST)
    unasked = ((id_, trace.ended) for id_, trace in s.facts.traces.items() if id_ not in s.facts.children)
    for id_, refs in islice(unasked, MOST):
        if id_ not in pending:
            what = f"the question {said(id_)} was resolved"
            if id_ in answers:
                what = f"a client answered the question {said(id_)} (exchange {answers[id_][0].exchange})"
            message = f"{what}, but no event had raised it"
            yield sign_at("approval-unasked", message, refs, severity="note" if s.is_open else None)


def _astray(s: Examined, pending: Collection[str]) -> Iterator[Sign]:
    """Answers to questions that the agent had not asked, while another question was open."""
    asked = {approval.elicitation_id: approval for approval, _ in s.approvals}
    for act in s.acts:
        id_ = act.elicitation_id
        if act.kind == "answer" and id_ is not None and id_ not in asked and id_ not in pending:
            waiting = (one for one in asked.values() if one.asked_ns <= act.at_ns and one.answered_ns is None)
            open_ = next((one for one in waiting if one.resolved_ns is None or one.resolved_ns > act.at_ns), None)
            if open_ is not None:
                question = f"the question {said(open_.message)!r} ({said(open_.elicitation_id)})"
                message = (
                    f"a client answered the question {said(id_)} (exchange {act.exchange}), but {question} was open"
                )
                until_ns = max(act.at_ns, s.until_ns)
                yield Sign("answer-astray", message, act.at_ns, until_ns, exchange=act.exchange)


def _of(s: Examined, approval: Approval, trace: Trace, answers: list[Act]) -> Iterator[Sign]:
    name = f"the question {said(approval.message)!r}"
    asked = trace.begun[0]
    first = next((ref for ref, action in zip(trace.ended, trace.told, strict=True) if action is not None), None)
    decided = min([(act.at_ns, 0) for act in answers] + ([_when(first)] if first else []), default=None)
    denied = min((one for one in s.facts.denials if _when(one) >= _when(asked)), key=_when, default=None)
    worked = s.facts.worked
    # If the agent worked after a question was resolved, its answer was not recorded.
    goes_on = trace.ended and worked is not None and _when(worked) > _when(trace.ended[0])
    if decided is None and not (goes_on and denied is None):
        yield _unanswered(s, name, trace, denied)
    elif decided is not None and denied is not None and decided > _when(denied):
        yield _too_late(s, name, trace, first, denied, answers)
    elif answers and (lost := _lost(s, name, asked, answers[0])):
        yield lost
    told = {action for action in (*(act.action for act in answers), *trace.told) if action is not None}
    actions = [act.action for act in answers] if len(answers) > 1 else sorted(told)
    if len(actions) > 1:
        times = f"{len(answers)} times" if len(answers) > 1 else "more than once"
        message = f"{name} was answered {times}: {', '.join(map(said, actions))}"
        yield sign_at("approval-answered-twice", message, [asked, *trace.ended])
    yield from _again(name, trace)


def _too_late(s: Examined, name: str, trace: Trace, decided: Ref | None, denied: Ref, answers: list[Act]) -> Sign:
    """A late answer. Only a late `accept` is an error: any other answer agrees with the denial."""
    asked = trace.begun[0]
    action = answers[0].action if answers else min(action for action in trace.told if action is not None)
    at_ns = (decided or denied).at_ns
    if answers:
        at_ns = answers[0].at_ns
    severity = None if action == "accept" else "note"
    message = (
        f"{name} was not answered in time{_denied(s, asked, denied)};"
        f" the answer {said(action)} came{_after(at_ns - denied.at_ns, ' {} later', ' later')} and changed nothing"
    )
    refs = [asked, denied, *([decided] if decided else [])]
    return sign_at("approval-too-late", message, refs, until_ns=max(at_ns, denied.at_ns), severity=severity)


def _lost(s: Examined, name: str, asked: Ref, answer: Act) -> Sign | None:
    """An answer to a restarted server, which accepts it without knowing the question."""
    worked = s.facts.worked is not None and s.facts.worked.at_ns > answer.at_ns
    waited = s.until_ns - answer.at_ns
    if worked or waited < PATIENCE or not any(asked.at_ns <= cut < answer.at_ns for cut in s.cuts):
        return None
    message = (
        f"{name} was asked before the server went away; the answer {said(answer.action)} (exchange"
        f" {answer.exchange}) was accepted, but no event followed in {seconds(waited)}"
    )
    return sign_at("approval-lost", message, [asked], until_ns=s.until_ns)


def _unanswered(s: Examined, name: str, trace: Trace, denied: Ref | None) -> Sign:
    asked = trace.begun[0]
    settled = trace.ended[:1]
    until_ns = s.until_ns
    severity = None
    refs = [asked, *settled]
    if denied is not None:
        what = f"was not answered{_denied(s, asked, denied)}"
        refs = [asked, denied, *settled]
    elif settled:
        what = f"was not answered; the server closed it{_after(settled[0].at_ns - asked.at_ns)}"
    elif s.is_open:
        what = "has no answer in this file, which does not say how the stream ended"
        severity = "note"
    else:
        raised = (act for act in _posts(s) if act.client_left and act.end_ns is not None)
        post = next((act for act in raised if act.at_ns <= asked.at_ns <= (act.end_ns or 0)), None)
        closed = f"; the client closed its own POST (exchange {post.exchange}){_lasted(post)}" if post else ""
        what = f"was not answered in the {seconds(until_ns - asked.at_ns)} that were recorded{closed}"
        severity = None if until_ns - asked.at_ns > PATIENCE else "warning"
    return sign_at("approval-unanswered", f"{name} {what}", refs, until_ns=until_ns, severity=severity)


def _posts(s: Examined) -> Iterable[Act]:
    return (act for act in s.acts if act.kind == "message")


def _when(ref: Ref) -> tuple[int, int]:
    """The sort key of events; imported bodies have no times, only sequences."""
    return ref.at_ns, ref.seq


def _after(ns: int, form: str = " after {}", unknown: str = "") -> str:
    return form.format(seconds(ns)) if ns > 0 else unknown


def _lasted(post: Act) -> str:
    return f" {seconds((post.end_ns or 0) - post.at_ns)} after sending it"


def _denied(s: Examined, asked: Ref, denied: Ref) -> str:
    """The reason of a denial, as far as the recording shows it."""
    after = denied.at_ns - asked.at_ns
    waited = (post for post in _posts(s) if post.end_ns is not None and post.at_ns <= asked.at_ns <= post.end_ns)
    post = next((post for post in waited if abs((post.end_ns or 0) - denied.at_ns) < TOGETHER), None)
    if post is not None and post.client_left:
        return f": the client closed its own POST (exchange {post.exchange}){_lasted(post)}, so the server denied it"
    return f"; the server denied it{_after(after)}{', its own time limit' if post is not None else ''}"


def _again(name: str, trace: Trace) -> Iterator[Sign]:
    """A question that was sent again: twice on one stream, or on a later stream after it was resolved."""
    streams = [ref.stream for ref in trace.begun]
    is_twice = len(set(streams)) < len(streams)
    over = min((ref.at_ns for ref in trace.ended), default=None)
    is_late = over is not None and any(ref.at_ns > over and ref.stream != streams[0] for ref in trace.begun)
    if is_twice or is_late:
        message = f"{name} was asked again{', though it was resolved' if is_late else ''}"
        yield sign_at("approval-asked-again", message, trace.begun, severity="warning" if is_late else None)
