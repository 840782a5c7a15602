"""Arguments that are true or false, and no templates."""

from __future__ import annotations

from typing import Any

from airflow_provider_jobmanager.batch.values import form
from airflow_provider_jobmanager.errors import ConfigurationError


def check_flag(name: str, value: Any) -> None:
    """Find at parse time what is neither true nor false: the text ``"false"`` would be taken for true.

    Raises:
        ConfigurationError: names the argument.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False and can't be a template; found {form(value)}.")
