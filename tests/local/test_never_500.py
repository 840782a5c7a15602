"""Whatever comes over the wire, the answer is the service's own: never 500, never something that is no Batch answer."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_jobmanager.local import LocalBatch, Settings
from airflow_provider_jobmanager.local.routes import OPERATIONS
from tests.local.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = st.one_of(
    st.sampled_from(["job", "JOB", "task", "local", "nopool", "0", "schedule", "stdout.txt", "wd/../..", "wd"]),
    st.text(max_size=5),
)
MANY = "9" * 5000
# In the calendar where it is written, and beyond it in UTC.
LAST_HOUR = "Fri, 31 Dec 9999 23:59:59 -0100"
FAR_YEAR = "Fri, 31 Dec 99999999999 23:59:59 GMT"
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
         "9999-12-31T23:59:59.9999999Z", "P3000000D", "http://[::1", "x = TimeInterval_Day * (0 * 1e999);", "9" * 5000]
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
            [
                "state eq 'active'",
                "id,state",
                "stats",
                "2",
                "true",
                "startswith(id,'j')",
                "WATV2:am9i:1$1",
                "WATV2:/w==:1$1",
                f"executionInfo/exitCode eq {MANY}",
                f"creationTime gt DateTime'{LAST_HOUR}'",
                MANY,
            ]
        ),
        st.text(max_size=10),
    ),
    max_size=3,
)
HEADERS = st.dictionaries(
    st.sampled_from(["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "ocp-range"]),
    st.sampled_from(
        [
            "*",
            "0x8D",
            "Mon, 01 Jan 2001 00:00:00 GMT",
            "bytes=0-3",
            "bytes=9-1",
            "nonsense",
            LAST_HOUR,
            f"bytes=0-{MANY}",
        ]
    ),
    max_size=2,
)
FORMULAS = ["-" * 3000 + "1", "max(" * 1500 + "1" + ")" * 1500, "1?1:" * 1500 + "1"]
EXTREMES: list[tuple[str, str, Any, dict[str, str], str]] = [
    ("GET", "/jobs", None, {"ocp-date": LAST_HOUR}, "AuthenticationFailed"),
    ("GET", "/jobs/job", None, {"if-modified-since": LAST_HOUR}, "InvalidHeaderValue"),
    ("GET", "/jobs/job", None, {"if-unmodified-since": LAST_HOUR}, "InvalidHeaderValue"),
    ("GET", f"/jobs?$filter=creationTime gt DateTime'{LAST_HOUR}'", None, {}, "InvalidQueryParameterValue"),
    ("GET", f"/jobs?$filter=creationTime gt DateTime'{FAR_YEAR}'", None, {}, "InvalidQueryParameterValue"),
    ("GET", f"/jobs/job/tasks?$filter=executionInfo/exitCode eq {MANY}", None, {}, "InvalidQueryParameterValue"),
    ("GET", "/jobs/job/tasks/done/files/stdout.txt", None, {"ocp-range": f"bytes=0-{MANY}"}, "InvalidHeaderValue"),
    ("GET", "/jobs/job/tasks/done/files/wd%2Floop", None, {}, "FileNotFound"),
    ("HEAD", "/jobs/job/tasks/done/files/wd%2Floop", None, {}, ""),
    ("DELETE", "/jobs/job/tasks/done/files/wd%2Floop", None, {}, "FileNotFound"),
    ("GET", "/jobs/job/tasks/done/files/wd%2Fclosed%2Fx", None, {}, "FileNotFound"),
    ("POST", f"/_local/pools/local/nodes/{MANY}/kill", None, {}, "NodeNotFound"),
    (
        "POST", "/jobs/job/tasks",
        {"id": "t", "commandLine": "x", "resourceFiles": [{"httpUrl": "http://[::1", "filePath": "a"}]}, {},
        "InvalidPropertyValue",
    ),
    *(
        ("POST", "/pools", {"id": "p", "vmSize": "s", "enableAutoScale": True, "autoScaleFormula": f"x={formula};"},
         {}, "AutoScalingFormulaSyntaxError")
        for formula in FORMULAS
    ),
    ("POST", "/pools", b'{"id":"p","vmSize":"s","networkConfiguration":{"x":1e999}}', {}, "InvalidRequestBody"),
    ("POST", "/pools", b'{"id":"p","vmSize":"s","networkConfiguration":{"x":-1e999}}', {}, "InvalidRequestBody"),
    ("POST", "/pools", b'{"id":"p","vmSize":"s","networkConfiguration":{"x":' + b"[" * 150 + b"]" * 150 + b"}}", {},
     "InvalidRequestBody"),
]  # fmt: skip


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


@pytest.fixture(scope="module")
def furnished() -> Iterator[Wire]:
    """A service with a job, and a task that left a link in a circle and a directory that only root may read."""
    with LocalBatch(Settings(port=0, nodes=1)) as batch:
        wire = Wire(batch)
        wire.ask("POST", "/jobs", {"id": "job", "poolInfo": {"poolId": "local"}})
        command = "/bin/sh -c 'ln -s loop loop; mkdir closed; chmod 0 closed'"
        wire.ask("POST", "/jobs/job/tasks", {"id": "done", "commandLine": command})
        end = time.monotonic() + 60
        while wire.ask("GET", "/jobs/job/tasks/done").json()["state"] != "completed":
            assert time.monotonic() < end
            time.sleep(0.02)
        yield wire
        wire.close()


@pytest.mark.parametrize(("method", "path", "body", "headers", "code"), EXTREMES, ids=map(str, range(len(EXTREMES))))
def test_extremes_are_refused(furnished: Wire, method: str, path: str, body: Any, headers: dict[str, str], code: str):  # noqa: PLR0917
    content = body if isinstance(body, bytes) else None
    answer = furnished.ask(method, path, None if content else body, content=content, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    if code:
        assert answer.json()["code"] == code


def test_a_formula_that_comes_to_nothing_leaves_its_pool_alone(furnished: Wire):
    formula = "day = TimeInterval_Day * (1e308 * 10 - 1e308 * 10); $TargetDedicatedNodes = 1;"
    pool = {"id": "nothing", "vmSize": "s", "enableAutoScale": True, "autoScaleFormula": formula}
    assert furnished.ask("POST", "/pools", pool).status_code == 201
    run = furnished.ask("POST", "/pools/nothing/evaluateautoscale", {"autoScaleFormula": formula}).json()
    assert "out of range" in run["error"]["values"][0]["value"]
