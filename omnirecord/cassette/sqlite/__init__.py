"""A cassette as an SQLite file. All SQL on a cassette is in this package.

- `schema` has the tables, and converts old formats; `opening` opens a file, compressed or not.
- `lock` tells whether a recorder is alive; `connection` refuses files that are dangerous to open, and clears errors.
- `rows` and `stream_rows` make the rows that `writer` writes.
- `tables`, `reader` and `stream_reads` read values, which `checked` checks.
- `views` has the SQL views and the Datasette metadata; `search_index` is the file beside the cassette.

All code here is synchronous. One thread at a time uses an object.
"""

from .opening import is_database, is_packed, is_sqlite
from .reader import Store
from .tables import is_coded
from .views import datasette_metadata
from .writer import Writer

__all__ = ["Store", "Writer", "datasette_metadata", "is_coded", "is_database", "is_packed", "is_sqlite"]
