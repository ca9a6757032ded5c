"""Addresses of recorded events: `2nd session.status`, `last event before [DONE]`. No I/O and no clock.

`parse_address` reads an address, `Address.resolve` finds its frames in recorded streams, and `Matcher.matches` tests
one frame, also of a live stream. `grammar` reads the language, which `faults` extends with `WordReader` and `Field`;
`matcher` finds the events, or describes the nearest ones.
"""

from .grammar import HOW_CONDITIONS, Address, WordReader, parse_address, read_address, read_ordinal
from .matcher import (
    MISSING,
    Condition,
    Field,
    Matcher,
    Ordinal,
    Pick,
    Stream,
    field_of,
    fields_like,
    is_event,
    listed,
    name_of,
    ordinal_text,
)

__all__ = [
    "HOW_CONDITIONS", "MISSING", "Address", "Condition", "Field", "Matcher", "Ordinal", "Pick", "Stream", "WordReader",
    "field_of", "fields_like", "is_event", "listed", "name_of", "ordinal_text", "parse_address", "read_address",
    "read_ordinal",
]  # fmt: skip
