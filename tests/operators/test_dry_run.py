"""The request body that a dry run prints, and what it hides."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from airflow.sdk import task

from airflow_provider_jobmanager.errors import PayloadError
from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator as Operator
from tests.operators.parsing import a_dag, an_operator


def test_a_dry_run_prints_the_request_body_with_secrets_masked(capsys: pytest.CaptureFixture[str]) -> None:
    operator = an_operator(
        job_id="j",
        resource_files=[{"httpUrl": "https://a.blob.core.windows.net/c/b?sv=1&sig=SECRETSIG", "filePath": "b"}],
        environment_settings=[{"name": "PLAIN", "value": "shown"}, {"name": "X", "value": "hidden", "secret": True}],
    )

    operator.dry_run()

    printed = capsys.readouterr().out
    body = json.loads(printed)
    assert body["id"] == "j"
    assert body["jobManagerTask"]["commandLine"] == "run"
    assert "shown" in printed
    assert "SECRETSIG" not in printed
    assert "hidden" not in printed


@pytest.mark.parametrize("secret", ["ab{{cdefgh", "ab{%cdefgh", "ab{#cdefgh"])
def test_a_dry_run_hides_a_rendered_secret_that_looks_like_a_template(
    secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = an_operator(environment_settings={"A_TOKEN": "{{ token }}"}, command_line="run {{ token }}")
    operator.render_template_fields({"token": secret})
    operator.dry_run()
    assert json.loads(capsys.readouterr().out)["jobManagerTask"]["commandLine"] == "run ***"
    operator.required_slots = 0
    with pytest.raises(PayloadError, match="required_slots"):
        operator.dry_run()


@pytest.mark.parametrize(
    ("arguments", "constraints"),
    [
        ({}, None),
        ({"timeout": 3600}, {"maxWallClockTime": "PT3900S"}),
        ({"timeout": 3600, "execution_timeout": dt.timedelta(minutes=1)}, {"maxWallClockTime": "PT360S"}),
        (
            {"timeout": 3600, "job": {"constraints": {"max_task_retry_count": 1}}},
            {"maxTaskRetryCount": 1, "maxWallClockTime": "PT3900S"},
        ),
        ({"timeout": 3600, "job": {"constraints": {"max_wall_clock_time": 60}}}, {"maxWallClockTime": "PT1M"}),
        ({"timeout": 3600, "job": {"constraints": "{{ params.limits }}"}}, "{{ params.limits }}"),
        ({"timeout": 3600, "job": "{{ params.job }}"}, None),
        ({"timeout": 3600, "on_kill_action": "leave"}, None),
        ({"timeout": 3600, "wait_for": "job_manager"}, None),
    ],
)
def test_a_dry_run_shows_the_limit_that_the_service_is_given(
    arguments: dict[str, Any], constraints: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    an_operator(**arguments).dry_run()
    assert json.loads(capsys.readouterr().out).get("constraints") == constraints


def test_a_short_secret_takes_nothing_else_out_of_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    an_operator(job_id="job-2021-1", environment_settings={"PIN": {"value": "1", "secret": True}}).dry_run()

    body = json.loads(capsys.readouterr().out)
    assert body["id"] == "job-2021-1"
    assert body["jobManagerTask"]["environmentSettings"] == [{"name": "PIN", "value": "***"}]
    assert {"name": "airflow_try_number", "value": "1"} in body["metadata"]


def test_a_dry_run_before_rendering_prints_the_templates(capsys: pytest.CaptureFixture[str]) -> None:
    with a_dag():

        @task
        def made() -> Any:
            return []

        operator = Operator(
            task_id="t",
            command_line="run",
            pool_id="local",
            job_id="j-{{ ti.try_number }}",
            required_slots="{{ params.slots }}",
            resource_files=made(),
            output_files="{{ params.outputs }}",
            keep_logs="{{ params.logs }}",
            environment_settings={"DB_PASSWORD": "{{ params.name }}", "X": {"value": "hidden", "secret": True}},
            kill_job_on_completion=False,
            job="{{ params.job }}",
        )

    operator.dry_run()

    printed = capsys.readouterr().out
    body = json.loads(printed)
    manager = body["jobManagerTask"]
    assert (body["id"], body["job"]) == ("j-{{ ti.try_number }}", "{{ params.job }}")
    assert manager["requiredSlots"] == "{{ params.slots }}"
    assert "xcom_pull" in manager["resourceFiles"]
    assert manager["outputFiles"][0] == "{{ params.outputs }}"
    assert manager["outputFiles"][1]["destination"]["container"]["containerUrl"] == "{{ params.logs }}"
    assert "hidden" not in printed

    operator.command_line = ""
    with pytest.raises(PayloadError, match="command_line: must not be blank"):
        operator.dry_run()
