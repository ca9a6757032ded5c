"""The text form of a cassette: one JSON object per line, for git and review (`docs/cassette-format.md`).

`models` checks lines. `writer` writes all that `reader` reads: a round trip loses nothing.
"""

from .reader import Line, Offsets, Reader
from .writer import data_of, encoded, jsonl_bytes, lines, reads_values, text, values

__all__ = [
    "Line", "Offsets", "Reader", "data_of", "encoded", "jsonl_bytes", "lines", "reads_values", "text", "values",
]  # fmt: skip
