"""Operations on tasks: from HTTP to the rules and back, nothing decided."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local import documents, errors, orders, usage
from airflow_provider_jobmanager.local.exchange import Answer, Exchange, tag_headers

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.errors import BatchError
    from airflow_provider_jobmanager.local.records import Doc, Job, Task


# What a row of a collection was seen to say, in a report of a user, where a task added alone gets a code of its own.
_IN_ROWS = {"TaskDependenciesNotSpecifiedOnJob": errors.refuse("UnsupportedProperty")}


def render(x: Exchange, job: Job, task: Task) -> Doc:
    """A task as it is read."""
    url = _url(x, job, task)
    doc = {**task.doc, "url": url, **x.stats(url, lambda: usage.of_task(task, x.now))}
    node = doc.get("nodeInfo")
    if node:
        url = x.url("pools", node["poolId"], "nodes", node["nodeId"])
        root = node["taskRootDirectory"]
        doc["nodeInfo"] = {
            "affinityId": node["affinityId"],
            "nodeUrl": url,
            "poolId": node["poolId"],
            "nodeId": node["nodeId"],
            "taskRootDirectory": root,
            "taskRootDirectoryUrl": f"{url}/files/{root}",
        }
    return documents.hide_secrets(documents.in_order(doc, orders.TASK_ORDER))


def create_task(x: Exchange) -> Answer:
    """Add a task to a job."""
    job = x.engine.jobs.changeable(x.names["job"])
    task = x.engine.tasks.add(job, x.body())
    url = _url(x, job, task)
    return Answer(201, headers={**tag_headers(task.doc), "Location": url, "DataServiceId": url})


def create_task_collection(x: Exchange) -> Answer:
    """Add a collection of tasks to a job."""
    job = x.engine.jobs.changeable(x.names["job"])
    rows = []
    for name, result in x.engine.tasks.add_collection(job, x.body()):
        if isinstance(result, errors.BatchError):
            # The SDK sends rows with a server error again without end, so only those are named that may go away.
            passing = result.status >= HTTPStatus.INTERNAL_SERVER_ERROR and result.status != HTTPStatus.NOT_IMPLEMENTED
            status = "servererror" if passing else "clienterror"
            rows.append({"status": status, "taskId": name, "error": _error(x, result)})
        else:
            rows.append(
                {
                    "status": "Success",
                    "taskId": result.id,
                    "eTag": result.doc["eTag"],
                    "lastModified": result.doc["lastModified"],
                    "location": _url(x, job, result),
                }
            )
    return Answer(200, {"odata.metadata": x.metadata("taskaddresult"), "value": rows})


def get_task(x: Exchange) -> Answer:
    """Get a task."""
    job, task = _find(x)
    x.check(task.doc)
    return x.element(render(x, job, task), "tasks")


def list_tasks(x: Exchange) -> Answer:
    """List the tasks of a job."""
    job = x.engine.jobs.get(x.names["job"])
    shelf = x.store.tasks(job.key)
    return x.rows("tasks", shelf.after, lambda task: render(x, job, task), "tasks")


def replace_task(x: Exchange) -> Answer:
    """Change the constraints of a task."""
    job, task = _conditional(x)
    x.engine.tasks.update(task, x.body())
    return Answer(200, headers={**tag_headers(task.doc), "DataServiceId": _url(x, job, task)})


def terminate_task(x: Exchange) -> Answer:
    """Terminate a task."""
    job, task = _conditional(x)
    x.engine.tasks.terminate(task)
    return Answer(204, headers={**tag_headers(task.doc), "DataServiceId": f"{_url(x, job, task)}/terminate"})


def reactivate_task(x: Exchange) -> Answer:
    """Run a failed task again."""
    job, task = _conditional(x)
    x.engine.tasks.reactivate(job, task)
    return Answer(204, headers=tag_headers(task.doc))


def delete_task(x: Exchange) -> Answer:
    """Delete a task."""
    _, task = _conditional(x)
    x.engine.tasks.delete(task)
    return Answer(200)


def list_subtasks(x: Exchange) -> Answer:
    """List the subtasks of a task: none, as multi-instance tasks are not emulated."""
    _find(x)
    return Answer(200, {"odata.metadata": x.metadata("subtaskinfo"), "value": []})


def _find(x: Exchange) -> tuple[Job, Task]:
    job = x.engine.jobs.get(x.names["job"])
    return job, x.engine.tasks.get(job, x.names["task"])


def _conditional(x: Exchange) -> tuple[Job, Task]:
    job, task = _find(x)
    x.check(task.doc)
    if job.state == "deleting":
        raise errors.refuse("JobBeingDeleted")
    return job, task


def _url(x: Exchange, job: Job, task: Task) -> str:
    return x.url("jobs", job.id, "tasks", task.id)


def _error(x: Exchange, error: BatchError) -> Doc:
    error = _IN_ROWS.get(error.code, error)
    body: Doc = {"code": error.code, "message": {"lang": "en-US", "value": f"{error.message}\n{x.signature()}"}}
    if error.values:
        body["values"] = [{"key": key, **({} if value is None else {"value": value})} for key, value in error.values]
    return body
