"""What is checked of a mapped operator when the DAG is parsed, and what is left to its run."""

from __future__ import annotations

import gc
import json
import warnings
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_jobmanager import masking
from airflow_provider_jobmanager.errors import ConfigurationError, PayloadError
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator as Operator


def mapped(default_args: dict[str, Any] | None = None, **arguments: Any) -> DAG:
    with DAG("d", schedule=None, default_args=default_args or {}) as dag:
        Operator.partial(task_id="t", **arguments).expand(command_line=["a", "b"])
    return dag


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"pool_id": "a/b"}, "pool_id: expected 1 to 64"),
        ({"pool_id": "p", "auto_pool": {}}, "both were given"),
        ({"job_id": "x" * 65}, "job_id"),
        ({"required_slots": 0}, "required_slots"),
        ({"constraints": {"maxretry": 1}}, "did you mean maxTaskRetryCount"),
        ({"environment_settings": {"X": {"value": "v", "secrte": True}}}, "did you mean secret"),
        ({"resource_files": [{"httpUrl": "https://h/a", "filePath": "../a"}]}, "resource_files[0].file_path"),
        ({"kill_job_on_completion": False, "job": {"priority": 1}}, "false leaves the job without an end"),
        ({"job": {"priority": 2000}}, "job.priority"),
        ({"wait_for": "nonsense"}, "Task 't': wait_for must be 'job' or 'job_manager'"),
        ({"poll_interval": "5"}, "poll_interval"),
        ({"deferrable": "false"}, "deferrable must be True or False"),
        ({"keep_logs": "no URL"}, "keep_logs"),
        ({"result_file": "../r.json"}, "result_file"),
        ({"skip_on_exit_code": "x"}, "skip_on_exit_code"),
    ],
)
def test_what_needs_neither_rendering_nor_mapping_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mapped(**arguments)
    assert named in str(caught.value)
    del caught
    gc.collect()  # nor does Airflow then warn that the task was never mapped


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"pool_id": None},
        {"auto_pool": "{{ params.pool }}"},
        {"kill_job_on_completion": False},  # the job may come by expand()
        {"kill_job_on_completion": False, "job": {"on_all_tasks_complete": "terminatejob"}},
        {"kill_job_on_completion": False, "job": {}, "wait_for": "job_manager"},
        {"required_slots": "{{ params.slots }}", "deferrable": True, "keep_logs": "{{ params.logs }}"},
    ],
)
def test_what_may_still_come_is_not_missed(arguments: dict[str, Any]) -> None:
    mapped(**arguments)


def test_defaults_of_the_dag_count() -> None:
    mapped({"wait_for": "job_manager", "owner": "me"}, kill_job_on_completion=False, job={})
    with pytest.raises(ConfigurationError, match="both were given"):
        mapped({"pool_id": "p"}, auto_pool={"pool_lifetime_option": "job"})
    with DAG("d", schedule=None), TaskGroup("g", default_args={"wait_for": "job_manager"}):
        Operator.partial(task_id="t", kill_job_on_completion=False, job={}).expand(command_line=["a"])


def test_a_task_in_a_group_is_named_whole() -> None:
    with DAG("d", schedule=None), TaskGroup("g"), pytest.raises(PayloadError, match=r"The job of task 'g\.t'"):
        Operator.partial(task_id="t", pool_id="a/b")


def test_the_retired_token_is_warned_of_where_it_is_written() -> None:
    with pytest.warns(DeprecationWarning, match="managed identity") as caught:
        mapped(pool_id="p", authentication_token_settings={"access": ["job"]})
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped(pool_id="p")


def test_a_secret_of_one_argument_is_veiled_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(masking, "mask_secret", told.append)
    with DAG("d", schedule=None) as dag:
        Operator.partial(
            task_id="t",
            pool_id="p",
            environment_settings={"DB_PASSWORD": "hunter22pw", "X": {"value": "marked-one", "secret": " True"}},
            command_line="tool hunter22pw {{ params.x }}",
            job={"metadata": {"note": "marked-one"}},
        ).expand(display_name=["a"])
    stored = json.dumps(DagSerialization.serialize_dag(dag), default=str)
    assert "hunter22pw" not in stored
    assert "marked-one" not in stored
    assert "tool *** {{ params.x }}" in stored
    assert {"hunter22pw", "marked-one"} <= {*told}
    assert not [secret for secret in told if "{{" in secret]
