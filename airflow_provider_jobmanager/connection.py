"""From an Airflow connection to an :class:`~airflow_provider_jobmanager.account.Account`.

A connection of type ``azure_batch_job_manager`` has the fields of :mod:`.provider_info`; one of type ``azure_batch``,
as the Microsoft provider makes it, is taken as it is. How to authenticate is named by ``auth_method``, or follows from
what is filled in, by the first of these that holds:

===============================================  =========================================
filled in                                        identity
===============================================  =========================================
certificate_path or private_key                  application with a certificate
password and tenant_id                           application with a client secret
password                                         account key
managed_identity_client_id                       user-assigned managed identity
tenant_id, client_id, and a federated token      workload identity
nothing of these                                 default chain of the machine
===============================================  =========================================
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from attrs import frozen

from airflow_provider_jobmanager.account import API_VERSION, Account, is_loopback
from airflow_provider_jobmanager.credentials import CLOUDS, METHODS, PUBLIC, Cloud, Credential, Method
from airflow_provider_jobmanager.errors import AccountError
from airflow_provider_jobmanager.provider_info import CONN_TYPE

if TYPE_CHECKING:
    from airflow.sdk import Connection

AUTOMATIC = "auto"
"""The ``auth_method`` that is none: what is filled in decides."""

_EXAMPLE = "https://myaccount.westeurope.batch.azure.com"
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.\d+\.\d+)?")


def account_of(connection: Connection) -> Account:
    """The account that a connection describes.

    Raises:
        AccountError: something is missing or wrong; names the connection and the field.
    """
    fields = _Fields.of(connection)
    endpoint = _endpoint(fields)
    cloud = _cloud(fields, endpoint)
    credential = _credential(fields, endpoint, cloud)
    if endpoint.startswith("http:") and credential.method != "account_key":
        raise fields.wrong(
            "account_url is http://, and a token must not travel without TLS. Use https://, or an account key."
        )
    return Account(
        conn_id=fields.conn_id,
        endpoint=endpoint,
        credential=credential,
        api_version=_api_version(fields),
        subscription_id=fields.text("subscription_id") or None,
        resource_group=fields.text("resource_group") or None,
        portal=cloud.portal,
    )


@frozen(repr=False)
class _Fields:
    """What is filled in. Holds secrets, so it has no repr."""

    conn_id: str
    conn_type: str
    login: str
    password: str
    extra: dict[str, Any]

    @classmethod
    def of(cls, connection: Connection) -> _Fields:
        extra = connection.extra_dejson
        if not isinstance(extra, dict):
            raise AccountError(f"Connection {connection.conn_id!r}: its extra is no JSON object.")
        return cls(
            conn_id=connection.conn_id,
            conn_type=connection.conn_type or CONN_TYPE,
            login=(connection.login or "").strip(),
            password=(connection.password or "").strip(),
            extra=extra,
        )

    def text(self, name: str) -> str:
        """A field of the extra as text; the name may have the prefix that older Airflow versions gave it."""
        value = self.extra.get(name)
        if value is None:
            value = self.extra.get(f"extra__{self.conn_type}__{name}")
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(f"{name} must be text, not {type(value).__name__}.")
        return value.strip()

    def wrong(self, what: str) -> AccountError:
        return AccountError(f"Connection {self.conn_id!r}: {what}")


def _endpoint(fields: _Fields) -> str:
    url = fields.text("account_url")
    if not url:
        raise fields.wrong(
            f"there is no account_url. Put the Batch account's URL, such as {_EXAMPLE}, "
            "into the field 'Account URL' (account_url in the extra)."
        )
    parts = _address(url)
    if parts is None or parts.scheme not in ("https", "http"):
        raise fields.wrong(f"account_url is not the URL of a Batch account, such as {_EXAMPLE}.")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise fields.wrong(
            f"account_url is http:// and {parts.hostname} is not this machine. "
            "Use https://; without TLS the provider talks to loopback addresses only."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _address(url: str) -> SplitResult | None:
    """The parts of an address that may lack its ``https://``; None when it is none, or has more than host and path."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        _ = parts.port  # one that is no number is found here
    except ValueError:
        return None
    more = parts.query or parts.fragment or "@" in parts.netloc or re.search(r"\s", url)
    return parts if parts.hostname and not more else None


def _cloud(fields: _Fields, endpoint: str) -> Cloud:
    """The cloud that is named, else the one that the account's host name belongs to."""
    name = fields.text("cloud")
    for cloud in CLOUDS:
        if name.lower() == cloud.name.lower():
            return cloud
    if name:
        known = ", ".join(cloud.name for cloud in CLOUDS)
        raise fields.wrong(f"cloud is {name!r}, which is none of {known}. Other clouds: set authority and scope.")
    host = urlsplit(endpoint).hostname or ""
    return next((cloud for cloud in CLOUDS if host.endswith(cloud.suffix)), PUBLIC)


def _api_version(fields: _Fields) -> str:
    version = fields.text("api_version") or API_VERSION
    if not _API_VERSION.fullmatch(version):
        raise fields.wrong(f"api_version is {version!r}; it should read like {API_VERSION}.")
    return version


def _credential(fields: _Fields, endpoint: str, cloud: Cloud) -> Credential:
    method = _method(fields)
    if method == "account_key":
        return _account_key(fields, endpoint)
    tenant, client, secret = fields.text("tenant_id"), fields.text("client_id"), ""
    certificate_path, certificate = fields.text("certificate_path"), _pem(fields.text("private_key"))
    if method == "managed_identity":
        tenant, client = "", fields.text("managed_identity_client_id") or client
    elif method == "default":
        tenant = fields.text("workload_identity_tenant_id") or tenant
        client = fields.text("managed_identity_client_id") or client
    elif method in ("client_secret", "certificate"):
        secret = fields.password
        client = client or fields.login
        missing = [name for name, value in (("tenant_id", tenant), ("client_id", client)) if not value]
        if method == "client_secret" and not secret:
            missing.append("password (the client secret)")
        if method == "certificate" and not (certificate_path or certificate):
            missing.append("certificate_path (or private_key)")
        if missing:
            raise fields.wrong(f"to authenticate with {method} it needs {' and '.join(missing)}.")
    if method == "certificate" and certificate_path and certificate:
        raise fields.wrong("it has both certificate_path and private_key; give one.")
    return Credential(
        method,
        account_name=_name_in(endpoint),
        secret=secret,
        client_id=client,
        tenant_id=tenant,
        certificate_path=certificate_path if method == "certificate" else "",
        certificate=certificate if method == "certificate" else "",
        token_file=fields.text("workload_identity_file") if method == "workload_identity" else "",
        authority=_authority(fields, cloud),
        scope=_scope(fields, cloud),
    )


def _pem(text: str) -> str:
    """A PEM text with the line breaks that a field of one line takes out of it."""
    blocks = re.findall(r"-----BEGIN ([A-Z0-9 ]+)-----(.+?)-----END \1-----", text.replace("\\n", "\n"), re.DOTALL)
    if not blocks or any(":" in body for _, body in blocks):  # no PEM, or one with headers, whose lines matter
        return text
    return "".join(
        "\n".join(
            [f"-----BEGIN {label}-----", *re.findall(".{1,64}", "".join(body.split())), f"-----END {label}-----", ""]
        )
        for label, body in blocks
    )


def _method(fields: _Fields) -> Method:
    named = fields.text("auth_method")
    for method in METHODS:
        if named == method:
            return method
    if named and named != AUTOMATIC:
        raise fields.wrong(f"auth_method is {named!r}, which is none of {', '.join((AUTOMATIC, *METHODS))}.")
    if fields.text("certificate_path") or fields.text("private_key"):
        return "certificate"
    if fields.password:
        return "client_secret" if fields.text("tenant_id") else "account_key"
    if fields.text("workload_identity_tenant_id"):
        return "default"  # the Microsoft provider's way to name who the default chain may be
    if fields.text("managed_identity_client_id"):
        return "managed_identity"
    if fields.text("tenant_id") and fields.text("client_id"):
        if fields.text("workload_identity_file") or os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):
            return "workload_identity"
        raise fields.wrong(
            "it names an application (tenant_id, client_id) and nothing to prove it with. Put a client secret into the "
            "password, or set certificate_path, or name an auth_method."
        )
    return "default"


def _account_key(fields: _Fields, endpoint: str) -> Credential:
    name = fields.login or _name_in(endpoint)
    missing = [what for what, value in (("password (the account key)", fields.password), ("login", name)) if not value]
    if missing:
        raise fields.wrong(
            f"to authenticate with account_key it needs {' and '.join(missing)}; the login is the Batch account's name."
        )
    try:
        base64.b64decode(fields.password, validate=True)
    except ValueError:  # no base64, or not even ASCII
        raise fields.wrong(
            "the password is not an account key (it is not base64). Copy a key of the Batch account as it is; for a "
            "client secret fill in tenant_id and client_id."
        ) from None
    return Credential("account_key", account_name=name, secret=fields.password)


def _name_in(endpoint: str) -> str:
    """The account's name as the host name begins with it, empty for hosts that are not of Azure Batch."""
    host = urlsplit(endpoint).hostname or ""
    return host.split(".")[0] if any(host.endswith(cloud.suffix) for cloud in CLOUDS) else ""


def _authority(fields: _Fields, cloud: Cloud) -> str:
    authority = fields.text("authority").rstrip("/")
    if not authority:
        return cloud.authority
    parts = _address(authority)
    if parts is None or parts.scheme != "https" or parts.path:
        raise fields.wrong(f"authority must be a host such as {PUBLIC.authority}, spoken to over https.")
    return parts.netloc


def _scope(fields: _Fields, cloud: Cloud) -> str:
    scope = fields.text("scope") or cloud.scope
    if not re.fullmatch(r"\S+/\.default", scope):
        raise fields.wrong(
            f"scope must end with /.default, such as {PUBLIC.scope}. The audience's own slash counts, hence the two."
        )
    return scope
