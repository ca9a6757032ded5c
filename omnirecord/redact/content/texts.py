"""The texts in a stream or a WebSocket, each followed from event to event: where it stands, what is masked of it."""

from __future__ import annotations

from collections import Counter

from .escapes import masked, undone
from .flow import Flow
from .scanning import PLAIN, Scanner, State
from .strings import strings

LINE = 64 * 1024
"""The longest event or message of which each string is looked at for itself, in bytes."""
_FIELDS = 1024
"""How many texts are followed at a time."""
_CAREFUL_FOR = 1000
"""In how many values the beginning of a text that was not met before may be the rest of a secret, after a loss."""
_BEGUN = 16
"""As the next piece of how many of them a string is taken while it is not known which it goes on with."""


class Texts:
    """Masks values in the order in which they came."""

    def __init__(self, scanner: Scanner, counts: Counter[str]) -> None:
        self._scanner = scanner
        self._counts = counts
        self._states: dict[int, State] = {}
        self._first = PLAIN
        self._careful_for = 0

    def lose(self) -> None:
        """Something was not seen: whatever comes next of any text may be the rest of a secret."""
        self._states.clear()
        self._first, self._careful_for = self._scanner.unseen, _CAREFUL_FOR

    def begun(self) -> list[State]:
        """Where those stand of which the next piece may be a secret's."""
        found = dict.fromkeys(state for state in self._states.values() if self._scanner.is_begun(state))
        first = [self._first] if self._first is not PLAIN else []
        return [*first, *list(found)[-_BEGUN:]]

    def masked(self, value: bytes, event: bytes = b"", *, is_next_line: bool = False) -> bytes:
        """One event's value: JSON, or a piece of a text. `event`: its name."""
        if self._careful_for:
            self._careful_for -= 1
            self._first = self._first if self._careful_for else PLAIN
        if len(value) > LINE:
            return self.flow(self._counts).feed(value)
        found = strings(value, event, names=self._scanner.may_find(value))
        if found is None:
            key = hash(event)
            if is_next_line:
                self._next(b"\n", (key,))
            return self._next(value, (key,))
        out, at = [], 0
        for start, end, keys in found:
            raw = value[start:end]
            safe = self._next(raw, keys)
            if safe is not raw:
                out += [value[at:start], safe]
                at = end
        return b"".join([*out, value[at:]]) if out else value

    def flow(self, counts: Counter[str], *, goes_on: bool = False) -> Flow:
        """What masks bytes of which it is not known which text they go on with; `goes_on`: from the first on."""
        return Flow(self._scanner, counts, self.begun(), holds=False, goes_on=goes_on)

    def alone(self, raw: bytes) -> bytes:
        """A text that nothing goes on with."""
        return self._next(raw, ())

    def _next(self, raw: bytes, keys: tuple[int, ...]) -> bytes:
        """The next piece of a text. `keys`: what it may go on with."""
        text = undone(raw)
        spans = []
        for key in keys or (None,):
            before = PLAIN if key is None else self._states.pop(key, self._first)
            found, after = self._scanner.scan(before, text)
            spans += found
            if key is not None:
                self._states[key] = after
        if len(self._states) > _FIELDS:
            del self._states[next(iter(self._states))]
        if not spans:
            return raw
        self._counts.update({(span.start, span.kind): span.kind for span in spans if span.begins}.values())
        return masked(raw, [(span.start, span.end) for span in spans])
