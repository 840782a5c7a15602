"""``jobmanager demo``: two example DAGs on a real Airflow and a local Batch service, from start to finish.

One job manager fans out into children and succeeds, while a sensor follows its job; another one fails. Nothing is
acted: the tasks are deferred to a real triggerer, the managers are real processes, and what is printed is what
Airflow's REST API and the Batch service answer.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import httpx
from rich.console import Console
from rich.markup import escape

from airflow_provider_jobmanager.demo.airflow_api import AirflowApiError
from airflow_provider_jobmanager.demo.airflow_home import AirflowHome, AirflowHomeError
from airflow_provider_jobmanager.demo.examples import examples_folder, served

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from types import FrameType

    from azure.batch import BatchClient
    from azure.batch.models import BatchJob, BatchTask

    from airflow_provider_jobmanager.demo.airflow_api import AirflowApi

GOOD_DAG = "example_job_manager"
BAD_DAG = "example_failing_manager"
CHILDREN = 4
EXIT_CODE = 3
_RUN_SECONDS = 300
_LOOK_AGAIN_SECONDS = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="an empty or new folder for everything that the demo writes (default: a new temporary one, which stays)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo.

    Returns:
        0 if everything went as it should, 1 if not.
    """
    folder: Path | None = arguments.folder
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="jobmanager-demo-"))
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        arguments.parser.error(f"--folder {folder} is not an empty folder; give a new one")
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            arguments.parser.error(f"--folder {folder} can't be made: {error.strerror or error}")
    with _ended_by_sigterm():
        return Demo(folder.resolve()).run()


@attrs.define
class Followed:
    """One Airflow task as the demo sees it."""

    dag_id: str
    run_id: str
    task_id: str
    state: str | None = None
    seen: set[str | None] = attrs.field(factory=set)
    """Every state that it was seen in."""


class Demo:
    """One run of the demo in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.console = Console(highlight=False)
        self.began = time.monotonic()
        self.unmet: list[str] = []

    def run(self) -> int:
        """Runs it and returns the exit code."""
        self.console.print("[bold]A DAG runs a job manager task[/bold], on a real Airflow and a local Batch service.")
        self.console.print(f"All that they write is in {self.folder}\n", soft_wrap=True)
        try:
            self._play()
        except (AirflowApiError, AirflowHomeError) as error:
            self.unmet.append(escape(str(error)))
        except httpx.TransportError as error:
            self.unmet.append(f"Airflow's API server does not answer ({escape(repr(error))})")
        else:
            self.say("Nothing of it runs any more")
        if self.unmet:
            self.console.print(f"\n[bold red]Not as it should be:[/bold red] {'; '.join(self.unmet)}", soft_wrap=True)
            self.console.print(f"The logs are in {self.folder}", soft_wrap=True)
            return 1
        self.console.print("\n[bold green]All as it should be.[/bold green]")
        return 0

    def _play(self) -> None:
        """The whole, from the first process to the last."""
        with self._stage() as (airflow, batch, scripts):
            runs = {
                GOOD_DAG: airflow.api.trigger(
                    GOOD_DAG, {"script_url": f"{scripts}/fan_out.py", "children": CHILDREN, "child_seconds": 2}
                ),
                BAD_DAG: airflow.api.trigger(BAD_DAG, {"exit_code": EXIT_CODE}),
            }
            followed = self._follow(airflow, batch, runs)
            self._summarise(airflow.api, batch, followed)
            with self.console.status("Ending everything"):
                airflow.stop(grace=3)  # nothing is left in them to be lost

    def say(self, text: str) -> None:
        """Prints a line with the seconds since the start."""
        self.console.print(f"[dim]{time.monotonic() - self.began:5.1f} s[/dim]  {text}", soft_wrap=True)

    @contextlib.contextmanager
    def _stage(self) -> Iterator[tuple[AirflowHome, BatchClient, str]]:
        """Starts the Batch service and Airflow, and ends both whatever happens."""
        with self.console.status("Starting") as status, contextlib.ExitStack() as stack:
            # Slow imports, under a spinner.
            from azure.batch import BatchClient  # noqa: PLC0415
            from azure.core.credentials import AzureNamedKeyCredential  # noqa: PLC0415

            from airflow_provider_jobmanager.local import LocalBatch, Settings  # noqa: PLC0415

            examples = examples_folder()
            scripts = stack.enter_context(served(examples / "managers"))
            # The manager's script wants azure-batch, which the interpreter of this very program has.
            python_first = os.pathsep.join([str(Path(sys.executable).parent), Settings().task_path])
            batch = stack.enter_context(
                LocalBatch(Settings(port=0, state_dir=self.folder / "batch", task_path=python_first))
            )
            self.say(f"A Batch service listens at {batch.url}")
            airflow = stack.enter_context(
                AirflowHome(
                    self.folder / "airflow",
                    environment={"AIRFLOW_CONN_AZURE_BATCH_DEFAULT": batch.connection_json()},
                )
            )
            for dag_id in (GOOD_DAG, BAD_DAG):
                shutil.copy(examples / f"{dag_id}.py", airflow.dags)
            status.update("Making Airflow's database")
            airflow.migrate()
            self.say("Airflow's database is made")
            status.update("Starting Airflow: API server, scheduler, DAG processor, triggerer")
            airflow.start()
            airflow.wait_healthy()
            for dag_id in (GOOD_DAG, BAD_DAG):
                airflow.wait_for_dag(dag_id)
            self.say(f"Airflow is up at {airflow.url} (admin, admin) and has read the DAGs")
            client = stack.enter_context(BatchClient(batch.url, AzureNamedKeyCredential(batch.account, batch.key)))
            status.update("Running the DAGs")
            yield airflow, client, scripts

    def _follow(self, airflow: AirflowHome, batch: BatchClient, runs: dict[str, str]) -> list[Followed]:
        """Tells each change of a task's state and of the children, until both runs are over."""
        api = airflow.api
        followed: dict[tuple[str, str], Followed] = {}
        children = None
        deadline = time.monotonic() + _RUN_SECONDS
        unfinished = set(runs)
        while unfinished:
            airflow.check_alive()
            if time.monotonic() > deadline:
                self.unmet.append(f"not over within {_RUN_SECONDS} s: {', '.join(sorted(unfinished))}")
                break
            # The state of the run before those of its tasks: once it is over, they will not change any more.
            over = {dag_id for dag_id in unfinished if api.dag_run(dag_id, runs[dag_id]).state in {"success", "failed"}}
            for dag_id in sorted(unfinished):
                for found in api.task_instances(dag_id, runs[dag_id]):
                    task = followed.setdefault((dag_id, found.task_id), Followed(dag_id, runs[dag_id], found.task_id))
                    if found.state != task.state:
                        self.say(f"{dag_id}.[bold]{found.task_id}[/bold]: {_in_words(found.state)}")
                        task.state = found.state
                    task.seen.add(found.state)
            now = self._children(api, batch, runs[GOOD_DAG])
            if now != children:
                self.say(f"    children of the manager: {now}")
                children = now
            unfinished -= over
            time.sleep(_LOOK_AGAIN_SECONDS)
        return list(followed.values())

    @staticmethod
    def _children(api: AirflowApi, batch: BatchClient, run_id: str) -> str | None:
        """How far the children are, in words; None before there are any."""
        job_id = api.xcoms(GOOD_DAG, run_id, "fan_out").get("job_id")
        children = _tasks(batch, job_id)[1] if job_id else []
        if not children:
            return None
        done = sum(child.state == "completed" for child in children)
        running = sum(child.state == "running" for child in children)
        return f"{len(children)} added, {running} running, {done} completed"

    def _summarise(self, api: AirflowApi, batch: BatchClient, followed: list[Followed]) -> None:
        """Prints what came of it, and notes what is not as it should be."""
        tasks = {task.task_id: task for task in followed}
        self.console.print()
        for task_id in ("fan_out", "follow", "fail"):
            self._expect(task_id in tasks, f"task {task_id} never began")
        if len(tasks) < 3:  # noqa: PLR2004  the three just named
            return
        good, children = self._tell(api, batch, tasks["fan_out"], tasks["follow"])
        bad, _ = self._tell(api, batch, tasks["fail"])
        self._expect(tasks["fan_out"].state == "success", "fan_out did not succeed")
        self._expect(tasks["follow"].state == "success", "follow did not succeed")
        self._expect(tasks["fail"].state == "failed", "fail did not fail")
        for task in followed:
            self._expect("deferred" in task.seen, f"{task.task_id} was never seen deferred")
        self._expect(_exit_code(good) == 0, "the manager of fan_out did not end with exit code 0")
        self._expect(_exit_code(bad) == EXIT_CODE, f"the manager of fail did not end with exit code {EXIT_CODE}")
        succeeded = sum(_exit_code(child) == 0 for child in children)
        self._expect(succeeded == CHILDREN, f"{succeeded} of {CHILDREN} children succeeded")

    def _tell(self, api: AirflowApi, batch: BatchClient, *tasks: Followed) -> tuple[BatchTask | None, list[BatchTask]]:
        """Prints all about one job: the Airflow tasks that waited for it, what Batch says, where the logs are."""
        first = tasks[0]
        job_id = api.xcoms(first.dag_id, first.run_id, first.task_id).get("job_id")
        self._expect(bool(job_id), f"{first.task_id} made no job")
        if not job_id:
            return None, []
        job = batch.get_job(job_id)
        manager, children = _tasks(batch, job_id, job.job_manager_task.id if job.job_manager_task else "")
        colour = "green" if first.state == "success" else "red"
        self.console.print(f"[bold]Job {job_id}[/bold]")
        for task in tasks:
            took = api.task_instance(task.dag_id, task.run_id, task.task_id).duration
            self._fact("Airflow task", f"{task.task_id}: [{colour}]{task.state}[/{colour}]{_seconds(took)}")
        self._fact("Batch job", f"{_value(job.state)}, because of {_reason(job)}")
        self._fact("Job manager", _ended(manager))
        if children:
            well = sum(_exit_code(child) == 0 for child in children)
            self._fact("Children", f"{well} of {len(children)} succeeded")
        if first.state == "failed":
            why = [
                line for line in api.log(first.dag_id, first.run_id, first.task_id).splitlines() if "JobFailed" in line
            ]
            self._fact("It says why", escape(why[-1]) if why else "no")
            self._expect(bool(why), f"the log of {first.task_id} does not say why it failed")
        logs = (self.folder / "airflow" / "logs").glob(f"dag_id=*/run_id={first.run_id}/task_id={first.task_id}/*.log")
        outputs = (self.folder / "batch").glob(f"**/{job_id}/**/{manager.id if manager else ''}/stdout.txt")
        for name, paths in (("Task log", logs), ("Its output", outputs)):
            for path in sorted(paths):
                self._fact(name, str(path.relative_to(self.folder)))
        self.console.print()
        return manager, children

    def _fact(self, name: str, text: str) -> None:
        self.console.print(f"  [dim]{name:<13}[/dim] {text}", soft_wrap=True)

    def _expect(self, good: bool, otherwise: str) -> None:
        if not good:
            self.unmet.append(otherwise)


def _tasks(batch: BatchClient, job_id: str, manager_id: str = "jobmanager") -> tuple[BatchTask | None, list[BatchTask]]:
    """The manager of a job, if it is there, and the other tasks."""
    found = {task.id: task for task in batch.list_tasks(job_id)}
    return found.pop(manager_id, None), list(found.values())


def _exit_code(task: BatchTask | None) -> int | None:
    return task.execution_info.exit_code if task and task.execution_info else None


def _ended(manager: BatchTask | None) -> str:
    if manager is None or manager.execution_info is None:
        return "not there"
    info = manager.execution_info
    took = (info.end_time - info.start_time).total_seconds() if info.end_time and info.start_time else None
    retries = f" after {info.retry_count} retry" if info.retry_count == 1 else f" after {info.retry_count} retries"
    return f"exit code {info.exit_code}{retries if info.retry_count else ''}{_seconds(took)}"


def _reason(job: BatchJob) -> str:
    return (job.execution_info.termination_reason if job.execution_info else None) or "nothing that it names"


def _seconds(duration: float | None) -> str:
    return "" if duration is None else f", {duration:.1f} s"


def _value(state: Any) -> str:
    return str(getattr(state, "value", state))


def _in_words(state: str | None) -> str:
    return {
        None: "not scheduled yet",
        "deferred": "deferred: the triggerer waits for it, no worker slot is held",
        "success": "[green]success[/green]",
        "failed": "[red]failed[/red]",
    }.get(state, str(state))


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM unwind the stack as Ctrl-C does, so that everything is ended; the exit code is then 143."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
