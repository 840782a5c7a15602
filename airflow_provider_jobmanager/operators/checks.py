"""What can be known to be wrong with the operator's arguments when the DAG is parsed."""

from __future__ import annotations

import inspect
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_jobmanager.batch.job_manager_task import AUTHENTICATION_TOKEN_RETIRED
from airflow_provider_jobmanager.errors import ConfigurationError
from airflow_provider_jobmanager.masking import unveil
from airflow_provider_jobmanager.operators.flags import check_flag
from airflow_provider_jobmanager.operators.kept_logs import check_keep_logs
from airflow_provider_jobmanager.operators.outcome import ExitCodes
from airflow_provider_jobmanager.operators.payload import MANAGER_FIELDS, check_at_parse_time
from airflow_provider_jobmanager.operators.result import check_result_file
from airflow_provider_jobmanager.operators.times import check_limit, check_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

_LATER: Final = "by expand: {{ }}"
"""Stands for an argument that may come by ``.expand()``: nothing is known of it, as of a template. It does not begin as
a mapping might, so nobody takes the time to look for one in it."""

_NEED_NOT_COME: Final = frozenset({"authentication_token_settings"})


def check_arguments(operator: Any) -> None:
    """Find what needs no rendering to be known to be wrong.

    Args:
        operator: holds the arguments as attributes.

    Raises:
        ConfigurationError: names task and argument; a PayloadError names all broken rules of the Batch service.
    """
    for name, allowed in (
        ("wait_for", ("job", "job_manager")),
        ("children", (None, "count", "ignore")),
        ("on_kill_action", ("terminate", "leave")),
        ("on_finish_action", ("keep", "delete", "delete_on_success")),
    ):
        value = getattr(operator, name)
        if value not in allowed:
            choices = " or ".join(repr(choice) for choice in allowed if choice is not None)
            raise ConfigurationError(f"Task {operator.task_id!r}: {name} must be {choices}, not {value!r}.")
    try:
        if operator.deferrable is not None:
            check_flag("deferrable", operator.deferrable)
        check_flag("stream_logs", operator.stream_logs)
        for name in ("poll_interval", "out_of_sight"):
            check_seconds(name, getattr(operator, name))
        for name in ("timeout", "start_timeout"):
            check_limit(name, getattr(operator, name))
        check_limit("quota_timeout", operator.quota_timeout, zero=True)
        check_result_file(operator.result_file)
        check_keep_logs(unveil(operator.keep_logs))  # veiled already when it comes out of partial()
        ExitCodes.of(operator.skip_on_exit_code, operator.fail_without_retry_on_exit_code)
    except ConfigurationError as error:
        raise ConfigurationError(f"Task {operator.task_id!r}: {error}") from None
    check_at_parse_time(operator)


def check_mapped(operator_class: type[Any], given: Mapping[str, Any], *, task_id: str) -> None:
    """Find what is wrong with the arguments of ``.partial()``, whatever ``.expand()`` brings.

    Args:
        operator_class: whose constructor has the defaults.
        given: the arguments, of ``.partial()`` or by the DAG's ``default_args``.
        task_id: for messages.

    Raises:
        ConfigurationError: as :func:`check_arguments`.
    """
    parameters = inspect.signature(operator_class.__init__).parameters
    arguments = {name: parameter.default for name, parameter in parameters.items()}
    arguments |= {name: _LATER for name in ("job", *MANAGER_FIELDS) if name not in _NEED_NOT_COME}
    arguments |= given
    if arguments["pool_id"] is None and arguments["auto_pool"] is None:
        arguments["pool_id"] = _LATER
    check_arguments(SimpleNamespace(**{**arguments, "task_id": task_id}))


def warn_of_token(task_id: str, settings: Any, *, stacklevel: int) -> None:
    """Warn of ``authentication_token_settings``, which the service has retired.

    Args:
        task_id: for the message.
        settings: the argument.
        stacklevel: as ``warnings.warn`` takes it, counted from the caller.
    """
    if settings is not None:
        message = f"Task {task_id!r}: {AUTHENTICATION_TOKEN_RETIRED}"
        warnings.warn(message, DeprecationWarning, stacklevel=stacklevel + 1)
