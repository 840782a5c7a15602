"""From what the SDK raises to the errors of this provider: refusals of the service, and answers that are none."""

from __future__ import annotations

import asyncio
import json
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_jobmanager.batch.secrets import redact, redact_text
from airflow_provider_jobmanager.credentials import first_line
from airflow_provider_jobmanager.errors import AccountError, ServiceError, ServiceRefused, ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_jobmanager.account import Account
    from airflow_provider_jobmanager.batch.calls import Call

_TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def with_reason(error: Exception) -> Exception:
    """A streamed refusal with its body read, where the reason stands; or what came in the way of that."""
    read = getattr(getattr(error, "response", None), "read", None)
    try:
        if read is not None:
            read()
    except Exception as broken:  # noqa: BLE001 - not hidden: the caller raises it
        return broken
    return error


async def with_reason_async(error: Exception) -> Exception:
    """As :func:`with_reason`; whoever is cancelled meanwhile leaves no connection open."""
    from azure.core.rest import AsyncHttpResponse  # noqa: PLC0415 - nothing of azure when a DAG file is read

    response = getattr(error, "response", None)
    if not isinstance(response, AsyncHttpResponse):  # that of a token request may be a synchronous one, read already
        return error
    try:
        await response.read()
    except Exception as broken:  # noqa: BLE001 - as above
        return broken
    finally:
        await response.close()
    return error


def translated(error: Exception, call: Call, account: Account) -> Exception:
    """The provider's own error for what the SDK raised.

    An answer may be broken in more ways than anybody lists (a false ``Content-Encoding``, nesting without end): what is
    not known to mean something is no usable answer.
    """
    from azure.core.exceptions import AzureError, HttpResponseError  # noqa: PLC0415 - as above

    if isinstance(error, HttpResponseError) and error.response is not None and _from_batch(error, account):
        return _refusal(error, call, account)
    if isinstance(error, AccountError):
        return of_connection(error, account)
    if refused := account.credential.explain(error, account.conn_id):
        return refused
    if isinstance(error, (AzureError, OSError, asyncio.TimeoutError)):
        return ServiceUnavailable(f"{call}: no answer from {account}: {first_line(error)}")
    return ServiceUnavailable(
        f"{call}: the answer of {account} can't be read: {type(error).__name__}: {first_line(error)}"
    )


def of_connection(error: AccountError, account: Account) -> AccountError:
    """The error with the name of the connection that it is about."""
    return AccountError(f"Connection {account.conn_id!r}: {error}")


def as_refusal(error: AccountError, request: str = "") -> ServiceRefused:
    """The refusal that it comes to when a credential which was good can't be used any more, to be put up with as one.

    A file with a token or a certificate may be away while somebody puts a new one in its place.
    """
    return ServiceRefused(
        status=HTTPStatus.UNAUTHORIZED, code="CredentialUnusable", message=str(error), request=request
    )


def _from_batch(error: Any, account: Account) -> bool:
    """Whether the answer came from the account, not from the authority that gives out tokens."""
    request = getattr(error.response, "request", None)
    return request is not None and urlsplit(request.url).netloc == urlsplit(account.endpoint).netloc


def _refusal(error: Any, call: Call, account: Account) -> ServiceError:
    response = error.response
    status = int(response.status_code)
    try:
        body = json.loads(response.content or b"null")
    except (ValueError, RecursionError):
        body = None
    said = body if isinstance(body, dict) else {}
    code = str(said.get("code") or "")
    text = (said.get("message") or {}).get("value") if isinstance(said.get("message"), dict) else None
    # The service repeats values of the request, a shared access signature among them.
    message = redact_text(str(text or "").partition("\nRequestId:")[0].strip())
    transient = status in _TRY_AGAIN or (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED
    )
    if transient or (not code and call.method != "HEAD"):
        what = f"{code}: {message}" if code else "an answer that is not the Batch service's"
        return ServiceUnavailable(
            f"{call}: HTTP {status}, {what}", status=status, code=code, retry_after=_retry_after(response.headers)
        )
    given = said.get("values")
    pairs = [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []
    values: dict[str, str] = redact({str(item.get("key")): str(item.get("value", "")) for item in pairs})
    return ServiceRefused(
        status=status,
        code=code,
        message=message,
        values=values,
        request_id=str(response.headers.get("request-id") or ""),
        request=str(call),
        hint=account.credential.advice(status, code, " ".join([message, *values.values()])),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After``, which may be a number or a date; a date counts from the answer's own."""
    asked = headers.get("Retry-After")
    if not asked:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        until, now = parsedate_to_datetime(asked), parsedate_to_datetime(headers.get("Date") or "")
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None
