"""What the example needs beside Python."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec

_PACKAGES = {
    "omnigent": "Omnigent",
    "omnigent_client": "the client of Omnigent",
    "moto": "moto (an S3 server)",
    "flask_cors": "flask-cors",
    "deltalake": "omnirecord[lake]",
}
INSTALL = "pip install '.[lake]' -r examples/lake/requirements.txt"


def missing(packages: Mapping[str, str] = _PACKAGES, nginx: str = "nginx") -> str:
    """Return a sentence about what is missing, or an empty text."""
    for module, name in packages.items():
        if find_spec(module) is None:
            return f"{name} is not installed: run {INSTALL} (Python 3.12 or newer)"
    if shutil.which(nginx) is None:
        return "nginx is not installed: run apt-get install nginx"
    return ""
