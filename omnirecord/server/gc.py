"""Python's search for circles among objects. It stops every thread of a process, and so every stream.

What a server has loaded when it begins stays to the end, and most of what it makes for an event has no circles: to
look for them there took 20 to 40 ms every few seconds, and half a millisecond in between.
"""

from __future__ import annotations

import gc

MANY = 10_000
"""Objects that are made before it is looked for circles among them; Python's own is 700 to 2,000."""


def settle(many: int = MANY) -> None:
    """All that is there now is never looked at again, and what is made later less often. For a process of ours: in
    somebody's program that is theirs to say."""
    gc.freeze()
    gc.set_threshold(many, 20, 100)
