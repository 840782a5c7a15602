"""Operations on jobs: from HTTP to the rules and back, nothing decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local import documents, errors, orders, usage, versions
from airflow_provider_jobmanager.local.exchange import Answer, Exchange, tag_headers

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.records import Doc, Job

_RUN_ORDER = (
    "startTime", "endTime", "state", "taskRootDirectory", "taskRootDirectoryUrl", "exitCode", "containerInfo",
    "failureInfo", "retryCount", "lastRetryTime", "result",
)  # fmt: skip


def render(x: Exchange, job: Job) -> Doc:
    """A job as it is read."""
    url = x.url("jobs", job.id)
    stats = x.stats(url, lambda: usage.of_job(job, x.store.tasks(job.key), x.now))
    doc = versions.job({**job.doc, "url": url, **stats}, x.version)
    return documents.hide_secrets(documents.in_order(doc, orders.JOB_ORDER))


def create_job(x: Exchange) -> Answer:
    """Create a job."""
    job = x.engine.jobs.create(x.body())
    # Recorded traffic: the literal job-1, whatever the id.
    url = x.url("jobs", "job-1")
    return Answer(201, headers={**tag_headers(job.doc), "Location": url, "DataServiceId": url})


def get_job(x: Exchange) -> Answer:
    """Get a job."""
    job = x.engine.jobs.get(x.names["job"])
    x.check(job.doc)
    return x.element(render(x, job), "jobs")


def list_jobs(x: Exchange) -> Answer:
    """List the jobs of the account."""
    return x.rows("jobs", x.store.jobs.after, lambda job: render(x, job), "jobs")


def update_job(x: Exchange) -> Answer:
    """Change some properties of a job."""
    job = _conditional(x)
    x.engine.jobs.patch(job, x.body())
    return _changed(x, job, 200)


def replace_job(x: Exchange) -> Answer:
    """Replace the properties of a job."""
    job = _conditional(x)
    x.engine.jobs.put(job, x.body())
    return _changed(x, job, 200)


def disable_job(x: Exchange) -> Answer:
    """Disable a job."""
    job = _conditional(x)
    x.engine.jobs.disable(job, x.body())
    return _changed(x, job, 202, "disable")


def enable_job(x: Exchange) -> Answer:
    """Enable a job."""
    job = _conditional(x)
    x.engine.jobs.enable(job)
    return _changed(x, job, 202, "enable")


def terminate_job(x: Exchange) -> Answer:
    """Terminate a job."""
    job = _conditional(x)
    x.engine.jobs.terminate(job, x.json, force=x.force)
    return _changed(x, job, 202, "terminate")


def delete_job(x: Exchange) -> Answer:
    """Delete a job."""
    job = _conditional(x)
    x.engine.jobs.delete(job, force=x.force)
    return Answer(202)


def get_job_task_counts(x: Exchange) -> Answer:
    """Count the tasks of a job by state."""
    job = x.engine.jobs.get(x.names["job"])
    return x.element(x.engine.tasks.counts(job), "taskcountsresult")


def list_preparation_and_release_status(x: Exchange) -> Answer:
    """List what the job preparation and release tasks did on each node."""
    job = x.engine.jobs.get(x.names["job"])
    if "jobPreparationTask" not in job.doc:
        raise errors.refuse("JobPreparationTaskOrReleaseTaskNotSpecified")
    rows = (_preparation(x, entry) for entry in job.prepared.values())
    kind = "preparation and release status"
    return x.plain_rows(kind, rows, "nodeId", "jobpreparationandreleasetaskstatuslist")


def _preparation(x: Exchange, entry: Doc) -> Doc:
    url = x.url("pools", entry["poolId"], "nodes", entry["nodeId"])
    row: Doc = {"poolId": entry["poolId"], "nodeId": entry["nodeId"], "nodeUrl": url}
    for name in ("jobPreparationTaskExecutionInfo", "jobReleaseTaskExecutionInfo"):
        if name in entry:
            info = dict(entry[name])
            info["taskRootDirectoryUrl"] = f"{url}/files/{info['taskRootDirectory']}"
            row[name] = documents.in_order(info, _RUN_ORDER)
    return row


def _conditional(x: Exchange) -> Job:
    job = x.engine.jobs.get(x.names["job"])
    x.check(job.doc)
    return job


def _changed(x: Exchange, job: Job, status: int, *action: str) -> Answer:
    return Answer(status, headers={**tag_headers(job.doc), "DataServiceId": x.url("jobs", job.id, *action)})
