"""What the benchmarks rest on: a load checked byte for byte, a recording held against it, ratios within a round."""

from __future__ import annotations

import re
import shutil
import urllib.request
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import memory, svg
from benchmarks.__main__ import ALL, main
from benchmarks.load import Shape, Source, check, receive
from benchmarks.measure import Benchmark, Contender, Metric, Outcome, Settings, measure
from benchmarks.page import marked
from benchmarks.recording import contenders, latency
from benchmarks.shipping import rotated
from benchmarks.whole import faults_of

THREE = Shape(1, 3)
needs_a_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="the load is a C program")


@pytest.fixture(scope="module")
def body() -> bytes:
    """What the source sends as a stream of three events."""
    with Source(pinned=False) as source, urllib.request.urlopen(f"http://127.0.0.1:{source.port}/?events=3") as answer:
        found: bytes = answer.read()
        return found


@needs_a_compiler
def test_a_body_is_exact_only_if_it_is_what_was_sent(body: bytes) -> None:
    assert len(body) == 3 * 150 + len("data: [DONE]\n\n")
    assert check([body], THREE).exact
    assert not check([body], replace(THREE, events=4)).exact
    assert not check([body[:-1]], THREE).exact


@needs_a_compiler
@pytest.mark.parametrize("at", [0, 40, 100, 145, 149, 299, 451])
def test_a_byte_that_differs_is_found_wherever_it_is(body: bytes, at: int) -> None:
    assert check([body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]], THREE).wrong


@needs_a_compiler
def test_a_body_is_checked_alike_however_it_comes(body: bytes) -> None:
    whole = check([body], THREE)
    assert check([body[i : i + 1] for i in range(len(body))], THREE) == whole
    assert check([body[:200], body[200:]], THREE) == whole


@needs_a_compiler
def test_a_body_cut_short_is_not_wrong_but_counted(body: bytes) -> None:
    cut = check([body[:310]], THREE)
    assert (cut.exact, cut.wrong, cut.events, cut.bytes) == (False, False, 2, 310)


@needs_a_compiler
def test_the_sink_sees_what_the_source_sends() -> None:
    with Source(pinned=False) as source:
        for shape in (Shape(1, 50_000), Shape(20, 10, rate=200), Shape(2, 3, size=1 << 20), Shape(1, 10, size=110)):
            received = receive(source.port, shape)
            assert (received.why, received.exact, received.events) == ("", shape.streams, shape.total)


@needs_a_compiler
@pytest.mark.slow
def test_a_recording_is_measured_and_held_against_what_was_sent(tmp_path: Path) -> None:
    settings = Settings(0.2, tmp_path)
    (ours,) = [one for one in contenders(Shape(2, 0, rate=50), latency, settings) if one.name == "omnirecord asyncio"]
    faults: list[str] = []
    assert {"p50", "p99", "CPU", "verdicts", "disk"} == ours.run(faults).keys()
    assert not faults


@needs_a_compiler
@pytest.mark.slow
@pytest.mark.parametrize("ships", [False, True])
def test_a_proxy_that_ships_is_measured_and_its_lake_has_every_event(tmp_path: Path, ships: bool) -> None:
    faults: list[str] = []
    found = rotated("asyncio", Shape(2, 0, rate=50), Settings(0.2, tmp_path), faults, ships=ships)
    assert found.keys() == {"p50", "p99", "CPU"}
    assert not faults


@needs_a_compiler
def test_a_recording_that_lacks_something_is_told(tmp_path: Path) -> None:
    with Source(pinned=False) as source:
        received = receive(source.port, THREE)
    shutil.copy(Path(__file__).parent.parent / "cassettes" / "text.jsonl", tmp_path / "other.jsonl")
    assert [*faults_of(tmp_path / "other.jsonl", THREE, received, 0)] == [
        "bench-0 was not recorded",
        "verdicts of bench-0: {}",
    ]


def outcome(*values: dict[str, float]) -> Outcome:
    """Of a bare one and ours, whose values alternate."""
    left = list(values)
    metric = (Metric("speed", "1/s", least=0.5),)
    bare, ours = Contender("bare", lambda _: left.pop(0)), Contender("omnirecord", lambda _: left.pop(0), ("bare",))
    found = Outcome(Benchmark("b", "what", metric, lambda _: []), [bare, ours])
    measure(found, len(values) // 2, lambda *_: None)
    return found


def test_a_ratio_is_taken_within_each_round_in_an_order_that_turns() -> None:
    found = outcome({"speed": 10.0}, {"speed": 5.0}, {"speed": 40.0}, {"speed": 100.0})
    alone, beside = found.rows()
    assert alone.values == [10.0, 100.0]
    assert (beside.values, beside.ratios, beside.ratio, beside.met) == ([5.0, 40.0], [0.5, 0.4], 0.45, False)


def test_what_is_not_whole_does_not_count() -> None:
    def fails(faults: list[str]) -> dict[str, float]:
        faults.append("a byte is missing")
        return {"speed": 1.0}

    found = Outcome(Benchmark("b", "what", (Metric("speed", "1/s"),), lambda _: []), [Contender("omnirecord", fails)])
    measure(found, 1, lambda *_: None)
    assert (list(found.rows()), found.faults) == ([], ["round 1, omnirecord: a byte is missing"])


def test_a_round_that_does_not_count_leaves_the_others_beside_each_other() -> None:
    bare, ours = [1.0, 100.0], [(7.0, "a byte is missing"), (50.0, "")]

    def measured(faults: list[str]) -> dict[str, float]:
        speed, fault = ours.pop(0)
        faults += [fault] if fault else []
        return {"speed": speed}

    both = [Contender("bare", lambda _: {"speed": bare.pop(0)}), Contender("omnirecord", measured, ("bare",))]
    found = Outcome(Benchmark("b", "what", (Metric("speed", "1/s"),), lambda _: []), both)
    measure(found, 2, lambda *_: None)
    assert [row.ratios for row in found.rows()] == [[], [0.5]]


def test_of_memory_that_is_kept_only_a_page_in_each_mib_is_held() -> None:
    """Of the mapping, not of the process: the kernel may take other pages of a process back at any time."""

    def held_kib() -> list[int]:
        """In memory or swapped out, of each mapping of half a GiB."""
        maps = Path("/proc/self/smaps").read_text().split("VmFlags:")
        sizes = [{name: int(kib) for name, kib in re.findall(r"^(Size|Rss|Swap): +(\d+)", one, re.M)} for one in maps]
        return [one["Rss"] + one.get("Swap", 0) for one in sizes if one.get("Size") == 512 << 10]

    with memory.kept(0.5):
        assert held_kib() == [512 * memory.PAGE >> 10]
    assert held_kib() == []


def test_the_readme_tells_of_every_benchmark_and_every_command() -> None:
    page = (Path(__file__).parent.parent / "benchmarks" / "README.md").read_text()
    names = set(re.findall(r"`([\w-]+)`", page)) | {
        f"reading{size}" for size in re.findall(r"`(?:reading)?(-\d+)`", page)
    }
    assert ALL.keys() <= names
    assert all(f"`{name}" in page for name in main.commands if name != "run")


def test_a_picture_is_xml_with_a_line_for_each_series() -> None:
    drawn = ElementTree.fromstring(svg.chart("a < b", "x", "y", {"one & two": [(1, 2), (1000, 5)], "b": [(3, 0.1)]}))
    assert len(drawn.findall("{*}polyline")) == 2
    assert "one & two" in [one.text for one in drawn.iter() if one.text]


def texts_of(series: dict[str, svg.Points]) -> dict[str | None, dict[str, str]]:
    drawn = ElementTree.fromstring(svg.chart("title", "", "", series))
    return {one.text: one.attrib for one in drawn.findall(".//{*}text")}


def test_a_line_has_the_same_colour_in_every_picture_whatever_its_values() -> None:
    def colours(**ends: float) -> list[str]:
        texts = texts_of({name: [(1, 1), (10, end)] for name, end in ends.items()})
        return [texts[name]["fill"] for name in ends]

    assert colours(a=1, b=2, c=3) == colours(a=3, b=1, c=2)


def test_the_names_of_nine_lines_with_one_end_stand_below_the_title() -> None:
    names = "abcdefghi"
    texts = texts_of({name: [(1, 1), (10, 10)] for name in names})
    assert float(texts["title"]["y"]) + 10 < min(float(texts[name]["y"]) for name in names)


def test_the_page_keeps_what_stands_around_its_tables() -> None:
    text = "before\n<!-- goals -->\nold\n<!-- end of goals -->\nafter\n"
    assert marked(text, "goals", ["new"]) == text.replace("old", "new")
