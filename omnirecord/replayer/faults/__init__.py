"""Faults to inject into a replay, by event: `cut before response.completed by reset`. No I/O and no clock.

`Faults.parse` reads them (`verbs`). `Faults.bind` finds their events in a recording (`bound`).
`Bound.on` takes the parts of a stream and returns those that a client gets (`apply`). `docs/faults.md` describes each
fault on the wire.
"""

from .apply import Faulty
from .bound import Bound, Faults, RequestFault
from .verbs import VERBS, End, Fault

__all__ = ["VERBS", "Bound", "End", "Fault", "Faults", "Faulty", "RequestFault"]
