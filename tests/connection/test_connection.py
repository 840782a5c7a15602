"""From what is filled in to an account, or to an error that names the field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Connection

from airflow_provider_jobmanager.connection import account_of
from airflow_provider_jobmanager.errors import AccountError

if TYPE_CHECKING:
    from airflow_provider_jobmanager.account import Account

KEY = "c2VjcmV0LWtleQ=="
PUBLIC = "https://acct.westeurope.batch.azure.com"
APP = {"tenant_id": "t", "client_id": "a"}


def resolved(
    login: str | None = None, password: str | None = None, *, conn_type: str = "azure_batch_job_manager", **extra: Any
) -> Account:
    extra = {"account_url": PUBLIC, **extra}
    return account_of(
        Connection(conn_id="mine", conn_type=conn_type, login=login, password=password, extra=json.dumps(extra))
    )


@pytest.mark.parametrize(
    ("filled", "method"),
    [
        ({"login": "acct", "password": KEY}, "account_key"),
        ({"password": KEY}, "account_key"),
        ({"login": "acct", "password": KEY, "auth_method": "auto"}, "account_key"),
        ({"login": "acct", "password": KEY, **APP, "auth_method": "account_key"}, "account_key"),
        ({"password": "s", **APP}, "client_secret"),
        ({"login": "a", "password": "s", "tenant_id": "t"}, "client_secret"),
        ({"certificate_path": "/c.pem", **APP}, "certificate"),
        ({"certificate_path": "/c.pem", "password": "of the file", **APP}, "certificate"),
        ({"private_key": "PEM", **APP}, "certificate"),
        ({"managed_identity_client_id": "m"}, "managed_identity"),
        ({"managed_identity_client_id": "m", "workload_identity_tenant_id": "t"}, "default"),
        ({"auth_method": "managed_identity"}, "managed_identity"),
        ({"workload_identity_file": "/f", **APP}, "workload_identity"),
        ({"auth_method": "workload_identity"}, "workload_identity"),
        ({}, "default"),
        ({"login": "acct"}, "default"),
        ({"tenant_id": None, "client_id": "", "cloud": None, "auth_method": None}, "default"),
    ],
)
def test_what_is_filled_in_decides(filled: dict[str, Any], method: str) -> None:
    assert resolved(**filled).credential.method == method


def test_a_federated_token_of_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/f")
    assert resolved(**APP).credential.method == "workload_identity"


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        ({"account_url": ""}, "no account_url"),
        ({"account_url": None}, "no account_url"),
        ({"account_url": "https://"}, "not the URL of a Batch account"),
        ({"account_url": "ftp://acct.region.batch.azure.com"}, "not the URL of a Batch account"),
        ({"account_url": "https://me:pw@acct.region.batch.azure.com"}, "not the URL of a Batch account"),
        ({"account_url": PUBLIC + "?x=1"}, "not the URL of a Batch account"),
        ({"account_url": PUBLIC + ":port"}, "not the URL of a Batch account"),
        ({"account_url": "https://[x"}, "not the URL of a Batch account"),
        ({"account_url": "https://my account.region.batch.azure.com"}, "not the URL of a Batch account"),
        ({"account_url": 7}, "account_url must be text"),
        ({"account_url": "http://acct.region.batch.azure.com"}, "acct.region.batch.azure.com is not this machine"),
        ({"account_url": "http://10.0.0.1:10500"}, "10.0.0.1 is not this machine"),
        ({"account_url": "http://127.0.0.1:10500", "password": "s", **APP}, "a token must not travel without TLS"),
        ({"account_url": "https://batch.example", "password": KEY}, "login"),
        ({"auth_method": "account_key"}, "password (the account key)"),
        ({"password": "no base64!"}, "not an account key"),
        ({"password": "pässword"}, "not an account key"),
        ({"auth_method": "key"}, "auth_method is 'key', which is none of auto, account_key"),
        ({"auth_method": "client_secret", "password": "s"}, "tenant_id and client_id"),
        ({"auth_method": "client_secret", **APP}, "password (the client secret)"),
        ({"auth_method": "certificate", **APP}, "certificate_path (or private_key)"),
        ({"certificate_path": "/c", "private_key": "PEM", **APP}, "give one"),
        ({"certificate_path": "/c"}, "tenant_id and client_id"),
        (APP, "nothing to prove it with"),
        ({"cloud": "AzureGermanCloud"}, "none of AzureCloud, AzureUSGovernment, AzureChinaCloud"),
        ({"authority": "http://login.example"}, "authority must be a host"),
        ({"authority": "https://login.example/tenant"}, "authority must be a host"),
        ({"authority": "https://login.example:port"}, "authority must be a host"),
        ({"authority": "https://[x"}, "authority must be a host"),
        ({"scope": "https://batch.core.windows.net/"}, "scope must end with /.default"),
        ({"api_version": "latest"}, "api_version is 'latest'"),
    ],
)
def test_an_error_names_connection_and_field(filled: dict[str, Any], said: str) -> None:
    with pytest.raises(AccountError) as caught:
        resolved(**filled)
    assert str(caught.value).startswith("Connection 'mine': ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("filled", "client_id"),
    [
        ({}, ""),
        ({"client_id": "c"}, "c"),
        ({"managed_identity_client_id": "m"}, "m"),
        ({"managed_identity_client_id": "m", "client_id": "c"}, "m"),
    ],
)
def test_a_managed_identity_that_is_named_outright(filled: dict[str, str], client_id: str) -> None:
    assert resolved(auth_method="managed_identity", **filled).credential.client_id == client_id


def test_an_error_never_shows_a_secret() -> None:
    with pytest.raises(AccountError) as caught:
        resolved(password="a client secret, no key")
    assert "a client secret, no key" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("acct.westeurope.batch.azure.com", PUBLIC),
        (PUBLIC + "/", PUBLIC),
        (" https://acct.westeurope.batch.azure.com ", PUBLIC),
        ("https://gateway.example/batch/", "https://gateway.example/batch"),
    ],
)
def test_the_url_may_be_written_loosely(url: str, endpoint: str) -> None:
    assert resolved("acct", KEY, account_url=url).endpoint == endpoint


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8"])
def test_without_tls_to_this_machine(host: str) -> None:
    assert resolved("acct", KEY, account_url=f"http://{host}:10500").endpoint == f"http://{host}:10500"


def test_the_microsoft_providers_connection_is_taken_as_it_is() -> None:
    account = resolved("acct", KEY, conn_type="azure_batch")
    assert (account.credential.method, account.name, account.credential.secret) == ("account_key", "acct", KEY)

    chain = resolved(
        conn_type="azure_batch", managed_identity_client_id="m", workload_identity_tenant_id="t"
    ).credential
    assert (chain.method, chain.client_id, chain.tenant_id) == ("default", "m", "t")

    old = Connection(
        conn_id="old",
        conn_type="azure_batch",
        login="acct",
        password=KEY,
        extra=json.dumps({"extra__azure_batch__account_url": PUBLIC}),
    )
    assert account_of(old).endpoint == PUBLIC


def test_a_connection_survives_its_uri() -> None:
    """The Test button hands the connection to the hook as a URI, in which an extra of many kinds is flattened."""
    connection = Connection(
        conn_id="mine",
        conn_type="azure_batch_job_manager",
        login="acct",
        password=KEY,
        extra=json.dumps({"account_url": PUBLIC, "cloud": None, "auth_method": "auto"}),
    )
    again = Connection.from_uri(connection.get_uri(), conn_id="mine")
    assert account_of(again) == account_of(connection)


def test_identities_and_versions_have_fingerprints_of_their_own() -> None:
    accounts = [
        resolved("acct", KEY),
        resolved("acct", "b3RoZXI="),
        resolved("other", KEY),
        resolved("acct", KEY, api_version="2024-07-01.20.0"),
        resolved("acct", KEY, account_url="https://acct.eastus.batch.azure.com"),
        resolved(password="s", **APP),
        resolved(password="s", **APP, scope="https://x//.default"),
        resolved(managed_identity_client_id="m"),
        resolved(auth_method="managed_identity"),
        resolved(),
    ]
    assert len({account.fingerprint for account in accounts}) == len(accounts)
    assert resolved("acct", KEY).fingerprint == resolved("acct", KEY, subscription_id="s").fingerprint
