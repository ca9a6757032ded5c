"""A model API is one module of `omnirecord.providers` and one line of its register: nothing else names it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from omnirecord.providers.api import ModelApi
from omnirecord.providers.register import REGISTER, model_api, model_apis
from tests.support.prose import nodes

PACKAGE = Path(__file__).parent.parent.parent / "omnirecord"
INSIDE = ("omnigent", "providers")
MODULES = {api: entry.module or api.replace("-", "_") for api, entry in REGISTER.items()}
OF_ONE_API = frozenset({*MODULES.values(), "openai_errors", "openai_responses", "responses_objects"})
"""The modules of one API, or of one vendor."""
HOSTS = ("api.openai.com", "api.anthropic.com")
"""Hosts in examples of a URL, which name no API."""


def trees(*, inside: bool) -> Iterator[tuple[str, ast.Module]]:
    """Yield the modules of `omnirecord.providers`, or those outside of it and of `omnirecord.omnigent`."""
    for file in sorted(PACKAGE.rglob("*.py")):
        path = file.relative_to(PACKAGE)
        if path.parts[0] == "providers" if inside else path.parts[0] not in INSIDE:
            yield path.as_posix(), _tree(file)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def strings(tree: ast.Module) -> Iterator[str]:
    """Yield the string constants of a module, without docstrings."""
    docs = {id(node.value) for node in nodes(tree) if isinstance(node, ast.Expr)}
    for node in nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def imported(tree: ast.Module, of: str) -> set[str]:
    """Return the modules of `omnirecord.providers` that a module imports. `of`: its path below the package."""
    found = set()
    for node in nodes(tree):
        if isinstance(node, ast.ImportFrom):
            above = list(Path(of).parts[: -node.level]) if node.level else []
            parts = [*above, *(node.module or "").removeprefix("omnirecord.").split(".")]
            parts = [part for part in parts if part]
            if parts[:1] == ["providers"]:
                found |= set(parts[1:2]) or {one.name for one in node.names}
    return found


def names_of(api: str) -> set[str]:
    """Return what only the module of an API and its line may spell: its name, header and ends of its paths."""
    entry = REGISTER[api]
    paths = {path.rpartition("#")[2].lstrip("*") for path in entry.paths}
    return {api, *([entry.header] if entry.header else []), *(path for path in paths if not path.isalpha())}


@pytest.mark.parametrize("api", REGISTER)
def test_no_module_outside_spells_the_name_a_header_or_a_path_of_an_api(api: str) -> None:
    spelled = names_of(api)
    found = {
        (name, text)
        for name, tree in trees(inside=False)
        for text in strings(tree)
        for one in spelled
        if one in text and not any(host in text for host in HOSTS)
    }
    assert found == set()


@pytest.mark.parametrize("api", REGISTER)
def test_an_api_is_the_constant_of_the_module_with_its_name(api: str) -> None:
    one = model_api(api)
    assert isinstance(one, ModelApi)
    assert (type(one).__module__, one.name) == (f"omnirecord.providers.{MODULES[api]}", api)
    assert one.contract() is one.contract()
    assert one.contract().name == api


def test_no_module_outside_imports_the_module_of_an_api() -> None:
    found = {name: imported(tree, name) & OF_ONE_API for name, tree in trees(inside=False)}
    assert {name: modules for name, modules in found.items() if modules} == {}


def test_a_shared_module_of_the_package_knows_no_api() -> None:
    """Only the register names them, by one line each."""
    shared = [(name, tree) for name, tree in trees(inside=True) if Path(name).stem not in OF_ONE_API]
    assert len(shared) >= 7
    known = {name: imported(tree, name) & OF_ONE_API for name, tree in shared}
    assert {name: modules for name, modules in known.items() if modules} == {}
    types = {type_ for api in model_apis() for type_ in api.contract().types} - {"error"}
    found = {
        (name, text)
        for name, tree in shared
        for text in strings(tree)
        if (text in REGISTER and not name.endswith("/register.py")) or text in types
    }
    assert found == set()


def test_no_api_knows_another() -> None:
    apis = {name: tree for name, tree in trees(inside=True) if Path(name).stem in MODULES.values()}
    found = {name: imported(tree, name) & set(MODULES.values()) for name, tree in apis.items()}
    assert {name: others for name, others in found.items() if others} == {}


def test_two_apis_have_no_type_in_common_that_is_summarised_or_folded() -> None:
    for of in (lambda api: api.summaries, lambda api: api.own_types):
        types = [type_ for api in model_apis() for type_ in of(api)]
        assert len(types) == len(set(types))
