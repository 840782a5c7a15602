"""A local Batch service that can be started and stopped: in a program, or as one."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import shutil
import signal
import socket
import sqlite3
import tempfile
import threading
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import uvicorn

from airflow_provider_jobmanager.local.auth import Authenticator
from airflow_provider_jobmanager.local.control import find_node
from airflow_provider_jobmanager.local.engine import Engine
from airflow_provider_jobmanager.local.execution import Processes
from airflow_provider_jobmanager.local.faults import Faults
from airflow_provider_jobmanager.local.scripts import Scripted, Scripts
from airflow_provider_jobmanager.local.server import Service
from airflow_provider_jobmanager.local.settings import Settings, SettingsError
from airflow_provider_jobmanager.local.store import Store
from airflow_provider_jobmanager.local.tls import NAMES, certificate_in

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from airflow_provider_jobmanager.local.clock import Clock
    from airflow_provider_jobmanager.local.server import Entry

log = logging.getLogger(__name__)

TOKEN_LIFETIME = timedelta(days=30)
CONNECTION_VARIABLE = "AIRFLOW_CONN_AZURE_BATCH_DEFAULT"
_PATIENCE = 30.0
_BACKLOG = 2048
_TURNS = 1000


class LocalBatch:
    """A Batch service in this process: HTTP in a thread of its own, tasks as subprocesses.

    Use it as a context manager; it listens when the block begins, and nothing of it runs when the block is left::

        with LocalBatch(Settings(port=0)) as batch:
            client = BatchClient(batch.url, AzureNamedKeyCredential(batch.account, batch.key))

    Attributes:
        settings: how it was set up.
        engine: its rules, for tests that look inside.
        faults: trouble on purpose.
        scripts: tasks that end as a test says, without their commands.
        certificate: in HTTPS mode, the file that clients are given to trust; None without TLS.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.faults = Faults()
        self.scripts = Scripts()
        self._temporary = self.settings.state_dir is None
        self._port = self.settings.port
        self._threads: list[threading.Thread] = []
        self._resources = ExitStack()
        self.certificate: Path | None = None

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Endpoint of the account, such as ``http://127.0.0.1:10500``."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"{'https' if self.settings.https else 'http'}://{host}:{self._port}"

    @property
    def account(self) -> str:
        """Name of the account."""
        return self.settings.account

    @property
    def key(self) -> str:
        """Key of the account, base64."""
        return self.settings.key

    @property
    def clock(self) -> Clock:
        """The time, to be stopped and advanced."""
        return self.engine.clock

    @property
    def journal(self) -> deque[Entry]:
        """The newest requests and how they were answered, oldest first."""
        return self._service.journal

    def connection_json(self) -> str:
        """An Airflow connection to it, as the JSON that an ``AIRFLOW_CONN_…`` variable takes."""
        return json.dumps(
            {
                "conn_type": "azure_batch_job_manager",
                "login": self.account,
                "password": self.key,
                "extra": {"account_url": self.url},
            }
        )

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen, and take up what the state directory holds.

        Raises:
            SettingsError: the port is taken, or the state directory can't be used; nothing is left open then.
        """
        with ExitStack() as stack:
            self.root = self._state_dir(stack)
            stack.enter_context(_lock(self.root))
            listening = stack.enter_context(_listen(self.settings))
            self._port = listening.getsockname()[1]
            store = _open_store(None if self._temporary else self.root / "state.sqlite3")
            stack.callback(store.close)
            runner = Scripted(Processes(self.settings.auto_storage), self.scripts, self._later)
            stack.callback(runner.end_strays, self.root / "nodes")
            # Tasks stay as they are in the store: the next life takes them up as after a reboot of their nodes.
            stack.callback(runner.close)
            self.engine = Engine(self.settings, store, runner, self.root / "nodes")
            self._server = self._make_server()
            self._stopping = threading.Event()
            stack.callback(self._end_threads)
            self._threads = [
                threading.Thread(target=self._server.run, args=([listening],), name="local batch", daemon=True),
                threading.Thread(target=self._tick, name="local batch clock", daemon=True),
            ]
            self.engine.open()
            for thread in self._threads:
                thread.start()
            self._wait_until_it_listens()
            self._resources = stack.pop_all()
        return self

    def stop(self) -> None:
        """Stop listening, end all tasks with their processes, and leave nothing behind that is not wanted."""
        self._resources.close()

    def reset(self) -> None:
        """Back to an account with nothing but the default pool: no jobs, faults, scripts; the clock at its own time."""
        self._service.reset()

    def kill_node(self, pool_id: str, node: str | int = 0) -> None:
        """Let the machine under a node fail; its tasks run again, and no counter tells.

        Args:
            pool_id: the pool.
            node: id of the node, or its place in the pool's list.

        Raises:
            BatchError: there is no such node.
        """
        with self.engine.turn():
            self.engine.nodes.kill(find_node(self._service, pool_id, node))

    def preempt_node(self, pool_id: str, node: str | int = 0) -> None:
        """Take a Spot node away until :meth:`restore_node`; its tasks run again elsewhere, and no counter tells.

        Raises:
            BatchError: there is no such node, or it is a dedicated one.
        """
        with self.engine.turn():
            self.engine.nodes.preempt(find_node(self._service, pool_id, node))

    def restore_node(self, pool_id: str, node: str | int = 0) -> None:
        """Give a preempted node back.

        Raises:
            BatchError: there is no such node.
        """
        with self.engine.turn():
            self.engine.nodes.restore(find_node(self._service, pool_id, node))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _state_dir(self, stack: ExitStack) -> Path:
        if self.settings.state_dir is None:
            root = Path(tempfile.mkdtemp(prefix="jobmanager-"))
            stack.callback(shutil.rmtree, root, ignore_errors=True)
            return root
        try:
            self.settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"state_dir {str(self.settings.state_dir)!r} can't be made: {error.strerror}."
            ) from None
        return self.settings.state_dir.resolve()

    def _make_server(self) -> _Server:
        authenticator = Authenticator.of(self.account, self.key, self.settings.issuer, identity_of=self._identity_of)
        self.engine.account_url = self.url
        self.engine.token = lambda job: authenticator.tokens.issue(
            job.id, job.identity, self.engine.now() + TOKEN_LIFETIME
        )
        self._service = Service(self.engine, authenticator, self.faults, self.scripts, secure=self.settings.https)
        # The URL that clients and tasks are given has the host as it was set, be it 0.0.0.0.
        tls = certificate_in(self.root / "tls", (*NAMES, self.settings.host)) if self.settings.https else None
        self.certificate = self.engine.certificate = tls.certificate if tls else None
        return _Server(
            uvicorn.Config(
                self._service,
                ssl_certfile=tls.certificate if tls else None,
                ssl_keyfile=tls.key if tls else None,
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                lifespan="off",
                loop="asyncio",
                ws="none",
                timeout_graceful_shutdown=2,
                timeout_keep_alive=75,
            )
        )

    def _identity_of(self, job_id: str) -> str | None:
        job = self.engine.store.jobs.get(job_id)
        return job.identity if job else None

    def _later(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        self.engine.after(seconds, self.engine.now(), action, *args)

    def _end_threads(self) -> None:
        self._stopping.set()
        self.engine.wake()
        self._server.should_exit = True
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_PATIENCE)

    def _tick(self) -> None:
        """Let happen what becomes due."""
        changed = self.engine.changed
        while not self._stopping.is_set():
            with changed:
                due = self.engine.next_due()
                wait = None if due is None or self.clock.stopped else (due - self.clock.now()).total_seconds()
                if wait is None or wait > 0:
                    changed.wait(None if wait is None else min(wait, threading.TIMEOUT_MAX))
                    continue
            try:
                with self.engine.turn():
                    pass
            except Exception:
                # What was due is off the list; the clock must go on for everything else.
                log.exception("Something that was due broke in the local Batch service")

    def _wait_until_it_listens(self) -> None:
        waiting = threading.Event()
        for _ in range(int(_PATIENCE * 100)):
            if self._server.started:
                return
            if not self._threads[0].is_alive():
                break
            waiting.wait(0.01)
        raise SettingsError(f"The local Batch service does not come up on {self.url}.")


def serve(settings: Settings, say: Callable[[str], Any] = print) -> None:
    """Run a local Batch service until SIGINT, SIGTERM or SIGHUP, and stop it with its tasks then.

    SIGHUP, which a terminal that is closed sends, is ignored where it was when this began, as under ``nohup``.

    Args:
        settings: how to set it up.
        say: gets the line with the Airflow connection once it listens, with HTTPS one with the certificate that clients
            are to trust, and a word at the end.

    Raises:
        SettingsError: it can't start; the message says why and what to do.
    """
    asyncio.run(_serve(settings, say))


async def _serve(settings: Settings, say: Callable[[str], Any]) -> None:
    # Any thread may be given the signal. A loop hears of it nevertheless, through the descriptor that wakes it; the
    # wait of a threading.Event does not when it was another thread.
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if name != signal.SIGHUP or signal.getsignal(name) is not signal.SIG_IGN:
            loop.add_signal_handler(name, ended.set)
    with LocalBatch(settings) as batch:
        say(f"{CONNECTION_VARIABLE}='{batch.connection_json()}'")
        if batch.certificate is not None:
            say(f"REQUESTS_CA_BUNDLE='{batch.certificate}'")
        await ended.wait()
        with suppress(OSError):  # the terminal may be gone
            say("Stopping, and ending all tasks.")


class _Server(uvicorn.Server):
    """A server that leaves no connection open behind it."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all; a client that keeps a TLS connection, and does not answer its end, is left."""
        await super().shutdown(sockets)
        connections = self.server_state.connections
        for connection in list(connections):
            connection.transport.abort()
        for _ in range(_TURNS):
            if not connections:
                break
            await asyncio.sleep(0)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Without the protocol in so many words asyncio leaves Nagle's algorithm on, and each answer takes 40 ms longer.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        # From here on nobody is turned away: tasks that run again at once may ask before the server answers.
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"The local Batch service can't listen on {settings.host}:{settings.port}: {error.strerror}. "
            "Choose another port, or 0 for any."
        ) from None
    return listening


def _open_store(path: Path | None) -> Store:
    try:
        return Store(path)
    except (OSError, sqlite3.Error, ValueError, TypeError, KeyError) as error:
        raise SettingsError(
            f"{str(path)!r} can't be read as the state of a local Batch service: {error}. Use another state_dir, "
            "or remove that file to begin anew."
        ) from error


def _lock(root: Path) -> IO[str]:
    try:
        lock = (root / "lock").open("w")
    except OSError as error:
        raise SettingsError(f"state_dir {str(root)!r} can't be written to: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise SettingsError(f"Another local Batch service uses the state directory {str(root)!r}.") from None
    return lock
