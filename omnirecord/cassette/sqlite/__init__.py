"""A cassette as an SQLite file. All SQL on a cassette is in this package.

- `opening` has the tables and opens a file; `compressed` opens a compressed file; `migrations` converts old formats.
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
