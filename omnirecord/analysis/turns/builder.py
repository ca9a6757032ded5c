"""The turns of a session while they are told: which one goes on, which one an event belongs to, when one is over.

The live server's turns do not keep to the page, so these rules hold:
1. A turn begins with whatever of it comes first: a question about it, its input, `running`, its response, its text.
2. It ends with its `response.*` end, or `turn.*` end, or, where that does not come, when the session is at rest
   (`idle`, `failed`) after work on it had begun. What comes later belongs to it still, until the next one begins.
3. An interrupted turn ends at rest. The next input ends it as well.
4. A response with another id is another turn, if something was said while the one before went on: that is its
   question, if it has no other. If nothing was said, the runner was restarted, and it is the same turn once more.
   Of several messages that the agent took in before a response, it answers the first; the next response the others.
5. What was posted and never taken in is a turn of its own.

When nobody listened to a session: what was silent then may have said something. Pure.

What a server did after it had ended a stream: whether it had stopped, or had only given up that one reader.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, zip_longest
from operator import attrgetter
from typing import NamedTuple

from ...model import Exchange
from ...omnigent.protocol import STREAM_EPOCH
from ...text import seconds
from ...wire.headers import header
from .draft import Draft
from .requests import Act, Posts
from .values import LONG_SILENCE, Approval, Asked, Ended, Fault, Listening, Note, ServerAfter, Silence, Turn


class TurnBuilder:
    """The turns so far, and what clients did about them."""

    def __init__(self, acts: Iterable[Act] = (), *, is_child: bool = False, long_silence: int = LONG_SILENCE) -> None:
        acts = list(acts)
        self.posts = Posts(acts)
        self.answers: dict[str | None, Act] = {}
        self.left: dict[int, Act] = {}
        """The messages whose POST the client closed before the server answered it, by when they were sent."""
        for act in acts:
            self._note(act)
        self.drafts: list[Draft] = []
        self.open: Draft | None = None
        """The turn that goes on: the last of `drafts`."""
        self.owners: dict[str, Draft] = {}
        """Which turn a call, an elicitation or a child session belongs to, by its id."""
        self.model: str | None = None
        self.status: tuple[str, int] | None = None
        """The last that was said of the session, and when."""
        self.cost_usd: float | None = None
        """What the session had cost when that was last said."""
        self.is_child = is_child
        self.long_silence = long_silence

    def act(self, number: int, act: Act) -> None:
        """What a client did, while the builder goes on; what was told under that number before is known better now."""
        if act.kind == "message":
            self.posts.add(number, act)
        self._note(act)

    def _note(self, act: Act) -> None:
        """What approvals need to know."""
        if act.kind == "answer" and not act.refused:
            self.answers[act.elicitation_id] = act
        elif act.kind == "message" and act.client_left and act.end_ns is not None:
            self.left[act.at_ns] = act

    def turn(self, at_ns: int) -> Draft:
        """The turn that goes on, or a new one."""
        if self.open is None:
            after = self.drafts[-1].last_ns if self.drafts else 0
            self.open = Draft(at_ns, model=self.model, after_ns=after, long_silence=self.long_silence)
            self.drafts.append(self.open)
        return self.open

    def next_turn(self, at_ns: int) -> Draft:
        """The same, where something came that an interrupted turn does not bring any more."""
        if self.open is not None and self.open.interrupted:
            self.close("interrupted", at_ns)
        return self.turn(at_ns)

    def latest(self) -> Draft | None:
        """The turn that goes on, or the last one."""
        return self.open or (self.drafts[-1] if self.drafts else None)

    def close(self, ended: Ended, at_ns: int, error: Fault | None = None) -> None:
        """The turn that goes on is over; forgotten, if there was nothing in it."""
        if self.open is None:
            return
        self.open.end(ended, at_ns, error)
        if self.open.is_empty:
            self.drafts.pop()
        self.open = None

    def split(self, at_ns: int) -> None:
        """Another response begins, though the end of the one before was not heard."""
        old = self.open
        if old is None:
            return
        self.close("interrupted" if old.interrupted else "unfinished", at_ns)
        self.turn(at_ns)

    def finish(self, until_ns: int | None = None) -> list[Draft]:
        """Nothing follows: the turns. `until_ns`: until when somebody listened, if that was beyond the last event."""
        if self.open is not None:
            self.open.quiet(until_ns or 0)
            self.close("unfinished", until_ns or self.open.last_ns)
        self._hand_on()
        for draft in self.drafts:
            self.settle(draft)
        self.drafts += [_unheard(post) for post in self.posts if post.party != "runner"]
        left = sorted(self.left.values(), key=lambda act: act.at_ns)
        for draft in self.drafts:
            draft.approvals = {key: self.answered(approval, left) for key, approval in draft.approvals.items()}
        return sorted(self.drafts, key=lambda draft: draft.started_ns)

    def settle(self, draft: Draft) -> None:
        """A turn of which no event said what was asked: it is what was posted before it, and not taken in elsewhere."""
        if not draft.asked and (post := self.posts.claim(None, draft.started_ns)):
            draft.ask(post.text, post.at_ns, post.item_id)

    def _hand_on(self) -> None:
        """What a turn did not answer is the next one's question, if that has none of its own: what was said in its
        middle, or with its own question."""
        for draft, following in zip_longest(self.drafts, self.drafts[1:]):
            if following is None or following.asked:
                draft.asked += draft.midway
            else:
                waiting = [*_unanswered(draft), *draft.midway]
                gone = set(map(id, waiting))
                draft.asked = [asked for asked in draft.asked if id(asked) not in gone]
                following.asked += [replace(asked, place=0) for asked in waiting]

    def answered(self, approval: Approval, left: Sequence[Act] = ()) -> Approval:
        """With what a client did about it, if that is known: it answered, or closed the POST that had raised it.
        `left`: the messages whose POST a client closed, oldest first."""
        before = bisect_right(left, approval.asked_ns, key=lambda act: act.at_ns)
        if before and (end_ns := left[before - 1].end_ns or 0) >= approval.asked_ns:
            approval = replace(approval, left_ns=end_ns)
        act = self.answers.get(approval.elicitation_id)
        if act is None:
            return approval
        action = approval.action or act.action
        return replace(approval, action=action, answered_ns=act.at_ns, answered_by=act.party)


def _unanswered(draft: Draft) -> list[Asked]:
    """What was asked before its response, and the agent took in behind the first of its messages."""
    if len(draft.asked) < 2 or len(draft.taken) < 2 or draft.response_id is None:
        return []
    first = next((asked for asked in draft.asked if asked.text == draft.taken[0]), None)
    behind = set(draft.taken[1:])
    return [] if first is None else [asked for asked in draft.asked if asked is not first and asked.text in behind]


def _unheard(post: Act) -> Draft:
    """A message that no event speaks of."""
    draft = Draft(post.at_ns)
    draft.ask(post.text, post.at_ns, post.item_id)
    if post.refused:
        draft.end("failed", post.at_ns, Fault(post.refused, post.refusal or "the server did not take the message"))
    return draft


LAST = 1 << 60
"""The place of a note that comes behind everything of its time."""


class Absence(NamedTuple):
    """A stretch between two streams."""

    from_ns: int
    until_ns: int


def absences_of(listenings: Iterable[Listening]) -> Iterator[Absence]:
    """The stretches in which no stream was open, between the first and the last one, in order."""
    heard_until: int | None = None
    for one in sorted(listenings, key=lambda one: one.from_ns):
        if heard_until is not None and one.from_ns > heard_until:
            yield Absence(heard_until, one.from_ns)
        until = 1 << 62 if one.until_ns is None else one.until_ns
        heard_until = until if heard_until is None else max(heard_until, until)


def leavings_of(listenings: Iterable[Listening]) -> list[int]:
    """When a client left while another one went on listening, in order."""
    listenings = sorted(listenings, key=lambda one: one.from_ns)
    begins = [one.from_ns for one in listenings]
    longest = list(accumulate((1 << 62 if one.until_ns is None else one.until_ns for one in listenings), max))
    left = sorted(one.until_ns for one in listenings if one.until_ns is not None and one.ending == "client_left")
    return [at for at in left if (there := bisect_right(begins, at)) and longest[there - 1] > at]


def with_leavings(turn: Turn, leavings: list[int]) -> Turn:
    """The turn, with a note for each client that left while it went on."""
    end = turn.ended_ns if turn.ended_ns is not None else 1 << 62
    within = leavings[bisect_right(leavings, turn.begin_ns) : bisect_left(leavings, end)]
    notes = [Note(at, "a client left; another one went on listening", LAST) for at in within]
    return replace(turn, notes=(*turn.notes, *notes)) if notes else turn


def with_absences(turn: Turn, absences: list[Absence]) -> Turn:
    """The turn, with a note for each stretch in which nobody listened to it, and its silences knowing of them."""
    within = _within(absences, turn.begin_ns, turn.ended_ns if turn.ended_ns is not None else 1 << 62)
    if not within:
        return turn
    notes = [Note(one.from_ns, f"no client listened for {seconds(one.until_ns - one.from_ns)}", LAST) for one in within]
    longest = turn.longest_silence
    return replace(
        turn, notes=(*turn.notes, *notes), silences=tuple(_unheard_spans(silence, within) for silence in turn.silences),
        longest_silence=None if longest is None else _unheard_spans(longest, within),
    )  # fmt: skip


def _within(absences: list[Absence], begin: int, end: int) -> list[Absence]:
    """Those that overlap that stretch."""
    first = bisect_right(absences, begin, key=lambda one: one.until_ns)
    return absences[first : max(first, bisect_left(absences, end, key=lambda one: one.from_ns))]


def _unheard_spans(silence: Silence, absences: list[Absence]) -> Silence:
    begin, end = silence.from_ns, silence.from_ns + silence.length_ns
    cut = _within(absences, begin, end)
    sum_ns = sum(min(end, one.until_ns) - max(begin, one.from_ns) for one in cut)
    return replace(silence, unheard_ns=sum_ns) if sum_ns else silence


TOGETHER = 1_000_000_000
"""Streams that end within this many ns of each other end for one reason: a server that stops ends all that it has."""
ENDED_BY_SERVER = ("eof", "upstream_lost")
_request_at = attrgetter("request.at_ns")


class Aftermath:
    """The exchanges of one recording, laid out so that each question about them is a look-up."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._all = sorted(exchanges, key=_request_at)
        self._streams = [x for x in self._all if x.stream is not None]
        self._longest = list(accumulate(map(_end, self._streams), max))  # of the streams up to there

    def of(self, x: Exchange) -> ServerAfter | None:
        """What the server did after `x`, a stream that it had ended."""
        if x.ending not in ENDED_BY_SERVER or x.end_ns is None:
            return None
        if _epoch(x) and (following := self._after(self._streams, x)) and _epoch(following) not in (None, _epoch(x)):
            return "restarted"
        following = self._after(self._all, x)
        if following is not None and following.ending == "upstream_unreachable":
            return "gone"
        answered = following is not None and following.response is not None
        return "answered" if answered or self._outlived(x.end_ns) else None

    @staticmethod
    def _after(exchanges: list[Exchange], x: Exchange) -> Exchange | None:
        """The first that was asked for after `x` had ended."""
        number = bisect_right(exchanges, x.end_ns or 0, key=_request_at)
        return exchanges[number] if number < len(exchanges) else None

    def _outlived(self, end_ns: int) -> bool:
        """Whether another stream that was there already went on for longer."""
        number = bisect_right(self._streams, end_ns, key=_request_at)
        return number > 0 and self._longest[number - 1] > end_ns + TOGETHER


def _end(x: Exchange) -> int:
    return 1 << 62 if x.end_ns is None else x.end_ns


def _epoch(x: Exchange) -> str | None:
    return header(x.response.headers, STREAM_EPOCH) if x.response else None
