"""The names without an underscore that omnirecord takes from modules of aiohttp without documentation.

Every aiohttp of `pyproject.toml` has them. Other modules import them here, and the documented names from `aiohttp` and
`aiohttp.web`. Names with an underscore are in `aiohttp_private`.
"""

from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http import HttpProcessingError, RawRequestMessage, RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

__all__ = [
    "BadHttpMessage",
    "BaseProtocol",
    "ConnectionKey",
    "HttpProcessingError",
    "LineTooLong",
    "RawRequestMessage",
    "RawResponseMessage",
    "StreamWriter",
]
