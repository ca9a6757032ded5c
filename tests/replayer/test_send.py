"""Errors in the shapes of the model APIs."""

from __future__ import annotations

from omnirecord.providers.register import api_of, model_api
from omnirecord.replayer.send import retry_headers
from tests.support.examples import each


@each(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (429, "rate_limit_error"), (500, "api_error"),
        (503, "api_error"), (529, "overloaded_error"), (418, "invalid_request_error"),
    ],
)  # fmt: skip
def test_an_error_of_anthropic(status: int, kind: str) -> None:
    body = model_api("anthropic-messages").error(status, "No.")
    assert body == {"type": "error", "error": {"type": kind, "message": "No."}, "request_id": None}


@each(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", None), (401, "invalid_request_error", "invalid_api_key"),
        (429, "requests", "rate_limit_exceeded"), (503, "server_error", None),
    ],
)  # fmt: skip
def test_an_error_of_openai(status: int, kind: str, code: str | None) -> None:
    body = model_api("openai-chat").error(status, "No.")
    assert body == {"error": {"message": "No.", "type": kind, "param": None, "code": code}}
    assert model_api("openai-responses").error(status, "No.", "own")["error"]["code"] == "own"


def test_the_time_of_a_retry_is_rounded_up_to_seconds_and_exact_in_milliseconds() -> None:
    assert retry_headers(1_500_000_000) == (("Retry-After", "2"), ("Retry-After-Ms", "1500"))
    assert retry_headers(1_000_000) == (("Retry-After", "1"), ("Retry-After-Ms", "1"))
    assert retry_headers(None) == ()


def test_the_api_of_a_path() -> None:
    assert api_of("/v1/messages?beta=true") == "anthropic-messages"
    assert api_of("/v1/messages/") == "anthropic-messages"
    assert api_of("/v1/messages/count_tokens") is None
    assert api_of("/v1/sessions") is None
