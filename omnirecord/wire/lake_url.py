"""The URL of a lake, checked without I/O and without the packages of the lake."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from ..errors import UsageError

_SCHEMES = ("s3", "gs", "az")
_TYPOS = tuple(f"{scheme}:/" for scheme in _SCHEMES)


def lake_url(url: str) -> str:
    """Return a URL without a slash at its end, or the absolute path of a folder. Raises `UsageError`."""
    if "://" not in url:
        if not url:
            raise UsageError("the URL of the lake is empty: name a folder, or s3://BUCKET/PATH, gs://… or az://…")
        if url.startswith(_TYPOS):
            raise UsageError(f"{url} has one slash after the colon: write {url.replace(':/', '://', 1)}")
        return str(Path(url).absolute())
    parts = urlsplit(url)
    if parts.scheme == "file":
        return str(Path(parts.path))
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise UsageError(
            f"{parts.scheme}:// is no address of a lake: name a folder, s3://BUCKET/PATH, gs://… or az://…"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError("the URL of a lake has no user, query or fragment: credentials come from the environment")
    return url.rstrip("/")
