"""Jobs and tasks as the tests of recorded traffic make them."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from tests.local.wire import Wire

POOL = {"poolInfo": {"poolId": "local"}}
NOWHERE = {"poolInfo": {"poolId": "nowhere"}}
UNLIMITED = "P10675199DT2H48M5.4775807S"
AUTO_USER = {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}
GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SERVICE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,6}[1-9])?Z")


def job(wire: Wire, name: str = "job", **more: Any) -> dict[str, Any]:
    wire.must("POST", "/jobs", {"id": name, **NOWHERE, **more})
    return wire.get(f"/jobs/{name}")


def task(wire: Wire, name: str = "t", job_id: str = "job", **more: Any) -> dict[str, Any]:
    wire.must("POST", f"/jobs/{job_id}/tasks", {"id": name, "commandLine": "/bin/true", **more})
    return wire.get(f"/jobs/{job_id}/tasks/{name}")


def ran(wire: Wire, command: str, name: str = "t", job_id: str = "ran") -> dict[str, Any]:
    if wire.send("GET", f"/jobs/{job_id}").status_code == 404:
        wire.must("POST", "/jobs", {"id": job_id, **POOL})
    wire.must("POST", f"/jobs/{job_id}/tasks", {"id": name, "commandLine": command})
    return wire.until_state(f"/jobs/{job_id}/tasks/{name}", "completed")


def check_framing(answer: httpx.Response) -> None:
    """Headers that are always there, and how the body is framed."""
    assert answer.headers["dataserviceversion"] == "3.0"
    assert GUID.fullmatch(answer.headers["request-id"])
    assert answer.headers["server"] == "Microsoft-HTTPAPI/2.0"
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert parsedate_to_datetime(answer.headers["date"])
    assert len(answer.headers.get_list("date")) == 1
    if answer.request.method == "HEAD":
        pass  # what is recorded says nothing of those that have no file behind them
    elif answer.status_code in {200, 201, 202}:
        assert answer.headers.get("transfer-encoding") == "chunked"
        assert "content-length" not in answer.headers
    elif answer.status_code == 204:
        assert answer.headers.get("content-length") == "0"
        assert "transfer-encoding" not in answer.headers
    elif answer.content:
        assert int(answer.headers["content-length"]) == len(answer.content)
    if answer.content:
        assert answer.headers["content-type"] == "application/json;odata=minimalmetadata"


def check_operations(
    wire: Wire, operations: list[tuple[str, str, Any, int, bool, str | None, str | None, bool]]
) -> None:
    for method, path, body, status, tagged, location, service_id, is_json in operations:
        if path.endswith("/enable"):
            wire.until_state(path.rpartition("/")[0], "disabled")
        answer = wire.send(method, path, body)
        where = f"{method} {path}: {answer.text}"
        assert answer.status_code == status, where
        check_framing(answer)
        assert ("etag" in answer.headers, "last-modified" in answer.headers) == (tagged, tagged), where
        for name, wanted in (("location", location), ("dataserviceid", service_id)):
            found = answer.headers.get(name)
            assert found == (None if wanted is None else f"{wire.batch.url}{wanted}"), where
        assert bool(answer.content) is is_json, where
