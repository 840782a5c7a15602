"""The poll with a stopped clock: what it asks, and what it tells whom."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.batch.calls import Answer
from airflow_provider_jobmanager.batch.verdict import moment
from airflow_provider_jobmanager.budget import Turnstile
from airflow_provider_jobmanager.errors import ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.poll import Poll
from airflow_provider_jobmanager.sight import Broken, Changed, Ended, GaveUp, Recovered, Trouble
from tests.following.fake import FakeService, always, ends, heard

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.calls import Call

BUSY = ServiceUnavailable("GET /jobs: HTTP 503, ServerBusy", status=503, code="ServerBusy")
FORBIDDEN = ServiceRefused(status=403, code="AuthenticationFailed", message="no")


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def poll(service: FakeService) -> Poll:
    return service.poll()


async def test_one_list_tells_every_wait_of_its_own_job(service: FakeService, poll: Poll) -> None:
    waits = {}
    for number in range(50):
        service.create(f"job-{number}")
        waits[number] = poll.join(f"job-{number}")
    await service.steps(poll)
    for number in range(0, 50, 2):
        service.complete(f"job-{number}")
    service.asked.clear()
    await service.steps(poll)
    assert len(service.asked) == 1
    assert [number for number, wait in waits.items() if ends(wait) == ["completed"]] == list(range(0, 50, 2))
    assert len(poll.waits) == 25


async def test_requests_do_not_grow_with_the_waits(service: FakeService, poll: Poll) -> None:
    def asked_in_ten_minutes(count: int) -> int:
        return sum(1 for _ in service.asked)

    service.create("first")
    poll.join("first")
    await service.steps(poll, 120)
    alone = asked_in_ten_minutes(1)
    for number in range(500):
        service.create(f"job-{number}")
        poll.join(f"job-{number}")
    service.asked.clear()
    await service.steps(poll, 120)
    assert asked_in_ten_minutes(501) <= alone + 1  # one sweep for the newcomers
    assert alone <= 120 + 120 / 12 + 1


async def test_nothing_is_told_twice(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.join("j")
    await service.steps(poll)
    service.complete("j")
    await service.steps(poll, 30)
    assert ends(wait) == ["completed"]


async def test_two_waits_for_one_job_are_both_told(service: FakeService, poll: Poll) -> None:
    service.create("Job")
    first, second = poll.join("Job"), poll.join("jOB")
    await service.steps(poll)
    service.complete("job")
    await service.steps(poll)
    assert ends(first) == ends(second) == ["completed"]


async def test_a_job_that_was_over_before_its_wait_began(service: FakeService, poll: Poll) -> None:
    service.create("early")
    service.complete("early")
    service.create("other")
    poll.join("other")
    service.pass_time(3600)
    await service.steps(poll, 3)
    wait = poll.join("early")
    await service.steps(poll)
    assert ends(wait) == ["completed"]


async def test_late_joiners_are_covered_from_their_own_beginning(service: FakeService, poll: Poll) -> None:
    """As after a restart of the triggerer: known since long ago, ended meanwhile, and the lists begin only now."""
    since = service.now
    for number in range(20):
        service.create(f"job-{number}")
    service.pass_time(3600)
    for number in range(10):
        service.complete(f"job-{number}")
    service.pass_time(3600)
    waits = [poll.join(f"job-{number}", since=since, created_at=since) for number in range(20)]
    await service.steps(poll)
    assert [bool(ends(wait)) for wait in waits] == [True] * 10 + [False] * 10
    # And who comes while the poll runs already.
    service.complete("job-10")
    service.pass_time(3600)
    await service.steps(poll)
    late = poll.join("job-10", since=since, created_at=since)
    await service.steps(poll)
    assert ends(late) == ["completed"]


async def test_a_newcomer_that_began_after_the_list_costs_no_sweep(service: FakeService, poll: Poll) -> None:
    service.create("old")
    poll.join("old")
    await service.steps(poll, 2)
    created = moment(service.create("new")["creationTime"])
    poll.join("new", since=created, created_at=created)
    service.asked.clear()
    await service.steps(poll)
    assert len(service.asked) == 1


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(minutes=-10), timedelta(0), None])
@pytest.mark.parametrize("machine", [timedelta(minutes=10), timedelta(minutes=-10), timedelta(0)])
async def test_clocks_that_differ(
    service: FakeService, poll: Poll, ahead: timedelta | None, machine: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers' Date is off against the jobs' stamps; this machine's clock is off against both, and not asked."""

    def wrong() -> float:
        return (service.now + machine).timestamp()

    monkeypatch.setattr("time.time", wrong)
    service.date_ahead = ahead
    waits = []
    for number in range(30):
        created = moment(service.create(f"job-{number}")["creationTime"])
        waits.append(poll.join(f"job-{number}", since=created, created_at=created))
        await service.steps(poll)
        if number >= 3:
            service.complete(f"job-{number - 3}")
            await service.steps(poll)
            assert ends(waits[number - 3]) == ["completed"]


async def test_an_end_after_a_quiet_day_is_found_at_the_next_tick(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.join("j")
    await service.steps(poll, 24 * 60, seconds=60)
    service.complete("j")
    await service.steps(poll)
    assert ends(wait) == ["completed"]


async def test_equal_times(service: FakeService, poll: Poll) -> None:
    """Ends in the very moment of the last end that was seen, and in the second that the answer's Date cuts off."""
    waits = []
    for number in range(6):
        service.create(f"job-{number}")
        waits.append(poll.join(f"job-{number}"))
    await service.steps(poll)
    service.now += timedelta(microseconds=123457)
    for number in range(6):
        service.complete(f"job-{number}")
        await poll.step()
        assert ends(waits[number]) == ["completed"]


async def test_a_stale_list_only_delays(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.join("j")
    service.pass_time(600)
    await service.steps(poll)
    service.lists_lag = timedelta(seconds=90)
    service.complete("j")
    await service.steps(poll, 18)
    assert ends(wait) == []
    await service.steps(poll, 2)
    assert ends(wait) == ["completed"]


async def test_an_end_that_shows_after_a_later_one(service: FakeService, poll: Poll) -> None:
    service.create("slow"), service.create("quick")
    slow, quick = poll.join("slow"), poll.join("quick")
    service.pass_time(600)
    await service.steps(poll)
    hidden = {"slow"}

    def hide(call: Call) -> Any:
        if not call.pages or "eq 'completed'" not in call.params["$filter"]:
            return None
        return Answer(200, service._headers(), [job for job in service._rows(call) if job["id"] not in hidden])

    service.fault = hide
    service.complete("slow")
    service.pass_time(20)
    service.complete("quick")
    await service.steps(poll)
    assert ends(quick) == ["completed"]
    hidden.clear()
    await service.steps(poll)
    assert ends(slow) == ["completed"]


async def test_what_a_list_kept_back_for_longer_than_the_overlap_is_found_by_a_sweep(
    service: FakeService, poll: Poll
) -> None:
    service.create("late"), service.create("punctual")
    late, punctual = poll.join("late"), poll.join("punctual")
    service.pass_time(600)
    await service.steps(poll)
    hidden = {"late"}

    def hide(call: Call) -> Any:
        if not call.pages or "eq 'completed'" not in call.params["$filter"]:
            return None
        return Answer(200, service._headers(), [job for job in service._rows(call) if job["id"] not in hidden])

    service.fault = hide
    service.complete("late")
    service.pass_time(300)
    service.complete("punctual")
    await service.steps(poll)
    assert ends(punctual) == ["completed"]
    await service.steps(poll, 12)
    assert ends(late) == ["completed"]


async def test_a_list_made_before_the_job_does_not_lose_it(service: FakeService, poll: Poll) -> None:
    service.create("other")
    poll.join("other")
    service.pass_time(60)
    await service.steps(poll)
    service.lists_lag = timedelta(seconds=60)
    created = moment(service.create("new")["creationTime"])
    wait = poll.join("new", since=created, created_at=created)
    unknown = poll.join("new")
    await service.steps(poll, 30)
    assert heard(wait) == heard(unknown) == []


async def test_a_deletion_is_noticed(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.join("j")
    await service.steps(poll)
    service.delete("j")
    await service.steps(poll, 16)
    assert ends(wait) == [None]


async def test_a_deletion_is_not_believed_at_once(service: FakeService, poll: Poll) -> None:
    """One answer that knows nothing of the job (a copy that lags) is not the end of it."""
    service.create("j")
    wait = poll.join("j")
    once = [ServiceRefused(status=404, code="JobNotFound")]

    def forget(call: Call) -> Any:
        if call.pages:
            return Answer(200, service._headers(), [])
        if once:
            raise once.pop()
        return None

    service.fault = forget
    await service.steps(poll, 3)
    service.fault = None
    await service.steps(poll, 3)
    assert heard(wait) == []
    service.complete("j")
    await service.steps(poll)
    assert ends(wait) == ["completed"]


async def test_an_id_that_is_used_again(service: FakeService, poll: Poll) -> None:
    created = moment(service.create("j")["creationTime"])
    mine, learned = poll.join("j", since=created, created_at=created), poll.join("j")
    await service.steps(poll)
    service.delete("j")
    service.pass_time(1)
    service.create("j")
    service.complete("j")
    theirs = poll.join("j")
    await service.steps(poll)
    assert ends(mine) == [None]
    assert ends(learned) == [None]
    assert ends(theirs) == ["completed"]


async def test_a_list_that_still_shows_the_earlier_job_of_an_id(service: FakeService, poll: Poll) -> None:
    service.create("other")
    poll.join("other")
    service.create("j")
    service.complete("j")
    service.pass_time(120)
    await service.steps(poll)
    service.lists_lag = timedelta(seconds=60)
    service.delete("j")
    created = moment(service.create("j")["creationTime"])
    wait = poll.join("j", since=created, created_at=created)
    await service.steps(poll, 6)
    assert heard(wait) == []
    service.complete("j")
    await service.steps(poll, 13)
    assert ends(wait) == ["completed"]


async def test_a_job_that_appears_later(service: FakeService, poll: Poll) -> None:
    wait = poll.join("j", must_exist=False)
    await service.steps(poll)
    service.asked.clear()
    await service.steps(poll, 60)
    assert not [asked for asked in service.asked if asked.startswith("get")]
    service.create("j")
    await service.steps(poll, 13)
    assert wait.state == "active"
    service.complete("j")
    await service.steps(poll)
    assert ends(wait) == ["completed"]


async def test_a_job_that_appeared_and_went(service: FakeService, poll: Poll) -> None:
    wait = poll.join("j", must_exist=False)
    await service.steps(poll)
    service.create("j")
    await service.steps(poll, 13)
    service.delete("j")
    await service.steps(poll, 16)
    assert ends(wait) == [None]


async def test_a_short_job_that_appears_later(service: FakeService, poll: Poll) -> None:
    wait = poll.join("j", must_exist=False)
    await service.steps(poll)
    service.create("j")
    service.complete("j")
    await service.steps(poll)
    assert ends(wait) == ["completed"]


async def test_a_job_that_was_never_there(service: FakeService, poll: Poll) -> None:
    wait = poll.join("j")
    await service.steps(poll, 2)
    assert ends(wait) == [None]


async def test_states_are_told_without_a_request_of_their_own(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.join("j")
    await service.steps(poll)
    service.move("j", "disabled")
    await service.steps(poll, 13)
    assert heard(wait) == [Changed("active", "disabled")]
    assert not [asked for asked in service.asked if asked.startswith("get")]


# -- trouble -----------------------------------------------------------------------------------------------------


async def test_trouble_is_waited_out_and_said_once_per_change(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.join("j")
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
        waits.append(poll.join(f"job-{number}"))
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
    poll.join("j")
    service.fault = always(ServiceUnavailable("busy", status=429, retry_after=77.0))
    assert await poll.step() >= 77
    service.fault = always(ServiceUnavailable("busy", status=429, retry_after=1e9))
    assert await poll.step() <= 900


async def test_giving_up_after_ones_own_time(service: FakeService, poll: Poll) -> None:
    service.create("j")
    short, long = poll.join("j", out_of_sight=120), poll.join("j", out_of_sight=3600)
    await service.steps(poll)
    service.fault = always(BUSY)
    while service.seconds < 1000 + 1000:
        await service.steps(poll)
    told = heard(short)
    assert [type(news) for news in told] == [Trouble, GaveUp]
    assert isinstance(told[-1], GaveUp)
    assert 120 <= told[-1].seconds < 240
    late = poll.join("j", out_of_sight=120)
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
    wait = poll.join("j")
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
    wait = poll.join("j")
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
    wait = poll.join("j")
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
    good, bad = poll.join("good"), poll.join("bad", out_of_sight=600)
    await service.steps(poll, 5)
    service.complete("good")
    await service.steps(poll)
    assert ends(good) == ["completed"]
    assert heard(bad) == [Trouble(BUSY)]
    service.fault = None
    await service.steps(poll)
    assert ends(bad) == ["completed"]


async def test_an_answer_that_nobody_thought_of_is_waited_out(
    service: FakeService, poll: Poll, caplog: pytest.LogCaptureFixture
) -> None:
    service.create("j")
    wait = poll.join("j")
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
    wait = poll.join("j")
    monkeypatch.setattr(Poll, "_regained", lambda _: 5)
    with pytest.raises(TypeError):
        await poll.run()
    assert isinstance(heard(wait)[-1], Broken)


# -- pace --------------------------------------------------------------------------------------------------------


async def test_the_shortest_interval_sets_the_pace(service: FakeService, poll: Poll) -> None:
    service.create("j")
    poll.join("j", interval=30)
    assert await poll.step() == 30
    quick = poll.join("j", interval=2)
    assert await poll.step() == 2
    poll.leave(quick)
    assert await poll.step() == 30


async def test_a_newcomer_in_a_hurry_does_not_wait_out_a_long_pause() -> None:
    service = FakeService()
    poll = Poll(service)
    service.create("j")
    poll.join("j", interval=600)
    asked = asyncio.Event()
    service.fault = lambda _call: asked.set()
    running = asyncio.ensure_future(poll.run())
    try:
        await asked.wait()
        service.complete("j")
        hurried = poll.join("j", interval=0.05)
        assert isinstance(await asyncio.wait_for(hurried.news(), 30), Ended)
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


async def test_who_leaves_a_turnstile_takes_no_place() -> None:
    gate = Turnstile(20.0)
    crowd = [asyncio.ensure_future(gate.turn()) for _ in range(1000)]
    await asyncio.sleep(0)
    for one in crowd:
        one.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    await asyncio.wait_for(gate.turn(), 5)
