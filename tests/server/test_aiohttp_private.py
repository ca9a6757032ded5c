"""The installed aiohttp has each private name of the fast path, and only the adapter module uses private names."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import aiohttp
import pytest

import omnirecord
from omnirecord.server import aiohttp_private
from omnirecord.server.http import Client
from omnirecord.server.strict_client import StrictClient, connection_class
from tests.support.examples import each

ADAPTER = "omnirecord.server.aiohttp_private"
UNDOCUMENTED = "omnirecord.server.aiohttp_names"
OPTIONAL = {"_buffer_paused", "_upgrade", "_upgraded"}
"""Names that some versions of aiohttp lack without a loss."""
OWNERS = (
    "web_protocol.RequestHandler", "web_server.Server", "web_response.StreamResponse", "web_request.BaseRequest",
    "http_writer.StreamWriter", "client_proto.ResponseHandler", "connector.TCPConnector", "client.ClientSession",
    "client_reqrep.ClientResponse",
)  # fmt: skip


@pytest.mark.fast_path
async def test_this_aiohttp_lacks_no_name_of_the_fast_path() -> None:
    lacks = (*aiohttp_private.upstream_lacks(), *aiohttp_private.client_lacks())
    assert lacks == (), f"aiohttp {aiohttp.__version__}: change {ADAPTER}; until then, streams take more CPU time"
    assert connection_class() is StrictClient


def test_each_private_name_of_the_adapter_is_tested_for_before_its_use() -> None:
    tree = _tree(ADAPTER)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    aliased = {
        call.args[0].value for call in calls if call.func.id == "_alias" and isinstance(call.args[0], ast.Constant)
    }  # type: ignore[attr-defined]
    set_ = {
        call.args[1].value for call in calls if call.func.id == "setattr" and isinstance(call.args[1], ast.Constant)
    }  # type: ignore[attr-defined]
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_private(node.attr)}
    tuples = [node for node in ast.walk(tree) if isinstance(node, ast.Tuple)]
    tested = {one.value for node in tuples for one in node.elts if isinstance(one, ast.Constant)}
    assert {"_messages", "_payload", "_factory"} < aliased | set_ | used
    assert aliased | set_ | used - {"_replace"} - OPTIONAL <= tested


@pytest.mark.fast_path
async def test_an_aiohttp_that_feeds_its_protocol_in_another_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    aiohttp_private.upstream_lacks.cache_clear()
    monkeypatch.setattr("aiohttp.client_proto.ResponseHandler.data_received", lambda *_: None)
    try:
        assert aiohttp_private.upstream_lacks() == ("calls of ResponseHandler.feed_data",)
    finally:
        aiohttp_private.upstream_lacks.cache_clear()


def test_the_servers_do_without_private_names() -> None:
    private = {name for name in _attributes(aiohttp.web.RequestHandler) if _is_private(name)}
    tree = _tree(Client.__module__)
    assert {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & private == set()


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


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _named(path: str) -> type:
    module, _, name = path.rpartition(".")
    found: type = getattr(importlib.import_module(f"aiohttp.{module}"), name)
    return found


def _modules() -> Iterator[str]:
    """The modules of omnirecord that import aiohttp, or a class of ours that has a base class of aiohttp's."""
    for found in pkgutil.walk_packages(omnirecord.__path__, "omnirecord."):
        text = Path(found.module_finder.find_spec(found.name, None).origin).read_text()  # type: ignore[union-attr, arg-type]
        if found.name != ADAPTER and ("aiohttp" in text or "RawResponse" in text):
            yield found.name


MODULES = sorted(_modules())


@each("module", [one for one in MODULES if one != UNDOCUMENTED])
def test_no_other_module_imports_an_undocumented_module_of_aiohttp(module: str) -> None:
    imports = [node for node in ast.walk(_tree(module)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports]
    assert {name for name in names if name.startswith("aiohttp.")} <= {"aiohttp.web", "aiohttp.abc"}


@each("module", [one for one in MODULES if one.split(".")[1] in ("replayer", "ui", "pytest_plugin", "cli")])
def test_only_the_servers_and_the_recorder_import_the_adapter(module: str) -> None:
    imports = [node for node in ast.walk(_tree(module)) if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in imports if (node.module or "").endswith("aiohttp_private")] == []


@each("module", MODULES)
def test_no_other_module_uses_a_private_attribute_of_aiohttp(module: str) -> None:
    private = {name for owner in OWNERS for name in _attributes(_named(owner)) if _is_private(name)}
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
