"""What request bodies may hold: the shapes of jobs, tasks, pools, schedules and of what is done to them.

Members and limits are those of the REST reference, api-version 2025-06-01, with members of older versions that the
service still takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local.shapes import (
    Shape,
    anything,
    boolean,
    choice,
    duration,
    identifier,
    integer,
    list_of,
    mapping,
    moment,
    not_emulated,
    only_false,
    text,
)

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.shapes import Check

# -- parts ------------------------------------------------------------------------------------------------------------

NAME_VALUE = Shape("name", name=text(), value=text())
METADATA = list_of(Shape("name", "value", name=text(), value=text()))
IDENTITY = Shape(resourceId=text())
USER_IDENTITY = Shape(
    username=text(),
    autoUser=Shape(scope=choice("pool", "task"), elevationLevel=choice("nonadmin", "admin")),
)
RESOURCE_FILE = Shape(
    autoStorageContainerName=text(),
    storageContainerUrl=text(),
    httpUrl=text(),
    blobPrefix=text(),
    filePath=text(),
    fileMode=text(),
    identityReference=IDENTITY,
)
OUTPUT_FILE = Shape(
    "filePattern",
    "destination",
    "uploadOptions",
    filePattern=text(shortest=1),
    destination=Shape(
        container=Shape(
            "containerUrl",
            path=text(),
            containerUrl=text(),
            identityReference=IDENTITY,
            uploadHeaders=list_of(NAME_VALUE),
        )
    ),
    uploadOptions=Shape("uploadCondition", uploadCondition=choice("tasksuccess", "taskfailure", "taskcompletion")),
)
CONTAINER = Shape(
    "imageName",
    containerRunOptions=text(),
    imageName=text(shortest=1),
    registry=Shape(username=text(), password=text(), registryServer=text(), identityReference=not_emulated),
    workingDirectory=choice("taskWorkingDirectory", "containerImageDefault"),
    containerHostBatchBindMounts=not_emulated,
)
PACKAGES = list_of(Shape("applicationId", applicationId=text(), version=text()))
TASK_CONSTRAINTS = Shape(maxWallClockTime=duration(), retentionTime=duration(), maxTaskRetryCount=integer(-1))
JOB_CONSTRAINTS = Shape(maxWallClockTime=duration(), maxTaskRetryCount=integer(-1))
TOKEN_SETTINGS = Shape(access=list_of(choice("job")))
EXIT_OPTIONS = Shape(jobAction=choice("none", "disable", "terminate"), dependencyAction=choice("satisfy", "block"))
EXIT_CONDITIONS = Shape(
    exitCodes=list_of(Shape("code", "exitOptions", code=integer(), exitOptions=EXIT_OPTIONS)),
    exitCodeRanges=list_of(
        Shape("start", "end", "exitOptions", start=integer(), end=integer(), exitOptions=EXIT_OPTIONS)
    ),
    preProcessingError=EXIT_OPTIONS,
    fileUploadError=EXIT_OPTIONS,
    default=EXIT_OPTIONS,
)
_COMMAND: dict[str, Check] = {
    "commandLine": text(),
    "containerSettings": CONTAINER,
    "resourceFiles": list_of(RESOURCE_FILE),
}


class Command(Shape):
    """An object with a command line: an empty one where the image of a container names the program."""

    def __call__(self, value: Any, name: str = "") -> dict[str, Any]:
        """Check an object."""
        checked = super().__call__(value, name)
        if "containerSettings" not in checked:
            text(shortest=1)(checked["commandLine"], f"{name}.commandLine" if name else "commandLine")
        return checked


# -- tasks ------------------------------------------------------------------------------------------------------------

JOB_MANAGER = Command(
    "id",
    "commandLine",
    id=identifier,
    displayName=text(longest=1024),
    **_COMMAND,
    outputFiles=list_of(OUTPUT_FILE),
    environmentSettings=list_of(NAME_VALUE),
    applicationPackageReferences=PACKAGES,
    authenticationTokenSettings=TOKEN_SETTINGS,
    constraints=TASK_CONSTRAINTS,
    requiredSlots=integer(1),
    userIdentity=USER_IDENTITY,
    runExclusive=boolean,
    allowLowPriorityNode=boolean,
    killJobOnCompletion=boolean,
)
PREPARATION = Command(
    "commandLine",
    id=identifier,
    **_COMMAND,
    environmentSettings=list_of(NAME_VALUE),
    constraints=TASK_CONSTRAINTS,
    userIdentity=USER_IDENTITY,
    waitForSuccess=boolean,
    rerunOnNodeRebootAfterSuccess=boolean,
)
RELEASE = Command(
    "commandLine",
    id=identifier,
    **_COMMAND,
    environmentSettings=list_of(NAME_VALUE),
    maxWallClockTime=duration(longest="PT15M"),
    retentionTime=duration(),
    userIdentity=USER_IDENTITY,
)
START_TASK = Command(
    "commandLine",
    **_COMMAND,
    environmentSettings=list_of(NAME_VALUE),
    userIdentity=USER_IDENTITY,
    maxTaskRetryCount=integer(-1),
    waitForSuccess=boolean,
)
TASK = Command(
    "id",
    "commandLine",
    id=identifier,
    displayName=text(longest=1024),
    **_COMMAND,
    outputFiles=list_of(OUTPUT_FILE),
    environmentSettings=list_of(NAME_VALUE),
    affinityInfo=Shape("affinityId", affinityId=text()),
    applicationPackageReferences=PACKAGES,
    userIdentity=USER_IDENTITY,
    exitConditions=EXIT_CONDITIONS,
    multiInstanceSettings=not_emulated,
    authenticationTokenSettings=TOKEN_SETTINGS,
    dependsOn=Shape(
        taskIds=list_of(text()),
        taskIdRanges=list_of(Shape("start", "end", start=integer(0), end=integer(0))),
    ),
    constraints=TASK_CONSTRAINTS,
    requiredSlots=integer(1),
)
TASK_UPDATE = Shape(constraints=TASK_CONSTRAINTS)
COLLECTION = Shape("value", value=list_of(anything))

# -- pools ------------------------------------------------------------------------------------------------------------

SCHEDULING_POLICY = Shape(
    "nodeFillType", nodeFillType=choice("Spread", "Pack"), jobDefaultOrder=choice("none", "creationtime")
)
POOL_SPECIFICATION = Shape(
    "vmSize",
    displayName=text(longest=1024),
    vmSize=lambda value, name: text(shortest=1)(value, name).lower(),
    virtualMachineConfiguration=mapping,
    cloudServiceConfiguration=mapping,
    taskSlotsPerNode=integer(1, 256),
    maxTasksPerNode=integer(1, 256),
    taskSchedulingPolicy=SCHEDULING_POLICY,
    resizeTimeout=duration(shortest="PT5M", longest="P7D"),
    targetDedicatedNodes=integer(0),
    targetLowPriorityNodes=integer(0),
    enableAutoScale=boolean,
    autoScaleFormula=text(),
    autoScaleEvaluationInterval=duration(shortest="PT5M", longest="P7D"),
    enableInterNodeCommunication=boolean,
    networkConfiguration=mapping,
    startTask=START_TASK,
    certificateReferences=list_of(mapping),
    applicationPackageReferences=PACKAGES,
    userAccounts=list_of(mapping),
    metadata=METADATA,
    resourceTags=mapping,
    mountConfiguration=not_emulated,
    targetNodeCommunicationMode=choice("default", "classic", "simplified"),
    upgradePolicy=mapping,
)
AUTO_POOL = Shape(
    "poolLifetimeOption",
    autoPoolIdPrefix=lambda value, name: text(longest=20)(identifier(value, name), name),
    poolLifetimeOption=choice("job", "jobschedule"),
    keepAlive=boolean,
    pool=POOL_SPECIFICATION,
)
POOL = Shape("id", *POOL_SPECIFICATION.required, id=identifier, **POOL_SPECIFICATION.members)
_POOL_CHANGES: dict[str, Check] = {
    "startTask": START_TASK,
    "certificateReferences": list_of(mapping),
    "applicationPackageReferences": PACKAGES,
    "metadata": METADATA,
    "targetNodeCommunicationMode": choice("default", "classic", "simplified"),
}
_POOL_WHEN_EMPTY = (
    "displayName", "vmSize", "virtualMachineConfiguration", "taskSlotsPerNode", "taskSchedulingPolicy",
    "enableInterNodeCommunication", "networkConfiguration", "userAccounts", "mountConfiguration", "upgradePolicy",
)  # fmt: skip
POOL_WHEN_EMPTY: dict[str, Check] = {name: POOL_SPECIFICATION.members[name] for name in _POOL_WHEN_EMPTY}
"""What a pool can change of itself only while it has no nodes (REST reference, Update Pool)."""
POOL_PATCH = Shape(**_POOL_CHANGES, **POOL_WHEN_EMPTY, resourceTags=mapping)
POOL_REPLACE = Shape(**_POOL_CHANGES)
_DEALLOCATION = choice("requeue", "terminate", "taskcompletion", "retaineddata")
RESIZE = Shape(
    targetDedicatedNodes=integer(0),
    targetLowPriorityNodes=integer(0),
    resizeTimeout=duration(shortest="PT5M", longest="P7D"),
    nodeDeallocationOption=_DEALLOCATION,
)
REMOVE_NODES = Shape(
    "nodeList",
    nodeList=list_of(text(shortest=1)),
    resizeTimeout=duration(shortest="PT5M", longest="P7D"),
    nodeDeallocationOption=_DEALLOCATION,
)
AUTO_SCALE = Shape(
    autoScaleFormula=text(shortest=1), autoScaleEvaluationInterval=duration(shortest="PT5M", longest="P7D")
)
EVALUATE = Shape("autoScaleFormula", autoScaleFormula=text(shortest=1))
REBOOT = Shape(nodeRebootOption=_DEALLOCATION)
REIMAGE = Shape(nodeReimageOption=_DEALLOCATION)
DISABLE_SCHEDULING = Shape(nodeDisableSchedulingOption=choice("requeue", "terminate", "taskcompletion"))
POOL_INFO = Shape(poolId=identifier, autoPoolSpecification=AUTO_POOL)

# -- jobs -------------------------------------------------------------------------------------------------------------

_JOB_SETTINGS: dict[str, Check] = {
    "priority": integer(-1000, 1000, code="OutOfRangePriority"),
    "maxParallelTasks": integer(-1),
    "allowTaskPreemption": only_false,
    "constraints": JOB_CONSTRAINTS,
    "poolInfo": POOL_INFO,
    "metadata": METADATA,
    "onAllTasksComplete": choice("noaction", "terminatejob"),
    "networkConfiguration": not_emulated,
}
_JOB_PARTS: dict[str, Check] = {
    "displayName": text(longest=1024),
    "usesTaskDependencies": boolean,
    "jobManagerTask": JOB_MANAGER,
    "jobPreparationTask": PREPARATION,
    "jobReleaseTask": RELEASE,
    "commonEnvironmentSettings": list_of(NAME_VALUE),
    "onTaskFailure": choice("noaction", "performexitoptionsjobaction"),
}
JOB = Shape("id", "poolInfo", id=identifier, **_JOB_PARTS, **_JOB_SETTINGS)
JOB_PATCH = Shape(**_JOB_SETTINGS)
# A PUT may carry the job as it was read; what can't be changed is passed over, as the service does with the id.
JOB_PUT = Shape(
    "poolInfo",
    **_JOB_SETTINGS,
    **dict.fromkeys(
        (
            "id", "displayName", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime",
            "previousState", "previousStateTransitionTime", "usesTaskDependencies", "jobManagerTask",
            "jobPreparationTask", "jobReleaseTask", "commonEnvironmentSettings", "onTaskFailure", "executionInfo",
            "stats",
        ),
        anything,
    ),
)  # fmt: skip
DISABLE = Shape("disableTasks", disableTasks=choice("requeue", "terminate", "wait"))
TERMINATE = Shape(terminateReason=text())
JOB_SPECIFICATION = Shape("poolInfo", **_JOB_PARTS, **_JOB_SETTINGS)
SCHEDULE_SETTINGS: dict[str, Check] = {
    "schedule": Shape(
        doNotRunUntil=moment,
        doNotRunAfter=moment,
        startWindow=duration(shortest="PT1M"),
        recurrenceInterval=duration(shortest="PT1M"),
    ),
    "jobSpecification": JOB_SPECIFICATION,
    "metadata": METADATA,
}
SCHEDULE = Shape(
    "id", "schedule", "jobSpecification", id=identifier, displayName=text(longest=1024), **SCHEDULE_SETTINGS
)
SCHEDULE_PATCH = Shape(**SCHEDULE_SETTINGS)
SCHEDULE_PUT = Shape(
    "jobSpecification",
    **SCHEDULE_SETTINGS,
    **dict.fromkeys(
        (
            "id", "displayName", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime",
            "previousState", "previousStateTransitionTime", "executionInfo", "stats",
        ),
        anything,
    ),
)  # fmt: skip
