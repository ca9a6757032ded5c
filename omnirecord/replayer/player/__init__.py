"""Decides the answers of a replay: which exchange, which frames, and when each is due. No socket and no clock.

`Player.answer` takes a request and the time, and returns a `Decision`; the shell in `server` carries it out.
`plan` is a cassette laid out for that, `playback` one playing of a session tree, `timeline` its playhead.
`stream_choice` chooses the stream that a client gets, and makes the one of a client that reconnects. `effects` applies
faults and event ids; `controls` holds the verbs of the playhead. Answers are found by `replayer.matching`.
"""

from ..matching.key import Incoming, Mismatch, Miss
from ..matching.rules import Rules
from .controls import Controls, Position
from .options import Options, options
from .plan import GateRule
from .playback import Answering, Decision, Failing, NoContent, Playing, Refused, Updates
from .player import Player
from .timeline import Timing

__all__ = [
    "Answering", "Controls", "Decision", "Failing", "GateRule", "Incoming", "Mismatch", "Miss", "NoContent", "Options",
    "Player", "Playing", "Position", "Refused", "Rules", "Timing", "Updates", "options",
]  # fmt: skip
