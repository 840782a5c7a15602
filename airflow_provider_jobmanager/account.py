"""One Batch account: where it is, who we are to it, and the clients that conversations run on.

The official SDK's client carries every request (authentication, transport, user agent), through its public
``send_request``: requests and answers stay plain REST, so what a flow says is what goes over the wire. The SDK's own
retries are switched off for these requests, because :mod:`.batch.patience` waits longer and knows what may be sent
twice.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from attrs import define, field, frozen

from airflow_provider_jobmanager.batch.calls import Answer, Call, Flow, Pause
from airflow_provider_jobmanager.credentials import HTTP_LOG
from airflow_provider_jobmanager.errors import AccountError, JobManagerError, ServiceError, ServiceUnavailable
from airflow_provider_jobmanager.refusals import as_refusal, of_connection, translated, with_reason, with_reason_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from azure.batch import BatchClient
    from azure.batch.aio import BatchClient as AsyncBatchClient

    from airflow_provider_jobmanager.credentials import Credential

T = TypeVar("T")

API_VERSION = "2025-06-01"
"""The only api-version that azure-batch 15.1 knows."""

_OPTIONS: dict[str, Any] = {"retry_total": 0, "connection_timeout": 20, "read_timeout": 60, "stream": True}
"""Streamed, so that the SDK does not read a whole file into memory, nor JSON that is read here anyway."""
_PAGE = 1000


@frozen
class Account:
    """A Batch account as one connection describes it.

    Attributes:
        conn_id: the Airflow connection it came from, for messages.
        endpoint: such as ``https://myaccount.westeurope.batch.azure.com``.
        credential: how to authenticate. Never shown.
        api_version: api-version of every request.
        subscription_id: for links, None when unknown.
        resource_group: for links, None when unknown.
        portal: host of the Azure portal of the account's cloud, for links.
    """

    conn_id: str
    endpoint: str
    credential: Credential = field(repr=False)
    api_version: str = API_VERSION
    subscription_id: str | None = None
    resource_group: str | None = None
    portal: str = "portal.azure.com"

    @property
    def name(self) -> str:
        """The account's name; empty when nobody tells it, as with a custom host name and Entra ID."""
        return self.credential.account_name

    @property
    def fingerprint(self) -> str:
        """The same for two connections exactly when they mean one account seen with one identity. Holds no secret."""
        return self.credential.fingerprint(self.endpoint, self.api_version)

    def __str__(self) -> str:
        return f"{self.endpoint} (connection {self.conn_id!r})"

    def sdk_client(self, **options: Any) -> BatchClient:
        """The SDK's synchronous client for this account, for calls of one's own.

        Raises:
            AccountError: a certificate can't be read, or workload identity is not set up on this machine.
        """
        from azure.batch import BatchClient  # noqa: PLC0415 - costs a quarter of a second, which a DAG file must not pay

        # The asynchronous transport would read such a file for each request: there OpenSSL's own SSL_CERT_FILE counts.
        verify = {"connection_verify": os.environ.get("REQUESTS_CA_BUNDLE") or True}
        credential = self._named(self.credential.sync)
        return BatchClient(self.endpoint, credential, **(self._client_options() | verify | options))

    def sdk_async_client(self, **options: Any) -> AsyncBatchClient:
        """The SDK's asynchronous client likewise. Slow the first time: keep it off an event loop."""
        from azure.batch.aio import BatchClient as AsyncBatchClient  # noqa: PLC0415 - as above

        credential = self._named(self.credential.asynchronous)
        return AsyncBatchClient(self.endpoint, credential, **(self._client_options() | options))

    def client(self) -> Client:
        """Somewhere to run flows."""
        return Client(self, self.sdk_client())

    async def async_client(self) -> AsyncClient:
        """Somewhere to run flows on an event loop; imports and credential work happen off it."""
        return AsyncClient(self, await asyncio.to_thread(self.sdk_async_client))

    def _named(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except AccountError as error:
            raise of_connection(error, self) from error

    def _client_options(self) -> dict[str, Any]:
        from azure.core.pipeline.policies import HttpLoggingPolicy  # noqa: PLC0415 - as above

        _quieten()
        return {
            "api_version": self.api_version,
            "credential_scopes": [self.credential.scope],
            "http_logging_policy": HttpLoggingPolicy(logger=HTTP_LOG),
            # Of the environment, proxies and certificates count, found once: with all of it a netrc file's entry would
            # take the place of our Authorization, and aiohttp would ask for proxy and netrc in a thread each time.
            "use_env_settings": False,
            "proxies": self._named(lambda: proxies(self.endpoint)),
        }


@define
class Client:
    """Runs flows on the SDK's synchronous client."""

    account: Account
    sdk: BatchClient
    sleep: Callable[[float], None] = time.sleep

    def perform(self, flow: Flow[T]) -> T:
        """Run a conversation to its end and return what it returns.

        Raises:
            ServiceError: what the flow did not handle.
            AccountError: likewise; the credential can't be used.
        """
        step: Callable[[], Call | Pause] = flow.__next__
        while True:
            try:
                wanted = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return] # StopIteration.value is untyped
            answer: Answer | None = None
            try:
                if isinstance(wanted, Pause):
                    self.sleep(wanted.seconds)
                else:
                    answer = self.call(wanted)
            except (ServiceError, AccountError) as error:
                step = _thrower(flow, error)
            else:
                step = _sender(flow, answer)

    def call(self, call: Call) -> Answer:
        """Make one call, following pages.

        Raises:
            ServiceError: no answer that is of use.
            AccountError: the credential can't be used.
        """
        exchange = _Exchange(self.account, call)
        while exchange.request is not None:
            try:
                response = self.sdk.send_request(exchange.request, **_OPTIONS)
                exchange.take(response, _read(response, call.limit if call.content else None))
            except ServiceError:
                raise
            except Exception as error:
                raise translated(with_reason(error), call, self.account) from error
        return exchange.answer

    def close(self) -> None:
        """Close the client's connections."""
        self.sdk.close()


@define
class AsyncClient:
    """Runs flows on the SDK's asynchronous client."""

    account: Account
    sdk: AsyncBatchClient
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def perform(self, flow: Flow[T]) -> T:
        """As :meth:`Client.perform`."""
        step: Callable[[], Call | Pause] = flow.__next__
        while True:
            try:
                wanted = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return] # StopIteration.value is untyped
            answer: Answer | None = None
            try:
                if isinstance(wanted, Pause):
                    await self.sleep(wanted.seconds)
                else:
                    answer = await self.call(wanted)
            except ServiceError as error:
                step = _thrower(flow, error)
            else:
                step = _sender(flow, answer)

    async def call(self, call: Call) -> Answer:
        """As :meth:`Client.call`.

        Raises:
            ServiceError: likewise. A credential that can't be used any more is a refusal (``CredentialUnusable``):
                whoever waits for hours waits that out too.
        """
        exchange = _Exchange(self.account, call)
        while exchange.request is not None:
            try:
                response = await self.sdk.send_request(exchange.request, **_OPTIONS)
                exchange.take(response, await _read_async(response, call.limit if call.content else None))
            except ServiceError:
                raise
            except Exception as error:
                told = translated(await with_reason_async(error), call, self.account)
                raise (as_refusal(told, str(call)) if isinstance(told, AccountError) else told) from error
        return exchange.answer

    async def close(self) -> None:
        """Close the client's connections; the identity's tokens are kept for the next client."""
        await self.sdk.close()


def _read(response: Any, limit: int | None) -> bytes:
    """The body of a streamed answer, no more of it than asked for: memory is bounded even when a range is ignored."""
    data = bytearray()
    try:
        for chunk in response.iter_bytes():
            data += chunk
            if limit is not None and len(data) >= limit:
                break
    finally:
        response.close()
    return bytes(data if limit is None else data[:limit])


async def _read_async(response: Any, limit: int | None) -> bytes:
    """As :func:`_read`; whoever is cancelled meanwhile leaves no connection open."""
    data = bytearray()
    try:
        async for chunk in response.iter_bytes():
            data += chunk
            if limit is not None and len(data) >= limit:
                break
    finally:
        await response.close()
    return bytes(data if limit is None else data[:limit])


def _thrower(flow: Flow[T], error: JobManagerError) -> Callable[[], Call | Pause]:
    return lambda: flow.throw(error)


def _sender(flow: Flow[T], answer: Answer | None) -> Callable[[], Call | Pause]:
    return lambda: flow.send(answer)


class _Exchange:
    """The requests of one call and what came back, the same for both clients."""

    def __init__(self, account: Account, call: Call) -> None:
        self.call = call
        self.endpoint = account.endpoint
        self.answer = Answer(0, {})
        self.rows: list[Any] = []
        params = dict(call.params) | {"api-version": account.api_version}
        if call.pages:
            params["maxresults"] = str(min(_PAGE, call.limit or _PAGE))
        self.request: Any = self._request(call.path, params)

    def take(self, response: Any, body: bytes) -> None:
        """Take a response in; sets the next request, or None at the end."""
        self.request = None
        headers = {name.lower(): value for name, value in response.headers.items()}
        data: Any = body
        if not self.call.content:
            data = _json(body, response.status_code, self.call)
            if self.call.method == "GET" and not isinstance(data, dict):
                raise ServiceUnavailable(f"{self.call}: the answer is not one of Batch", status=response.status_code)
        if self.call.pages:
            if not isinstance(data.get("value"), list):
                raise ServiceUnavailable(f"{self.call}: the answer is not a list of Batch", status=response.status_code)
            self.rows += data["value"] if self.call.keep is None else filter(self.call.keep, data["value"])
            link = data.get("odata.nextLink")
            if link and (self.call.limit is None or len(self.rows) < self.call.limit):
                self.request = self._next(link)
            data = self.rows if self.call.limit is None else self.rows[: self.call.limit]
        self.answer = Answer(response.status_code, headers, data)

    def _next(self, link: str) -> Any:
        # The link carries its $skiptoken unescaped (`+`, `/`, `=`), and only its path and query are followed: our
        # credentials go to the account's own endpoint and nowhere else.
        parts = urlsplit(link)
        pairs = (pair.partition("=") for pair in parts.query.split("&"))
        return self._request(parts.path, {unquote(name): unquote(value) for name, _, value in pairs})

    def _request(self, path: str, params: Mapping[str, str]) -> Any:
        from azure.core.rest import HttpRequest  # noqa: PLC0415 - nothing of azure when a DAG file is read

        headers = {"Accept": "application/octet-stream" if self.call.content else "application/json"}
        content = None
        if self.call.json is not None:
            headers["Content-Type"] = "application/json; odata=minimalmetadata"
            content = json.dumps(self.call.json).encode()
        return HttpRequest(
            self.call.method,
            self.endpoint + path,
            params={name: quote(value, safe="") for name, value in params.items()},
            headers={**headers, **self.call.headers},
            content=content,
        )


def _json(body: bytes, status: int, call: Call) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise ServiceUnavailable(
            f"{call}: the answer is not JSON ({len(body)} bytes, HTTP {status})", status=status
        ) from None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxies(endpoint: str) -> dict[str, str]:
    """The proxy that the environment names for an endpoint, by scheme as the SDK takes it; empty for none.

    None is asked for this machine's own addresses: to a proxy they are others.

    Raises:
        AccountError: it is no address. The clients would say so too, and tell its password.
    """
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    found = {} if is_loopback(host) or proxy_bypass(host) else getproxies()
    proxy = found.get(parts.scheme) or found.get("all")
    return {parts.scheme: _proxy_address(proxy)} if proxy else {}


def _proxy_address(proxy: str) -> str:
    # A host without a scheme is common, and the synchronous client takes it for one of HTTP.
    address = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(address)
        sound = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise AccountError(
            "the proxy that the environment names for it (HTTPS_PROXY, HTTP_PROXY or ALL_PROXY) is no address such as "
            "http://user:password@host:port."
        )
    return address


def _quieten() -> None:
    # azure-core logs two INFO records for each request, and azure-identity some for each look at its cache, which would
    # fill task logs; set these loggers to INFO to see them. The model base logs a traceback for each error body that is
    # not JSON, which we report ourselves.
    for talkative in (HTTP_LOG, logging.getLogger("azure.identity")):
        if talkative.level == logging.NOTSET:
            talkative.setLevel(logging.WARNING)
    logging.getLogger("azure.batch._utils.model_base").setLevel(logging.ERROR)
