"""Which finding explains which: the first one that is told names the cause, not a symptom.

1. A cause explains what `codes.EXPLAINS` says it may, where both speak of the same time. It stands before its effects
   in `codes.CODES`, so chains of causes end and have no circles. The first cause that fits is the deepest.
2. A finding names the root of its chain. The root has no cause, so its reason and its next step are told.
3. No effect is worse than its root. A cause that is a note, though its code is usually worse, explains notes only.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from .codes import CODES, EXPLAINS, RANK
from .finding import Finding, Sign, finding_of

_MOST_CAUSES = 200
"""The most causes of one session that are weighed for each finding, so that the work stays linear."""


def explained(signs: Iterable[Sign], session_id: str | None, beside: Iterable[Sign] = ()) -> list[Finding]:
    """The findings of one session, in no order. `beside`: what may be a cause too, and is told elsewhere."""
    told = _once(signs)
    causes = [sign for sign in (*beside, *told) if sign.code in EXPLAINS]
    causes = sorted(causes, key=lambda sign: RANK[sign.code])[:_MOST_CAUSES]
    mine, roots = set(map(id, told)), dict[int, Sign]()
    for sign in causes:  # each after its own causes
        direct = _cause_of(sign, causes) if id(sign) in mine else None
        if direct is not None:
            roots[id(sign)] = roots.get(id(direct), direct)
    return [finding_of(sign, session_id, _root_of(sign, causes, roots)) for sign in told]


def _root_of(sign: Sign, causes: list[Sign], roots: dict[int, Sign]) -> Sign | None:
    direct = _cause_of(sign, causes)
    return None if direct is None else roots.get(id(direct), direct)


def _cause_of(sign: Sign, causes: list[Sign]) -> Sign | None:
    found = (cause for cause in causes if sign.code in EXPLAINS[cause.code])
    return next((cause for cause in found if cause.overlaps(sign) and _weighs(cause, sign)), None)


def _weighs(cause: Sign, sign: Sign) -> bool:
    return cause.level != "note" or CODES[cause.code].severity == "note" or sign.level == "note"


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
