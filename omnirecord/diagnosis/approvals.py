"""Questions that the agent asks, and who answered them: by elicitation id, over all streams of a session.

The live server says `response.elicitation_resolved` twice, sends a pending question to nobody who connects later (it is
in the session's snapshot), and ends one that nobody answers with a denial and no event of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from ..story import Act
from ..story.reading import DENIED, as_dict, as_text, text_of
from .event import SECOND, Event, Handlers, Place, said, seconds, sign_at
from .finding import Severity, Sign

_MOST = 50
_PATIENCE = 10 * SECOND
"""How long a person may take to answer."""


class Approvals:
    """The questions of one session."""

    def __init__(self) -> None:
        self.asked: dict[str, list[Place]] = defaultdict(list)
        self.messages: dict[str, str] = {}
        self.resolved: dict[str, list[Place]] = defaultdict(list)
        self.actions: dict[str, set[str]] = defaultdict(set)
        self.denials: list[Place] = []

    def handlers(self) -> Handlers:
        return {
            "response.elicitation_request": self._ask, "response.elicitation_resolved": self._resolve,
            "response.output_item.done": self._item,
        }  # fmt: skip

    def _ask(self, event: Event) -> None:
        id_ = as_text(event.data.get("elicitation_id"))
        if id_ is not None:
            self.asked[id_].append(event.place)
            message = as_text(as_dict(event.data.get("params")).get("message")) or ""
            self.messages.setdefault(id_, said(message))

    def _resolve(self, event: Event) -> None:
        id_ = as_text(event.data.get("elicitation_id"))
        if id_ is not None:
            self.resolved[id_].append(event.place)
            if (action := as_text(event.data.get("action"))) is not None:
                self.actions[id_].add(action)

    def _item(self, event: Event) -> None:
        """A refused message or call is answered with a text of the server's."""
        item = as_dict(event.data.get("item"))
        if (as_text(item.get("response_id")) or "").startswith("deny_") or text_of(item.get("content")).startswith(
            DENIED
        ):
            self.denials.append(event.place)

    def signs(self, acts: Iterable[Act], until_ns: int, told_elsewhere: Collection[str]) -> Iterator[Sign]:
        """`told_elsewhere`: the ids of questions that a snapshot named."""
        answers: dict[str, list[Act]] = defaultdict(list)
        for act in acts:
            if act.kind == "answer" and not act.refused and act.elicitation_id is not None:
                answers[act.elicitation_id].append(act)
        for id_, places in list(self.asked.items())[:_MOST]:
            yield from self._of(id_, places, answers.get(id_, []), until_ns)
        for id_, places in list(self.resolved.items())[:_MOST]:
            if id_ not in self.asked and id_ not in told_elsewhere:
                message = f"the question {said(id_)} was settled, and no event had asked it"
                yield sign_at("approval-unasked", message, places)

    def _of(self, id_: str, places: list[Place], answers: list[Act], until_ns: int) -> Iterator[Sign]:
        name = f"the question {self.messages[id_]!r}"
        settled = self.resolved.get(id_, [])
        if not settled and not answers:
            yield self._unanswered(name, places, until_ns)
        if len({act.action for act in answers} | self.actions.get(id_, set())) > 1 or len(answers) > 1:
            given = ", ".join(said(act.action) for act in answers) or "different actions"
            message = f"{name} was answered {len(answers) or 'more than one'} times: {given}"
            yield sign_at("approval-answered-twice", message, [*places[:1], *settled])
        yield from _again(name, places, settled)

    def _unanswered(self, name: str, places: list[Place], until_ns: int) -> Sign:
        asked = places[0]
        denied = min(
            (place for place in self.denials if place.at_ns >= asked.at_ns), key=lambda p: p.at_ns, default=None
        )
        if denied is None:
            message = (
                f"{name} was asked, and nobody answered in the {seconds(until_ns - asked.at_ns)} that were recorded"
            )
            severity: Severity | None = None if until_ns - asked.at_ns > _PATIENCE else "warning"
            return sign_at("approval-unanswered", message, [asked], until_ns=until_ns, severity=severity)
        message = f"{name} was answered by nobody; after {seconds(denied.at_ns - asked.at_ns)} the server denied it"
        return sign_at("approval-unanswered", message, [asked, denied], until_ns=until_ns)


def _again(name: str, places: list[Place], settled: list[Place]) -> Iterator[Sign]:
    """The same question once more. Two streams that listen at once hear each event of course; one hears it once."""
    streams = [place.stream for place in places]
    is_twice = len(set(streams)) < len(streams)
    over = min((place.at_ns for place in settled), default=None)
    is_late = over is not None and any(place.at_ns > over and place.stream != places[0].stream for place in places)
    if is_twice or is_late:
        severity: Severity | None = "warning" if is_late else None
        message = f"{name} was asked again{', though it was settled' if is_late else ''}"
        yield sign_at("approval-asked-again", message, places, severity=severity)
