"""Masks values that look like a secret in content (`--redact content`): each character becomes `*`.

`patterns` lists the kinds, `scanner` finds them in a text in pieces, `strings` reads JSON strings with their escapes.
`labels` finds the names of secrets in a text, `fields` masks the values behind them.
`BodyMask` masks a body, `JsonMask` JSON values whose strings continue each other, `StreamMask` an event stream.
No I/O. No input raises an error, and masking again changes nothing.
"""

from .scanner import Scanner
from .streams import MaskedPart, StreamMask
from .texts import BodyMask, JsonMask

__all__ = ["BodyMask", "JsonMask", "MaskedPart", "Scanner", "StreamMask"]
