"""What the page computes without a browser's help, computed in one: numbers and texts in, numbers and texts out."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from omnirecord import text as python
from omnirecord.analysis.gather import gathered
from omnirecord.cassette.open import open_store
from omnirecord.ui.data import session_data
from omnirecord.ui.events import columns, key_of_exchange
from omnirecord.ui.viewer import joined
from tests.support.browsing import SharedBrowser
from tests.support.cassettes import HEALTHY
from tests.support.examples import each
from tests.support.whatwg import CASES

pytestmark = [pytest.mark.slow, pytest.mark.browser]
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def page(shared_browser: SharedBrowser) -> Iterator[Any]:
    with shared_browser.lent() as browser:
        yield browser.new_page()


@pytest.fixture
def run(page: Any) -> Run:
    """Calls what an expression gives, in the names of a module, with these arguments."""
    return lambda module, expression, *args: page.evaluate(
        f"args => {{ {joined(module)}\n return ({expression})(...args) }}", list(args)
    )


def test_durations_are_written_as_the_commands_write_them(run: Run) -> None:
    random.seed(7)
    values = [random.randrange(10**power) for power in range(1, 14) for _ in range(20)]
    assert run("words.js", "all => all.map(seconds)", values) == [python.seconds(one) for one in values]


def test_what_a_person_would_not_see_is_written_as_the_commands_write_it(run: Run) -> None:
    texts = ["a\u202eb", "\x1b[2J", "\x9b", "é 漢 👩\u200d🚀", "\ufeff", "\U000e0041", "\x00\x7f", "\u2028"]
    assert run("words.js", "all => all.map(visible)", texts) == [python.visible(one) for one in texts]
    assert run("words.js", "visible", "two\nlines\t") == "two\nlines\t"


def test_a_clock_reads_as_one(run: Run) -> None:
    times = [0, 1_234_567_890, 59_999_999_999, 3_661_500_000_000, -1_500_000_000]
    assert run("words.js", "all => all.map(one => clock(one, 2))", times) == [
        "0:00.00", "0:01.23", "1:00.00", "1:01:01.50", "-0:01.50",
    ]  # fmt: skip


def test_no_gap_is_played_longer_than_the_cap_and_there_is_a_way_back(run: Run) -> None:
    random.seed(3)
    moments = sorted(random.randrange(10**11) for _ in range(200))
    for cap in (10**8, 10**9, None):
        script = (
            "(moments, cap) => { const pace = pacing(moments, 0, 1e11, cap ?? Infinity), all = [0, ...moments, 1e11];"
            " return [pace.duration, all.map(at => toPlay(pace, at)), all.map(at => toTime(pace, toPlay(pace, at)))] }"
        )
        duration, played, back = run("scale.js", script, moments, cap)
        gaps = [min(b - a, cap or 10**12) for a, b in pairwise([0, *moments, 10**11])]
        assert [b - a for a, b in pairwise(played)] == pytest.approx(gaps, abs=2)
        assert duration == pytest.approx(sum(gaps))
        assert back == pytest.approx([0, *moments, 10**11])


def test_events_of_several_streams_are_in_the_order_of_their_times_however_they_come(run: Run) -> None:
    with closing(open_store(HEALTHY["two_clients"])) as store:
        pieces = [columns(store, x.stream or 0, after, 20) for x in store.streams() for after in range(0, 100, 20)]
        frames = [frame for x in store.streams() for frame in store.frames(x)]
    pieces = [piece for piece in pieces if piece["seq"]]
    wanted = sorted([one.offset_ns, one.stream, one.seq] for one in frames)
    script = (
        "pieces => { const table = new Table(); for (const one of pieces) table.add(one);"
        " const rows = table.order.map(row => [table.at[row], table.stream[row], table.seq[row]]);"
        " return [rows, table.beats.length + table.news.length] }"
    )
    for order in (pieces, pieces[::-1]):
        by_stream = sorted(order, key=lambda piece: (-piece["stream"], piece["seq"][0]))
        rows, count = run("table.js", script, by_stream)
        assert rows == wanted
        assert count == len(wanted)


def test_an_event_stream_is_read_as_the_standard_says_however_it_is_cut(run: Run) -> None:
    script = (
        "(text, size) => { const reader = new Reader(), out = [];"
        " for (let at = 0; at < text.length; at += size) out.push(...reader.feed(text.slice(at, at + size)));"
        " return out.map(one => [one.type, one.data, one.id]) }"
    )
    for name, (data, events) in CASES.items():
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
        if len(text) > 100_000 or "retry" in name:
            continue
        for size in (1, 7, 10**6):
            found = run("source.js", script, text, size)
            assert found == [[one.type, one.data, one.last_event_id] for one in events], (name, size)


def test_json_keeps_its_numbers_and_what_is_none_is_none(run: Run) -> None:
    script = (
        "text => { const pair = part => [part.name, show(part.value)];"
        " const show = one => one && [one.kind, one.parts?.map(pair) ?? one.text]; return show(readJson(text)) }"
    )
    numbers = [[n, ["number", text]] for n, text in enumerate(("1e400", "12345678901234567890", "-0.0"))]
    found = run("facts.js", script, '{"a": [1e400, 12345678901234567890, -0.0], "a": null}')
    assert found == ["object", [["a", ["array", numbers]], ["a", ["word", "null"]]]]
    for text in ("", "{", '{"a"}', "[1,]", "nul", '"\\x"', "1 2", "[" * 5000, '{"a":1}}'):
        assert run("facts.js", script, text) is None, text
    for value in ({"__proto__": {"a": 1}}, [], {}, "é\u2028", {"": [[]]}):
        assert run("facts.js", "text => readJson(text) !== null", json.dumps(value))


def test_a_path_of_an_issue_is_found_in_the_data(run: Run) -> None:
    assert run("facts.js", "(a, b) => samePath(a, b)", "response.output[0].id", "response.output.0.id")
    assert not run("facts.js", "(a, b) => samePath(a, b)", "response.output[1].id", "response.output.0.id")


def test_zooming_keeps_what_is_under_the_pointer_and_never_leaves_the_session(run: Run) -> None:
    random.seed(5)
    script = (
        "(steps, total) => { let view = whole(total); const out = []; for (const [kind, by, part] of steps) {"
        " const at = view.from + part * (view.to - view.from);"
        " const next = kind === 'zoom' ? zoomed(view, by, at, total) : panned(view, by, total);"
        " out.push([next.from, next.to, at, xOf(view, at, 1000), xOf(next, at, 1000)]); view = next } return out }"
    )
    total = 6e11
    zooms = [["zoom", random.choice([0.5, 0.8, 1.3, 2]), random.random()] for _ in range(200)]
    pans = [["pan", random.uniform(-1e11, 1e11), 0] for _ in range(100)]
    steps = random.sample([*zooms, *pans], 300)
    for start, end, _, _, _ in run("scale.js", script, steps, total):
        assert -1 <= start < end <= total + 1
    ((_, _, _, before, after),) = run("scale.js", script, [["zoom", 0.5, 0.3]], total)
    assert after == pytest.approx(before)


@each(
    ("glob", "fits"),
    [
        ("", True), ("delta", True), ("response.*.delta", True), ("*.text", False), ("a+b", False),
        ("response.?utput_text.delta", True), (".*delta", False),
    ],
)  # fmt: skip
def test_types_fit_as_the_commands_take_them(run: Run, glob: str, fits: bool) -> None:
    assert run("filters.js", "fits", "response.output_text.delta", glob) is fits


def test_an_address_leads_back_to_where_it_was_taken(run: Run) -> None:
    for route in (
        {"view": "sessions"}, {"view": "session", "key": "1.session.a/b?c#d é"}, {"view": "search", "q": "a & b"},
        {"view": "session", "key": "1.stream.3", "event": "3:7"}, {"view": "compare", "a": "x", "b": "y"},
    ):  # fmt: skip
        assert run("routes.js", "one => read(write(one))", route) == route
    assert run("routes.js", "read", "#/session/%E0%A4%A") == {"view": "session", "key": "%E0%A4%A"}


@each("name", ["turns", "reconnect", "responses", "subagent"])
def test_texts_grow_to_what_show_tells_and_never_shrink(run: Run, name: str) -> None:
    with closing(open_store(HEALTHY[name])) as store:
        key = key_of_exchange(next(iter(gathered(store))).exchanges[0])
        told = session_data(store, key)["family"][0]
    script = (
        "told => { const turns = script(told), times = moments(turns);"
        " const said = shown => shown.filter(one => one.entry.kind === 'said').map(one => one.state.text);"
        " const at = ns => turns.filter(one => one.begin <= ns).map(one => said(turnAt(one, ns).shown).join('\\n\\n'));"
        " return [times.map(at), times.length] }"
    )
    shown, count = run("talk.js", script, told)
    assert count > 5
    for before, after in pairwise(shown):
        assert len(before) <= len(after)
        assert all(new.startswith(old) for old, new in zip(before, after, strict=False))
    assert shown[-1] == [turn["text"] for turn in told["turns"]]


def test_lanes_have_what_goes_on_at_once_in_rows(run: Run) -> None:
    items = [{"from": at, "to": at + 10} for at in (0, 5, 6, 7, 8, 30)]
    rows = run("lanes.js", "items => [stack(items), items.map(one => one.row)]", items)
    assert rows == [4, [0, 1, 2, 3, 3, 0]]


MARKED = "# Plan\nRun `make x` **now**:\n```sh\n# no heading\nmake **x** `y`\n```\nDone, 2 ** 3 ** 4."


def test_markdown_is_marked_and_every_sign_of_it_is_kept(run: Run) -> None:
    assert run("entries.js", "markdownIn", MARKED) == [
        ["heading", "# Plan\n"], ["plain", "Run "], ["code", "`make x`"], ["plain", " "], ["strong", "**now**"],
        ["plain", ":\n"], ["fence", "```sh\n# no heading\nmake **x** `y`\n```\n"], ["plain", "Done, 2 ** 3 ** 4."],
    ]  # fmt: skip
    random.seed(11)
    signs = ["`", "```", "**", "\n", "# ", "~~~", "a b", "<script>", "\u202e", " "]
    texts = ["".join(random.choices(signs, k=30)) for _ in range(300)] + [MARKED[:n] for n in range(len(MARKED))]
    joined_again = run("entries.js", "texts => texts.map(one => markdownIn(one).map(two => two[1]).join(''))", texts)
    assert joined_again == texts


def test_a_line_of_nothing_but_signs_takes_no_time_worth_mentioning(run: Run) -> None:
    script = "texts => { const t = performance.now(); texts.forEach(markdownIn); return performance.now() - t }"
    assert run("entries.js", script, [one * 100_000 for one in ("`", "*", "`a", "**a", "``` ", "\n```\n")]) < 2000


def test_a_tool_is_shown_though_its_json_cannot_be_written_anew(run: Run) -> None:
    script = """(given, output) => {
      const view = new VIEWS.tool({ kind: 'tool', of: { name: 'sh', arguments: given } }, { deck: { isOver: true } })
      view.update({ output, returned: true }, 0)
      return ['.arguments', '.output'].map(name => view.element.querySelector(name).textContent)
    }"""
    deep = f'{{"a": {"[" * 5900}{"]" * 5900}}}'
    odd = '{"stdout": "done", "exit_code": {"toString": 1}}'
    assert run("entries.js", script, deep, odd) == [deep, odd]


def test_an_older_story_that_comes_late_does_not_take_the_place_of_a_newer_one(run: Run) -> None:
    script = (
        "async () => { const waiting = [], source = { ask: () => new Promise(done => waiting.push(done)) };"
        " const deck = new Deck(source, '1.session.s', { frame: () => 0 });"
        " const told = turns => ({ family: [{ turns, growth: [], begun_ns: 0, ended_ns: 0 }],"
        " exchanges: [], messages: [] });"
        " const first = deck.loadSession(), second = deck.loadSession();"
        " waiting[1](told([])); await second; const newer = deck.session;"
        " waiting[0](told([])); await first; return deck.session === newer }"
    )
    assert run("deck.js", script)


@each(
    ("answered", "resolved", "action", "unanswered"),
    [
        (3, 4, "accept", False), (3, 4, "decline", False), (None, 4, "accept", False), (3, None, None, False),
        (None, 65, None, True), (None, None, None, True), (30, 31, "accept", True), (30, 31, "decline", False),
    ],
)  # fmt: skip
def test_a_question_without_an_answer_in_time_is_not_shown_as_settled(
    run: Run, answered: int | None, resolved: int | None, action: str | None, unanswered: bool
) -> None:
    approval = {"answered_ns": answered, "resolved_ns": resolved, "action": action}
    assert run("talk.js", "isUnanswered", approval, 10) is unanswered
