"""What a comparison finds. Frozen; the fields of `Difference` are the keys of `diff --json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Kind = Literal["content", "order", "tools", "usage", "null", "timing"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two sessions are not alike."""

    kind: Kind
    session_id: str | None
    """The session's id in the first cassette; in the second where only that has it; None for a stream of no session."""
    path: str
    """Where: `turns[2].tools[0].output`. Counted from 0, in the first cassette, or in the second where only that has
    it. The names are those of `show --json`."""
    a: Any
    """What the first one has there, as JSON: text as it was recorded, seconds for a time; None for nothing. Of kind
    `null` it is the text `null` or `missing`."""
    b: Any
    """What the second one has there."""

    def row(self) -> dict[str, Any]:
        """The object that `diff --json` prints."""
        return asdict(self)


def counts(found: Sequence[Difference]) -> bool:
    """Whether the two differ in anything but timing."""
    return any(difference.kind != "timing" for difference in found)
