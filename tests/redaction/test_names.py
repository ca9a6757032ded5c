"""Which names are secrets: the page says what the table says, and what other tools look for is one or has a reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.redaction.names import (
    HARMLESS,
    is_secret,
    is_secret_field,
    is_secret_header,
    may_be_secret,
    may_be_secret_field,
    words,
)
from omnirecord.redaction.redactor import Redactor
from tests.support.examples import each
from tests.support.secret_names import PAGE, page
from tests.support.secret_vocabularies import ALL, NOT_SECRETS

HEADERS = """
    X-Any-Key X-Pass X-User-Pass X-Passwd X-Secret-Id X-Any-Token X-Token-Data X-Credentials X-Vault-Credential
    X-Session X-Session-Id Mcp-Session-Id DPoP Key Api-Key Ocp-Apim-Subscription-Key X-Functions-Key Fastly-Key
"""
FIELDS = """
    subscription_key app_key appKey deploy_key admin_key secret_key_base pass db_pass basic_auth connectionString
    ConnectionStrings AccountKey accountkey privateKey license_key api_keys totp Passwort contraseña token_b64
    client-key-data github_pat SharedAccessKey
"""
OURS = """
    session_id sessionId child_session_id conversation_id key tokens max_tokens total_tokens cache_read_input_tokens
    cache_key prompt_cache_key session session_name session_state input_tokens token_count token_type api_key_ref
    public_key primary_key user_key model_key tokenizer bypass low_pass with_credentials page_token secret_name
    pin_count
"""
HARMLESS_HEADERS = """
    Idempotency-Key X-Idempotency-Key Sec-WebSocket-Key Surrogate-Key X-Cache-Key X-Omnigent-Stream-Epoch
    X-Omnigent-Session-Id X-Agent-Session-Scoped Access-Control-Allow-Credentials Access-Control-Allow-Headers
    Clear-Site-Data X-Token-Count X-Ratelimit-Remaining-Tokens Session-Timeout WWW-Authenticate X-Passenger Public-Key
"""


def test_the_page_says_what_the_table_says() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.support.secret_names"


@each("name", HEADERS.split())
def test_a_header_of_such_a_name_is_a_secret(name: str) -> None:
    assert is_secret_header(name)
    assert is_secret_header(name.upper())


@each("name", HARMLESS_HEADERS.split())
def test_a_header_that_is_known_to_be_harmless_stays(name: str) -> None:
    assert not is_secret_header(name)
    assert Redactor(b"key").headers(((name, "true"),)) == ((name, "true"),)


@each("name", FIELDS.split())
def test_a_field_of_such_a_name_is_a_secret(name: str) -> None:
    out = Redactor(b"key").message(f'{{"{name}": "hunter2"}}'.encode())
    assert b"hunter2" not in out


@each("name", OURS.split())
def test_a_field_that_omnigent_needs_stays(name: str) -> None:
    data = f'{{"{name}": "conv_0123456789abcdef0123", "x": {{"{name}": 5}}}}'.encode()
    assert Redactor(b"key").message(data) == data


def test_some_fields_are_secrets_if_they_look_like_one() -> None:
    kept = b'{"session_key": "main", "auth": "none"}'
    out = Redactor(b"key").message(kept.replace(b"main", b"a0" * 16).replace(b"none", b"dXNlcjpodW50ZXIyOg=="))

    assert Redactor(b"key").message(kept) == kept
    assert out.count(b"omnirecord-redacted-") == 2


@each("phrase", [phrase for phrases in HARMLESS.values() for phrase in phrases])
def test_an_exception_holds_in_every_spelling(phrase: str) -> None:
    for name in (phrase.replace(" ", "-"), phrase.replace(" ", "_").upper(), phrase.title().replace(" ", "")):
        assert not is_secret(name)
        assert not is_secret_header(f"X-{name}")


@each(("source", "what", "name"), [(source, what, name) for source, what, name, _, _ in ALL])
def test_what_others_take_for_a_secret_is_one_or_has_a_reason(source: str, what: str, name: str) -> None:
    reasons = [why for why, names in NOT_SECRETS.items() if name in _spelled(names, what)]
    ours = {"field": may_be_secret_field, "header": is_secret_header, "query": may_be_secret}[what](name)

    assert ours != bool(reasons), f"{name} of {source}: say in NOT_SECRETS why it is none, or put it into the table"


def _spelled(names: str, what: str) -> list[str]:
    return (names.replace("-", "_") if what == "field" else names).split()


def test_every_reason_is_about_a_name_of_others() -> None:
    said = {name for names in NOT_SECRETS.values() for name in names.split()}
    assert said <= {name.replace("_", sign) for _, _, name, _, _ in ALL for sign in "_-"}


@given(st.text(max_size=400))
def test_any_text_is_a_name(name: str) -> None:
    assert words(name) == words(name[-256:])
    assert isinstance(is_secret_field(name), bool)
    assert not is_secret_field(name) or may_be_secret_field(name)
