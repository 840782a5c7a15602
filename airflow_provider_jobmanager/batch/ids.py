"""Ids of what somebody else made, as users and templates give them."""

from __future__ import annotations

import re
from typing import Any, Final

from airflow_provider_jobmanager.batch import values
from airflow_provider_jobmanager.batch.findings import BOUND
from airflow_provider_jobmanager.batch.job_manager_task import ID, IS_ID
from airflow_provider_jobmanager.errors import ConfigurationError

_FOLLOWED: Final = {
    # A job of a schedule is named after it, such as ``nightly:job-7``
    # (https://learn.microsoft.com/rest/api/batchservice/job-schedules/get-job-schedule).
    "job_id": (rf"{ID}(?::job-[0-9]+)?", "the id of a job"),
    "job_schedule_id": (ID, "the id of a job schedule"),
}


def followed_id(name: str, value: Any) -> str:
    """The id of a job or a job schedule to follow, as text: native rendering makes numbers of digits.

    Args:
        name: the argument, ``job_id`` or ``job_schedule_id``.
        value: what was given for it, rendered.

    Raises:
        ConfigurationError: it is none; names the argument.
    """
    pattern, what = _FOLLOWED[name]
    try:
        text = values.text(value)
    except values.Unfit:
        text = ""
    if re.fullmatch(pattern, text):
        return text
    found = "nothing" if value in ("", None) else ascii(text) if 0 < len(text) <= BOUND else values.form(value)
    raise ConfigurationError(f"{name} must be {what} ({IS_ID}); it came to {found}.")
