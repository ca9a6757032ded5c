"""JSONPath (RFC 9535) with regular expressions in linear time.

The library matches with `re`, in which `(a|a)*b` takes exponential time, and no signal stops it. Here `match` and
`search` use the engine of `jsonschema_rs`: its time is linear in the text and in the size of the expression, which is
limited.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jsonschema_rs
from jsonpath import JSONPathEnvironment
from jsonpath.exceptions import JSONPathTypeError
from jsonpath.filter import BaseExpression, StringLiteral
from jsonpath.function_extensions import ExpressionType, FilterFunction
from jsonpath.token import Token

_LARGEST = 1 << 20
"""Size of a compiled expression, at most, in bytes."""
_NO_EXPRESSION = (
    "is no regular expression of RFC 9485 (I-Regexp), or is too large: it has no lookarounds and no backreferences"
)


class _RegularExpressions(FilterFunction):
    """The function `match`, or `search`. `form`: the expression around the pattern."""

    arg_types: ClassVar[list[ExpressionType]] = [ExpressionType.VALUE, ExpressionType.VALUE]
    return_type: ClassVar[ExpressionType] = ExpressionType.LOGICAL

    def __init__(self, form: str) -> None:
        self._form = form
        self._known: dict[str, jsonschema_rs.Draft202012Validator] = {}

    def learn(self, pattern: str) -> None:
        """Compile a pattern. Raises `ValueError`."""
        if pattern not in self._known:
            _compiled(pattern)  # alone: `a)|(b` is none
            self._known[pattern] = _compiled(self._form % pattern)

    def __call__(self, value: object, pattern: object) -> bool:
        try:
            return isinstance(value, str) and self._known[str(pattern)].is_valid(value)
        except ValueError:  # a lone surrogate
            return False


def _compiled(expression: str) -> jsonschema_rs.Draft202012Validator:
    options = jsonschema_rs.RegexOptions(size_limit=_LARGEST)
    return jsonschema_rs.Draft202012Validator({"type": "string", "pattern": expression}, pattern_options=options)


class _Paths(JSONPathEnvironment):
    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        self.function_extensions["match"] = _RegularExpressions(r"\A(?R:%s)\z")  # R: the dot excludes CR and LF
        self.function_extensions["search"] = _RegularExpressions("(?R:%s)")

    def check_well_typedness(self, token: Token, func: FilterFunction, args: list[BaseExpression]) -> None:
        super().check_well_typedness(token, func, args)
        if not isinstance(func, _RegularExpressions):
            return
        pattern: Any = args[1]
        if not isinstance(pattern, StringLiteral):  # one from the body could be compiled for each node
            raise JSONPathTypeError(f"{token.value}() needs a text in quotes as its regular expression", token=token)
        try:
            func.learn(pattern.value)
        except ValueError:
            raise JSONPathTypeError(f"{pattern.value!r} {_NO_EXPRESSION}", token=token) from None


PATHS = _Paths(strict=True)
