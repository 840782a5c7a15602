"""Directories and environment variables of a task.

Both as learn.microsoft.com has them (*Azure Batch compute node environment variables*, *Files and directories in Azure
Batch*); the level ``job-1`` (``job-N`` for a job of a schedule) is seen in recorded traffic. A task gets these
variables, a plain ``PATH``, ``HOME`` and ``LANG``, and what the job and the task set; nothing of the environment that
the service itself runs in. One variable is the local service's own, in HTTPS mode: :data:`CERTIFICATE`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Doc = dict[str, Any]

NODE_DIRECTORIES = ("applications", "fsmounts", "shared", "startup", "volatile", "workitems")
RESERVED_DISK_SPACE = 1_000_000_000
"""Bytes that must stay free on a node; the real value depends on the size of its disk."""

CERTIFICATE = "JOBMANAGER_CERTIFICATE"
"""Names the file that a client of the account's URL is to trust. Not ``REQUESTS_CA_BUNDLE``: whatever else a task asks
over HTTPS has other certificates."""


def variables(
    *,
    account: str,
    account_url: str,
    certificate: Path | None = None,
    pool: str,
    node: str,
    dedicated: bool,
    root: Path,
    directory: Path,
    path: str,
    job: str | None = None,
    task: str | None = None,
    preparation: Path | None = None,
    token: str | None = None,
    settings: Iterable[Iterable[Doc]] = (),
) -> dict[str, str]:
    """The whole environment of a task.

    Args:
        account: name of the account.
        account_url: where the service listens.
        certificate: what clients are given to trust there; None without TLS.
        pool: id of the pool.
        node: id of the node.
        dedicated: whether the node is no Spot node.
        root: directory of the node.
        directory: directory of the task.
        path: ``PATH``.
        job: id of the job; None for a start task.
        task: id of the task; None for a start task.
        preparation: directory of the job preparation task, when the job has one.
        token: what ``authenticationTokenSettings`` asks for.
        settings: environment settings, later ones over earlier ones; the service's own variables stay what they are.
    """
    values = {
        "PATH": path,
        "HOME": str(directory / "wd"),
        "LANG": "C.UTF-8",
        "PWD": str(directory / "wd"),
    }
    for group in settings:
        values.update({setting["name"]: setting.get("value", "") for setting in group})
    own: dict[str, str | None] = {
        "AZ_BATCH_ACCOUNT_NAME": account,
        "AZ_BATCH_ACCOUNT_URL": account_url,
        "AZ_BATCH_POOL_ID": pool,
        "AZ_BATCH_NODE_ID": node,
        "AZ_BATCH_NODE_IS_DEDICATED": str(dedicated).lower(),
        "AZ_BATCH_NODE_ROOT_DIR": str(root),
        "AZ_BATCH_NODE_SHARED_DIR": str(root / "shared"),
        "AZ_BATCH_NODE_STARTUP_DIR": str(root / "startup"),
        "AZ_BATCH_NODE_MOUNTS_DIR": str(root / "fsmounts"),
        "AZ_BATCH_TASK_DIR": str(directory),
        "AZ_BATCH_TASK_WORKING_DIR": str(directory / "wd"),
        "AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES": str(RESERVED_DISK_SPACE),
        "AZ_BATCH_JOB_ID": job,
        "AZ_BATCH_TASK_ID": task,
        "AZ_BATCH_JOB_PREP_DIR": str(preparation) if preparation else None,
        "AZ_BATCH_JOB_PREP_WORKING_DIR": str(preparation / "wd") if preparation else None,
        "AZ_BATCH_AUTHENTICATION_TOKEN": token,
        CERTIFICATE: str(certificate) if certificate else None,
    }
    values.update({name: value for name, value in own.items() if value is not None})
    return values
