"""The text form of a cassette: one JSON object per line, for git and review (`docs/cassette-format.md`).

`format` checks lines, and writes all that `reader` reads: a round trip loses nothing.
"""

from .format import data_of, encoded, jsonl_bytes, lines, reads_values, text, values
from .reader import Line, Offsets, Reader

__all__ = [
    "Line", "Offsets", "Reader", "data_of", "encoded", "jsonl_bytes", "lines", "reads_values", "text", "values",
]  # fmt: skip
