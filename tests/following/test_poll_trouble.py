"""The poll in trouble, and the pace that it keeps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.batch.calls import Answer
from airflow_provider_jobmanager.budget import Turnstile
from airflow_provider_jobmanager.errors import ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.poll import Poll
from airflow_provider_jobmanager.sight import Broken, Ended, GaveUp, Recovered, Trouble
from airflow_provider_jobmanager.waiting import Wait
from tests.following.fake import FakeService, always, ends, heard

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.calls import Call

BUSY = ServiceUnavailable("GET /jobs: HTTP 503, ServerBusy", status=503, code="ServerBusy")
FORBIDDEN = ServiceRefused(status=403, code="AuthenticationFailed", message="no")


# -- trouble -----------------------------------------------------------------------------------------------------


async def test_trouble_is_waited_out_and_said_once_per_change(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
    await service.steps(poll)
    service.fault = always(BUSY)
    await service.steps(poll, 5)
    throttled = ServiceUnavailable("HTTP 429", status=429, code="TooManyRequests")
    service.fault = always(throttled)
    await service.steps(poll, 5)
    service.fault = None
    service.complete("j")
    await service.steps(poll)
    news = heard(wait)
    assert news[:2] == [Trouble(BUSY), Trouble(throttled)]
    assert isinstance(news[2], (Recovered, Ended))
    assert [type(one) for one in news].count(Ended) == 1


async def test_ten_minutes_away(service: FakeService, poll: Poll) -> None:
    waits = []
    for number in range(10):
        service.create(f"job-{number}")
        waits.append(poll.add(Wait(f"job-{number}")))
    await service.steps(poll)
    service.fault = always(ServiceUnavailable("no answer"))
    gone = service.seconds
    asked = len(service.asked)
    service.pass_time(1)
    service.complete("job-0")
    while service.seconds - gone < 600:
        await service.steps(poll)
    assert 10 <= len(service.asked) - asked <= 30  # pauses grow to a minute
    service.fault = None
    service.complete("job-1")
    await service.steps(poll)
    assert [[type(one) for one in heard(wait)] for wait in waits[:3]] == [
        [Trouble, Ended],
        [Trouble, Ended],
        [Trouble, Recovered],
    ]


async def test_retry_after_is_honoured_and_has_a_limit(service: FakeService, poll: Poll) -> None:
    poll.add(Wait("j"))
    service.fault = always(ServiceUnavailable("busy", status=429, retry_after=77.0))
    assert await poll.step() >= 77
    service.fault = always(ServiceUnavailable("busy", status=429, retry_after=1e9))
    assert await poll.step() <= 900


@pytest.mark.parametrize("status", [429, 503])
async def test_a_service_that_has_no_time_for_looks_is_asked_no_more_of_them(
    service: FakeService, poll: Poll, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("airflow_provider_jobmanager.poll._ROWS_AT_ONCE", 20)
    service.create("other")
    other = poll.add(Wait("other"))
    await service.steps(poll)
    for number in range(50):
        service.create(f"job-{number}")
        service.complete(f"job-{number}")
    service.pass_time(3600)
    await service.steps(poll)  # no list tells of them any more
    busy = ServiceUnavailable("busy", status=status, retry_after=30.0)

    def throttled(call: Call) -> Any:
        if not call.pages:
            raise busy
        return None

    service.fault = throttled
    waits = [poll.add(Wait(f"job-{number}")) for number in range(50)]
    service.asked.clear()
    begun = service.seconds
    await service.steps(poll)
    assert sum(asked.startswith("get ") for asked in service.asked) == 20
    assert service.seconds - begun >= 30
    service.complete("other")
    await service.steps(poll)
    assert ends(other) == ["completed"]
    assert sum(asked.startswith("get ") for asked in service.asked) <= 40
    assert [heard(wait) for wait in waits] == [[Trouble(busy)]] * 50
    service.fault = None
    service.pass_time(60)
    await service.steps(poll)
    assert [ends(wait) for wait in waits] == [["completed"]] * 50


async def test_looks_come_further_apart_while_the_service_does_not_say_when(service: FakeService, poll: Poll) -> None:
    """The lists, which it answers, keep their pace."""
    service.create("done")
    service.complete("done")
    service.pass_time(3600)
    service.fault = lambda call: None if call.pages else always(BUSY)(call)
    done, begun = poll.add(Wait("done")), service.seconds
    while service.seconds - begun < 600:
        await service.steps(poll)
    looks = sum(asked.startswith("get ") for asked in service.asked)
    assert 10 <= looks <= 30
    assert len(service.asked) - looks >= 600 / 5
    service.fault = None
    service.pass_time(60)
    await service.steps(poll)
    assert ends(done) == ["completed"]


@pytest.mark.parametrize(("asked_for", "hurries"), [(None, True), (600.0, False)])
async def test_who_is_in_a_hurry_waits_out_a_pause_that_the_service_asked_for(
    service: FakeService, poll: Poll, asked_for: float | None, hurries: bool
) -> None:
    busy = ServiceUnavailable("busy", status=429, retry_after=asked_for)
    service.fault = lambda call: None if call.pages else always(busy)(call)
    poll.add(Wait("j", interval=5))
    resting = asyncio.ensure_future(poll._rest(await poll.step()))
    await asyncio.sleep(0)
    service.pass_time(2)
    poll.add(Wait("k", interval=1))
    for _ in range(20):
        await asyncio.sleep(0)
    assert resting.done() == hurries
    resting.cancel()
    await asyncio.gather(resting, return_exceptions=True)


async def test_giving_up_after_ones_own_time(service: FakeService, poll: Poll) -> None:
    service.create("j")
    short, long = poll.add(Wait("j", out_of_sight=120)), poll.add(Wait("j", out_of_sight=3600))
    await service.steps(poll)
    service.fault = always(BUSY)
    while service.seconds < 1000 + 1000:
        await service.steps(poll)
    told = heard(short)
    assert [type(news) for news in told] == [Trouble, GaveUp]
    assert isinstance(told[-1], GaveUp)
    assert 120 <= told[-1].seconds < 240
    late = poll.add(Wait("j", out_of_sight=120))
    await service.steps(poll)
    assert [type(news) for news in heard(late)] == [Trouble]  # the time counts from its own beginning
    assert [type(news) for news in heard(long)] == [Trouble]
    service.fault = None
    service.complete("j")
    await service.steps(poll)
    assert ends(long) == ends(late) == ["completed"]
    assert heard(short) == []


async def test_a_refusal_that_lasts_is_reported_as_what_it_is(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
    await service.steps(poll)
    service.fault = always(FORBIDDEN)
    while service.seconds < 1000 + 280:
        await service.steps(poll)
    assert [type(news) for news in heard(wait)] == [Trouble]
    while service.seconds < 1000 + 420:
        await service.steps(poll)
    (news,) = heard(wait)
    assert isinstance(news, GaveUp)
    assert news.error is FORBIDDEN


async def test_a_refusal_that_passes(service: FakeService, poll: Poll) -> None:
    """A token that expired, a role that is on its way."""
    service.create("j")
    wait = poll.add(Wait("j"))
    await service.steps(poll)
    service.fault = always(BUSY)
    while service.seconds < 1000 + 1000:
        await service.steps(poll)
    service.fault = always(ServiceRefused(status=401, code="AuthenticationFailed"))
    await service.steps(poll, 3)
    service.fault = None
    await service.steps(poll)
    assert [type(news) for news in heard(wait)] == [Trouble, Trouble, Recovered]


@pytest.mark.parametrize(
    "rows",
    [
        [None],
        [{}],
        [{"id": 5, "state": "active"}],
        [{"id": "j"}],
        [{"id": "j", "state": "completed", "creationTime": "yesterday"}],
        [{"id": "j", "state": "completed", "stateTransitionTime": 5}],
    ],
)
async def test_garbage_is_trouble_and_no_end(service: FakeService, poll: Poll, rows: list[Any]) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
    await service.steps(poll)
    service.fault = lambda call: Answer(200, {"date": "no date"}, rows if call.pages else rows[0])
    await service.steps(poll, 20)
    service.fault = None
    service.complete("j")
    await service.steps(poll, 2)
    news = heard(wait)
    assert isinstance(news[0], Trouble)
    assert "not describe a job" in str(news[0].error)
    assert [one.job["state"] for one in news if isinstance(one, Ended) and one.job] == ["completed"]


async def test_trouble_with_one_job_is_its_own(service: FakeService, poll: Poll) -> None:
    service.create("good")
    service.create("bad")
    service.complete("bad")
    service.pass_time(3600)

    def poisoned(call: Call) -> Any:
        if call.path == "/jobs/bad":
            raise BUSY
        return None

    service.fault = poisoned
    good, bad = poll.add(Wait("good")), poll.add(Wait("bad", out_of_sight=600))
    await service.steps(poll, 5)
    service.complete("good")
    await service.steps(poll)
    assert ends(good) == ["completed"]
    assert heard(bad) == [Trouble(BUSY)]
    service.fault = None
    service.pass_time(60)  # the pauses between two looks have grown
    await service.steps(poll)
    assert ends(bad) == ["completed"]


async def test_an_odd_job_is_the_trouble_of_who_waits_for_it(service: FakeService, poll: Poll) -> None:
    """What a verdict would stumble over is asked for again, and takes nothing from the other waits."""
    for job_id in ("good", "odd"):
        service.create(job_id)
    good, odd = poll.add(Wait("good")), poll.add(Wait("odd"))
    await service.steps(poll)
    service.complete("good"), service.complete("odd")
    right, service._jobs["odd"]["executionInfo"] = service._jobs["odd"].get("executionInfo"), "a text"
    await service.steps(poll, 5)
    assert ends(good) == ["completed"]
    (trouble,) = heard(odd)
    assert isinstance(trouble, Trouble)
    assert "its executionInfo is not a mapping" in str(trouble.error)
    service._jobs["odd"]["executionInfo"] = right
    await service.steps(poll, 2)
    assert ends(odd) == ["completed"]


async def test_an_answer_that_nobody_thought_of_is_waited_out(
    service: FakeService, poll: Poll, caplog: pytest.LogCaptureFixture
) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
    service.fault = lambda _call: Answer(200, {}, 5)
    await service.steps(poll, 3)
    (trouble,) = heard(wait)
    assert "could not be understood" in str(trouble.error)
    assert "TypeError" in caplog.text
    service.fault = None
    service.complete("j")
    await service.steps(poll, 3)
    assert isinstance(heard(wait)[-1], Ended)


async def test_a_defect_of_the_poll_is_told_to_all(
    service: FakeService, poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
    monkeypatch.setattr(Poll, "_regained", lambda _: 5)
    with pytest.raises(TypeError):
        await poll.run()
    assert isinstance(heard(wait)[-1], Broken)


# -- pace --------------------------------------------------------------------------------------------------------


async def test_the_shortest_interval_sets_the_pace(service: FakeService, poll: Poll) -> None:
    service.create("j")
    poll.add(Wait("j", interval=30))
    assert await poll.step() == 30
    quick = poll.add(Wait("j", interval=2))
    assert await poll.step() == 2
    poll.leave(quick)
    assert await poll.step() == 30


async def test_a_newcomer_in_a_hurry_does_not_wait_out_a_long_pause() -> None:
    service = FakeService()
    poll = Poll(service)
    service.create("j")
    poll.add(Wait("j", interval=600))
    asked = asyncio.Event()
    service.fault = lambda _call: asked.set()
    running = asyncio.ensure_future(poll.run())
    try:
        await asked.wait()
        service.complete("j")
        hurried = poll.add(Wait("j", interval=0.05))
        await asyncio.wait_for(hurried.more(), 30)
        assert isinstance(hurried.news(), Ended)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_turnstile_keeps_its_pace_and_its_order(service: FakeService) -> None:
    gate = Turnstile(2.0, lambda: service.seconds, service.sleep)
    passed: list[tuple[int, float]] = []

    async def come(number: int) -> None:
        await gate.turn()
        passed.append((number, service.seconds - 1000))

    await asyncio.gather(*(come(number) for number in range(5)))
    assert passed == [(0, 0), (1, 0.5), (2, 1.0), (3, 1.5), (4, 2.0)]


async def test_places_that_were_taken_at_once_are_waited_out(service: FakeService) -> None:
    gate = Turnstile(2.0, lambda: service.seconds, service.sleep)
    gate.take(6)
    await gate.turn()
    assert service.seconds - 1000 == 3.0


async def test_who_leaves_a_turnstile_takes_no_place() -> None:
    gate = Turnstile(20.0)
    crowd = [asyncio.ensure_future(gate.turn()) for _ in range(1000)]
    await asyncio.sleep(0)
    for one in crowd:
        one.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    await asyncio.wait_for(gate.turn(), 5)
