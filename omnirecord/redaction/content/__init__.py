"""What looks like a secret in content, masked as it passes (`--redact content`): each character of it becomes `*`.

`kinds` is the list, `scanning` finds them in a text that comes in pieces, `escapes` sees through JSON's escapes.
`labels` finds the names of secrets in a text, `fields` masks the values behind them.
`BodyMask` masks a body, `JsonMask` JSON values whose strings go on with each other, `StreamMask` an event stream.
No I/O, nothing here raises whatever the bytes, and masking again changes nothing.
"""

from .scanner import Scanner
from .streams import MaskedPart, StreamMask
from .texts import BodyMask, JsonMask

__all__ = ["BodyMask", "JsonMask", "MaskedPart", "Scanner", "StreamMask"]
