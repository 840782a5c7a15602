"""From an Airflow connection to an :class:`~airflow_provider_jobmanager.account.Account`."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_jobmanager.account import API_VERSION, Account
from airflow_provider_jobmanager.credentials import Credential
from airflow_provider_jobmanager.errors import AccountError

if TYPE_CHECKING:
    from airflow.sdk import Connection

CONN_TYPE = "azure_batch_job_manager"
DEFAULT_CONN_ID = "azure_batch_default"
_EXAMPLE = "https://myaccount.westeurope.batch.azure.com"


def account_of(connection: Connection) -> Account:
    """The account that a connection describes.

    Raises:
        AccountError: something is missing or wrong; names the connection and the field.
    """
    conn_id = connection.conn_id
    extra: dict[str, Any] = connection.extra_dejson
    endpoint = _endpoint(conn_id, extra.get("account_url") or "")
    return Account(
        conn_id=conn_id,
        endpoint=endpoint,
        credential=_credential(connection, extra),
        api_version=extra.get("api_version") or API_VERSION,
        subscription_id=extra.get("subscription_id") or None,
        resource_group=extra.get("resource_group") or None,
    )


def _endpoint(conn_id: str, url: str) -> str:
    if not url:
        raise AccountError(
            f"Connection {conn_id!r} has no account_url: put the Batch account's URL, such as {_EXAMPLE}, "
            "into the connection's field 'Account URL' (account_url in its extra)."
        )
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.username:
        raise AccountError(
            f"Connection {conn_id!r}: account_url is not the URL of a Batch account, such as {_EXAMPLE}."
        )
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise AccountError(
            f"Connection {conn_id!r}: account_url is http:// and {parts.hostname} is not this machine. "
            "Use https://; without TLS the provider talks to loopback addresses only."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _credential(connection: Connection, extra: dict[str, Any]) -> Credential:
    login, password = connection.login or "", connection.password or ""
    tenant = extra.get("tenant_id") or None
    if tenant and login and password:
        return Credential("client_secret", secret=password, client_id=login, tenant_id=tenant)
    if password:
        if not login:
            raise AccountError(
                f"Connection {connection.conn_id!r} has a password (the account key) and no login: "
                "put the Batch account's name into the login."
            )
        try:
            base64.b64decode(password, validate=True)
        except binascii.Error:
            raise AccountError(
                f"Connection {connection.conn_id!r}: the password is not an account key (it is not base64). "
                "Copy a key of the Batch account as it is."
            ) from None
        return Credential("account_key", account_name=login, secret=password)
    if identity := extra.get("managed_identity_client_id"):
        return Credential("managed_identity", client_id=identity)
    return Credential("default", tenant_id=tenant)
