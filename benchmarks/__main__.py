"""`python -m benchmarks`: all of them, or those that are named."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console

from . import killing, machine, memory, playing, reading, recording, shipping, starting
from .curves import CURVES
from .errors import Unusable
from .measure import Benchmark, Outcome, Row, Settings, measure
from .page import titles, write
from .profiling import SAMPLED, sampled
from .table import show

MODULES = (recording, shipping, killing, playing, reading, starting)
ALL: dict[str, Benchmark] = {one.name: one for module in MODULES for one in module.BENCHMARKS}


keep_memory = click.option(
    "--keep-memory",
    default=0.0,
    metavar="GIB",
    type=click.FloatRange(min=0),
    help="See that a virtual machine does not give that much memory back to its host meanwhile.",
)


class Group(click.Group):
    """Where no command is named, `run` is meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """What omnirecord costs, beside what the same work costs without it. Without a command: `run`."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers and folders are not left behind
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled once, not with each start


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice([*ALL]))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1), help="Everybody once in each.")
@click.option(
    "--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0.2), help="How long a run streams."
)
@click.option("--pin", is_flag=True, help="What is measured on CPU 0, the load on CPU 1.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line: the machine, each metric, what was not whole."
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where to record; by default a temporary one.",
)
@keep_memory
def run(
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    pin: bool,
    as_json: bool,
    folder: Path | None,
    keep_memory: float,
) -> None:
    """Run benchmarks, all of them unless some are named. Ctrl-C shows what was measured till then.

    \b
    throughput latency busy hops memory options large shipping kill
    replay replay-timing replay-crowd
    reading-1000 reading-10000 reading-100000 start
    """
    if pin and not {0, 1} <= os.sched_getaffinity(0):
        raise click.UsageError("--pin needs CPU 0 and CPU 1, and this process may not use both: leave it out")
    paces: list[float] = []
    rows: list[Row] = []
    stopped = failed = False
    with memory.kept(keep_memory), tempfile.TemporaryDirectory(prefix="omnirecord-bench-", dir=folder) as made:
        about = machine.described()
        if as_json:
            click.echo(json.dumps({"machine": about, "rounds": rounds, "seconds": seconds, "pinned": pin}))
        settings = Settings(seconds, Path(made), pin)
        for name in names or ALL:
            outcome = Outcome(ALL[name], ALL[name].contenders(settings))
            stopped = not _measured(outcome, rounds, paces)
            failed |= bool(outcome.faults)
            found = list(outcome.rows())
            rows += found
            _tell(outcome, found, as_json)
            if stopped:
                break
    if not as_json:
        how = f"{rounds} {'round' if rounds == 1 else 'rounds'} of {seconds:g} s{', pinned' if pin else ''}"
        click.echo(f"\n{machine.sentence(about)}; {how}")
        if paces:
            click.echo(f"a fixed piece of work took {min(paces):.0f} to {max(paces):.0f} ms meanwhile")
    sys.exit(130 if stopped else 1 if failed else 0)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object: the figures by their names.")
def work(as_json: bool) -> None:
    """Count what is done for 1,000 events: calls, statements, rows, blocks. As the bounds of tests/test_work.py."""
    from .work import figures, lines

    found = figures()
    for line in [json.dumps(found)] if as_json else lines(found):
        click.echo(line)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice([one.name for one in CURVES]))
@click.option("--long", is_flag=True, help="The largest ones too: ten million events, events of 64 MiB; half an hour.")
@keep_memory
@click.option("--json", "as_json", is_flag=True, help="One JSON object a point, and nothing else on stdout.")
def curves(names: tuple[str, ...], long: bool, keep_memory: float, as_json: bool) -> None:
    """How cost grows with events, streams, the size of events and of cassettes: all curves unless some are named."""
    with memory.kept(keep_memory), tempfile.TemporaryDirectory(prefix="omnirecord-bench-") as made:
        settings = Settings(0, Path(made))
        for curve in CURVES:
            if names and curve.name not in names:
                continue
            for x in (*curve.xs, *curve.more) if long else curve.xs:
                for line, y in curve.point(x, settings):
                    row = {"curve": curve.name, "line": line, "x": x, "y": y}
                    click.echo(json.dumps(row) if as_json else f"{curve.name} {x:,} {line}: {y:,.3f} {curve.y}")


@main.command()
@click.argument("results", nargs=-1, required=True, type=click.File())
def page(results: tuple[TextIO, ...]) -> None:
    """Put what `run` and `curves` printed with --json into docs/performance.md: its tables, its pictures."""
    try:
        for path in write((line for file in results for line in file), titles(ALL.values())):
            click.echo(path)
    except Unusable as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("what", type=click.Choice([*SAMPLED]))
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0.5), help="How long it streams.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a place, and nothing else on stdout.")
def profile(what: str, seconds: float, as_json: bool) -> None:
    """Where the time goes in a recorder: what its threads are in, seen 200 times a second."""
    with tempfile.TemporaryDirectory(prefix="omnirecord-bench-") as made:
        for thread, place, part in sampled(SAMPLED[what], Settings(seconds, Path(made))):
            row = {"profile": what, "thread": thread, "place": place, "part": round(part, 4)}
            click.echo(json.dumps(row) if as_json else f"{part:6.1%}  {thread:20}  {place}")


def _measured(outcome: Outcome, rounds: int, paces: list[float]) -> bool:
    """Whether nobody interrupted."""
    name = outcome.benchmark.name
    try:
        with Console(stderr=True, highlight=False).status(name) as status:

            def tell(number: int, who: str) -> None:
                paces.append(machine.pace_ms())
                status.update(f"{name}: round {number + 1} of {rounds}, {who}")

            measure(outcome, rounds, tell)
    except KeyboardInterrupt:
        return False
    except Unusable as error:
        raise click.ClickException(str(error)) from error
    return True


def _tell(outcome: Outcome, rows: list[Row], as_json: bool) -> None:
    name = outcome.benchmark.name
    for row in rows if as_json else ():
        click.echo(json.dumps(row.as_json()))
    if not as_json:
        show(rows, {name: outcome.benchmark.what}, Console(highlight=False))
    for fault in outcome.faults:
        click.echo(json.dumps({"benchmark": name, "fault": fault}) if as_json else f"  NOT COUNTED: {fault}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
