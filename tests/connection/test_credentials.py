"""Every kind of credential: azure-identity's real conversations, and a Batch service that checks the bearer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from airflow_provider_jobmanager import credentials
from airflow_provider_jobmanager.account import Account, AsyncClient, Client
from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.connection import account_of
from airflow_provider_jobmanager.credentials import CLOUDS, PUBLIC
from airflow_provider_jobmanager.errors import AccountError, ServiceError, ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook
from airflow_provider_jobmanager.local import LocalBatch, Settings
from tests.entra import APPLICATION, CLIENT_SECRET, FEDERATED_TOKEN, SYSTEM_ASSIGNED, TENANT, USER_ASSIGNED, Entra
from tests.scripted import ScriptedServer, error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AUDIENCES = tuple(cloud.scope.removesuffix("/.default") for cloud in CLOUDS)
JOBS = calls.rows("jobs", limit=1)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application's certificate with its private key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "application")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("certificate") / "application.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[tuple[Entra, LocalBatch, Path]]:
    with Entra(tmp_path_factory.mktemp("entra")) as entra:
        text = certificate.read_bytes()
        entra.certificates.append(text[text.index(b"-----BEGIN CERTIFICATE") :])
        with LocalBatch(Settings(port=0, https=True, issuer=entra.issuer(*AUDIENCES))) as batch:
            assert batch.certificate is not None
            trusted = tmp_path_factory.mktemp("trusted") / "trusted.pem"
            trusted.write_bytes(entra.certificate.read_bytes() + batch.certificate.read_bytes())
            yield entra, batch, trusted


@pytest.fixture
def world(running: tuple[Entra, LocalBatch, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    entra, batch, trusted = running
    entra.asked.clear()
    entra.tunnels.clear()
    entra.refusal = None
    batch.reset()
    for name, value in entra.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    credentials._tokens_of.cache_clear()
    yield World(entra, batch, trusted)
    credentials._tokens_of.cache_clear()


class World:
    """The authority, the service, and a connection between them."""

    def __init__(self, entra: Entra, batch: LocalBatch, trusted: Path) -> None:
        self.entra, self.batch, self.trusted = entra, batch, trusted

    def account(self, login: str | None = None, password: str | None = None, **extra: Any) -> Account:
        return account_of(self.connection(login, password, **extra))

    def connection(self, login: str | None = None, password: str | None = None, **extra: Any) -> Connection:
        extra = {"account_url": self.batch.url, **extra}
        return Connection(
            conn_id="c", conn_type="azure_batch_job_manager", login=login, password=password, extra=json.dumps(extra)
        )

    def ask(self, kind: str, account: Account) -> Any:
        """One authorised request on the synchronous or the asynchronous client."""
        if kind == "sync":
            client = account.client()
            try:
                return client.call(JOBS).data
            finally:
                client.close()

        async def main() -> Any:
            # aiohttp keeps the authorities that were known when it was imported, maybe before this test.
            async_client = AsyncClient(account, account.sdk_async_client(connection_verify=str(self.trusted)))
            try:
                return (await async_client.call(JOBS)).data
            finally:
                await async_client.close()

        return asyncio.run(main())


APP = {"tenant_id": TENANT, "client_id": APPLICATION}
LOGIN = PUBLIC.authority
ASSERTED = {"client_id": APPLICATION, "grant_type": "client_credentials"}

KINDS: dict[str, tuple[dict[str, Any], str, str]] = {
    # what is filled in; the host asked for a token; who the token speaks for
    "client secret": ({**APP, "password": CLIENT_SECRET}, LOGIN, APPLICATION),
    "client secret, client id as login": (
        {"tenant_id": TENANT, "login": APPLICATION, "password": CLIENT_SECRET},
        LOGIN,
        APPLICATION,
    ),
    "certificate file": ({**APP, "certificate_path": "<path>"}, LOGIN, APPLICATION),
    "certificate text": ({**APP, "private_key": "<text>"}, LOGIN, APPLICATION),
    "certificate text that went through the form": ({**APP, "private_key": "<line>"}, LOGIN, APPLICATION),
    "user-assigned identity": ({"managed_identity_client_id": USER_ASSIGNED}, "identity", USER_ASSIGNED),
    "system-assigned identity": ({"auth_method": "managed_identity"}, "identity", SYSTEM_ASSIGNED),
    "workload identity": ({**APP, "workload_identity_file": "<token>"}, LOGIN, APPLICATION),
    "workload identity of the pod": ({"auth_method": "workload_identity", "env": "pod"}, LOGIN, APPLICATION),
    "default chain, environment": ({"env": "application"}, LOGIN, APPLICATION),
    "default chain, machine": ({"auth_method": "default"}, "identity", SYSTEM_ASSIGNED),
    "US Government": (
        {**APP, "password": CLIENT_SECRET, "cloud": "AzureUSGovernment"},
        CLOUDS[1].authority,
        APPLICATION,
    ),
    "China": ({**APP, "password": CLIENT_SECRET, "cloud": "AzureChinaCloud"}, CLOUDS[2].authority, APPLICATION),
    "own authority": (
        {**APP, "password": CLIENT_SECRET, "authority": "https://login.private.example/", "scope": PUBLIC.scope},
        "login.private.example",
        APPLICATION,
    ),
}


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_credential_gets_a_token_that_the_service_takes(  # noqa: PLR0917 - fixtures
    name: str, kind: str, world: World, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled, host, who = KINDS[name]
    token_file = tmp_path / "token"
    token_file.write_text(FEDERATED_TOKEN)
    text = certificate.read_text()
    stand_ins = {
        "<path>": str(certificate),
        "<text>": text,
        "<line>": text.replace("\n", ""),  # an input element of one line takes the breaks away
        "<token>": str(token_file),
    }
    fields = {key: stand_ins.get(value, value) for key, value in filled.items()}
    environment = fields.pop("env", None)
    if environment:
        monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
        monkeypatch.setenv("AZURE_CLIENT_ID", APPLICATION)
    if environment == "pod":
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token_file))
    elif environment:
        monkeypatch.setenv("AZURE_CLIENT_SECRET", CLIENT_SECRET)
    account = world.account(**fields)

    assert world.ask(kind, account) == []

    (asked,) = world.entra.asked
    cloud = next((cloud for cloud in CLOUDS if cloud.authority == host), PUBLIC)
    assert asked.host == host
    if host == "identity":
        assert asked.form["resource"] == cloud.scope.removesuffix("/.default")
        assert asked.form.get("client_id", SYSTEM_ASSIGNED) == who
    else:
        assert asked.tenant == TENANT
        assert set(asked.form["scope"].split()) == {cloud.scope}
        assert "//.default" in cloud.scope
        assert asked.form.items() >= ASSERTED.items()
        assert set(world.entra.tunnels) == {host}
    assert world.batch.journal[-1].status == 200
    assert who in account.credential.whoever()


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.name)
def test_the_cloud_follows_from_the_accounts_host_name(cloud: credentials.Cloud) -> None:
    extra = {"account_url": f"https://acct.region{cloud.suffix}", **APP}
    account = account_of(Connection(conn_id="c", conn_type="t", password="x", extra=json.dumps(extra)))

    assert (account.credential.authority, account.credential.scope) == (cloud.authority, cloud.scope)
    assert account.portal == cloud.portal
    assert account.name == "acct"


def test_one_token_serves_every_client_of_an_identity(world: World) -> None:
    account = world.account(password=CLIENT_SECRET, **APP)
    world.ask("sync", account)
    world.ask("async", account)
    world.ask("async", world.account(password=CLIENT_SECRET, **APP))
    assert len(world.entra.asked) == 1

    world.ask("sync", world.account(managed_identity_client_id=USER_ASSIGNED))
    assert len(world.entra.asked) == 2


def test_many_clients_that_start_together_ask_for_one_token(world: World) -> None:
    account = world.account(password=CLIENT_SECRET, **APP)

    async def one() -> None:
        client = AsyncClient(account, account.sdk_async_client(connection_verify=str(world.trusted)))
        try:
            await client.call(JOBS)
        finally:
            await client.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(all_of_them())
    assert len(world.entra.asked) == 1


def test_an_account_key_over_tls(world: World) -> None:
    account = world.account(world.batch.account, world.batch.key)
    assert world.ask("sync", account) == []
    assert world.ask("async", account) == []
    assert world.entra.asked == []


def test_a_renewed_certificate_is_read_after_a_refusal(world: World, certificate: Path, tmp_path: Path) -> None:
    path = tmp_path / "renewed.pem"
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    text = certificate.read_bytes()
    path.write_bytes(stranger + text[text.index(b"-----BEGIN CERTIFICATE") :])
    account = world.account(certificate_path=str(path), **APP)
    with pytest.raises(ServiceRefused, match="upload the certificate"):
        world.ask("sync", account)

    path.write_bytes(text)

    assert world.ask("sync", account) == []


# -- refusals say what to change --------------------


def the_refusal(world: World, account: Account) -> ServiceError:
    errors = []
    for kind in ("sync", "async"):
        with pytest.raises(ServiceError) as caught:
            world.ask(kind, account)
        errors.append(caught.value)
    without_id = [re.sub("request id [0-9a-f-]+", "request id", str(error)) for error in errors]
    assert without_id[0] == without_id[1]
    assert CLIENT_SECRET not in str(errors[0])
    return errors[0]


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ("AADSTS7000222: The provided client secret keys for app are expired.", "create a new one"),
        ("AADSTS7000215: Invalid client secret provided.", "the secret's value (not its id)"),
        ("AADSTS700016: Application with identifier was not found in the directory.", "check client_id, tenant_id"),
        ("AADSTS500011: The resource principal was not found in the tenant.", "check cloud and scope"),
    ],
)
def test_a_refused_token_request_says_what_to_change(world: World, body: str, advice: str) -> None:
    world.entra.refusal = (401, {"error": "invalid_client", "error_description": f"{body} Trace ID: 1"})

    refusal = the_refusal(world, world.account(password=CLIENT_SECRET, **APP))

    assert isinstance(refusal, ServiceRefused)
    assert (refusal.status, refusal.code) == (401, "TokenRequestFailed")
    assert "Connection 'c'" in str(refusal)
    assert f"the client secret of application {APPLICATION} of tenant {TENANT}" in str(refusal)
    assert advice in refusal.hint


@pytest.mark.parametrize(("status", "kind"), [(400, ServiceRefused), (503, ServiceUnavailable)])
def test_a_federated_token_that_is_not_taken_says_so(
    world: World, tmp_path: Path, status: int, kind: type[ServiceError]
) -> None:
    (tmp_path / "token").write_text(FEDERATED_TOKEN)
    said = "AADSTS70021: No matching federated identity record found. Trace ID: 1"
    world.entra.refusal = (status, {"error": "invalid_client", "error_description": said})

    refusal = the_refusal(world, world.account(**APP, workload_identity_file=str(tmp_path / "token")))

    assert type(refusal) is kind
    assert "the workload identity of application" in str(refusal)


def test_a_machine_without_the_identity_says_so(world: World) -> None:
    refusal = the_refusal(world, world.account(managed_identity_client_id="55555555-5555-5555-5555-555555555555"))
    assert "Is a managed identity assigned to this machine?" in str(refusal)


def test_an_authority_in_trouble_is_no_refusal(world: World) -> None:
    world.entra.refusal = (503, {"error": "temporarily_unavailable", "error_description": "Later."})
    account = world.account(password=CLIENT_SECRET, **APP)
    with pytest.raises(ServiceUnavailable, match="got no token"):
        world.ask("sync", account)


def test_an_authority_out_of_reach_is_no_refusal(world: World) -> None:
    account = world.account(password=CLIENT_SECRET, authority="login.nowhere.example", **APP)
    with pytest.raises(ServiceUnavailable, match="got no token"):
        world.ask("sync", account)
    assert "login.nowhere.example" in world.entra.tunnels


def test_a_token_for_the_wrong_audience(world: World) -> None:
    account = world.account(password=CLIENT_SECRET, scope="https://batch.core.windows.net/.default", **APP)
    refusal = the_refusal(world, account)
    assert "wrong audience or resource 'https://batch.core.windows.net'" in str(refusal)
    assert "correct cloud (or scope)" in str(refusal)


def test_a_missing_role(world: World) -> None:
    world.batch.faults.add({"then": "answer", "status": 403, "code": "InsufficientAccountPermissions"})
    refusal = the_refusal(world, world.account(password=CLIENT_SECRET, **APP))
    assert f"application {APPLICATION} of tenant {TENANT} lacks a role" in str(refusal)
    assert "'Azure Batch Job Submitter'" in str(refusal)


def test_an_account_that_takes_no_keys() -> None:
    detail = "The specified type of authentication SharedKey is not allowed for this account"
    reply = error(403, "AuthenticationFailed", AuthenticationErrorDetail=detail)
    with ScriptedServer(lambda _: reply) as server, pytest.raises(ServiceRefused) as caught:
        a_key_account(server.url).client().call(JOBS)
    assert "authenticate with Microsoft Entra ID" in caught.value.hint


def test_a_wrong_key(local_batch: LocalBatch) -> None:
    with pytest.raises(ServiceRefused, match="copy a key of this account"):
        a_key_account(local_batch.url, login=local_batch.account).client().call(JOBS)


def test_a_feature_that_is_not_enabled_is_no_missing_role() -> None:
    reply = error(403, "Forbidden", "Access is Forbidden", Reason="Property x is not enabled for current account")
    with ScriptedServer(lambda _: reply) as server, pytest.raises(ServiceRefused) as caught:
        a_key_account(server.url).client().call(JOBS)
    assert caught.value.hint == ""


def test_a_signature_that_the_service_repeats_is_masked() -> None:
    reply = error(400, "InvalidPropertyValue", PropertyValue="https://s.example/c/f?sv=1&sig=Zm9vYmFy%2Bx%3D&se=2")
    with ScriptedServer(lambda _: reply) as server, pytest.raises(ServiceRefused) as caught:
        a_key_account(server.url).client().call(JOBS)
    assert "sig=***&se=2" in str(caught.value)


def a_key_account(url: str, login: str = "acct") -> Account:
    extra = json.dumps({"account_url": url})
    return account_of(Connection(conn_id="c", conn_type="azure_batch", login=login, password="c2VjcmV0", extra=extra))


# -- what can't work is found before anything is sent --------------------


def test_a_certificate_that_cannot_be_read(world: World, tmp_path: Path) -> None:
    with pytest.raises(AccountError, match=r"No such file.*missing\.pem"):
        world.account(certificate_path=str(tmp_path / "missing.pem"), **APP).client()
    with pytest.raises(AccountError, match="Connection 'c': its credential can't be used"):
        world.account(private_key="no PEM at all", **APP).client()


@pytest.mark.parametrize(("encrypted", "password"), [(True, None), (True, "wrong"), (False, "left over")])
def test_a_certificate_and_a_password_that_do_not_fit(
    world: World, certificate: Path, monkeypatch: pytest.MonkeyPatch, *, encrypted: bool, password: str | None
) -> None:
    text = certificate.read_bytes()
    if encrypted:
        secret = serialization.load_pem_private_key(text, None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"of the key"),
        )
        text = secret + text[text.index(b"-----BEGIN CERTIFICATE") :]
    connection = world.connection(password=password, private_key=text.decode(), **APP)
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection.as_json())

    good, message = AzureBatchJobManagerHook("mine").test_connection()

    assert not good
    assert message.startswith("Connection 'mine': its credential can't be used: ")
    assert "password" in message
    assert "of the key" not in message


def test_a_federated_token_that_is_gone(world: World, tmp_path: Path) -> None:
    account = world.account(workload_identity_file=str(tmp_path / "gone"), **APP)
    with pytest.raises(AccountError, match=r"Connection 'c': its credential can't be used: .*gone"):
        world.ask("sync", account)
    # Who waits on an event loop puts up with it for a while, as with any refusal.
    with pytest.raises(ServiceRefused, match=r"Connection 'c': its credential can't be used: .*gone") as caught:
        world.ask("async", account)
    assert (caught.value.status, caught.value.code) == (401, "CredentialUnusable")


def test_workload_identity_where_none_is_set_up(world: World) -> None:
    with pytest.raises(AccountError, match="client_id"):
        world.account(auth_method="workload_identity").client()


# -- the hook --------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": CLIENT_SECRET, **APP}, f"the client secret of application {APPLICATION}"),
        ({"managed_identity_client_id": USER_ASSIGNED}, f"the user-assigned identity {USER_ASSIGNED}"),
        ({}, f"the default credential chain of this machine (application {SYSTEM_ASSIGNED}"),
    ],
)
def test_the_connection_test_says_who_we_are(
    world: World, fields: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", world.connection(**fields).as_json())

    good, message = AzureBatchJobManagerHook("mine").test_connection()

    assert good, message
    assert message.startswith(f"Connected to {world.batch.url} with {said}")
    (entry,) = world.batch.journal
    assert (entry.method, entry.path) == ("GET", "/jobs?$select=id&api-version=2025-06-01&maxresults=1")


def test_the_connection_test_says_what_is_wrong(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", world.connection(password="wrong", **APP).as_json())

    good, message = AzureBatchJobManagerHook("mine").test_connection()

    assert not good
    assert "the secret's value (not its id)" in message


SCRIPT = """
import asyncio, json, sys
from airflow.sdk import Connection
from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.connection import account_of

account = account_of(Connection(conn_id="c", conn_type="azure_batch_job_manager", **json.loads(sys.argv[1])))
jobs = calls.rows("jobs", limit=1)
print(account.client().call(jobs).data)

async def main():
    client = await account.async_client()
    print((await client.call(jobs)).data)
    await client.close()

asyncio.run(main())
"""


def test_a_private_authority_is_trusted_by_environment_variables(world: World) -> None:
    """REQUESTS_CA_BUNDLE is for synchronous requests and all token requests, SSL_CERT_FILE for the triggerer's."""
    fields = {"password": CLIENT_SECRET, "extra": json.dumps({"account_url": world.batch.url, **APP})}
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": str(world.trusted), "SSL_CERT_FILE": str(world.trusted)}

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(fields)], env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "[]\n[]\n"), done.stderr


def test_no_secret_in_any_representation(world: World, certificate: Path) -> None:
    for fields in ({"password": CLIENT_SECRET}, {"private_key": certificate.read_text()}):
        account = world.account(**fields, **APP)
        client = Client(account, account.sdk_client())
        shown = " ".join([repr(account), str(account), str(account.credential), account.fingerprint, repr(client)])
        client.close()
        assert CLIENT_SECRET not in shown
        assert "PRIVATE KEY" not in shown
