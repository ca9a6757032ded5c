"""`omnirecord diff`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from omnirecord.forks.change import Change
from tests.support import forked
from tests.support.cassettes import Made, completed, created, delta, event, status
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.hop_tapes import RESPONSES, asked, ending, model_hop, opening, user, word

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"
TEXT, TOOL = CASSETTES / "text.jsonl", CASSETTES / "tool.jsonl"


def run(*words: Any) -> tuple[int, str, str]:
    result = invoke("diff", *words)
    return result.exit_code, result.stdout, result.stderr


def saying(path: Path, *texts: str, gap: float = 0.1) -> Path:
    made = Made()
    frames = [status("running"), created(), *map(delta, texts), completed()]
    made.stream("s", 1.0, *((1.0 + gap * n, frame) for n, frame in enumerate(frames)))
    return made.save(path)


def test_no_difference_is_a_sentence_and_exit_code_0() -> None:
    assert run(TEXT, TEXT) == (0, "no difference in 1 session with 1 turn\n", "")


def test_differences_are_told_turn_by_turn_with_a_summary_and_exit_code_1(tmp_path: Path) -> None:
    a = saying(tmp_path / "a.db", "It was recorded, then it stayed.")
    b = saying(tmp_path / "b.db", "It was replayed, then it stayed.")
    assert run(a, b) == (
        1,
        "1 difference: 1 in content\n"
        "session s\n"
        "  turn 1\n"
        "    content messages[0].text:\n"
        "      It was [-recorded-]{+replayed+}, then it stayed.\n",
        "",
    )


def test_timing_alone_is_told_and_is_exit_code_0(tmp_path: Path) -> None:
    code, out, _ = run(saying(tmp_path / "a.db", "Hi"), saying(tmp_path / "b.db", "Hi", gap=2.0))
    assert code == 0
    assert "    timing  duration_s: 0.3 s -> 6.0 s\n" in out
    assert out.startswith("no difference in 1 session with 1 turn, but for 3 in timing, which does not count\n")
    assert run(tmp_path / "a.db", tmp_path / "b.db", "--tolerance", 10)[1].count("\n") == 1


def test_json_is_a_row_for_each_difference_with_just_these_keys() -> None:
    code, out, err = run(TEXT, TOOL, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (1, "")
    assert all(list(row) == ["kind", "session_id", "path", "a", "b"] for row in rows)
    assert {row["kind"] for row in rows} == {"content", "tools", "usage"}
    assert run(TEXT, TEXT, "--json") == (0, "", "")


def test_two_cassettes_without_a_session_have_nothing_to_compare(tmp_path: Path) -> None:
    empty = Made().save(tmp_path / "empty.db")
    assert run(empty, empty) == (0, "nothing to compare: neither cassette has a session\n", "")
    code, out, _ = run(empty, TEXT)
    assert code == 1
    assert "  the session\n    content the session, only in B:\n" in out


@each(
    ("words", "said"),
    [
        (("nowhere.db", TEXT), "nowhere.db does not exist"),
        ((f"{TEXT}#xyz", TEXT), "no session begins with 'xyz'"),
        ((TEXT, TEXT, "--tolerance", "-2"), "the tolerance is -2"),
        ((TEXT, __file__), "test_diff.py"),
    ],
)
def test_an_unusable_call_is_a_sentence_and_exit_code_2(words: tuple[Any, ...], said: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1


def test_on_a_terminal_changes_are_coloured_instead_of_marked(tmp_path: Path) -> None:
    a = saying(tmp_path / "a.db", "It was recorded, then it stayed.")
    b = saying(tmp_path / "b.db", "It was replayed, then it stayed.")
    out, code = forked.on_a_terminal("diff", a, b)
    assert code == 1
    assert f"It was {click.style('recorded', fg='red')}{click.style('replayed', fg='green')}, then" in out


def test_nothing_that_was_recorded_acts_on_the_terminal(tmp_path: Path) -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07\u202eevil\r\n[red]x[/red]\u2028"
    made = Made()
    output = {"type": "function_call_output", "call_id": hostile, "output": hostile * 3}
    made.stream(
        "s\x1b[31m", 1.0, (1.1, created()), (1.2, delta(hostile)), (1.3, event(hostile, x=hostile)),
        (1.4, event("response.output_item.done", item=output)), (1.5, event("session.todos", todos=[{hostile: 1}])),
    )  # fmt: skip
    b = made.save(tmp_path / "b.db")
    for words in ((saying(tmp_path / "a.db", hostile * 2), b), (b, TEXT), (TEXT, b)):
        code, out, _ = run(*words)
        assert code == 1
        assert all(line.isprintable() for line in out.split("\n"))


def test_a_megabyte_of_text_is_told_in_a_few_lines(tmp_path: Path) -> None:
    a = saying(tmp_path / "a.db", "".join(f"{n} " for n in range(160_000)))
    b = saying(tmp_path / "b.db", "".join(f"{n * 7} " for n in range(160_000)))
    code, out, _ = run(a, b)
    assert code == 1
    assert len(out) < 2_000


def test_of_very_many_differences_the_first_are_told(tmp_path: Path) -> None:
    def todos(path: Path, step: int) -> Path:
        made = Made()
        frames = [created(), *(event("session.todos", todos=[{"content": f"do {n * step}"}]) for n in range(1, 1000))]
        made.stream("s", 1.0, *((1.1, frame) for frame in frames))
        return made.save(path)

    _, out, _ = run(todos(tmp_path / "a.db", 1), todos(tmp_path / "b.db", -1))
    assert out.count("\n") < 300
    assert "    … and more: --json has them all\n" in out
    assert out.startswith("999 differences: 999 in content\n")


def test_model_calls_of_cassettes_without_turns_are_compared(tmp_path: Path) -> None:
    calls, others = model_hop(2).save(tmp_path / "a.db"), model_hop(1, "Hello").save(tmp_path / "b.db")
    assert run(calls, calls) == (0, "no difference in 2 model calls\n", "")
    code, out, _ = run(calls, others)
    assert code == 1
    assert out.splitlines()[:4] == [
        "2 differences: 2 in calls", "model calls", "  call 1 of #1",
        "    calls   request.messages[0]: Hi -> Hello",
    ]  # fmt: skip
    assert "  call 1 of #2\n    calls   the call, only in A:" in out


CHAT = "/v1/chat/completions"
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Warmest?"},
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [
            {"id": name, "type": "function", "function": {"name": "weather", "arguments": f'{{"city": "{name}"}}'}}
            for name in ("Oslo", "Rome")
        ],
    },
    {"role": "tool", "tool_call_id": "Oslo", "content": "3 degrees"},
    {"role": "tool", "tool_call_id": "Rome", "content": "28 degrees"},
]


def test_the_path_of_a_message_is_that_of_fork(tmp_path: Path) -> None:
    change = Change.of(None, ["messages[3].content=99 degrees"])
    body = {"model": "m", "messages": MESSAGES}
    sides = (body, change.made(json.dumps(body).encode(), CHAT).after.data)
    for path, sent in zip((tmp_path / "a.db", tmp_path / "b.db"), sides, strict=True):
        made = Made()
        made.another_recording("model", "auto")
        choice = {"index": 0, "message": {"role": "assistant", "content": "Rome."}, "finish_reason": "stop"}
        made.post(CHAT, 1.0, body=sent, answer={"id": "c", "object": "chat.completion", "choices": [choice]})
        made.save(path)
    shown = run(tmp_path / "a.db", tmp_path / "b.db")[1]
    assert shown.splitlines()[-1].strip() == "calls   request.messages[3]: 3 degrees -> 99 degrees"


def test_the_answers_of_calls_without_turns_are_compared(tmp_path: Path) -> None:
    a, b = tmp_path / "a.db", tmp_path / "b.db"
    for path, word_ in ((a, "Hello"), (b, "Hullo")):
        tape = model_hop(0)
        reads = [(1.1, opening()), (1.2, word(word_)), (1.3, ending())]
        tape.stream(RESPONSES, 1.0, *reads, method="POST", body=asked(user("Hi")), ending="eof")
        tape.save(path)
    assert run(a, b)[1].splitlines()[-1].strip() == "calls   texts[0]: Hello -> Hullo"


def test_model_calls_of_one_side_alone_are_said_to_be_uncompared(tmp_path: Path) -> None:
    calls = model_hop(1).save(tmp_path / "calls.db")
    empty = Made().save(tmp_path / "empty.db")
    said = "nothing to compare: neither cassette has a session, and only one has model calls\n"
    assert run(calls, empty) == (0, said, "")
    other = Made()
    other.stream("/events", 0.0, (0.1, event("one", n=1)), (0.2, event("two", n=2)))
    _, out, _ = run(calls, other.save(tmp_path / "other.db"))
    assert out.endswith("model calls are not compared: only one cassette has them\n")
    assert "content the stream, only in B:\n      + turns: 0\n      + events: 2\n" in out


def test_a_stream_of_an_unknown_api_has_no_turns_in_a_comparison(tmp_path: Path) -> None:
    made = Made()
    made._contracts[0] = "none"
    made.stream("/events", 1.0, (1.1, created()), (1.2, delta("Hi")), (1.3, completed()), ending="eof")
    path = made.save(tmp_path / "a.db")
    assert run(path, path) == (0, "no difference in 1 session with 0 turns\n", "")
