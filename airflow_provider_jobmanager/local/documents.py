"""Jobs, tasks and pools as the service keeps them: every default, and what does not go together.

The defaults that the service fills in are read off recorded traffic; what it refuses is in the REST reference.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from airflow_provider_jobmanager.local import bodies, errors, orders
from airflow_provider_jobmanager.local.formats import UNLIMITED

Doc = dict[str, Any]

MAX_DEPENDENCY_CHARACTERS = 64_000
MAX_DEPENDENCY_RANGES = 1_000
PREPARATION_ID = "jobpreparation"
RELEASE_ID = "jobrelease"

_SECRETS = frozenset({"password", "sshprivatekey", "protectedsettings"})
"""Members that are written and never read: of registries, user accounts and extensions of machines."""
_WITH_SECRETS = frozenset(
    {
        "containerSettings", "jobManagerTask", "jobPreparationTask", "jobReleaseTask", "poolInfo", "startTask",
        "userAccounts", "virtualMachineConfiguration",
    }
)  # fmt: skip


def default_user() -> Doc:
    """The identity of a task that names none: a non-administrator auto user of the pool."""
    return {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}


def task_constraints(given: Doc | None, retries: int) -> Doc:
    """Task constraints with their defaults; the retry count comes from the job."""
    given = given or {}
    return {
        "maxWallClockTime": given.get("maxWallClockTime", UNLIMITED),
        "retentionTime": given.get("retentionTime", "P7D"),
        "maxTaskRetryCount": given.get("maxTaskRetryCount", retries),
    }


def job_constraints(given: Doc | None) -> Doc:
    """Job constraints with their defaults."""
    given = given or {}
    return {
        "maxWallClockTime": given.get("maxWallClockTime", UNLIMITED),
        "maxTaskRetryCount": given.get("maxTaskRetryCount", 0),
    }


def job(body: Doc) -> Doc:
    """The settings of a new job with all defaults, from a body that has its shape.

    Raises:
        BatchError: parts that do not go together.
    """
    check_metadata(body.get("metadata"))
    check_pool_info(body["poolInfo"])
    if "jobReleaseTask" in body and "jobPreparationTask" not in body:
        raise errors.invalid_property(
            "jobReleaseTask", None, "A job release task needs a job preparation task on the same job"
        )
    kept = dict(body)
    kept.setdefault("priority", 0)
    kept.setdefault("maxParallelTasks", -1)
    _check_parallel(kept)
    kept.setdefault("usesTaskDependencies", False)
    kept.setdefault("allowTaskPreemption", False)
    kept.setdefault("onAllTasksComplete", "noaction")
    kept.setdefault("onTaskFailure", "noaction")
    kept["constraints"] = job_constraints(body.get("constraints"))
    retries = kept["constraints"]["maxTaskRetryCount"]
    if "jobManagerTask" in body:
        kept["jobManagerTask"] = manager(body["jobManagerTask"], retries)
    if "jobPreparationTask" in body:
        kept["jobPreparationTask"] = preparation(body["jobPreparationTask"], retries)
    if "jobReleaseTask" in body:
        kept["jobReleaseTask"] = release(body["jobReleaseTask"])
    kept["poolInfo"] = pool_info(body["poolInfo"])
    _check_same_ids(kept)
    return kept


def specification(body: Doc) -> Doc:
    """The job specification of a schedule with all its defaults.

    Raises:
        BatchError: parts that do not go together.
    """
    return in_order(job(body), orders.SPECIFICATION_ORDER)


def manager(body: Doc, retries: int) -> Doc:
    """A job manager task as part of its job."""
    check_files(body)
    check_packages(body)
    kept = {name: body[name] for name in bodies.JOB_MANAGER.members if name in body}
    kept["constraints"] = task_constraints(body.get("constraints"), retries)
    defaults: Doc = {
        "requiredSlots": 1,
        "userIdentity": user(body),
        "runExclusive": True,
        "allowLowPriorityNode": True,
        "killJobOnCompletion": True,
    }
    for name, value in defaults.items():
        kept.setdefault(name, value)
    return in_order(kept, tuple(bodies.JOB_MANAGER.members))


def preparation(body: Doc, retries: int) -> Doc:
    """A job preparation task as part of its job."""
    check_files(body)
    kept = {"id": PREPARATION_ID, **body, "constraints": task_constraints(body.get("constraints"), retries)}
    kept["userIdentity"] = user(body)
    kept.setdefault("waitForSuccess", True)
    kept.setdefault("rerunOnNodeRebootAfterSuccess", True)
    return in_order(kept, tuple(bodies.PREPARATION.members))


def release(body: Doc) -> Doc:
    """A job release task as part of its job."""
    check_files(body)
    kept = {"id": RELEASE_ID, "maxWallClockTime": "PT15M", "retentionTime": "P7D", **body, "userIdentity": user(body)}
    return in_order(kept, tuple(bodies.RELEASE.members))


def task(body: Doc, job_doc: Doc) -> Doc:
    """The settings of a new task with all defaults.

    Raises:
        BatchError: parts that do not go together, among themselves or with the job.
    """
    check_files(body)
    check_packages(body)
    kept = dict(body)
    kept["userIdentity"] = user(body)
    kept["constraints"] = task_constraints(body.get("constraints"), job_doc["constraints"]["maxTaskRetryCount"])
    kept.setdefault("requiredSlots", 1)
    if "dependsOn" in body:
        _check_dependencies(body["dependsOn"], job_doc)
    if "exitConditions" in body:
        _check_exit_conditions(body["exitConditions"], job_doc)
    return kept


def manager_as_task(kept: Doc) -> Doc:
    """The task that the service makes of a job's manager: without what only a manager has."""
    only_manager = ("runExclusive", "allowLowPriorityNode", "killJobOnCompletion")
    return {name: deepcopy(value) for name, value in kept.items() if name not in only_manager}


def user(body: Doc) -> Doc:
    """The identity a task runs under, as kept: a user name alone, or a whole auto user."""
    given: Doc = body.get("userIdentity") or {}
    if "username" in given:
        if "autoUser" in given:
            raise errors.invalid_property("userIdentity", None, "username and autoUser can't both be given")
        return given
    return {"autoUser": {**default_user()["autoUser"], **given.get("autoUser", {})}}


def pool_info(body: Doc) -> Doc:
    """Where a job runs, with the defaults of a pool that the service makes for it.

    Raises:
        BatchError: a pool is to be made, and nothing says what kind of pool.
    """
    if "autoPoolSpecification" not in body:
        return body
    auto = dict(body["autoPoolSpecification"])
    if "pool" not in auto:
        name = "poolInfo.autoPoolSpecification.pool"
        raise errors.refuse("MissingRequiredProperty", values={"PropertyName": name})
    auto.setdefault("keepAlive", False)
    auto["pool"] = pool_specification(auto["pool"])
    return {"autoPoolSpecification": in_order(auto, tuple(bodies.AUTO_POOL.members))}


def pool_specification(body: Doc) -> Doc:
    """A pool specification with its defaults. Its formula is not read: what is wrong there shows when it is used."""
    kept = dict(body)
    slots = kept.pop("maxTasksPerNode", 1)
    kept.setdefault("taskSlotsPerNode", slots)
    kept["taskSchedulingPolicy"] = scheduling_policy(kept.get("taskSchedulingPolicy", {}))
    kept.setdefault("resizeTimeout", "PT15M")
    kept.setdefault("targetDedicatedNodes", 0)
    kept.setdefault("targetLowPriorityNodes", 0)
    kept.setdefault("enableAutoScale", False)
    kept.setdefault("enableInterNodeCommunication", False)
    _check_scaling(kept)
    check_packages(kept)
    if "startTask" in kept:
        kept["startTask"] = start_task(kept["startTask"])
    return in_order(kept, tuple(bodies.POOL_SPECIFICATION.members))


def scheduling_policy(given: Doc) -> Doc:
    """How a pool spreads its tasks, and the order of its jobs, with the defaults."""
    return {"nodeFillType": "Spread", "jobDefaultOrder": "none", **given}


def start_task(body: Doc) -> Doc:
    """A start task as part of its pool."""
    check_files(body)
    start = {"maxTaskRetryCount": 0, "waitForSuccess": True, **body, "userIdentity": user(body)}
    return in_order(start, tuple(bodies.START_TASK.members))


def check_packages(body: Doc) -> None:
    """No application packages: a local account has no applications."""
    packages = body.get("applicationPackageReferences")
    if packages:
        names = ", ".join(package["applicationId"] for package in packages)
        reason = f"The local Batch service has no applications, so not these: {names}"
        raise errors.refuse("InvalidApplicationPackageReferences", values={"Reason": reason})


def check_pool_info(body: Doc) -> None:
    """Exactly one of a pool id and a specification."""
    if ("poolId" in body) == ("autoPoolSpecification" in body):
        raise errors.invalid_property("poolInfo", None, "Exactly one of poolId and autoPoolSpecification must be given")


def check_metadata(metadata: list[Doc] | None) -> None:
    """No empty names."""
    if any(not item["name"] for item in metadata or ()):
        raise errors.refuse("EmptyMetadataKey")


def check_files(body: Doc) -> None:
    """Files that can be fetched and uploaded.

    Raises:
        BatchError: 400 or 501, naming the file.
    """
    if not body.get("resourceFiles") and not body.get("outputFiles"):
        return
    # Storage clients are heavy, and most tasks have no files.
    from airflow_provider_jobmanager.local import transfer, uploads  # noqa: PLC0415 - see above

    # Whether there is auto-storage is not a question of the document: the engine asks it.
    transfer.check_resource_files(body.get("resourceFiles", []), transfer.Storage("any"))
    uploads.check_output_files(body.get("outputFiles", []))


def in_order(doc: Doc, order: tuple[str, ...]) -> Doc:
    """The same members in the service's order; members that are not in it are dropped."""
    return {name: doc[name] for name in order if name in doc}


def hide_secrets(doc: Doc) -> Doc:
    """The same without passwords and keys, which only execution needs: reads never show them.

    Args:
        doc: a job, a task, a pool, a node or the specification of one; it stays as it is.
    """
    return {name: _without_secrets(value) if name in _WITH_SECRETS else value for name, value in doc.items()}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        # Tags may have any name.
        name: member if name == "resourceTags" else _without_secrets(member)
        for name, member in value.items()
        if name.lower() not in _SECRETS
    }


def _check_parallel(kept: Doc) -> None:
    if kept["maxParallelTasks"] == 0:
        raise errors.invalid_property("maxParallelTasks", "0", "The value must be -1 or greater than 0")


def _check_scaling(kept: Doc) -> None:
    if kept["enableAutoScale"]:
        if "autoScaleFormula" not in kept:
            raise errors.refuse("MissingRequiredProperty", values={"PropertyName": "autoScaleFormula"})
        kept.setdefault("autoScaleEvaluationInterval", "PT15M")
    elif "autoScaleFormula" in kept:
        raise errors.invalid_property("autoScaleFormula", None, "A formula needs a pool with enableAutoScale")


def _check_same_ids(kept: Doc) -> None:
    named = (kept.get("jobManagerTask", {}).get("id", "").lower(), "jobManagerTask")
    for part, code in (
        ("jobPreparationTask", "TaskIdSameAsJobPreparationTask"),
        ("jobReleaseTask", "TaskIdSameAsJobReleaseTask"),
    ):
        if part in kept and kept[part]["id"].lower() == named[0]:
            raise errors.refuse(code)


def _check_dependencies(depends: Doc, job_doc: Doc) -> None:
    if not job_doc["usesTaskDependencies"]:
        raise errors.refuse("TaskDependenciesNotSpecifiedOnJob")
    if sum(map(len, depends.get("taskIds", ()))) > MAX_DEPENDENCY_CHARACTERS:
        raise errors.refuse("TaskDependencyListTooLong")
    ranges = depends.get("taskIdRanges", ())
    if len(ranges) > MAX_DEPENDENCY_RANGES:
        raise errors.refuse("TaskDependencyRangesTooLong")
    for index, each in enumerate(ranges):
        if each["end"] < each["start"]:
            raise errors.invalid_property(
                f"dependsOn.taskIdRanges[{index}]", f"{each['start']}-{each['end']}", "The range ends before it starts"
            )


def _check_exit_conditions(conditions: Doc, job_doc: Doc) -> None:
    options = [entry["exitOptions"] for name in ("exitCodes", "exitCodeRanges") for entry in conditions.get(name, ())]
    options += [conditions[name] for name in ("preProcessingError", "fileUploadError", "default") if name in conditions]
    if job_doc["onTaskFailure"] == "noaction" and any("jobAction" in each for each in options):
        raise errors.invalid_property(
            "exitConditions.jobAction", None, "A job action can't be given while the job's onTaskFailure is noaction"
        )
    if not job_doc["usesTaskDependencies"] and any("dependencyAction" in each for each in options):
        raise errors.invalid_property(
            "exitConditions.dependencyAction", None, "A dependency action needs a job with usesTaskDependencies"
        )
