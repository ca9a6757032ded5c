"""No regular expression of the package takes more than linear time, whatever it is given."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import omnirecord
from omnirecord.analysis.forgetting import names_of
from omnirecord.cassette.rotation import RotatedCassettes
from omnirecord.contract.shapes import _any_head, _shape
from omnirecord.omnigent.contract import load
from omnirecord.redaction.redactor import Scanner
from omnirecord.replayer.matching.conversations import _day_expression
from omnirecord.replayer.player.rewrite import Renaming
from omnirecord.wire.limits import Retention
from tests.support.examples import each
from tests.support.possessive import is_wrong_before_3_11_5
from tests.support.pumped import slow

pytestmark = pytest.mark.slow
ROOT = Path(omnirecord.__file__).parent
METHODS = {"match", "search", "sub", "subn", "fullmatch", "split", "finditer", "findall"}

BOUNDED = {
    "replayer.event_address._CONDITION": "matched, never searched, in a sentence that the user writes",
    "replayer.event_address._WORD": "the same",
    "replayer.faults.verbs._TIME": "the same",
    "ui.viewer._IMPORT": "searches the scripts of the package itself",
}
"""Expressions that may be superlinear, and why that does no harm."""


@cache
def modules() -> dict[str, ModuleType]:
    names = [one.name for one in pkgutil.walk_packages(omnirecord.__path__, "omnirecord.")]
    return {name: importlib.import_module(name) for name in names if not name.endswith("__main__")}


@cache
def tree_of(module: ModuleType) -> ast.Module:
    assert module.__file__
    return ast.parse(Path(module.__file__).read_text())


def patterns_in(value: Any) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from patterns_in(one)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from patterns_in(one)
    elif isinstance(value, type) and value.__module__.startswith("omnirecord"):
        yield from (one for one in vars(value).values() if isinstance(one, re.Pattern))
    elif isinstance(of := getattr(value, "__self__", None), re.Pattern):  # a bound method, such as `.search`
        yield of


@cache
def uses(module: ModuleType) -> dict[str, set[str]]:
    """Returns the methods that a module calls on each name; all of them where it hands the expression on."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    nodes = list(ast.walk(tree_of(module)))
    called = {node.value for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found[node.value.id].add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node not in called:
            found[node.id] |= {"search", "match", "fullmatch"}
    return {name: methods & METHODS for name, methods in found.items()}


@cache
def compiled() -> dict[str, tuple[re.Pattern[Any], frozenset[str]]]:
    """Returns every expression that exists once the package is imported, by its first name, with its uses."""
    names: dict[re.Pattern[Any], str] = {}
    found: defaultdict[re.Pattern[Any], set[str]] = defaultdict(set)
    for where, module in modules().items():
        for name, value in vars(module).items():
            for pattern in patterns_in(value):
                names.setdefault(pattern, f"{where.removeprefix('omnirecord.')}.{name}")
                found[pattern] |= uses(module).get(name) or ({"match"} if isinstance(value, re.Pattern) else METHODS)
    return {name: (pattern, frozenset(found[pattern])) for pattern, name in names.items()}


@cache
def calls() -> list[tuple[str, ast.Call, bool]]:
    """Each call of the module `re`: where it stands, and whether that is at the top of a module."""
    found: list[tuple[str, ast.Call, bool]] = []
    for where, module in modules().items():
        if not re.search(r"\bre\.\w+\(", Path(module.__file__ or "").read_text()):
            continue
        tree = tree_of(module)
        inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.Lambda) for n in ast.walk(f)}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr in {*METHODS, "compile"}
            ):
                found.append((where.removeprefix("omnirecord."), node, id(node) not in inside))
    return found


def literals() -> dict[str, tuple[re.Pattern[Any], frozenset[str]]]:
    """Returns the expressions that functions write out where they use them."""
    found = {}
    for where, call, is_global in calls():
        if not is_global and isinstance(call.args[0], ast.Constant):
            flags = re.DOTALL if any("DOTALL" in ast.unparse(one) for one in call.args) else re.NOFLAG
            uses = METHODS if call.func.attr == "compile" else {call.func.attr}  # type: ignore[attr-defined]
            found[f"{where}:{call.lineno}"] = re.compile(call.args[0].value, flags), frozenset(uses)
    return found


FRAME = b'event: a.b\ndata: {"type": "response.output_text.delta", "delta": "a\\n", "sequence_number": 1}\n\n'


def made(folder: Path) -> dict[str, list[tuple[re.Pattern[Any], set[str]]]]:
    """Returns examples of the expressions that functions make, by module."""
    scanner = Scanner(["own-", "other_"])
    for letter in range(128):
        scanner._at(bytes([letter]), 0, 1)
    rules = [(one, {"match"}) for rule in scanner._rules for one in (rule.body, rule.lead) if one is not None]
    shape = _shape(FRAME, "response.output_text.delta", load("omnigent").shapes._model_of("response.output_text.delta"))
    assert shape is not None
    return {
        "redaction.content.scanner": [
            *rules, (scanner._anywhere, {"search"}), (scanner._in_words, {"search"}),
            (scanner._after_escapes, {"search"}), (scanner._begun, {"search"}),
            *((re.compile(one.encode()), {"match"}) for found in scanner._patterns.values() for one, _ in found),
            *((one, {"match"}) for one in scanner._of_letter.values()),
        ],
        "contract.shapes": [
            (re.compile(shape.rest), {"fullmatch"}), (_any_head(shape.at, shape.rest), {"match"}),
        ],
        "analysis.search.query": [(re.compile(re.escape('a*-"b')), {"finditer"})],
        "replayer.player.rewrite": [(Renaming({"conv_1": "a", "conv_12": "b"})._pattern, {"sub"})],
        "replayer.matching.conversations": [(_day_expression(date(2026, 11, 28)), {"sub"})],
        "analysis.forgetting": [(names_of(["a-b", "a"]), {"search"})],
        "cassette.rotation": [(RotatedCassettes(folder / "run.db", Retention())._name, {"fullmatch"})],
    }  # fmt: skip


def test_an_expression_takes_linear_time() -> None:
    assert len(compiled()) > 80
    assert compiled().keys() >= BOUNDED.keys()
    judged = {name: one for name, one in compiled().items() if name not in BOUNDED}
    found = {name: slow(pattern, uses) for name, (pattern, uses) in judged.items()}
    assert {name: attack for name, attack in found.items() if attack is not None} == {}


def test_an_expression_in_a_function_takes_linear_time() -> None:
    for name, (pattern, uses) in literals().items():
        assert slow(pattern, uses) is None, name


def test_an_expression_that_a_function_makes_takes_linear_time(tmp_path: Path) -> None:
    examples = made(tmp_path)
    functions = {
        where for where, call, is_global in calls() if not is_global and not isinstance(call.args[0], ast.Constant)
    }
    assert functions == examples.keys(), "a module makes an expression of which this test has no example"
    for name, several in examples.items():
        for pattern, uses in several:
            assert slow(pattern, uses) is None, (name, pattern.pattern)


def test_a_possessive_group_that_fails_has_not_moved(tmp_path: Path) -> None:
    """Before 3.11.5, Python goes on where the last, failed repetition of a possessive group has come to. Debian 12 has
    3.11.2. An atomic group, `(?>(?:...)*)`, is right there."""
    several = [pattern for examples in made(tmp_path).values() for pattern, _ in examples]
    patterns = [*several, *(pattern for pattern, _ in [*compiled().values(), *literals().values()])]
    assert [pattern.pattern for pattern in patterns if is_wrong_before_3_11_5(pattern)] == []


@each(
    ("source", "is_wrong"),
    [
        (r"(?:ab?c)*+", True), (r"(?:a(?!b))*+", True), (r"(?:(?!ab)a)*+", True), (r"(?: [a-z]+){0,3}+", True),
        (r"(?:\\(?:a|u[0-9]{4}))*+", True), (r"(?:(?=a[b-z])b)*+", True), (r"(?:(?=a[b-z])a)*+", False),
        (r"(?>(?:ab?c)*)", False), (r"(?:[^\\]+|\\.)*+", False), (r"[a-z]*+", False), (r"(?:ab)*+", False),
        (r"(?:ab*)*+", False),
    ],
)  # fmt: skip
def test_a_possessive_group_that_moves_before_it_fails_is_found(source: str, is_wrong: bool) -> None:
    assert is_wrong_before_3_11_5(re.compile(source)) is is_wrong


_CLASS = r"\[(?:[^\]\\\n]|\\.)*\]"
_LITERAL = re.compile(rf"(?:(?<=[(!])|(?<=[,=:?] ))/((?:[^/*\\\n\[]|\\.|{_CLASS})(?:[^/\\\n\[]|\\.|{_CLASS})*)/")


def test_an_expression_of_the_page_takes_linear_time() -> None:
    found = [
        (file.name, one[1]) for file in (ROOT / "ui/static").glob("*.js") for one in _LITERAL.finditer(file.read_text())
    ]
    assert len(found) > 20
    for name, source in found:
        if "\\p{" in source:  # a class that Python does not name: one character of it, or many
            assert re.fullmatch(r"\[[^\[\]]+\]\+?", source), (name, source)
        else:
            assert slow(re.compile(source), {"search"}) is None, (name, source)


@each(
    ("source", "method"),
    [
        (r"(\s*)([^=]{1,256}=)?(.*?)(\s*)", "fullmatch"),
        (r"((?:[\w.-]*?[.-])?(?:bearer|token)\.)([^\s,]+)", "sub"),
        (r"<base\b[^>]*>", "search"),
        (r"x*x*y", "match"),
    ],
)
def test_an_expression_that_was_or_would_be_slow_is_found(source: str, method: str) -> None:
    assert slow(re.compile(source), {method}) is not None
