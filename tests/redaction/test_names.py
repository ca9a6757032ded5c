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
from omnirecord.redaction.redactor import Redactor, without_secrets
from tests.support.examples import each
from tests.support.secret_names import PAGE, page
from tests.support.secret_vocabularies import ALL, NOT_SECRETS

HEADERS = """
    X-Any-Key X-Pass X-User-Pass X-Passwd X-Secret-Id X-Any-Token X-Token-Data X-Credentials X-Vault-Credential
    X-Session X-Session-Id Mcp-Session-Id DPoP Key Api-Key Ocp-Apim-Subscription-Key X-Functions-Key Fastly-Key
    X-JFrog-Art-Api X-Sentry-Auth X-Wsse X-2FA-Code X-OTP-Code
"""
FIELDS = """
    subscription_key app_key appKey deploy_key admin_key secret_key_base pass db_pass basic_auth connectionString
    ConnectionStrings AccountKey accountkey privateKey license_key api_keys totp Passwort contraseña token_b64
    client-key-data github_pat SharedAccessKey dsn seedPhrase recovery_phrase cvv pw SAMLResponse
"""
OURS = """
    session_id sessionId child_session_id conversation_id key tokens max_tokens total_tokens cache_read_input_tokens
    cache_key prompt_cache_key session session_name session_state input_tokens token_count token_type api_key_ref
    public_key primary_key user_key model_key tokenizer bypass low_pass with_credentials page_token secret_name
    pin_count seed nonce assertion sid hmac account_sid
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


QUERIES = "SAMLResponse assertion sessionid sid pw hmac nonce oauth_nonce seed mnemonic client_assertion"


@each("name", QUERIES.split())
def test_a_query_value_of_such_a_name_is_a_secret(name: str) -> None:
    target = Redactor(b"key").target(f"/login?{name}=hunter2&n=1")

    assert "hunter2" not in target
    assert target.endswith("&n=1")
    assert without_secrets(target) == without_secrets(f"/login?{name}=other&n=1")


def test_a_number_in_a_query_is_no_seed_and_the_id_of_an_account_is_no_session() -> None:
    kept = "/images?seed=42&nonce=1700000000&AccountSid=ACme&session_id=conv_1&sidecar=x"

    assert Redactor(b"key").target(kept) == kept


def test_a_list_of_tokens_keeps_the_words_of_a_text_and_counts() -> None:
    secret = "Ab3dEfGhIjKlMnOpQrStUv"
    kept = (
        b'{"tokens": ["Hello", " world", "color-primary-500-background"], "max_tokens": "4096"}',
        b'{"tokens": [{"id": "%b"}]}' % secret.encode(),
        b'{"tokens": {"a": "%b"}}' % secret.encode(),
        b'{"tokens": 12, "seed": 42, "nonce": "%b", "mnemonic": "mov"}' % secret.encode(),
        b'{"kubeconfig": "/home/u2/.kube/config-of-a-cluster"}',
    )
    for body in kept:
        assert Redactor(b"key").message(body) == body
    out = Redactor(b"key").message(b'{"tokens": ["Hello", "%b"], "x": [{"tokens": "%b"}]}' % ((secret.encode(),) * 2))
    assert out.count(b"omnirecord-redacted-") == 2
    assert b"Hello" in out


def test_the_content_of_a_kubeconfig_and_the_words_of_a_wallet_are_secrets() -> None:
    words = "legal winner thank year wave sausage worth useful legal winner thank yellow"
    for body in (b'{"kubeconfig": "apiVersion: v1\\nkind: Config"}', b'{"mnemonic": "%b"}' % words.encode()):
        out = Redactor(b"key").message(body)
        assert b"omnirecord-redacted-" in out
        assert b"apiVersion" not in out
        assert b"sausage" not in out


@each(
    "path",
    [
        "/proxy/https%3A%2F%2Fbob%3Ahunter2%40h.io%2Fx",
        "/fetch/https%3A%2F%2Fh.io%2F%3Ftoken%3Dhunter2%26n%3D1/raw",
        "/q/%7B%22password%22%3A%22hunter2%22%7D?n=1",
    ],
)
def test_a_percent_encoded_part_of_a_path_has_no_named_secret(path: str) -> None:
    out = Redactor(b"key").target(path)

    assert "hunter2" not in out
    assert without_secrets(out) == without_secrets(path.replace("hunter2", "other"))


@each("path", ["/a%2Fb/c%3Fx%3D1", "/projects/group%2Fname/files/a%2Fb.py?ref=main", "/@s%2Fp", "/users/bob%40h.io/x"])
def test_a_percent_encoded_path_without_a_secret_stays(path: str) -> None:
    assert Redactor(b"key").target(path) == path


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
