"""Secrets planted on every path of a real Airflow at debug level, then searched for in everything that it keeps."""

from __future__ import annotations

import base64
import json
import secrets as randomness
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential

from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
from airflow_provider_jobmanager.local import LocalBatch, Settings
from airflow_provider_jobmanager.local.auth import PUBLIC_AUDIENCE
from tests.browser import logged_in, screenshot
from tests.entra import APPLICATION, CLIENT_SECRET, TENANT, Entra
from tests.scripted import Reply, Request, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAG_ID = "leaks"
VISIBLE = "plainly-visible-setting"
DAG = """
import os

from airflow.sdk import DAG

from airflow_provider_jobmanager.operators.job_manager import AzureBatchJobManagerOperator
from airflow_provider_jobmanager.sensors.job_manager import AzureBatchJobManagerSensor

PASSWORD, SIGNATURE, FILES = (os.environ[name] for name in ("PLANTED_PASSWORD", "PLANTED_SIGNATURE", "PLANTED_FILES"))
PADDED, KEY, LINE = (os.environ[name] for name in ("PLANTED_PADDED", "PLANTED_KEY", "PLANTED_LINE"))


def arguments(script, path="good", **more):
    settings = [
        {"name": "DB_PASSWORD", "value": PASSWORD},
        {"name": "API_TOKEN", "value": "{{ var.value.rendered_setting }}"},
        {"name": "HARMLESS", "value": "{{ var.value.marked_setting }}", "secret": True},
        {"name": "VISIBLE", "value": "plainly-visible-setting"},
    ]
    return {
        "command_line": f"/bin/sh -c 'echo $DB_PASSWORD $API_TOKEN $HARMLESS; echo {PASSWORD} $HARMLESS >&2; {script}'",
        "pool_id": "local",
        "environment_settings": settings,
        "resource_files": [{"http_url": f"{FILES}/{path}?sv=1&sig={SIGNATURE}&se=2", "file_path": "fetched"}],
        "job": {"common_environment_settings": [{"name": "COMMON_SECRET", "value": PASSWORD}]},
        # Airflow can fail a task whose trigger fires sooner after its deferral (apache/airflow#71580).
        "poll_interval": 5.0,
        **more,
    }


def container(path):
    return f"{FILES}/{path}?sv=1&sig={SIGNATURE}&se=2"


def uploaded(path):
    where = {"container": {"container_url": container(path), "path": "copy"}}
    return [
        {"file_pattern": "*.json", "destination": where, "upload_options": {"upload_condition": "taskcompletion"}}
    ]


with DAG("leaks", schedule=None) as dag:
    AzureBatchJobManagerOperator(task_id="ok_worker", **arguments("true", deferrable=False))
    ok = AzureBatchJobManagerOperator(task_id="ok_deferred", **arguments("true", deferrable=True))
    AzureBatchJobManagerOperator(task_id="fails", **arguments("exit 3", deferrable=True))
    AzureBatchJobManagerOperator(task_id="streamed", **arguments("sleep 3; exit 3", deferrable=True, stream_logs=True))
    spelled = arguments("true", deferrable=False)
    spelled["environment_settings"] = "{{ var.json.spelled_settings | tojson }}"
    AzureBatchJobManagerOperator(task_id="spelled", **spelled)
    AzureBatchJobManagerSensor(
        task_id="sensed", job_id="{{ ti.xcom_pull('streamed', key='job_id') }}", deferrable=True, end_from_trigger=True,
        trigger_rule="all_done",
    ).set_upstream(dag.get_task("streamed"))
    AzureBatchJobManagerOperator(task_id="denied", **arguments("true", "denied", deferrable=False))
    AzureBatchJobManagerOperator(
        task_id="retried", retries=1, retry_delay=1, **arguments("exit 4", deferrable=False)
    )
    AzureBatchJobManagerOperator(task_id="killed_worker", **arguments("sleep 600", deferrable=False))
    AzureBatchJobManagerOperator(task_id="killed_deferred", **arguments("sleep 600", deferrable=True))
    invalid = arguments("true", deferrable=False)
    invalid["environment_settings"].append({"name": "{{ 'BAD=PASSWORD' }}", "value": PASSWORD})
    AzureBatchJobManagerOperator(task_id="invalid", **invalid)
    ok >> AzureBatchJobManagerSensor(
        task_id="sensor", job_id="{{ ti.xcom_pull('ok_deferred', key='job_id') }}", deferrable=True
    )
    mapped = arguments('echo $PADDED; echo "$API_TOKENS"; echo "$DEPLOY_KEY"; exit 3', deferrable=False)
    mapped["environment_settings"] += [
        {"name": "PADDED", "value": PADDED, "secret": " true "},
        {"name": "API_TOKENS", "value": {KEY: "somebody"}},
        {"name": "DEPLOY_KEY", "value": f"-----BEGIN-----\\n{LINE}\\n-----END-----\\n"},
    ]
    AzureBatchJobManagerOperator.partial(
        task_id="mapped", keep_logs=container("kept"), output_files=uploaded("kept"), **mapped
    ).expand(display_name=["one", "two"])
    AzureBatchJobManagerOperator(
        task_id="kept",
        keep_logs=container("kept"),
        output_files=uploaded("kept"),
        result_file="result.json",
        **arguments("echo 5 > result.json", deferrable=True),
    )
    AzureBatchJobManagerOperator(
        task_id="not_kept",
        keep_logs={"container_url": container("denied"), "path": ""},
        output_files=uploaded("denied"),
        result_file="result.json",
        **arguments("echo 5 > result.json", deferrable=False),
    )
    AzureBatchJobManagerSensor(
        task_id="entra", job_id="nobody", azure_batch_conn_id="entra", deferrable=True
    )
"""

DRY_RUN = """
import runpy, sys
runpy.run_path(sys.argv[1])["dag"].get_task("fails").dry_run()
"""


@pytest.fixture(scope="module")
def planted() -> dict[str, str]:
    """A secret for each way that one may come in."""
    return {
        "password": f"pw-{randomness.token_hex(12)}",
        "signature": quote(base64.b64encode(randomness.token_bytes(33) + b"\xff\xfe\xfd").decode(), safe=""),
        "rendered": f"rendered-{randomness.token_hex(12)}",
        "marked": f"marked-{randomness.token_hex(12)}",
        "padded": f"padded-{randomness.token_hex(12)}",
        "key": f"key-{randomness.token_hex(12)}",
        "line": f"line-{randomness.token_hex(12)}",
        "spelled": f"spelled-{randomness.token_hex(12)}",
        "spelled and marked": f"spelled-{randomness.token_hex(12)}",
        "account key": base64.b64encode(randomness.token_bytes(64)).decode(),
        "client secret": CLIENT_SECRET,
    }


@pytest.fixture(scope="module")
def entra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entra]:
    with Entra(tmp_path_factory.mktemp("entra")) as entra:
        yield entra


@pytest.fixture(scope="module")
def service(planted: dict[str, str]) -> Iterator[LocalBatch]:
    with LocalBatch(Settings(port=0, key=planted["account key"])) as service:
        yield service


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory,
    migrated_databases: Path,
    planted: dict[str, str],
    entra: Entra,
    service: LocalBatch,
) -> Iterator[AirflowHome]:
    files = ScriptedServer(files_of)
    tls = LocalBatch(Settings(port=0, https=True, issuer=entra.issuer(PUBLIC_AUDIENCE)))
    with files, tls:
        assert tls.certificate is not None
        trusted = tmp_path_factory.mktemp("trusted") / "trusted.pem"
        trusted.write_bytes(entra.certificate.read_bytes() + tls.certificate.read_bytes())
        by_entra = {"account_url": tls.url, "tenant_id": TENANT, "client_id": APPLICATION}
        by_key = json.loads(service.connection_json())
        by_key["extra"] |= {"subscription_id": "my-sub", "resource_group": "my-group"}
        environment = {
            **entra.environment(),
            "REQUESTS_CA_BUNDLE": str(trusted),
            "SSL_CERT_FILE": str(trusted),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow_provider_jobmanager.http=DEBUG azure=DEBUG msal=DEBUG",
            "AIRFLOW_CONN_AZURE_BATCH_DEFAULT": json.dumps(by_key),
            "AIRFLOW_CONN_ENTRA": json.dumps(
                {"conn_type": "azure_batch_job_manager", "password": CLIENT_SECRET, "extra": by_entra}
            ),
            "AIRFLOW_VAR_RENDERED_SETTING": planted["rendered"],
            "AIRFLOW_VAR_MARKED_SETTING": planted["marked"],
            "AIRFLOW_VAR_SPELLED_SETTINGS": json.dumps(
                [
                    {"name": "DB_PASSWORD", "value": planted["spelled"]},
                    {"name": "HARMLESS", "value": planted["spelled and marked"], "secret": True},
                ]
            ),
            "PLANTED_PASSWORD": planted["password"],
            "PLANTED_SIGNATURE": planted["signature"],
            "PLANTED_FILES": files.url,
            "PLANTED_PADDED": planted["padded"],
            "PLANTED_KEY": planted["key"],
            "PLANTED_LINE": planted["line"],
        }
        with AirflowHome(tmp_path_factory.mktemp("leaks"), environment=environment, parallelism=6) as home:
            home.migrate(migrated_databases)
            home.start()
            home.wait_healthy()
            yield home


def files_of(asked: Request) -> Reply:
    """A file to fetch, a container that takes all blobs, and nothing else."""
    if asked.path == "/good":
        return Reply(200, b"x")
    if asked.method == "PUT" and asked.path.startswith("/kept/"):
        return Reply(201, b"", {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"})
    return Reply(403, b"no")


@pytest.mark.timeout(1200)
def test_nothing_that_airflow_keeps_or_shows_has_a_secret(
    home: AirflowHome, service: LocalBatch, planted: dict[str, str], entra: Entra
) -> None:
    home.add_dag(DAG_ID, DAG, timeout=180)
    run = home.api.trigger(DAG_ID)
    for task, state in (("killed_deferred", "deferred"), ("killed_worker", "running")):
        home.api.wait_for_task(DAG_ID, run, task, {state}, timeout=300)
        home.api.wait_until(
            lambda task=task: home.api.xcoms(DAG_ID, run, task), lambda found: "job_id" in found, f"{task}'s job", 300
        )
        if task == "killed_deferred":
            links = home.api.extra_links(DAG_ID, run, task)
            job_id = home.api.xcoms(DAG_ID, run, task)["job_id"]
            assert str(links["Batch Explorer"]).startswith(f"ms-batch-explorer://route/jobs/{job_id}?accountId=")
            assert str(links["Azure portal"]).startswith("https://portal.azure.com/#resource/subscriptions/my-sub/")
        home.api.mark(DAG_ID, run, task, "failed")
    home.api.wait_for_run(DAG_ID, run, timeout=600)
    states = {(found.task_id, found.map_index): found.state for found in home.api.task_instances(DAG_ID, run)}
    assert ("mapped", 1) in states
    wanted = {
        "ok_worker": "success",
        "ok_deferred": "success",
        "sensor": "success",
        "spelled": "success",
        "kept": "success",
        **dict.fromkeys(
            (
                "fails",
                "streamed",
                "sensed",
                "denied",
                "retried",
                "killed_worker",
                "killed_deferred",
                "invalid",
                "entra",
                "mapped",
                "not_kept",
            ),
            "failed",
        ),
    }
    strange = [(task, index) for (task, index), state in states.items() if state != wanted[task]]
    assert not strange, "\n".join(home.api.log(DAG_ID, run, task, None, index)[-3000:] for task, index in strange)
    shown = everything_the_api_tells(home, run, states)
    dry = subprocess.run(
        [sys.executable, "-c", DRY_RUN, str(home.dags / f"{DAG_ID}.py")],
        env=home.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    shown["dry run"] = dry.stdout + dry.stderr
    assert '"value": "***"' in dry.stdout
    with logged_in(home) as page:
        for tab in ("", "/rendered_templates", "/xcom", "/details"):
            page.goto(f"{home.url}/dags/{DAG_ID}/runs/{run}/tasks/fails{tab}")
            page.wait_for_load_state("networkidle")
            shown[f"screen {tab}"] = screenshot(page, f"leaks-{tab.strip('/') or 'logs'}") + page.content()

    # The secrets went where they belong, and the search finds what is there.
    body = json.dumps(job_of(home, service, run, "ok_worker"))
    for name in ("password", "signature", "rendered", "marked"):
        assert planted[name] in body
    assert planted["spelled and marked"] in json.dumps(job_of(home, service, run, "spelled"))
    body = json.dumps(job_of(home, service, run, "mapped", 1))
    for name in ("padded", "key", "line", "signature"):
        assert planted[name] in body
    assert home.api.xcoms(DAG_ID, run, "kept")["return_value"] == 5
    assert shown["links kept"].count("/kept/leaks/") == 1
    assert "***" in shown["log mapped[1] 1"]
    assert "denied" in shown["log not_kept 1"]
    for task in ("streamed", "sensed"):
        assert "*** *** ***" in shown[f"log {task} 1"]
    assert entra.issued
    kept = {str(path): path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    assert sum(VISIBLE.encode() in content for content in kept.values()) >= 2
    assert VISIBLE in shown["rendered fails"]
    assert VISIBLE in shown["screen /rendered_templates"]
    assert "HTTP Error" in shown["log denied 1"] or "denied" in shown["log denied 1"]

    needles = {
        f"{name} ({spelling})": text.encode()
        for name, secret in (planted | {f"token {number}": token for number, token in enumerate(entra.issued)}).items()
        for spelling, text in spellings(secret).items()
    }
    places = kept | {name: text.encode() for name, text in shown.items()}
    found = [
        (needle, place) for needle, text in needles.items() for place, content in places.items() if text in content
    ]
    assert found == []


def spellings(secret: str) -> dict[str, str]:
    """How a secret may be written."""
    return {
        "as it is": secret,
        "decoded": unquote(secret),
        "encoded": quote(secret, safe=""),
        "base64": base64.b64encode(secret.encode()).decode().rstrip("=")[:-1],
    }


def everything_the_api_tells(home: AirflowHome, run: str, states: dict[tuple[str, int], Any]) -> dict[str, str]:
    api = home.api
    shown = {"dag": json.dumps(api.request("GET", f"/dags/{DAG_ID}/details"))}
    shown["tasks"] = json.dumps(api.request("GET", f"/dags/{DAG_ID}/tasks"))
    shown["events"] = json.dumps(api.request("GET", "/eventLogs", params={"limit": 1000}))
    for task, index in states:
        name = task if index < 0 else f"{task}[{index}]"
        shown[f"rendered {name}"] = json.dumps(dict(api.task_instance(DAG_ID, run, task, index).rendered))
        shown[f"xcom {name}"] = json.dumps(api.xcoms(DAG_ID, run, task, index))
        shown[f"links {name}"] = json.dumps(api.extra_links(DAG_ID, run, task, index))
        for attempt in api.tries(DAG_ID, run, task, index):
            shown[f"log {name} {attempt.try_number}"] = api.log(DAG_ID, run, task, attempt.try_number, index)
    return shown


def job_of(home: AirflowHome, service: LocalBatch, run: str, task: str, map_index: int = -1) -> dict[str, Any]:
    client = BatchClient(service.url, AzureNamedKeyCredential(service.account, service.key))
    return client.get_job(home.api.xcoms(DAG_ID, run, task, map_index)["job_id"]).as_dict()
