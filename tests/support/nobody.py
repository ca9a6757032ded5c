"""Another user of the machine: root's tests run commands as `nobody`, since root may write everywhere."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

NOBODY = 65534


def closed_to_others(*places: Path) -> Path | None:
    """Return the first folder, at or above one of these, that other users cannot enter."""
    folders = (folder for place in places for folder in (place, *place.parents))
    return next((folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH), None)


_CHECKOUT = Path(__file__).parent.parent.parent
_CLOSED = closed_to_others(_CHECKOUT, Path(sys.prefix), Path(sys.base_prefix))

is_readable_as_nobody = pytest.mark.skipif(
    os.geteuid() == 0 and _CLOSED is not None,
    reason=f"`nobody` cannot import omnirecord or Python's modules, since other users cannot enter {_CLOSED}",
)
