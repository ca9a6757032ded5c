"""Models of Omnigent's events, their union, and the table from a type to its model.

A new event type is a model in `session.py` or `response.py`, below `OmnigentEvent`, and a line in
`omnigent/summary.py`. An event that changes a turn also gets a constant in `omnigent/protocol.py` and a function in
`analysis/turns/events.py`.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ...contract.events import by_type
from . import response as response
from . import session as session
from .response import OmnigentEvent

MODELS = by_type(OmnigentEvent)
"""The model of each type: the reference page's 43 and the live union's 55, 56 together."""
if TYPE_CHECKING:
    ServerStreamEvent = OmnigentEvent
else:
    ServerStreamEvent = Annotated[reduce(or_, dict.fromkeys(MODELS.values())), Field(discriminator="type")]
"""Any event of Omnigent's. `type` tells them apart."""
