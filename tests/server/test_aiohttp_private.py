"""The installed aiohttp has each private name that omnirecord uses, and only the adapter module uses them."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import aiohttp

import omnirecord
from tests.support.examples import each

ADAPTER = "omnirecord.server.aiohttp_private"
PRIVATE = {
    "aiohttp.web_protocol.RequestHandler": (
        "_request_count", "_messages", "_waiter", "_message_tail", "_current_request", "_close", "_force_close",
        "_upgraded", "_reading_paused", "_buffer_paused", "_loop", "_make_error_handler",
    ),
    "aiohttp.web_server.Server": ("_loop", "_kwargs"),
    "aiohttp.web_response.StreamResponse": (
        "_req", "_payload_writer", "_headers", "_keep_alive", "_must_be_empty_body", "_eof_sent", "_prepare_headers",
        "_write_headers",
    ),
    "aiohttp.http_writer.StreamWriter": ("_headers_buf", "_headers_written"),
    "aiohttp.client_proto.ResponseHandler": ("_payload", "_reading_paused", "_buffer"),
    "aiohttp.connector.TCPConnector": ("_factory", "_conns"),
    "aiohttp.client.ClientSession": ("_retry_connection",),
    "aiohttp.web_request.BaseRequest": ("_message", "_headers", "_cache"),
    "aiohttp.client_reqrep.ClientResponse": ("_raw_headers", "_headers", "_cache", "_traces", "_request_info"),
}  # fmt: skip
"""The private attributes that the adapter uses, by the class of aiohttp that has them."""
UNDOCUMENTED = (
    "aiohttp.base_protocol.BaseProtocol", "aiohttp.client_proto.ResponseHandler", "aiohttp.client_reqrep.ConnectionKey",
    "aiohttp.http.HttpProcessingError", "aiohttp.http.RawRequestMessage", "aiohttp.http.RawResponseMessage",
    "aiohttp.http_exceptions.BadHttpMessage", "aiohttp.http_exceptions.LineTooLong", "aiohttp.http_writer.StreamWriter",
    "aiohttp.streams.EMPTY_PAYLOAD", "aiohttp.web_protocol.RequestHandler", "aiohttp.web_protocol._ErrInfo",
)  # fmt: skip
"""The names that the adapter imports from a module of aiohttp that has no documentation."""
_ATTRIBUTES = [(owner, name) for owner, names in PRIVATE.items() for name in names]


def _lacks(name: str) -> str:
    return f"aiohttp {aiohttp.__version__} has no {name}: change {ADAPTER}, or the bound on aiohttp in pyproject.toml"


def _named(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name, None)


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def _is_own(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


@cache
def _attributes(owner: type) -> frozenset[str]:
    """The names of a class's attributes, those included that only its code assigns to `self`."""
    found = set(dir(owner))
    for one in owner.__mro__:
        if one.__module__.startswith("aiohttp."):
            body = next(node for node in ast.walk(_tree(one.__module__)) if _is_class(node, one.__name__))
            found |= {n.attr for n in ast.walk(body) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    return frozenset(found)


def _is_class(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == name


@each("path", UNDOCUMENTED)
def test_aiohttp_has_this_undocumented_name(path: str) -> None:
    assert _named(path) is not None, _lacks(path)


@each(("owner", "name"), _ATTRIBUTES)
def test_aiohttp_has_this_private_attribute(owner: str, name: str) -> None:
    found = _named(owner)
    assert isinstance(found, type), _lacks(owner)
    assert name in _attributes(found), _lacks(f"{owner}.{name}")


def test_a_connection_key_has_a_field_for_the_client() -> None:
    fields = getattr(_named("aiohttp.client_reqrep.ConnectionKey"), "_fields", ())
    assert "proxy_headers_hash" in fields, _lacks("ConnectionKey.proxy_headers_hash")


def test_the_table_above_lists_each_private_name_of_the_adapter() -> None:
    tree = _tree(ADAPTER)
    aliases = {node.args[0].value for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_alias(node)}  # type: ignore[attr-defined]
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_private(node.attr)}
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    overridden = {one.name for node in classes for one in node.body if _is_method(one) and _is_private(one.name)}  # type: ignore[attr-defined]
    listed = {name for names in PRIVATE.values() for name in names}
    assert aliases | overridden | used - {"_replace"} == listed


def _is_method(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _is_alias(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "_alias"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _modules() -> Iterator[str]:
    """The modules of omnirecord that import aiohttp, or a class of ours that has a base class of aiohttp's."""
    for found in pkgutil.walk_packages(omnirecord.__path__, "omnirecord."):
        text = Path(found.module_finder.find_spec(found.name, None).origin).read_text()  # type: ignore[union-attr, arg-type]
        if found.name != ADAPTER and ("aiohttp" in text or "RawResponse" in text):
            yield found.name


MODULES = sorted(_modules())


@each("module", MODULES)
def test_no_other_module_imports_an_undocumented_module_of_aiohttp(module: str) -> None:
    imports = [node for node in ast.walk(_tree(module)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports]
    assert [name for name in names if name.startswith("aiohttp.") and name != "aiohttp.web"] == []


@each("module", MODULES)
def test_no_other_module_uses_a_private_attribute_of_aiohttp(module: str) -> None:
    known = {name for owner in (*PRIVATE, "aiohttp.web.BaseRequest") for name in _attributes(_named(owner))}  # type: ignore[arg-type]
    private = {name for name in known if _is_private(name)}
    others = [node for node in ast.walk(_tree(module)) if isinstance(node, ast.Attribute) and not _is_own(node)]
    assert [node.attr for node in others if node.attr in private] == []


@each("module", MODULES)
def test_no_class_of_another_module_uses_a_private_attribute_of_its_base_class(module: str) -> None:
    for node in ast.walk(_tree(module)):
        owner = getattr(importlib.import_module(module), node.name, None) if isinstance(node, ast.ClassDef) else None
        bases = [one for one in getattr(owner, "__mro__", ()) if one.__module__.startswith("aiohttp.")]
        private = {name for one in bases for name in _attributes(one) if _is_private(name)}
        used = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute) and _is_own(one)}
        methods = {one.name for one in ast.walk(node) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert (used | methods) & private == set()
