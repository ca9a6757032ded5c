"""The files of a built web UI on this machine: a folder that is named, or that of an `omnigent` which is installed.

They are read as they are asked for, and nothing outside the folder is. Nothing of `omnigent` is run for that.
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
"""The environment variable by which Omnigent is told of another build of its web UI."""
_BELOW = Path("server", "static", "web-ui")
_TYPES = {
    ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8",
    ".json": "application/json", ".map": "application/json", ".svg": "image/svg+xml", ".wasm": "application/wasm",
    ".png": "image/png", ".jpg": "image/jpeg", ".ico": "image/vnd.microsoft.icon", ".webp": "image/webp",
    ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip


class BuiltUi:
    """Those below one folder. Raises `UsageError` where that has no page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        if not (self.folder / "index.html").is_file():
            raise UsageError(f"--web-ui {str(folder)!r} holds no index.html: name the folder of a built web UI")

    def __call__(self, path: str) -> MadeUp | None:
        """The file of a path below `/`; None where there is none."""
        try:
            file = (self.folder / path.lstrip("/")).resolve()
            if not file.is_relative_to(self.folder) or not file.is_file():
                return None
            body = file.read_bytes()
        except (OSError, ValueError):  # a name that is none: too long, a NUL
            return None
        return _page(body) if file.name == "index.html" else _asset(file, body)


def _page(body: bytes) -> MadeUp:
    """What it refers to by `./` lies at the root, also seen from a page further below."""
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
    """The web UI of the `omnigent` that is installed beside us, or whose command is on PATH; None without one."""
    named = os.environ.get(VARIABLE)
    folders = ([Path(named)] if named else []) + _beside_us() + _on_path()
    return next((BuiltUi(folder) for folder in folders if (folder / "index.html").is_file()), None)


def _beside_us() -> list[Path]:
    try:
        spec = find_spec("omnigent")
    except (ImportError, ValueError):
        return []
    places = spec.submodule_search_locations if spec is not None else None
    return [Path(place) / _BELOW for place in places or ()]


def _on_path() -> list[Path]:
    """As a tool it has an environment of its own."""
    command = shutil.which("omnigent")
    if command is None:
        return []
    environment = Path(command).resolve().parent.parent
    return sorted(environment.glob(f"lib/python3.*/site-packages/omnigent/{_BELOW}"))
