"""A lake by its URL: a folder, `s3://`, `gs://` or `az://`. Its failures become one sentence each.

Credentials come from the environment only, under the names of AWS, Google and Azure. They are never stored and never
part of an error.

`table_states`, `problems` and `advice` tell the state of a lake: its tables with their size, objects that no commit
names. They read the Delta logs and the list of objects, and no rows.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Field, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError
from obstore import exceptions, store

from ..errors import LakeError, __version__
from ..text import counted, dumps
from ..wire.limits import lake_url
from .layout import ADDED, FORMAT_VERSION, MEASURED, PARTITION, SCHEMAS, TABLES, comments_of, is_own

MARKER = "omnirecord.json"
CLOCK = "omnirecord-clock"
"""A small object. Its time tells the clock of the store."""
SKEW = timedelta(minutes=1)
"""Difference of two clocks that is neither said nor taken into account."""
FOLDED_FORMAT = 2
"""The first format of lakes in which transactions expire (`ids`)."""
_EXPIRES = {"delta.setTransactionRetentionDuration": "interval 1 days"}
"""It counts for transactions with a time."""
_MEASURED = "delta.dataSkippingStatsColumns"
"""Without it, `DeltaTable.to_pyarrow_dataset` takes a column without statistics for one that is always null."""
_TIMEOUT = timedelta(seconds=30)
"""Longest wait for one answer of the store."""
_ASKED = 64
"""Most objects that are asked for one by one; of more, the store lists all."""
_REQUESTS = 32
"""Objects that are asked for at a time."""
_PATIENCE = timedelta(seconds=60)
"""Longest time for a request with its retries."""
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3")
_DENIED = exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError
_DAMAGED = re.compile("Corrupt|corrupt|No magic bytes|Invalid Parquet|checkpoint file|Json error")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FULL = re.compile(
    r"\b507\b|Insufficient Storage|StorageFull|No space left|os error 28\)|quota exceeded", re.IGNORECASE
)
_REFUSED = re.compile(r"403 Forbidden|401 Unauthorized|AccessDenied|necessary privileges|os error 13\)")
_NO_BUCKET = re.compile(r"NoSuchBucket|bucket does not exist|ContainerNotFound", re.IGNORECASE)
_NO_CREDENTIALS = re.compile(
    r"169\.254\.169\.254|metadata\.google|Missing ?(SecretAccessKey|AccessKey|Account|Bearer)|must be specified"
)
_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, or AZURE_STORAGE_ACCOUNT_NAME and"
    " AZURE_STORAGE_ACCOUNT_KEY"
)
_SECRET = re.compile(r"(?i)(signature|credential|token|key|secret|sig)(=|%3D)[^&\s\"'<]+")


@dataclass(frozen=True)
class Marker:
    lake: str
    """The id of the lake, a UUID."""
    format: int
    created_at: str
    """UTC, ISO 8601."""
    created_by: str
    """The version of omnirecord that made it."""


class MissingTable(LakeError):
    """The lake lacks a table."""


class Damaged(LakeError):
    """Files of tables that cannot be decoded. `files`: the table and the path of each."""

    def __init__(self, lake: Lake, files: Sequence[tuple[str, str]], said: str) -> None:
        self.files = files
        what = f"{lake.url}/{'/'.join(files[0])}" if files else f"a file of {lake.url}"
        super().__init__(
            f"{what} is damaged: restore it from a copy of the lake, or run omnirecord lake repair {lake.url} ({said})"
        )


class Missing:
    """The files that the log of a table names, and that queries did not find or could not decode. For several
    threads."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], None] = {}

    def add(self, table: str, path: str) -> None:
        """Add a file by its path below the table."""
        self._found[table, path] = None

    def files(self) -> list[tuple[str, str]]:
        """Return the table and the path of each file."""
        return sorted(self._found)

    def clear(self) -> None:
        self._found.clear()


class Lake:
    """A lake at a URL. Opening it reads nothing. Raises `UsageError` for a URL that names no lake."""

    def __init__(self, url: str) -> None:
        self.url = lake_url(url)
        self.is_local = "://" not in self.url
        self._ahead: timedelta | None = None
        self._held: dict[str, DeltaTable] | None = None
        self.missing = Missing()
        """The files that queries did not find or could not decode. They answered without these."""
        with self.failures():
            self.objects: store.ObjectStore = (
                self._folder()
                if self.is_local
                else store.from_url(
                    self.url,
                    client_options={"timeout": _TIMEOUT, "allow_http": _allows_http()},
                    retry_config={"retry_timeout": _PATIENCE},
                )
            )

    def _folder(self) -> store.ObjectStore:
        """Return the store of a local lake; without a folder, one in which nothing of the lake is found."""
        return store.LocalStore(prefix=self.url, mkdir=False) if Path(self.url).is_dir() else store.LocalStore()

    @property
    def storage_options(self) -> dict[str, str]:
        """The options of deltalake beside the environment."""
        return {} if self.is_local else {"timeout": f"{_TIMEOUT.seconds}s", "allow_http": str(_allows_http()).lower()}

    @contextmanager
    def failures(self, table: str | None = None) -> Iterator[None]:
        """Convert the errors of a store, or of one table, to `LakeError`, with a sentence that says what to do."""
        try:
            yield
        except (exceptions.BaseError, DeltaError, OSError) as error:
            where = self.url if table is None else self.table_url(table)
            raise LakeError(f"{where}: {_sentence(error, self.is_local)}") from error

    def table_url(self, name: str) -> str:
        return f"{self.url}/{name}"

    def table(self, name: str) -> DeltaTable:
        """Return a table of the lake at its newest version. Raises `MissingTable` or another `LakeError`."""
        if self._held is not None and name in self._held:
            return self._held[name]
        with self.failures(name):
            self._refuse_special_log(name)
            try:
                opened = DeltaTable(self.table_url(name), storage_options=self.storage_options)
            except TableNotFoundError as error:
                sentence = f"{self.url} has no table {name}: run `omnirecord lake init {self.url}`"
                raise MissingTable(sentence) from error
        if self._held is not None:
            self._held[name] = opened
        return opened

    @contextmanager
    def one_version(self) -> Iterator[None]:
        """Until it ends, `table` opens each table once: reading a log costs a request for each commit. For reading
        only, since a commit needs the newest version."""
        self._held = {}
        try:
            yield
        finally:
            self._held = None

    def tables(self) -> list[str]:
        """Return the names of its tables, `recordings` last. A lake of an older version lacks some. Raises
        `LakeError`."""
        return [name for name in TABLES if name not in ADDED or self._has(name)]

    def _has(self, name: str) -> bool:
        try:
            self.table(name)
        except MissingTable:
            return False
        return True

    def refuse_foreign(self, name: str, paths: Iterable[str]) -> None:
        """Raise `LakeError` if a path that the log of a table names leads out of the table, or to no regular file."""
        for path in paths:
            if _is_foreign(path):
                raise LakeError(
                    f"the log of {self.table_url(name)} names the file {path[:100]!r} outside of the table: restore the"
                    " log from a copy of the lake"
                )
            if self.is_local:
                self._refuse_special(Path(self.url, name, path))

    def _refuse_special_log(self, name: str) -> None:
        if self.is_local and (log := Path(self.url, name, "_delta_log")).is_dir():
            for one in log.iterdir():
                self._refuse_special(one)

    def _refuse_special(self, path: Path) -> None:
        """Raise `LakeError` for a pipe or a device: reading it does not end, and no signal ends that."""
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            return
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise LakeError(f"{path} is no regular file: remove it, and restore the file from a copy of the lake")

    def now(self) -> datetime:
        """Return the time by the clock of the store, which dates its objects. Writes a small object. Raises
        `LakeError`."""
        with self.failures():
            self.objects.put(CLOCK, b"1")
            return self.objects.head(CLOCK)["last_modified"]

    def skew(self) -> timedelta:
        """Return how far the clock of the store is ahead of the clock of this machine; zero for less than `SKEW`.

        It is measured once. Raises `LakeError`.
        """
        if self._ahead is None:
            ahead = self.now() - datetime.now(UTC)
            self._ahead = ahead if abs(ahead) > SKEW else timedelta(0)
        return self._ahead

    def about_skew(self, ahead: timedelta) -> str:
        """Return the sentence for a skew."""
        minutes = round(abs(ahead) / timedelta(minutes=1))
        size = counted(minutes, "minute") if minutes < 120 else counted(round(minutes / 60), "hour")
        where = "behind" if ahead > timedelta(0) else "ahead of"
        return (
            f"the clock of this machine is {size} {where} the clock of {self.url}: set it. omnirecord judges the age of"
            " objects by the clock of the store"
        )

    def has(self, path: str) -> bool:
        """Whether an object is there. Raises what obstore raises."""
        try:
            self.objects.head(path)
        except (exceptions.NotFoundError, FileNotFoundError):
            return False
        return True

    def absent(self, table: str, paths: Sequence[str]) -> set[str]:
        """Return those files of a table that the store lacks. Raises what obstore raises."""
        if self.is_local:
            return {path for path in paths if not os.path.exists(f"{self.url}/{table}/{path}")}  # noqa: PTH110  # fast
        if len(paths) > _ASKED:
            prefix = f"{table}/"
            there = {one["path"].removeprefix(prefix) for some in self.objects.list(prefix) for one in some}
            return {path for path in set(paths) - there if not self.has(f"{table}/{path}")}
        with ThreadPoolExecutor(_REQUESTS) as threads:
            found = threads.map(lambda path: self.has(f"{table}/{path}"), paths)
            return {path for path, is_there in zip(paths, found, strict=True) if not is_there}

    def marker(self) -> Marker:
        """Return the marker. Raises `LakeError` if there is no lake, or if its layout is newer than this version."""
        try:
            with self.failures():
                if self.is_local:
                    self._refuse_file()
                    self._refuse_special(Path(self.url, MARKER))
                    self.objects = self._folder()  # it may be newer than this object
                try:
                    if self.is_local and not Path(self.url).is_dir():
                        raise FileNotFoundError
                    value = json.loads(bytes(self.objects.get(MARKER).bytes()))
                except (exceptions.NotFoundError, FileNotFoundError) as error:
                    if _NO_BUCKET.search(str(error)):
                        raise
                    sentence = f"{self.url} is no lake: make one with `omnirecord lake init {self.url}`"
                    raise LakeError(sentence) from error
                found = Marker(*(value[name] for name in ("lake", "format", "created_at", "created_by")))
                if not isinstance(found.format, int):
                    raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LakeError(f"{self.url}/{MARKER} is damaged: restore it from a copy, or choose another URL") from error
        if found.format > FORMAT_VERSION:
            raise LakeError(
                f"{self.url} has lake format {found.format}, this omnirecord reads up to {FORMAT_VERSION}: upgrade it"
            )
        return found

    def init(self) -> tuple[Marker, bool]:
        """Make the lake, or complete it. Returns its marker and whether it is new. Raises `LakeError`.

        A store without conditional PUT is refused: two shippers could overwrite each other's commits.
        """
        if self.is_local:
            with self.failures():
                self._refuse_file()
                Path(self.url).mkdir(parents=True, exist_ok=True)
                self.objects = self._folder()
        self.refuse_overwriting()
        made = Marker(str(uuid4()), FORMAT_VERSION, datetime.now(UTC).isoformat(timespec="seconds"), __version__)
        is_new = True
        with self.failures():
            try:
                self.objects.put(MARKER, (dumps(vars(made)) + "\n").encode(), mode="create")
            except exceptions.AlreadyExistsError:
                is_new = False
        if not is_new:
            made = self.marker()
        self.complete()
        return made, is_new

    def _refuse_file(self) -> None:
        for one in (Path(self.url), *Path(self.url).parents):
            if one.exists() and not one.is_dir():
                raise LakeError(f"{one} is a file, and a lake is a folder: choose another path")

    def complete(self) -> None:
        """Create the tables and columns that this version knows and the lake lacks. Raises `LakeError`."""
        expires = _EXPIRES if self.marker().format >= FOLDED_FORMAT else {}
        for name, schema in SCHEMAS.items():
            comments = comments_of(name)
            wanted = Schema([_commented(one, comments.get(one.name)) for one in Schema.from_arrow(schema).fields])
            with self.failures():
                self._refuse_special_log(name)
                table = DeltaTable.create(
                    self.table_url(name),
                    wanted,
                    mode="ignore",
                    partition_by=[PARTITION],
                    name=name,
                    configuration={_MEASURED: ",".join(one for one in MEASURED if one in schema.names), **expires},
                    storage_options=self.storage_options,
                )
                there = {field.name for field in table.schema().fields}
                if missing := [field for field in wanted.fields if field.name not in there]:
                    table.alter.add_columns(missing)

    def refuse_overwriting(self) -> None:
        """Raise `LakeError` if the store has no conditional PUT. Writes a small object, and removes it."""
        probe = f"omnirecord-probe-{uuid4()}"
        with self.failures():
            self.objects.put(probe, b"1", mode="create")
            try:
                self.objects.put(probe, b"2", mode="create")
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return
            finally:
                self.objects.delete(probe)
        raise LakeError(
            f"{self.url} does not support conditional PUT (If-None-Match), so two shippers could overwrite each other's"
            " commits: choose another store"
        )


def _commented(field: Field, comment: str | None) -> Field:
    return (
        field
        if comment is None
        else Field(field.name, field.type, nullable=field.nullable, metadata={"comment": comment})
    )


def _is_foreign(path: str) -> bool:
    """Whether a path leads out of its table: it is absolute, a URL, or has a step up."""
    return path.startswith("/") or "://" in path or ".." in path.split("/") or "\0" in path


def _allows_http() -> bool:
    return any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)


def _sentence(error: BaseException, is_local: bool) -> str:
    """Return what a failure of the store is and what to do, without credentials."""
    said = " ".join(_COLOUR.sub("", str(error)).split()).partition(" Debug source:")[0]
    detail = _SECRET.sub(r"\1\2…", said.partition(": <unknown> 1:")[0].partition(": <?xml")[0])[:300]
    if _NO_CREDENTIALS.search(detail):
        return f"no credentials: {_CREDENTIALS} ({detail})"
    if isinstance(error, _DENIED) or is_refused(said):
        return about_refusal(is_local, detail)
    if _NO_BUCKET.search(said):
        return f"the bucket does not exist: make it, or check the URL ({detail})"
    if isinstance(error, exceptions.NotFoundError | TableNotFoundError | FileNotFoundError):
        return f"not found: check the {'path' if is_local else 'name of the bucket and the path'} ({detail})"
    if _FULL.search(said):
        return f"the store is full: add space, and try again; nothing local was changed ({detail})"
    if _DAMAGED.search(detail):
        return f"a file of the lake is damaged: restore it from a copy of the lake ({detail})"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror}: check the folder and its disk"
    return f"the store failed: try again, and nothing local was changed ({detail})"


def is_refused(said: str) -> bool:
    """Whether the text of an error says that a store denies access."""
    return _REFUSED.search(said) is not None


def about_refusal(is_local: bool, detail: str) -> str:
    where = "owner and mode of the folder" if is_local else "credentials in the environment and their rights"
    return f"access denied: check the {where} ({detail})"


_SMALL = 1 << 20
"""A smaller file of events, in bytes, costs a query more for its opening than for its rows."""
_MANY = 100
"""Most small files before the advice to compact."""


@dataclass(frozen=True, slots=True)
class TableState:
    """One table of a lake, as its newest commit has it."""

    table: str
    version: int | None
    """The number of its newest commit; None if the table is missing."""
    rows: int | None
    """None if a file was committed without its number of rows."""
    files: int
    bytes: int
    small_files: int
    orphans: int
    """Objects that no commit names: a killed `ship` left them, or a running one is about to commit them."""
    missing_columns: tuple[str, ...]
    missing_files: tuple[str, ...]
    """Files that the log names and the store lacks, below the table."""
    damaged_files: tuple[str, ...] = ()
    """Files whose size is not the size in the log, and after `lost.examined` also those that cannot be decoded."""
    foreign_files: tuple[str, ...] = ()
    """Files in the folder of the table that omnirecord did not write. Nothing removes them."""
    failure: str | None = None
    """Why the table cannot be read; then the numbers are 0."""

    @property
    def lost_files(self) -> tuple[str, ...]:
        return *self.missing_files, *self.damaged_files


def table_states(lake: Lake) -> Iterator[TableState]:
    """Yield the state of each table. A table that cannot be read has a `failure`."""
    for name in SCHEMAS:
        try:
            yield _state(lake, name)
        except LakeError as error:
            said = str(error).removeprefix(f"{lake.table_url(name)}: ")
            yield TableState(name, None, None, 0, 0, 0, 0, (), (), failure=said)


def _state(lake: Lake, name: str) -> TableState:
    prefix = f"{name}/"
    with lake.failures():  # before the log, so that a commit in between makes no orphan
        listed = (one for some in lake.objects.list(prefix=prefix) for one in some)
        sizes = {one["path"].removeprefix(prefix): one["size"] for one in listed}
    stored = {path for path in sizes if not path.startswith("_")}
    own = set(filter(is_own, stored))
    try:
        table = lake.table(name)
    except MissingTable:
        foreign = tuple(sorted(stored - own))
        return TableState(name, None, None, 0, 0, 0, len(own), tuple(SCHEMAS[name].names), (), foreign_files=foreign)
    with lake.failures():
        files = pa.table(table.get_add_actions(flatten=True))
        told = dict(zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True))
        lake.refuse_foreign(name, told)
        unnamed = stored - told.keys()
        gone = table.vacuum(0, dry_run=True, enforce_retention_duration=False) if unnamed else ()  # not deleted yet
        known = {field.name for field in table.schema().fields}
    rows = files["num_records"] if "num_records" in files.column_names else pa.nulls(files.num_rows)
    return TableState(
        table=name,
        version=table.version(),
        rows=None if rows.null_count else pc.sum(rows).as_py() or 0,
        files=files.num_rows,
        bytes=sum(told.values()),
        small_files=sum(size < _SMALL for size in told.values()),
        orphans=len((own & unnamed).difference(gone)),
        missing_columns=tuple(column for column in SCHEMAS[name].names if column not in known),
        missing_files=tuple(path for path in sorted(told.keys() - stored) if not lake.has(f"{name}/{path}")),
        damaged_files=tuple(path for path in sorted(told.keys() & stored) if sizes[path] != told[path]),
        foreign_files=tuple(sorted(unnamed.difference(own, gone))),
    )


def can_write(lake: Lake) -> bool | None:
    """Return whether the store has conditional PUT; None if nothing can be written there."""
    try:
        lake.refuse_overwriting()
    except LakeError as error:
        return False if error.__cause__ is None else None
    return True


def problems(url: str, states: list[TableState], conditional_put: bool | None) -> Iterator[str]:
    """Yield a sentence for each defect of a lake that keeps recordings out of it."""
    if conditional_put is False:
        yield "the store has no conditional PUT: two shippers could overwrite each other's commits"
    for one in states:
        if one.failure is not None:
            yield f"the table {one.table} cannot be read: {one.failure}"
        elif one.version is None:
            yield f"the table {one.table} is missing: omnirecord lake init {url}"
        elif one.missing_columns:
            columns = ", ".join(one.missing_columns)
            yield f"the table {one.table} lacks the columns {columns}: omnirecord lake init {url}"
        missing = f"{counted(len(one.missing_files), 'file')} that the store lacks"
        for files, what in (
            (one.missing_files, missing),
            (one.damaged_files, counted(len(one.damaged_files), "damaged file")),
        ):
            if files:
                yield (
                    f"the table {one.table} names {what}, the first is {files[0]}: restore from a copy of the lake, or"
                    f" run omnirecord lake repair {url}"
                )


def advice(url: str, states: list[TableState]) -> Iterator[str]:
    """Yield a sentence for each state that costs time or money, and loses nothing."""
    rows = {one.table: one.rows for one in states}
    if rows["recordings"] == 0:
        yield f"no recording is in the lake yet: omnirecord ship CASSETTE --lake {url}"
    events = next(one for one in states if one.table == "events")
    if events.small_files > _MANY:
        yield (
            f"{events.small_files:,} of {events.files:,} files of events are smaller than 1 MiB, which makes queries"
            f" slow: omnirecord lake compact {url}"
        )
    for one in states:
        if one.foreign_files:
            count = counted(len(one.foreign_files), "file")
            yield (
                f"the folder of the table {one.table} has {count} that omnirecord did not write, the first is"
                f" {one.foreign_files[0]}: nothing reads or removes such files"
            )
    if orphans := sum(one.orphans for one in states):
        yield (
            f"{orphans:,} objects are in no commit: a killed ship left them, or a running one commits them soon. They"
            " cost room only"
        )
