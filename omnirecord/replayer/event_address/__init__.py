"""How an event of a recording is named: `2nd session.status`, `last event before [DONE]`. No I/O and no clock.

`parse_address` reads a name, `Address.resolve` finds what it means in recorded streams, `Matcher.matches` says of one
frame, live too, whether it is the kind of event that is meant. `grammar` is the language, `nearest` what is said where
there is no such event; `Words` and `Field` serve whoever builds a language around it.
"""

from .grammar import HOW_CONDITIONS, Address, Words, parse_address, read_address, read_ordinal
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
    "HOW_CONDITIONS",
    "MISSING",
    "Address",
    "Condition",
    "Field",
    "Matcher",
    "Ordinal",
    "Pick",
    "Stream",
    "Words",
    "field_of",
    "fields_like",
    "is_event",
    "listed",
    "name_of",
    "ordinal_text",
    "parse_address",
    "read_address",
    "read_ordinal",
]
