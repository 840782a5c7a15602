"""HTTPS with a certificate made at start, access tokens of an outside issuer, and the tokens of tasks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from azure.batch import BatchClient
from azure.batch import models as sdk
from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_provider_jobmanager.local import LocalBatch, Settings
from airflow_provider_jobmanager.local.auth import PUBLIC_AUDIENCE, Issuer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.local.wire import Wire

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Tokens:
    """A credential that makes its own tokens."""

    def __init__(self, audience: str = PUBLIC_AUDIENCE) -> None:
        self.audience = audience

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        expires = int(time.time()) + 600
        return AccessToken(jwt.encode({"aud": self.audience, "exp": expires, "sub": "me"}, KEY, "RS256"), expires)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBatch]:
    state = tmp_path_factory.mktemp("secure")
    with LocalBatch(Settings(port=0, https=True, state_dir=state, issuer=Issuer(PEM.decode()))) as batch:
        yield batch


def certificate(batch: LocalBatch) -> str:
    found: Path | None = batch.certificate
    assert found is not None
    return str(found)


def test_the_key_over_https(secure: LocalBatch):
    credential = AzureNamedKeyCredential(secure.account, secure.key)
    with BatchClient(secure.url, credential, connection_verify=certificate(secure)) as client:
        assert [pool.id for pool in client.list_pools()] == ["local"]
    assert secure.url.startswith("https://")


def test_who_was_not_given_the_certificate_does_not_connect(secure: LocalBatch):
    credential = AzureNamedKeyCredential(secure.account, secure.key)
    with BatchClient(secure.url, credential, retry_total=0) as client, pytest.raises(ServiceRequestError):
        client.get_job("any")


def test_access_tokens_of_the_issuer(secure: LocalBatch):
    with BatchClient(secure.url, Tokens(), connection_verify=certificate(secure)) as client:
        client.create_job(sdk.BatchJobCreateOptions(id="job", pool_info=sdk.BatchPoolInfo(pool_id="local")))
        assert client.get_job("job").state == "active"
    wrong = Tokens("https://batch.core.windows.net")
    with (
        BatchClient(secure.url, wrong, connection_verify=certificate(secure)) as client,
        pytest.raises(ClientAuthenticationError) as refused,
    ):
        client.get_job("job")
    assert (refused.value.status_code, refused.value.error.code) == (401, "AuthenticationFailed")
    assert "exactly match (including forward slash)" in str(refused.value)


def test_a_task_asks_with_its_own_token_for_its_own_job_alone(batch: LocalBatch, wire: Wire):
    manager = {
        "id": "jm",
        "commandLine": "/bin/sh -c 'printf %s \"$AZ_BATCH_AUTHENTICATION_TOKEN\"'",
        "authenticationTokenSettings": {"access": ["job"]},
    }
    wire.must("POST", "/jobs", {"id": "mine", "poolInfo": {"poolId": "local"}, "jobManagerTask": manager})
    wire.must("POST", "/jobs", {"id": "other", "poolInfo": {"poolId": "local"}})
    wire.until_state("/jobs/mine", "completed")
    token = wire.must("GET", "/jobs/mine/tasks/jm/files/stdout.txt").text
    headers = {"Authorization": f"Bearer {token}"}

    def ask(path: str) -> httpx.Response:
        return httpx.get(f"{batch.url}{path}?api-version=2025-06-01", headers=headers)

    assert wire.get("/jobs/mine")["jobManagerTask"]["authenticationTokenSettings"] == {"access": ["job"]}
    assert ask("/jobs/mine/tasks/jm").json()["id"] == "jm"
    assert ask("/jobs/MINE").status_code == 200
    assert (ask("/jobs/other").status_code, ask("/pools").status_code) == (403, 403)
    assert httpx.get(f"{batch.url}/_local/journal", headers=headers).status_code == 403
    assert token not in str(list(batch.journal))
