"""Bytes as a value of JSON: the text form, `--json` and the page write `raw`, `body` and `data` so. Pure."""

from __future__ import annotations

import base64
import binascii
from typing import Any


def bytes_to_json(data: bytes) -> str | dict[str, str]:
    """Return bytes as a JSON value: a string if they are UTF-8, else `{"base64": …}`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def bytes_from_json(value: Any) -> Any:
    """Return the bytes of a JSON value; any other value as it is. Raises `ValueError`."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict) and set(value) == {"base64"}:
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, TypeError) as error:
            raise ValueError(f"not base64: {error}") from None
    return value
