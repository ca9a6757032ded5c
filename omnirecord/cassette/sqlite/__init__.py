"""A cassette as an SQLite file. All SQL on a cassette is in this package.

`rows` and `stream_rows` make the rows that `writer` writes. `tables`, `reader` and `stream_reads` read values, which
`checked` checks. All code here is synchronous. One thread at a time uses an object.
"""

from .opening import is_database, is_packed, is_sqlite
from .reader import Store
from .tables import is_coded
from .views import datasette_metadata
from .writer import Writer

__all__ = ["Store", "Writer", "datasette_metadata", "is_coded", "is_database", "is_packed", "is_sqlite"]
