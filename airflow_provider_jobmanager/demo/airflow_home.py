"""An Airflow of its own in a folder: its settings, its database, its components, started and ended together.

The components run apart (API server, scheduler, DAG processor, triggerers) rather than as ``airflow standalone``, which
serves logs on every network interface; nothing here listens outside loopback. The settings that differ from Airflow's
defaults are all in `AirflowHome.environment`, each with its reason.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from cryptography.fernet import Fernet

from airflow_provider_jobmanager.demo.airflow_api import AirflowApi, AirflowApiError
from airflow_provider_jobmanager.demo.processes import Component, stop_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from typing_extensions import Self

API_SERVER = "api-server"
SCHEDULER = "scheduler"
DAG_PROCESSOR = "dag-processor"
TRIGGERER = "triggerer"
COMPONENTS = (API_SERVER, SCHEDULER, DAG_PROCESSOR, TRIGGERER)

_SKIP_SERVE_LOGS = {SCHEDULER, TRIGGERER}
_HEALTH_NAMES = {SCHEDULER: "scheduler", DAG_PROCESSOR: "dag_processor", TRIGGERER: "triggerer"}
# What must not reach an Airflow that is to be the same on every machine: settings, connections and variables of another
# Airflow, credentials of an Azure shell, the variables of a Batch task, and a telemetry exporter.
_FOREIGN = ("AIRFLOW", "_AIRFLOW", "AZURE_", "AZ_BATCH_", "OTEL_", "TRACEPARENT")
_LOOK_AGAIN_SECONDS = 0.2
_PAUSE_SECONDS = 60.0
# A busy machine may hold SQLite's one lock for longer than the five seconds that Python waits for it.
_BUSY_SECONDS = 60
# The API server notes who did what (`action_logging`) with a blocking commit in its event loop, and may itself hold the
# lock at that moment, for a request that can't go on meanwhile: then nothing moves until the commit gives up. A task
# asks anew after five seconds without an answer, and not often.
_BUSY_SECONDS_OF_API_SERVER = 3
_LOCK_SECONDS = 2.0  # others hold the lock for moments only


def clean_environment() -> dict[str, str]:
    """The caller's environment without anything that would change what an Airflow or an Azure client does."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    # A proxy of the caller's is not for loopback.
    kept["NO_PROXY"] = kept["no_proxy"] = "127.0.0.1,localhost"
    return kept


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class AirflowHomeError(RuntimeError):
    """A component ended or did not get healthy; the message ends with the last lines of its log."""


class AirflowHome:
    """An Airflow home with its processes.

    Used as a context manager it ends on leaving whatever was started; the folder stays::

        with AirflowHome(folder) as airflow:
            airflow.migrate()
            airflow.start()
            airflow.add_dag("hello", source)
            run = airflow.api.trigger("hello")

    Args:
        root: The folder, made when missing. It holds everything: DAGs, logs, settings, the SQLite database.
        database_url: An SQLAlchemy url; SQLite in the folder when None. For PostgreSQL ``postgresql+psycopg2://…``.
        environment: More environment variables for the components, such as ``AIRFLOW_CONN_…``; they win over the
            settings made here.
        parallelism: The most task processes at a time. LocalExecutor forks that many workers at the start.
    """

    def __init__(
        self,
        root: Path,
        *,
        database_url: str | None = None,
        environment: Mapping[str, str] | None = None,
        parallelism: int = 4,
    ) -> None:
        self.root = root.resolve()
        self.dags = self.root / "dags"
        self.logs = self.root / "logs"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = database_url or self._sqlite_url(_BUSY_SECONDS)
        self._more_environment = dict(environment or {})
        self._parallelism = parallelism
        self._components: dict[str, Component] = {}
        for folder in (self.root, self.dags, self.logs):
            folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @cached_property
    def api(self) -> AirflowApi:
        """The client of this Airflow's REST API, logged in as admin."""
        return AirflowApi(self.url)

    @cached_property
    def environment(self) -> dict[str, str]:
        """The whole environment of the components; the settings in it are the only ones that they have."""
        keys = self._keys()
        settings = {
            "CORE__DAGS_FOLDER": str(self.dags),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            # Every file of the folder is a DAG file, also one without the words "airflow" and "dag" in it.
            "CORE__DAG_DISCOVERY_SAFE_MODE": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": str(self._parallelism),
            "CORE__FERNET_KEY": keys["fernet"],
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.root / "passwords.json"),
            # A DAG file that was just changed counts at once, not half a minute later.
            "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
            "DATABASE__SQL_ALCHEMY_CONN": self.database_url,
            "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.port),
            "API__BASE_URL": self.url,
            "API__WORKERS": "1",
            "API__SECRET_KEY": keys["api"],
            # That the database was busy can be told from other errors, by `AirflowApi`.
            "API__EXPOSE_STACKTRACE": "True",
            "API_AUTH__JWT_SECRET": keys["jwt"],
            "LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "LOGGING__COLORED_CONSOLE_LOG": "False",
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "1",
            "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
            "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(self.root / "bundles"),
            # A trigger that fires within this many seconds of its deferral can make Airflow fail a task that went well
            # (apache/airflow#71580); the default is 5.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # A busy machine answers late; a request that is given up and sent again can fail its task.
            "WORKERS__EXECUTION_API_TIMEOUT": "60",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        return {
            **clean_environment(),
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            "AIRFLOW_HOME": str(self.root),
            "OTEL_SDK_DISABLED": "true",
            "PYTHONUNBUFFERED": "1",
            **self._more_environment,
        }

    def _keys(self) -> dict[str, str]:
        """The keys of this home: made once, kept in the folder, so that a restart can read what it wrote."""
        path = self.root / "keys.json"
        if not path.exists():
            made = {
                "fernet": Fernet.generate_key().decode(),
                "api": secrets.token_urlsafe(32),
                "jwt": secrets.token_urlsafe(32),
            }
            _write_private(path, made)
        kept: dict[str, str] = json.loads(path.read_text())
        return kept

    # -- the database ------------------------------------------------------------------------------------------

    def migrate(self, cache: Path | None = None) -> None:
        """Makes the database.

        Args:
            cache: A folder that keeps a migrated SQLite file per Airflow version: copied from when there is one, else
                filled. It saves some six seconds. Not used with another database.

        Raises:
            AirflowHomeError: The migration failed.
        """
        _write_private(self.root / "passwords.json", {"admin": "admin"})
        sqlite = self._sqlite
        kept = cache / f"airflow-{version('apache-airflow-core')}.db" if cache and sqlite else None
        if kept and sqlite and kept.exists():
            shutil.copyfile(kept, sqlite)
            return
        migration = Component(
            name="database migration",
            command=self._command("db", "migrate"),
            environment=self.environment,
            log=self.logs / "migrate.log",
        )
        try:
            migration.start()
            migration.wait(math.inf)
        finally:
            stop_all([migration], grace=0)  # nothing is left of it, also when this was interrupted
        if migration.exit_code != 0:
            raise AirflowHomeError(
                f"`airflow db migrate` failed with exit code {migration.exit_code}:\n{migration.tail()}"
            )
        if kept and sqlite:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as copy:
                copy.write(sqlite.read_bytes())
            Path(copy.name).replace(kept)

    # -- the components ----------------------------------------------------------------------------------------

    def start(self, components: Iterable[str] = COMPONENTS, *, triggerers: int = 1) -> None:
        """Starts components, each in a session of its own with its log in the logs folder.

        Args:
            components: Names out of COMPONENTS.
            triggerers: How many triggerers, when they are asked for; the second is called ``triggerer-2``, and so on.
        """
        for name in components:
            if name == TRIGGERER:
                for _ in range(triggerers):
                    self.add_triggerer()
            else:
                self._start(name, name)

    def add_triggerer(self) -> str:
        """Starts one more triggerer and returns its name."""
        number = 1 + sum(name.startswith(TRIGGERER) for name in self._components)
        name = TRIGGERER if number == 1 else f"{TRIGGERER}-{number}"
        self._start(name, TRIGGERER)
        return name

    def _start(self, name: str, subcommand: str) -> None:
        if subcommand not in COMPONENTS:
            raise ValueError(f"There is no component {subcommand!r}; there are {', '.join(COMPONENTS)}")
        options = ["--skip-serve-logs"] if subcommand in _SKIP_SERVE_LOGS else []
        environment = self.environment
        if subcommand == API_SERVER:
            options = ["--host", "127.0.0.1", "--port", str(self.port)]
            if self.database_url == self._sqlite_url(_BUSY_SECONDS):
                url = self._sqlite_url(_BUSY_SECONDS_OF_API_SERVER)
                environment = {**environment, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url}
        component = self._components.setdefault(
            name,
            Component(
                name=name,
                command=self._command(subcommand, *options),
                environment=environment,
                log=self.logs / f"{name}.log",
            ),
        )
        component.start()

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "airflow", *arguments]

    def component(self, name: str) -> Component:
        """A component that was started, by name (``triggerer-2`` for the second triggerer).

        Raises:
            KeyError: None of that name was started.
        """
        return self._components[name]

    @property
    def pids(self) -> list[int]:
        """The process ids of everything that runs here."""
        return [pid for component in self._components.values() for pid in component.pids]

    def check_alive(self) -> None:
        """Makes sure that no component has ended on its own.

        Raises:
            AirflowHomeError: One has.
        """
        for component in self._components.values():
            if not component.running:
                raise AirflowHomeError(
                    f"Airflow's {component.name} ended with exit code {component.exit_code}. "
                    f"The end of {component.log}:\n{component.tail()}"
                )

    def wait_healthy(self, timeout: float = 240) -> None:
        """Waits until every component that was started says that it is healthy.

        Args:
            timeout: The longest wait in seconds.

        Raises:
            AirflowHomeError: One ended, or it took too long.
        """
        wanted = {health for name, health in _HEALTH_NAMES.items() if name in self._components}
        deadline = time.monotonic() + timeout
        state: Mapping[str, str | None] = {}
        while not wanted <= {name for name, status in state.items() if status == "healthy"}:
            self.check_alive()
            if time.monotonic() > deadline:
                logs = "\n".join(f"{part.log}:\n{part.tail()}" for part in self._components.values())
                raise AirflowHomeError(f"Airflow was not healthy within {timeout:g} s: {dict(state)}\n{logs}")
            time.sleep(_LOOK_AGAIN_SECONDS)
            # Nobody listens yet, or the server is still opening its database.
            with contextlib.suppress(httpx.TransportError, AirflowApiError):
                state = self.api.health()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a component a signal; SIGKILL ends it with everything that it started, and waits for that."""
        component = self._components[name]
        component.send(number)
        if number == signal.SIGKILL and not component.wait(10):
            raise AirflowHomeError(f"Airflow's {name} survived SIGKILL: processes {component.pids}")

    def pause(self, name: str) -> None:
        """Freezes a component with everything that it started, as a stalled machine would.

        Not in the middle of a transaction: of an SQLite database it would hold the one lock, and the others with it.

        Raises:
            AirflowHomeError: No moment was found in which it let the database go.
        """
        deadline = time.monotonic() + _PAUSE_SECONDS
        while True:
            self._components[name].send(signal.SIGSTOP)
            if self._database_is_free():
                return
            self.resume(name)
            if time.monotonic() > deadline:
                raise AirflowHomeError(f"Airflow's {name} does not let its database go")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def resume(self, name: str) -> None:
        """Lets a frozen component go on."""
        self._components[name].send(signal.SIGCONT)

    def _database_is_free(self) -> bool:
        if self._sqlite is None:
            return True
        connection = sqlite3.connect(self._sqlite, timeout=_LOCK_SECONDS, isolation_level=None)
        with contextlib.closing(connection):
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
            return True

    def _sqlite_url(self, busy_seconds: int) -> str:
        return f"sqlite:///{self.root / 'airflow.db'}?timeout={busy_seconds}"

    @property
    def _sqlite(self) -> Path | None:
        """The file of the database; None when it is no SQLite one."""
        return self.root / "airflow.db" if self.database_url.startswith("sqlite") else None

    def restart(self, name: str, *, grace: float = 10.0) -> None:
        """Ends a component, unless it is gone already, and starts it again.

        Args:
            name: Its name.
            grace: How many seconds it has to go on its own.
        """
        component = self._components[name]
        stop_all([component], grace)
        component.start()

    def stop(self, grace: float = 10.0) -> None:
        """Ends everything: asked first, killed after ``grace`` seconds. The folder stays."""
        stop_all(self._components.values(), grace)
        self._components.clear()
        if "api" in self.__dict__:
            self.api.close()
            del self.api

    # -- DAGs --------------------------------------------------------------------------------------------------

    def add_dag(self, dag_id: str, source: str | Path, *, timeout: float = 120) -> str:
        """Puts a DAG file into the DAGs folder (in place of one of the same name) and waits until its DAG can run.

        Args:
            dag_id: The DAG that the file makes; also the file's name.
            source: The file's text, or a path to copy it from.
            timeout: The longest wait in seconds.

        Returns:
            The DAG's id.

        Raises:
            AirflowHomeError: The file cannot be imported, or it took too long.
        """
        before = (self.api.dag(dag_id) or {}).get("last_parsed_time")
        text = source.read_text() if isinstance(source, Path) else source
        path = self.dags / f"{dag_id}.py"
        # Written beside and renamed, so that nobody parses half a file.
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").replace(path)
        self.wait_for_dag(dag_id, parsed_after=before, timeout=timeout)
        return dag_id

    def wait_for_dag(self, dag_id: str, *, parsed_after: str | None = None, timeout: float = 120) -> None:
        """Waits until a DAG whose file is in the DAGs folder can run.

        Args:
            dag_id: The DAG.
            parsed_after: Its ``last_parsed_time`` before the file was changed.
            timeout: The longest wait in seconds.

        Raises:
            AirflowHomeError: A file of the folder that names the DAG cannot be imported, or it took too long.
        """
        deadline = time.monotonic() + timeout
        while True:
            dag = self.api.dag(dag_id)
            if dag and not dag["is_stale"] and dag["last_parsed_time"] != parsed_after:
                break
            for name, trace in self.api.import_errors().items():
                if Path(name).stem == dag_id:
                    raise AirflowHomeError(f"The DAG file {name} cannot be imported:\n{trace}")
            self.check_alive()
            if time.monotonic() > deadline:
                raise AirflowHomeError(f"The DAG {dag_id!r} did not appear within {timeout:g} s; see {self.logs}")
            time.sleep(_LOOK_AGAIN_SECONDS)
        if dag["is_paused"]:
            self.api.unpause(dag_id)


def _write_private(path: Path, content: Mapping[str, str]) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
