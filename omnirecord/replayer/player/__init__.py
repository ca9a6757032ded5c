"""Decides the answers of a replay: which exchange, which frames, and when each is due. No socket and no clock.

`Player.answer` takes a request and the time, and returns one of `decisions`; the shell in `server` carries it out.
`plan` is a cassette laid out for that, `playback` one playing of a session tree, `timeline` its playhead.
`stream_choice` chooses the stream that a client gets, and `reconnect` puts together the rest for a client that comes
back. `effects` applies faults and event ids; `controls` holds the verbs of the playhead. Answers are found by
`replayer.matching`.
"""

from ..matching import Rules
from ..matching.key import Incoming, Mismatch, Miss
from .controls import Controls, Position
from .decisions import Answering, Decision, Failing, NoContent, Refused, Updates
from .options import Options, options
from .plan import GateRule
from .playback import Playing
from .player import Player
from .timing import Timing

__all__ = [
    "Answering",
    "Controls",
    "Decision",
    "Failing",
    "GateRule",
    "Incoming",
    "Mismatch",
    "Miss",
    "NoContent",
    "Options",
    "Player",
    "Playing",
    "Position",
    "Refused",
    "Rules",
    "Timing",
    "Updates",
    "options",
]
