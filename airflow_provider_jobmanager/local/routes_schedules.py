"""Operations on job schedules and applications: from HTTP to the rules and back, nothing decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local import documents, errors, orders, routes_jobs, usage, versions
from airflow_provider_jobmanager.local.exchange import Answer, Exchange, tag_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_jobmanager.local.records import Doc, Job, Schedule, Task


def render(x: Exchange, schedule: Schedule) -> Doc:
    """A job schedule as it is read."""
    url = x.url("jobschedules", schedule.id)
    doc = {**schedule.doc, "url": url, **x.stats(url, lambda: usage.of_schedule(schedule, _tasks(x, schedule), x.now))}
    specification = documents.in_order(versions.job(doc["jobSpecification"], x.version), orders.SPECIFICATION_ORDER)
    doc["jobSpecification"] = documents.hide_secrets(specification)
    recent = doc["executionInfo"].get("recentJob")
    if recent is not None:
        shown = {"url": x.url("jobs", recent["id"]), "id": recent["id"]}
        doc["executionInfo"] = {**doc["executionInfo"], "recentJob": shown}
    return documents.in_order(doc, orders.SCHEDULE_ORDER)


def create_job_schedule(x: Exchange) -> Answer:
    """Create a job schedule."""
    schedule = x.engine.schedules.create(x.body())
    url = x.url("jobschedules", schedule.id)
    return Answer(201, headers={**tag_headers(schedule.doc), "Location": url, "DataServiceId": url})


def list_job_schedules(x: Exchange) -> Answer:
    """List the job schedules of the account."""
    shelf = x.store.schedules
    return x.rows("job schedules", shelf.after, lambda schedule: render(x, schedule), "jobschedules")


def get_job_schedule(x: Exchange) -> Answer:
    """Get a job schedule."""
    schedule = x.engine.schedules.get(x.names["schedule"])
    x.check(schedule.doc)
    return x.element(render(x, schedule), "jobschedules")


def job_schedule_exists(x: Exchange) -> Answer:
    """Ask whether a job schedule exists."""
    schedule = _conditional(x)
    return Answer(200, headers=tag_headers(schedule.doc))


def update_job_schedule(x: Exchange) -> Answer:
    """Change some properties of a job schedule."""
    schedule = _conditional(x)
    x.engine.schedules.patch(schedule, x.body())
    return _changed(x, schedule, 200)


def replace_job_schedule(x: Exchange) -> Answer:
    """Replace the properties of a job schedule."""
    schedule = _conditional(x)
    x.engine.schedules.put(schedule, x.body())
    return _changed(x, schedule, 200)


def delete_job_schedule(x: Exchange) -> Answer:
    """Delete a job schedule with its jobs."""
    schedule = _conditional(x)
    x.engine.schedules.delete(schedule)
    return Answer(202)


def disable_job_schedule(x: Exchange) -> Answer:
    """Make no more jobs of a job schedule."""
    schedule = _conditional(x)
    x.engine.schedules.disable(schedule)
    return _changed(x, schedule, 204, "disable")


def enable_job_schedule(x: Exchange) -> Answer:
    """Make jobs of a job schedule again."""
    schedule = _conditional(x)
    x.engine.schedules.enable(schedule)
    return _changed(x, schedule, 204, "enable")


def terminate_job_schedule(x: Exchange) -> Answer:
    """End a job schedule and its job."""
    schedule = _conditional(x)
    x.engine.schedules.terminate(schedule)
    return _changed(x, schedule, 202, "terminate")


def list_jobs_from_schedule(x: Exchange) -> Answer:
    """List the jobs that a job schedule made."""
    schedule = x.engine.schedules.get(x.names["schedule"])

    def jobs(after: str | None) -> Iterator[Job]:
        return (job for job in x.store.jobs.after(after) if job.schedule == schedule.key)

    return x.rows("schedule jobs", jobs, lambda job: routes_jobs.render(x, job), "jobs")


def list_applications(x: Exchange) -> Answer:
    """List the applications of the account: a local one has none."""
    return Answer(200, {"odata.metadata": x.metadata("applications"), "value": []})


def get_application(_: Exchange) -> Answer:
    """Get an application: a local account has none."""
    raise errors.refuse("ApplicationNotFound")


def _tasks(x: Exchange, schedule: Schedule) -> Iterator[Task]:
    for job in x.store.jobs:
        if job.schedule == schedule.key:
            yield from x.store.tasks(job.key)


def _conditional(x: Exchange) -> Schedule:
    schedule = x.engine.schedules.get(x.names["schedule"])
    x.check(schedule.doc)
    return schedule


def _changed(x: Exchange, schedule: Schedule, status: int, *action: str) -> Answer:
    url = x.url("jobschedules", schedule.id, *action)
    return Answer(status, headers={**tag_headers(schedule.doc), "DataServiceId": url})
