"""The hook for a command at a terminal, where no Airflow component has set the stage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow_provider_jobmanager.batch.printable import one_line
from airflow_provider_jobmanager.errors import AccountError

if TYPE_CHECKING:
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"
"""Tells Airflow's Task SDK where to look for connections. Without it (and outside a task) it asks environment variables
and external secrets backends only; a ``server`` reads the database as well, and the ``airflow`` command is one
(``airflow.sdk.execution_time.supervisor.ensure_secrets_backend_loaded`` of Airflow 3.2 and 3.3)."""


def hook_of(conn_id: str) -> AzureBatchJobManagerHook:
    """The hook of a connection, wherever Airflow keeps it. The connection is not looked at yet."""
    os.environ.setdefault(_CONTEXT, "server")

    from airflow_provider_jobmanager.hooks.job_manager import (  # noqa: PLC0415 - imports Airflow, which takes seconds
        AzureBatchJobManagerHook,
    )

    return AzureBatchJobManagerHook(conn_id)


def trouble_with(hook: AzureBatchJobManagerHook) -> str:
    """Why a hook's connection can't be used, in one line; empty when it can."""
    try:
        hook.account  # noqa: B018 - looked at for what it may raise
    except AccountError as error:
        return one_line(str(error))
    except Exception as error:  # noqa: BLE001 - Airflow's own errors for a connection that is not there, of several kinds
        return f"The connection {hook.azure_batch_conn_id!r} can't be used: {one_line(str(error))}"
    return ""
