"""Which active jobs nobody follows."""

from __future__ import annotations

import shutil
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential

from airflow_provider_jobmanager import orphans
from airflow_provider_jobmanager.batch.ownership import Owner
from airflow_provider_jobmanager.cli import main
from airflow_provider_jobmanager.demo.airflow_api import AirflowApi, TaskInstance
from airflow_provider_jobmanager.errors import ConfigurationError, ServiceUnavailable
from airflow_provider_jobmanager.local.tls import certificate_in
from airflow_provider_jobmanager.orphans import GONE, judge
from tests.batch.conversing import Script
from tests.batch.fake_service import refused
from tests.scripted import Reply, Request, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_jobmanager.demo.airflow_home import AirflowHome
    from airflow_provider_jobmanager.local import LocalBatch

OWNER = Owner("sales", "load", "r1", -1, 1, "ti-1", 2, "2026-01-01T00:00:00+00:00")
PASSWORD = "the-password-of-the-user"
TOKEN = "the-token-of-the-user"
SALES = """
from airflow.sdk import dag, task

@dag(schedule=None)
def sales():
    @task
    def load():
        pass

    load()

sales()
"""
JOB: dict[str, Any] = {"id": "j", "jobManagerTask": {"killJobOnCompletion": True}}


def task(state: str | None, try_number: int = 1) -> TaskInstance:
    return TaskInstance("load", -1, state, try_number, 2, None, {}, {})


@pytest.mark.parametrize(
    ("state", "try_number", "followed", "orphan"),
    [
        ("failed", 1, "j", True),
        ("success", 1, "j", True),
        ("skipped", 1, None, True),
        ("removed", 1, None, True),
        ("deferred", 1, "j", False),
        ("deferred", 1, "J", False),
        ("deferred", 2, "k", True),
        ("running", 2, "k", True),
        ("running", 2, None, False),
        ("running", 1, None, False),
        ("up_for_retry", 1, "j", False),
        ("queued", 1, "j", False),
        (None, 1, "j", False),
    ],
)
def test_a_job_is_an_orphan_when_nobody_follows_it(
    state: str | None, try_number: int, followed: str | None, orphan: bool
) -> None:
    assert judge(JOB, OWNER, task(state, try_number), followed)[0] is orphan


def test_a_job_whose_task_is_gone_is_an_orphan_of_its_own_kind() -> None:
    assert judge(JOB, OWNER, None, None) == (True, GONE)


def test_a_job_that_may_outlive_its_manager_is_kept_when_its_task_succeeded() -> None:
    job = {"id": "j", "jobManagerTask": {"killJobOnCompletion": False}}

    assert not judge(job, OWNER, task("success"), "j")[0]
    assert not judge(job, OWNER, task("success"), None)[0]
    assert judge(job, OWNER, task("success", 2), "k")[0]
    assert judge(job, evolve(OWNER, try_number=1), task("failed"), "j")[0]


def test_credentials_are_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("AIRFLOW_API_USERNAME", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_BATCH_DEFAULT", '{"conn_type": "azure_batch_job_manager"}')

    with pytest.raises(SystemExit) as ended:
        main(["orphans", "--airflow-url", "http://127.0.0.1:9"])

    assert ended.value.code == 2
    assert "AIRFLOW_API_USERNAME" in capsys.readouterr().err


class Airflow:
    """Knows one run, whose task has failed."""

    url = "http://127.0.0.1:9"

    def login(self) -> None:
        pass

    def dag_run(self, _dag_id: str, _run_id: str) -> Any:
        return SimpleNamespace(raw={"start_date": "2026-01-01T00:00:00Z"})

    def task_instance(self, *_: Any) -> TaskInstance:
        return task("failed")

    def request(self, *_: Any, **__: Any) -> Any:
        return {"value": '"j"'}


def test_a_broken_mark_hides_no_other_job() -> None:
    jobs = [
        {"id": f"j{number}", "state": "active", "metadata": evolve(OWNER, run_start=start).metadata()}
        for number, start in enumerate(("soon", OWNER.run_start, "2026-01-01T00:00:00", "2025-01-01T00:00:00Z", ""))
    ]
    script = Script({"GET /jobs": jobs, "GET /jobs/j": refused(404, "JobNotFound")})
    hook: Any = SimpleNamespace(perform=script.perform)

    found = list(orphans.examine(hook, Airflow()))  # type: ignore[arg-type] # all that is asked of it

    assert [one.orphan for one in found] == [False, True, True, True, True]
    assert "its mark is broken (the start of its run is 'soon')" in found[0].why
    assert [one.gone for one in found] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("recorded", "other", "orphan"),
    [
        ("k", OWNER.metadata(), True),
        ("k", evolve(OWNER, task_id="store").metadata(), False),
        ("shelf-17", None, False),
        ("s3://bucket/xcoms/17", None, False),
    ],
)
def test_what_a_task_follows_counts_only_when_it_is_a_job_of_it(
    recorded: str, other: list[dict[str, str]] | None, orphan: bool
) -> None:
    """With an XCom backend of the user's own the API may show no more than where the id is kept."""
    job = {"id": "j", "state": "active", "metadata": OWNER.metadata()}
    answers = {"GET /jobs": [job], "GET /jobs/k": {"id": "k", "metadata": other}}
    script = Script(answers | {"GET /jobs/shelf-17": refused(404, "JobNotFound")})
    hook: Any = SimpleNamespace(perform=script.perform)
    airflow: Any = Airflow()
    airflow.task_instance = lambda *_: task("deferred", 2)
    airflow.request = lambda *_, **__: {"value": f'"{recorded}"'}

    assert [one.orphan for one in orphans.examine(hook, airflow)] == [orphan]


class NoService:
    """A hook whose service does not answer."""

    azure_batch_conn_id = "x"
    account = None

    def perform(self, flow: Any) -> Any:
        flow.close()
        raise ServiceUnavailable("busy")


@pytest.mark.parametrize(
    ("why", "advice"), [("the task is failed", ""), (GONE, "Those that this Airflow does not know were left alone")]
)
def test_only_what_was_left_alone_is_said_to_be(
    why: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = orphans.Found("j1", "active", OWNER, None, orphan=True, why=why)
    monkeypatch.setattr(orphans, "examine", lambda _hook, _api: [found])
    monkeypatch.setattr(orphans, "hook_of", lambda _conn_id: NoService())
    monkeypatch.setenv("AIRFLOW_API_USERNAME", "a")
    monkeypatch.setenv("AIRFLOW_API_PASSWORD", "b")
    assert main(["orphans", "--airflow-url", "http://127.0.0.1:9", "--terminate"]) == 1
    said = capsys.readouterr().out
    assert ("could not be ended: busy" in said) is (why != GONE)
    assert ("were left alone" in said) is bool(advice)
    assert advice in said


@pytest.fixture
def active_job(local_batch: LocalBatch, monkeypatch: pytest.MonkeyPatch) -> Callable[[], models.BatchJob]:
    """An active job with our mark, of a task that is no Airflow's here; ``orphans`` knows account and user."""
    monkeypatch.setenv("AIRFLOW_API_USERNAME", "user")
    monkeypatch.setenv("AIRFLOW_API_PASSWORD", PASSWORD)
    local_batch.scripts.add(task_id="manager", seconds=600)
    client = BatchClient(local_batch.url, AzureNamedKeyCredential(local_batch.account, local_batch.key))
    client.create_job(
        models.BatchJobCreateOptions(
            id="j1",
            pool_info=models.BatchPoolInfo(pool_id="local"),
            metadata=[models.BatchMetadataItem(**item) for item in OWNER.metadata()],
            job_manager_task=models.BatchJobManagerTask(id="manager", command_line="true"),
        )
    )
    return lambda: client.get_job("j1")


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What ``orphans`` says when it can't do its work: one line, no secret in it, and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(["orphans", *arguments])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    assert PASSWORD not in said.err
    assert TOKEN not in said.err
    return said.err


def logged_in(*answers: Reply) -> Callable[[Request], Reply]:
    """Gives a token, then answers everything with these in turn, and from then on with the last one."""
    left = list(answers)

    def answer(request: Request) -> Reply:
        if request.path == "/auth/token":
            return Reply(201, {"access_token": TOKEN})
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


RUN = {"dag_id": OWNER.dag_id, "dag_run_id": OWNER.run_id, "state": "running", "start_date": OWNER.run_start}
RUNNING = {
    "task_id": OWNER.task_id,
    "map_index": -1,
    "state": "running",
    "try_number": 2,
    "max_tries": 2,
    "duration": None,
}


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: Reply(404, b"not found"),
        lambda _: Reply(404, {"detail": "Not Found"}),
        logged_in(Reply(404, b"<html>\n<h1>not found</h1>\n</html>")),
        logged_in(Reply(404, {"detail": "Not Found"})),
        logged_in(Reply(404, {"detail": f"/api/v2/dags/sales/dagRuns/{OWNER.run_id} was not found"})),
        logged_in(Reply(404, {"error": "API route not found"})),
        logged_in(Reply(404, {"detail": [{"msg": f"`{OWNER.run_id}`"}]})),
        logged_in(Reply(200, RUN), Reply(404, {"detail": "Not Found"})),
        logged_in(Reply(200, RUN), Reply(200, RUNNING), Reply(404, {"detail": "Not Found"})),
    ],
)
def test_a_404_of_anything_but_airflow_makes_no_job_an_orphan(
    answer: Callable[[Request], Reply], active_job: Callable[[], models.BatchJob], capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(answer) as server:
        said = complaint(capsys, "--airflow-url", server.url, "--terminate", "--gone-too")

    assert f"Airflow at {server.url} can't be asked" in said
    assert "was answered 404" in said
    assert active_job().state == "active"


def test_a_job_whose_run_airflow_does_not_have_is_ended_when_that_is_asked_for(
    active_job: Callable[[], models.BatchJob], capsys: pytest.CaptureFixture[str]
) -> None:
    gone = f"The DagRun with dag_id: `{OWNER.dag_id}` and run_id: `{OWNER.run_id}` was not found"
    with ScriptedServer(logged_in(Reply(404, {"detail": gone}))) as server:
        command = ["orphans", "--airflow-url", server.url, "--terminate"]
        assert main(command) == 1
        assert active_job().state == "active"
        assert main([*command, "--gone-too"]) == 0

    assert capsys.readouterr().out.count(GONE) == 2
    assert active_job().state in {"terminating", "completed"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            lambda request: Reply(301, b"", {"Location": f"https://airflow.example{request.path}?code={TOKEN}"}),
            "POST /auth/token was answered 301 with a redirect to https://airflow.example/auth/token",
        ),
        (lambda _: Reply(200, b"<html>\nSign in\n</html>"), "POST /auth/token was answered 200 with what is not JSON"),
        (lambda _: Reply(200, {}), "POST /auth/token was answered 200 without a token"),
        (lambda _: Reply(200, ["access_token"]), "POST /auth/token was answered 200 without a token"),
        (lambda _: Reply(200, {"access_token": f"{TOKEN}\n"}), "POST /auth/token was answered 200 without a token"),
        (lambda asked: Reply(422, asked.body), "POST /auth/token was answered 422 Unprocessable Entity"),
        (logged_in(Reply(200, b"<html>\nSign in\n</html>")), "was answered 200 with what is not JSON"),
        (logged_in(Reply(302, b"", {"Location": "/login?next=/"})), "was answered 302 with a redirect to /login"),
        (logged_in(Reply(500, f"Authorization: Bearer {TOKEN}".encode())), "was answered 500: Authorization: Bearer"),
        (logged_in(Reply(200, {})), "The answer is not a DAG run of Airflow"),
        (logged_in(Reply(200, RUN), Reply(200, [])), "The answer is not a task instance of Airflow"),
        (logged_in(Reply(200, RUN), Reply(200, RUNNING), Reply(200, {})), "The answer is not an XCom of Airflow"),
        (lambda _: Reply(drop=True), "can't be asked: "),
    ],
)
def test_what_is_no_answer_of_airflow_is_told_in_one_line(
    answer: Callable[[Request], Reply],
    why: str,
    active_job: Callable[[], models.BatchJob],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ScriptedServer(answer) as server:
        said = complaint(capsys, "--airflow-url", server.url, "--terminate", "--gone-too")

    assert why in said
    assert active_job().state == "active"


def test_a_real_airflow_tells_what_it_does_not_have(airflow: AirflowHome) -> None:
    airflow.add_dag("sales", SALES)
    run_id = airflow.api.trigger("sales")
    run = airflow.api.wait_for_run("sales", run_id)
    there = evolve(OWNER, run_id=run_id, run_start=run.raw["start_date"])
    owners = [there, evolve(there, task_id="store"), evolve(there, map_index=3), evolve(there, run_id="none")]
    jobs = [{"id": f"j{number}", "state": "active", "metadata": each.metadata()} for number, each in enumerate(owners)]
    hook: Any = SimpleNamespace(perform=Script({"GET /jobs": jobs}).perform)

    found = list(orphans.examine(hook, airflow.api))

    assert [one.why for one in found] == ["the task is success", GONE, GONE, GONE]
    with AirflowApi(f"{airflow.url}/elsewhere") as elsewhere, pytest.raises(ConfigurationError, match="can't be asked"):
        list(orphans.examine(hook, elsewhere))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:80a",
        "http://127.0.0.1:99999",
        "airflow.example:8080",
        "airflow.example",
        "https://",
        "http://[::1",
        f"http://user:{PASSWORD}@127.0.0.1:9",
        f"http://user:{PASSWORD}/@127.0.0.1:9",
        f"http://127.0.0.1:9?token={TOKEN}",
        "http://127.0.0.1:9/#home",
    ],
)
def test_an_address_that_is_none_is_told(
    url: str, active_job: Callable[[], models.BatchJob], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--airflow-url is no address" in complaint(capsys, "--airflow-url", url)
    assert active_job().state == "active"


@pytest.fixture
def private(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of an Airflow whose certificate no public authority has signed, and that certificate."""
    gone = f"The DagRun with dag_id: `{OWNER.dag_id}` and run_id: `{OWNER.run_id}` was not found"
    server = ScriptedServer(logged_in(Reply(404, {"detail": gone})))
    tls = certificate_in(tmp_path / "tls")
    server._http.socket = tls.server_context().wrap_socket(server._http.socket, server_side=True)
    with server:
        yield server.url.replace("http:", "https:"), tls.certificate


@pytest.mark.parametrize(
    "names", [("SSL_CERT_FILE",), ("REQUESTS_CA_BUNDLE",), ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
)
@pytest.mark.usefixtures("active_job", "no_certificates")
def test_an_airflow_with_a_private_authority_is_trusted_by_environment_variables(
    names: tuple[str, ...],
    private: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, certificate = private
    # The last one alone names the right certificate: what both name counts.
    for name in names[:-1]:
        monkeypatch.setenv(name, str(certificate_in(tmp_path / "another").certificate))
    monkeypatch.setenv(names[-1], str(certificate))

    assert main(["orphans", "--airflow-url", url]) == 1

    assert "orphan  j1  active since" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to name a certificate by its hash")
@pytest.mark.usefixtures("active_job", "no_certificates")
def test_certificates_are_taken_from_a_folder(
    private: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, certificate = private
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(certificate)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    folder = tmp_path / "trusted"
    folder.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(folder))
    assert "CERTIFICATE_VERIFY_FAILED" in complaint(capsys, "--airflow-url", url)

    shutil.copy(certificate, folder / f"{name}.0")
    assert main(["orphans", "--airflow-url", url]) == 1


@pytest.mark.usefixtures("active_job", "no_certificates")
def test_certificates_that_can_not_be_trusted_or_read_are_told(
    private: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in complaint(capsys, "--airflow-url", private[0])
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    assert "SSL_CERT_FILE (/nowhere/at/all.pem) can't be read" in complaint(capsys, "--airflow-url", private[0])


@pytest.fixture
def no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A proxy of the environment, which answers for whatever host is asked; the Batch service is asked without it."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    gone = f"The DagRun with dag_id: `{OWNER.dag_id}` and run_id: `{OWNER.run_id}` was not found"
    with ScriptedServer(logged_in(Reply(404, {"detail": gone}))) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        yield server


@pytest.mark.usefixtures("active_job")
def test_an_airflow_elsewhere_is_asked_through_the_proxy(proxied: ScriptedServer) -> None:
    assert main(["orphans", "--airflow-url", "http://airflow.invalid"]) == 1
    assert {request.headers["host"] for request in proxied.requests} == {"airflow.invalid"}
    assert proxied.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.usefixtures("active_job")
def test_an_airflow_of_this_machine_is_asked_without_the_proxy(
    proxied: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "can't be asked" in complaint(capsys, "--airflow-url", "http://localhost:9")
    assert proxied.requests == []


@pytest.mark.parametrize(
    "proxy", [f"http://u:{PASSWORD}@proxy:bad", f"ftp://u:{PASSWORD}@proxy", f"socks5://u:{PASSWORD}@proxy"]
)
@pytest.mark.usefixtures("active_job", "proxied")
def test_a_proxy_that_can_not_be_used_is_told_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)

    assert "the proxy that the environment names for it" in complaint(capsys, "--airflow-url", "http://airflow.invalid")
