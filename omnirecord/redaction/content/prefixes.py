"""The table of tokens that a prefix identifies: one row for each prefix of a service.

The rows are facts from published lists: a prefix, the characters after it, and their least number. `SOURCES` has the
lists and their dates. `python -m tests.support.secret_prefixes` compares the table with a newer list, and writes
`docs/secret-kinds.md`.

A stream is masked while it passes, so a short prefix needs more proof than `glpat-`. `shown` is that proof: the
characters after such a prefix that have to match before the mask begins. They stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

WORD = r"A-Za-z0-9_\-"
"""Characters of every secret. A prefix begins a word, and a secret ends at the first other character."""
ALNUM = "A-Za-z0-9"
LOWER = "a-z0-9"
UPPER = "A-Z0-9"
HEX = "0-9a-fA-F"
BASE64 = "A-Za-z0-9+/"

SOURCES = {
    "gitleaks": "gitleaks 8.30.0, `config/gitleaks.toml` of 2025-11-20 (MIT)",
    "detect-secrets": "detect-secrets 1.5.0 of 2024-05-06 (Apache-2.0)",
    "TruffleHog": "TruffleHog 3.97.0 of 2026-08-21 (facts only)",
    "service": "documentation or source code of the service, read on 2026-12-01",
    "code": "keys in public code, seen on 2026-12-01",
}
"""Where the rows come from: a list, its release, its date and its licence."""


class Token(NamedTuple):
    """One prefix. `alphabet` is a set of characters as in a regular expression."""

    kind: str
    prefix: str
    alphabet: str
    length: int
    """Least number of characters after the prefix."""
    source: str
    shown: str = ""
    """Regular expression for the characters after the prefix that stay. It has at most 60 characters."""
    soft: str = ""
    """Characters between parts of one secret, which stay."""
    words: tuple[str, ...] = ()
    """Words behind the prefix that are no secret."""
    anywhere: bool = False
    """The prefix need not begin a word."""


def _some(alphabet: str, number: int) -> str:
    return f"[{alphabet}]{{{number}}}"


def _mixed(alphabet: str, number: int) -> str:
    """Return an expression for characters with a capital or a digit, which the name of a variable has rarely."""
    return f"(?=[{alphabet}]{{0,{number - 1}}}[A-Z0-9]){_some(alphabet, number)}"


def _each(kind: str, prefixes: str, alphabet: str, length: int, source: str, shown: str = "") -> Iterator[Token]:
    return (Token(kind, prefix, alphabet, length, source, shown) for prefix in prefixes.split())


_SK = (
    *("learn", "learning", "image", "build", "dist", "sk", "SK", "circle", "chase", "bounce", "cube", "fading"),
    *("folding", "estimator", "toggleable", "top", "text", "parallel", "label", "item", "serial", "hidden"),
    *("container", "spinner", "wave", "pulse", "three", "double", "rotating", "wandering"),
)
_NPM = ("config", "package", "lifecycle", "execpath", "node", "command", "install")
_HF = ("hub", "transfer", "token", "api", "model", "home", "xet", "datasets")
_CAPITAL_AND_DIGIT = f"(?=[{WORD}]{{0,15}}[A-Z])(?=[{WORD}]{{0,15}}[0-9])"

TOKENS = (
    # models and agents
    Token("sk", "sk-", WORD, 32, "gitleaks", words=_SK),
    Token("huggingface", "hf_", ALNUM, 34, "gitleaks", words=_HF),
    Token("huggingface", "api_org_", ALNUM, 34, "gitleaks", shown=_some("A-Za-z", 16)),
    Token("groq", "gsk_", ALNUM, 52, "TruffleHog", shown=_mixed(ALNUM, 12)),
    Token("nvidia", "nvapi-", WORD, 64, "TruffleHog"),
    Token("perplexity", "pplx-", ALNUM, 48, "gitleaks", shown=_some(ALNUM, 8)),
    *_each("langsmith", "lsv2_pt_ lsv2_sk_", WORD, 43, "TruffleHog"),
    Token("xai", "xai-", f"{ALNUM}_", 80, "TruffleHog", shown=_mixed(ALNUM, 12)),
    Token("replicate", "r8_", ALNUM, 37, "TruffleHog", shown=_mixed(ALNUM, 12)),
    Token("tavily", "tvly-", WORD, 32, "code"),
    Token("cerebras", "csk-", LOWER, 48, "code", shown=_some(LOWER, 16)),
    Token("together", "tgp_v1_", WORD, 43, "code"),
    Token("e2b", "e2b_", HEX, 40, "code", shown=_some(HEX, 12)),
    Token("jina", "jina_", WORD, 60, "code", shown=_mixed(WORD, 20)),
    Token("firecrawl", "fc-", HEX, 32, "code", shown=_some(HEX, 12)),
    Token("fireworks", "fw_", ALNUM, 22, "code", shown=_mixed(ALNUM, 8)),
    Token("context7", "ctx7sk-", WORD, 36, "code"),
    Token("logfire", "pylf_v1_", WORD, 40, "code"),
    Token("elevenlabs", "sk_", HEX, 48, "TruffleHog", shown=_some(HEX, 16)),
    Token("pinecone", "pcsk_", WORD, 69, "TruffleHog", shown=_mixed(WORD, 8)),
    Token("gemini", "AQ.", WORD, 50, "code", shown=_mixed(WORD, 20)),
    Token("salad", "salad_cloud_", WORD, 20, "TruffleHog", shown=_mixed(WORD, 8)),
    # code and packages
    *_each("github", "ghp_ gho_ ghu_ ghs_ ghr_", ALNUM, 36, "gitleaks"),
    Token("github", "github_pat_", WORD, 82, "gitleaks"),
    *_each("gitlab", "gldt- glptt- glft- glimt- glffct- glsoat- gloas- glagent- glcbt-", WORD, 20, "gitleaks"),
    *_each("gitlab", "glrtr- glwt-", WORD, 20, "service"),
    Token("gitlab", "glpat-", WORD, 20, "gitleaks", soft="."),
    Token("gitlab", "glrt-", WORD, 20, "gitleaks", soft="."),
    Token("gitlab", "GR1348941", WORD, 20, "gitleaks"),
    Token("gitlab", "_gitlab_session=", LOWER, 32, "gitleaks"),
    Token("bitbucket", "ATBB", ALNUM, 28, "TruffleHog", shown=_mixed(ALNUM, 6)),
    Token("bitbucket", "BBDC-", f"{BASE64}@_", 40, "TruffleHog"),
    Token("atlassian", "ATATT3", f"{WORD}=", 186, "gitleaks"),
    Token("atlassian", "ATCTT3", f"{WORD}=", 180, "TruffleHog"),
    Token("npm", "npm_", ALNUM, 36, "gitleaks", words=_NPM),
    Token("pypi", "pypi-AgE", WORD, 70, "gitleaks"),
    Token("rubygems", "rubygems_", HEX, 48, "gitleaks", shown=_some(HEX, 8)),
    Token("clojars", "CLOJARS_", LOWER, 60, "gitleaks", shown=_some(LOWER, 12)),
    Token("docker", "dckr_pat_", WORD, 27, "TruffleHog"),
    Token("docker", "dckr_oat_", WORD, 32, "TruffleHog"),
    Token("artifactory", "AKCp", ALNUM, 69, "gitleaks", shown=_some(ALNUM, 8)),
    Token("artifactory", "cmVmd", ALNUM, 59, "gitleaks", shown=_mixed(ALNUM, 8)),
    Token("sourcegraph", "sgp_", HEX, 40, "gitleaks", shown=f"(?:local_)?{_some(HEX, 8)}"),
    Token("sourcegraph", "slk_", HEX, 64, "TruffleHog", shown=_some(HEX, 16)),
    Token("circleci", "CCIPAT_", WORD, 63, "TruffleHog"),
    Token("circleci", "CCIPRJ_", WORD, 63, "code"),
    *_each("buildkite", "bkua_ bkur_ bktx_ bkaa_ bkar_ bkct_ bkcqt_", WORD, 38, "service", shown=_mixed(WORD, 8)),
    *_each("buildkite", "bkpt_ bkrt_ bktr_ bkat_ bkpat_ bkps_", WORD, 38, "service", shown=_mixed(WORD, 8)),
    *_each("buildkite", "bkaj_ bkjat_", WORD, 38, "service"),
    Token("octopus", "API-", UPPER, 26, "gitleaks", shown=f"(?=[A-Z]{{0,9}}[0-9]){_some(UPPER, 10)}"),
    Token("harness", "pat.", ALNUM, 60, "gitleaks", shown=f"[{WORD}]{{22}}\\.", soft="."),
    Token("harness", "sat.", ALNUM, 60, "gitleaks", shown=f"[{WORD}]{{22}}\\.", soft="."),
    # clouds and hosting
    Token("aws", "AKIA", UPPER, 16, "gitleaks", words=("N", "NS", "TIC")),
    Token("aws", "ASIA", UPPER, 16, "gitleaks", words=("N", "NS", "TIC")),
    *_each("aws", "ABIA ACCA", UPPER, 16, "gitleaks", shown=_some(UPPER, 8)),
    Token("aws", "A3T", UPPER, 17, "gitleaks", shown=_some(UPPER, 9)),
    *_each("aws", "FwoGZXIvYXdz FQoGZXIvYXdz IQoJb3JpZ2lu", f"{BASE64}=%", 100, "code"),
    Token("aws", "ABSK", f"{BASE64}=", 109, "gitleaks", shown=f"(?=[{BASE64}]{{0,11}}[a-z]){_some(BASE64, 12)}"),
    Token("aws", "bedrock-api-key-YmVkcm9ja", f"{BASE64}=", 32, "gitleaks"),
    Token("aws", "da2-", LOWER, 26, "TruffleHog", shown=_some(LOWER, 12)),
    Token("google", "AIza", WORD, 35, "gitleaks"),
    Token("google", "GOCSPX-", WORD, 28, "code"),
    Token("google", "1//0", WORD, 60, "code"),
    Token("google", "ya29.", WORD, 20, "TruffleHog", soft="."),
    Token("alibaba", "LTAI", ALNUM, 20, "gitleaks", shown=f"(?=[{ALNUM}]{{0,7}}[0-9a-z]){_some(ALNUM, 8)}"),
    *_each("digitalocean", "dop_v1_ doo_v1_ dor_v1_", HEX, 64, "gitleaks"),
    *_each("cloudflare", "cfk_ cfut_ cfat_ cfast_", ALNUM, 48, "service", shown=_mixed(ALNUM, 12)),
    Token("cloudflare", "v1.0-", HEX, 171, "gitleaks", shown=f"{_some(HEX, 24)}-"),
    Token("heroku", "HRKU-", WORD, 36, "gitleaks"),
    *_each("vercel", "vcp_ vci_ vca_ vcr_ vck_", ALNUM, 56, "service", shown=_mixed(ALNUM, 12)),
    *_each("netlify", "nfp_ nfc_ nfo_ nfu_ nfb_", f"{ALNUM}_", 36, "TruffleHog", shown=_mixed(ALNUM, 10)),
    Token("fly", "fo1_", WORD, 43, "gitleaks", shown=_mixed(WORD, 12)),
    *_each("fly", "fm1r_ fm1a_ fm2_", f"{BASE64}=", 100, "gitleaks", shown=_mixed(BASE64, 12)),
    Token("scalingo", "tk-us-", WORD, 48, "gitleaks", shown=_mixed(WORD, 12)),
    Token("openshift", "sha256~", WORD, 43, "gitleaks"),
    Token("databricks", "dapi", HEX, 32, "gitleaks", shown=_some(HEX, 6)),
    Token("planetscale", "pscale_tkn_", f"{WORD}=", 32, "gitleaks", soft="."),
    Token("planetscale", "pscale_pw_", f"{WORD}=", 32, "gitleaks", soft="."),
    Token("planetscale", "pscale_oauth_", f"{WORD}=", 32, "gitleaks", soft="."),
    Token("supabase", "sbp_", HEX, 40, "TruffleHog", shown=_some(HEX, 8)),
    Token("supabase", "sb_secret_", WORD, 31, "service", shown=_mixed(WORD, 8)),
    Token("clickhouse", "4b1d", ALNUM, 38, "gitleaks", shown=f"(?=[{HEX}]{{0,19}}[G-Zg-z]){_some(ALNUM, 20)}"),
    Token("tailscale", "tskey-", WORD, 20, "TruffleHog"),
    Token("fullstory", "na1.", BASE64, 100, "TruffleHog", shown=_mixed(BASE64, 16)),
    # infrastructure
    Token("vault", "hvs.", WORD, 90, "gitleaks"),
    Token("vault", "hvb.", WORD, 138, "gitleaks", shown=_mixed(WORD, 8)),
    Token("terraform", ".atlasv1.", f"{WORD}=", 60, "gitleaks", anywhere=True),
    Token("pulumi", "pul-", HEX, 40, "gitleaks", shown=_some(HEX, 8)),
    *_each("doppler", "dp.pt. dp.ct. dp.sa. dp.scim. dp.audit.", ALNUM, 40, "TruffleHog", shown=_some(ALNUM, 12)),
    Token("doppler", "dp.st.", ALNUM, 40, "TruffleHog", shown=rf"(?:[a-z0-9_\-]{{2,35}}\.)?{_some(ALNUM, 12)}"),
    Token("infracost", "ico-", ALNUM, 32, "gitleaks", shown=_mixed(ALNUM, 12)),
    Token("prefect", "pnu_", ALNUM, 36, "gitleaks", shown=_mixed(ALNUM, 8)),
    Token("age", "AGE-SECRET-KEY-1", UPPER, 58, "gitleaks"),
    Token("1password", "A3-", rf"{UPPER}\-", 31, "gitleaks", shown=f"{_some(UPPER, 6)}-"),
    Token("1password", "ops_eyJ", f"{BASE64}=", 250, "gitleaks"),
    Token("portainer", "ptr_", f"{BASE64}=", 44, "TruffleHog", shown=_mixed(BASE64, 12)),
    # work and monitoring
    Token("linear", "lin_api_", ALNUM, 40, "gitleaks"),
    Token("notion", "ntn_", ALNUM, 46, "gitleaks", shown=_some("0-9", 6)),
    Token("notion", "secret_", ALNUM, 43, "TruffleHog", shown=_mixed(ALNUM, 16)),
    *_each("figma", "figd_ figp_ figu_ figo_ figur_ figuh_ figor_ figoh_", WORD, 40, "TruffleHog", _mixed(WORD, 12)),
    Token("airtable", "pat", ALNUM, 78, "gitleaks", shown=rf"{_some(ALNUM, 14)}\.{_some(HEX, 8)}"),
    Token("postman", "PMAK-", rf"{HEX}\-", 59, "gitleaks"),
    Token("grafana", "glsa_", f"{ALNUM}_", 41, "gitleaks"),
    Token("grafana", "glc_", f"{BASE64}=", 60, "gitleaks", shown=_mixed(BASE64, 12)),
    *_each("newrelic", "NRAK- NRII- NRIQ- NRBR-", WORD, 19, "TruffleHog"),
    Token("newrelic", "NRJS-", HEX, 19, "code"),
    Token("dynatrace", "dt0c01.", ALNUM, 88, "gitleaks", shown=_some(ALNUM, 8), soft="."),
    Token("dynatrace", "dt0s16.", ALNUM, 88, "gitleaks", shown=_some(ALNUM, 8), soft="."),
    *_each("sentry", "sntrys_", f"{BASE64}=_", 100, "gitleaks"),
    *_each("sentry", "sntryu_ sntrya_ sntryi_", HEX, 64, "service"),
    Token("posthog", "phx_", WORD, 43, "TruffleHog", shown=_mixed(WORD, 8)),
    Token("rootly", "rootly_", HEX, 64, "TruffleHog", shown=_some(HEX, 8)),
    Token("readme", "rdme_", LOWER, 70, "gitleaks", shown=_some(LOWER, 16)),
    Token("typeform", "tfp_", WORD, 40, "TruffleHog", shown=_mixed(WORD, 12)),
    Token("contentful", "CFPAT-", WORD, 43, "TruffleHog"),
    Token("hubspot", "pat-na1-", rf"{HEX}\-", 36, "TruffleHog"),
    Token("hubspot", "pat-eu1-", rf"{HEX}\-", 36, "TruffleHog"),
    Token("apify", "apify_api_", WORD, 36, "TruffleHog", shown=_mixed(WORD, 8)),
    Token("adafruit", "aio_", ALNUM, 28, "TruffleHog", shown=_mixed(ALNUM, 12)),
    Token("dropbox", "sl.", WORD, 130, "TruffleHog", shown=rf"(?:u\.)?{_mixed(WORD, 24)}"),
    Token("adobe", "p8e-", LOWER, 32, "gitleaks", shown=_some(LOWER, 8)),
    Token("frameio", "fio-u-", f"{WORD}=", 64, "gitleaks"),
    Token("intra42", "s-s4t2", HEX, 64, "gitleaks", shown=f"(?:ud|af)-{_some(HEX, 8)}"),
    Token("authress", ".acc", rf"{BASE64}=_\-", 30, "gitleaks", shown=r"[_\-][a-z0-9\-]{10,32}\.", anywhere=True),
    *_each("settlemint", "sm_aat_ sm_pat_ sm_sat_", ALNUM, 16, "gitleaks", shown=_mixed(ALNUM, 4)),
    # messages
    *_each("slack", "xoxa- xoxb- xoxe- xoxp- xoxr- xoxs- xapp-", WORD, 24, "gitleaks"),
    Token("slack", "xoxo-", WORD, 24, "gitleaks", shown=_some("0-9", 6)),
    *_each("slack", "xoxc- xoxd-", f"{WORD}%", 24, "TruffleHog"),
    Token("slack", "xwfp-", WORD, 24, "service"),
    Token("sendgrid", "SG.", WORD, 66, "gitleaks", shown=f"(?=[{WORD}]{{0,18}}[0-9]){_some(WORD, 19)}", soft="."),
    Token("sendgrid", "SG.", WORD, 66, "gitleaks", shown=rf"[{WORD}]{{20,24}}\.", soft="."),
    Token("brevo", "xkeysib-", rf"{LOWER}\-", 81, "gitleaks"),
    Token("mailgun", "key-", LOWER, 32, "TruffleHog", shown=f"(?=[a-z]{{0,15}}[0-9]){_some(LOWER, 16)}"),
    Token("twilio", "SK", ALNUM, 32, "gitleaks", shown=f"(?=[A-Za-z]{{0,11}}[0-9]){_some(ALNUM, 12)}"),
    *(
        Token("discord", first, WORD, 60, "detect-secrets", shown=rf"[{WORD}]{{23,25}}\.[{WORD}]{{6}}\.")
        for first in "MNO"
    ),
    Token("discord", "mfa.", WORD, 80, "code", shown=_mixed(WORD, 20)),
    Token("telegram", ":AA", WORD, 33, "detect-secrets", shown=rf"(?<=[0-9]{{8}}:AA){_some(WORD, 10)}", anywhere=True),
    # money
    *_each("stripe", "sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ rk_prod_", ALNUM, 24, "gitleaks"),
    Token("stripe", "sk_org_", WORD, 24, "service", shown=_mixed(WORD, 8)),
    Token("stripe", "whsec_", f"{BASE64}=", 32, "service"),
    Token("stripe", "pi_", ALNUM, 57, "TruffleHog", shown=f"{_some(ALNUM, 24)}_secret_"),
    Token("square", "EAAA", WORD, 60, "gitleaks", shown=f"(?!AA){_some(WORD, 12)}"),
    *_each("square", "sq0atp- sq0csp-", WORD, 22, "gitleaks"),
    Token("facebook", "EAA", ALNUM, 90, "gitleaks", shown=f"[B-Zb-z0-9]{_some(ALNUM, 20)}"),
    Token(
        "facebook",
        "|",
        WORD,
        27,
        "gitleaks",
        shown=rf"(?<=[0-9]{{15}}\|){_CAPITAL_AND_DIGIT}{_some(WORD, 16)}",
        anywhere=True,
    ),
    *_each("shopify", "shpat_ shpca_ shppa_ shpss_", HEX, 32, "gitleaks"),
    *_each("shippo", "shippo_live_ shippo_test_", HEX, 40, "gitleaks", shown=_some(HEX, 8)),
    *_each("duffel", "duffel_live_ duffel_test_", f"{WORD}=", 43, "gitleaks", shown=_mixed(WORD, 12)),
    *_each("easypost", "EZAK EZTK", ALNUM, 54, "gitleaks", shown=f"(?=[A-Z]{{0,7}}[a-z0-9]){_some(ALNUM, 8)}"),
    *_each("flutterwave", "FLWSECK- FLWSECK_TEST-", LOWER, 12, "gitleaks"),
    Token("ramp", "ramp_sec_", ALNUM, 48, "TruffleHog", shown=_mixed(ALNUM, 12)),
    Token("plaid", "access-production-", rf"{HEX}\-", 36, "TruffleHog", shown=_some(HEX, 8)),
    Token("plaid", "access-sandbox-", rf"{HEX}\-", 36, "TruffleHog", shown=_some(HEX, 8)),
    Token("salesforce", "00D", f"{WORD}.", 109, "TruffleHog", shown=f"{_some(ALNUM, 12)}!", soft="."),
    Token("salesforce", "3MVG9", WORD, 80, "TruffleHog", shown=_mixed(WORD, 8), soft="."),
    Token("zoho", "1000.", HEX, 65, "TruffleHog", shown=rf"{_some(HEX, 32)}\.", soft="."),
)
"""All rows. No prefix without `shown` begins or contains another prefix."""
