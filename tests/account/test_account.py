"""Conversations over the official SDK's clients, synchronous and asynchronous, against a real HTTP server."""

from __future__ import annotations

import asyncio
import base64
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from airflow_provider_jobmanager.account import Account
from airflow_provider_jobmanager.batch import calls
from airflow_provider_jobmanager.batch.calls import Answer, Call, Flow, Pause
from airflow_provider_jobmanager.batch.patience import Patience, patiently
from airflow_provider_jobmanager.credentials import Credential
from airflow_provider_jobmanager.errors import AccountError, ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.refusals import with_reason_async
from tests.scripted import Reply, Request, ScriptedServer, error

if TYPE_CHECKING:
    from pathlib import Path

KEY = base64.b64encode(b"0123456789").decode()


def an_account(url: str) -> Account:
    return Account("c", url, Credential("account_key", account_name="acct", secret=KEY))


def run(kind: str, url: str, flow: Flow[Any]) -> Any:
    """The flow's result on either client; pauses take no time."""
    account = an_account(url)
    if kind == "sync":
        client = account.client()
        client.sleep = lambda _seconds: None
        try:
            return client.perform(flow)
        finally:
            client.close()

    async def main() -> Any:
        async_client = await account.async_client()

        async def at_once(_seconds: float) -> None:
            await asyncio.sleep(0)

        async_client.sleep = at_once
        try:
            return await async_client.perform(flow)
        finally:
            await async_client.close()

    return asyncio.run(main())


def once(call: Call) -> Flow[Answer]:
    answer = yield call
    assert answer is not None
    return answer


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_call_goes_out_as_said_and_is_signed(kind: str) -> None:
    with ScriptedServer(lambda _: Reply(201, None, {"ETag": "0x1"})) as server:
        answer = run(kind, server.url, once(calls.post("jobs", "a b/ä", "terminate", json={"terminateReason": "why"})))

    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", "/jobs/a%20b%2F%C3%A4/terminate")
    assert sent.query == {"api-version": "2025-06-01"}
    assert sent.body == b'{"terminateReason": "why"}'
    assert sent.headers["content-type"] == "application/json; odata=minimalmetadata"
    assert sent.headers["authorization"].startswith("SharedKey acct:")
    assert (answer.status, answer.headers["etag"], answer.data) == (201, "0x1", None)


def test_pages_are_followed_to_the_accounts_own_endpoint_with_the_token_as_it_came(kind: str) -> None:
    token = "WATV2:a+b/c==:1$1"

    def answer(request: Request) -> Reply:
        if "$skiptoken" not in request.query:
            link = f"https://elsewhere.example/jobs?api-version=2025-06-01&maxresults=1000&$skiptoken={token}"
            return Reply(200, {"value": [{"id": "a"}, {"id": "b"}], "odata.nextLink": link})
        return Reply(200, {"value": [{"id": "c"}]})

    with ScriptedServer(answer) as server:
        got = run(kind, server.url, once(calls.rows("jobs", filter="state eq 'active'", select=("id",))))

    assert [row["id"] for row in got.data] == ["a", "b", "c"]
    first, second = server.requests
    assert (first.query["$filter"], first.query["$select"]) == ("state eq 'active'", "id")
    assert second.query["$skiptoken"] == token


def test_no_more_pages_are_asked_for_than_wanted(kind: str) -> None:
    with ScriptedServer(
        lambda _: Reply(200, {"value": [{"id": "a"}] * 3, "odata.nextLink": "http://x/jobs?a=b"})
    ) as server:
        got = run(kind, server.url, once(calls.rows("jobs", limit=2)))

    assert len(got.data) == 2
    assert server.requests[0].query["maxresults"] == "2"
    assert len(server.requests) == 1


def test_a_file_is_bytes(kind: str) -> None:
    with ScriptedServer(lambda _: Reply(200, b"\xff\x00", {"Content-Type": "text/plain"})) as server:
        got = run(kind, server.url, once(calls.file("jobs", "j", "tasks", "t", "files", "wd/a.txt", first=0, last=9)))

    assert got.data == b"\xff\x00"
    assert server.requests[0].headers["ocp-range"] == "bytes=0-9"


def test_a_server_that_ignores_the_range_costs_no_memory(kind: str) -> None:
    with ScriptedServer(lambda _: Reply(200, b"x" * 30_000_000, {"Content-Type": "text/plain"})) as server:
        got = run(kind, server.url, once(calls.file("jobs", "j", "tasks", "t", "files", "a.txt", first=0, last=999)))

    assert got.data == b"x" * 1000


def test_a_file_that_is_refused_tells_why(kind: str) -> None:
    reply = error(409, "TaskFilesUnavailable", "The files are gone.")
    with ScriptedServer(lambda _: reply) as server, pytest.raises(ServiceRefused) as caught:
        run(kind, server.url, once(calls.file("jobs", "j", "tasks", "t", "files", "a.txt", first=0, last=9)))

    assert (caught.value.code, caught.value.message) == ("TaskFilesUnavailable", "The files are gone.")


def test_a_refusal_tells_all_that_the_service_said(kind: str) -> None:
    reply = error(409, "ActiveJobAndScheduleQuotaReached", "Too many.", Reason="100 of 100")
    with ScriptedServer(lambda _: reply) as server, pytest.raises(ServiceRefused) as caught:
        run(kind, server.url, once(calls.post("jobs", json={"id": "j"})))

    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.message) == (409, "ActiveJobAndScheduleQuotaReached", "Too many.")
    assert refusal.values == {"Reason": "100 of 100"}
    assert refusal.request_id == "11111111-2222-3333-4444-555555555555"
    assert "POST /jobs" in str(refusal)


@pytest.mark.parametrize(
    ("reply", "retry_after"),
    [
        (error(503, "ServerBusy"), None),
        (error(500, "InternalError"), None),
        (Reply(429, {"code": "TooManyRequests", "message": {"value": "slow"}}, {"Retry-After": "7"}), 7.0),
        (error(408, "OperationTimedOut"), None),
        (Reply(502, b"<html>bad gateway</html>"), None),
        (Reply(404, b"<html>not the service</html>"), None),
        (Reply(403, b""), None),
        (Reply(200, b"not json"), None),
        (Reply(200, b"[" * 200_000), None),
        (Reply(200, b"not compressed", {"Content-Encoding": "gzip"}), None),
        (Reply(503, b"not compressed", {"Content-Encoding": "gzip"}), None),
        (Reply(drop=True), None),
    ],
)
def test_no_usable_answer_is_told_apart_from_a_refusal(kind: str, reply: Reply, retry_after: float | None) -> None:
    with ScriptedServer(lambda _: reply) as server, pytest.raises(ServiceUnavailable) as caught:
        run(kind, server.url, once(calls.get("jobs", "j")))

    assert caught.value.retry_after == retry_after
    # aiohttp asks once more by itself when a connection that it kept is dropped under a GET.
    assert len(server.requests) <= (2 if reply.drop else 1)


@pytest.mark.parametrize("link", [5, "http://[::1", {}])
def test_a_link_to_more_rows_that_is_none_is_no_usable_answer(kind: str, link: Any) -> None:
    page = Reply(200, {"value": [], "odata.nextLink": link})
    with ScriptedServer(lambda _: page) as server:
        if link:
            with pytest.raises(ServiceUnavailable):
                run(kind, server.url, once(calls.rows("jobs")))
        else:
            run(kind, server.url, once(calls.rows("jobs")))


def test_a_refusal_whose_values_are_none_is_a_refusal(kind: str) -> None:
    body = {"code": "JobNotFound", "message": {"value": "No."}, "values": 5}
    with ScriptedServer(lambda _: Reply(404, body)) as server, pytest.raises(ServiceRefused) as caught:
        run(kind, server.url, once(calls.get("jobs", "j")))
    assert caught.value.values == {}


def test_an_endpoint_that_nobody_listens_on_is_named_with_the_connection(kind: str) -> None:
    with ScriptedServer(lambda _: Reply()) as server:
        url = server.url

    with pytest.raises(ServiceUnavailable, match="connection 'c'") as caught:
        run(kind, url, once(calls.get("jobs", "j")))

    assert url in str(caught.value)


def test_an_operation_that_is_not_implemented_is_a_refusal(kind: str) -> None:
    with ScriptedServer(lambda _: error(501, "NotImplemented")) as server, pytest.raises(ServiceRefused):
        run(kind, server.url, once(calls.get("jobs", "j")))


def test_patience_outlasts_trouble_and_is_bounded(kind: str) -> None:
    replies = [error(503, "ServerBusy"), Reply(drop=True), Reply(200, {"id": "j"})]
    with ScriptedServer(lambda _: replies.pop(0)) as server:
        got = run(kind, server.url, patiently(calls.get("jobs", "j"), Patience()))
    assert got.data == {"id": "j"}

    with ScriptedServer(lambda _: error(503, "ServerBusy")) as server, pytest.raises(ServiceUnavailable):
        run(kind, server.url, patiently(calls.get("jobs", "j"), Patience(seconds=20)))
    assert 4 <= len(server.requests) <= 12


def test_a_flow_may_pause_and_handle_an_error(kind: str) -> None:
    def flow() -> Flow[str]:
        yield Pause(1)
        try:
            yield calls.get("jobs", "j")
        except ServiceRefused as refusal:
            return refusal.code
        return ""

    with ScriptedServer(lambda _: error(404, "JobNotFound")) as server:
        assert run(kind, server.url, flow()) == "JobNotFound"


def test_requests_leave_no_lines_in_the_log(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO),
        ScriptedServer(lambda _: error(404, "JobNotFound")) as server,
        pytest.raises(ServiceRefused),
    ):
        run(kind, server.url, once(calls.get("jobs", "j")))

    assert [record.getMessage() for record in caplog.records if "azure" in record.name or "http" in record.name] == []


def test_a_fingerprint_tells_identities_apart_and_holds_no_secret() -> None:
    one, same = an_account("http://127.0.0.1:1"), an_account("http://127.0.0.1:1")
    other_key = Account("c", "http://127.0.0.1:1", Credential("account_key", account_name="acct", secret="eHh4"))

    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, other_key.fingerprint, an_account("http://127.0.0.1:2").fingerprint}) == 3
    assert KEY not in one.fingerprint
    assert KEY not in repr(one)


def test_a_proxy_of_the_environment_is_used_and_may_be_bypassed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain HTTP proxy is asked for whole URLs; the endpoint itself does not exist."""
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedServer(lambda _: Reply(200, {"id": "j"})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert run(kind, "http://account.invalid", once(calls.get("jobs", "j"))).data == {"id": "j"}
        assert len(proxy.requests) == 1

        # This machine's own addresses need no leave.
        with ScriptedServer(lambda _: Reply(200, {"id": "direct"})) as server:
            assert run(kind, server.url, once(calls.get("jobs", "j"))).data == {"id": "direct"}
        monkeypatch.setenv("no_proxy", "account.invalid")
        with pytest.raises(ServiceUnavailable):
            run(kind, "http://account.invalid", once(calls.get("jobs", "j")))
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("proxy", ["http://user:s3cret@[bad", "http://user:s3cret@", "http://user:s3cret@h:99999"])
def test_a_proxy_that_is_no_address_is_told_without_its_password(
    kind: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(AccountError, match="Connection 'c': the proxy that the environment names") as caught:
        run(kind, "https://account.invalid", once(calls.get("jobs", "j")))
    assert "s3cret" not in str(caught.value)


def test_a_proxy_may_be_named_without_its_scheme(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedServer(lambda _: Reply(200, {"id": "j"})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "user:s3cret@"))
        assert run(kind, "http://account.invalid", once(calls.get("jobs", "j"))).data == {"id": "j"}
    with pytest.raises(ServiceUnavailable) as caught:
        run(kind, "http://account.invalid", once(calls.get("jobs", "j")))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 503])
def test_what_a_refusal_repeats_of_the_request_is_masked(kind: str, status: int) -> None:
    url = "https://s.example/c/f?sv=1&sig=Zm9vYmFy%3D&se=2"
    reply = error(status, "InvalidPropertyValue", f"The value {url} is invalid.", PropertyValue=url)
    with ScriptedServer(lambda _: reply) as server, pytest.raises((ServiceRefused, ServiceUnavailable)) as caught:
        run(kind, server.url, once(calls.get("jobs", "j")))
    assert "The value https://s.example/c/f?sv=1&sig=***&se=2 is invalid." in str(caught.value)
    assert "Zm9vYmFy" not in str(caught.value)


def test_a_netrc_file_does_not_come_between(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    with ScriptedServer(lambda _: Reply(200, {"id": "j"})) as server:
        run(kind, server.url, once(calls.get("jobs", "j")))

    assert server.requests[0].headers["authorization"].startswith("SharedKey acct:")


@pytest.mark.parametrize("status", ["200 OK", "409 Conflict"])
async def test_a_call_that_is_cancelled_while_its_answer_comes_leaves_no_connection_open(
    status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, hung_up = asyncio.Event(), asyncio.Event()
    read_beginning = aiohttp.ClientResponse.start

    async def begin(response: aiohttp.ClientResponse, connection: Any) -> aiohttp.ClientResponse:
        await read_beginning(response, connection)
        begun.set()
        return response

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode())
        await reader.read()  # the rest of the answer never comes
        hung_up.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = await an_account(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}").async_client()
    monkeypatch.setattr(aiohttp.ClientResponse, "start", begin)
    asking = asyncio.ensure_future(client.call(calls.get("jobs", "j")))
    await asyncio.wait_for(begun.wait(), 30)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await asking
    await asyncio.wait_for(hung_up.wait(), 30)
    del cancelled  # which held the answer: nobody hung up because of a garbage collection
    await client.close()
    server.close()
    await server.wait_closed()


async def test_a_refused_token_request_whose_answer_is_read_already_stays_what_it_is() -> None:
    """As azure-identity raises it: its asynchronous credentials, too, ask for tokens over a synchronous answer."""

    class Refused(Exception):  # noqa: N818 - reads as what happened
        response = SimpleNamespace(read=lambda: b"{}", close=lambda: None)

    refused = Refused()
    assert await with_reason_async(refused) is refused
