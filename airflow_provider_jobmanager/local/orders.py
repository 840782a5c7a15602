"""The order in which the service gives the members of a resource back, read off recorded traffic."""

from __future__ import annotations

JOB_ORDER = (
    "id", "displayName", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime", "previousState",
    "previousStateTransitionTime", "priority", "maxParallelTasks", "usesTaskDependencies", "allowTaskPreemption",
    "constraints", "jobManagerTask", "jobPreparationTask", "jobReleaseTask", "commonEnvironmentSettings", "poolInfo",
    "metadata", "executionInfo", "onAllTasksComplete", "onTaskFailure", "stats",
)  # fmt: skip
SPECIFICATION_ORDER = (
    "displayName", "priority", "maxParallelTasks", "allowTaskPreemption", "usesTaskDependencies", "onAllTasksComplete",
    "onTaskFailure", "constraints", "jobManagerTask", "jobPreparationTask", "jobReleaseTask",
    "commonEnvironmentSettings", "poolInfo", "metadata",
)  # fmt: skip
TASK_ORDER = (
    "id", "displayName", "url", "eTag", "creationTime", "lastModified", "state", "stateTransitionTime", "previousState",
    "previousStateTransitionTime", "commandLine", "containerSettings", "resourceFiles", "outputFiles",
    "environmentSettings", "affinityInfo", "applicationPackageReferences", "userIdentity", "exitConditions",
    "multiInstanceSettings", "authenticationTokenSettings", "dependsOn", "constraints", "requiredSlots",
    "executionInfo", "nodeInfo", "stats",
)  # fmt: skip
SCHEDULE_ORDER = (
    "id", "displayName", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime", "previousState",
    "previousStateTransitionTime", "schedule", "jobSpecification", "executionInfo", "metadata", "stats",
)  # fmt: skip
POOL_ORDER = (
    "id", "displayName", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime",
    "allocationState", "allocationStateTransitionTime", "vmSize", "virtualMachineConfiguration",
    "cloudServiceConfiguration", "resizeTimeout", "resizeErrors", "currentDedicatedNodes", "targetDedicatedNodes",
    "currentLowPriorityNodes", "targetLowPriorityNodes", "enableAutoScale", "autoScaleFormula",
    "autoScaleEvaluationInterval", "autoScaleRun", "enableInterNodeCommunication", "networkConfiguration", "startTask",
    "certificateReferences", "applicationPackageReferences", "taskSlotsPerNode", "taskSchedulingPolicy",
    "userAccounts", "metadata", "resourceTags", "targetNodeCommunicationMode", "currentNodeCommunicationMode",
    "upgradePolicy", "stats",
)  # fmt: skip
NODE_ORDER = (
    "id", "url", "state", "schedulingState", "stateTransitionTime", "lastBootTime", "allocationTime", "ipAddress",
    "affinityId", "vmSize", "totalTasksRun", "runningTasksCount", "runningTaskSlotsCount", "totalTasksSucceeded",
    "recentTasks", "startTask", "startTaskInfo", "certificateReferences", "errors", "isDedicated", "nodeAgentInfo",
)  # fmt: skip
