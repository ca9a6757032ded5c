"""A small linter for prose: `python -m tests.support.prose [FILE …]` prints the passages that need another sentence.

It reads Markdown (without code, quoted output and addresses), docstrings, comments, messages, the page's comments and
labels, and the help of each command.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

ROOT = Path(__file__).parent.parent.parent
MAX_WORDS = 25
TICS = {
    "who|whom|whoever|whomever": "name the person or the program: 'the client', 'a reader'",
    "somebody|someone|nobody|no one|anybody|anyone|everybody|everyone": "name the person or the program",
    "what (?:has |had )?(?:come|comes|came)": "name the thing: 'the events', 'the first bytes'",
    "what (?:(?:is|was|are|were)|there (?:is|was|are|were)) there": "name the thing: 'the recorded answer'",
    "what there (?:is|was|are|were)": "name the thing",
    "the ones? (?:that|which)": "repeat the noun",
    "(?:that|those) which": "name the thing",
}
"""By regular expression: what to write instead."""
_TICS = {re.compile(rf"\b(?:{words})\b", re.IGNORECASE): advice for words, advice in TICS.items()}
_BLOCK = re.compile(r"^ *(```|~~~).*?^ *\1[^\n]*$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_CODES = re.compile(r"\bcode(?:,\s+code)+(?:,?\s+(?:and|or)\s+code)?\b")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_QUOTED = re.compile(r'"[^"\n]{1,200}"|„[^“]*“|“[^”]*”')
_CONSOLE = re.compile(r"^ {4}\$ .*(?:\n {4}.*)*", re.MULTILINE)
_NEW_PASSAGE = re.compile(r"^\s*(?:[-*+] |\d+[.)] |#|>|<|\||[a-z_`., ]+: |.*\S {2,}\S)")
_END = re.compile(r"(?<=[.!?;])[\"')*_]*\s+")
_LITERAL = re.compile(r"""(['"`])((?:(?!\1)[^\\]|\\.)*)\1""")
_LINE = re.compile(r"^(.*?)(?:(?<![:'\"`])// ?(.*))?$", re.MULTILINE)
"""The code and the comment of a line of JavaScript."""
_VALUE = re.compile(r"\$\{[^}]*\}")
_WORD = re.compile(r"[^\W_](?:[\w'.-]*\w)?")


class Passage(NamedTuple):
    """Text without a break, and the number of its first line."""

    line: int
    text: str


class Problem(NamedTuple):
    where: str
    line: int
    told: str

    def __str__(self) -> str:
        return f"{self.where}:{self.line}: {self.told}"


def problems(where: str, passages: Iterator[Passage]) -> list[Problem]:
    """The tics and the long sentences of these passages."""
    return [Problem(where, one.line, told) for one in passages for told in _faults(one.text)]


def _faults(text: str) -> Iterator[str]:
    plain = _QUOTED.sub("quoted", text)
    for tic, advice in _TICS.items():
        for found in tic.finditer(plain):
            yield f"{found[0]!r}: {advice}; in {_around(plain, found)!r}"
    for sentence in _END.split(plain):
        if (words := len(_WORD.findall(sentence))) > MAX_WORDS:
            yield f"{words} words, {MAX_WORDS} are enough: {sentence[:70]!r}"


def _around(text: str, found: re.Match[str]) -> str:
    return text[max(0, found.start() - 25) : found.end() + 25]


def of_file(path: Path) -> list[Problem]:
    """The problems of a page, or of a module."""
    read = {".md": of_markdown, ".py": of_python, ".js": of_labels}[path.suffix]
    return problems(str(path.relative_to(ROOT)), read(path.read_text()))


def of_markdown(text: str) -> Iterator[Passage]:
    """Paragraphs, list items, and cells of tables."""
    for pattern in (_BLOCK, _CONSOLE, _COMMENT):
        text = pattern.sub(lambda found: "\n" * found[0].count("\n"), text)
    for start, paragraph in _paragraphs(_LINK.sub(r"\1", _without_code(text)).splitlines()):
        for cell in paragraph.strip().strip("|").split(" | ") if paragraph.lstrip().startswith("|") else [paragraph]:
            yield Passage(start, cell)


def _without_code(text: str) -> str:
    """The text with `code` for each piece of code, and for a whole list of them."""
    return _CODES.sub("code", _CODE.sub("code", text))


def _paragraphs(lines: list[str]) -> Iterator[Passage]:
    start, held = 0, ""
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip() or _NEW_PASSAGE.match(line):
            if held:
                yield Passage(start, held)
            start, held = number, line.strip()
        else:
            start, held = start if held else number, f"{held} {line.strip()}"


def of_python(text: str) -> Iterator[Passage]:
    """Docstrings, comments, and strings that read like a message."""
    yield from _strings(ast.parse(text))
    yield from _comments(text)


def _strings(tree: ast.Module) -> Iterator[Passage]:
    every = list(nodes(tree))
    docstrings = {id(node.value) for node in every if isinstance(node, ast.Expr)}
    parts = {id(part) for node in every if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in every:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(one.value) if isinstance(one, ast.Constant) else "value" for one in node.values)
        else:
            continue
        if id(node) in docstrings or _reads_like_prose(text):
            for line, passage in of_markdown(text):
                yield Passage(node.lineno + line - 1, passage)


def nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """`ast.walk`, in a third of its time."""
    left = deque[ast.AST]([tree])
    while left:
        node = left.popleft()
        yield node
        for value in vars(node).values():
            if isinstance(value, list):
                left.extend(one for one in value if isinstance(one, ast.AST))
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                left.append(value)


def of_labels(text: str) -> Iterator[Passage]:
    """The comments of a script of the page, and its string literals that read like a text."""
    yield from of_markdown(_LINE.sub(lambda line: ("- " if line[1].strip() else "") + (line[2] or ""), text))
    for number, line in enumerate(text.splitlines(), 1):
        for found in _LITERAL.finditer(line.split("//")[0]):
            label = _VALUE.sub("value", found[2])
            if _reads_like_prose(label):
                yield Passage(number, label)


def _reads_like_prose(text: str) -> bool:
    return len(re.findall(r"[a-z]{2,} [a-z]+", text)) > 1 and not re.search(r"\b(SELECT|CREATE|INSERT|UPDATE)\b", text)


def _comments(text: str) -> Iterator[Passage]:
    start, held, last = 0, "", -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or re.match(r"#(!|:| ?(noqa|type:|fmt:|pragma|mypy:))", token.string):
            continue
        words, alone = token.string.lstrip("# "), not token.line[: token.start[1]].strip()
        if held and alone and token.start[0] == last + 1:
            held = f"{held} {words}"
        else:
            if held:
                yield Passage(start, _without_code(held))
            start, held = token.start[0], words
        last = token.start[0]
    if held:
        yield Passage(start, _without_code(held))


def of_help(command: click.Command) -> list[Problem]:
    """The problems of a command's help."""
    told = [command.help, command.epilog, *(getattr(option, "help", None) for option in command.params)]
    passages = (passage for text in told if text for passage in of_markdown(text.replace("\b\n", "\n")))
    return problems(f"--help of {command.name}", passages)


def files() -> list[Path]:
    """Each page and module that is held to the rules."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    pages += [ROOT / "benchmarks" / "README.md", ROOT / "examples" / "chat-client" / "README.md"]
    return sorted([*pages, *(ROOT / "omnirecord").rglob("*.py"), *(ROOT / "omnirecord" / "ui" / "static").glob("*.js")])


if __name__ == "__main__":
    chosen = [Path(word).resolve() for word in sys.argv[1:]] or files()
    sys.stdout.writelines(f"{one}\n" for path in chosen for one in of_file(path))
