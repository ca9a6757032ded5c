"""Model calls as lines: below their turn, or by themselves. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ...model import Recording, by_key
from ...providers.call import ModelCall
from ...text import counted, joined, one_line, seconds
from ...wire.strict_json import failure_in
from ..model_calls.values import Link, ModelCalls, TimeSpent
from ..turns.builder import LAST
from .sentences import COLUMN, Kind, Line, Page, Piece

_CUT_BY = {
    "client": "cut by the client",
    "provider": "cut by the provider",
    "recorder": "cut by the end of the recording",
}
_MOST_CANDIDATES = 3
_MOST_NEW = 6
"""Most parts of a request that are printed: the last ones."""


def call_pieces(page: Page, links: Iterable[Link]) -> Iterator[Piece]:
    """Return one piece for each model call of a turn."""
    for link in links:
        call = link.call
        is_bad = call.has_failed or call.ending == "incomplete"
        text = f"{'!! ' if is_bad else ''}{name(link)}: {told(page, call)}"
        if link.by == "time":
            text += " (linked by its time alone)"
        yield Piece(link.started_ns, LAST, text, "trouble" if is_bad else "model")


def name(link: Link) -> str:
    """Return the model, and the attempt if it is not the first."""
    attempt = max(link.attempt, link.call.attempt)
    return f"model {one_line(link.call.model or 'unknown')}" + (f", attempt {attempt}" if attempt > 1 else "")


def told(page: Page, call: ModelCall) -> str:
    """Return ending, times and tokens of a call in one line."""
    parts = [_how(page, call)]
    begun = call.started_ns
    if call.ending != "refused" and call.first_byte_ns is not None:
        parts.append(f"first byte {seconds(max(call.first_byte_ns - begun, 0))}")
    if call.first_token_ns is not None:
        parts.append(f"first token {seconds(max(call.first_token_ns - begun, 0))}")
    if call.tool_calls:
        parts.append("asks for " + page.short(", ".join(one.name or "(no name)" for one in call.tool_calls)))
    if (usage := _usage(call)) is not None:
        parts.append(usage)
    return " · ".join(parts)


def _how(page: Page, call: ModelCall) -> str:
    why = page.short(joined([call.reason, call.error], ": "))
    ended = "" if call.ended_ns is None else f" after {seconds(max(call.ended_ns - call.started_ns, 0))}"
    if call.ending == "completed":
        return f"{call.status} completed{ended}"
    if call.ending == "refused":
        return f"{call.status} refused{ended}" + (f": {why}" if why else "")
    if call.ending == "cut":
        unanswered = ", without an answer" if call.status is None else ""
        return f"{_CUT_BY.get(call.cut_by or '', 'cut')}{ended}{unanswered}"
    if call.ending == "open":
        return "still open"
    if call.ending == "unknown":
        return f"{call.status} with an answer of an unknown form{ended}"
    return f"{call.ending}{ended}" + (f": {why}" if why else "")


def _usage(call: ModelCall) -> str | None:
    usage = call.usage
    if usage is None:
        return None
    said = [f"{n:,} {way}" for n, way in ((usage.input_tokens, "in"), (usage.output_tokens, "out")) if n is not None]
    odd = [f"{n:,} {way}" for n, way in ((usage.cached_tokens, "cached"), (usage.reasoning_tokens, "reasoning")) if n]
    return f"{', '.join(said)} tokens" + (f" ({', '.join(odd)})" if odd else "") if said else None


def spent(used: TimeSpent | None) -> str | None:
    """Return where the time of a turn went."""
    if used is None:
        return None
    calls = f" in {counted(used.calls, 'call')}" if used.calls else ""
    retried = f" ({used.retried:,} retried)" if used.retried else ""
    waited = f", waiting to retry {seconds(used.retry_wait_ns)}" if used.retry_wait_ns else ""
    text = (
        f"took {seconds(used.total_ns)}: model {_seconds(used.model_ns)}{calls}{retried}{waited}, tool"
        f" {_seconds(used.tool_ns)}, approval {_seconds(used.approval_ns)}, harness {_seconds(used.harness_ns)}"
    )
    if used.ambiguous_calls:
        text += f" · {counted(used.ambiguous_calls, 'more model call')} may be of this turn or of another one"
    return text


def _seconds(ns: int) -> str:
    return seconds(ns) if ns else "0 s"


def astray_lines(page: Page, found: ModelCalls, recordings: Sequence[Recording], *, alone: bool) -> Iterator[Line]:
    """Return the calls without a turn. `alone`: the cassette has nothing else."""
    lines = AstrayCalls()
    for number, some in enumerate(by_key(found.astray, lambda link: link.call.recording).values()):
        if number or not alone:
            yield Line("", "blank")
        yield from lines.of(page, some, lambda: recordings, alone=alone, count=len(some))


class AstrayCalls:
    """The lines of calls without a turn, also while they are recorded."""

    def __init__(self) -> None:
        self._numbers: dict[int, dict[int, int]] = {}
        self._instructions: dict[int, set[str]] = {}
        self._under: int | None = None
        """The recording of the last head, if no other lines came after it."""

    def interrupt(self) -> None:
        """Note that other lines came: the next call needs a head."""
        self._under = None

    def of(
        self, page: Page, links: Iterable[Link], recordings: Callable[[], Sequence[Recording]], *, alone: bool,
        count: int | None = None,
    ) -> Iterator[Line]:  # fmt: skip
        """Return the lines of further calls. `alone`: there are no sessions. `count`: the number of calls, if all are
        known."""
        for link in links:
            recording = link.call.recording
            if recording != self._under:
                known = next((one for one in recordings() if one.recording == recording), None)
                yield from page.wrapped(_head(known, count, alone=alone), "head", "", "  ")
                self._under = recording
            numbers = self._numbers.setdefault(recording, {})
            number = numbers.setdefault(link.request, len(numbers) + 1)
            yield from _call(page, link, number, self._instructions.setdefault(recording, set()))


def _head(recording: Recording | None, calls: int | None, *, alone: bool) -> str:
    parts = [f"Model calls{'' if alone else ' without a turn'}"]
    if recording is not None:
        parts.append(f"recording {recording.recording}")
        parts += [f"hop {recording.hop}"] if recording.hop else []
        parts += [one_line(recording.upstream)] if recording.upstream else []
    return " · ".join([*parts, *([] if calls is None else [counted(calls, "call")])])


def _call(page: Page, link: Link, number: int, told_before: set[str]) -> Iterator[Line]:
    """Return a call with what is new in its request, its answer and its end. `told_before`: the instructions of earlier
    calls."""
    call, rest = link.call, " " * COLUMN
    attempt = max(link.attempt, call.attempt)
    first = f"{number if attempt == 1 else '':>3}  {page.clock(call.started_ns):>7}"
    is_bad = call.has_failed or call.ending == "incomplete"
    head = f"{'!! ' if is_bad else ''}{name(link)} ({call.api})"
    yield from page.wrapped(head, "asked", f"{first:<{COLUMN - 1}} ", rest)
    for text, kind in [*(_asked(page, call, told_before) if attempt == 1 else ()), *_answered(page, call)]:
        yield from page.wrapped(text, kind, rest, rest)
    if link.candidates:
        some = [f"turn {key.turn} of {one_line(key.session_id or 'a stream')}" for key in link.candidates]
        more = f" or {len(some) - _MOST_CANDIDATES} others" if len(some) > _MOST_CANDIDATES else ""
        yield from page.wrapped(f"-- may be of {' or '.join(some[:_MOST_CANDIDATES])}{more}", "note", rest, rest)
    yield from page.wrapped(told(page, call), "trouble" if is_bad else "end", " " * (COLUMN - 2) + "= ", rest)


def _asked(page: Page, call: ModelCall, told_before: set[str]) -> Iterator[tuple[str, Kind]]:
    """Return the parts of a request after the model's last answer, after instructions that no earlier call has."""
    instructions = "" if call.conversation is None else call.conversation.instructions
    if instructions and instructions not in told_before:
        told_before.add(instructions)
        yield f"System: {page.long(instructions)}", "asked"
    items = () if call.conversation is None else call.conversation.items
    answered = [n for n, item in enumerate(items) if item.kind in ("assistant", "call", "reasoning")]
    begin = answered[-1] + 1 if answered else 0
    new = items[begin:]
    earlier = begin + max(len(new) - _MOST_NEW, 0)
    if earlier:
        yield f"-- {counted(earlier, 'earlier part')} of the conversation", "note"
    for item in new[-_MOST_NEW:]:
        if item.kind == "output":
            yield f"tool output: {page.short(item.text) or '(nothing)'}", "trouble" if failure_in(item.text) else "tool"
        elif item.kind in ("user", "system"):
            yield f"{'You' if item.kind == 'user' else 'System'}: {page.long(item.text)}", "asked"
        else:
            yield f"{item.label}: {page.short(item.same)}", "note"


def _answered(page: Page, call: ModelCall) -> Iterator[tuple[str, Kind]]:
    if call.reasoning:
        yield f"thought: {page.long(call.reasoning)}", "thought"
    for text in call.texts:
        yield f"Assistant: {page.long(text)}", "said"
    for tool in call.tool_calls:
        yield f"asks for tool {page.short(tool.name) or '(no name)'} {page.short(tool.arguments)}".rstrip(), "tool"
