"""One session of one recording, examined: all its streams, what clients did to it, what the server said it holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from ...model import Exchange, TimedFrame
from ..turns import Act, FailedRequest
from .approvals import Approvals
from .clients import deletion, failures, reconnects, refusals, untaken
from .endings import BY_SERVER, Endings, Upstream
from .finding import Sign
from .order import ItemList
from .stream import Listening
from .tools import Items, Tools
from .turns import Children


class Examined:
    """What is known of one session, while and after its streams are heard."""

    def __init__(
        self,
        session_id: str | None,
        acts: Iterable[Act] = (),
        snapshots: Iterable[ItemList] = (),
        upstream: Upstream | None = None,
        failed: Iterable[FailedRequest] = (),
        excused: Callable[[TimedFrame], bool] = lambda _: False,
        deleted: Mapping[str, int] | None = None,
    ) -> None:
        """`failed`: the requests that the server did not fulfil. `deleted`: the sessions of the recording that clients
        deleted, and when."""
        self.deleted = deleted or {}
        self.session_id, self.failed = session_id, list(failed)
        self.acts, self.snapshots = list(acts), sorted(snapshots, key=lambda snapshot: snapshot.at_ns)
        self.upstream = upstream or Upstream()
        self.tools, self.approvals, self.children, self.items = Tools(), Approvals(), Children(), Items()
        self.listenings: list[Listening] = []
        self._excused = excused

    def hear(self, x: Exchange, frames: Iterable[TimedFrame]) -> None:
        """One of its streams, in the order in which they were opened."""
        shared = (self.tools, self.approvals, self.children, self.items)
        one = Listening(x, [check.handlers() for check in shared], self._excused)
        begun_ns = x.response.at_ns if x.response else x.request.at_ns
        one.statuses.heard_post = any(act.kind == "message" and act.at_ns >= begun_ns for act in self.acts)
        one.hear(frames)
        self.listenings.append(one)

    @property
    def is_at_rest(self) -> bool:
        """Whether its own streams have told of a turn that ended, and of none that goes on."""
        last = self.listenings[-1] if self.listenings else None
        return last is not None and last.cut() is None and any(turn.ended for turn in last.turns.all)

    def signs(self, at_rest: Collection[str] = ()) -> Iterator[Sign]:
        """What was found. `at_rest`: the sessions that came to an end by their own streams."""
        until = self._until()
        for one in self.listenings:
            yield from one.signs(self.upstream.last_known_ns)
        endings = Endings(self.listenings, self.snapshots, self.upstream)
        missed = list(self._missed())
        deleted_ns = self.deleted.get(self.session_id or "")
        yield from chain(endings.signs(), missed, reconnects(self.listenings, endings, missed))
        yield from chain(refusals(self.acts, deleted_ns), failures(self.failed))
        if deleted_ns is not None:
            yield from deletion(self.listenings, deleted_ns, self.upstream.last_known_ns)
        yield from untaken(self.acts, self.items, self.approvals, self.listenings)
        yield from self._of_all_streams(until, at_rest)

    def _of_all_streams(self, until: int, at_rest: Collection[str]) -> Iterator[Sign]:
        stops = [turn.until_ns for one in self.listenings for turn in one.turns.all if turn.interrupted]
        joined = {one.stream for one in self.listenings if one.joined}
        pending = {id_ for snapshot in self.snapshots for id_ in snapshot.pending}
        yield from self.tools.signs(until, stops, joined, is_open=self._is_open)
        yield from self.approvals.signs(self.acts, until, pending, self._cuts(), is_open=self._is_open)
        yield from self.children.signs(until, at_rest, self.deleted, is_open=self._is_open)

    def _missed(self) -> Iterator[Sign]:
        begun = [one.exchange.response.at_ns for one in self.listenings if one.is_session and one.exchange.response]
        posted = {act.item_id for act in self.acts if act.item_id is not None}
        return self.items.signs(self.snapshots, min(begun, default=None), posted)

    def _cuts(self) -> list[int]:
        """When the server stopped, or its connection broke, as far as streams show."""
        return [x.end_ns for x in (one.exchange for one in self.listenings) if x.end_ns and x.ending in BY_SERVER]

    @property
    def _is_open(self) -> bool:
        """Whether how a stream ended is unknown, so that nothing is missing at its end."""
        return any(one.exchange.ending == "unknown" for one in self.listenings)

    def _until(self) -> int:
        """Until when somebody listened."""
        ends: Sequence[int] = [one.end_ns(self.upstream.last_known_ns) or 0 for one in self.listenings]
        seen = [one.pulse.last.at_ns for one in self.listenings if one.pulse.last]
        return max([0, *ends, *seen])
