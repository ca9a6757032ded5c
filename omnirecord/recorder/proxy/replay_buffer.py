"""What of a stamped stream is in memory: what was sent and may be asked for again, and what waits to be sent.

Both together are bounded by `limit`: what was sent longest ago goes first. No I/O.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ...wire.event_ids import Stamped
from ..rows.exchanges import Received

_OVERHEAD = 256
"""Bytes that a piece costs beside its data."""


@dataclass(slots=True)
class Piece:
    """Something to send, and the reads that it completes; none any more once these were told that they were sent."""

    stamped: Stamped
    reads: tuple[Received, ...] = ()

    @property
    def cost(self) -> int:
        return len(self.stamped.data) + _OVERHEAD


class Held:
    """The pieces of one stream, and how far they were sent.

    `waiting`: bytes still to be sent. `given`: the last frame that was sent with an id; `done`: that was `[DONE]`.
    `forgotten`: the last frame of which something is no longer here. Frames count from 1; 0 is none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sent: deque[Piece] = deque()
        self._unsent: deque[Piece] = deque()
        self._size = 0
        self._newest = 0  # the newest frame with an id
        self.waiting = 0
        self.given = self.forgotten = 0
        self.done = False

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may."""
        return self.waiting > self._limit

    def add(self, piece: Piece) -> None:
        """Something more to send."""
        self._unsent.append(piece)
        self._size += piece.cost
        self.waiting += piece.cost
        if piece.stamped.has_id:
            self._newest = piece.stamped.seq

    def next(self, most: int) -> list[Piece]:
        """The next pieces to send, up to about so many bytes; they count as sent from now on."""
        pieces: list[Piece] = []
        while self._unsent and most > 0:
            piece = self._unsent.popleft()
            pieces.append(piece)
            self._sent.append(piece)
            self.waiting -= piece.cost
            most -= piece.cost
            if piece.stamped.has_id:
                self.given = max(self.given, piece.stamped.seq)
            self.done = self.done or piece.stamped.is_done
        return pieces

    def has_news_behind(self, seq: int) -> bool:
        """Whether an event followed."""
        return self._newest > seq

    def rewind(self, seq: int) -> None:
        """What is behind frame `seq`, which was sent, is to be sent next: again, or less than an earlier call said."""
        while self._sent and self._sent[-1].stamped.seq > seq:
            piece = self._sent.pop()
            self._unsent.appendleft(piece)
            self.waiting += piece.cost
        while self._unsent and self._unsent[0].stamped.seq <= seq:
            piece = self._unsent.popleft()
            self._sent.append(piece)
            self.waiting -= piece.cost

    def trim(self, *, unsent: bool) -> None:
        """Forget what is too much: what was sent and, if so said, what was not."""
        while self._size > self._limit and (self._sent or (unsent and self._unsent)):
            if self._sent:
                self._forget(self._sent.popleft())
            else:
                piece = self._unsent.popleft()
                self.waiting -= piece.cost
                self._forget(piece)

    def forget_sent(self) -> None:
        """Nothing will be asked for again."""
        while self._sent:
            self._forget(self._sent.popleft())

    def _forget(self, piece: Piece) -> None:
        self._size -= piece.cost
        self.forgotten = piece.stamped.seq
