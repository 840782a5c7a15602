"""Trouble on purpose, as the official client meets it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest
from azure.batch import BatchClient
from azure.batch import models as sdk
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ServiceResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jobmanager.local import LocalBatch
    from tests.local.wire import Wire


@pytest.fixture
def client(batch: LocalBatch) -> Iterator[BatchClient]:
    # Without waiting between tries: how often it tries is the client's own affair, how long is ours here.
    with BatchClient(batch.url, AzureNamedKeyCredential(batch.account, batch.key), retry_backoff_factor=0) as client:
        yield client


def a_job(name: str = "job") -> sdk.BatchJobCreateOptions:
    return sdk.BatchJobCreateOptions(id=name, pool_info=sdk.BatchPoolInfo(pool_id="nowhere"))


def test_a_busy_service_is_waited_for_as_long_as_it_asks(batch: LocalBatch, client: BatchClient):
    batch.faults.add(operation="create_job", then="answer", status=503, retry_after=1, times=1)
    started = time.monotonic()

    client.create_job(a_job())

    assert time.monotonic() - started >= 1
    assert [entry.status for entry in batch.journal] == [503, 201]


def test_throttling_without_a_word_of_when_ends_a_create_at_once(batch: LocalBatch, client: BatchClient):
    batch.faults.add(operation="create_job", then="answer", status=429, times=1)

    with pytest.raises(HttpResponseError) as refused:
        client.create_job(a_job())

    assert (refused.value.status_code, refused.value.error.code) == (429, "TooManyRequests")


def test_an_answer_that_is_lost_leaves_the_job_behind(batch: LocalBatch, client: BatchClient):
    batch.faults.add(operation="create_job", then="lose-answer", times=1)

    with pytest.raises((ResourceExistsError, ServiceResponseError)) as lost:
        client.create_job(a_job())

    # Either it gave up, or it met its own first attempt.
    assert isinstance(lost.value, ServiceResponseError) or lost.value.error.code == "JobExists"
    assert client.get_job("job").state == "active"


def test_a_connection_dropped_before_the_work_leaves_nothing_behind(batch: LocalBatch, client: BatchClient, wire: Wire):
    batch.faults.add(operation="get_job", then="drop", times=1)
    client.create_job(a_job())

    assert client.get_job("job").id == "job"
    assert wire.send("GET", "/jobs/job").status_code == 200


def test_garbage_is_no_answer(batch: LocalBatch, client: BatchClient):
    client.create_job(a_job())
    batch.faults.add(operation="get_job", then="garbage", status=502)

    with pytest.raises(HttpResponseError) as refused:
        client.get_job("job")

    assert refused.value.status_code == 502


def test_a_stale_list_shows_what_was_and_a_read_what_is(batch: LocalBatch, client: BatchClient, wire: Wire):
    for name in ("stays", "ends", "goes"):
        client.create_job(a_job(name))
    client.create_task("stays", sdk.BatchTaskCreateOptions(id="t", command_line="x"))
    batch.faults.add(operation="list_*", then="stale", times=2)
    client.create_job(a_job("new"))
    wire.must("POST", "/jobs/ends/terminate")
    wire.until_state("/jobs/ends", "completed")
    wire.must("DELETE", "/jobs/goes")
    wire.until_gone("/jobs/goes")
    client.delete_task("stays", "t")

    stale = {job.id: job.state for job in client.list_jobs()}
    tasks = [task.id for task in client.list_tasks("stays")]
    fresh = {job.id: job.state for job in client.list_jobs()}

    assert stale == {"ends": "active", "goes": "active", "stays": "active"}
    assert tasks == ["t"]
    assert fresh == {"ends": "completed", "new": "active", "stays": "active"}


def test_a_wrong_clock_shows_in_the_date_alone(batch: LocalBatch, client: BatchClient, wire: Wire):
    client.create_job(a_job())
    batch.faults.add(then="skew", seconds=7200, times=1)

    skewed, right = wire.send("GET", "/jobs/job"), wire.send("GET", "/jobs/job")

    ahead = parsedate_to_datetime(skewed.headers["date"]) - parsedate_to_datetime(right.headers["date"])
    assert 7190 < ahead.total_seconds() <= 7200
    assert skewed.json()["lastModified"] == right.json()["lastModified"]
