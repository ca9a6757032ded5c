"""The text form of a cassette: one JSON object a line, made for git and review. The format: docs/cassette-format.md.

`forms` says what a line must have, `writing` and `reading` are twins: going there and back loses nothing.
"""

from .reader import Offsets, Reader
from .writer import data_of, lines, reads_values, text, values

__all__ = ["Offsets", "Reader", "data_of", "lines", "reads_values", "text", "values"]
