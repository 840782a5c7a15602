"""The api-versions that are spoken here, and what they make of the same pool or job.

Read off recorded traffic: tasks, and jobs but for the pool inside them, read alike in all of these versions.
"""

from __future__ import annotations

from typing import Any

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


def pool(doc: Doc, version: str) -> Doc:
    """A pool as a version shows it."""
    if version == NEWEST:
        return doc
    shown = specification(doc, version)
    if version == "2024-07-01.20.0":
        shown = {"currentNodeCommunicationMode": "simplified", "certificateReferences": [], **shown}
    return shown


def job(doc: Doc, version: str) -> Doc:
    """A job as a version shows it."""
    auto = doc.get("poolInfo", {}).get("autoPoolSpecification")
    if version == NEWEST or auto is None or "pool" not in auto:
        return doc
    return {**doc, "poolInfo": {"autoPoolSpecification": {**auto, "pool": specification(auto["pool"], version)}}}


def specification(doc: Doc, version: str) -> Doc:
    """A pool, or the specification of one, as a version shows it: the default order of jobs is new in the newest."""
    policy = doc.get("taskSchedulingPolicy")
    if version == NEWEST or policy is None:
        return doc
    kept = {name: value for name, value in policy.items() if name != "jobDefaultOrder"}
    return {**doc, "taskSchedulingPolicy": kept}
