"""How long is long: the times from which a wait or a silence is named, in ns. All commands use these.

A live server sends a heartbeat every 15 s.
"""

from __future__ import annotations

SECOND = 1_000_000_000
TOGETHER = 1 * SECOND
"""Two facts within this time have one cause: the ends of several streams, or the end of a POST and a denial."""
PATIENCE = 10 * SECOND
"""Time of waiting for a user, a tool, a sub-agent or an effect, after which that wait stops the turn. A client that
leaves later is not the reason that the turn has no end."""
LONG_QUIET = 20 * SECOND
"""Time without an event at the end of a stream that is named: more events may have followed."""
LATE = 22 * SECOND
"""Silence after which a heartbeat is late: one and a half intervals."""
SILENT = 30 * SECOND
"""Time with nothing but heartbeats that is named: two of them."""
STOPPED = 44 * SECOND
"""Silence after which a stream is dead: the web UI reconnects after 45 s without a byte."""
LONG = 60 * SECOND
"""Time that a model may think."""
