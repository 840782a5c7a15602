"""Whatever comes over the wire, the answer is the service's own: never 500, never something that is no Batch answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_jobmanager.local import LocalBatch, Settings
from airflow_provider_jobmanager.local.routes import OPERATIONS
from tests.local.bare import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = st.one_of(
    st.sampled_from(["job", "JOB", "task", "local", "nopool", "0", "schedule", "stdout.txt", "wd/../..", "wd"]),
    st.text(max_size=5),
)
# Members that bodies have, so that what is generated gets past the first check now and then.
MEMBERS = st.sampled_from(
    [
        "id", "poolInfo", "poolId", "jobManagerTask", "commandLine", "constraints", "maxWallClockTime", "priority",
        "maxTaskRetryCount", "value", "vmSize", "targetDedicatedNodes", "schedule", "jobSpecification", "dependsOn",
        "taskIdRanges", "start", "end", "exitConditions", "default", "disableTasks", "terminateReason", "nodeList",
        "autoScaleFormula", "metadata", "name", "resourceFiles", "httpUrl", "filePath", "environmentSettings",
        "containerSettings", "imageName", "requiredSlots", "onAllTasksComplete", "recurrenceInterval", "doNotRunAfter",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(
        ["local", "job", "PT1M", "P1D", "P10675199DT2H48M5.4775807S", "2026-01-01T00:00:00Z", "requeue", "/bin/true",
         "$TargetDedicatedNodes=1;", "noaction", "\x00", "\ud800", "0001-01-01T00:00:00Z",
         "9999-12-31T23:59:59.9999999Z"]
    ),
)  # fmt: skip
BODIES = st.one_of(
    st.none(),
    st.recursive(
        VALUES,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(MEMBERS, inner, max_size=5)),
        max_leaves=12,
    ),
)
GOOD = st.sampled_from(
    [
        {"id": "job", "poolInfo": {"poolId": "local"}},
        {"id": "job", "poolInfo": {"poolId": "local"}, "jobManagerTask": {"id": "task", "commandLine": "/bin/true"}},
        {"id": "task", "commandLine": "/bin/true"},
        {"value": [{"id": "task", "commandLine": "/bin/true"}, {}, 5]},
        {"id": "pool", "vmSize": "s", "targetDedicatedNodes": 1},
        {"disableTasks": "terminate"},
        {"targetDedicatedNodes": 1},
        {
            "id": "schedule",
            "schedule": {"recurrenceInterval": "PT1M"},
            "jobSpecification": {"poolInfo": {"poolId": "local"}},
        },
        {"autoScaleFormula": "$TargetDedicatedNodes = $PendingTasks.GetSample(1);"},
        {"priority": 5, "constraints": {"maxTaskRetryCount": 3}},
    ]
)
CONTENTS = st.one_of(
    GOOD.map(lambda body: json.dumps(body).encode()),
    BODIES.map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=20),
    st.none(),
)
QUERIES = st.dictionaries(
    st.sampled_from(["$filter", "$select", "$expand", "$skiptoken", "maxresults", "recursive", "force", "timeout"]),
    st.one_of(
        st.sampled_from(
            ["state eq 'active'", "id,state", "stats", "2", "true", "startswith(id,'j')", "WATV2:am9i:1$1"]
        ),
        st.text(max_size=10),
    ),
    max_size=3,
)
HEADERS = st.dictionaries(
    st.sampled_from(["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "ocp-range"]),
    st.sampled_from(["*", "0x8D", "Mon, 01 Jan 2001 00:00:00 GMT", "bytes=0-3", "bytes=9-1", "nonsense"]),
    max_size=2,
)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with LocalBatch(Settings(port=0, nodes=1, node_quota=5)) as batch:
        wire = Wire(batch)
        yield wire
        wire.close()


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    operation=st.sampled_from(OPERATIONS),
    name=NAMES,
    content=CONTENTS,
    query=QUERIES,
    headers=HEADERS,
)
def test_any_request(wire: Wire, operation: Any, name: str, content: Any, query: dict[str, str], headers: Any):  # noqa: PLR0917
    usual = {"job": "job", "task": "task", "pool": "local", "schedule": "schedule"}
    path = operation.template
    for part in ("job", "task", "pool", "schedule", "node", "file*", "user", "extension", "application"):
        path = path.replace(f"{{{part}}}", quote(usual.get(part, name).encode("utf-8", "surrogatepass"), safe=""))
    if query:
        path += "?" + "&".join(
            f"{key}={quote(value.encode('utf-8', 'surrogatepass'), safe='')}" for key, value in query.items()
        )
    answer = wire.ask(operation.method, path, content=content, headers=headers)
    assert answer.status_code < 500 or answer.status_code == 501, (operation.name, path, content, answer.text)
    if answer.status_code >= 400 and operation.method != "HEAD":
        assert {"odata.metadata", "code", "message"} <= answer.json().keys()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]), path=st.text(max_size=20))
def test_any_path(wire: Wire, method: str, path: str):
    answer = wire.ask(method, "/" + quote(path.encode("utf-8", "surrogatepass"), safe="/"))
    assert answer.status_code < 500 or answer.status_code == 501, (method, path, answer.text)
