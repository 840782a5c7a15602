"""Ending and deleting what is ours, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.batch.stopping import (
    end_left_behind,
    out_of_time,
    read_so_far,
    remove,
    stop_at_deadline,
    terminate,
)
from airflow_provider_jobmanager.batch.verdict import Verdict, moment
from airflow_provider_jobmanager.errors import NotOurJob, ServiceRefused, ServiceUnavailable
from tests.batch.fake_service import Conversation, FakeService, perform

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.calls import Call

OWNER = Owner("sales", "load", "r1", -1, 1, "ti-1", 2)
CREATED = "2026-01-01T00:00:01Z"


@pytest.fixture
def service() -> FakeService:
    made = FakeService()
    made._create({"id": "j", "metadata": OWNER.metadata()})
    return made


def test_a_job_is_ended_with_a_reason(service: FakeService) -> None:
    assert perform(terminate("j", "because", owner=OWNER, created_at=CREATED), service) == "completed"
    assert service.jobs["j"]["executionInfo"] == {"terminateReason": "because"}


def test_creation_times_are_compared_as_times(service: FakeService) -> None:
    assert perform(terminate("j", "x", owner=OWNER, created_at="2026-01-01T00:00:01.000Z"), service) == "completed"


@pytest.mark.parametrize(
    "mine",
    [
        {"owner": evolve(OWNER, map_index=3)},
        {"owner": evolve(OWNER, run_id="r2")},
        {"owner": OWNER, "created_at": "2026-01-01T00:00:02Z"},
    ],
)
def test_another_job_is_left_alone(service: FakeService, mine: dict[str, Any]) -> None:
    with pytest.raises(NotOurJob):
        perform(terminate("j", "x", **mine), service)
    with pytest.raises(NotOurJob):
        perform(remove("j", **mine), service)
    assert service.active


def test_a_job_without_a_mark_is_left_alone() -> None:
    service = FakeService()
    service._create({"id": "j", "metadata": []})

    with pytest.raises(NotOurJob, match="ownership mark"):
        perform(terminate("j", "x", owner=OWNER), service)
    assert service.active


def test_a_job_that_is_over_or_gone_is_not_asked_to_end(service: FakeService) -> None:
    service.end("j", "JMComplete", exit_code=0)

    assert perform(terminate("j", "x", owner=OWNER), service) == "completed"
    assert perform(terminate("nobody", "x", owner=OWNER), service) == "gone"
    assert not any("terminate" in call for call in service.log)


def test_a_job_that_ends_meanwhile_is_fine(service: FakeService) -> None:
    def before(call: Call) -> None:
        if call.method == "POST":
            service.end("j", "JMComplete", exit_code=0)

    service.before = before

    assert perform(terminate("j", "x", owner=OWNER), service) == "completed"
    assert service.jobs["j"]["executionInfo"]["terminateReason"] == "JMComplete"


def test_a_job_that_a_create_under_way_is_about_to_make_is_waited_for() -> None:
    service = FakeService()
    talk = Conversation(terminate("j", "x", owner=OWNER, may_appear=3.0), service)
    talk.step()
    talk.step()
    service._create({"id": "j", "metadata": OWNER.metadata()})

    assert talk.finish() == "completed"
    assert perform(terminate("k", "x", owner=OWNER, may_appear=3.0), service) == "gone"


def test_a_terminate_that_shows_no_effect_is_repeated(service: FakeService) -> None:
    """A poller of the SDK would take the first look's ``active`` for success."""
    asked = []

    def before(call: Call) -> None:
        if call.method == "POST":
            asked.append(call)
            if len(asked) == 1:
                raise ServiceRefused(status=409, code="JobBeingTerminated")

    service.before = before

    assert perform(terminate("j", "x", owner=OWNER), service) == "completed"
    assert len(asked) == 2


def test_a_terminate_that_never_works_is_an_error(service: FakeService) -> None:
    def before(call: Call) -> None:
        if call.method == "POST":
            raise ServiceUnavailable("down")

    service.before = before
    with pytest.raises(ServiceUnavailable):
        perform(terminate("j", "x", owner=OWNER), service)


def test_at_the_deadline_the_job_is_ended_and_the_verdict_says_so(service: FakeService) -> None:
    verdict = perform(stop_at_deadline("j", OWNER, created_at=CREATED, manager_id="jobmanager"), service)

    assert verdict.status == "timed_out"
    assert "sales.load run r1 try 1" in verdict.summary()
    assert not service.active


def test_what_a_later_job_did_is_not_told_of_the_one_that_was_followed(service: FakeService) -> None:
    late = out_of_time("j", "too late", "jobmanager")
    assert perform(read_so_far(late), service).created_at == CREATED
    assert perform(read_so_far(late, created_at=moment(CREATED)), service).created_at == CREATED
    assert perform(read_so_far(late, created_at=moment("2026-01-01T00:00:00Z")), service) == late


def test_what_a_verdict_of_the_service_says_stays(service: FakeService) -> None:
    verdict = Verdict("j", "timed_out", reason="MaxWallClockTimeExpiry")
    assert perform(read_so_far(verdict), service) == verdict


@pytest.mark.parametrize(("exit_code", "status"), [(0, "succeeded"), (4, "failed")])
def test_a_job_that_ended_in_time_keeps_its_own_end(service: FakeService, exit_code: int, status: str) -> None:
    service.end("j", "JMComplete", exit_code=exit_code)

    assert perform(stop_at_deadline("j", OWNER, created_at=CREATED), service).status == status


def test_only_a_job_that_is_over_is_deleted(service: FakeService) -> None:
    assert perform(remove("j", owner=OWNER), service) == "active"
    service.end("j", "JMComplete", exit_code=0)
    assert perform(remove("j", owner=OWNER, created_at=CREATED), service) == "gone"
    assert perform(remove("j", owner=OWNER), service) == "gone"
    assert not service.jobs


def test_after_a_clear_only_the_jobs_from_before_it_are_ended() -> None:
    service = FakeService()
    cleared = evolve(OWNER, try_number=2, max_tries=3, ti_id="ti-2")
    kept = [cleared, evolve(OWNER, map_index=1), evolve(OWNER, run_id="r2"), evolve(OWNER, try_number=3, max_tries=5)]
    for owner in (OWNER, *kept):
        service._create({"id": owner.job_id(), "metadata": owner.metadata()})
    service._create({"id": f"{OWNER.job_id_stem()}x", "metadata": []})

    ended = perform(end_left_behind(cleared, cleared.job_id(), "cleared", derived=True), service)

    assert ended == [OWNER.job_id()]
    assert len(service.active) == len(kept) + 1
    assert perform(end_left_behind(cleared, cleared.job_id(), "cleared", derived=False), service) == []
