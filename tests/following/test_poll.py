"""The poll with a stopped clock: what it asks, and what it tells whom."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_jobmanager.batch.calls import Answer
from airflow_provider_jobmanager.batch.verdict import moment
from airflow_provider_jobmanager.errors import ServiceRefused, ServiceUnavailable
from airflow_provider_jobmanager.sight import Changed
from airflow_provider_jobmanager.waiting import Wait
from tests.following.fake import FakeService, ends, heard

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.calls import Call
    from airflow_provider_jobmanager.poll import Poll

BUSY = ServiceUnavailable("GET /jobs: HTTP 503, ServerBusy", status=503, code="ServerBusy")
FORBIDDEN = ServiceRefused(status=403, code="AuthenticationFailed", message="no")


async def test_one_list_tells_every_wait_of_its_own_job(service: FakeService, poll: Poll) -> None:
    waits = {}
    for number in range(50):
        service.create(f"job-{number}")
        waits[number] = poll.add(Wait(f"job-{number}"))
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
    poll.add(Wait("first"))
    await service.steps(poll, 120)
    alone = asked_in_ten_minutes(1)
    for number in range(500):
        service.create(f"job-{number}")
        poll.add(Wait(f"job-{number}"))
    service.asked.clear()
    await service.steps(poll, 120)
    assert asked_in_ten_minutes(501) <= alone + 1  # one sweep for the newcomers
    assert alone <= 120 + 120 / 12 + 1


async def test_nothing_is_told_twice(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
    await service.steps(poll)
    service.complete("j")
    await service.steps(poll, 30)
    assert ends(wait) == ["completed"]


async def test_two_waits_for_one_job_are_both_told(service: FakeService, poll: Poll) -> None:
    service.create("Job")
    first, second = poll.add(Wait("Job")), poll.add(Wait("jOB"))
    await service.steps(poll)
    service.complete("job")
    await service.steps(poll)
    assert ends(first) == ends(second) == ["completed"]


async def test_a_job_that_was_over_before_its_wait_began(service: FakeService, poll: Poll) -> None:
    service.create("early")
    service.complete("early")
    service.create("other")
    poll.add(Wait("other"))
    service.pass_time(3600)
    await service.steps(poll, 3)
    wait = poll.add(Wait("early"))
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
    waits = [poll.add(Wait(f"job-{number}", since=since, created_at=since)) for number in range(20)]
    await service.steps(poll)
    assert [bool(ends(wait)) for wait in waits] == [True] * 10 + [False] * 10
    # And who comes while the poll runs already.
    service.complete("job-10")
    service.pass_time(3600)
    await service.steps(poll)
    late = poll.add(Wait("job-10", since=since, created_at=since))
    await service.steps(poll)
    assert ends(late) == ["completed"]


async def test_a_newcomer_that_began_after_the_list_costs_no_sweep(service: FakeService, poll: Poll) -> None:
    service.create("old")
    poll.add(Wait("old"))
    await service.steps(poll, 2)
    created = moment(service.create("new")["creationTime"])
    poll.add(Wait("new", since=created, created_at=created))
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
        waits.append(poll.add(Wait(f"job-{number}", since=created, created_at=created)))
        await service.steps(poll)
        if number >= 3:
            service.complete(f"job-{number - 3}")
            await service.steps(poll)
            assert ends(waits[number - 3]) == ["completed"]


async def test_an_end_after_a_quiet_day_is_found_at_the_next_tick(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
    await service.steps(poll, 24 * 60, seconds=60)
    service.complete("j")
    await service.steps(poll)
    assert ends(wait) == ["completed"]


async def test_equal_times(service: FakeService, poll: Poll) -> None:
    """Ends in the very moment of the last end that was seen, and in the second that the answer's Date cuts off."""
    waits = []
    for number in range(6):
        service.create(f"job-{number}")
        waits.append(poll.add(Wait(f"job-{number}")))
    await service.steps(poll)
    service.now += timedelta(microseconds=123457)
    for number in range(6):
        service.complete(f"job-{number}")
        await poll.step()
        assert ends(waits[number]) == ["completed"]


async def test_a_stale_list_only_delays(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
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
    slow, quick = poll.add(Wait("slow")), poll.add(Wait("quick"))
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
    late, punctual = poll.add(Wait("late")), poll.add(Wait("punctual"))
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
    poll.add(Wait("other"))
    service.pass_time(60)
    await service.steps(poll)
    service.lists_lag = timedelta(seconds=60)
    created = moment(service.create("new")["creationTime"])
    wait = poll.add(Wait("new", since=created, created_at=created))
    unknown = poll.add(Wait("new"))
    await service.steps(poll, 30)
    assert heard(wait) == heard(unknown) == []


async def test_a_deletion_is_noticed(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
    await service.steps(poll)
    service.delete("j")
    await service.steps(poll, 16)
    assert ends(wait) == [None]


async def test_a_deletion_is_not_believed_at_once(service: FakeService, poll: Poll) -> None:
    """One answer that knows nothing of the job (a copy that lags) is not the end of it."""
    service.create("j")
    wait = poll.add(Wait("j"))
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
    mine, learned = poll.add(Wait("j", since=created, created_at=created)), poll.add(Wait("j"))
    await service.steps(poll)
    service.delete("j")
    service.pass_time(1)
    service.create("j")
    service.complete("j")
    theirs = poll.add(Wait("j"))
    await service.steps(poll)
    assert ends(mine) == [None]
    assert ends(learned) == [None]
    assert ends(theirs) == ["completed"]


async def test_a_list_that_still_shows_the_earlier_job_of_an_id(service: FakeService, poll: Poll) -> None:
    service.create("other")
    poll.add(Wait("other"))
    service.create("j")
    service.complete("j")
    service.pass_time(120)
    await service.steps(poll)
    service.lists_lag = timedelta(seconds=60)
    service.delete("j")
    created = moment(service.create("j")["creationTime"])
    wait = poll.add(Wait("j", since=created, created_at=created))
    await service.steps(poll, 6)
    assert heard(wait) == []
    service.complete("j")
    await service.steps(poll, 13)
    assert ends(wait) == ["completed"]


async def test_a_job_that_appears_later(service: FakeService, poll: Poll) -> None:
    wait = poll.add(Wait("j", must_exist=False))
    await service.steps(poll)
    service.asked.clear()
    await service.steps(poll, 60)
    assert len([asked for asked in service.asked if asked.startswith("get")]) <= 1
    service.create("j")
    await service.steps(poll, 13)
    assert wait.state == "active"
    service.complete("j")
    await service.steps(poll)
    assert ends(wait) == ["completed"]


async def test_a_job_that_appeared_and_went(service: FakeService, poll: Poll) -> None:
    wait = poll.add(Wait("j", must_exist=False))
    await service.steps(poll)
    service.create("j")
    await service.steps(poll, 13)
    service.delete("j")
    await service.steps(poll, 16)
    assert ends(wait) == [None]


async def test_a_short_job_that_appears_later(service: FakeService, poll: Poll) -> None:
    wait = poll.add(Wait("j", must_exist=False))
    await service.steps(poll)
    service.create("j")
    service.complete("j")
    await service.steps(poll)
    assert ends(wait) == ["completed"]


async def test_a_short_job_that_a_list_kept_back_for_longer_than_the_overlap(service: FakeService, poll: Poll) -> None:
    """Nobody knows when it will come, so that no sweep misses it."""
    wait = poll.add(Wait("j", must_exist=False))
    await service.steps(poll, 2)
    service.create("j"), service.complete("j")
    hidden = {"j"}

    def hide(call: Call) -> Any:
        if not call.pages:
            return None
        return Answer(200, service._headers(), [job for job in service._rows(call) if job["id"] not in hidden])

    service.fault = hide
    for number in range(36):  # others come and end meanwhile, and take the lists along
        service.create(f"job-{number}"), service.complete(f"job-{number}")
        await service.steps(poll)
    hidden.clear()
    await service.steps(poll, 60)
    assert ends(wait) == ["completed"]


async def test_a_short_job_that_appears_later_where_the_service_never_says_the_time(
    service: FakeService, poll: Poll
) -> None:
    service.date_ahead = None
    wait = poll.add(Wait("j", must_exist=False))
    await service.steps(poll, 2)
    service.create("j")
    service.pass_time(1)
    service.complete("j")
    await service.steps(poll, 61)
    assert ends(wait) == ["completed"]


@pytest.mark.parametrize("ahead", [timedelta(0), None])
@pytest.mark.parametrize(("count", "most"), [(1, 13), (10, 130), (500, 20 * 61)])
async def test_jobs_that_are_not_there_yet_are_looked_at_seldom(
    service: FakeService, poll: Poll, ahead: timedelta | None, count: int, most: int
) -> None:
    service.date_ahead = ahead
    waits = [poll.add(Wait(f"job-{number}", must_exist=False)) for number in range(count)]
    await service.steps(poll)
    service.asked.clear()
    await service.steps(poll, 720)
    gets = [asked for asked in service.asked if asked.startswith("get")]
    assert count <= len(gets) <= most
    assert set(gets) == {f"get /jobs/job-{number}" for number in range(count)}  # each in its turn
    assert all(not ends(wait) for wait in waits)


async def test_a_job_that_was_never_there(service: FakeService, poll: Poll) -> None:
    wait = poll.add(Wait("j"))
    await service.steps(poll, 2)
    assert ends(wait) == [None]


async def test_states_are_told_without_a_request_of_their_own(service: FakeService, poll: Poll) -> None:
    service.create("j")
    wait = poll.add(Wait("j"))
    await service.steps(poll)
    service.move("j", "disabled")
    await service.steps(poll, 13)
    assert heard(wait) == [Changed("active", "disabled")]
    assert not [asked for asked in service.asked if asked.startswith("get")]
