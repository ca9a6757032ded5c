"""Settings from a file and from variables, for the command line and the pytest plugin.

The file is `omnirecord.toml`, or `pyproject.toml` with the table `[tool.omnirecord]`. It is searched for upwards from
the working directory. A variable has the name of a setting: `OMNIRECORD_DB` is `db`. It overrides the file.

A file may come with a folder of another author. So it is never code, it holds no secret, and it turns no protection
off. Its `db` stays in the folder of the file, and a file of another user is not read. Each program that uses the file
names it.

Every run of pytest loads this module, so it imports `omnirecord.options` only if something is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

from .errors import UsageError

PREFIX = "OMNIRECORD_"
OWN = "omnirecord.toml"
SHARED = "pyproject.toml"
"""The names of the file. In one folder, `OWN` takes precedence."""
NO_CONFIG = "OMNIRECORD_NO_CONFIG"
"""The variable that turns the file off."""
SECRET = ("token", "pseudonym_key")
_PROTECTING = ("insecure", "allow_remote")
_URLS = ("upstream", "upstreams", "ship", "lake")
_MOST = 1 << 20
"""Most bytes of a file."""
_ALIKE = 0.8
"""Least likeness of an unknown variable to a setting, for it to be a mistake (`difflib`)."""
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


class Setting(NamedTuple):
    """A value and where it is from. `source`: `variable`, `file` or `default`. `place`: the variable or the file."""

    value: Any
    source: str = "default"
    place: str | None = None


class Settings(NamedTuple):
    """The given settings by name. `file`: their file. `warnings`: why another file was not read, and which variables
    may be misspelt."""

    values: Mapping[str, Setting]
    file: Path | None = None
    warnings: Sequence[str] = ()

    def value(self, name: str) -> Any:
        """Return the value of a setting; None if it is not given."""
        return self.values[name].value if name in self.values else None

    def from_file(self) -> list[str]:
        """Return the names of the settings that hold from the file."""
        return sorted(name for name, setting in self.values.items() if self.file and str(self.file) in _places(setting))


def _places(setting: Setting) -> list[str]:
    return (setting.place or "").split(", ")


def settings_in(folder: Path, environment: Mapping[str, str] = os.environ, *, reads_file: bool = True) -> Settings:
    """Return the settings that hold in a folder. Raises `UsageError` for a file or a variable that is unusable."""
    warnings: list[str] = []
    found = None
    if reads_file and not _is_true(NO_CONFIG, environment.get(NO_CONFIG, "")):
        found = _found(folder, warnings)
    values: dict[str, Setting] = {}
    file = None
    if found is not None:
        file, table = found
        checked = _of_file(file, table)
        values = {name: Setting(value, "file", str(file)) for name, value in checked.items()}
    for name, value in _of_variables(environment).items():
        variable = PREFIX + name.upper()
        if name == "labels" and name in values:
            values[name] = Setting(values[name].value | value, "variable", f"{variable}, {file}")
        else:
            values[name] = Setting(value, "variable", variable)
    return Settings(values, file, [*warnings, *_misspelt(environment)])


def _found(folder: Path, warnings: list[str]) -> tuple[Path, Mapping[str, Any]] | None:
    """Return the nearest file with settings, and its table."""
    for place in (folder, *folder.parents):
        for name in (OWN, SHARED):
            path = place / name
            if not _is_there(path):
                continue
            if not _is_trusted(path, folder):
                warnings.append(f"{path} is not read: it belongs to another user")
                continue
            table = _table(path)
            if table is not None:
                return path, table
    return None


def _is_there(path: Path) -> bool:
    try:
        return S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _is_trusted(path: Path, folder: Path) -> bool:
    """Return whether a file belongs to this user, to root, or to the owner of the working directory."""
    try:
        trusted = {os.getuid(), 0, folder.stat().st_uid}
        return {path.lstat().st_uid, path.stat().st_uid} <= trusted  # of a link, and of its target
    except OSError:
        return False


def _table(path: Path) -> Mapping[str, Any] | None:
    """Return the settings of a file; None for a `pyproject.toml` without them."""
    import tomllib

    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error}): --no-config ignores it") from error
    is_own = path.name == OWN
    if not is_own and b"omnirecord" not in data:
        return None
    if len(data) > _MOST:
        raise UsageError(f"{path} is larger than 1 MiB, which no settings need: --no-config ignores it")
    try:
        table: Any = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path} is not UTF-8 (at line {line})") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no valid TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path} is no valid TOML for settings: its values are nested too deeply") from error
    if is_own:
        if isinstance(table.get("tool", table.get("omnirecord")), dict):
            raise UsageError(f"{path} has its settings in no table: leave out [tool.omnirecord]")
        return table  # type: ignore[no-any-return]
    tools = table.get("tool")
    found = tools.get("omnirecord") if isinstance(tools, dict) else None
    if found is not None and not isinstance(found, dict):
        raise UsageError(f"{path}: tool.omnirecord is a table, not {found!r}")
    return found


def _of_file(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked settings of a table. Relative paths begin at the folder of the file."""
    from .options import OPTIONS, SETTINGS, RecordOptions, unknown

    where = str(path)
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in SETTINGS:
            raise unknown(name, SETTINGS, where)
        values[name] = _checked(name, value, where)
    RecordOptions.of({name: value for name, value in values.items() if name in OPTIONS}, where)
    return {name: _placed(name, value, path) for name, value in values.items()}


def _checked(name: str, value: Any, where: str) -> Any:
    from .options import check, kinds_of

    variable = PREFIX + name.upper()
    if name in SECRET:
        raise UsageError(f"{where}: {name} is a secret, which a file may not hold: set {variable} instead")
    if name in _PROTECTING:
        raise UsageError(
            f"{where}: {name} turns a protection off, which a file may not do: set {variable}=true instead"
        )
    if isinstance(value, str) and "Texts" in kinds_of(name):
        value = [value]
    if isinstance(value, str) and "-----BEGIN" in value:
        raise UsageError(f"{where}: {name} is the path of a file, not its content")
    check(name, value, where)
    _refuse_credentials(name, value, where)
    _check_meaning(name, value, where)
    return _labels(value, where) if name == "labels" else value


def _check_meaning(name: str, value: Any, where: str) -> None:
    """Raise `UsageError` for a value that its command would refuse: the error names the setting, and no option."""
    from .wire.limits import retention, rotation, size_of

    try:
        if name == "match":
            from .replayer.matching.rules import Rules

            Rules.parse(value)
        elif name == "gates":
            from .replayer.player.gates import GateRule

            GateRule(value)
        elif name in ("upstream", "upstreams"):
            for url in value.values() if isinstance(value, Mapping) else value.split():
                _check_url(url)
        elif name == "rotate":
            rotation(value)
        elif name == "keep":
            retention(value)
        elif name == "keep_unshipped":
            size_of("--keep-unshipped", value)
    except UsageError as error:
        option = "--gate" if name == "gates" else f"--{name.replace('_', '-')}"
        raise UsageError(f"{where}: {name}: {str(error).removeprefix(f'{option} ')}") from None


def _check_url(text: str) -> None:
    """Raise `UsageError` for a URL without a scheme or a host. `text`: it may have a name, as in `model=URL`."""
    from urllib.parse import urlsplit

    name, equals, rest = text.partition("=")
    url = rest if equals and "/" not in name else text
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError(f"{url!r} needs a scheme and a host: write for instance http://127.0.0.1:6767")


def _refuse_credentials(name: str, value: Any, where: str) -> None:
    import re

    texts = value.values() if isinstance(value, Mapping) else [value]
    if name in _URLS and any(re.search(r"://[^/?#\s]*@", text) for text in texts):
        raise UsageError(f"{where}: {name} has a user or a password in its URL, which settings may not have")


def _labels(value: Any, where: str) -> dict[str, str]:
    from .cassette.labels import labels_of

    try:
        return labels_of(value, {})
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _placed(name: str, value: Any, path: Path) -> Any:
    """Return a value whose relative paths begin at the folder of the file. Raises `UsageError` for a `db` elsewhere."""
    from .options import kinds_of

    folder = path.parent
    if name == "db":
        placed = folder / value
        if not placed.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"{path}: db is outside of the folder of this file: set OMNIRECORD_DB, or give --db, for another place"
            )
        return str(placed)
    if "File" in kinds_of(name) or (name in ("ship", "lake") and "://" not in value):
        return str(folder / value)
    if name == "contract":
        return _contract(value, folder)
    if name == "contracts":
        return {key: _contract(one, folder) for key, one in value.items()}
    return value


def _contract(value: str, folder: Path) -> str:
    """Return the path of a contract that is a file beside the settings; any other contract as it is."""
    return str(folder / value) if (folder / value).is_file() else value


def _of_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    if not any(name.startswith(PREFIX) for name in environment):
        return {}
    from .options import SETTINGS, check

    values = {}
    for name in SETTINGS:
        variable = PREFIX + name.upper()
        text = environment.get(variable, "").strip()
        if not text or (name == "port" and "://" in text):  # Kubernetes sets it for a service named omnirecord
            continue
        value = _of_text(name, variable, text, environment)
        if name not in SECRET:  # an error shows the value
            check(name, value, variable)
        _refuse_credentials(name, value, variable)
        _check_meaning(name, value, variable)
        values[name] = value
    return values


def _misspelt(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each variable that is no setting, but has nearly the name of one.

    Others are no mistake: `run` sets addresses, the shell's completion has a variable, and Kubernetes sets some for a
    service named omnirecord."""
    names = {name.removeprefix(PREFIX) for name in environment if name.startswith(PREFIX)}
    if not names:
        return
    from difflib import get_close_matches

    from .options import SETTINGS

    known = [name.upper() for name in SETTINGS]
    for name in sorted(names.difference(known, [NO_CONFIG.removeprefix(PREFIX)])):
        near = get_close_matches(name, known, 1, _ALIKE)
        if near:
            yield f"{PREFIX}{name} is no setting: did you mean {PREFIX}{near[0]}?"


def _of_text(name: str, variable: str, text: str, environment: Mapping[str, str]) -> Any:
    """Return the value of a variable."""
    from .options import kinds_of

    kinds = kinds_of(name)
    if name == "labels":
        from .cassette.labels import labels_of

        return labels_of((), environment)
    if "Names" in kinds:
        pairs = [one.partition("=") for one in text.split()]
        if not all(equals for _, equals, _ in pairs):
            raise UsageError(f"{variable} is a list of NAME=VALUE, separated by spaces, not {text!r}")
        return {key: value for key, _, value in pairs}
    if name in ("match", "gates"):
        return [one.strip() for one in text.split(";") if one.strip()]
    if "Texts" in kinds or "Given" in kinds:
        return text.replace(",", " ").split()
    if "bool" in kinds:
        is_text = "str" in kinds and text.lower() not in (*_TRUE, *_FALSE)
        return text if is_text else _is_true(variable, text)
    for kind, convert in (("int", int), ("float", float)):
        if kind in kinds and "str" not in kinds:
            try:
                return convert(text)
            except ValueError:
                return text  # `check` refuses it
    return text


def _is_true(variable: str, text: str) -> bool:
    """Return the truth value of a variable; an empty one is false. Raises `UsageError`."""
    if text.strip().lower() in _TRUE:
        return True
    if text.strip() and text.strip().lower() not in _FALSE:
        raise UsageError(f"{variable} is true or false, not {text!r}")
    return False
