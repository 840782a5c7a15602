"""The least that can be followed: an HTTP server whose jobs end by the clock, and which counts what it is asked.

In a process of its own (`python tests/benchmarks/bare_service.py`), so that its work is not the follower's. It knows
neither signatures nor errors. ``POST /_begin?count=…&seconds=…`` makes the jobs: job *n* of *count* ends at
:func:`ends_after` seconds with exit code :func:`exit_code`; ``GET /_asked`` answers with the counts.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from datetime import datetime, timezone
from email.utils import formatdate
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 1000
SINCE = re.compile(r"DateTime'([^']+)'")


def job_id(number: int) -> str:
    return f"job-{number:05d}"


def ends_after(number: int, count: int, seconds: float) -> float:
    """Seconds from the beginning to the end of a job: spread over all but the last sixth, in no order of ids."""
    return seconds * (0.02 + 0.8 * ((number * 7919) % count) / count)


def exit_code(number: int) -> int:
    return number % 3


def spell(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Jobs:
    def __init__(self, count: int = 0, seconds: float = 60.0) -> None:
        self.count = count
        self.began = time.time()
        self.ends = [self.began + ends_after(number, count, seconds) for number in range(count)]
        self.by_end = sorted(range(count), key=self.ends.__getitem__)
        created = spell(self.began)
        self.active = [
            json.dumps({"id": job_id(n), "state": "active", "creationTime": created, "stateTransitionTime": created})
            for n in range(count)
        ]
        self.completed = [json.dumps(self._completed(number, created)) for number in range(count)]
        self.managers = [json.dumps(self._manager(number, over=True)) for number in range(count)]
        self.running = json.dumps(self._manager(0, over=False))

    def _completed(self, number: int, created: str) -> dict:
        ended = spell(self.ends[number])
        return {
            "id": job_id(number),
            "state": "completed",
            "creationTime": created,
            "stateTransitionTime": ended,
            "executionInfo": {"startTime": created, "endTime": ended, "poolId": "p", "terminateReason": "JMComplete"},
            "jobManagerTask": {
                "id": "manager",
                "commandLine": "/bin/sh -c 'python report.py --region north'",
                "killJobOnCompletion": True,
                "runExclusive": True,
            },
            "onAllTasksComplete": "noaction",
        }

    def _manager(self, number: int, *, over: bool) -> dict:
        task = {"id": "manager", "state": "running", "executionInfo": {"retryCount": 0, "requeueCount": 0}}
        if over:
            code = exit_code(number)
            failure = {"category": "UserError", "code": "FailureExitCode", "message": "The task exited badly"}
            info = {"endTime": spell(self.ends[number]), "exitCode": code, "result": "failure" if code else "success"}
            task["state"] = "completed"
            task["executionInfo"].update(info, **({"failureInfo": failure} if code else {}))
        return task

    def over(self, number: int) -> bool:
        return time.time() >= self.ends[number]


class Bare(asyncio.Protocol):
    jobs: ClassVar[Jobs] = Jobs()
    asked: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
            status, body = self.answer(method, target)
            self.transport.write(
                f"HTTP/1.1 {status}\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )

    def answer(self, method: str, target: str) -> tuple[str, bytes]:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = unquote(parts.path).strip("/").split("/")
        if path[0] == "_begin":
            Bare.jobs, Bare.asked = Jobs(int(query["count"]), float(query["seconds"])), Counter()
            return "200 OK", json.dumps({"began": Bare.jobs.began}).encode()
        if path[0] == "_asked":
            return "200 OK", json.dumps(Bare.asked).encode()
        return self._batch(path, query)

    def _batch(self, path: list[str], query: dict[str, str]) -> tuple[str, bytes]:
        jobs = self.jobs
        if path == ["jobs"]:
            self.asked["list jobs"] += 1
            return "200 OK", self._page(query)
        if not jobs.count:
            return "503 Service Unavailable", b'{"code":"ServerBusy"}'
        number = int(path[1].removeprefix("job-"))
        if len(path) == 2:
            self.asked["get job"] += 1
            return "200 OK", (jobs.completed if jobs.over(number) else jobs.active)[number].encode()
        if path[2] == "taskcounts":
            self.asked["task counts"] += 1
            return "200 OK", b'{"taskCounts":{"active":0,"running":1,"completed":0,"succeeded":0,"failed":0}}'
        manager = jobs.managers[number] if jobs.over(number) else jobs.running
        if len(path) == 3:
            self.asked["list tasks"] += 1
            return "200 OK", f'{{"value":[{manager}]}}'.encode()
        self.asked["get manager"] += 1
        return "200 OK", manager.encode()

    def _page(self, query: dict[str, str]) -> bytes:
        jobs, now = self.jobs, time.time()
        condition = query.get("$filter", "")
        if since := SINCE.search(condition):
            first = since[1]
            rows = [jobs.completed[n] for n in jobs.by_end if jobs.ends[n] <= now and spell(jobs.ends[n]) >= first]
        else:
            rows = [jobs.active[n] for n in range(jobs.count) if jobs.ends[n] > now]
        start = int(query.get("$skiptoken", 0))
        link = ""
        if len(rows) > start + PAGE:
            link = f',"odata.nextLink":"http://bare/jobs?api-version=x&$filter={condition}&$skiptoken={start + PAGE}"'
        return f'{{"value":[{",".join(rows[start : start + PAGE])}]{link}}}'.encode()


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until whoever started it is gone
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
