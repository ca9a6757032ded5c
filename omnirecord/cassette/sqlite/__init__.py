"""The one place that knows SQL: a cassette as an SQLite file.

`schema` is its form and how a file is opened, `packed` opens a compressed one, `lock` tells whether a recorder is
alive, `inodes` does so whatever name the file has, `rows` names what can be written, `writer` writes, `reader` reads
and `making` checks what it finds; `views` and `datasette` are for people who open a cassette with other tools.
Everything in here is synchronous and belongs to one thread at a time.
"""

from .reader import Store
from .schema import is_database, is_packed, is_sqlite
from .tables import is_coded
from .views import datasette_metadata
from .writer import Writer

__all__ = ["Store", "Writer", "datasette_metadata", "is_coded", "is_database", "is_packed", "is_sqlite"]
