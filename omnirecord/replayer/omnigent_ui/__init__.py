"""What Omnigent's web UI asks of a replay and nobody recorded, or recorded at another moment. Pure.

A page asks for more than a session's stream, and more often than it did when it was recorded: it is reloaded, or the
session was recorded with the terminal client. `heard` is what the streams told of a session, `recorded` what answers
did; `sessions` puts them together as of the playhead, `answers` says which request asks for which of it, `standard` is
what any server has, `shell` is the page itself, `ui` decides.
"""

from .endpoints import Files, MadeUp, Quiet
from .fill import OmnigentUi, is_page

__all__ = ["Files", "MadeUp", "OmnigentUi", "Quiet", "is_page"]
