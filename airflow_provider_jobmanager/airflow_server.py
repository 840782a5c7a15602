"""The Airflow that a command at a terminal asks: where its API server is, as whom, and how it is reached."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from airflow_provider_jobmanager.account import proxies
from airflow_provider_jobmanager.demo.airflow_api import AirflowApi
from airflow_provider_jobmanager.errors import AccountError, ConfigurationError

USERNAME = "AIRFLOW_API_USERNAME"
PASSWORD = "AIRFLOW_API_PASSWORD"  # noqa: S105 - the name of a variable

_EXAMPLE = "http://127.0.0.1:8080"
_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Requests to Batch go by the one or the other, so users set both; here either will do."""


def api_of(given_url: str | None) -> AirflowApi:
    """A client of Airflow's API, as the user whom the environment names and through its certificates and proxies.

    Args:
        given_url: what the user says where the API server is; None to go by airflow.cfg.

    Raises:
        ConfigurationError: the address, the user, the certificates or the proxy can't be used. No secret is told.
    """
    url = _url(given_url)
    username, password = _needed(USERNAME), _needed(PASSWORD)
    verify, proxy = _trusted(url), _proxy(url)
    try:
        return AirflowApi(url, username, password, verify=verify, proxy=proxy)
    except (ValueError, ImportError) as error:
        # A scheme that the client does not know, or one of SOCKS, for which it needs a package.
        raise ConfigurationError(
            f"Airflow at {url} can't be asked through the proxy that the environment names for it, of scheme "
            f"{urlsplit(proxy or '').scheme}. Use an HTTP proxy, or put the host into NO_PROXY."
        ) from error


def _url(given: str | None) -> str:
    from airflow.sdk.configuration import conf  # noqa: PLC0415 - imports Airflow, which takes seconds

    url = str(given or conf.get("api", "base_url", fallback=""))
    if not url:
        raise ConfigurationError(f"Where is Airflow's API server? Give --airflow-url, such as {_EXAMPLE}.")
    if not _is_address(url):
        # Not repeated: a password may stand in it.
        wrong = "--airflow-url is" if given else "Give --airflow-url: [api] base_url of airflow.cfg is"
        raise ConfigurationError(f"{wrong} no address of an API server such as {_EXAMPLE}, without user and query.")
    return url


def _is_address(url: str) -> bool:
    try:
        parts = httpx.URL(url)
        _ = urlsplit(url).port  # one that no port can have is found here
    except (httpx.InvalidURL, ValueError):
        return False
    # A user in it would take the place of the token.
    return parts.scheme in ("http", "https") and bool(parts.host) and not (parts.userinfo or parts.query or "#" in url)


def _needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigurationError(
            f"Set {USERNAME} and {PASSWORD} to a user of Airflow's API who may read task instances."
        )
    return value


def _proxy(url: str) -> str | None:
    try:
        return proxies(url).get(urlsplit(url).scheme)
    except AccountError as error:
        raise ConfigurationError(f"Airflow at {url} can't be asked: {error}") from error


def _trusted(url: str) -> ssl.SSLContext | bool:
    """Whom to trust: those whom the environment names, in place of the public authorities as every client does it."""
    context: ssl.SSLContext | None = None
    for name in _CERTIFICATES:
        path = os.environ.get(name)
        if not path or urlsplit(url).scheme != "https":
            continue
        file, folder = (None, path) if Path(path).is_dir() else (path, None)
        try:
            if context is None:
                context = ssl.create_default_context(cafile=file, capath=folder)
            else:
                context.load_verify_locations(cafile=file, capath=folder)
        except OSError as error:
            raise ConfigurationError(f"The certificates of {name} ({path}) can't be read: {error}") from error
    return True if context is None else context
