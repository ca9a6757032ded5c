"""Names that other tools take for a secret's, by source; which of them are kept here, and why. No code is theirs.

Sources, all as of 2026: gitleaks `config/gitleaks.toml` (rule ids, keywords of its generic rule), detect-secrets
`plugins/keyword.py` (DENYLIST), Sentry's Python and JavaScript SDKs and Relay (denylists, header snippets, key
patterns), OpenTelemetry (keys of `url.query`, the redaction processor's and the Python instrumentation's examples),
Elastic APM (`sanitize_field_names`).
"""

from __future__ import annotations

from collections.abc import Callable

from omnirecord.redaction.names import (
    is_secret,
    is_secret_field,
    is_secret_header,
    may_be_secret,
    may_be_secret_field,
)

FIELDS = {
    "gitleaks": """
        1password-secret-key 1password-service-account-token adafruit-api-key adobe-client-id adobe-client-secret
        age-secret-key airtable-api-key airtable-personnal-access-token algolia-api-key alibaba-access-key-id
        alibaba-secret-key anthropic-admin-api-key anthropic-api-key artifactory-api-key artifactory-reference-token
        asana-client-id asana-client-secret atlassian-api-token authress-service-client-access-key aws-access-token
        aws-amazon-bedrock-api-key-long-lived aws-amazon-bedrock-api-key-short-lived azure-ad-client-secret
        beamer-api-token bitbucket-client-id bitbucket-client-secret bittrex-access-key bittrex-secret-key
        cisco-meraki-api-key clickhouse-cloud-api-secret-key clojars-api-token cloudflare-api-key
        cloudflare-global-api-key cloudflare-origin-ca-key codecov-access-token cohere-api-token coinbase-access-token
        confluent-access-token confluent-secret-key contentful-delivery-api-token curl-auth-header curl-auth-user
        databricks-api-token datadog-access-token defined-networking-api-token digitalocean-access-token
        digitalocean-pat digitalocean-refresh-token discord-api-token discord-client-id discord-client-secret
        doppler-api-token droneci-access-token dropbox-api-token dropbox-long-lived-api-token
        dropbox-short-lived-api-token duffel-api-token dynatrace-api-token easypost-api-token easypost-test-api-token
        etsy-access-token facebook-access-token facebook-page-access-token facebook-secret fastly-api-token
        finicity-api-token finicity-client-secret finnhub-access-token flickr-access-token flutterwave-encryption-key
        flutterwave-public-key flutterwave-secret-key flyio-access-token frameio-api-token freemius-secret-key
        freshbooks-access-token gcp-api-key generic-api-key github-app-token github-fine-grained-pat github-oauth
        github-pat github-refresh-token gitlab-cicd-job-token gitlab-deploy-token gitlab-feature-flag-client-token
        gitlab-feed-token gitlab-incoming-mail-token gitlab-kubernetes-agent-token gitlab-oauth-app-secret gitlab-pat
        gitlab-pat-routable gitlab-ptt gitlab-rrt gitlab-runner-authentication-token
        gitlab-runner-authentication-token-routable gitlab-scim-token gitlab-session-cookie gitter-access-token
        gocardless-api-token grafana-api-key grafana-cloud-api-token grafana-service-account-token harness-api-key
        hashicorp-tf-api-token hashicorp-tf-password heroku-api-key heroku-api-key-v2 hubspot-api-key
        huggingface-access-token huggingface-organization-api-token infracost-api-token intercom-api-key
        intra42-client-secret jfrog-api-key jfrog-identity-token jwt jwt-base64 kraken-access-token
        kubernetes-secret-yaml kucoin-access-token kucoin-secret-key launchdarkly-access-token linear-api-key
        linear-client-secret linkedin-client-id linkedin-client-secret lob-api-key lob-pub-api-key looker-client-id
        looker-client-secret mailchimp-api-key mailgun-private-api-token mailgun-pub-key mailgun-signing-key
        mapbox-api-token mattermost-access-token maxmind-license-key messagebird-api-token messagebird-client-id
        microsoft-teams-webhook netlify-access-token new-relic-browser-api-token new-relic-insert-key
        new-relic-user-api-id new-relic-user-api-key notion-api-token npm-access-token nuget-config-password
        nytimes-access-token octopus-deploy-api-key okta-access-token openai-api-key openshift-user-token
        perplexity-api-key pkcs12-file plaid-api-token plaid-client-id plaid-secret-key planetscale-api-token
        planetscale-oauth-token planetscale-password postman-api-token prefect-api-token private-key
        privateai-api-token pulumi-api-token pypi-upload-token rapidapi-access-token readme-api-token
        rubygems-api-token scalingo-api-token sendbird-access-id sendbird-access-token sendgrid-api-token
        sendinblue-api-token sentry-access-token sentry-org-token sentry-user-token settlemint-application-access-token
        settlemint-personal-access-token settlemint-service-access-token shippo-api-token shopify-access-token
        shopify-custom-access-token shopify-private-app-access-token shopify-shared-secret sidekiq-secret
        sidekiq-sensitive-url slack-app-token slack-bot-token slack-config-access-token slack-config-refresh-token
        slack-legacy-bot-token slack-legacy-token slack-legacy-workspace-token slack-user-token slack-webhook-url
        snyk-api-token sonar-api-token sourcegraph-access-token square-access-token squarespace-access-token
        stripe-access-token sumologic-access-id sumologic-access-token telegram-bot-api-token travisci-access-token
        twilio-api-key twitch-api-token twitter-access-secret twitter-access-token twitter-api-key twitter-api-secret
        twitter-bearer-token typeform-api-token vault-batch-token vault-service-token yandex-access-token
        yandex-api-key yandex-aws-access-token zendesk-secret-key
        access api auth key credential creds passwd password secret token""",
    "detect-secrets": """
        apikey api_key appkey app_key authkey auth_key servicekey service_key applicationkey application_key accountkey
        account_key dbkey db_key databasekey database_key clientkey client_key aws_secret_access_key db_pass password
        passwd pass pwd private_key privatekey priv_key privkey secret secrete secreto keypass token contrasena
        contraseña""",
    "Sentry": """
        password passwd secret api_key apikey auth credentials mysql_pwd privatekey private_key token bearer ip_address
        session csrftoken sessionid remote_addr x_csrftoken x_forwarded_for set_cookie cookie authorization x_api_key
        x_real_ip aiohttp_session connect.sid csrf_token csrf _csrf _csrf_token PHPSESSID _session symfony user_session
        _xsrf XSRF-TOKEN access_token stripetoken github_token otp two-factor two_factor""",
    "OpenTelemetry": "token api_key password",
    "Elastic APM": "password passwd pwd secret token session credit card authorization set-cookie",
}
HEADERS = {
    "Sentry": """
        x-auth x-token x-secret x-session x-password x-passwd x-pwd x-key x-jwt x-bearer x-csrf x-xsrf x-credentials
        set-cookie cookie x-sso x-saml x-sid x-identity""",
    "OpenTelemetry": "authorization set-cookie cookie session-id x-session x-session-token x-api-key",
    "Elastic APM": "x-any-key x-any-token-any x-any-session-any authorization set-cookie",
}
QUERIES = {"OpenTelemetry": "AWSAccessKeyId Signature sig X-Goog-Signature"}
NOT_SECRETS = {
    "an identifier, and no secret alone": """
        adobe-client-id alibaba-access-key-id asana-client-id bitbucket-client-id discord-client-id linkedin-client-id
        looker-client-id messagebird-client-id new-relic-user-api-id plaid-client-id sendbird-access-id
        sumologic-access-id AWSAccessKeyId""",
    "a public key": "flutterwave-public-key mailgun-pub-key",
    "the name of a rule, which begins with that of the field": """
        aws-amazon-bedrock-api-key-long-lived aws-amazon-bedrock-api-key-short-lived gitlab-pat-routable
        gitlab-runner-authentication-token-routable heroku-api-key-v2 kubernetes-secret-yaml""",
    "a file, a command or an abbreviation, not a field name": """
        curl-auth-header curl-auth-user github-oauth gitlab-ptt gitlab-rrt pkcs12-file""",
    "a URL, whose secret is found by its form or its name": """
        microsoft-teams-webhook sidekiq-sensitive-url slack-webhook-url""",
    "a part of other names, too common alone": "access api key",
    "Omnigent's sessions have this name; in a header or a cookie, a session is a secret": """
        session sessionid aiohttp_session _session user_session""",
    "the name of a cookie, and every cookie is a secret": "connect.sid symfony",
    "an address or a payment card: personal data is not searched for": """
        ip_address remote_addr x_forwarded_for x_real_ip credit card""",
    "a method or a party": "x-sso x-saml x-sid x-identity",
}


def named(vocabularies: dict[str, str]) -> list[tuple[str, str]]:
    """Source and name."""
    return [(source, name) for source, names in vocabularies.items() for name in names.split()]


ALL: list[tuple[str, str, str, Callable[[str], bool], Callable[[str], bool]]] = [
    *(
        (source, "field", name.replace("-", "_"), is_secret_field, may_be_secret_field)
        for source, name in named(FIELDS)
    ),
    *((by, "header", name, is_secret_header, is_secret_header) for by, name in named(HEADERS)),
    *((by, "query", name, is_secret, may_be_secret) for by, name in named(QUERIES)),
]
