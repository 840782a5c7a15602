"""How to authenticate to a Batch account, from what a connection holds."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from attrs import define, field, frozen

from airflow_provider_jobmanager.errors import ServiceRefused

Method = Literal["account_key", "client_secret", "managed_identity", "default"]

PUBLIC_SCOPE = "https://batch.core.windows.net//.default"
"""The double slash is deliberate: the service demands its audience with the slash at the end."""


@define
class _Held:
    """The credential object an asynchronous client uses, kept so that it can be closed."""

    credential: Any = None


@frozen
class Credential:
    """An identity towards one Batch account. Never shown: its attributes hold secrets.

    Attributes:
        method: what kind.
        account_name: name of the Batch account, empty when only the endpoint is known.
        secret: account key or client secret.
        client_id: application or user-assigned identity.
        tenant_id: Entra tenant.
        authority: host that gives out tokens, None for the public cloud's.
        scope: what tokens are asked for.
    """

    method: Method
    account_name: str = ""
    secret: str = field(default="", repr=False)
    client_id: str | None = None
    tenant_id: str | None = None
    authority: str | None = None
    scope: str = PUBLIC_SCOPE
    _held: _Held = field(factory=_Held, init=False, repr=False, eq=False)

    def fingerprint(self, *more: str) -> str:
        """A digest of all that makes this identity what it is."""
        parts = [*more, self.method, self.account_name, self.secret, self.client_id, self.tenant_id, self.authority]
        return hashlib.sha256("\0".join([str(part) for part in parts] + [self.scope]).encode()).hexdigest()

    def sync(self) -> Any:
        """A credential for the synchronous client."""
        if self.method == "account_key":
            return self._named_key()
        from azure import identity  # noqa: PLC0415 - slow; only where a token is needed

        return self._token_credential(identity)

    def asynchronous(self) -> Any:
        """A credential for the asynchronous client."""
        if self.method == "account_key":
            return self._named_key()
        import azure.identity.aio as identity  # noqa: PLC0415 - slow; only where a token is needed

        self._held.credential = self._token_credential(identity)
        return self._held.credential

    async def close_async(self) -> None:
        """Close what :meth:`asynchronous` opened."""
        credential, self._held.credential = self._held.credential, None
        if credential is not None:
            await credential.close()

    def explain(self, error: Exception, conn_id: str) -> ServiceRefused | None:
        """What to tell the user when no token was to be had; None when the error is of another kind."""
        from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - as above

        if not isinstance(error, ClientAuthenticationError):
            return None
        said = str(error).splitlines()[0]
        return ServiceRefused(
            status=401,
            code="TokenRequestFailed",
            message=f"Connection {conn_id!r} ({self.method}) got no token: {said}",
        )

    def _named_key(self) -> Any:
        from azure.core.credentials import AzureNamedKeyCredential  # noqa: PLC0415 - as above

        return AzureNamedKeyCredential(self.account_name, self.secret)

    def _token_credential(self, identity: Any) -> Any:
        options = {} if self.authority is None else {"authority": self.authority}
        if self.method == "client_secret":
            return identity.ClientSecretCredential(self.tenant_id, self.client_id, self.secret, **options)
        if self.method == "managed_identity":
            return identity.ManagedIdentityCredential(client_id=self.client_id or None)
        return identity.DefaultAzureCredential(**options)
