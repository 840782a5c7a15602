"""Names that the service answers to: a web page can make a name of its own lead here, but not send another one."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from airflow_provider_jobmanager.local import LocalBatch, Settings
from tests.local.wire import VERSION, Wire, job

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREIGN = [
    "evil.example:10500",
    "evil.example",
    "localhost.evil.example",
    "notlocalhost",
    "localhost@evil.example",
    "evil.example@localhost",
    "127.0.0.1.evil.example:80",
    "192.0.2.1",
    "0.0.0.0",
    "[2001:db8::1]:10500",
    "::1",
    "[::1",
    "localhost:80:80",
    ".",
    "",
]
OWN = ["127.0.0.1", "127.8.8.8:1", "localhost", "LocalHost.:10500", "batch.localhost:80", "[::1]", "[::1]:10500"]


def send(batch: LocalBatch, *lines: str) -> str:
    """The status line of the answer to a request that is sent as it stands."""
    parts = urlsplit(batch.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as sent, sent.makefile("rb") as answer:
        sent.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        return answer.readline().decode()


@pytest.mark.parametrize("host", FOREIGN)
def test_a_signed_request_under_a_foreign_name_does_nothing(batch: LocalBatch, wire: Wire, host: str):
    body = {"id": "job", "poolInfo": {"poolId": "local"}}
    answer = wire.ask("POST", "/jobs", body, headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidHeaderValue")
    values = {value["key"]: value["value"] for value in answer.json()["values"]}
    assert (values["HeaderName"], values["HeaderValue"]) == ("Host", host)
    assert list(batch.engine.store.jobs) == []


def test_nor_does_one_to_the_control_endpoint_or_without_a_signature(batch: LocalBatch, wire: Wire):
    job(wire)
    answer = wire.ask("POST", "/_local/reset", headers={"host": "evil.example"}, version=None)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidHeaderValue")
    assert len(batch.engine.store.jobs) == 1
    asked = f"GET /jobs?api-version={VERSION} HTTP/1.1"
    assert send(batch, asked, "Host: evil.example").split()[1] == "400"
    assert send(batch, asked, "Host: localhost").split()[1] == "403"


@pytest.mark.parametrize("host", OWN)
def test_its_own_names_get_through(wire: Wire, host: str):
    assert wire.ask("GET", "/jobs", headers={"host": host}).status_code == 200
    assert wire.ask("GET", "/_local/journal", headers={"host": host}, version=None).status_code == 200


def test_a_client_that_sends_no_name_is_no_browser(batch: LocalBatch):
    assert send(batch, f"GET /jobs?api-version={VERSION} HTTP/1.0").split()[1] == "403"


@pytest.fixture
def remote() -> Iterator[Wire]:
    with LocalBatch(Settings(port=0, allow_remote=True)) as batch, closing(Wire(batch)) as wire:
        yield wire


def test_one_that_other_machines_can_reach_answers_to_any_name(remote: Wire):
    assert remote.ask("GET", "/jobs", headers={"host": "batch.example:10500"}).status_code == 200
