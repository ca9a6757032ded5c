"""The recordings that an analysis reads: an open cassette, or rows from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from ..contract.judge import Contract
from ..model import Exchange, Incident, Recording, Side, TimedFrame


class Source(Protocol):
    """Recordings with their exchanges, frames and bodies. `sqlite.Store` describes each method."""

    def recordings(self) -> list[Recording]: ...

    def contract_of(self, recording: int, /) -> Contract: ...

    def exchanges(
        self, *, recording: int | None = None, session_id: str | None = None, kind: str | None = None,
        by_clients: bool = False, in_session: bool = False,
    ) -> list[Exchange]: ...  # fmt: skip

    def streams(self, session_id: str | None = None, /) -> list[Exchange]: ...

    def frames(self, exchange: Exchange, /) -> Iterator[TimedFrame]: ...

    def outline(self, exchange: Exchange, /) -> Iterator[TimedFrame]: ...

    def decoded_body(self, x: Exchange, side: Side, /) -> bytes: ...

    def incidents(self) -> list[Incident]: ...

    def last_known_ns(self, recording: int, /) -> int: ...

    def parents(self) -> dict[str, str]: ...
