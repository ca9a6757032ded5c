"""Failures that are rare in life, declared by event: `cut before response.completed by reset`. No I/O and no clock.

`Faults.parse` reads them (`grammar`, `verbs`), `Faults.bind` finds their events in a recording (`aims`), and
`Bound.on` takes the parts of a stream and gives those that a client gets (`layout`, `edits`). `docs/faults.md` tells
what each is on the wire.
"""

from .bound import Bound, Faults, RequestFault
from .layout import Faulty
from .verbs import VERBS, End, Fault, Verb

__all__ = ["VERBS", "Bound", "End", "Fault", "Faults", "Faulty", "RequestFault", "Verb"]
