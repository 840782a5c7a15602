from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import jwt
import pytest
from azure.batch._patch import BatchSharedKeyAuthPolicy
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.rest import HttpRequest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_provider_jobmanager.local import auth
from airflow_provider_jobmanager.local.auth import Asking, Authenticator, Issuer, JobTokens, SharedKey
from airflow_provider_jobmanager.local.errors import BatchError
from airflow_provider_jobmanager.local.formats import http_date

ACCOUNT = "localbatch"
KEY = base64.b64encode(b"a key of the tests, of no worth " * 2).decode()
OTHER_KEY = base64.b64encode(b"another key").decode()
NOW = datetime.now(timezone.utc)
AUTHENTICATOR = Authenticator.of(ACCOUNT, KEY)


def asking(method="GET", url="/jobs?api-version=2025-06-01", key=KEY, signer=SharedKey, **headers: str) -> Asking:
    parts = urlsplit(url)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers.setdefault("ocp-date", http_date(NOW))
    unsigned = Asking(method, parts.path, parts.query, headers)
    return Asking(method, parts.path, parts.query, {**headers, "authorization": SharedKey(ACCOUNT, key).sign(unsigned)})


def signed_by_sdk(request: HttpRequest) -> Asking:
    policy = BatchSharedKeyAuthPolicy(AzureNamedKeyCredential(ACCOUNT, KEY))
    policy.on_request(PipelineRequest(request, PipelineContext(None)))
    parts = urlsplit(request.url)
    return Asking(request.method, parts.path, parts.query, {k.lower(): v for k, v in request.headers.items()})


def bearer(token: str, path="/jobs/j1", secure=True) -> Asking:
    return Asking("GET", path, "", {"authorization": f"Bearer {token}"}, secure)


def refusal(asked: Asking, now=NOW, authenticator=AUTHENTICATOR) -> BatchError:
    with pytest.raises(BatchError) as refused:
        authenticator.authenticate(asked, now)
    assert KEY not in str(refused.value.values)
    return refused.value


def detail(error: BatchError) -> str:
    return dict(error.values)["AuthenticationErrorDetail"]


@pytest.mark.parametrize(
    "url",
    [
        "/jobs?api-version=2025-06-01",
        "/jobs?timeOut=30&api-version=2025-06-01&%24filter=state%20eq%20%27active%27&maxresults=",
        "/jobs/j%201/tasks/t/files/wd%2Fa%20b.txt?api-version=2025-06-01",
        "/pools?api-version=x&$skiptoken=WATV2:a+b/c==:1$1",
        "/jobs",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
def test_the_sdk_s_own_signature_is_good(method: str, url: str):
    identity = AUTHENTICATOR.authenticate(signed_by_sdk(HttpRequest(method, f"http://h{url}")), NOW)

    assert (identity.scheme, identity.name, identity.job_id) == ("SharedKey", ACCOUNT, None)


def test_the_sdk_s_signature_of_a_body_and_conditions_is_good():
    request = HttpRequest("POST", "http://h/jobs?api-version=1", json={"id": "x"})
    request.headers.update({"If-Match": "0x1", "ocp-range": "bytes=1-2", "Content-Type": "application/json"})

    assert AUTHENTICATOR.authenticate(signed_by_sdk(request), NOW).scheme == "SharedKey"


def test_names_in_lower_case_and_joined_values_are_good_too():
    url = "/jobs?timeOut=30&api-version=1&Tag=b&tag=a&blank="
    documented = "GET\n" + "\n" * 11 + f"ocp-date:{http_date(NOW)}\n/{ACCOUNT}/jobs"
    documented += "\napi-version:1\nblank:\ntag:a,b\ntimeout:30"

    assert next(auth._strings_to_sign(ACCOUNT, Asking("GET", *_split(url), {"ocp-date": http_date(NOW)}))) == documented
    assert AUTHENTICATOR.authenticate(asking(url=url), NOW)


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.path, parts.query


def test_a_transport_may_decode_what_was_signed_encoded():
    signed = signed_by_sdk(HttpRequest("GET", "http://h/jobs/hourly%3Ajob-1/tasks/t/files/wd%2Fa%20b.txt"))
    sent = Asking("GET", "/jobs/hourly:job-1/tasks/t/files/wd%2Fa%20b.txt", "", signed.headers)
    another = Asking("GET", "/jobs/hourly:job-1/tasks/t/files/wd/a%20b.txt", "", signed.headers)

    assert AUTHENTICATOR.authenticate(sent, NOW)
    assert refusal(another).code == "AuthenticationFailed"


def test_a_date_header_will_do():
    request = asking(ocp_date="", date=http_date(NOW))

    assert AUTHENTICATOR.authenticate(request, NOW)


def test_a_wrong_key_shows_the_string_to_sign_and_no_key():
    error = refusal(asking(key=OTHER_KEY))

    assert (error.status, error.code) == (403, "AuthenticationFailed")
    assert "including the signature" in error.message
    right = SharedKey(ACCOUNT, KEY).sign(asking()).partition(":")[2]
    assert f"'GET\n\n\n\n\n\n\n\n\n\n\n\nocp-date:{http_date(NOW)}\n/{ACCOUNT}/jobs" in detail(error)
    assert right not in detail(error)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "DELETE"},
        {"path": "/jobs/other"},
        {"query": "api-version=other"},
        {"headers": {"content-length": "5"}},
        {"headers": {"if-match": "0x1"}},
        {"headers": {"ocp-range": "bytes=0-1"}},
    ],
)
def test_what_was_signed_can_t_be_changed(change: dict):
    good = asking()
    altered = Asking(
        change.get("method", good.method),
        change.get("path", good.path),
        change.get("query", good.query),
        {**good.headers, **change.get("headers", {})},
    )

    assert refusal(altered).code == "AuthenticationFailed"


@pytest.mark.parametrize("minutes", [-15, 15])
def test_fifteen_minutes_either_way_are_good(minutes: int):
    signed = asking()
    moment = NOW.replace(microsecond=0) + timedelta(minutes=minutes)

    assert AUTHENTICATOR.authenticate(signed, moment)
    step = timedelta(seconds=1 if minutes > 0 else -1)
    error = refusal(signed, moment + step)
    assert (error.status, error.code) == (403, "AuthenticationFailed")
    assert "within 15 minutes" in detail(error)


@pytest.mark.parametrize(
    ("headers", "status", "code", "says"),
    [
        ({}, 403, "AuthenticationFailed", "no Authorization header"),
        ({"authorization": "SharedKey"}, 400, "InvalidAuthenticationInfo", "SharedKey account:signature"),
        ({"authorization": "SharedKey localbatch"}, 400, "InvalidAuthenticationInfo", "SharedKey account:signature"),
        ({"authorization": "Basic eA=="}, 400, "InvalidAuthenticationInfo", "SharedKey or Bearer"),
        ({"authorization": "SharedKey else:eA=="}, 403, "AuthenticationFailed", "'else' does not exist here"),
        ({"authorization": "SharedKey localbatch:eA=="}, 403, "AuthenticationFailed", "Neither the ocp-date"),
        (
            {"authorization": "SharedKey localbatch:eA==", "ocp-date": "yesterday"},
            403,
            "AuthenticationFailed",
            "no RFC 1123 date",
        ),
        (
            {"authorization": "SharedKey localbatch:é", "ocp-date": http_date(NOW)},
            403,
            "AuthenticationFailed",
            "string to sign",
        ),
    ],
)
def test_what_is_wrong_is_said(headers: dict[str, str], status: int, code: str, says: str):
    error = refusal(Asking("GET", "/jobs", "", headers))

    assert (error.status, error.code) == (status, code)
    assert says in detail(error)


def test_a_key_that_is_no_base64_is_refused_without_being_shown():
    with pytest.raises(ValueError, match="no base64") as refused:
        SharedKey(ACCOUNT, "not base64!")

    assert "not base64!" not in str(refused.value)
    assert KEY not in repr(AUTHENTICATOR)


# -- tokens of tasks


def test_a_task_s_token_is_good_for_its_job_over_plain_http():
    token = JobTokens(ACCOUNT, KEY).issue("Job-1", "first", NOW + timedelta(hours=1))

    for path in ("/jobs/job-1", "/jobs/Job-1/tasks/t", "/jobs/JOB%2D1/tasks"):
        identity = AUTHENTICATOR.authenticate(bearer(token, path, secure=False), NOW)
        assert (identity.scheme, identity.job_id) == ("JobToken", "Job-1")


@pytest.mark.parametrize(
    "path", ["/jobs", "/jobs/job-2", "/pools/job-1", "/jobs/job-1/../job-2", "/jobs/job-1%2Ftasks"]
)
def test_a_task_s_token_is_good_for_nothing_else(path: str):
    token = JobTokens(ACCOUNT, KEY).issue("job-1", "first", NOW + timedelta(hours=1))

    error = refusal(bearer(token, path))

    assert (error.status, error.code) == (403, "InsufficientAccountPermissions")


def test_a_task_s_token_expires_and_is_bound_to_account_and_key():
    token = JobTokens(ACCOUNT, KEY).issue("j1", "first", NOW)
    foreign = JobTokens(ACCOUNT, OTHER_KEY).issue("j1", "first", NOW + timedelta(hours=1))
    elsewhere = JobTokens("other", KEY).issue("j1", "first", NOW + timedelta(hours=1))

    expired = refusal(bearer(token), NOW + timedelta(seconds=1))
    assert (expired.status, expired.code) == (401, "AuthenticationFailed")
    assert "expired at" in detail(expired)
    assert "signature" not in expired.message
    for bad in (foreign, elsewhere):
        error = refusal(bearer(bad))
        assert error.status == 401
        assert bad not in str(error.values)


@pytest.mark.parametrize(("present", "good"), [("first", True), (None, True), ("second", False)])
def test_a_task_s_token_is_no_good_for_a_later_job_of_the_same_id(present: str | None, good: bool):
    token = JobTokens(ACCOUNT, KEY).issue("j1", "first", NOW + timedelta(hours=1))
    authenticator = Authenticator.of(ACCOUNT, KEY, identity_of={"j1": present}.get)
    if good:
        assert authenticator.authenticate(bearer(token), NOW).job_id == "j1"
    else:
        assert "an earlier job" in detail(refusal(bearer(token), authenticator=authenticator))


# -- tokens of an outside issuer


@pytest.fixture(scope="module")
def private_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def pem(private_key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private_key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def token_of(private_key, kid=None, **claims) -> str:
    claims = {"aud": auth.PUBLIC_AUDIENCE, "exp": int(NOW.timestamp()) + 60, "sub": "someone", **claims}
    return jwt.encode(claims, private_key, "RS256", headers={"kid": kid} if kid else None)


def test_an_issuer_s_token_is_good_over_https(private_key, pem):
    identity = Authenticator.of(ACCOUNT, KEY, Issuer(pem)).authenticate(bearer(token_of(private_key)), NOW)

    assert (identity.scheme, identity.name, identity.job_id) == ("Bearer", "someone", None)


def test_a_key_set_is_searched_by_key_id(private_key):
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private_key.public_key()))
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    wrong = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(other.public_key()))
    keys = {"keys": [{**wrong, "kid": "old"}, {**key, "kid": "new"}]}
    authenticator = Authenticator.of(ACCOUNT, KEY, Issuer(keys))

    assert authenticator.authenticate(bearer(token_of(private_key, "new")), NOW).name == "someone"
    assert refusal(bearer(token_of(private_key, "old")), authenticator=authenticator).status == 401
    assert refusal(bearer(token_of(private_key, "none")), authenticator=authenticator).status == 401


def test_the_audience_counts_to_its_slash(private_key, pem):
    token = token_of(private_key, aud="https://batch.core.windows.net")

    error = refusal(bearer(token), authenticator=Authenticator.of(ACCOUNT, KEY, Issuer(pem)))

    assert (error.status, error.code) == (401, "AuthenticationFailed")
    assert detail(error) == (
        "The access token has been obtained from wrong audience or resource 'https://batch.core.windows.net'. It "
        "should exactly match (including forward slash) with one of the allowed audiences 'https://batch.core.windows.net/'."
    )


def test_other_reasons_to_refuse_a_token(private_key, pem):
    strict = Authenticator.of(ACCOUNT, KEY, Issuer(pem, issuer="https://me/"))
    plain = Authenticator.of(ACCOUNT, KEY, Issuer(pem))
    unsigned = jwt.encode({"aud": auth.PUBLIC_AUDIENCE, "exp": int(NOW.timestamp()) + 60}, None, "none")
    symmetric = jwt.encode({"aud": auth.PUBLIC_AUDIENCE, "exp": int(NOW.timestamp()) + 60}, "k" * 32, "HS256")

    assert "HTTPS only" in detail(refusal(bearer(token_of(private_key), secure=False), authenticator=plain))
    assert "No issuer" in detail(refusal(bearer(token_of(private_key))))
    assert "expired" in detail(refusal(bearer(token_of(private_key)), NOW + timedelta(minutes=2), plain))
    assert refusal(bearer(token_of(private_key)), authenticator=strict).status == 401
    assert strict.authenticate(bearer(token_of(private_key, iss="https://me/")), NOW)
    for bad in (unsigned, symmetric, "rubbish", "a.b.c"):
        assert refusal(bearer(bad), authenticator=plain).status == 401
    assert "does not say when" in detail(refusal(bearer(token_of(private_key, exp=None)), authenticator=plain))
