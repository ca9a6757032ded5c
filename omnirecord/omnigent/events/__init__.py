"""Models of Omnigent's events, their union, and the table from a type to its model.

A new event type is a model in `session.py` or `response.py`, listed at the end of that file, and a line in
`omnigent/summary.py`. An event that changes a turn also gets a constant in `omnigent/protocol.py` and a function in
`analysis/turns/events.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import Field

from ...contract.events import Event, types_of
from .response import ResponseEvents
from .session import SessionEvents

ServerStreamEvent = Annotated[SessionEvents | ResponseEvents, Field(discriminator="type")]
"""Any event of Omnigent's: the reference page's 43 and the live union's 55, 56 together. `type` tells them apart."""
MODELS: Mapping[str, type[Event]] = {
    name: model for model in get_args(SessionEvents | ResponseEvents) for name in types_of(model)
}
"""The model of each type."""
