"""Pools: made, resized, scaled by a formula, deleted.

Rules of the REST reference (Pools operations). Machines cost nothing here, so an allocation takes as long as the
passing state can be seen, and is kept in bounds by a quota of nodes instead of cores.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import autoscale, bodies, documents, errors, formats
from airflow_provider_jobmanager.local.machines import POOL, settled, touch
from airflow_provider_jobmanager.local.records import Pool
from airflow_provider_jobmanager.local.settings import DEFAULT_POOL

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Doc, Node

log = logging.getLogger(__name__)

SETTLE = timedelta(milliseconds=50)
"""How long a resize, or the end of a pool, takes at least."""
MAX_REMOVED = 100


class Pools:
    """Everything that happens to a pool as a whole."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store

    # -- asked for by users -------------------------------------------------------------------------------------------

    def get(self, pool_id: str) -> Pool:
        """A pool by its id, in any case.

        Raises:
            BatchError: 404 ``PoolNotFound``.
        """
        pool = self.store.pools.get(pool_id)
        if pool is None:
            raise errors.refuse("PoolNotFound")
        return pool

    def changeable(self, pool_id: str) -> Pool:
        """A pool that is not about to go.

        Raises:
            BatchError: 404, or 409 ``PoolBeingDeleted``.
        """
        pool = self.get(pool_id)
        if pool.state == "deleting":
            raise errors.refuse("PoolBeingDeleted")
        return pool

    def create(self, body: Any) -> Pool:
        """A new pool."""
        given = bodies.POOL(body)
        present = self.store.pools.get(given["id"])
        if present is not None:
            raise errors.refuse("PoolBeingDeleted" if present.state == "deleting" else "PoolExists")
        documents.check_metadata(given.get("metadata"))
        self.engine.check_storage(given.get("startTask"))
        autoscale.check_formula(given.get("autoScaleFormula", ""))
        return self.make({"id": given["id"], **documents.pool_specification(given)})

    def make(self, settings: Doc) -> Pool:
        """A pool of settings that were checked; its nodes come a little later."""
        now = self.engine.now()
        doc: Doc = dict(settings)
        doc["creationTime"] = formats.timestamp(now)
        touch(doc, now)
        POOL.begin(doc, "active", now)
        doc.update(allocationState="steady", allocationStateTransitionTime=formats.timestamp(now))
        pool = Pool(doc["id"].lower(), doc, self.store.next_seq())
        self.store.save(pool)
        self.engine.scaling.watch(pool)
        self._allocate(pool)
        return pool

    def make_default(self) -> None:
        """The pool that every local account begins with, with its nodes at once. One that was deleted stays so."""
        wanted = self.engine.settings
        there = self.store.pools.get(DEFAULT_POOL)
        if there is not None:
            has = there.doc["targetDedicatedNodes"], there.doc["taskSlotsPerNode"]
            if has != (wanted.nodes, wanted.slots_per_node):
                log.warning(
                    "The pool %r of this state directory keeps its %d node(s) with %d slot(s) each; "
                    "nodes and slots_per_node (%d, %d) count for a new one",
                    DEFAULT_POOL, *has, wanted.nodes, wanted.slots_per_node,
                )  # fmt: skip
        if there is not None or not self.store.is_new:
            return
        specification = {
            "vmSize": "standard_local",
            "taskSlotsPerNode": wanted.slots_per_node,
            "targetDedicatedNodes": wanted.nodes,
        }
        pool = self.make({"id": DEFAULT_POOL, **documents.pool_specification(specification)})
        self._add_missing(pool)
        self._set_allocation(pool, "steady")

    def patch(self, pool: Pool, body: Any) -> None:
        """Replace each member that is given, whole; keep the others.

        Raises:
            BatchError: 409 ``OperationInvalidForCurrentState``, the pool has nodes that a member would not reach.
        """
        given = bodies.POOL_PATCH(body)
        fixed = [name for name in given if name in bodies.POOL_WHEN_EMPTY]
        if fixed and len(self.store.nodes(pool.key)) > 0:
            reason = f"{', '.join(fixed)} can be changed only while the pool has no nodes"
            raise errors.refuse("OperationInvalidForCurrentState", values={"Reason": reason})
        self._change(pool, self._changes(given))

    def replace_properties(self, pool: Pool, body: Any) -> None:
        """Replace the start task, packages and metadata; what is not given goes."""
        changes = self._changes(bodies.POOL_REPLACE(body))
        for name in ("startTask", "metadata", "applicationPackageReferences"):
            pool.doc.pop(name, None)
        self._change(pool, changes)

    def resize(self, pool: Pool, body: Any) -> None:
        """Change the number of nodes."""
        given = bodies.RESIZE(body)
        if pool.doc["enableAutoScale"]:
            reason = "The pool has automatic scaling; disable it before resizing the pool"
            raise errors.refuse("OperationInvalidForCurrentState", values={"Reason": reason})
        if pool.doc["allocationState"] != "steady":
            raise errors.refuse("PoolBeingResized")
        if "targetDedicatedNodes" not in given and "targetLowPriorityNodes" not in given:
            raise errors.refuse("MissingRequiredProperty", values={"PropertyName": "targetDedicatedNodes"})
        option = given.pop("nodeDeallocationOption", "requeue")
        pool.doc.update(given)
        touch(pool.doc, self.engine.now())
        self._allocate(pool, option)

    def set_targets(self, pool: Pool, dedicated: int, spot: int, option: str) -> None:
        """Change the number of nodes for a formula."""
        if (dedicated, spot) != (pool.doc["targetDedicatedNodes"], pool.doc["targetLowPriorityNodes"]):
            pool.doc.update(targetDedicatedNodes=dedicated, targetLowPriorityNodes=spot)
            self._allocate(pool, option)

    def stop_resize(self, pool: Pool) -> None:
        """Leave a resize where it is."""
        if pool.doc["allocationState"] != "resizing":
            reason = "The pool is not being resized"
            raise errors.refuse("OperationInvalidForCurrentState", values={"Reason": reason})
        touch(pool.doc, self.engine.now())
        self._set_allocation(pool, "stopping")
        self.engine.at(self.engine.now() + SETTLE, self.progress, pool)

    def remove_nodes(self, pool: Pool, body: Any) -> None:
        """Take some nodes out of the pool."""
        given = bodies.REMOVE_NODES(body)
        names = given["nodeList"]
        if not 1 <= len(names) <= MAX_REMOVED:
            raise errors.invalid_property(
                "nodeList", str(len(names)), f"1 to {MAX_REMOVED} nodes can be removed at once"
            )
        if pool.doc["allocationState"] != "steady":
            raise errors.refuse("PoolBeingResized")
        nodes = {node.key: node for node in (self.engine.nodes.get(pool, name) for name in names)}.values()
        touch(pool.doc, self.engine.now())
        self._set_allocation(pool, "resizing")
        for node in nodes:
            self._lower_target(pool, node)
            self.engine.nodes.remove(node, given.get("nodeDeallocationOption", "requeue"))
        self.engine.at(self.engine.now() + SETTLE, self.progress, pool)

    def delete(self, pool: Pool) -> None:
        """Take a pool away; what ran there waits for another pool of that id."""
        if pool.state == "deleting":
            raise errors.refuse("PoolBeingDeleted")
        now = self.engine.now()
        POOL.move(pool.doc, "deleting", "delete", now)
        self.store.save(pool)
        for node in self.store.nodes(pool.key):
            self.engine.nodes.remove(node, "requeue")
        self.engine.at(now + SETTLE, self.progress, pool)

    # -- brought about by the service ---------------------------------------------------------------------------------

    def progress(self, pool: Pool) -> None:
        """Take a pool on to the state that nothing keeps it from any more."""
        if self.store.pools.get(pool.key) is not pool:
            return
        leaving = [node for node in self.store.nodes(pool.key) if node.state == "leavingpool"]
        if pool.state == "deleting":
            if not self.store.nodes(pool.key):
                self.engine.scaling.forget(pool)
                self.store.remove(pool)
            return
        if pool.doc["allocationState"] == "steady":
            return
        if not settled(pool.doc["allocationStateTransitionTime"], SETTLE, self.engine.now()):
            return  # its own timer will come
        if pool.doc["allocationState"] == "resizing":
            self._add_missing(pool)
            if leaving:
                return
        else:
            nodes = list(self.store.nodes(pool.key))
            dedicated = sum(node.dedicated for node in nodes)
            pool.doc.update(targetDedicatedNodes=dedicated, targetLowPriorityNodes=len(nodes) - dedicated)
        self._set_allocation(pool, "steady")

    def recover(self) -> None:
        """Take pools up again after a restart."""
        for pool in self.store.pools:
            self.engine.nodes.recover(pool)
            self.engine.scaling.watch(pool)
            self.engine.at(self.engine.now() + SETTLE, self.progress, pool)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _changes(self, given: Doc) -> Doc:
        """What a change comes to, with the defaults; refused before anything is changed."""
        documents.check_metadata(given.get("metadata"))
        documents.check_packages(given)
        changes = dict(given)
        if "startTask" in given:
            self.engine.check_storage(given["startTask"])
            changes["startTask"] = documents.start_task(given["startTask"])
        if "taskSchedulingPolicy" in given:
            changes["taskSchedulingPolicy"] = documents.scheduling_policy(given["taskSchedulingPolicy"])
        return changes

    def _change(self, pool: Pool, changes: Doc) -> None:
        pool.doc.update(changes)
        touch(pool.doc, self.engine.now())
        self.store.save(pool)

    def _allocate(self, pool: Pool, option: str = "requeue") -> None:
        self._set_allocation(pool, "resizing")
        pool.doc.pop("resizeErrors", None)
        nodes = [node for node in self.store.nodes(pool.key) if node.state != "leavingpool"]
        for dedicated, name in ((True, "targetDedicatedNodes"), (False, "targetLowPriorityNodes")):
            own = [node for node in nodes if node.dedicated == dedicated]
            excess = len(own) - pool.doc[name]
            for node in sorted(own, key=self._worth)[: max(0, excess)]:
                self.engine.nodes.remove(node, option)
        self.engine.at(self.engine.now() + SETTLE, self.progress, pool)

    def _worth(self, node: Node) -> tuple[bool, int, int]:
        """Idle nodes go first, those with a job manager last."""
        tasks = self.engine.scheduling.on_node(node.id)
        return any(task.is_manager for task in tasks), len(tasks), -node.seq

    def _add_missing(self, pool: Pool) -> None:
        nodes = [node for node in self.store.nodes(pool.key) if node.state != "leavingpool"]
        room = self.engine.settings.node_quota - self._all_nodes()
        for dedicated, name in ((True, "targetDedicatedNodes"), (False, "targetLowPriorityNodes")):
            missing = pool.doc[name] - sum(node.dedicated == dedicated for node in nodes)
            if missing > room:
                kind = "AccountCoreQuotaReached" if dedicated else "AccountLowPriorityCoreQuotaReached"
                message = f"The local account has a quota of {self.engine.settings.node_quota} nodes (node_quota)"
                pool.doc.setdefault("resizeErrors", []).append({"code": kind, "message": message})
            for _ in range(min(missing, room)):
                self.engine.nodes.make(pool, dedicated=dedicated)
                room -= 1

    def _all_nodes(self) -> int:
        return sum(len(self.store.nodes(pool.key)) for pool in self.store.pools)

    def _lower_target(self, pool: Pool, node: Node) -> None:
        name = "targetDedicatedNodes" if node.dedicated else "targetLowPriorityNodes"
        pool.doc[name] = max(0, pool.doc[name] - 1)

    def _set_allocation(self, pool: Pool, state: str) -> None:
        pool.doc.update(allocationState=state, allocationStateTransitionTime=formats.timestamp(self.engine.now()))
        self.store.save(pool)
