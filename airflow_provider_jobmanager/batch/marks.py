"""Which settings were marked ``secret: true``, told to whoever follows the job.

The mark is this package's own, so the service does not keep it with the setting. A name that tells nothing would make
its value plain to all who only read the job: a triggerer, a sensor, ``jobmanager doctor``. The names, never the values,
therefore go into the job's metadata, which the service stores and does not interpret
(https://learn.microsoft.com/rest/api/batchservice/jobs/create-job).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_jobmanager.batch.model import plain
from airflow_provider_jobmanager.batch.secret_forms import SECRET_NAMES
from airflow_provider_jobmanager.batch.secrets import says_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MASKED: Final = "airflow_masked_settings"
"""Name of the metadata item; its value is a JSON list of names."""


def marks(job: Any) -> list[dict[str, str]]:
    """The metadata item for a job to create; none when no mark says more than the names do.

    Args:
        job: our own object, which has the marks.
    """
    names = sorted({name for name in _marked(plain(job)) if not SECRET_NAMES.search(name)})
    return [{"name": MASKED, "value": json.dumps(names)}] if names else []


def marked_names(job: Mapping[str, Any]) -> frozenset[str]:
    """The names that a job's metadata holds: the settings were marked when it was created."""
    items = [item.get("value") for item in job.get("metadata") or () if item.get("name") == MASKED]
    return frozenset(name for item in items for name in _names(item))


def _names(value: Any) -> list[str]:
    try:
        found = json.loads(value)
    except (TypeError, ValueError):
        return []  # somebody else's
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _marked(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if says_secret(value.get("secret")) and isinstance(value.get("name"), str):
            yield value["name"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _marked(item)
