"""The prose is plain: no vague nouns, and at most 25 words in a sentence (`tests/support/prose.py`)."""

from __future__ import annotations

import click

from omnirecord.cli import main
from tests.support.examples import each
from tests.support.prose import files, of_file, of_help, of_labels, of_markdown, of_python, problems


def told(text: str) -> list[str]:
    return [one.told for one in problems("page.md", of_markdown(text))]


def test_every_file_is_plain() -> None:
    found = [str(one) for path in files() for one in of_file(path)]
    assert not found, "\n".join(found)


@each("command", [main, *main.commands.values()])
def test_the_help_of_a_command_is_plain(command: click.Command) -> None:
    assert of_help(command) == []


@each(
    "sentence",
    [
        "Resume behind the id of who comes back.",
        "Whoever reads this waits.",
        "Somebody else records it.",
        "Nobody listens.",
        "It counts what came.",
        "It shows what has come so far.",
        "It writes what is there.",
        "It says what there was.",
        "The one that is written is open.",
        "It removes that which is old.",
        "- In a list, nobody\n  is a noun too.",
        "| cell | somebody in a cell |",
    ],
)
def test_a_vague_noun_is_found(sentence: str) -> None:
    assert len(told(sentence)) == 1


@each(
    "text",
    [
        "The client that closes is named.",
        "The word `nobody` is code.",
        'The message "nobody listened" is quoted.',
        "```console\n$ omnirecord show a.db  # whoever\n```",
        "Text.\n\n    $ omnirecord show a.db\n    nobody listened\n",
        "A [link](nobody.md) to a page.",
    ],
)
def test_a_relative_pronoun_code_and_quoted_output_are_left_alone(text: str) -> None:
    assert told(text) == []


def test_a_sentence_may_have_25_words_and_no_more() -> None:
    assert told(" ".join(["word"] * 25) + ". Another one.") == []
    (long,) = told(" ".join(["word"] * 26) + ".")
    assert long.startswith("26 words")
    row = f"{'a name':12} {' word' * 20}\n"
    assert told(row * 2) == told("First part; " * 20) == told("`a`, `b`, `c` and `d` " + "are codes " * 11) == []


def test_a_problem_names_its_line() -> None:
    (one,) = problems("page.md", of_markdown("# Title\n\n```\ncode\n```\n\nA paragraph.\nNobody reads it.\n"))
    assert (one.where, one.line) == ("page.md", 7)


def test_docstrings_comments_and_messages_of_a_module_are_read() -> None:
    module = '"""Nobody reads it."""\n# whoever reads it\nx = 1\n"""Somebody set it."""\ny = f"the one that has {x}"\n'
    assert [one.line for one in problems("a.py", of_python(module))] == [1, 4, 5, 2]


def test_comments_and_labels_of_the_page_are_read() -> None:
    script = "import { who } from './who.js'\n\n// Nobody\n// reads.\nh('p', {}, 'Here is what there is.') // nobody\n"
    assert [one.line for one in problems("a.js", of_labels(script))] == [3, 5, 5]
