"""Who we are to a Batch account, and the tokens that show it.

The official ``azure-identity`` holds every conversation with Microsoft Entra ID. Its synchronous credentials serve the
asynchronous client too, off the event loop: so a process asks for one token per identity, whichever client needs it,
and keeps it while clients come and go.

Authorities and audiences of the clouds are those that the Azure CLI carries; the slash at the end of an audience
counts (https://learn.microsoft.com/azure/batch/batch-aad-auth).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import threading
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

import attrs
from attrs import define, field, frozen

from airflow_provider_jobmanager.advice import advice_on_refusal, advice_on_token
from airflow_provider_jobmanager.errors import AccountError, ServiceError, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

Method = Literal["account_key", "client_secret", "certificate", "managed_identity", "workload_identity", "default"]

METHODS: tuple[Method, ...] = (
    "account_key",
    "client_secret",
    "certificate",
    "managed_identity",
    "workload_identity",
    "default",
)

_AUTHORITY_OPTIONS: dict[str, Any] = {
    # azure-core waits five minutes for a connection and tries ten times; whoever asks for a token tries again anyway.
    "connection_timeout": 20,
    "read_timeout": 60,
    "retry_total": 2,
}
HTTP_LOG = logging.getLogger("airflow_provider_jobmanager.http")
"""Where azure-core's lines about each request go."""


@frozen
class Cloud:
    """One of Microsoft's clouds.

    Attributes:
        name: as ``az cloud list`` spells it.
        authority: host that gives out tokens.
        scope: what tokens for the Batch service are asked for; the double slash is deliberate.
        suffix: end of the host names of Batch accounts.
        portal: host of the Azure portal.
    """

    name: str
    authority: str
    scope: str
    suffix: str
    portal: str


CLOUDS = (
    Cloud(
        name="AzureCloud",
        authority="login.microsoftonline.com",
        scope="https://batch.core.windows.net//.default",
        suffix=".batch.azure.com",
        portal="portal.azure.com",
    ),
    Cloud(
        name="AzureUSGovernment",
        authority="login.microsoftonline.us",
        scope="https://batch.core.usgovcloudapi.net//.default",
        suffix=".batch.usgovcloudapi.net",
        portal="portal.azure.us",
    ),
    Cloud(
        name="AzureChinaCloud",
        authority="login.chinacloudapi.cn",
        scope="https://batch.chinacloudapi.cn//.default",
        suffix=".batch.chinacloudapi.cn",
        portal="portal.azure.cn",
    ),
)
PUBLIC = CLOUDS[0]
_KNOWN_AUTHORITIES = frozenset(cloud.authority for cloud in CLOUDS)


@frozen
class Credential:
    """An identity towards one Batch account. Its attributes hold secrets; they are never shown.

    Attributes:
        method: what kind.
        account_name: name of the Batch account, empty when only the endpoint is known.
        secret: account key, client secret, or the password of a certificate.
        client_id: application, or user-assigned identity.
        tenant_id: Entra tenant.
        certificate_path: file with certificate and private key, PEM or PKCS12.
        certificate: certificate and private key as PEM text.
        token_file: file with the federated token of workload identity; the environment's when empty.
        authority: host that gives out tokens.
        scope: what tokens are asked for.
    """

    method: Method
    account_name: str = ""
    secret: str = field(default="", repr=False)
    client_id: str = ""
    tenant_id: str = ""
    certificate_path: str = ""
    certificate: str = field(default="", repr=False)
    token_file: str = ""
    authority: str = PUBLIC.authority
    scope: str = PUBLIC.scope

    def __str__(self) -> str:
        application = f"application {self.client_id} of tenant {self.tenant_id}"
        if self.method == "account_key":
            return f"the key of account {self.account_name}"
        if self.method == "client_secret":
            return f"the client secret of {application}"
        if self.method == "certificate":
            return f"the certificate of {application}"
        if self.method == "managed_identity":
            return f"the user-assigned identity {self.client_id}" if self.client_id else "the system-assigned identity"
        if self.method == "workload_identity":
            known = application if self.client_id and self.tenant_id else "this machine"
            return f"the workload identity of {known}"
        return "the default credential chain of this machine"

    def fingerprint(self, *more: str) -> str:
        """A digest of all that makes this identity what it is."""
        parts = [*more, *(str(value) for value in attrs.astuple(self))]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def sync(self) -> Any:
        """A credential for the synchronous client.

        Raises:
            AccountError: a certificate can't be read, or workload identity is not set up on this machine.
        """
        return self._named_key() if self.method == "account_key" else _tokens_of(self)

    def asynchronous(self) -> Any:
        """A credential for the asynchronous client; otherwise as :meth:`sync`."""
        return self._named_key() if self.method == "account_key" else AsyncTokens(_tokens_of(self))

    def whoever(self) -> str:
        """Who the tokens speak for, as the token itself says it; empty for an account key.

        Only after a request has gone well: it may ask for a token.
        """
        if self.method == "account_key":
            return ""
        import jwt  # noqa: PLC0415 - for the connection test alone

        token = _tokens_of(self).get_token_info(self.scope).token
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return ""  # what a token looks like is nobody's promise
        names = (
            ("user", claims.get("upn")),
            ("application", claims.get("appid")),
            ("object", claims.get("oid")),
            ("tenant", claims.get("tid")),
        )
        return ", ".join(f"{name} {value}" for name, value in names if value)

    def explain(self, error: Exception, conn_id: str) -> ServiceError | None:
        """What to tell the user when no token was to be had; None when the error is of another kind.

        Returns:
            ServiceUnavailable when the authority could not be reached or was in trouble, ServiceRefused when it said
            no, with what to change.
        """
        from azure.core import exceptions  # noqa: PLC0415 - nothing of azure when a DAG file is read

        if not isinstance(error, exceptions.ClientAuthenticationError):
            return None
        said = first_line(error)
        what = f"Connection {conn_id!r} got no token with {self}: {said}"
        for cause in _causes(error):
            status = _status(cause)
            if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return ServiceUnavailable(what, status=status)
            # Without an endpoint for managed identities, waiting for one does not help: that is an answer.
            if self.method not in ("managed_identity", "default") and isinstance(
                cause, (exceptions.ServiceRequestError, exceptions.ServiceResponseError)
            ):
                return ServiceUnavailable(what)
        return ServiceRefused(
            status=HTTPStatus.UNAUTHORIZED,
            code="TokenRequestFailed",
            message=what,
            hint=advice_on_token(str(error), self.method),
        )

    def advice(self, status: int, code: str, detail: str) -> str:
        """What to change when the Batch service refused this identity; empty when it refused something else."""
        return advice_on_refusal(status, code, detail, self.method, str(self))

    def _named_key(self) -> Any:
        from azure.core.credentials import AzureNamedKeyCredential  # noqa: PLC0415 - as above

        return AzureNamedKeyCredential(self.account_name, self.secret)

    def _make(self) -> Any:
        """The credential of azure-identity. Opens files, asks nobody."""
        from azure import identity  # noqa: PLC0415 - slow; only where a token is needed

        options: dict[str, Any] = {"logger": HTTP_LOG}
        if self.method == "managed_identity":
            return identity.ManagedIdentityCredential(client_id=self.client_id or None, **options)
        # With its scheme: azure-identity takes a port without one for a path.
        options |= {"authority": f"https://{self.authority}"}
        if self.authority not in _KNOWN_AUTHORITIES:
            # Otherwise the public cloud would be asked whether it knows this authority.
            options |= {"disable_instance_discovery": True}
        if self.method == "default":
            if self.client_id:
                options |= {"managed_identity_client_id": self.client_id}
            if self.tenant_id:
                options |= {"workload_identity_tenant_id": self.tenant_id}
            return identity.DefaultAzureCredential(**options)
        options |= _AUTHORITY_OPTIONS
        if self.method == "client_secret":
            return identity.ClientSecretCredential(self.tenant_id, self.client_id, self.secret, **options)
        if self.method == "certificate":
            try:
                return identity.CertificateCredential(
                    self.tenant_id,
                    self.client_id,
                    self.certificate_path or None,
                    certificate_data=self.certificate.encode() or None,
                    password=self.secret or None,
                    **options,
                )
            except TypeError as error:
                # So cryptography tells of a password that is missing, or of one for a key that has none.
                advice = "Its password must be that of the private key, and empty when the key is not encrypted."
                raise ValueError(f"{first_line(error).rstrip('.')}. {advice}") from error
        return identity.WorkloadIdentityCredential(
            tenant_id=self.tenant_id or None,
            client_id=self.client_id or None,
            token_file_path=self.token_file or None,
            **options,
        )


@define(eq=False)
class Tokens:
    """Tokens of one identity, kept until shortly before they expire (azure-identity does that).

    After a refusal the next token is asked for anew with everything read afresh, so that a renewed certificate counts
    in a process that goes on for weeks.
    """

    _make: Callable[[], Any]
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _held: Any = field(default=None, init=False)

    def prepare(self) -> None:
        """Find what is wrong with certificate or set-up, before anything is sent.

        Raises:
            AccountError: says what.
        """
        if self._held is None:
            try:
                self._held = self._make()
            except (OSError, ValueError) as error:
                raise AccountError(f"its credential can't be used: {first_line(error)}") from error

    def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        """A token that holds for a while, as azure-core asks for it.

        Raises:
            AccountError: as :meth:`prepare`.
            azure.core.exceptions.ClientAuthenticationError: no token was to be had.
        """
        from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - as above

        with self._lock:
            self.prepare()
            try:
                return self._held.get_token_info(*scopes, options=options or {})
            except ClientAuthenticationError:
                self._held = None
                raise
            except OSError as error:  # the file with the federated token
                raise AccountError(f"its credential can't be used: {error}") from error

    def close(self) -> None:
        """Nothing: tokens outlive the clients that use them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@frozen
class AsyncTokens:
    """The same tokens for an asynchronous client; who waits for one does not block the event loop."""

    tokens: Tokens

    async def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        """As :meth:`Tokens.get_token_info`."""
        return await asyncio.to_thread(self.tokens.get_token_info, *scopes, options=options)

    async def close(self) -> None:
        """Nothing, as with :class:`Tokens`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@lru_cache(maxsize=64)
def _tokens_of(credential: Credential) -> Tokens:
    tokens = Tokens(credential._make)
    tokens.prepare()
    return tokens


def _status(error: BaseException) -> int:
    """HTTP status of the answer that an error tells of, 0 for none. MSAL has it in its text alone."""
    said = re.fullmatch(r"HTTP Error: (\d{3})", str(error))
    return int(said[1] if said else getattr(getattr(error, "response", None), "status_code", 0))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def first_line(error: BaseException) -> str:
    """What an error says, without what follows below."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
