"""The control endpoint: what no Batch account has, for tests in other processes.

It lives below ``/_local``, outside the Batch namespace, and takes the account's signature like any other request::

    GET  /_local                       what can be asked for
    POST /_local/reset                 an empty account, no faults, the clock as it is by itself
    GET  /_local/journal               the newest requests and their answers
    GET  /_local/clock                 {"now": ..., "stopped": ...}
    POST /_local/clock/stop | /resume
    POST /_local/clock/advance         {"seconds": 60}
    GET  /_local/faults                the rules in force
    POST /_local/faults                one rule, see :mod:`.faults`
    DELETE /_local/faults
    GET, POST, DELETE /_local/scripts  the same for ends of tasks, see :mod:`.scripts`
    POST /_local/pools/POOL/nodes/NODE/kill | /preempt | /restore

``NODE`` is a node's id, or its place in the pool's list, counted from 0.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from attrs import asdict

from airflow_provider_jobmanager.local import errors, formats, shapes

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_jobmanager.local.records import Node
    from airflow_provider_jobmanager.local.server import Service

PREFIX = "/_local"
_LONGEST = 100 * 365 * 24 * 3600.0  # seconds that the clock can be advanced by at once

Doc = dict[str, Any]


class Control:
    """Answers control requests.

    Args:
        service: what is controlled.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.engine = service.engine
        self._actions: dict[tuple[str, str], Callable[[Any], Doc]] = {
            ("GET", ""): self._help,
            ("POST", "reset"): self._reset,
            ("GET", "journal"): self._journal,
            ("GET", "clock"): self._clock,
            ("POST", "clock/stop"): self._stop,
            ("POST", "clock/resume"): self._resume,
            ("POST", "clock/advance"): self._advance,
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "scripts"): self._scripts,
            ("POST", "scripts"): self._add_script,
            ("DELETE", "scripts"): self._clear_scripts,
        }

    def answer(self, method: str, path: str, body: Any) -> Doc:
        """Do what a control request asks for.

        Raises:
            BatchError: 400 or 404, in the form that any other request of the service fails in.
        """
        name = path[len(PREFIX) :].strip("/")
        action = self._actions.get((method, name))
        if action is not None:
            return action(body)
        parts = name.split("/")
        if method == "POST" and len(parts) == 5 and parts[0] == "pools" and parts[2] == "nodes":  # noqa: PLR2004
            return self._node(unquote(parts[1]), unquote(parts[3]), parts[4])
        raise errors.refuse("InvalidUri", values={"Reason": f"GET {PREFIX} lists what can be asked for"})

    def _help(self, _: Any) -> Doc:
        actions = [f"{method} {PREFIX}/{name}".rstrip("/") for method, name in self._actions]
        nodes = [f"POST {PREFIX}/pools/{{pool}}/nodes/{{node}}/{action}" for action in ("kill", "preempt", "restore")]
        return {"value": [*actions, *nodes]}

    def _reset(self, _: Any) -> Doc:
        self.service.reset()
        return {}

    def _journal(self, _: Any) -> Doc:
        return {"value": [asdict(entry) for entry in list(self.service.journal)]}

    def _clock(self, _: Any) -> Doc:
        return {"now": formats.timestamp(self.engine.now()), "stopped": self.engine.clock.stopped}

    def _stop(self, _: Any) -> Doc:
        self.engine.clock.stop()
        return self._clock(None)

    def _resume(self, _: Any) -> Doc:
        self.engine.clock.resume()
        with self.engine.turn():
            return self._clock(None)

    def _advance(self, body: Any) -> Doc:
        seconds = body.get("seconds") if isinstance(body, dict) else None
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= _LONGEST:
            raise errors.invalid_property("seconds", str(seconds), "A number of seconds of 0 or more is wanted")
        try:
            self.engine.clock.advance(timedelta(seconds=seconds))
        except OverflowError:
            raise errors.invalid_property("seconds", str(seconds), "The calendar ends with the year 9999") from None
        return self._clock(None)

    def _faults(self, _: Any) -> Doc:
        return {"value": self.service.faults.data()}

    def _add_fault(self, body: Any) -> Doc:
        try:
            fault = self.service.faults.add(shapes.mapping(body, "of the whole body"))
        except ValueError as error:
            raise errors.refuse("InvalidRequestBody", values={"Reason": str(error)}) from None
        return asdict(fault, filter=lambda _, value: value is not None)

    def _clear_faults(self, _: Any) -> Doc:
        self.service.faults.clear()
        return {}

    def _scripts(self, _: Any) -> Doc:
        return {"value": self.service.scripts.data()}

    def _add_script(self, body: Any) -> Doc:
        try:
            script = self.service.scripts.add(**shapes.mapping(body, "of the whole body"))
        except ValueError as error:
            raise errors.refuse("InvalidRequestBody", values={"Reason": str(error)}) from None
        return asdict(script, filter=lambda _, value: value is not None)

    def _clear_scripts(self, _: Any) -> Doc:
        self.service.scripts.clear()
        return {}

    def _node(self, pool_id: str, name: str, action: str) -> Doc:
        actions = {
            "kill": self.engine.nodes.kill,
            "preempt": self.engine.nodes.preempt,
            "restore": self.engine.nodes.restore,
        }
        if action not in actions:
            raise errors.refuse("InvalidUri", values={"Reason": f"A node can be asked to {', '.join(actions)}"})
        with self.engine.turn():
            node = find_node(self.service, pool_id, name)
            actions[action](node)
            return {"id": node.id, "state": node.state}


def find_node(service: Service, pool_id: str, name: str | int) -> Node:
    """A node by its id or by its place in the pool's list.

    Raises:
        BatchError: 404, no such pool or node.
    """
    pool = service.engine.pools.get(pool_id)
    places = {str(place): node for place, node in enumerate(service.engine.store.nodes(pool.key))}
    return places.get(str(name)) or service.engine.nodes.get(pool, str(name))
