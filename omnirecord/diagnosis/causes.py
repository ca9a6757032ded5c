"""Which finding explains which: the first one that is told names the cause, not a symptom.

A cause explains what `codes.EXPLAINS` says it may, where both speak of the same time. `codes` lists causes first, so
the first that fits is the deepest. What one cause explains is no cause of anything else.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from .codes import EXPLAINS, RANK
from .finding import Finding, Sign, finding_of

_MOST_CAUSES = 200
"""The most causes of one session that are weighed for each finding, so that the work stays linear."""


def explained(signs: Iterable[Sign], session_id: str | None, beside: Iterable[Sign] = ()) -> list[Finding]:
    """The findings of one session, in no order. `beside`: what may be a cause too, and is told elsewhere."""
    told = _once(signs)
    causes = [sign for sign in (*beside, *told) if sign.code in EXPLAINS]
    causes = sorted(causes, key=lambda sign: RANK[sign.code])[:_MOST_CAUSES]
    return [finding_of(sign, session_id, _cause_of(sign, causes)) for sign in told]


def _cause_of(sign: Sign, causes: list[Sign]) -> Sign | None:
    found = (cause for cause in causes if cause is not sign and sign.code in EXPLAINS[cause.code])
    return next((cause for cause in found if cause.overlaps(sign)), None)


def _once(signs: Iterable[Sign]) -> list[Sign]:
    """Without what a second stream shows once more."""
    told: dict[tuple[str, Hashable], Sign] = {}
    alone: list[Sign] = []
    for sign in signs:
        if sign.about is None:
            alone.append(sign)
        else:
            told.setdefault((sign.code, sign.about), sign)
    return [*told.values(), *alone]
