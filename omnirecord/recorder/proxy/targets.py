"""The upstreams of a recorder: each has a listener for its clients, and connections of its own.

The first one may have no name. The others have one: their exchanges are a hop of their own.
"""

from __future__ import annotations

import logging
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from aiohttp import web

from ...errors import UsageError
from ...model import checked_hop
from ...server.access import Trust
from ...server.http import number_of
from ...server.listener import Listener, Place, parse_listen
from ..thread import Named
from .upstream import Upstream, parse_upstream, refuse_itself

log = logging.getLogger("omnirecord")

DEFAULT_CONTRACT = "auto"
"""The contract of an upstream with a name."""
_COST = 2
"""File descriptors of a client connection: its own, and the one to upstream."""


class Target:
    """One upstream. `number`: its position among the upstreams. `handler` gets the target and a request."""

    def __init__(
        self, number: int, name: str | None, url: str, contract: str, place: Place,
        handler: Callable[[Target, web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> None:  # fmt: skip
        self.number, self.name, self.contract = number, name, contract
        self._url = parse_upstream(url)
        self.shown, self.is_https = str(self._url), self._url.scheme == "https"
        self.listener = Listener(lambda request: handler(self, request), place, cost=_COST)
        self.exchanges = 0
        """The number of requests."""

    def refuse_itself(self, own: Iterable[str]) -> None:
        """Raise `UsageError` if it is at one of the proxy's own URLs."""
        for url in own:
            refuse_itself(self._url, url)

    def connect(
        self, tls: ssl.SSLContext | None, elsewhere: Callable[[], int], let_go: Callable[[], object],
        noted: Callable[[str], object],
    ) -> None:  # fmt: skip
        """Make `upstream`, and let the listener count and close connections as `Accepting` says."""
        self.upstream = upstream = Upstream(self._url, tls)
        accepting = self.listener.accepting
        accepting.elsewhere, accepting.let_go, accepting.noted = elsewhere, let_go, noted
        accepting.closed = lambda protocol: upstream.left(number_of(protocol))

    def warn(self, *, insecure: bool, has_control: bool) -> None:
        """Warn of options that are not safe. `has_control`: its listener has the control path."""
        if self.listener.is_remote:
            log.warning(
                "any client that can reach %s can use %s through it: the proxy asks for no token%s",
                self.listener.url, self.shown, ", except on its control path" if has_control else "",
            )  # fmt: skip
        if insecure and self.is_https:
            log.warning(
                "--insecure: the certificate of %s is not verified, so a machine in between can read and change"
                " everything", self.shown,
            )  # fmt: skip


def targets_of(
    upstream: str | None, upstreams: Mapping[str, str], contract: str, contracts: Mapping[str, str], place: Place,
    listens: Mapping[str, str], handler: Callable[[Target, web.BaseRequest], Awaitable[web.StreamResponse]],
) -> list[Target]:  # fmt: skip
    """Return the upstreams of a recorder, that without a name first. Raises `UsageError`. `place` is that of the first
    one. By default, another one has a free port of the same host."""
    if upstream is None and not upstreams:
        raise UsageError("there is no upstream to record: give --upstream URL")
    for hop in upstreams:
        try:
            checked_hop(hop)
        except (TypeError, ValueError) as error:
            raise UsageError(f"--upstream {hop}=: {hop!r} {error}") from None
    _refuse_unknown("--contract", contracts, upstreams)
    _refuse_unknown("--listen", listens, upstreams)
    first: list[tuple[str | None, str]] = [] if upstream is None else [(None, upstream)]
    made = []
    for number, (name, url) in enumerate([*first, *upstreams.items()]):
        at = place if number == 0 else replace(place, port=0)
        if name is not None and name in listens:
            option = f"--listen {name}="
            host, port = parse_listen(listens[name], allow_remote=place.allow_remote, option=option)
            at = replace(at, host=host, port=port, option=option)
        judge = contract if name is None else contracts.get(name, DEFAULT_CONTRACT)
        made.append((number, name, url, judge, at))
    counted = Counter((at.host, at.port) for *_, at in made if at.port)
    if twice := [f"{host}:{port}" for (host, port), count in counted.items() if count > 1]:
        raise UsageError(f"--listen gives {twice[0]} to two upstreams: choose another port for one of them")
    return [Target(*one, handler) for one in made]


def hops_of(targets: Sequence[Target]) -> tuple[tuple[str | None, str], list[Named]]:
    """Return upstream and contract of the target without a name, and the hops with a name."""
    first = targets[0]
    named: list[Named] = [(one.name, one.shown, one.contract) for one in targets if one.name is not None]
    return (first.shown if first.name is None else None, first.contract), named


def _refuse_unknown(option: str, given: Iterable[str], known: Iterable[str]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"{option} {unknown[0]}= has no upstream: give --upstream {unknown[0]}=URL as well")


def contexts(targets: Sequence[Target], trust: Trust) -> list[ssl.SSLContext | None]:
    """Return the TLS settings for each upstream. Raises `UsageError`, also for options if no upstream has https."""
    if trust and not any(one.is_https for one in targets):
        shown = " and ".join(one.shown for one in targets)
        raise UsageError(f"--ca, --cert, --key and --insecure are for an upstream with https, and {shown} has none")
    return [trust.context() if target.is_https else None for target in targets]


def by_name(option: str, texts: Iterable[str], example: str | None = None) -> tuple[str | None, dict[str, str]]:
    """Return the value without a name, and those of `NAME=VALUE` by name. Of several without a name the last counts, or
    with an `example` none. Raises `UsageError`."""
    unnamed, named = None, {}  # type: str | None, dict[str, str]
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or "/" in name or ":" in name:
            if unnamed is not None and example is not None:
                raise UsageError(f"{option} {unnamed} and {option} {text}: one of them needs a name, as in {example}")
            unnamed = text
        elif name in named:
            raise UsageError(f"{option} {name}= is given twice: give each name once")
        else:
            named[name] = value
    return unnamed, named
