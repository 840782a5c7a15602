"""Operations on files of tasks and nodes: from HTTP to the rules and back, nothing decided."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_jobmanager.local import files, formats
from airflow_provider_jobmanager.local.exchange import Answer, Exchange

if TYPE_CHECKING:
    from pathlib import Path


def list_task_files(x: Exchange) -> Answer:
    """List the files of a task."""
    root, url = _task(x)
    return _listing(x, "task files", root, url)


def download_task_file(x: Exchange) -> Answer:
    """Get a file of a task, whole or in part."""
    return _content(x, *_task(x))


def get_task_file_properties(x: Exchange) -> Answer:
    """Get the properties of a file of a task."""
    return _properties(x, *_task(x))


def delete_task_file(x: Exchange) -> Answer:
    """Delete a file or a directory of a task."""
    root, _ = _task(x)
    files.delete(files.find(root, x.names["file"]), recursive=_recursive(x))
    return Answer(200)


def list_node_files(x: Exchange) -> Answer:
    """List the files of a node."""
    root, url = _node(x)
    return _listing(x, "node files", root, url)


def download_node_file(x: Exchange) -> Answer:
    """Get a file of a node, whole or in part."""
    return _content(x, *_node(x))


def get_node_file_properties(x: Exchange) -> Answer:
    """Get the properties of a file of a node."""
    return _properties(x, *_node(x))


def delete_node_file(x: Exchange) -> Answer:
    """Delete a file or a directory of a node."""
    root, _ = _node(x)
    files.delete(files.find(root, x.names["file"]), recursive=_recursive(x))
    return Answer(200)


def _node(x: Exchange) -> tuple[Path, str]:
    pool = x.engine.pools.get(x.names["pool"])
    node = x.engine.nodes.get(pool, x.names["node"])
    return files.node_root(x.engine, node), x.url("pools", pool.id, "nodes", node.id)


def _task(x: Exchange) -> tuple[Path, str]:
    job = x.engine.jobs.get(x.names["job"])
    task = x.engine.tasks.get(job, x.names["task"])
    return files.task_root(x.engine, task), x.url("jobs", job.id, "tasks", task.id)


def _listing(x: Exchange, kind: str, root: Path, url: str) -> Answer:
    rows = (
        {"name": entry.name, "url": f"{url}/files/{quote(os.fsencode(entry.name))}", "isDirectory": entry.is_directory}
        | ({} if entry.is_directory else {"properties": entry.properties()})
        for entry in files.walk(root, recursive=_recursive(x))
    )
    return x.plain_rows(kind, rows, "name", "files")


def _content(x: Exchange, root: Path, url: str) -> Answer:
    entry = files.find(root, x.names["file"])
    x.check({"lastModified": formats.timestamp(entry.modified)})
    first, last = entry.range(x.headers.get("ocp-range"))
    headers = {**_headers(url, entry), "Content-Type": "application/octet-stream"}
    return Answer(200, headers=headers, body=entry.read(first, last))


def _properties(x: Exchange, root: Path, url: str) -> Answer:
    entry = files.find(root, x.names["file"])
    x.check({"lastModified": formats.timestamp(entry.modified)})
    headers = _headers(url, entry)
    if not entry.is_directory:
        headers |= {"Content-Type": entry.content_type, "Content-Length": str(entry.size)}
    return Answer(200, headers=headers)


def _headers(url: str, entry: files.Entry) -> dict[str, str]:
    return {
        "Last-Modified": formats.http_date(entry.modified),
        "ocp-batch-file-isdirectory": str(entry.is_directory),
        "ocp-batch-file-url": quote(os.fsencode(f"{url}/files/{entry.name}"), safe=""),
        "ocp-batch-file-mode": entry.mode,
    }


def _recursive(x: Exchange) -> bool:
    return x.query.get("recursive", "").lower() == "true"
