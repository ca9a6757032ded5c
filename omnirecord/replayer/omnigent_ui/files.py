"""The files of a built web UI on this machine: of a named folder, or of the installed `omnigent`.

Files are read on request, and only below that folder. No code of `omnigent` runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from ...errors import UsageError
from . import MadeUp

VARIABLE = "OMNIGENT_WEB_UI_DIST"
"""Environment variable with the folder of another build of the web UI, as in Omnigent."""
_BELOW = Path("server", "static", "web-ui")
_TYPES = {
    ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8",
    ".json": "application/json", ".map": "application/json", ".svg": "image/svg+xml", ".wasm": "application/wasm",
    ".png": "image/png", ".jpg": "image/jpeg", ".ico": "image/vnd.microsoft.icon", ".webp": "image/webp",
    ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip


class BuiltUi:
    """The files below one folder. Raises `UsageError` if it has no index.html."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        if not (self.folder / "index.html").is_file():
            raise UsageError(f"--web-ui {str(folder)!r} holds no index.html: name the folder of a built web UI")

    def __call__(self, path: str) -> MadeUp | None:
        """Return the file of a path below `/`; None if there is none."""
        try:
            file = (self.folder / path.lstrip("/")).resolve()
            if not file.is_relative_to(self.folder) or not file.is_file():
                return None
            body = file.read_bytes()
        except (OSError, ValueError):  # an invalid name: too long, or with a NUL
            return None
        return _page(body) if file.name == "index.html" else _asset(file, body)


def _page(body: bytes) -> MadeUp:
    """Return a page whose `./` links point to the root, so that they work from any path."""
    body = re.sub(rb"<base\b[^<>]*>", b"", body.replace(b'="./', b'="/'))
    return MadeUp(body, (("Content-Type", _TYPES[".html"]), ("Cache-Control", "no-cache")))


def _asset(file: Path, body: bytes) -> MadeUp:
    named_by_content = file.parent.name == "assets"
    keeps = "public, max-age=31536000, immutable" if named_by_content else "no-cache"
    etag = hashlib.sha256(body).hexdigest()[:32]
    kind = _TYPES.get(file.suffix.lower(), "application/octet-stream")
    headers = (("Content-Type", kind), ("Cache-Control", keeps), ("ETag", f'"{etag}"'))
    return MadeUp(body, (*headers, ("X-Content-Type-Options", "nosniff")))


def installed() -> BuiltUi | None:
    """Return the web UI of the `omnigent` in this environment, or of the command on PATH; None if there is none."""
    named = os.environ.get(VARIABLE)
    folders = ([Path(named)] if named else []) + _in_this_environment() + _on_path()
    return next((BuiltUi(folder) for folder in folders if (folder / "index.html").is_file()), None)


def _in_this_environment() -> list[Path]:
    try:
        spec = find_spec("omnigent")
    except (ImportError, ValueError):
        return []
    places = spec.submodule_search_locations if spec is not None else None
    return [Path(place) / _BELOW for place in places or ()]


def _on_path() -> list[Path]:
    """Return the folder of an `omnigent` that is installed as a tool, in its own environment."""
    command = shutil.which("omnigent")
    if command is None:
        return []
    environment = Path(command).resolve().parent.parent
    return sorted(environment.glob(f"lib/python3.*/site-packages/omnigent/{_BELOW}"))
