"""A job's result: a small JSON file that its manager leaves in its working directory."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_jobmanager.batch.files import piece, unreadable
from airflow_provider_jobmanager.batch.secrets import quoted
from airflow_provider_jobmanager.batch.values import templated
from airflow_provider_jobmanager.errors import ConfigurationError, ResultError, ServiceError

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.job import AutoPoolSpecification
    from airflow_provider_jobmanager.batch.verdict import Verdict
    from airflow_provider_jobmanager.hooks.job_manager import AzureBatchJobManagerHook

LIMIT: Final = 256 * 1024
"""Bytes of a result file: it becomes an XCom, which is no place for data."""

_WHOLE: Final = (-(2**63), 2**64 - 1)
"""Whole numbers that a task can hand to Airflow, which encodes them as MessagePack does."""

_ELSEWHERE = "Data belongs into output_files; a result file is for a few values or the address of the data."


def check_result_file(name: Any) -> None:
    """Find at parse time what can't be a result file.

    Raises:
        ConfigurationError: it is no relative path inside the working directory.
    """
    if name is None or templated(name):
        return
    parts = name.replace("\\", "/").split("/") if isinstance(name, str) else [""]
    if "" in parts or ".." in parts or parts[0].endswith(":"):
        raise ConfigurationError(
            "result_file must be a path relative to the job manager's working directory, such as 'result.json', "
            f"not {quoted(name)}."
        )


def check_result_pool(name: Any, auto_pool: AutoPoolSpecification | None) -> None:
    """Find a pool that goes with its job, and takes the result file along before it can be read.

    Args:
        name: the result file, None when there is none.
        auto_pool: the job's own pool. What is still a template in it is not judged.

    Raises:
        ConfigurationError: the file would never be there.
    """
    if name is None or auto_pool is None:
        return
    lifetime, keep = auto_pool.pool_lifetime_option, auto_pool.keep_alive
    if str(lifetime).lower() == "job" and str(keep).lower() in ("none", "false"):
        raise ConfigurationError(
            "result_file: an auto pool whose lifetime is the job's goes as soon as the job is over, and the file with "
            "it. Set keep_alive in auto_pool and delete the pool yourself, use a pool that exists, or have the manager "
            "upload its result by output_files."
        )


def read_result(hook: AzureBatchJobManagerHook, verdict: Verdict, name: str) -> Any:
    """The content of the result file.

    Args:
        hook: where to ask.
        verdict: of the job, which succeeded.
        name: the file, relative to the working directory of the manager.

    Raises:
        ResultError: the file is missing, unreadable, larger than :data:`LIMIT` or no JSON.
        ConfigurationError: as :func:`check_result_file`, for a name that was a template.
    """
    check_result_file(name)
    what = f"Job {verdict.job_id!r} succeeded, but its result file {quoted(name)}"
    try:
        data = hook.perform(piece(verdict.job_id, verdict.manager_id, f"wd/{name}", first=0, count=LIMIT + 1))
    except ServiceError as error:
        if getattr(error, "status", None) == HTTPStatus.NOT_FOUND and getattr(error, "code", "") == "FileNotFound":
            raise ResultError(
                f"{what} is not there: the job manager must write it into its working directory "
                "($AZ_BATCH_TASK_WORKING_DIR) before it ends."
            ) from error
        raise ResultError(
            f"{what} can't be read: {unreadable(error)}. A result has to be read while the node is there; let the "
            "manager upload what must last by output_files."
        ) from error
    if len(data) > LIMIT:
        raise ResultError(f"{what} has more than {LIMIT:,} bytes. {_ELSEWHERE}")
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant, parse_float=_finite, parse_int=_whole)
        json.dumps(value, ensure_ascii=False).encode()  # as it must be possible to store it
    except UnicodeDecodeError:
        said = "it is not UTF-8"  # the error's own text would show bytes of the file
    except UnicodeEncodeError:
        said = "a text in it has half a surrogate pair"
    except RecursionError:
        said = "it is nested too deeply"
    except ValueError as error:
        said = str(error)
    else:
        return value
    raise ResultError(f"{what} ({len(data):,} bytes) is not JSON that can be returned: {said}.")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no value of JSON")


def _whole(text: str) -> int:
    value = int(text)
    if not _WHOLE[0] <= value <= _WHOLE[1]:
        raise ValueError(f"the number {text[:20]}… is too large")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value
