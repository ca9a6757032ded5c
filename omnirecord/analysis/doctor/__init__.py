"""What was wrong with a recorded session: frames, requests and snapshots in, findings out. No I/O, no clock.

    examined = Examined(session_id, acts, snapshots, upstream)
    examined.hear(exchange, frames)                       # each stream once, in order
    findings = in_order(explained(examined.signs(), session_id))

A file for each family of checks. `order`, `texts`, `turns`, `statuses`, `pulse` and `contract` look at one stream, put
together in `listening`; `tools`, `approvals`, `children` and `items` at all of a session's; `endings` and `clients`
know how streams ended and began again; `session` asks all of them. What they find is a `Sign`; `causes` says which of
them explains which; `codes` lists them. All of it is linear in the number of frames.
"""

from __future__ import annotations

from .codes import CODES, Code
from .endings import Upstream
from .finding import (
    SEVERITIES,
    Finding,
    Severity,
    Sign,
    explained,
    finding_of,
    in_order,
    is_at_least,
    row_of,
)
from .order import ItemList, item_list_of, reads_items
from .session import Examined

__all__ = [
    "CODES",
    "SEVERITIES",
    "Code",
    "Examined",
    "Finding",
    "ItemList",
    "Severity",
    "Sign",
    "Upstream",
    "explained",
    "finding_of",
    "in_order",
    "is_at_least",
    "item_list_of",
    "reads_items",
    "row_of",
]
