"""One run of the benchmark: so many triggers in one loop, as in a triggerer. Runs in either environment.

``python follower.py ours|peer URL COUNT SECONDS INTERVAL`` prints its figures as JSON. Imports nothing but Airflow, the
provider it measures and psutil.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import statistics
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bare_service import ends_after, exit_code, job_id

GRACE = 60.0
WATCH_SECONDS = 0.01
IDLE_SECONDS = 5.0


def make(kind: str, number: int, interval: float, seconds: float):
    if kind == "ours":
        from airflow_provider_jobmanager.triggers.job_manager import AzureBatchJobManagerTrigger

        return AzureBatchJobManagerTrigger(job_id=job_id(number), poll_interval=interval)
    from airflow.providers.microsoft.azure.triggers.batch import AzureBatchTrigger

    return AzureBatchTrigger(job_id(number), "azure_batch_default", time.time() + seconds + 3600, interval)


async def connect(kind: str) -> None:
    if kind == "ours":
        from airflow_provider_jobmanager.following import shared_client
        from airflow_provider_jobmanager.triggers.accounts import account_for

        async with shared_client(await account_for("azure_batch_default")):
            pass
    else:
        from airflow.providers.microsoft.azure.hooks.batch import AzureBatchHook

        await asyncio.to_thread(lambda: AzureBatchHook("azure_batch_default").connection)


def right(kind: str, number: int, payload: dict) -> bool:
    if payload.get("job_id") != job_id(number):
        return False
    if kind == "ours":
        return payload["exit_code"] == exit_code(number)
    return (payload["status"] == "success") == (exit_code(number) == 0)


async def measure(kind: str, url: str, count: int, seconds: float, interval: float) -> dict:
    import psutil

    process = psutil.Process()
    make(kind, 0, interval, seconds)
    stalls: list[float] = []
    holds: list[float] = []

    async def watch() -> None:
        while True:
            before, busy = time.perf_counter(), time.thread_time()
            await asyncio.sleep(WATCH_SECONDS)
            stalls.append(time.perf_counter() - before - WATCH_SECONDS)
            holds.append(time.thread_time() - busy)

    watching = [asyncio.ensure_future(watch())]
    await connect(kind)  # imports and the like: they count as stalls, not as cost
    before_cleaning = len(stalls)
    gc.collect()
    gc.freeze()  # what Airflow's own modules are made of is not gone through again for what is measured
    await asyncio.sleep(10 * WATCH_SECONDS)
    del stalls[before_cleaning:], holds[before_cleaning:]  # this one was ours
    watching_costs = await cpu_of(asyncio.sleep(IDLE_SECONDS)) / IDLE_SECONDS
    memory_before = process.memory_info().rss
    began = (await asyncio.to_thread(asked, f"{url}/_begin?count={count}&seconds={seconds}"))["began"]
    cpu_before, cpu_began = cpu_seconds(), time.perf_counter()
    events: dict[int, list[tuple[float, bool]]] = {number: [] for number in range(count)}
    memory = [memory_before]

    async def consume(number: int) -> None:
        async for event in make(kind, number, interval, seconds).run():
            events[number].append((time.time(), right(kind, number, event.payload)))

    async def weigh() -> None:
        while True:
            memory.append(process.memory_info().rss)
            await asyncio.sleep(0.5)

    watching.append(asyncio.ensure_future(weigh()))
    runs = []
    for number in range(count):
        runs.append(asyncio.ensure_future(consume(number)))
        if number % 50 == 49:
            await asyncio.sleep(0)  # as a triggerer begins them
    _, late = await asyncio.wait(runs, timeout=began + seconds - time.time())
    cpu = cpu_seconds() - cpu_before - watching_costs * (time.perf_counter() - cpu_began)
    in_time = count - len(late)
    asked_in_time = await asyncio.to_thread(asked, f"{url}/_asked")
    if late:
        _, late = await asyncio.wait(late, timeout=GRACE)
    for one in [*late, *watching]:
        one.cancel()
    await asyncio.gather(*late, *watching, return_exceptions=True)
    lags = [
        moment - (began + ends_after(number, count, seconds)) for number, seen in events.items() for moment, _ in seen
    ]
    return {
        "kind": kind,
        "count": count,
        "requests": sum(asked_in_time.values()),
        "asked": asked_in_time,
        "cpu": cpu,
        "memory": (max(memory) - memory_before) / 2**20,
        "median_lag": statistics.median(lags) if lags else None,
        "longest_lag": max(lags, default=None),
        "longest_stall": max(stalls),
        "longest_hold": max(holds),
        "in_time": in_time,
        "missed": sum(not seen for seen in events.values()),
        "twice": sum(len(seen) > 1 for seen in events.values()),
        "wrong": sum(not good for seen in events.values() for _, good in seen),
    }


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def cpu_of(work) -> float:
    before = cpu_seconds()
    await work
    return cpu_seconds() - before


def asked(url: str) -> dict:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def main() -> None:
    kind, url, count, seconds, interval = sys.argv[1:]
    connection = {"conn_type": "azure_batch", "login": "acct", "password": "a2V5a2V5", "extra": {"account_url": url}}
    os.environ["AIRFLOW_CONN_AZURE_BATCH_DEFAULT"] = json.dumps(connection)
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"  # Airflow's log handling is not what is measured
    logging.disable(logging.INFO)
    figures = asyncio.run(measure(kind, url, int(count), float(seconds), float(interval)))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
