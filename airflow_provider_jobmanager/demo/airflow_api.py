"""A small client of Airflow's public REST API (v2): what the demo and the tests ask of it."""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

Found = TypeVar("Found")

FINISHED_RUN = frozenset({"success", "failed"})
FINISHED_TASK = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
_LOOK_AGAIN_SECONDS = 0.2
_ERROR_BODY_CHARACTERS = 1000
_BUSY_SECONDS = 120.0
_LOGIN = "/auth/token"


class AirflowApiError(RuntimeError):
    """A request was answered with no success or with what Airflow does not say, or a state was not reached in time."""

    def __init__(self, message: str, status: int | None = None, detail: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status, None when the error is a wait that took too long."""
        self.detail = detail
        """What the server's JSON gives as the reason; None when it is no JSON or has none."""


@attrs.frozen
class DagRun:
    """A DAG run as the API tells it."""

    dag_id: str
    run_id: str
    state: str
    raw: Mapping[str, Any] = attrs.field(repr=False)
    """The whole answer."""


@attrs.frozen
class TaskInstance:
    """One try of a task instance as the API tells it."""

    task_id: str
    map_index: int
    state: str | None
    """None while it is not scheduled."""
    try_number: int
    max_tries: int
    duration: float | None
    """Seconds."""
    rendered: Mapping[str, Any] = attrs.field(repr=False)
    """The rendered template fields, as the UI shows them."""
    raw: Mapping[str, Any] = attrs.field(repr=False)
    """The whole answer, with the trigger and the triggerer of a deferred one."""


class AirflowApi:
    """Talks to one API server, with one token.

    Args:
        url: The API server's address, for instance ``http://127.0.0.1:8080``.
        username: The user of the simple auth manager.
        password: The user's password.
        verify: Whose certificates to trust; True for those of the public authorities.
        proxy: The proxy to go through; None for none.

    Every method raises AirflowApiError for an error answer and ``httpx.TransportError`` when there is none.
    """

    def __init__(
        self,
        url: str,
        username: str = "admin",
        password: str = "admin",  # noqa: S107  a local Airflow's only user
        *,
        verify: ssl.SSLContext | bool = True,
        proxy: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = {"username": username, "password": password}
        self._token = ""
        # trust_env=False: a proxy of the environment is not for loopback, and an entry of a netrc file would take the
        # place of the token. The first answers of an API server on a busy machine have been seen to take half a minute.
        self._client = httpx.Client(base_url=self.url, timeout=120, trust_env=False, verify=verify, proxy=proxy)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """Sends one request, logged in, and returns the decoded JSON (None when there is no body).

        Args:
            method: The HTTP method.
            path: The path below ``/api/v2``, beginning with a slash.
            arguments: Anything that ``httpx.Client.request`` takes.
        """
        if "Authorization" not in self._client.headers:
            self.login()
        response = self._send(method, f"/api/v2{path}", **arguments)
        return _decoded(response) if response.content else None

    def login(self) -> None:
        """Gets the token that every later request carries. The first request does so, unless it was done before."""
        response = self._send("POST", _LOGIN, json=self._credentials)
        answer = _decoded(response)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        # What can't stand in a header would be told in the client's error.
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise AirflowApiError(f"{_answered(response)} without a token", response.status_code)
        self._token = token
        self._client.headers["Authorization"] = f"Bearer {token}"

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        response = self._client.request(method, path, **arguments)
        deadline = time.monotonic() + _BUSY_SECONDS
        while _was_busy(response) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_SECONDS)
            response = self._client.request(method, path, **arguments)
        # Redirects are not followed, so one is no success either.
        if not response.is_success:
            raise self._refusal(response, told=path != _LOGIN)
        return response

    def _refusal(self, response: httpx.Response, *, told: bool) -> AirflowApiError:
        what = _answered(response)
        if response.has_redirect_location:
            # An address to log in at may hold a code or a token.
            what += f" with a redirect to {re.split('[?#]', response.headers['Location'])[0]}"
        elif told:
            body = response.text.replace(self._token, "***") if self._token else response.text
            what += f": {body[:_ERROR_BODY_CHARACTERS]}"
        else:
            # Whoever answers a login with an error may repeat the password in it.
            what += f" {response.reason_phrase}"
        return AirflowApiError(what, response.status_code, _detail(response))

    # -- the whole ---------------------------------------------------------------------------------------------

    def health(self) -> dict[str, str | None]:
        """The state of each component by name: ``healthy``, ``unhealthy``, or None when it never ran."""
        # The one question that needs no login, so that it can be asked while the server is starting.
        answer = _decoded(self._send("GET", "/api/v2/monitor/health"))
        return {name: part["status"] for name, part in answer.items() if part is not None}

    def import_errors(self) -> dict[str, str]:
        """The DAG files that could not be imported, with their stack traces."""
        found = self.request("GET", "/importErrors", params={"limit": 100})["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in found}

    def pool(self, name: str) -> dict[str, Any]:
        """An Airflow pool with its open and occupied slots."""
        answer: dict[str, Any] = self.request("GET", f"/pools/{name}")
        return answer

    def set_pool(self, name: str, slots: int, *, include_deferred: bool = False) -> None:
        """Creates an Airflow pool."""
        self.request("POST", "/pools", json={"name": name, "slots": slots, "include_deferred": include_deferred})

    # -- DAGs and their runs -----------------------------------------------------------------------------------

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """A DAG as the API tells it, or None while it is not known."""
        try:
            answer: dict[str, Any] = self.request("GET", f"/dags/{dag_id}")
        except AirflowApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return answer

    def unpause(self, dag_id: str) -> None:
        """Lets a DAG run."""
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Starts a run of a DAG.

        Args:
            dag_id: The DAG.
            conf: The run's configuration, which overrides the DAG's params.
            run_id: The run's id; Airflow makes one up when it is None.

        Returns:
            The run's id.
        """
        body = {"logical_date": None, "conf": dict(conf or {}), **({"dag_run_id": run_id} if run_id else {})}
        created: str = self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"]
        return created

    def dag_run(self, dag_id: str, run_id: str) -> DagRun:
        """One run of a DAG."""
        return _dag_run(self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def mark_run(self, dag_id: str, run_id: str, state: str) -> None:
        """Marks a run ``success``, ``failed`` or ``queued``, as a click in the UI does."""
        self.request("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": state})

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Deletes a run that is over."""
        self.request("DELETE", f"/dags/{dag_id}/dagRuns/{run_id}")

    def wait_for_run(
        self, dag_id: str, run_id: str, states: Collection[str] = FINISHED_RUN, timeout: float = 300
    ) -> DagRun:
        """Waits until a run is in one of the states (by default: is over), for ``timeout`` seconds at most."""
        return self.wait_until(
            lambda: self.dag_run(dag_id, run_id),
            lambda run: run.state in states,
            f"run {run_id} of {dag_id} to be {' or '.join(sorted(states))}",
            timeout,
        )

    # -- task instances ----------------------------------------------------------------------------------------

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """All task instances of a run, mapped ones each (the first 1000)."""
        answer = self.request("GET", f"{_run(dag_id, run_id)}", params={"limit": 1000})
        return [_task_instance(found) for found in answer["task_instances"]]

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> TaskInstance:
        """One task instance; ``map_index`` is -1 for a task that is not mapped."""
        return _task_instance(self.request("GET", f"{_run(dag_id, run_id)}/{task_id}/{map_index}"))

    def tries(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[TaskInstance]:
        """All tries of a task instance, the first one first."""
        answer = self.request("GET", f"{_run(dag_id, run_id)}/{task_id}/{map_index}/tries")
        return sorted(map(_task_instance, answer["task_instances"]), key=lambda found: found.try_number)

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: Collection[str] = FINISHED_TASK,
        *,
        map_index: int = -1,
        timeout: float = 300,
    ) -> TaskInstance:
        """Waits until a task instance is in one of the states, for ``timeout`` seconds at most."""
        return self.wait_until(
            lambda: self.task_instance(dag_id, run_id, task_id, map_index),
            lambda found: found.state in states,
            f"task {task_id} of run {run_id} of {dag_id} to be {' or '.join(sorted(states))}",
            timeout,
        )

    def clear(self, dag_id: str, run_id: str, task_ids: Sequence[str | tuple[str, int]]) -> None:
        """Clears task instances, whatever their state, as a click in the UI does.

        Args:
            dag_id: The DAG.
            run_id: The run.
            task_ids: The tasks; (task id, map index) for one instance of a mapped one.
        """
        body = {"dry_run": False, "only_failed": False, "dag_run_id": run_id, "task_ids": list(task_ids)}
        self.request("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Marks a task instance ``success``, ``failed`` or ``skipped``, as a click in the UI does."""
        self.request("PATCH", f"{_run(dag_id, run_id)}/{task_id}/{map_index}", json={"new_state": state})

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int | None = None, map_index: int = -1) -> str:
        """The log of one try (the newest by default) as plain text, one line per message with its error, if any.

        Empty while there is no such try yet: Airflow makes the task instances of a run a moment after the run.
        """
        try:
            if try_number is None:
                try_number = self.task_instance(dag_id, run_id, task_id, map_index).try_number
            answer = self.request(
                "GET",
                f"{_run(dag_id, run_id)}/{task_id}/logs/{try_number}",
                params={"full_content": True, "map_index": map_index},
                headers={"Accept": "application/json"},
            )
        except AirflowApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return ""
            raise
        return "\n".join(_log_line(message) for message in answer["content"])

    def xcoms(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """All XComs of a task instance by key, their values as JSON has them."""
        entries = self.request(
            "GET", f"{_run(dag_id, run_id)}/{task_id}/xcomEntries", params={"map_index": map_index, "limit": 100}
        )["xcom_entries"]
        return {
            entry["key"]: self.request(
                "GET",
                f"{_run(dag_id, run_id)}/{task_id}/xcomEntries/{entry['key']}",
                params={"map_index": map_index, "deserialize": False, "stringify": False},
            )["value"]
            for entry in entries
        }

    def extra_links(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, str | None]:
        """The extra links of a task instance: name to address, None for one that leads nowhere."""
        links: dict[str, str | None] = self.request(
            "GET", f"{_run(dag_id, run_id)}/{task_id}/links", params={"map_index": map_index}
        )["extra_links"]
        return links

    def wait_until(self, look: Callable[[], Found], good: Callable[[Found], bool], what: str, timeout: float) -> Found:
        """Looks again and again until what is found is good.

        Args:
            look: Finds it.
            good: Judges it.
            what: What is waited for, for the error.
            timeout: The longest wait in seconds.

        Raises:
            AirflowApiError: It took too long; the message shows what was found last.
        """
        deadline = time.monotonic() + timeout
        while not good(found := look()):
            if time.monotonic() > deadline:
                raise AirflowApiError(f"Waited {timeout:g} s for {what}; it is still {found!r}")
            time.sleep(_LOOK_AGAIN_SECONDS)
        return found


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"


def _was_busy(response: httpx.Response) -> bool:
    """Whether the request was not carried out because somebody else held SQLite's one lock."""
    return response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR and "database is locked" in response.text


def _answered(response: httpx.Response) -> str:
    request = response.request
    return f"{request.method} {request.url.path} was answered {response.status_code}"


def _decoded(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise AirflowApiError(
            f"{_answered(response)} with what is not JSON: that is no API of Airflow", response.status_code
        ) from None


def _detail(response: httpx.Response) -> str | None:
    try:
        answer = response.json()
    except ValueError:
        return None
    detail = answer.get("detail") if isinstance(answer, dict) else None
    return detail if isinstance(detail, str) else None


def _dag_run(raw: Any) -> DagRun:
    try:
        return DagRun(dag_id=raw["dag_id"], run_id=raw["dag_run_id"], state=raw["state"], raw=raw)
    except (KeyError, TypeError):
        raise AirflowApiError("The answer is not a DAG run of Airflow") from None


def _task_instance(raw: Any) -> TaskInstance:
    try:
        return TaskInstance(
            task_id=raw["task_id"],
            map_index=raw["map_index"],
            state=raw["state"],
            try_number=raw["try_number"],
            max_tries=raw["max_tries"],
            duration=raw["duration"],
            rendered=raw.get("rendered_fields") or {},
            raw=raw,
        )
    except (KeyError, TypeError):
        raise AirflowApiError("The answer is not a task instance of Airflow") from None


def _log_line(message: str | Mapping[str, Any]) -> str:
    if isinstance(message, str):
        return message
    line = str(message["event"])
    for error in message.get("error_detail") or ():
        line += f"\n{error.get('exc_type')}: {error.get('exc_value')}"
    return line
