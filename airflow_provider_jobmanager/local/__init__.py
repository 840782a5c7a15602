"""A Batch service on your machine: the REST API of Azure Batch, with tasks as real subprocesses.

Imports nothing of the provider, and the provider imports nothing of it. Read :mod:`.engine` for the rules,
:mod:`.routes` for what is emulated, :mod:`.server` for the way of a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local.settings import Settings, SettingsError

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.service import LocalBatch, serve

__all__ = ["LocalBatch", "Settings", "SettingsError", "serve"]


def __getattr__(name: str) -> Any:
    # The web server is imported by whoever starts it, not by whoever only wants the settings.
    if name in ("LocalBatch", "serve"):
        from airflow_provider_jobmanager.local import service  # noqa: PLC0415 - lazily, see above

        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
