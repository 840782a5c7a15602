"""Who may ask: shared keys, tokens of a job's own tasks, and tokens of an outside issuer.

Shared key follows *Authenticate requests to the Azure Batch service* of the REST reference. The page and Microsoft's
own clients disagree on how a query is spelled when it is signed (the page lower-cases names and joins several values;
the Python client signs names as written, the first value alone, and leaves blank ones out), so either spelling is good
here, as it must be at the service.

A refusal shows the string that the service signed, as the real one does: with it a client's author sees at once where
the two strings part. The key, and the signature that would have been right, are never shown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

import jwt
from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from airflow_provider_jobmanager.local.errors import BatchError, refuse
from airflow_provider_jobmanager.local.formats import http_date, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

WINDOW = timedelta(minutes=15)
"""How far the time of a signed request may be from the service's."""

PUBLIC_AUDIENCE = "https://batch.core.windows.net/"
"""The audience of tokens for the public cloud's Batch service; the slash at its end counts."""

_SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


@frozen
class Asking:
    """What authentication looks at in a request.

    Attributes:
        method: HTTP verb.
        path: the path as it stood on the wire, still percent-encoded.
        query: the query as it stood on the wire, without the question mark.
        headers: values by name in lower case.
        secure: the request came over HTTPS.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    secure: bool = False


@frozen
class Identity:
    """Who asks.

    Attributes:
        scheme: ``SharedKey``, ``JobToken`` or ``Bearer``.
        name: the account, the job, or the token's subject.
        job_id: the only job that this identity may touch, None for all.
        job_identity: which of the jobs that may have had this id, one after the other.
    """

    scheme: str
    name: str
    job_id: str | None = None
    job_identity: str | None = None

    def check(self, path: str) -> None:
        """Nothing, when this identity may ask for ``path`` (percent-encoded).

        Raises:
            BatchError: 403 ``InsufficientAccountPermissions``.
        """
        if self.job_id is None:
            return
        parts = [unquote(part).lower() for part in path.strip("/").split("/")]
        if parts[:2] != ["jobs", self.job_id.lower()] or ".." in parts:
            raise refuse(
                "InsufficientAccountPermissions",
                values={"Reason": f"The token of a task is good for its own job only, which is {self.job_id!r}."},
            )


@frozen
class SharedKey:
    """Requests signed with the account's key.

    Attributes:
        account: name of the account.
        key: the key, in base64.
    """

    account: str
    key: str = field(repr=False)
    _secret: bytes = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        try:
            secret = base64.b64decode(self.key, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("The account key is no base64 text") from None
        object.__setattr__(self, "_secret", secret)

    def sign(self, asking: Asking) -> str:
        """The value of ``Authorization`` for a request, as the documentation spells it."""
        return f"SharedKey {self.account}:{self._signature(next(_strings_to_sign(self.account, asking)))}"

    def verify(self, asking: Asking, now: datetime) -> Identity:
        """Who signed the request.

        Raises:
            BatchError: 403 ``AuthenticationFailed``, or 400 ``InvalidAuthenticationInfo`` when the header can't be
                read at all.
        """
        account, _, signature = asking.headers["authorization"].partition(" ")[2].strip().partition(":")
        if not account or not signature:
            raise _unreadable("It should read: SharedKey account:signature.")
        if account.lower() != self.account.lower():
            raise _failed(f"The account {account!r} does not exist here. The account's name is {self.account!r}.")
        _check_date(asking.headers, now)
        given = signature.encode()
        for text in _strings_to_sign(account, asking):
            if hmac.compare_digest(self._signature(text).encode(), given):
                return Identity("SharedKey", self.account)
        shown = next(_strings_to_sign(account, asking))
        raise _failed(
            f"The MAC signature found in the HTTP request '{signature}' is not the same as any computed signature. "
            f"Server used following string to sign: '{shown}'."
        )

    def _signature(self, text: str) -> str:
        digest = hmac.new(self._secret, text.encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode("ascii")


@frozen
class JobTokens:
    """Tokens for tasks that ask for ``authenticationTokenSettings``: good for their own job, until they expire.

    Attributes:
        account: name of the account, which a token is bound to as well.
        key: the account's key in base64; what signs tokens is derived from it, so they outlive a restart.
    """

    account: str
    key: str = field(repr=False)

    def issue(self, job_id: str, identity: str, expires: datetime) -> str:
        """A token for the tasks of a job.

        Args:
            job_id: its id.
            identity: what no other job has, not even a later one of the same id.
            expires: the moment from which on it is no good.
        """
        claims = {
            "iss": _ISSUER, "aud": self.account, "sub": job_id, "job": identity, "exp": int(expires.timestamp())
        }  # fmt: skip
        return jwt.encode(claims, self._secret(), algorithm="HS256")

    def verify(self, token: str, now: datetime) -> Identity:
        """The job that a token is for.

        Raises:
            BatchError: 401 ``AuthenticationFailed``.
        """
        try:
            claims = jwt.decode(token, self._secret(), ["HS256"], audience=self.account, options=_OWN_CLOCK)
        except jwt.InvalidTokenError as error:
            raise _bad_token(f"The token of the task can't be used: {error}.") from None
        _check_expiry(claims, now)
        return Identity("JobToken", claims["sub"], claims["sub"], claims.get("job"))

    def issued(self, token: str) -> bool:
        """Whether a token says that it comes from here; nothing is checked yet."""
        return _unchecked(token).get("iss") == _ISSUER

    def _secret(self) -> bytes:
        return hmac.new(base64.b64decode(self.key), b"tokens of tasks", hashlib.sha256).digest()


@frozen
class Issuer:
    """An outside issuer of tokens, in the place of Microsoft Entra ID.

    Attributes:
        public_key: what its tokens are checked with: a public key in PEM, or a JSON Web Key Set as a mapping.
        audiences: what the token may be for.
        issuer: what the token must say of its issuer, None for anything.
    """

    public_key: str | Mapping[str, Any]
    audiences: Sequence[str] = (PUBLIC_AUDIENCE,)
    issuer: str | None = None

    @classmethod
    def of_file(cls, path: Path, **more: Any) -> Issuer:
        """An issuer whose keys are in a file: one public key in PEM, or a JSON Web Key Set.

        Args:
            path: the file.
            more: the other attributes.

        Raises:
            OSError: it can't be read.
            ValueError: it holds neither.
        """
        text = path.read_text(encoding="utf-8")
        try:
            if text.lstrip().startswith("{"):
                keys = json.loads(text)
                jwt.PyJWKSet.from_dict(keys)
                return cls(keys, **more)
            load_pem_public_key(text.encode())
        except (ValueError, LookupError, AttributeError, TypeError, jwt.PyJWTError, UnsupportedAlgorithm) as error:
            raise ValueError(f"It holds neither a public key in PEM nor a JSON Web Key Set: {error}") from None
        return cls(text, **more)

    def verify(self, token: str, now: datetime) -> Identity:
        """Whom a token speaks for.

        Raises:
            BatchError: 401 ``AuthenticationFailed``.
        """
        try:
            options: Any = {**_OWN_CLOCK, "verify_aud": False}
            claims = jwt.decode(token, self._key(token), _ALGORITHMS, issuer=self.issuer, options=options)
        except (jwt.PyJWTError, KeyError) as error:
            raise _bad_token(f"The access token can't be used: {error}.") from None
        audience = claims.get("aud", "")
        if audience not in self.audiences:
            raise _bad_token(
                f"The access token has been obtained from wrong audience or resource '{audience}'. It should exactly "
                f"match (including forward slash) with one of the allowed audiences '{','.join(self.audiences)}'."
            )
        _check_expiry(claims, now)
        return Identity("Bearer", str(claims.get("sub", claims.get("appid", ""))))

    def _key(self, token: str) -> Any:
        if isinstance(self.public_key, str):
            return self.public_key
        keys = jwt.PyJWKSet.from_dict(dict(self.public_key))
        name = jwt.get_unverified_header(token).get("kid")
        return keys[name].key if name else keys.keys[0].key


@frozen
class Authenticator:
    """Decides who asks, by whatever the request carries.

    Attributes:
        shared_key: the account's key.
        tokens: the tokens of tasks.
        issuer: an outside issuer; None refuses its tokens.
        identity_of: gives the identity of the present job of an id; None when there is none.
    """

    shared_key: SharedKey
    tokens: JobTokens
    issuer: Issuer | None = None
    identity_of: Callable[[str], str | None] = lambda _job: None

    @classmethod
    def of(cls, account: str, key: str, issuer: Issuer | None = None, **more: Any) -> Authenticator:
        """The usual one: an account and its key."""
        return cls(SharedKey(account, key), JobTokens(account, key), issuer, **more)

    def authenticate(self, asking: Asking, now: datetime) -> Identity:
        """Who asks; what that identity may touch is already checked.

        Args:
            asking: the request.
            now: the service's time.

        Raises:
            BatchError: 400, 401 or 403.
        """
        authorization = asking.headers.get("authorization", "")
        scheme, _, rest = authorization.partition(" ")
        if not authorization:
            raise _failed("The request has no Authorization header.")
        if scheme.lower() == "sharedkey":
            return self.shared_key.verify(asking, now)
        if scheme.lower() != "bearer":
            raise _unreadable("Its scheme should be SharedKey or Bearer.")
        identity = self._bearer(rest.strip(), asking, now)
        identity.check(asking.path)
        return identity

    def _bearer(self, token: str, asking: Asking, now: datetime) -> Identity:
        # The token of a task is good over plain HTTP on loopback too: the task itself decides how to send it.
        if self.tokens.issued(token):
            identity = self.tokens.verify(token, now)
            present = self.identity_of(identity.job_id or "")
            if present not in (None, identity.job_identity):
                raise _bad_token("The token of the task is of an earlier job, which had the same id.")
            return identity
        if not asking.secure:
            raise _bad_token("Access tokens are taken over HTTPS only.")
        if self.issuer is None:
            raise _bad_token("No issuer of access tokens is configured for the local Batch service.")
        return self.issuer.verify(token, now)


_ISSUER = "jobmanager-local"
# The service's clock can be stopped and advanced, so expiry is checked against it and not by the library.
_OWN_CLOCK: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}


def _strings_to_sign(account: str, asking: Asking) -> Iterator[str]:
    """Every spelling of what a client may have signed, the documented one first, none of them twice."""
    seen = set()
    for fields in _header_fields(asking):
        for path in _paths(asking.path):
            for query in _queries(asking.query):
                text = f"{asking.method}\n{fields}/{account}{path}{query}"
                if text not in seen:
                    seen.add(text)
                    yield text


def _paths(path: str) -> Iterator[str]:
    """The path as it arrived, and with all percent-encoded that can be.

    Python's client signs ``/jobs/schedule%3Ajob-1``, and the asynchronous transport below it sends the colon bare.
    """
    yield path
    yield "/".join(quote(unquote(part), safe="") for part in path.split("/"))


def _header_fields(asking: Asking) -> Iterator[str]:
    headers = asking.headers
    own = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()) if name.startswith("ocp-") and value)
    length = headers.get("content-length", "")
    lengths = [length]
    if length in {"", "0"}:
        # Clients without a body sign "0" or nothing, and send the header or not, in any combination.
        lengths = ["", "0"] if asking.method in {"GET", "HEAD"} else ["0", ""]
    dates = [headers.get("date", "")]
    if "ocp-date" in headers:
        dates = ["", *dates] if dates[0] else [""]
    for date in dates:
        for size in lengths:
            known = {**headers, "date": date, "content-length": size}
            yield "".join(f"{known.get(name, '')}\n" for name in _SIGNED_HEADERS) + own


def _queries(query: str) -> Iterator[str]:
    if not query:
        yield ""
        return
    spellings = [parse_qsl(query, keep_blank_values=True)]
    if "+" in query:  # a plus that means a plus, as in a $skiptoken that is followed as it came
        spellings.append(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))
    for pairs in spellings:
        lower: dict[str, list[str]] = {}
        written: dict[str, str] = {}
        for name, value in pairs:
            lower.setdefault(name.lower(), []).append(value)
            if value:
                written.setdefault(name, value)
        yield "".join(f"\n{name}:{','.join(sorted(lower[name]))}" for name in sorted(lower))
        yield "".join(f"\n{name}:{written[name]}" for name in sorted(written))
        yield "".join(f"\n{name.lower()}:{written[name]}" for name in sorted(written, key=str.lower))


def _check_date(headers: Mapping[str, str], now: datetime) -> None:
    text = headers.get("ocp-date") or headers.get("date")
    if not text:
        raise _failed("Neither the ocp-date nor the Date header is given.")
    try:
        moment = parse_timestamp(text)
    except ValueError:
        raise _failed(f"The date header in the request is no RFC 1123 date: '{text}'.") from None
    if abs(now - moment) > WINDOW:
        raise _failed(
            f"The date header in the request, '{text}', is not within 15 minutes of the server's time, "
            f"'{http_date(now)}'."
        )


def _check_expiry(claims: Mapping[str, Any], now: datetime) -> None:
    expires = claims.get("exp")
    if not isinstance(expires, (int, float)):
        raise _bad_token("The access token does not say when it expires.")
    if expires <= now.timestamp():
        moment = http_date(datetime.fromtimestamp(expires, timezone.utc))
        raise _bad_token(f"The access token expired at '{moment}', which is before the server's '{http_date(now)}'.")


def _unchecked(token: str) -> Mapping[str, Any]:
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}


def _failed(detail: str) -> BatchError:
    return refuse("AuthenticationFailed", values={"AuthenticationErrorDetail": detail})


def _bad_token(detail: str) -> BatchError:
    return refuse("AuthenticationFailed", status=401, values={"AuthenticationErrorDetail": detail})


def _unreadable(detail: str) -> BatchError:
    return refuse("InvalidAuthenticationInfo", values={"AuthenticationErrorDetail": detail})
