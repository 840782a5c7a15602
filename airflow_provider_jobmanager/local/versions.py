"""The api-versions that are spoken here, and what they make of the same pool, node or job.

Read off recorded traffic: tasks, and jobs but for the pool inside them, read alike in all of these versions.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_jobmanager.local.errors import refuse

Doc = dict[str, Any]

# The first is what @azure/batch 10.2.0 for JavaScript sends, the newest there is.
VERSIONS = (
    "2022-10-01.16.0",
    "2023-05-01.17.0",
    "2023-11-01.18.0",
    "2024-02-01.19.0",
    "2024-07-01.20.0",
    "2025-06-01",
)
NEWEST = VERSIONS[-1]
GONE = ("certificateReferences", "cloudServiceConfiguration")
"""Members of a pool that the newest version has no more."""
_WITH_CERTIFICATES = VERSIONS[:2]
_POOLS = (
    (),
    ("poolInfo", "autoPoolSpecification", "pool"),
    ("jobSpecification", "poolInfo", "autoPoolSpecification", "pool"),
)


def check(body: Any, version: str) -> None:
    """Nothing, when a request body has no member that its version does not know, be it of a pool within a job.

    Raises:
        BatchError: 400 ``InvalidRequestBody``.
    """
    if version != NEWEST:
        return
    for path in _POOLS:
        part = body
        for name in path:
            part = part.get(name) if isinstance(part, dict) else None
        for name in GONE:
            if isinstance(part, dict) and name in part:
                full = ".".join((*path, name))
                raise refuse(
                    "InvalidRequestBody", values={"Reason": f"The property '{full}' is not known to this api-version"}
                )


def pool(doc: Doc, version: str) -> Doc:
    """A pool as a version shows it."""
    shown = specification(doc, version)
    if version == NEWEST:
        return shown
    shown = {"certificateReferences": [], **shown}
    if version == "2024-07-01.20.0":
        shown["currentNodeCommunicationMode"] = "simplified"
    return shown


def node(doc: Doc, version: str) -> Doc:
    """A node as a version shows it."""
    return {"certificateReferences": [], **doc} if version in _WITH_CERTIFICATES else doc


def job(doc: Doc, version: str) -> Doc:
    """A job as a version shows it."""
    auto = doc.get("poolInfo", {}).get("autoPoolSpecification")
    if auto is None or "pool" not in auto:
        return doc
    return {**doc, "poolInfo": {"autoPoolSpecification": {**auto, "pool": specification(auto["pool"], version)}}}


def specification(doc: Doc, version: str) -> Doc:
    """A pool, or the specification of one, as a version shows it: the default order of jobs is new in the newest."""
    if version == NEWEST:
        return {name: value for name, value in doc.items() if name not in GONE}
    policy = doc.get("taskSchedulingPolicy")
    if policy is None:
        return doc
    kept = {name: value for name, value in policy.items() if name != "jobDefaultOrder"}
    return {**doc, "taskSchedulingPolicy": kept}
