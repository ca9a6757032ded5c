"""Answers for Omnigent's web UI that were not recorded, or were recorded at another moment. Pure.

A page sends more requests than were recorded: it is reloaded, or the session was recorded with the terminal client.
`session_state` reads the state of a session from its streams and recorded answers; `sessions` gives it as of the
playhead. `fill` maps requests to it and decides which answer a request gets, and `files` reads an installed web UI.
"""

from .fill import Files, MadeUp, OmnigentUi, Quiet, is_page

__all__ = ["Files", "MadeUp", "OmnigentUi", "Quiet", "is_page"]
