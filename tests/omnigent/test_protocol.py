"""The names of Omnigent's protocol stand in `omnirecord.omnigent`, and in no other package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from omnirecord.omnigent import protocol
from omnirecord.omnigent.contract import MODELS
from omnirecord.providers.register import model_apis
from tests.support.prose import nodes

PACKAGE = Path(__file__).parent.parent.parent / "omnirecord"
INSIDE = ("omnigent", "providers")
OUTSIDE = sorted(file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] not in INSIDE)
_OF_PROVIDERS = {type_ for api in model_apis() for type_ in api.contract().types} - {"error", "ping"}
_KNOWN = "|".join(re.escape(type_) for type_ in sorted({*MODELS, *_OF_PROVIDERS}, key=len, reverse=True))
_TYPE = re.compile(rf"(?<![\w.])(?:{_KNOWN})(?![\w.]*\w)")
_PREFIX = re.compile(r"(?:browser|response|session|turn)\.[a-z_.]*")
_PATH = re.compile(r"/v1\b")
MAY_NAME_A_TYPE = {
    "session.github.info": (
        "replayer/omnigent_ui/__init__.py",
        "the id of an extension in an answer to the web UI, no event type",
    ),
}
"""Strings outside that look like an event type: the module, and why it may have the string."""
MAY_NAME_A_PATH = {
    "analysis/doctor/checks.py": "advice for a reader names the endpoints",
    "options.py": "an example of a path of a model API",
    "replayer/omnigent_ui/__init__.py": "answers requests of Omnigent's web UI",
}
"""Modules outside that name a path of the server, and why."""
PUBLIC = frozenset({"contract", "line", "protocol", "routes", "server_version", "summary"})
"""The modules of `omnirecord.omnigent` that other packages may import."""


def test_each_constant_is_called_like_its_type_and_has_a_model() -> None:
    types = {name: value for name, value in vars(protocol).items() if isinstance(value, str) and value in MODELS}
    assert len(types) > 30
    assert types == {name: value for name, value in types.items() if name == value.upper().replace(".", "_")}


def test_each_constant_is_used_outside() -> None:
    text = "\n".join(file.read_text() for file in OUTSIDE)
    inside = (PACKAGE / "omnigent/protocol.py").read_text()
    names = [name for name in vars(protocol) if name.isupper() and not name.startswith("_")]
    assert [name for name in names if name not in text and len(re.findall(rf"\b{name}\b", inside)) < 2] == []


def test_no_module_outside_names_an_event_type() -> None:
    found = {
        name: types
        for name, nodes in _outside()
        if (types := [one for one in _strings(nodes) if _TYPE.search(one) or _PREFIX.fullmatch(one)])
    }
    assert found == {module: [text] for text, (module, _why) in MAY_NAME_A_TYPE.items()}


def test_no_module_outside_names_a_path_of_the_server() -> None:
    found = {name for name, nodes in _outside() if any(map(_PATH.search, _strings(nodes)))}
    assert found == set(MAY_NAME_A_PATH)


def test_a_module_outside_imports_the_interface_of_omnigent_only() -> None:
    assert [name for name, nodes in _outside() if not PUBLIC.issuperset(_omnigent_imports(nodes))] == []


@cache
def _outside() -> list[tuple[str, list[ast.AST]]]:
    """Return each module of the other packages: its path below `omnirecord/`, and the nodes of its syntax tree that
    have a string or an import."""
    kinds = ast.Expr, ast.Constant, ast.ImportFrom
    return [
        (str(file.relative_to(PACKAGE)), [one for one in nodes(ast.parse(file.read_text())) if isinstance(one, kinds)])
        for file in OUTSIDE
    ]


def _strings(some: list[ast.AST]) -> Iterator[str]:
    """Return the string constants of a module, without docstrings."""
    docs = {id(node.value) for node in some if isinstance(node, ast.Expr)}
    for node in some:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def _omnigent_imports(some: list[ast.AST]) -> Iterator[str]:
    """Return the modules below `omnirecord.omnigent` that a module imports, by dotted name."""
    for node in some:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            parts = node.module.removeprefix("omnirecord.").split(".")
            if parts[0] == "omnigent":
                yield from [".".join(parts[1:])] if len(parts) > 1 else [one.name for one in node.names]
