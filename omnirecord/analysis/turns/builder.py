"""Builds the turns of a session from its events and from the actions of its clients. Pure.

`begin_and_end` decides when a turn begins and ends. Besides, these rules hold:

1. If the agent takes in several messages before a response, it answers the first; the next response answers the rest.
2. A message that was posted and never taken in is a turn of its own.
3. A function call comes twice, in progress and completed, and is one call. A message repeats the text of its deltas.

Also here: the answer to a GET of a session (`snapshot_in`), whose reading never fails, and the stretches in which no
client listened (`absences_of`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise, zip_longest
from operator import attrgetter, itemgetter
from typing import Any

from ...model import Exchange, TimedFrame
from ...omnigent import protocol
from ...omnigent.routes import below_session
from ...text import seconds
from ...wire.strict_json import as_dict, as_int, as_list, as_number, as_text, loads, text_of
from .begin_and_end import Asker, Courses, Data
from .draft import Draft, Trace
from .requests import Act, Posts
from .values import Approval, Asked, Child, Fault, Listening, Note, Ref, Silence, Snapshot, Turn, TurnUsage

LAST = 1 << 60
"""The place of a note that comes after all else at its time."""


class TurnBuilder(Courses[Draft]):
    """The turns so far, and the client actions that belong to them."""

    def __init__(self, acts: Iterable[Act], *, is_child: bool, long_silence: int) -> None:
        super().__init__()
        self.posts = Posts()
        self.answers: dict[str | None, Act] = {}
        self.left: dict[int, Act] = {}
        """By time in ns: the messages whose POST the client closed before the server answered it."""
        self.model: str | None = None
        self.cost_usd: float | None = None
        self.here: TimedFrame | None = None
        """The event that is added."""
        self.worked: Ref | None = None
        """The last event that shows the agent at work."""
        self.denials: list[Ref] = []
        """The events by which the server refuses a message or a call."""
        self.retried = Trace()
        """The retries of calls."""
        self.traces: dict[str, Trace] = {}
        """The events of answers that no event asked for, and of sub-agents without a turn, by their ids."""
        self.children: dict[str, Child] = {}
        """The sub-agents without a turn."""
        self.is_child = is_child
        self.long_silence = long_silence
        for number, act in enumerate(sorted(acts, key=attrgetter("at_ns"))):
            self.act(number, act)

    def act(self, number: int, act: Act) -> None:
        """Add a client action. It replaces an earlier state of the same number."""
        if act.kind == "message":
            self.posts.add(number, act)
            if act.client_left and act.end_ns is not None:
                self.left[act.at_ns] = act
        elif act.kind == "answer" and not act.refused:
            self.answers[act.elicitation_id] = act

    @property
    def ref(self) -> Ref:
        """The event that is added."""
        return Ref(0, 0, 0) if self.here is None else Ref.of(self.here)

    def trace(self, id_: str) -> Trace:
        return self.traces.setdefault(id_, Trace())

    def make(self, at_ns: int) -> Draft:
        after = self.drafts[-1].last_ns if self.drafts else 0
        return Draft(at_ns, model=self.model, after_ns=after, long_silence=self.long_silence)

    def asks(self, draft: Draft, text: str, at_ns: int, item_id: str | None) -> None:
        post = self.posts.claim(text, at_ns, item_id)
        by: Asker = "agent" if self.is_child and post is None else "user"
        draft.ask(text, post.at_ns if post else at_ns, item_id, by, midway=draft.response_id is not None)

    def again(self, draft: Draft, at_ns: int) -> None:
        last = self.ref if draft.spoke is None else Ref.of(draft.spoke)
        draft.cut.append((draft.response_id or "", last, self.ref))
        draft.restart(at_ns)

    def over(self, draft: Draft) -> None:
        draft.end_ref = None if self.here is None else self.ref

    def settled(self, draft: Draft, response: Data) -> None:
        """Take over agent, usage and output from the response object of an end."""
        if not protocol.is_denial(as_text(response.get("id"))):
            draft.agent = draft.agent or as_text(response.get("model"))
        usage = as_dict(response.get("usage"))
        if usage:
            draft.usage = TurnUsage(
                as_int(usage.get("input_tokens")),
                as_int(usage.get("output_tokens")),
                as_int(as_dict(usage.get("output_tokens_details")).get("reasoning_tokens")),
                as_int(usage.get("total_tokens")),
                as_number(usage.get("cost_usd")),
            )
            draft.model = as_text(usage.get("model")) or draft.model
        if not draft.messages:
            for item in as_list(response.get("output")):
                if as_dict(item).get("type") == "message" and (text := text_of(item.get("content"))):
                    draft.store(text, draft.last_ns)
                    draft.has_content = True

    def remark(self, draft: Draft, text: str, at_ns: int) -> None:
        draft.note(text, at_ns)

    def failed_at_rest(self, draft: Draft, error: Fault | None, at_ns: int) -> None:
        if error is not None and error.code == protocol.RUNNER_DISCONNECTED:
            draft.lost = self.ref
        why = f": {error.code or ''} {error.message}".rstrip() if error else ""
        draft.note(f"after the turn, the session failed{why}", at_ns)

    def forget_earlier(self) -> None:
        """Forget the turns before the last one: a view has shown them."""
        del self.drafts[:-1]
        self.owners = {id_: draft for id_, draft in self.owners.items() if draft in self.drafts}
        self.denials.clear()

    def finish(self, until_ns: int) -> list[Draft]:
        """Return all turns; no event follows. `until_ns`: the end of the last stream, or the last event."""
        self.here = None
        if self.open is not None:
            self.open.quiet(until_ns)
            self.close("unfinished", until_ns)
        for draft in self.drafts:
            if draft.midway:
                self.settle(draft)
        self._hand_on()
        for draft in self.drafts:
            self.settle(draft)
        self.drafts += [_unheard(post) for post in self.posts if post.party != "runner"]
        left = sorted(self.left.values(), key=lambda act: act.at_ns)
        for draft in self.drafts:
            draft.approvals = {key: self.answered(approval, left) for key, approval in draft.approvals.items()}
        return sorted(self.drafts, key=lambda draft: draft.started_ns)

    def settle(self, draft: Draft) -> None:
        """Give a turn without a question the oldest message that was posted before it and belongs to no other turn. A
        message that came in the middle of the turn is not its question."""
        if not draft.asked and (post := self.posts.claim(None, draft.started_ns)):
            draft.ask(post.text, post.at_ns, post.item_id)

    def _hand_on(self) -> None:
        """Make the messages that a turn did not answer the question of the next turn, if that has none."""
        for draft, following in zip_longest(self.drafts, self.drafts[1:]):
            if following is None or following.asked:
                draft.asked += draft.midway
            else:
                waiting = [*_unanswered(draft), *draft.midway]
                gone = set(map(id, waiting))
                draft.asked = [asked for asked in draft.asked if id(asked) not in gone]
                following.asked += [replace(asked, place=0) for asked in waiting]

    def answered(self, approval: Approval, left: Sequence[Act] = ()) -> Approval:
        """Return the approval with the client's answer, or with the time at which the client closed the POST that
        raised it. `left`: the messages whose POST a client closed, oldest first."""
        before = bisect_right(left, approval.asked_ns, key=lambda act: act.at_ns)
        if before and (end_ns := left[before - 1].end_ns or 0) >= approval.asked_ns:
            approval = replace(approval, left_ns=end_ns)
        act = self.answers.get(approval.elicitation_id)
        if act is None:
            return approval
        action = approval.action or act.action
        return replace(approval, action=action, answered_ns=act.at_ns, answered_by=act.party)


def _unanswered(draft: Draft) -> list[Asked]:
    """Return the messages of a turn that the agent took in after the first one, before the response."""
    if len(draft.asked) < 2 or len(draft.taken) < 2 or draft.response_id is None:
        return []
    first = next((asked for asked in draft.asked if asked.text == draft.taken[0]), None)
    behind = set(draft.taken[1:])
    return [] if first is None else [asked for asked in draft.asked if asked is not first and asked.text in behind]


def _unheard(post: Act) -> Draft:
    """Return the turn of a message that no event mentions."""
    draft = Draft(post.at_ns)
    draft.ask(post.text, post.at_ns, post.item_id)
    if post.refused:
        draft.end("failed", post.at_ns, Fault(post.refused, post.refusal or "the server did not take the message"))
    return draft


Span = tuple[int, int]


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the times in at least one of the spans: sorted and disjoint."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def absences_of(listenings: Iterable[Listening]) -> list[Span]:
    """Return the stretches between the first and the last stream in which none was open, in order."""
    return [(before, after) for (_, before), (after, _) in pairwise(_heard(listenings))]


def _heard(listenings: Iterable[Listening]) -> list[Span]:
    """Return the stretches in which a stream was open."""
    return union((one.from_ns, 1 << 62 if one.until_ns is None else one.until_ns) for one in listenings)


def leavings_of(listenings: Iterable[Listening]) -> list[int]:
    """Return the times in ns at which a client left while another one went on listening, in order."""
    heard = _heard(listenings)
    left = sorted(one.until_ns for one in listenings if one.until_ns is not None and one.ending == "client_left")
    return [at for at in left if heard[bisect_right(heard, (at, 1 << 63)) - 1][1] > at]


def with_listeners(turn: Turn, absences: list[Span], leavings: list[int]) -> Turn:
    """Return the turn with a note for each stretch in which no client listened, and for each client that left during
    it. The silences of the turn have the stretches subtracted."""
    end = turn.ended_ns if turn.ended_ns is not None else 1 << 62
    within = _within(absences, turn.begin_ns, end)
    left = leavings[bisect_right(leavings, turn.begin_ns) : bisect_left(leavings, end)]
    notes = [Note(a, f"no client listened for {seconds(b - a)}", LAST) for a, b in within]
    notes += [Note(at, "a client left; another one went on listening", LAST) for at in left]
    if not notes:
        return turn
    return replace(
        turn,
        notes=(*turn.notes, *notes),
        silences=tuple(_unheard_spans(silence, within) for silence in turn.silences),
        longest_silence=turn.longest_silence and _unheard_spans(turn.longest_silence, within),
    )


def _within(absences: list[Span], begin: int, end: int) -> list[Span]:
    """Return the absences that overlap a stretch."""
    first = bisect_right(absences, begin, key=itemgetter(1))
    return absences[first : max(first, bisect_left(absences, (end,)))]


def _unheard_spans(silence: Silence, absences: list[Span]) -> Silence:
    begin = silence.from_ns
    end = silence.from_ns + silence.length_ns
    sum_ns = sum(min(end, b) - max(begin, a) for a, b in _within(absences, begin, end))
    return replace(silence, unheard_ns=sum_ns) if sum_ns else silence


def is_snapshot(exchange: Exchange) -> bool:
    """Return whether an exchange is a successful GET of a session."""
    answered = exchange.response is not None and exchange.response.status == 200
    return answered and exchange.request.method == "GET" and below_session(exchange.request.target) == ""


def snapshot_of(exchange: Exchange, response: bytes) -> Snapshot | None:
    """Return the state of a session from the body of an answer; None if the body is no JSON object."""
    data = as_dict(loads(response))
    return snapshot_in(exchange, data) if data else None


def snapshot_in(exchange: Exchange, data: Data) -> Snapshot:
    """Return the state of a session from the JSON object that answered this exchange."""
    online = data.get("runner_online")
    asked = ((as_text(one), as_dict(one)) for one in as_list(data.get("pending_elicitations")))
    ids = (id_ or as_text(one.get("elicitation_id")) or as_text(one.get("id")) for id_, one in asked)
    return Snapshot(
        at_ns=exchange.request.at_ns,
        status=as_text(data.get("status")),
        title=as_text(data.get("title")),
        agent=as_text(data.get("agent_name")),
        model=as_text(data.get("llm_model")),
        runner_online=online if isinstance(online, bool) else None,
        pending=tuple(id_ for id_ in ids if id_ is not None),
        last_said=_last_said(data.get("items")),
    )


def _last_said(items: Any) -> str | None:
    """Return the last message of the assistant in a list of items."""
    for item in map(as_dict, reversed(as_list(items))):
        message = as_dict(item.get("data")) or item
        if item.get("type") == "message" and message.get("role") == "assistant":
            return text_of(message.get("content"))
    return None
