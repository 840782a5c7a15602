"""A Microsoft Entra authority and a managed identity endpoint on loopback, for azure-identity's real conversations.

A CONNECT proxy stands in for the internet: whoever opens a tunnel to one of the authorities' real host names gets to
the authority here, with a certificate for that name; every other name is refused. So nothing of azure-identity is
replaced, and the host that it asked is known.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt
from attrs import define, field, frozen
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from typing_extensions import Self

from airflow_provider_jobmanager.local.auth import Issuer
from airflow_provider_jobmanager.local.tls import certificate_in

if TYPE_CHECKING:
    from pathlib import Path

TENANT = "11111111-1111-1111-1111-111111111111"
APPLICATION = "22222222-2222-2222-2222-222222222222"
USER_ASSIGNED = "33333333-3333-3333-3333-333333333333"
SYSTEM_ASSIGNED = "44444444-4444-4444-4444-444444444444"
CLIENT_SECRET = "the~client.secret-of-the-application"
FEDERATED_TOKEN = "the-federated-token-of-the-pod"
AUTHORITIES = (
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.chinacloudapi.cn",
    "login.private.example",
)
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@frozen
class Asked:
    """One request for a token: of which host, for which tenant, with which form or query."""

    host: str
    tenant: str
    form: dict[str, str]


@define(slots=False)
class Entra:
    """The authority, the identity endpoint and the proxy. Use it as a context manager.

    Attributes:
        folder: for the certificate.
        certificates: public certificates (PEM) that the application is known by.
        refusal: what every token request is answered with instead of a token: a status and a body.
        asked: the token requests so far.
        tunnels: hosts that tunnels were asked for.
        issued: every token that was given out.
    """

    folder: Path
    certificates: list[bytes] = field(factory=list)
    refusal: tuple[int, dict[str, Any]] | None = None
    asked: list[Asked] = field(factory=list)
    tunnels: list[str] = field(factory=list)
    issued: list[str] = field(factory=list)
    lifetime: int = 3600
    _key: rsa.RSAPrivateKey = field(factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def __enter__(self) -> Self:
        self._tls = certificate_in(self.folder, (*AUTHORITIES, "localhost", "127.0.0.1"))
        self._authority = _server(_handler(self._answer_authority))
        self._authority.socket = self._tls.server_context().wrap_socket(self._authority.socket, server_side=True)
        self._identity = _server(_handler(self._answer_identity))
        self._proxy = _server(_proxy_handler(self))
        self._servers = (self._authority, self._identity, self._proxy)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def certificate(self) -> Path:
        """What a client must trust."""
        return self._tls.certificate

    @property
    def authority_port(self) -> int:
        return self._authority.server_port

    @property
    def identity_url(self) -> str:
        return f"http://127.0.0.1:{self._identity.server_port}"

    @property
    def proxy_url(self) -> str:
        return f"http://127.0.0.1:{self._proxy.server_port}"

    def environment(self) -> dict[str, str]:
        """What leads azure-identity here."""
        return {
            "HTTPS_PROXY": self.proxy_url,
            "NO_PROXY": "127.0.0.1,localhost",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.identity_url,
        }

    def issuer(self, *audiences: str) -> Issuer:
        """What the Batch service checks tokens against."""
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return Issuer(public.decode(), audiences=audiences)

    def token(self, audience: str, client: str, tenant: str = TENANT) -> str:
        """An access token."""
        expires = int(time.time()) + self.lifetime
        claims = {"aud": audience, "appid": client, "oid": client, "sub": client, "tid": tenant, "exp": expires}
        token = jwt.encode(claims, self._key, algorithm="RS256")
        self.issued.append(token)
        return token

    # -- the authority ------------------------------------------------------------------------------------------------

    def _answer_authority(self, request: BaseHTTPRequestHandler, form: dict[str, str]) -> tuple[int, Any]:
        host = (request.headers["Host"] or "").removesuffix(":443")
        path = urlsplit(request.path).path
        if path.endswith("/discovery/instance"):
            known = [
                {"preferred_network": name, "preferred_cache": name, "aliases": [name]} for name in AUTHORITIES[:3]
            ]
            return 200, {"tenant_discovery_endpoint": f"https://{host}/{TENANT}{_OPENID}", "metadata": known}
        tenant = path.split("/")[1]
        base = f"https://{host}/{tenant}"
        if path.endswith(_OPENID):
            return 200, {
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "issuer": f"{base}/v2.0",
            }
        self.asked.append(Asked(host, tenant, form))
        if self.refusal is not None:
            return self.refusal
        if tenant != TENANT:
            return _no("invalid_request", "AADSTS90002: Tenant not found.")
        if form.get("client_id") != APPLICATION:
            return _no("unauthorized_client", "AADSTS700016: Application was not found in the directory.")
        if "client_assertion" in form:
            if form["client_assertion_type"] != _ASSERTION or not self._good(form["client_assertion"], host):
                return _no("invalid_client", "AADSTS700027: The certificate is not registered on the application.")
        elif form.get("client_secret") != CLIENT_SECRET:
            return _no("invalid_client", "AADSTS7000215: Invalid client secret provided.")
        audience = form["scope"].removesuffix("/.default")
        token = self.token(audience, APPLICATION)
        return 200, {"token_type": "Bearer", "expires_in": self.lifetime, "access_token": token}

    def _good(self, assertion: str, host: str) -> bool:
        if assertion == FEDERATED_TOKEN:
            return True
        from cryptography import x509

        for pem in self.certificates:
            key = x509.load_pem_x509_certificate(pem).public_key()
            endpoint = f"https://{host}/{TENANT}/oauth2/v2.0/token"
            try:
                claims = jwt.decode(assertion, key, ["RS256", "PS256"], audience=endpoint)
            except jwt.InvalidTokenError:
                continue
            return claims["iss"] == claims["sub"] == APPLICATION
        return False

    # -- the identity endpoint ----------------------------------------------------------------------------------------

    def _answer_identity(self, request: BaseHTTPRequestHandler, _form: dict[str, str]) -> tuple[int, Any]:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        if request.headers["Metadata"] != "true":
            return 400, {"error": "invalid_request", "error_description": "Required metadata header not specified"}
        self.asked.append(Asked("identity", "", query))
        if self.refusal is not None:
            return self.refusal
        client = query.get("client_id", SYSTEM_ASSIGNED)
        if client not in (SYSTEM_ASSIGNED, USER_ASSIGNED):
            return 400, {"error": "invalid_request", "error_description": "Identity not found"}
        token, expires = self.token(query["resource"], client), int(time.time()) + self.lifetime
        return 200, {
            "access_token": token,
            "expires_in": str(self.lifetime),
            "expires_on": str(expires),
            "resource": query["resource"],
            "token_type": "Bearer",
        }


_OPENID = "/v2.0/.well-known/openid-configuration"


def _no(error: str, description: str) -> tuple[int, dict[str, Any]]:
    return 401, {"error": error, "error_description": description}


def _server(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    return server


def _handler(answer: Any) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            status, data = answer(self, form)
            content = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _proxy_handler(entra: Entra) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            host = self.path.partition(":")[0]
            entra.tunnels.append(host)
            if host not in AUTHORITIES:
                self.send_error(502, "There is no internet here")
                return
            with socket.create_connection(("127.0.0.1", entra.authority_port)) as other:
                self.send_response(200)
                self.end_headers()
                _pipe(self.connection, other)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _pipe(one: socket.socket, other: socket.socket) -> None:
    way = {one: other, other: one}
    while True:
        for ready in select.select([one, other], [], [])[0]:
            try:
                data = ready.recv(65536)
            except ConnectionError:
                return
            if not data:
                return
            way[ready].sendall(data)
