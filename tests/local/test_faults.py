from __future__ import annotations

import json
import re
import threading
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_jobmanager.local.faults import ACTIONS, Fault, Faults, FaultStage
from airflow_provider_jobmanager.local.formats import http_date

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from airflow_provider_jobmanager.local.errors import BatchError

CREATE = ("create_job", "POST", "/jobs")
GET = ("get_job", "GET", "/jobs/j1")


def test_without_rules_nothing_happens():
    assert Faults().decide(*GET) is None


@pytest.mark.parametrize(
    "rule",
    [
        {"operation": "create_job"},
        {"operation": "create_*"},
        {"method": "post"},
        {"path": "/JOBS"},
        {"path": "/j*", "method": "POST", "operation": "create_job"},
        {},
    ],
)
def test_rules_that_match(rule: dict[str, Any]):
    assert Faults([{"then": "drop", **rule}]).decide(*CREATE)


@pytest.mark.parametrize(
    "rule", [{"operation": "get_job"}, {"method": "GET"}, {"path": "/jobs/*"}, {"operation": "*x"}]
)
def test_rules_that_do_not(rule: dict[str, Any]):
    faults = Faults([{"then": "drop", **rule}])

    assert faults.decide(*CREATE) is None
    assert Faults([{"then": "drop", "operation": "*"}]).decide(None, "GET", "/x") is None


def test_a_rule_has_as_many_turns_as_it_says_and_lets_the_first_ones_through():
    faults = Faults([{"then": "drop", "times": 2, "after": 1}])

    assert [bool(faults.decide(*GET)) for _ in range(5)] == [False, True, True, False, False]
    assert faults.data() == [
        {"then": "drop", "times": 2, "after": 1, "probability": 1.0, "status": 503, "seconds": 0.0, "hits": 2}
    ]


def test_the_first_rule_with_turns_left_decides():
    faults = Faults([{"then": "drop", "times": 1, "operation": "get_job"}])
    faults.add(then="delay", seconds=1)

    assert [found.then for _ in range(3) if (found := faults.decide(*GET))] == ["drop", "delay", "delay"]
    faults.clear()
    assert faults.decide(*GET) is None


def test_a_seed_makes_draws_repeatable():
    def draws(seed: int) -> list[bool]:
        faults = Faults([{"then": "drop", "probability": 0.3, "seed": seed}])
        return [bool(faults.decide(*GET)) for _ in range(200)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)
    assert 30 < sum(draws(7)) < 90


def test_the_data_of_rules_go_through_json():
    faults = Faults([{"then": "answer", "status": 409, "code": "JobBeingTerminated", "times": 1}])
    (data,) = json.loads(json.dumps(faults.data()))
    del data["hits"]

    assert Fault.of(data) == Fault.of({"then": "answer", "status": 409, "code": "JobBeingTerminated", "times": 1})


def test_turns_are_counted_right_from_many_threads():
    faults = Faults([{"then": "drop", "times": 500}])
    hits: list[bool] = []
    threads = [
        threading.Thread(target=lambda: hits.extend(bool(faults.decide(*GET)) for _ in range(200))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(hits) == 500


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({}, "'then' is one of answer, delay"),
        ("drop", "is a mapping"),
        ({"then": "explode"}, "'then' must be in"),
        ({"then": "drop", "how": 1}, "no 'how'; it has then, operation"),
        ({"then": "answer", "status": 409}, "needs a code"),
        ({"then": "answer", "status": 99}, "'status' must be >= 200"),
        ({"then": "delay"}, "needs seconds"),
        ({"then": "drop", "times": 0}, "'times' must be >= 1"),
        ({"then": "drop", "times": "1"}, "'times' must be <class 'int'>"),
        ({"then": "drop", "probability": 2}, "'probability' must be <= 1"),
        ({"then": "skew", "seconds": 1e300}, "'seconds' must be <= 3153600000"),
        ({"then": "skew", "seconds": float("nan")}, "'seconds' must be >= -3153600000"),
        ({"then": "answer", "status": 503, "retry_after": 1e300}, "'retry_after' must be <= 3153600000"),
        ({"then": "answer", "status": 204, "code": "X"}, "an answer with status 204 has none"),
        ({"then": "garbage", "status": 304}, "an answer with status 304 has none"),
    ],
)
def test_what_is_no_rule_is_refused(rule: Any, says: str):
    with pytest.raises(ValueError, match=re.escape(says)):
        Fault.of(rule)


def test_answers_have_the_usual_code_of_their_status_and_the_table_s_text():
    assert Fault(then="answer", status=429).error().code == "TooManyRequests"
    assert Fault(then="answer", status=500).error().code == "InternalError"
    assert Fault(then="answer").error().code == "ServerBusy"
    known = Fault(then="answer", status=409, code="JobBeingTerminated").error()
    assert known.message == "The specified job is being terminated."
    made_up = Fault(then="answer", status=418, code="Teapot").error()
    assert (made_up.status, made_up.code) == (418, "Teapot")


# -- carried out, over a real socket


class Server:
    """A uvicorn with one route behind the stage."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.worked = 0
        self.seen: list[Any] = []
        routes = [Route("/jobs/{job}", self._answer, methods=["GET", "POST"])]
        stage = FaultStage(
            Starlette(routes=routes), self.faults, self._refuse, lambda method, _: f"{method.lower()}_job"
        )
        config = uvicorn.Config(
            stage, host="127.0.0.1", port=0, log_level="critical", lifespan="off", date_header=False
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)

    async def _answer(self, request: Request) -> JSONResponse:
        self.worked += 1
        self.seen.append(request.scope.get("past"))
        return JSONResponse({"fine": True}, headers={"Date": http_date(datetime.now(timezone.utc))})

    @staticmethod
    def _refuse(_: Any, error: BatchError, headers: Any) -> JSONResponse:
        return JSONResponse({"code": error.code}, error.status, dict(headers))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}/jobs/j1"


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    server.thread.start()
    deadline = time.monotonic() + 30
    while not server.server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield server
    server.server.should_exit = True
    server.thread.join(30)
    assert not server.thread.is_alive()


@pytest.fixture
def server(running: Server) -> Server:
    running.faults.clear()
    running.worked = 0
    running.seen.clear()
    return running


def test_no_fault_no_difference(server: Server):
    assert httpx.get(server.url).json() == {"fine": True}


@pytest.mark.parametrize(("retry_after", "header"), [(None, None), (2, "2"), (0.5, "0.5"), (1234567, "1234567")])
def test_an_answer_comes_without_the_work(server: Server, retry_after: float | None, header: str | None):
    server.faults.add(then="answer", status=429, retry_after=retry_after, times=1, operation="get_job")

    answer = httpx.get(server.url)

    assert (answer.status_code, answer.json(), answer.headers.get("retry-after")) == (
        429,
        {"code": "TooManyRequests"},
        header,
    )
    assert server.worked == 0
    assert httpx.get(server.url).status_code == 200


@pytest.mark.parametrize(("then", "worked"), [("drop", 0), ("lose-answer", 1)])
@pytest.mark.parametrize("body", [b"", b"x" * 200_000])
def test_a_dropped_connection_gives_no_byte(server: Server, then: str, worked: int, body: bytes):
    server.faults.add(then=then, times=1)

    with pytest.raises(httpx.TransportError):
        httpx.post(server.url, content=body)

    assert server.worked == worked
    assert httpx.post(server.url, content=body).status_code == 200


def test_a_slow_answer_is_slow(server: Server):
    server.faults.add(then="delay", seconds=0.3, times=1)
    started = time.monotonic()

    assert httpx.get(server.url).status_code == 200
    assert time.monotonic() - started >= 0.3


def test_a_skewed_clock_shows_in_the_date_header(server: Server):
    server.faults.add(then="skew", seconds=-3600, times=1)

    skewed = httpx.get(server.url)

    ahead = datetime.now(timezone.utc) - parsedate_to_datetime(skewed.headers["date"])
    assert 3590 < ahead.total_seconds() < 3660
    assert len(skewed.headers.get_list("date")) == 1


def test_garbage_is_no_json(server: Server):
    server.faults.add(then="garbage", status=200, times=1)

    answer = httpx.get(server.url)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")
    with pytest.raises(ValueError, match="Expecting value"):
        answer.json()
    assert server.worked == 1


def test_staleness_is_told_to_the_reader(server: Server):
    server.faults.look_back = lambda: "how it stood"
    server.faults.add(then="stale", times=1)

    assert httpx.get(server.url).status_code == 200
    assert httpx.get(server.url).status_code == 200
    assert server.seen == ["how it stood", None]


def test_every_action_is_exercised_here():
    assert set(ACTIONS) == {"answer", "delay", "drop", "lose-answer", "stale", "skew", "garbage"}
