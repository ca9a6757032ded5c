"""Decides what a replay answers: which exchange, which frames, when each is due. No socket and no clock.

`Player.answer` takes a request and the time and returns one of `decisions`; the shell in `replaying` carries it out.
`plan` is a cassette laid out for that, `run` one playing of a session tree, `timeline` its playhead, `playing` one
stream on its way to one client; `lookup` finds what answers a request, by `matching` and the `rules` somebody gave;
`joining` and `timing` are the rules by which streams go.
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
