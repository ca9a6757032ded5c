"""URLs in responses: those at an upstream's address lead to the recorder, byte for byte; others stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.model import Headers
from omnirecord.wire.redirects import Reached, address_beside, at_own_address, client_address, leads_to

HERE, MODEL = "http://127.0.0.1:6868", "http://127.0.0.1:6869"
ASKED: Headers = (("Host", "127.0.0.1:6868"),)


def moved(location: str, upstream: str, *others: str, asked: Headers = ASKED, own: str = HERE) -> str:
    reached = [Reached(upstream, own), *(Reached(other, MODEL) for other in others)]
    ((_, value),) = at_own_address((("Location", location),), asked, lambda: reached)
    return value


@pytest.mark.parametrize(
    ("upstream", "location", "value"),
    [
        ("http://h:6767", "http://h:6767/x", f"{HERE}/x"),
        ("http://h:6767", "HTTP://H:6767/X", f"{HERE}/X"),
        ("http://h:6767", "http://h.:6767/x", f"{HERE}/x"),
        ("http://h:6767", "//h:6767/x", f"{HERE}/x"),
        ("http://h:6767", "http://h:6767", HERE),
        ("http://h:6767", "http://h:6767?a=%2F&&b#c?d#e", f"{HERE}?a=%2F&&b#c?d#e"),
        ("http://h:6767", "http://h:6767//a/../b;c?", f"{HERE}//a/../b;c?"),
        ("http://h:6767", "http://u:p%40@h:6767/x", "http://u:p%40@127.0.0.1:6868/x"),
        ("http://h", "http://h:80/x", f"{HERE}/x"),
        ("https://h:443", "https://h/x", f"{HERE}/x"),
        ("http://[::1]:6767", "http://[0:0::1]:6767/x", f"{HERE}/x"),
        ("http://127.0.0.1:6767", "http://localhost:6767/x", f"{HERE}/x"),
        ("http://localhost:6767", "http://[::1]:6767/x", f"{HERE}/x"),
        ("http://xn--bcher-kva.example", "http://b\xfccher.example/x", f"{HERE}/x"),
        ("https://h/base", "https://h/base/x?q#f", f"{HERE}/x?q#f"),
        ("https://h/base/", "https://h/base", f"{HERE}/"),
        ("https://h/base", "/base/x?/base/y", "/x?/base/y"),
        ("https://h/base", "/base", "/"),
        ("https://h/base", "/base?q", "/?q"),
        ("https://h/base", "/base//evil.example/x", f"{HERE}//evil.example/x"),
        ("https://h/base", "/base/\\evil.example/x", f"{HERE}/\\evil.example/x"),
        ("https://h/base", "/other?q", "https://h/other?q"),
        ("https://h/base", "/base/../other", "https://h/base/../other"),
        ("https://h/base", "/bases", "https://h/bases"),
    ],
)
def test_a_url_at_the_upstream_leads_to_the_recorder(upstream: str, location: str, value: str) -> None:
    assert moved(location, upstream) == value


@pytest.mark.parametrize(
    "location",
    [
        "https://h:6767/x",
        "http://h/x",
        "http://h:6768/x",
        "http://other:6767/x",
        "http://h.example:6767/x",
        "http://h:6767@other/x",
        "//other/x",
        "/x",
        "/x?a#b",
        "x",
        "../x",
        "?q",
        "#f",
        "",
        "mailto:me@h",
        "app://h:6767/x",
        "http:/x",
        "http:x",
        "http://h:6x/",
        "http://[h]:6767/x",
        "http:\\\\h:6767\\x",
        "http://h:6767\\@other/x",
        "http://127.0.0.1:6767/x",
        "\udcff://h:6767/\udcff",
    ],
)
def test_any_other_value_stays(location: str) -> None:
    assert moved(location, "http://h:6767") == location


@pytest.mark.parametrize(
    "location", ["https://h/other", "https://h/base/../other", "https://h/base/%2e%2E", "x", "../x"]
)
def test_a_url_outside_the_path_prefix_stays(location: str) -> None:
    assert moved(location, "https://h/base") == location


@pytest.mark.parametrize("upstream", ["", "omnigent", "http://[", "ftp://h", "//h", "http://h:x"])
def test_a_cassette_with_an_upstream_that_is_no_url_changes_nothing(upstream: str) -> None:
    for location in ("/x", "http://h/x", "//h/x"):
        assert moved(location, upstream) == location


def test_of_several_upstreams_the_one_with_the_url_is_reached() -> None:
    assert moved("https://api.example/v1/x", "http://h:6767", "https://api.example") == f"{MODEL}/v1/x"
    assert moved("/b/x", "https://h/a", "https://h/b") == f"{MODEL}/x"
    assert moved("https://h/v1/x", "https://h", "https://h/v1") == f"{HERE}/v1/x"
    many = [Reached("http://a", HERE), Reached("https://h", MODEL), Reached("https://h/v1", "http://127.0.0.1:6870")]
    ((_, value),) = at_own_address((("Location", "https://h/v1/x"),), ASKED, lambda: many)
    assert value == "http://127.0.0.1:6870/x"


def test_only_location_and_content_location_change_each_in_its_place() -> None:
    url = "http://h/x"
    fields = tuple((name, url) for name in ("Link", "location", "Refresh", "CONTENT-LOCATION", "Location", "Referer"))
    returned = at_own_address(fields, ASKED, lambda: [Reached("http://h", HERE)])
    assert [name for name, _ in returned] == [name for name, _ in fields]
    assert [value == f"{HERE}/x" for _, value in returned] == [False, True, False, True, True, False]


@pytest.mark.parametrize(
    ("fields", "listening", "address"),
    [
        ((("host", "localhost:6868"),), HERE, "http://localhost:6868"),
        ((("Host", "rec.example"),), "https://0.0.0.0:443", "https://rec.example"),
        ((("Host", "[::1]:6868"),), HERE, "http://[::1]:6868"),
        ((("Host", "rec.example"), ("X-Forwarded-Proto", "HTTPS, http")), HERE, "https://rec.example"),
        ((("Host", "rec.example"), ("X-Forwarded-Proto", "javascript")), HERE, "http://rec.example"),
        ((("Host", "a/b"),), HERE, HERE),
        ((("Host", "a"), ("Host", "b")), HERE, HERE),
        ((("Host", "u@a"),), HERE, HERE),
        ((), HERE, HERE),
    ],
)
def test_the_address_is_the_one_that_the_client_used(fields: Headers, listening: str, address: str) -> None:
    assert client_address(fields, listening) == address


def test_a_listener_on_all_addresses_is_reached_at_the_host_that_the_client_used() -> None:
    assert address_beside("http://rec.example:6868", "http://0.0.0.0:6869") == "http://rec.example:6869"
    assert address_beside("http://[fd00::2]:6868", "http://[::]:6869") == "http://[fd00::2]:6869"
    assert address_beside("https://rec.example", "http://0.0.0.0:6869") == "http://rec.example:6869"
    assert address_beside("http://rec.example:6868", MODEL) == MODEL


def test_a_server_that_believes_x_forwarded_proto_is_still_the_upstream() -> None:
    asked = (*ASKED, ("X-Forwarded-Proto", "https"))
    own = client_address(asked, HERE)
    assert (
        moved("https://127.0.0.1:6767/x", "http://127.0.0.1:6767", asked=asked, own=own) == "https://127.0.0.1:6868/x"
    )
    assert moved("https://app/x", "http://app", asked=asked, own=own) == "https://127.0.0.1:6868/x"


@pytest.mark.parametrize(
    ("location", "server"),
    [
        ("https://login.example.com/x?token=1", "https://login.example.com"),
        ("//b\xfccher.example:8080/", "http://xn--bcher-kva.example:8080"),
        ("http://me:secret@[fd00::1]:80/x", "http://[fd00::1]"),
        ("https://h/other", "https://h"),
        ("http://h:6767/outside", "http://h:6767"),
        ("/outside", "http://h:6767"),
        ("/base/x", None),
        ("http://h:6767/base/x", None),
        ("https://api.example/v1/x", None),
        ("http://127.0.0.1:6868/x", None),
        ("https://public.example/x", None),
        ("x", None),
        ("mailto:me@h", None),
        ("http://h:6x/", None),
    ],
)
def test_a_redirect_past_the_recorder_names_its_server(location: str, server: str | None) -> None:
    upstreams = ["http://h:6767/base", None, "https://api.example"]
    asked = (*ASKED, ("X-Forwarded-Host", "public.example"))
    assert leads_to(302, (("Location", location),), asked, upstreams) == server
    assert leads_to(201, (("Location", location),), asked, upstreams) is None
    assert leads_to(302, (), asked, upstreams) is None


@pytest.mark.parametrize(
    ("upstream", "own", "cookie", "returned"),
    [
        ("https://a.example.com", HERE, "s=1; Domain=a.example.com; Path=/", "s=1; Path=/"),
        ("https://a.example.com", HERE, "s=1;domain=.EXAMPLE.com", "s=1"),
        ("http://localhost:6767", HERE, "s=1; Path=/; DOMAIN = localhost ; Secure", "s=1; Path=/; Secure"),
        ("http://192.0.2.2", HERE, "s=1; Domain=192.0.2.2", "s=1"),
        ("http://192.0.2.2", HERE, "s=1; Domain=2.2", "s=1; Domain=2.2"),
        ("https://a.example.com", HERE, "s=1; Domain=b.example.com", "s=1; Domain=b.example.com"),
        ("https://a.example.com", HERE, "domain=a.example.com; Path=/", "domain=a.example.com; Path=/"),
        ("https://a.example.com", HERE, "s=1; Secure; HttpOnly", "s=1; Secure; HttpOnly"),
        ("https://a.example.com", "http://rec.example.com:1", "s=1; Domain=example.com", "s=1; Domain=example.com"),
        (None, HERE, "s=1; Domain=a.example.com", "s=1; Domain=a.example.com"),
    ],
)
def test_a_cookie_loses_a_domain_for_which_the_client_would_refuse_it(
    upstream: str | None, own: str, cookie: str, returned: str
) -> None:
    ((_, value),) = at_own_address((("set-cookie", cookie),), ASKED, lambda: [Reached(upstream, own)])
    assert value == returned


@given(st.text(max_size=40) | st.from_regex(r"(https?:)?//[a-z@:\[\]\\0-9.]{0,12}[/?#\\].{0,8}", fullmatch=True))
def test_no_value_is_too_odd(location: str) -> None:
    for upstream in ("http://h:6767", "https://h/base"):
        assert moved(location, upstream).endswith(location[-1:])
        leads_to(302, (("Location", location),), ASKED, [upstream])


def test_a_response_without_these_fields_costs_nothing() -> None:
    def never() -> list[Reached]:
        raise AssertionError("the addresses are not needed")

    fields = (("Content-Type", "text/plain"), ("X-Location", "http://h/x"))
    asked: Callable[[], list[Reached]] = never
    assert at_own_address(fields, ASKED, asked) is fields
