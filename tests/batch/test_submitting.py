"""Submitting exactly once, whatever happens in between."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.submitting import QUOTA_REACHED, create, submit
from airflow_provider_jobmanager.errors import (
    JobIdUsed,
    JobManagerError,
    NotOurJob,
    ServiceRefused,
    ServiceUnavailable,
)
from tests.batch.fake_service import Conversation, FakeService, perform

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.calls import Call

TRY_1 = Owner("sales", "load", "r1", -1, 1, "ti-1", 2, "2026-01-01T00:00:00+00:00")
TRY_2 = evolve(TRY_1, try_number=2, ti_id="ti-2")
TRY_3 = evolve(TRY_1, try_number=3, ti_id="ti-3")
CLEARED = evolve(TRY_1, try_number=2, ti_id="ti-2c", max_tries=3)
SINCE = datetime(2026, 1, 1, tzinfo=timezone.utc)


def body(owner: Owner, job_id: str | None = None) -> dict[str, Any]:
    return {"metadata": owner.metadata()} | ({} if job_id is None else {"id": job_id})


def submitted(service: FakeService, owner: Owner, job_id: str | None = None, **options: Any) -> Any:
    return perform(submit(body(owner, job_id), owner, since=SINCE, **options), service)


def test_a_first_try_creates_the_first_job_of_its_round_and_asks_for_nothing_else() -> None:
    service = FakeService()

    submission = submitted(service, TRY_1)

    assert submission.job_id == TRY_1.job_id(1)
    assert not submission.adopted
    assert submission.created_at == "2026-01-01T00:00:01Z"
    assert service.log == ["POST /jobs", f"GET /jobs/{TRY_1.job_id(1)}"]


@pytest.mark.parametrize("quota", [1, 1000])
def test_a_create_whose_answer_is_lost_is_not_repeated(quota: int) -> None:
    """Even when the job itself has used up the account's quota, so that a second create would be refused."""
    service = FakeService(quota=quota)
    talk = Conversation(submit(body(TRY_1), TRY_1), service)
    talk.step(lost=True)

    submission = talk.finish()

    assert submission.adopted
    assert service.created == 1
    assert service.log.count("POST /jobs") == 1


def test_a_create_that_gets_through_late_is_found_when_the_next_is_refused() -> None:
    service = FakeService(quota=1)
    talk = Conversation(submit(body(TRY_1), TRY_1), service)
    talk.step(unsent=True)
    talk.step()  # the pause
    talk.step()  # the look: nothing there
    service._create(body(TRY_1, TRY_1.job_id()))  # the first one arrives only now

    assert talk.finish().adopted
    assert service.created == 1


def test_a_throttled_create_needs_no_look() -> None:
    service = FakeService()
    throttled = [ServiceUnavailable("slow down", status=429)]

    def before(call: Call) -> None:
        if call.method == "POST" and throttled:
            raise throttled.pop()

    service.before = before
    submitted(service, TRY_1)

    assert service.log[:2] == ["POST /jobs", "POST /jobs"]


def test_the_quota_is_for_the_caller_to_wait_for() -> None:
    service = FakeService(quota=0)

    with pytest.raises(ServiceRefused) as caught:
        submitted(service, TRY_1)

    assert caught.value.code == QUOTA_REACHED
    assert service.created == 0


def test_a_retry_goes_on_with_the_running_job() -> None:
    service = FakeService()
    first = submitted(service, TRY_1)

    second = submitted(service, TRY_2)
    third = submitted(service, TRY_3)

    assert second.adopted
    assert second.verdict is None
    assert first.job_id == second.job_id == third.job_id
    assert service.created == 1


def test_a_retry_goes_on_with_the_running_job_of_a_full_account() -> None:
    service = FakeService(quota=1)
    submitted(service, TRY_1)

    assert submitted(service, TRY_2).adopted


def test_a_retry_takes_the_verdict_that_nobody_collected() -> None:
    service = FakeService()
    submitted(service, TRY_1)
    service.end(TRY_1.job_id(), "JMComplete", exit_code=0)

    submission = submitted(service, TRY_2)

    assert submission.verdict.succeeded
    assert service.created == 1


@pytest.mark.parametrize(
    ("reason", "exit_code", "state"),
    [
        ("JMComplete", 3, "completed"),
        ("Airflow: killed", None, "completed"),
        ("Airflow: killed", None, "terminating"),
        ("MaxWallClockTimeExpiry", None, "completed"),
        ("JMComplete", 3, "terminating"),
    ],
)
def test_a_retry_submits_anew_what_ended_badly(reason: str, exit_code: int | None, state: str) -> None:
    service = FakeService()
    submitted(service, TRY_1)
    service.end(TRY_1.job_id(), reason, exit_code=exit_code, state=state)

    second = submitted(service, TRY_2)
    third = submitted(service, TRY_3)

    assert second.job_id == TRY_1.job_id(2)
    assert not second.adopted
    assert third.job_id == second.job_id
    assert third.adopted


def test_a_retry_waits_for_the_end_of_a_job_whose_manager_did_well() -> None:
    service = FakeService()
    submitted(service, TRY_1)
    service.end(TRY_1.job_id(), "JMComplete", exit_code=0, state="terminating")

    submission = submitted(service, TRY_2)

    assert submission.adopted
    assert submission.verdict is None


def test_a_retry_finds_the_newest_job_although_older_ones_were_deleted() -> None:
    service = FakeService()
    submitted(service, TRY_1)
    service.end(TRY_1.job_id(1), "JMComplete", exit_code=1)
    submitted(service, TRY_2)
    del service.jobs[TRY_1.job_id(1).lower()]

    assert submitted(service, TRY_3).job_id == TRY_1.job_id(2)
    assert service.created == 2


def test_a_clear_submits_anew_whatever_there_is() -> None:
    service = FakeService()
    first = submitted(service, TRY_1)

    cleared = submitted(service, CLEARED)

    assert cleared.job_id != first.job_id
    assert not cleared.adopted


def test_a_run_that_was_deleted_and_made_again_starts_afresh() -> None:
    service = FakeService()
    submitted(service, TRY_1)
    service.end(TRY_1.job_id(), "JMComplete", exit_code=0)
    again = evolve(TRY_2, run_start="2026-02-02T00:00:00+00:00")

    assert not submitted(service, again).adopted


def test_mapped_tasks_never_get_each_others_job() -> None:
    service = FakeService()
    mapped = [evolve(TRY_1, map_index=index, ti_id=f"m{index}") for index in range(12)]
    for owner in mapped:
        submitted(service, owner)

    retried = [submitted(service, evolve(owner, try_number=2, ti_id=f"{owner.ti_id}b")).job_id for owner in mapped]

    assert len(set(retried)) == 12
    assert [Owner.of(service.jobs[job_id.lower()]).map_index for job_id in retried] == list(range(12))


def test_a_try_that_airflow_gave_up_can_do_nothing_any_more() -> None:
    service = FakeService()
    straggler = Conversation(submit(body(TRY_1), TRY_1), service)
    submitted(service, TRY_2)

    with pytest.raises(NotOurJob):
        straggler.finish()

    assert service.created == 1


def test_somebody_elses_job_is_left_alone() -> None:
    service = FakeService()
    service._create({"id": "nightly", "metadata": []})

    with pytest.raises(NotOurJob, match="nightly"):
        submitted(service, TRY_1, "nightly")
    with pytest.raises(NotOurJob):
        perform(create(body(TRY_1, "nightly"), TRY_1), service)

    assert service.active


def test_an_id_of_ones_own_is_used_as_it_is() -> None:
    service = FakeService()

    assert submitted(service, TRY_1, "nightly").job_id == "nightly"
    assert submitted(service, TRY_2, "nightly").adopted


def test_an_id_with_the_try_in_it_is_found_by_the_next_try() -> None:
    service = FakeService()
    submitted(service, TRY_1, "nightly-1")

    assert submitted(service, TRY_2, "nightly-2").job_id == "nightly-1"

    service.end("nightly-1", "JMComplete", exit_code=1)
    assert submitted(service, TRY_2, "nightly-2").job_id == "nightly-2"
    assert submitted(service, TRY_3, "nightly-3").job_id == "nightly-2"
    assert any("creationTime ge" in str(call) or call == "GET /jobs" for call in service.log)


@pytest.mark.parametrize("owner", [TRY_2, CLEARED])
def test_an_id_that_cannot_be_used_again_says_what_to_do(owner: Owner) -> None:
    service = FakeService()
    submitted(service, TRY_1, "nightly")
    service.end("nightly", "JMComplete", exit_code=1)

    with pytest.raises(JobIdUsed, match=r"try 1 .* completed.*ti\.try_number"):
        submitted(service, owner, "nightly")


def test_an_id_of_a_job_being_deleted_is_waited_for() -> None:
    service = FakeService()
    submitted(service, TRY_1, "nightly")
    service.jobs["nightly"]["state"] = "deleting"
    looks = iter(range(4))

    def before(_: Call) -> None:
        if next(looks, None) is None:
            service.jobs.pop("nightly", None)
            service.before = lambda call: None

    service.before = before
    talk = Conversation(submit(body(TRY_2, "nightly"), TRY_2), service)

    assert not talk.finish().adopted
    assert talk.paused > 0


def test_patience_ends() -> None:
    service = FakeService()

    def before(call: Call) -> None:
        raise ServiceUnavailable("down", status=503)

    service.before = before
    talk = Conversation(submit(body(TRY_1), TRY_1), service)

    with pytest.raises(ServiceUnavailable):
        talk.finish()
    assert 290 < talk.paused < 310


fates = st.sampled_from(["runs on", "succeeds", "fails", "killed"])
deaths = st.tuples(st.integers(0, 12), st.sampled_from(["", "lost", "unsent"]), fates)


@settings(max_examples=150, deadline=None)
@given(deaths=st.lists(deaths, max_size=4), choices=st.data())
def test_no_two_jobs_run_and_none_is_left_out_whoever_dies_when(
    deaths: list[tuple[int, str, str]], choices: st.DataObject
) -> None:
    """Tries die after any number of calls and may come back as stragglers at any moment of a later try's submission."""
    service = FakeService()
    badly = 0
    succeeded = False
    stragglers: list[Conversation] = []

    def straggle() -> None:
        for talk in [talk for talk in stragglers if not talk.over]:
            if choices.draw(st.booleans()):
                with contextlib.suppress(JobManagerError):
                    talk.step()
            assert len(service.active) <= 1

    for number, (calls, trouble, fate) in enumerate(deaths, start=1):
        owner = evolve(TRY_1, try_number=number, ti_id=f"ti-{number}", max_tries=9)
        talk = Conversation(submit(body(owner), owner), service)
        for call in range(calls):
            if talk.over:
                break
            last = call == calls - 1
            talk.step(lost=last and trouble == "lost", unsent=last and trouble == "unsent")
            straggle()
        stragglers.append(talk)
        for job in service.active:
            if fate == "succeeds":
                service.end(job["id"], "JMComplete", exit_code=0)
                succeeded = True
            elif fate != "runs on":
                service.end(job["id"], "JMComplete" if fate == "fails" else "Airflow: killed", exit_code=1)
                badly += 1

    last = evolve(TRY_1, try_number=len(deaths) + 1, ti_id="ti-last", max_tries=9)
    talk = Conversation(submit(body(last), last), service)
    while not talk.over:
        talk.step()
        straggle()

    assert service.created == badly + 1
    assert len(service.active) == (0 if succeeded else 1)
    assert (talk.result.verdict is not None) == succeeded
